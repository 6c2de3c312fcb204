//! The checked options of a `kafka` output, and of its connection alone.

use std::path::PathBuf;
use std::time::Duration;

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
}
