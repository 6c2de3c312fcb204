//! The librdkafka properties of a connection and of a producer, and the check of the user's own (`rdkafka:`).
//!
//! The lists are plain data, so that a test can read them; only [`NativeConf`] and the check touch librdkafka. What owns a
//! promise (acks, idempotence, timeouts of records, order) is set here and refused from the user.

use std::ffi::{CString, c_char, c_int};
use std::path::Path;

use super::client::OpenError;
use super::ffi;
use super::options::{Compression, Connection, KafkaOptions, Sasl, Secret, Tls};

/// One property.
pub(super) type Property = (&'static str, String);

/// Bytes of a record on the wire beside key, value and headers: the most librdkafka counts for its own framing.
const RECORD_OVERHEAD_BYTES: usize = 512;
/// librdkafka's bounds of `message.max.bytes`.
const MESSAGE_MAX_BYTES: std::ops::RangeInclusive<usize> = 1_000..=1_000_000_000;
/// Window and records that may be admitted beyond it before librdkafka refuses: its limit is twice the window, and never
/// below what one record needs.
const QUEUE_WINDOWS: usize = 2;

/// How to reach the cluster: what producer, reader and admin client share. The user's own properties come separately, last.
pub(super) fn connection_properties(connection: &Connection) -> Vec<Property> {
    let mut properties = vec![
        ("bootstrap.servers", connection.brokers.join(",")),
        ("client.id", connection.client_id.clone()),
        ("client.software.name", "logferry".to_owned()),
        ("client.software.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("security.protocol", security_protocol(connection).to_owned()),
        // A broker that hangs is noticed in 10 s, not in a minute; a permanent error while it hangs freezes the others
        // no longer than that (DESIGN §2).
        ("socket.timeout.ms", "10000".to_owned()),
        ("socket.connection.setup.timeout.ms", "10000".to_owned()),
        ("socket.keepalive.enable", "true".to_owned()),
        ("socket.nagle.disable", "true".to_owned()),
        ("reconnect.backoff.ms", "100".to_owned()),
        ("reconnect.backoff.max.ms", "5000".to_owned()),
        // Brokers close idle connections every ten minutes: not worth a warning.
        ("log.connection.close", "false".to_owned()),
        ("log.thread.name", "false".to_owned()),
        ("topic.metadata.refresh.interval.ms", "30000".to_owned()),
    ];
    if let Some(tls) = &connection.tls {
        tls_properties(tls, &mut properties);
    }
    if let Some(sasl) = &connection.sasl {
        sasl_properties(sasl, &mut properties);
    }
    properties
}

fn security_protocol(connection: &Connection) -> &'static str {
    match (&connection.tls, &connection.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    }
}

fn tls_properties(tls: &Tls, properties: &mut Vec<Property>) {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let ca = tls.ca_file.as_deref().map_or_else(|| "probe".to_owned(), text);
    properties.push(("ssl.ca.location", ca));
    if let Some(path) = &tls.cert_file {
        properties.push(("ssl.certificate.location", text(path)));
    }
    if let Some(path) = &tls.key_file {
        properties.push(("ssl.key.location", text(path)));
    }
    if let Some(Secret(password)) = &tls.key_password {
        properties.push(("ssl.key.password", password.clone()));
    }
    properties.push(("enable.ssl.certificate.verification", tls.verify.to_string()));
    let names = if tls.verify { "https" } else { "none" };
    properties.push(("ssl.endpoint.identification.algorithm", names.to_owned()));
}

/// Whether the files of `tls` can be read and hold PEM: what OpenSSL says of one that does not names neither file nor cause.
///
/// # Errors
/// [`OpenError::File`].
pub(super) fn check_files(connection: &Connection) -> Result<(), OpenError> {
    let Some(tls) = &connection.tls else { return Ok(()) };
    let files = [("ca_file", &tls.ca_file), ("cert_file", &tls.cert_file), ("key_file", &tls.key_file)];
    for (key, path) in files.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?))) {
        let failed = |reason: String| OpenError::File { key, path: path.clone(), reason };
        let content = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        if memchr::memmem::find(&content, b"-----BEGIN ").is_none() {
            return Err(failed("holds nothing in PEM (no -----BEGIN line); convert it with openssl".to_owned()));
        }
    }
    Ok(())
}

