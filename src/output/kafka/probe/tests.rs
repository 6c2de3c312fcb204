//! What no real broker can be told to do here: an old version, a full queue of connections, odd metadata and odd words.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::ask::{Facts, TopicFacts};
use super::judge::{Limits, judge};
use super::trouble::{RefusedCertificate, of};
use super::*;
use crate::output::kafka::admin::{PartitionDescription, Rights, TopicDescription};
use crate::output::kafka::ffi::Named;
use crate::output::kafka::mock::MockBroker;
use crate::output::kafka::options::{Compression, Sasl, Secret, Tls};

fn connection(brokers: &str) -> Connection {
    Connection {
        brokers: brokers.split(',').map(str::to_owned).collect(),
        client_id: "check".to_owned(),
        tls: None,
        sasl: None,
        rdkafka: Vec::new(),
    }
}

fn wanted(topic: &str) -> Wanted {
    Wanted { topic: topic.to_owned(), by: "input a".to_owned(), keys: Keys::All }
}

fn text(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{:?}: {finding}\n", finding.weight)).collect()
}

#[test]
fn a_broker_older_than_2_1_is_named() {
    let mock = MockBroker::start(1).expect("a broker");
    mock.create_topic("logs", 2).expect("a topic");
    let options = KafkaOptions {
        name: "main".to_owned(),
        connection: connection(&mock.bootstrap()),
        compression: Compression::None,
        linger: Duration::ZERO,
        batch_bytes: 1_000_000,
        max_record_bytes: 1_000_000,
        create_topics: false,
        window_bytes: 10 << 20,
        dead_letter: Default::default(),
    };
    let records = Records { time_before: Duration::ZERO, time_after: Duration::ZERO };
    let probed = || text(&probe(&options, &[], records, Duration::from_secs(10)));
    let said = probed();
    assert_eq!(said, format!("Fine: broker {}: fine (plaintext)\n", mock.bootstrap()));
    mock.speak_produce_up_to(6).expect("the mock takes it");
    let said = probed();
    assert!(said.starts_with("Wrong: broker ") && said.contains("it is older than Kafka 2.1; upgrade it"), "{said}");
}

#[test]
fn a_machine_that_does_not_answer_costs_no_more_than_its_time() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("any port");
    let address = listener.local_addr().expect("it is bound");
    // SAFETY: a descriptor of ours, alive. A listening socket may be given another backlog.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    // What fills the queue; Linux then answers no more SYN, as a firewall that drops.
    let short = Duration::from_millis(200);
    let fill: Vec<_> = (0..4).map_while(|_| TcpStream::connect_timeout(&address, short).ok()).collect();
    assert!(fill.len() < 4, "the queue is not full");
    let begun = Instant::now();
    let trouble = reach::reach(&address.to_string(), begun + short).expect_err("nothing answers");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(trouble.what, format!("TCP: {address} does not answer"));
    assert!(trouble.fix.contains("firewall"), "{}", trouble.fix);
    assert!(reach::reach("nonsense", begun + short).is_err());
    assert!(reach::reach("127.0.0.1:99999", begun + short).is_err());
}

fn sasl() -> Option<Sasl> {
    Some(Sasl::ScramSha512 { username: "ferry".to_owned(), password: Secret("s3cret".to_owned()) })
}

