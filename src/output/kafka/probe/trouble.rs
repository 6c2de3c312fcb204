//! What librdkafka's and OpenSSL's words about a connection mean (P): TLS or login, whose fault, and what to do.
//!
//! The words are those of librdkafka 2.12 and OpenSSL 3; tests on real brokers hold them to it. Words that are not known are
//! passed on as they are: better raw than wrong.

use super::certificate::Certificate;
use crate::output::kafka::ffi::Named;
use crate::output::kafka::options::Connection;

/// Why a broker can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub what: String,
    pub fix: String,
}

impl Trouble {
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}

/// A certificate that OpenSSL refused.
#[derive(Clone, Debug)]
pub(super) struct RefusedCertificate {
    /// OpenSSL's `X509_V_ERR_…`.
    pub error: i32,
    /// OpenSSL's words for it.
    pub reason: String,
    /// 0: the broker's own; above: of an authority.
    pub depth: i32,
    pub der: Vec<u8>,
}

/// What `text`, an error of a connection to `broker` with librdkafka's `code`, means. `None`: nothing that waiting will not
/// mend, as far as the words tell.
pub(super) fn of(
    broker: &str,
    connection: &Connection,
    code: i32,
    text: &str,
    certificate: Option<&RefusedCertificate>,
) -> Option<Trouble> {
    const AUTHENTICATION: i32 = Named::RD_KAFKA_RESP_ERR__AUTHENTICATION as i32;
    const SSL: i32 = Named::RD_KAFKA_RESP_ERR__SSL as i32;

    if let Some(refused) = certificate {
        return Some(of_certificate(broker, connection, refused));
    }
    let has = |words: &str| text.contains(words);
    let reason = reason(text);
    if has("PLAINTEXT broker listener") || has("wrong version number") || has("packet length too long") {
        let fix = "name the port of a TLS listener in brokers, or leave tls out";
        return Some(Trouble::new("TLS: this port does not speak TLS (plaintext, or no Kafka)", fix));
    }
    if has("SSL listener?") || has("Invalid response size") {
        return Some(not_plaintext());
    }
    if code == SSL || has("SSL handshake failed") || has("SSL transport error") || has("SSL routines") {
        return Some(of_tls(connection, text, &reason));
    }
    // A broker that ends may hang up once; who hangs up again at the same place means it.
    let hangs_up = |state: &str| has("Disconnected") && has("identical error") && has(state);
    if connection.tls.is_none() && hangs_up("state APIVERSION_QUERY") {
        return Some(not_plaintext());
    }
    if connection.sasl.is_none() && hangs_up("state UP") {
        let fix = "add sasl (mechanism, username, password) to the output, or name another listener's port";
        return Some(Trouble::new("login: the broker wants one, and the output has no sasl", fix));
    }
    if code == AUTHENTICATION || has("SASL authentication error") || has("SaslHandshake") {
        return Some(of_login(connection, &reason));
    }
    None
}

fn not_plaintext() -> Trouble {
    let fix = "add tls to the output if this is a TLS listener; else correct the port";
    Trouble::new("this port does not answer as plaintext Kafka does (TLS, or no Kafka)", fix)
}

/// librdkafka's text without the broker's name before it and the counters behind it.
fn reason(text: &str) -> String {
    let text = text.split_once(": ").filter(|(head, _)| head.contains("://") || head.contains('/'));
    let whole = text.map_or_else(String::new, |(_, rest)| rest.to_owned());
    let end = whole.find(" (after ").unwrap_or(whole.len());
    whole[..end].to_owned()
}

fn of_tls(connection: &Connection, text: &str, reason: &str) -> Trouble {
    let has = |words: &str| text.contains(words);
    let tls = connection.tls.as_ref();
    let has_certificate = tls.is_some_and(|tls| tls.cert_file.is_some());
    let wants_certificate = ["certificate required", "bad certificate", "unexpected message", "handshake failure"];
    if !has_certificate && wants_certificate.iter().any(|words| has(words)) {
        return Trouble::new(
            "TLS: the broker wants a client certificate, and the output has none",
            "set tls.cert_file and tls.key_file, or name the port of a listener that wants none",
        );
    }
    if has_certificate && ["unknown ca", "bad certificate", "certificate unknown"].iter().any(|words| has(words)) {
        let file = tls.and_then(|tls| tls.cert_file.as_ref()).map_or_else(String::new, |f| f.display().to_string());
        return Trouble::new(
            format!("TLS: the broker refuses the client certificate of tls.cert_file {file}: {reason}"),
            "have it signed by an authority that is in the broker's truststore, and see that it has not expired",
        );
    }
    Trouble::new(format!("TLS: {reason}"), "see the broker's log; protocols and ciphers of both have to meet")
}