fn sasl_properties(sasl: &Sasl, properties: &mut Vec<Property>) {
    properties.push(("sasl.mechanism", sasl.mechanism().to_owned()));
    // The token of OAUTHBEARER is handed over when librdkafka asks for it.
    if let Some((username, password)) = sasl.login() {
        properties.push(("sasl.username", username.to_owned()));
        properties.push(("sasl.password", password.0.clone()));
    }
}

/// What a producer adds to [`connection_properties`].
pub(super) fn producer_properties(options: &KafkaOptions) -> Vec<Property> {
    let record_bytes_max = options.max_record_bytes.saturating_add(RECORD_OVERHEAD_BYTES);
    // Also the bound of a batch in librdkafka, so no smaller than one; a single record's own bound is the producer's.
    let message_bytes_max =
        record_bytes_max.max(options.batch_bytes).clamp(*MESSAGE_MAX_BYTES.start(), *MESSAGE_MAX_BYTES.end());
    let queue_bytes = options.window_bytes.saturating_mul(QUEUE_WINDOWS).max(record_bytes_max);
    let queue_kbytes = queue_bytes.div_ceil(1024).clamp(1, i32::MAX as usize);
    vec![
        // The promise (I1, I3): all in-sync replicas, retried for ever, in order, once.
        ("enable.idempotence", "true".to_owned()),
        ("acks", "all".to_owned()),
        ("message.timeout.ms", "0".to_owned()),
        ("linger.ms", linger_ms(options)),
        ("batch.size", options.batch_bytes.clamp(1, i32::MAX as usize).to_string()),
        // Bytes bound a batch, not its number of records.
        ("batch.num.messages", "1000000".to_owned()),
        ("message.max.bytes", message_bytes_max.to_string()),
        ("compression.codec", compression_name(options.compression).to_owned()),
        ("queue.buffering.max.kbytes", queue_kbytes.to_string()),
        // Generous: deliver's window admits, by bytes.
        ("queue.buffering.max.messages", "10000000".to_owned()),
        ("allow.auto.create.topics", options.create_topics.to_string()),
        // How long a topic may be unknown right after its creation before its records are given back.
        ("topic.metadata.propagation.max.ms", "10000".to_owned()),
        // Broker states for status.
        ("statistics.interval.ms", "5000".to_owned()),
    ]
}

fn linger_ms(options: &KafkaOptions) -> String {
    /// librdkafka's own bound: 15 minutes.
    const LINGER_MAX_MS: f64 = 900_000.0;
    format!("{}", (options.linger.as_secs_f64() * 1e3).min(LINGER_MAX_MS))
}

fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    }
}

/// What a client of this folder relies on beside the promises: not the user's to change, with the reason.
fn refusal(name: &str, value: &str) -> Option<&'static str> {
    match name {
        "enabled_events" | "log.queue" | "opaque" | "interceptors" => Some("logferry's own use of librdkafka needs it"),
        "delivery.report.only.error" => Some("every record is reported, else nothing would ever be acknowledged"),
        "queuing.strategy" => Some("records go in order; lifo would turn them round"),
        "message.send.max.retries" => Some("records are retried until they are acknowledged"),
        "plugin.library.paths" => Some("a static binary can't load plugins"),
        "sasl.mechanism" | "sasl.mechanisms" if value.eq_ignore_ascii_case("GSSAPI") => {
            Some("GSSAPI (Kerberos) needs libraries that a static binary can't load; use SCRAM-SHA-512 over TLS")
        }
        _ if name.starts_with("ut_") => Some("it exists for librdkafka's own tests"),
        _ => None,
    }
}