#[test]
fn words_are_told_apart() {
    const SSL: i32 = Named::RD_KAFKA_RESP_ERR__SSL as i32;
    const AUTHENTICATION: i32 = Named::RD_KAFKA_RESP_ERR__AUTHENTICATION as i32;
    const TRANSPORT: i32 = Named::RD_KAFKA_RESP_ERR__TRANSPORT as i32;
    let plain = connection("k:9092");
    let tls = Connection { tls: Some(Tls { verify: true, ..Tls::default() }), ..plain.clone() };
    let login = Connection { sasl: sasl(), ..tls.clone() };
    let check = |connection: &Connection, code: i32, words: &str, expect: Option<&str>| {
        let trouble = of("k:9092", connection, code, words, None);
        let what = trouble.as_ref().map(|trouble| trouble.what.as_str());
        match expect {
            None => assert_eq!(what, None, "{words}"),
            Some(part) => assert!(what.is_some_and(|what| what.contains(part)), "{words}: {what:?}"),
        }
    };
    check(&plain, TRANSPORT, "k:9092/bootstrap: Connect to ipv4#10.0.0.1:9092 failed: Connection refused", None);
    check(&plain, TRANSPORT, "k:9092/1: Disconnected (after 1ms in state APIVERSION_QUERY)", None);
    let again = "k:9092/1: Disconnected (after 1ms in state APIVERSION_QUERY, 1 identical error(s) suppressed)";
    check(&plain, TRANSPORT, again, Some("as plaintext Kafka does"));
    let hangs_up = "ssl://k:9092/1: Disconnected (after 1ms in state UP, 1 identical error(s) suppressed)";
    check(&tls, TRANSPORT, hangs_up, Some("the broker wants one"));
    check(&login, TRANSPORT, hangs_up, None);
    check(
        &tls,
        SSL,
        "ssl://k:9092/bootstrap: SSL handshake failed: error:0A000438:SSL routines::tlsv1 alert internal error",
        Some("TLS: SSL handshake failed: error:0A000438"),
    );
    check(&tls, SSL, "k/1: SSL handshake failed: alert certificate required", Some("wants a client certificate"));
    check(
        &login,
        AUTHENTICATION,
        "sasl_ssl://k:9092/1: SASL authentication error: no (after 3ms in state AUTH_REQ)",
        Some("login: SCRAM-SHA-512 as user ferry is refused: SASL authentication error: no"),
    );
    check(
        &login,
        AUTHENTICATION,
        "x/1: Unsupported SASL mechanism: broker's supported mechanisms: PLAIN",
        Some("does not take"),
    );
    check(&login, AUTHENTICATION, "x/1: SASL state: broker's supported mechanisms: ", Some("this listener takes none"));
}

#[test]
fn refused_certificates_are_told_apart() {
    let mut params = rcgen::CertificateParams::new(vec!["kafka-0.example".to_owned()]).expect("a valid name");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "kafka");
    params.not_before = rcgen::date_time_ymd(2030, 1, 1);
    params.not_after = rcgen::date_time_ymd(2031, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let der = params.self_signed(&key).expect("signed").der().to_vec();
    let connection = Connection { tls: Some(Tls { verify: true, ..Tls::default() }), ..connection("k-1:9092") };
    let check = |error: i32, depth: i32, der: &[u8], expect: &str| {
        let refused = RefusedCertificate { error, reason: "OpenSSL's words".to_owned(), depth, der: der.to_vec() };
        let trouble = of("k-1:9092", &connection, 0, "whatever", Some(&refused)).expect("a trouble");
        assert!(trouble.what.contains(expect) && !trouble.fix.is_empty(), "{trouble:?}");
    };
    check(10, 0, &der, "the broker's certificate (CN=kafka) has expired on 2031-01-01 00:00:00 UTC");
    check(10, 1, &der, "the authority's certificate (CN=kafka) has expired");
    check(9, 0, &der, "is not valid before 2030-01-01 00:00:00 UTC");
    check(62, 0, &der, "(CN=kafka) is for kafka-0.example, not for k-1");
    check(18, 0, &der, "an authority that is not in the system's certificate authorities: CN=kafka");
    check(66, 0, &der, "is refused: OpenSSL's words");
    check(66, 0, b"garbage", "is refused: OpenSSL's words");
}

fn limits() -> Limits {
    Limits {
        record_bytes_max: 1_000_000,
        batch_bytes: 1_000_000,
        time_before: Duration::from_secs(86_400),
        time_after: Duration::from_secs(300),
        creates_topics: false,
        principal: "User:ferry".to_owned(),
    }
}

fn facts(code: Named, partitions: &[(Option<i32>, usize, usize)], settings: &[(&str, &str)]) -> TopicFacts {
    let partition = |(id, (leader, in_sync, replicas)): (i32, &(Option<i32>, usize, usize))| PartitionDescription {
        id,
        leader: *leader,
        in_sync: *in_sync,
        replicas: *replicas,
    };
    TopicFacts {
        description: TopicDescription {
            name: "logs".to_owned(),
            code: code as i32,
            partitions: (0..).zip(partitions).map(partition).collect(),
            rights: Some(Rights { write: true }),
        },
        config: Ok(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()),
        may_create: None,
    }
}