fn of_login(connection: &Connection, reason: &str) -> Trouble {
    let Some(sasl) = &connection.sasl else {
        return Trouble::new(format!("login: {reason}"), "add sasl to the output");
    };
    let (mechanism, user) = (sasl.mechanism(), sasl.username());
    let lower = reason.to_lowercase();
    if lower.contains("unsupported sasl mechanism") || lower.contains("not enabled") {
        return Trouble::new(
            format!("login: the broker does not take the mechanism {mechanism}: {reason}"),
            "set sasl.mechanism to one that it takes, or enable this one (sasl.enabled.mechanisms)",
        );
    }
    if lower.trim_end().ends_with("supported mechanisms:") {
        let fix = "leave sasl out, or name the port of a SASL listener in brokers";
        return Trouble::new("login: this listener takes none", fix);
    }
    Trouble::new(
        format!("login: {mechanism} as user {user} is refused: {reason}"),
        "correct sasl.username and sasl.password, or make the user at the broker (kafka-configs --add-config for SCRAM)",
    )
}

/// `X509_V_ERR_…` of OpenSSL's x509_vfy.h.
mod verify {
    pub const UNABLE_TO_GET_ISSUER: i32 = 2;
    pub const NOT_YET_VALID: i32 = 9;
    pub const EXPIRED: i32 = 10;
    pub const SELF_SIGNED: i32 = 18;
    pub const SELF_SIGNED_IN_CHAIN: i32 = 19;
    pub const UNABLE_TO_GET_ISSUER_LOCALLY: i32 = 20;
    pub const UNABLE_TO_VERIFY_LEAF: i32 = 21;
    pub const HOSTNAME_MISMATCH: i32 = 62;
    pub const IP_MISMATCH: i32 = 64;
}

fn of_certificate(broker: &str, connection: &Connection, refused: &RefusedCertificate) -> Trouble {
    let certificate = Certificate::parse(&refused.der).unwrap_or_default();
    let whose = if refused.depth == 0 { "the broker's certificate" } else { "the authority's certificate" };
    let shown = format!("TLS: {whose} ({})", certificate.subject);
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    match refused.error {
        verify::EXPIRED => Trouble::new(
            format!("{shown} has expired on {}", certificate.not_after),
            "renew it, or set this machine's clock if that is wrong",
        ),
        verify::NOT_YET_VALID => Trouble::new(
            format!("{shown} is not valid before {}", certificate.not_before),
            "set this machine's clock, or have it issued anew",
        ),
        verify::HOSTNAME_MISMATCH | verify::IP_MISMATCH => Trouble::new(
            format!("{shown} is for {}, not for {host}", certificate.names_text()),
            format!("name the broker as its certificate does, or have it issued anew with {host} among its names"),
        ),
        verify::UNABLE_TO_GET_ISSUER
        | verify::SELF_SIGNED
        | verify::SELF_SIGNED_IN_CHAIN
        | verify::UNABLE_TO_GET_ISSUER_LOCALLY
        | verify::UNABLE_TO_VERIFY_LEAF => {
            let ca_file = connection.tls.as_ref().and_then(|tls| tls.ca_file.as_ref());
            let place = ca_file.map_or_else(
                || "the system's certificate authorities".to_owned(),
                |path| format!("tls.ca_file {}", path.display()),
            );
            let issuer = &certificate.issuer;
            Trouble::new(
                format!("TLS: the broker's certificate comes from an authority that is not in {place}: {issuer}"),
                "set tls.ca_file to the certificate of that authority",
            )
        }
        _ => Trouble::new(format!("{shown} is refused: {}", refused.reason), "have it issued anew"),
    }
}