/// Whether librdkafka takes `value` for the property `name`, and this output can live with it. The config's own list of
/// properties that have a key of ours, or own a promise, comes before this.
///
/// # Errors
/// What is wrong, for the user: an unknown name, a value out of range. Never shows a secret's value.
pub fn check_property(name: &str, value: &str) -> Result<(), String> {
    if let Some(reason) = refusal(name, value) {
        return Err(format!("{name} can't be set: {reason}"));
    }
    let mut conf = NativeConf::new();
    conf.set(name, value).map_err(|error| error.reason)
}

/// The names of all properties that librdkafka knows, global and per topic, sorted: for "did you mean".
pub fn property_names() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: the configurations are made and destroyed here; a dump is an array of `count` C strings, names and values in
    // turn, valid until it is freed with the same count.
    unsafe {
        let mut count = 0;
        let conf = ffi::rd_kafka_conf_new();
        let dump = ffi::rd_kafka_conf_dump(conf, &raw mut count);
        collect_names(dump, count, &mut names);
        ffi::rd_kafka_conf_dump_free(dump, count);
        ffi::rd_kafka_conf_destroy(conf);

        let conf = ffi::rd_kafka_topic_conf_new();
        let dump = ffi::rd_kafka_topic_conf_dump(conf, &raw mut count);
        collect_names(dump, count, &mut names);
        ffi::rd_kafka_conf_dump_free(dump, count);
        ffi::rd_kafka_topic_conf_destroy(conf);
    }
    names.retain(|name| refusal(name, "").is_none());
    names.sort_unstable();
    names.dedup();
    names
}

/// # Safety
/// `dump` is an array of `count` C strings.
unsafe fn collect_names(dump: *mut *const c_char, count: usize, names: &mut Vec<String>) {
    for index in (0..count).step_by(2) {
        // SAFETY: within the array by this function's contract.
        names.push(unsafe { ffi::string(*dump.add(index)) });
    }
}

/// A refused property.
#[derive(Debug)]
pub(super) struct PropertyError {
    pub name: String,
    pub reason: String,
}

/// A librdkafka configuration under construction.
pub(super) struct NativeConf {
    /// Never null; owned until [`NativeConf::into_raw`].
    raw: *mut ffi::rd_kafka_conf_t,
}

impl NativeConf {
    pub fn new() -> Self {
        // SAFETY: no preconditions; aborts if memory is out.
        Self { raw: unsafe { ffi::rd_kafka_conf_new() } }
    }

    /// Sets `properties`, then the user's.
    pub fn with(properties: &[Property], own: &[(String, String)]) -> Result<Self, OpenError> {
        let mut conf = Self::new();
        let ours = properties.iter().map(|(name, value)| (*name, value.as_str()));
        let users = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in ours.chain(users) {
            conf.set(name, value)
                .map_err(|error| OpenError::Property { property: error.name, reason: error.reason })?;
        }
        Ok(conf)
    }

    pub fn set(&mut self, name: &str, value: &str) -> Result<(), PropertyError> {
        let refused = |reason: String| PropertyError { name: name.to_owned(), reason };
        let (Ok(name_c), Ok(value_c)) = (CString::new(name), CString::new(value)) else {
            return Err(refused("neither a name nor a value may hold a NUL byte".to_owned()));
        };
        let mut reason = [0 as c_char; 512];
        // SAFETY: `raw` is alive (owned), the strings are NUL-terminated, the buffer has the size given.
        let result = unsafe {
            ffi::rd_kafka_conf_set(self.raw, name_c.as_ptr(), value_c.as_ptr(), reason.as_mut_ptr(), reason.len())
        };
        match result {
            ffi::CONF_OK => Ok(()),
            ffi::CONF_UNKNOWN => Err(refused(format!("librdkafka has no property {name}"))),
            _ if is_secret(name) => Err(refused(format!("librdkafka refuses the value of {name}"))),
            // SAFETY: librdkafka has written a NUL-terminated text.
            _ => Err(refused(unsafe { ffi::string(reason.as_ptr()) })),
        }
    }

