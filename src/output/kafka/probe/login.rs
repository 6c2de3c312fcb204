//! TLS, login and version of one broker, by a librdkafka client that knows no other.
//!
//! Beside its errors librdkafka is asked for things that it tells nobody else: why OpenSSL refuses a certificate (the
//! verification callback), which versions of the protocol a broker speaks, and which brokers it names. The last two are lines
//! of the debug log: as soon as librdkafka knows how a broker calls itself, it lets go of the address it was given, and if that
//! name can't be reached, nobody answers a question of ours any more.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::trouble::{self, RefusedCertificate, Trouble};
use super::{Finding, Weight};
use crate::output::kafka::client::{Client, Kind, What, close_apart, lock};
use crate::output::kafka::conf::{self, NativeConf};
use crate::output::kafka::ffi;
use crate::output::kafka::options::{Connection, KafkaOptions};

/// How long librdkafka is waited for at a time, before the clock is looked at.
const STEP: Duration = Duration::from_millis(100);
/// The version of Produce that Kafka 2.1 brought: idempotence, acks=all and zstd hold from there on.
const PRODUCE_OF_2_1: i16 = 7;
/// Said when every connection is down, after what it is about.
const ALL_DOWN: c_int = ffi::Named::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as c_int;
const SILENT: &str = "it takes connections but does not answer as a Kafka broker within the time";

/// A broker that answered.
#[derive(Debug)]
pub(super) struct Login {
    /// All brokers of its cluster, as it advertises them: `HOST:PORT` by id.
    pub brokers: BTreeMap<i32, String>,
    /// The newest version of Produce that it speaks.
    produce_version: Option<i16>,
    /// "TLS, logged in as ferry (SCRAM-SHA-512)".
    how: String,
}

impl Login {
    pub fn finding(&self, object: String) -> Finding {
        match self.produce_version {
            Some(version) if version < PRODUCE_OF_2_1 => Finding::wrong(
                object,
                "it is older than Kafka 2.1",
                "upgrade it: idempotence with acks=all holds from 2.1 on",
            ),
            _ => Finding::new(Weight::Fine, object, format!("fine ({})", self.how), ""),
        }
    }
}

/// What the verification callback saw.
#[derive(Default)]
struct Refusals(Mutex<Option<RefusedCertificate>>);

/// A client, and what its callback writes to; dropped in this order.
struct Watched {
    client: Client,
    refusals: Arc<Refusals>,
}

impl Watched {
    fn open(connection: &Connection, more: &[conf::Property]) -> Result<Self, Trouble> {
        let failed = |error: &dyn std::fmt::Display| Trouble::new(error.to_string(), "correct the output's options");
        let mut properties = conf::connection_properties(connection);
        properties.extend_from_slice(more);
        let mut native = NativeConf::with(&properties, &connection.rdkafka).map_err(|error| failed(&error))?;
        // After the user's own, which may want to debug something else.
        for (name, value) in [("debug", "feature,metadata,eos"), ("log.connection.close", "true")] {
            native.set(name, value).map_err(|error| failed(&error.reason))?;
        }
        let refusals = Arc::new(Refusals::default());
        if connection.tls.as_ref().is_some_and(|tls| tls.verify) {
            // SAFETY: `refusals` outlives the client (field order), and `verify` is what reads it.
            unsafe { native.verify_with(verify, Arc::as_ptr(&refusals).cast_mut().cast()) };
        }
        let client = Client::open("check", Kind::Producer, native, connection).map_err(|error| failed(&error))?;
        Ok(Self { client, refusals })
    }
}

/// Connects to `broker` alone, and asks it for its cluster.
///
/// # Errors
/// Why that does not work.
pub(super) fn log_in(connection: &Connection, broker: &str, deadline: Instant) -> Result<Login, Trouble> {
    let mut alone = connection.clone();
    alone.brokers = vec![broker.to_owned()];
    let watched = Watched::open(&alone, &[])?;
    let result = wait_for_answer(&watched, &alone, broker, deadline);
    close_apart(move || drop(watched));
    result
}

fn wait_for_answer(
    watched: &Watched,
    connection: &Connection,
    broker: &str,
    deadline: Instant,
) -> Result<Login, Trouble> {
    let mut produce_version = None;
    let mut last_words = None;
    let mut brokers = BTreeMap::new();
    while Instant::now() < deadline {
        let Some(event) = watched.client.poll(STEP) else { continue };
        let (code, text) = match event.what() {
            What::Log { text, .. } if text.contains("ApiKey Produce (0)") => {
                produce_version = newest_version(&text).or(produce_version);
                continue;
            }
            What::Log { text, facility, .. } if facility == "METADATA" => {
                let Some(named) = named_broker(&text) else { continue };
                brokers.insert(named.id, named.address);
                if named.is_last {
                    return Ok(Login { brokers, produce_version, how: how(connection) });
                }
                continue;
            }
            What::Log { facility, text, .. } if facility == "FAIL" => (0, text),
            What::Error { code, .. } if code == ALL_DOWN => continue,
            What::Error { code, text, .. } => (code, text),
            _ => continue,
        };
        let refused = lock(&watched.refusals.0).clone();
        if let Some(trouble) = trouble::of(broker, connection, code, &text, refused.as_ref()) {
            return Err(trouble);
        }
        last_words = Some(text);
    }
    let what = last_words.map_or_else(|| SILENT.to_owned(), |words| format!("{SILENT} (librdkafka: {words})"));
    Err(Trouble::new(what, "see whether the broker hangs, and whether the port is right"))
}