#[test]
fn partitions_are_judged() {
    let good = Named::RD_KAFKA_RESP_ERR_NO_ERROR;
    let check = |partitions: &[(Option<i32>, usize, usize)], expect: &[&str]| {
        let facts = facts(good, partitions, &[("min.insync.replicas", "2")]);
        let said = text(&judge(&wanted("logs"), Some(&facts), &Facts::default(), &limits()));
        assert_eq!(said.lines().count(), expect.len(), "{said}");
        for part in expect {
            assert!(said.contains(part), "{part}: {said}");
        }
    };
    check(&[(Some(1), 3, 3), (Some(2), 2, 3)], &["Fine: topic logs (input a): fine (2 partitions)"]);
    check(&[(Some(1), 3, 3), (None, 0, 3)], &["Wrong: topic logs (input a): no leader for partition 1"]);
    check(&[(Some(1), 1, 3), (Some(1), 1, 3)], &["than min.insync.replicas (2) for partition 0, 1"]);
    check(&[(Some(1), 1, 1)], &["min.insync.replicas is 2, but partition 0 has fewer replicas"]);
    let many: Vec<_> = (0..20).map(|_| (None, 0, 3)).collect();
    check(&many, &["no leader for partition 0, 1, 2, 3, 4, 5, 6, 7, …; "]);
}

#[test]
fn a_missing_topic_depends_on_who_makes_topics() {
    let missing = facts(Named::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, &[], &[]);
    let check = |creates_topics, broker_creates, expect: &str| {
        let limits = Limits { creates_topics, ..limits() };
        let all = Facts { broker_creates_topics: broker_creates, ..Facts::default() };
        let said = text(&judge(&wanted("logs"), Some(&missing), &all, &limits));
        assert!(said.contains(expect), "{said}");
    };
    check(false, None, "Wrong: topic logs (input a): it does not exist; kafka-topics --create --topic logs");
    check(true, Some(false), "Wrong: topic logs (input a): it does not exist, and the broker will not create it");
    check(true, Some(true), "Note: topic logs (input a): it does not exist; the broker will create it");
    check(true, None, "Note: topic logs (input a): it does not exist; the broker will create it");
    let all = Facts { broker_creates_topics: Some(true), ..Facts::default() };
    let forbidden = TopicFacts { may_create: Some(false), ..missing.clone() };
    let creates = Limits { creates_topics: true, ..limits() };
    let said = text(&judge(&wanted("logs"), Some(&forbidden), &all, &creates));
    assert!(said.starts_with("Wrong: ") && said.contains("User:ferry may not create it: ACL CREATE"), "{said}");
    let said = judge(&wanted("logs"), None, &Facts::default(), &limits());
    assert_eq!(said[0].weight, Weight::Wrong);
    let odd = facts(Named::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, &[], &[]);
    assert!(text(&judge(&wanted("logs"), Some(&odd), &Facts::default(), &limits())).contains("TOPIC_EXCEPTION"));
}

#[test]
fn what_a_broker_does_not_tell_is_a_note() {
    let mut facts = facts(Named::RD_KAFKA_RESP_ERR_NO_ERROR, &[(Some(1), 1, 1)], &[]);
    facts.description.rights = None;
    facts.config = Err("TOPIC_AUTHORIZATION_FAILED".to_owned());
    let said = judge(&wanted("logs"), Some(&facts), &Facts::default(), &limits());
    let weights: Vec<Weight> = said.iter().map(|finding| finding.weight).collect();
    assert_eq!(weights, [Weight::Fine, Weight::Note, Weight::Note], "{}", text(&said));
    facts.config = Ok(BTreeMap::from([("max.message.bytes".to_owned(), "no number".to_owned())]));
    let said = judge(&wanted("logs"), Some(&facts), &Facts::default(), &limits());
    assert_eq!(said.len(), 2, "{}", text(&said));
}