    /// Everything that happens comes as an event of the main queue: no callbacks, so no code of ours runs on
    /// librdkafka's threads.
    pub fn enable_events(&mut self) {
        let events = ffi::RD_KAFKA_EVENT_DR
            | ffi::RD_KAFKA_EVENT_ERROR
            | ffi::RD_KAFKA_EVENT_LOG
            | ffi::RD_KAFKA_EVENT_STATS
            | ffi::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH;
        // SAFETY: `raw` is alive (owned).
        unsafe { ffi::rd_kafka_conf_set_events(self.raw, events as c_int) };
    }

    /// Has `verify` asked about each certificate of a broker's chain, with `opaque`.
    ///
    /// # Safety
    /// `verify` may be called from any thread, with this `opaque`, until the client made of this is gone.
    pub unsafe fn verify_with(&mut self, verify: ffi::Verify, opaque: *mut std::ffi::c_void) {
        // SAFETY: `raw` is alive (owned); the rest by this function's contract.
        unsafe {
            ffi::rd_kafka_conf_set_opaque(self.raw, opaque);
            ffi::rd_kafka_conf_set_ssl_cert_verify_cb(self.raw, Some(verify));
        }
    }

    /// Gives the configuration up to `rd_kafka_new`.
    pub fn into_raw(self) -> *mut ffi::rd_kafka_conf_t {
        let raw = self.raw;
        std::mem::forget(self);
        raw
    }
}

impl Drop for NativeConf {
    fn drop(&mut self) {
        // SAFETY: owned and not given up.
        unsafe { ffi::rd_kafka_conf_destroy(self.raw) };
    }
}

