//! The checked options of a `kafka` output, and of its connection alone.

use std::path::PathBuf;
use std::time::Duration;

use crate::output::dead_letter::DeadLetterOptions;

/// `compression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// `sasl.mechanism`, and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sasl {
    Plain { username: String, password: Secret },
    ScramSha256 { username: String, password: Secret },
    ScramSha512 { username: String, password: Secret },
    OauthBearer(OauthBearer),
}

/// Where tokens for OAUTHBEARER come from: client credentials (RFC 6749 §4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthBearer {
    /// HTTPS, or HTTP to this machine.
    pub token_url: String,
    pub client_id: String,
    pub client_secret: Secret,
    pub scope: Option<String>,
    /// Trusted beside the system's authorities: the connection's own.
    pub ca_file: Option<PathBuf>,
}

impl Sasl {
    /// Kafka's name of the mechanism.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::ScramSha256 { .. } => "SCRAM-SHA-256",
            Self::ScramSha512 { .. } => "SCRAM-SHA-512",
            Self::OauthBearer(_) => "OAUTHBEARER",
        }
    }

    /// Who logs in: the user, or the client of the identity provider.
    pub fn username(&self) -> &str {
        match self {
            Self::Plain { username, .. } | Self::ScramSha256 { username, .. } | Self::ScramSha512 { username, .. } => {
                username
            }
            Self::OauthBearer(options) => &options.client_id,
        }
    }

    /// User and password, where a password is asked for.
    pub(super) fn login(&self) -> Option<(&str, &Secret)> {
        match self {
            Self::Plain { username, password }
            | Self::ScramSha256 { username, password }
            | Self::ScramSha512 { username, password } => Some((username, password)),
            Self::OauthBearer(_) => None,
        }
    }
}

/// A value that is never shown: its `Debug` is `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// `tls`. All files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `None`: the system's certificate authorities (librdkafka's `ssl.ca.location=probe`).
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub key_password: Option<Secret>,
    /// `false`: neither the certificate's chain nor its name is checked.
    pub verify: bool,
    /// A hash over what the files held when the config was checked: other contents are other options.
    pub contents: u64,
}

/// How to reach a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// `HOST:PORT`, at least one.
    pub brokers: Vec<String>,
    pub client_id: String,
    pub tls: Option<Tls>,
    pub sasl: Option<Sasl>,
    /// Any librdkafka property but those that own a promise; applied last.
    pub rdkafka: Vec<(String, String)>,
}

impl Connection {
    /// Whom the brokers take this output for, as their ACLs name it. What a broker makes of a client certificate is its own
    /// affair (`ssl.principal.mapping.rules`), so that one is named by its file.
    pub fn principal(&self) -> String {
        let cert_file = self.tls.as_ref().and_then(|tls| tls.cert_file.as_ref());
        match (&self.sasl, cert_file) {
            (Some(sasl), _) => format!("User:{}", sasl.username()),
            (None, Some(path)) => format!("the principal of the certificate {}", path.display()),
            (None, None) => "User:ANONYMOUS".to_owned(),
        }
    }
}

/// The checked options of a `kafka` output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaOptions {
    /// The output's name in the config.
    pub name: String,
    pub connection: Connection,
    pub compression: Compression,
    /// How long a batch may wait to be filled.
    pub linger: Duration,
    /// The most that one request's batch for one partition may hold, before compression.
    pub batch_bytes: usize,
    /// Keys, values and headers of one record; at most the topic's `max.message.bytes`.
    pub max_record_bytes: usize,
    /// `create_topics: broker`: the broker creates a topic that is asked for (`auto.create.topics.enable`).
    pub create_topics: bool,
    /// The bytes in flight; librdkafka's own queue limits are twice it.
    pub window_bytes: usize,
    /// Where records go that Kafka refuses for good. Not the producer's business.
    pub dead_letter: DeadLetterOptions,
}