/// `… ApiKey Produce (0) Versions 0..7`
fn newest_version(text: &str) -> Option<i16> {
    text.rsplit_once("..").and_then(|(_, version)| version.trim().parse().ok())
}

/// A broker that a broker names.
#[derive(Debug, PartialEq, Eq)]
struct NamedBroker {
    id: i32,
    /// `HOST:PORT`.
    address: String,
    /// No more of this answer.
    is_last: bool,
}

/// `…:   Broker #0/3: kafka-0:9092 NodeId 1`
fn named_broker(text: &str) -> Option<NamedBroker> {
    let (_, rest) = text.split_once("Broker #")?;
    let (number, rest) = rest.split_once(": ")?;
    let (index, count) = number.split_once('/')?;
    let (address, id) = rest.split_once(" NodeId ")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let is_last = index.parse::<usize>().ok()? + 1 == count.parse::<usize>().ok()?;
    Some(NamedBroker { id: id.trim().parse().ok()?, address: format!("{host}:{port}"), is_last })
}

fn how(connection: &Connection) -> String {
    let transport = match &connection.tls {
        None => "plaintext",
        Some(tls) if tls.verify => "TLS",
        Some(_) => "TLS, nothing verified",
    };
    match &connection.sasl {
        None => transport.to_owned(),
        Some(sasl) => format!("{transport}, logged in as {} with {}", sasl.username(), sasl.mechanism()),
    }
}

/// Whether the cluster gives this user a producer id, which an idempotent producer needs. Nothing is sent.
pub(super) fn idempotence(
    options: &KafkaOptions,
    connection: &Connection,
    principal: &str,
    deadline: Instant,
) -> Option<Finding> {
    let watched = match Watched::open(connection, &conf::producer_properties(options)) {
        Ok(watched) => watched,
        Err(trouble) => return Some(Finding::wrong("producer", trouble.what, trouble.fix)),
    };
    let mut words = None;
    let found = loop {
        if let Some(reason) = watched.client.fatal_error() {
            let what = format!("the cluster gives {principal} no producer id for idempotent records: {reason}");
            let fix = "allow it IDEMPOTENT_WRITE on the cluster (brokers before 2.8 ask for that beside WRITE)";
            break Some(Finding::wrong("producer", what, fix));
        }
        let event = watched.client.poll(STEP);
        match event.map(|event| event.what()) {
            Some(What::Log { facility, text, .. }) if facility == "GETPID" => match text.contains("Acquired") {
                true => break None,
                false => words = Some(text),
            },
            _ => {}
        }
        if Instant::now() >= deadline {
            let what = words.map_or_else(String::new, |words| format!(": {words}"));
            let what = format!("no broker gave a producer id for idempotent records within the time{what}");
            break Some(Finding::wrong("producer", what, "see the log of the brokers (transaction coordinator)"));
        }
    };
    close_apart(move || drop(watched));
    found
}

unsafe extern "C" {
    /// Of OpenSSL, which librdkafka brings along.
    fn X509_verify_cert_error_string(error: c_long) -> *const c_char;
}

/// OpenSSL's opinion of a certificate of the chain stands; it is only noted down.
///
/// # Safety
/// As librdkafka calls it: `error` and `certificate` (of `size` bytes) are alive, `refusals` is the [`Refusals`] given with
/// it.
unsafe extern "C" fn verify(
    _rk: *mut ffi::rd_kafka_t,
    _broker: *const c_char,
    _broker_id: i32,
    error: *mut c_int,
    depth: c_int,
    certificate: *const c_char,
    size: usize,
    _errstr: *mut c_char,
    _errstr_size: usize,
    refusals: *mut c_void,
) -> c_int {
    // SAFETY: by this function's contract; OpenSSL's texts are constants.
    unsafe {
        if *error == 0 {
            return 1;
        }
        let refusals = &*refusals.cast::<Refusals>();
        let der = std::slice::from_raw_parts(certificate.cast::<u8>(), size).to_vec();
        let words = X509_verify_cert_error_string(c_long::from(*error));
        let reason = if words.is_null() { String::new() } else { CStr::from_ptr(words).to_string_lossy().into_owned() };
        *lock(&refusals.0) = Some(RefusedCertificate { error: *error, reason, depth, der });
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_debug_log_are_read() {
        assert_eq!(newest_version("k:9092/1:   ApiKey Produce (0) Versions 0..7"), Some(7));
        assert_eq!(newest_version("nonsense"), None);
        let named = |address: &str, id, is_last| Some(NamedBroker { id, address: address.to_owned(), is_last });
        let check = |text: &str, expect| assert_eq!(named_broker(text), expect, "{text}");
        check("[thrd:main]: k:9092/bootstrap:   Broker #0/2: kafka-0:9092 NodeId 1", named("kafka-0:9092", 1, false));
        check("k/1:   Broker #1/2: fe80::1:9092 NodeId 7", named("[fe80::1]:9092", 7, true));
        check("Broker #x/2: kafka-0:9092 NodeId 1", None);
        check("2 brokers, 0 topics", None);
    }
}