fn is_secret(name: &str) -> bool {
    ["password", "secret", "pem", "token", "assertion", "jaas"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    fn connection() -> Connection {
        Connection {
            brokers: vec!["a:1".to_owned(), "b:2".to_owned()],
            client_id: "logferry".to_owned(),
            tls: None,
            sasl: None,
            rdkafka: Vec::new(),
        }
    }

    fn options() -> KafkaOptions {
        KafkaOptions {
            name: "main".to_owned(),
            connection: connection(),
            compression: Compression::Lz4,
            linger: Duration::from_micros(2500),
            batch_bytes: 1_000_000,
            max_record_bytes: 1_000_000,
            create_topics: false,
            window_bytes: 10 * 1024 * 1024,
            dead_letter: Default::default(),
        }
    }

    fn value<'a>(properties: &'a [Property], name: &str) -> Option<&'a str> {
        properties.iter().find(|property| property.0 == name).map(|property| property.1.as_str())
    }

    #[test]
    fn the_protocol_follows_from_tls_and_sasl() {
        let tls = Some(Tls { verify: true, ..Tls::default() });
        let sasl = Some(Sasl::Plain { username: "u".to_owned(), password: Secret("p".to_owned()) });
        let check = |tls: &Option<Tls>, sasl: &Option<Sasl>, expect: &str| {
            let connection = Connection { tls: tls.clone(), sasl: sasl.clone(), ..connection() };
            assert_eq!(value(&connection_properties(&connection), "security.protocol"), Some(expect));
        };
        check(&None, &None, "plaintext");
        check(&tls, &None, "ssl");
        check(&None, &sasl, "sasl_plaintext");
        check(&tls, &sasl, "sasl_ssl");
    }

    #[test]
    fn tls_probes_for_authorities_unless_told_and_verify_covers_names() {
        let mut connection = connection();
        connection.tls = Some(Tls { verify: true, ..Tls::default() });
        let properties = connection_properties(&connection);
        assert_eq!(value(&properties, "ssl.ca.location"), Some("probe"));
        assert_eq!(value(&properties, "ssl.endpoint.identification.algorithm"), Some("https"));
        connection.tls = Some(Tls { ca_file: Some(PathBuf::from("/ca.pem")), verify: false, ..Tls::default() });
        let properties = connection_properties(&connection);
        assert_eq!(value(&properties, "ssl.ca.location"), Some("/ca.pem"));
        assert_eq!(value(&properties, "enable.ssl.certificate.verification"), Some("false"));
        assert_eq!(value(&properties, "ssl.endpoint.identification.algorithm"), Some("none"));
    }

    #[test]
    fn librdkafka_takes_every_property_of_ours() {
        for compression in
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            let mut options = options();
            options.compression = compression;
            options.connection.tls = Some(Tls {
                cert_file: Some(PathBuf::from("/c.pem")),
                key_file: Some(PathBuf::from("/k.pem")),
                key_password: Some(Secret("p".to_owned())),
                ..Tls::default()
            });
            let (username, password) = ("u".to_owned(), Secret("p".to_owned()));
            options.connection.sasl = Some(Sasl::ScramSha512 { username, password });
            let mut properties = connection_properties(&options.connection);
            properties.extend(producer_properties(&options));
            assert_eq!(NativeConf::with(&properties, &[]).err().map(|error| error.to_string()), None);
        }
    }

    #[test]
    fn limits_follow_from_window_batch_and_record() {
        let properties = producer_properties(&options());
        assert_eq!(value(&properties, "queue.buffering.max.kbytes"), Some("20480"));
        assert_eq!(value(&properties, "message.max.bytes"), Some("1000512"));
        assert_eq!(value(&properties, "linger.ms"), Some("2.5"));
        let small = KafkaOptions { max_record_bytes: 1_000, window_bytes: 1, batch_bytes: 1 << 20, ..options() };
        let properties = producer_properties(&small);
        assert_eq!(value(&properties, "message.max.bytes"), Some("1048576"), "a batch is not cut to a record's size");
        assert_eq!(value(&properties, "queue.buffering.max.kbytes"), Some("2"), "one record always fits");
    }

    #[test]
    fn properties_are_checked_by_librdkafka_itself() {
        let check = |name: &str, value: &str, expect: Option<&str>| match (check_property(name, value), expect) {
            (Ok(()), None) => {}
            (Err(reason), Some(part)) => assert!(reason.contains(part), "{name}={value}: {reason}"),
            (result, _) => panic!("{name}={value}: {result:?}"),
        };
        check("compression.level", "5", None);
        check("request.timeout.ms", "4000", None);
        check("debug", "broker,msg", None);
        check("broker.address.family", "v4", None);
        check("compression.level", "many", Some("compression.level"));
        check("broker.address.family", "v5", Some("v5"));
        check("no.such.thing", "1", Some("no property no.such.thing"));
        check("socket.timeout.ms", "1", Some("socket.timeout.ms"));
        check("dr_cb", "1", Some("dr_cb"));
        check("ut_handle_ProduceResponse", "1", Some("tests"));
        check("delivery.report.only.error", "true", Some("reported"));
        check("sasl.mechanisms", "gssapi", Some("GSSAPI"));
        check("plugin.library.paths", "x.so", Some("static"));
        check("client.id", "a\0b", Some("NUL"));
    }

    #[test]
    fn the_names_are_for_did_you_mean() {
        let names = property_names();
        for name in ["batch.size", "compression.level", "request.timeout.ms", "broker.address.family"] {
            assert!(names.iter().any(|known| known == name), "{name} is missing");
        }
        assert!(!names.iter().any(|name| name == "enabled_events"), "refused names are not suggested");
        assert!(names.is_sorted());
    }

    #[test]
    fn a_secret_is_not_in_a_message() {
        let error = check_property("ssl.key.pem", "hush-hush\0").expect_err("a NUL byte");
        assert!(!error.contains("hush"), "{error}");
    }
}
