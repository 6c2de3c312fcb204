//! The producer and the reader against librdkafka's own broker, over TCP in this process.
//!
//! What only a real Kafka shows (TLS, SASL, ACLs, idempotence across crashes) is in `tests/integration/`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::admin::Admin;
use super::mock::{MockBroker, MockFault};
use super::options::{Compression, Connection, KafkaOptions, Sasl, Secret, Tls};
use super::reader::{ReadRecord, Reader};
use super::{KafkaProducer, wait_closed};
use crate::batch::{Encoded, Header, NONE, Record, SourceKey};
use crate::budget::Budget;
use crate::output::{Fault, OutputEvent, Parcel, Producer, RecordFault, Replicas, TopicFault};

/// Nothing here takes so long; only a failure does.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sent {
    key: Option<Vec<u8>>,
    headers: Vec<(&'static str, Vec<u8>)>,
    timestamp_ms: i64,
    value: Vec<u8>,
}

fn line(text: impl Into<String>) -> Sent {
    Sent { timestamp_ms: 1_700_000_000_000, value: text.into().into_bytes(), ..Sent::default() }
}

fn connection(brokers: String) -> Connection {
    Connection {
        brokers: vec![brokers],
        client_id: "logferry-test".to_owned(),
        tls: None,
        sasl: None,
        rdkafka: Vec::new(),
    }
}

fn options(mock: &MockBroker) -> KafkaOptions {
    KafkaOptions {
        name: "main".to_owned(),
        connection: connection(mock.bootstrap()),
        compression: Compression::Lz4,
        linger: Duration::from_millis(2),
        batch_bytes: 1_000_000,
        max_record_bytes: 100_000,
        create_topics: false,
        window_bytes: 10 * 1024 * 1024,
        dead_letter: Default::default(),
    }
}

fn encode(budget: &Budget, sent: &[Sent]) -> Arc<Encoded> {
    let mut encoded = Encoded {
        buf: Vec::new(),
        records: Vec::new(),
        headers: Vec::new(),
        shares: Vec::new(),
        source: SourceKey(1),
        resume: crate::batch::Position::default(),
        permit: budget.take_within(1, PATIENCE).expect("permits come back"),
    };
    let put = |buf: &mut Vec<u8>, bytes: &[u8]| {
        let start = u32::try_from(buf.len()).expect("small");
        buf.extend_from_slice(bytes);
        start..u32::try_from(buf.len()).expect("small")
    };
    for (number, sent) in sent.iter().enumerate() {
        let value = put(&mut encoded.buf, &sent.value);
        let key = sent.key.as_ref().map(|key| put(&mut encoded.buf, key));
        let mut headers = NONE;
        if !sent.headers.is_empty() {
            headers = u32::try_from(encoded.headers.len()).expect("small");
            let header = |(name, value): &(&'static str, Vec<u8>)| Header {
                name: (*name).into(),
                value: put(&mut encoded.buf, value),
            };
            let list = sent.headers.iter().map(header).collect();
            encoded.headers.push(list);
        }
        encoded.records.push(Record {
            value_start: value.start,
            value_len: value.end - value.start,
            key_start: key.as_ref().map_or(NONE, |key| key.start),
            key_len: key.as_ref().map_or(0, |key| key.end - key.start),
            timestamp_ms: sent.timestamp_ms,
            headers,
            offset: number as u64,
        });
    }
    let bytes = encoded.buf.len();
    encoded.permit.resize(bytes);
    Arc::new(encoded)
}

/// A producer, and what it has reported.
struct Bench {
    producer: KafkaProducer,
    budget: Budget,
    parcels: u64,
    /// Of each record, by parcel and index, what was reported, in the order of the reports.
    reports: Vec<(Parcel, u32, Result<(), Fault>)>,
    topics: Vec<(Arc<str>, Result<u32, Fault>)>,
    replicas: Vec<(Arc<str>, Replicas)>,
    fatal: Vec<Arc<str>>,
}

impl Bench {
    fn new(options: &KafkaOptions) -> Self {
        Self {
            producer: KafkaProducer::open(options).expect("the options are right"),
            budget: Budget::new(64 << 20),
            parcels: 0,
            reports: Vec::new(),
            topics: Vec::new(),
            replicas: Vec::new(),
            fatal: Vec::new(),
        }
    }

    fn produce(&mut self, topic: &str, partition: i32, sent: &[Sent]) -> Parcel {
        let encoded = encode(&self.budget, sent);
        let parcel = Parcel(self.parcels);
        self.parcels += 1;
        let all = 0..u32::try_from(sent.len()).expect("small");
        self.producer.produce(parcel, &encoded, &topic.into(), partition, all);
        parcel
    }

    fn poll(&mut self, timeout: Duration) {
        let mut events = Vec::new();
        self.producer.poll(timeout, &mut events);
        for event in events {
            match event {
                OutputEvent::Report { parcel, records, result } => {
                    assert!(!records.is_empty(), "a run has records");
                    self.reports.extend(records.map(|record| (parcel, record, result.clone())));
                }
                OutputEvent::Topic { topic, result } => self.topics.push((topic, result)),
                OutputEvent::Replicas { topic, replicas } => self.replicas.push((topic, replicas)),
                OutputEvent::Fatal { message } => self.fatal.push(message),
            }
        }
    }

    fn poll_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
            self.poll(Duration::from_millis(100));
        }
    }

    fn poll_reports(&mut self, records: usize) {
        self.poll_until("every record is reported", |bench| bench.reports.len() >= records);
        assert_eq!(self.reports.len(), records, "a record is reported once");
    }

    /// What was said of each record of a parcel: once each, in the order of the records.
    fn of(&self, parcel: Parcel) -> Vec<Result<(), Fault>> {
        let mut records: BTreeMap<u32, Result<(), Fault>> = BTreeMap::new();
        for (of, record, result) in self.reports.iter().filter(|report| report.0 == parcel) {
            assert!(records.insert(*record, result.clone()).is_none(), "{of:?} record {record} is reported twice");
        }
        assert!(records.keys().copied().eq(0..u32::try_from(records.len()).expect("small")), "no gaps");
        records.into_values().collect()
    }

    fn topic_answer(&mut self, topic: &str) -> Result<u32, Fault> {
        let before = self.topics.len();
        self.poll_until("an answer", |bench| bench.topics[before..].iter().any(|(name, _)| **name == *topic));
        let found = self.topics[before..].iter().find(|(name, _)| **name == *topic);
        found.expect("waited for").1.clone()
    }
}

fn read(mock: &MockBroker, topic: &str, records: usize) -> Vec<ReadRecord> {
    let mut reader = Reader::open(&connection(mock.bootstrap()), topic).expect("the topic exists");
    let ends: i64 = reader.end_offsets().expect("the brokers are up").iter().map(|(_, end)| end).sum();
    assert_eq!(ends, i64::try_from(records).expect("small"), "records in {topic}");
    let deadline = Instant::now() + PATIENCE;
    let mut found = Vec::new();
    while found.len() < records {
        assert!(Instant::now() < deadline, "read {} of {records}", found.len());
        found.extend(reader.poll(Duration::from_millis(100)));
    }
    found
}

fn values(records: &[ReadRecord], partition: i32) -> Vec<String> {
    let of = records.iter().filter(|record| record.partition == partition);
    of.map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect()
}

#[track_caller]
fn mock(topics: &[(&str, i32)]) -> MockBroker {
    let mock = MockBroker::start(1).expect("ports on the loopback");
    for (topic, partitions) in topics {
        mock.create_topic(topic, *partitions).expect("a new topic");
    }
    mock
}

fn is_record_fault(result: &Result<(), Fault>, expect: RecordFault) -> bool {
    matches!(result, Err(Fault::Record { reason, .. }) if *reason == expect)
}

fn is_topic_fault<T>(result: &Result<T, Fault>, expect: TopicFault) -> bool {
    matches!(result, Err(Fault::Topic { reason, .. }) if *reason == expect)
}

/// Scenario: records with and without key and headers, empty ones among them, to two partitions of two topics.
/// Guarantee: each arrives where it was sent, byte for byte, in order.
#[test]
fn what_is_sent_is_what_arrives() {
    let mock = mock(&[("a", 2), ("b", 1)]);
    let mut bench = Bench::new(&options(&mock));
    let sent = [
        line("plain"),
        Sent { key: Some(b"key".to_vec()), ..line("keyed") },
        Sent { key: Some(Vec::new()), timestamp_ms: 1, ..line("empty key") },
        Sent { headers: vec![("h", b"1".to_vec()), ("h", Vec::new())], ..line("headers, no key") },
        Sent { key: Some(vec![0, 255]), headers: vec![("long name", vec![0; 300])], ..line("both") },
        line(""),
        line("x".repeat(99_000)),
    ];
    let lanes = [("a", 0), ("a", 1), ("b", 0)];
    for (topic, partition) in lanes {
        bench.produce(topic, partition, &sent);
    }
    bench.poll_reports(lanes.len() * sent.len());
    for (topic, partitions) in [("a", 2), ("b", 1)] {
        let found = read(&mock, topic, partitions * sent.len());
        for partition in 0..i32::try_from(partitions).expect("small") {
            let found: Vec<Sent> = found
                .iter()
                .filter(|record| record.partition == partition)
                .map(|record| Sent {
                    key: record.key.clone(),
                    headers: Vec::new(),
                    timestamp_ms: record.timestamp_ms,
                    value: record.value.clone(),
                })
                .collect();
            let sent: Vec<Sent> = sent.iter().map(|sent| Sent { headers: Vec::new(), ..sent.clone() }).collect();
            assert_eq!(found, sent);
        }
        for record in found {
            let expect = &sent[usize::try_from(record.offset).expect("from 0")].headers;
            let expect: Vec<(String, Vec<u8>)> =
                expect.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            assert_eq!(record.headers, expect, "{record:?}");
        }
    }
}

/// Scenario: a range of a batch is handed over, and the rest of it later, to another partition.
/// Guarantee: exactly those records are sent, and reported under their indexes in the batch.
#[test]
fn a_range_of_a_batch_keeps_its_indexes() {
    let mock = mock(&[("t", 2)]);
    let mut bench = Bench::new(&options(&mock));
    let lines: Vec<Sent> = (0..10).map(|n| line(n.to_string())).collect();
    let encoded = encode(&bench.budget, &lines);
    let topic: Arc<str> = "t".into();
    for (parcel, partition, records) in [(0, 0, 3..7), (1, 1, 7..10), (2, 0, 0..0)] {
        bench.producer.produce(Parcel(parcel), &encoded, &topic, partition, records);
    }
    bench.poll_reports(7);
    let of = |parcel| -> Vec<u32> {
        bench.reports.iter().filter(|report| report.0 == Parcel(parcel)).map(|report| report.1).collect()
    };
    assert_eq!(of(0), (3..7).collect::<Vec<_>>());
    assert_eq!(of(1), (7..10).collect::<Vec<_>>());
    let found = read(&mock, "t", 7);
    assert_eq!(values(&found, 0), ["3", "4", "5", "6"]);
    assert_eq!(values(&found, 1), ["7", "8", "9"]);
}

/// Scenario: many hand-overs in flight, in all five compressions.
/// Guarantee: reports are runs in order, cover each record once, and every batch is freed.
#[test]
fn reports_cover_every_record_once_in_every_compression() {
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let mock = mock(&[("t", 1)]);
        let mut bench = Bench::new(&KafkaOptions { compression, ..options(&mock) });
        let lines = |parcel: usize| (0..97).map(move |n| line(format!("{parcel}/{n} {}", "~".repeat(n))));
        let parcels: Vec<Parcel> =
            (0..50).map(|parcel| bench.produce("t", 0, &lines(parcel).collect::<Vec<_>>())).collect();
        bench.poll_reports(50 * 97);
        assert!(bench.reports.is_sorted_by_key(|report| (report.0, report.1)), "one lane is reported in order");
        for parcel in parcels {
            assert_eq!(bench.of(parcel), vec![Ok(()); 97], "{compression:?}");
        }
        assert_eq!(bench.producer.in_flight(), 0);
        assert_eq!(bench.budget.bytes_used(), 0, "batches are freed with their last report");
        let expect: Vec<String> =
            (0..50).flat_map(lines).map(|line| String::from_utf8(line.value).expect("ASCII")).collect();
        assert_eq!(values(&read(&mock, "t", 50 * 97), 0), expect, "{compression:?}");
    }
}

/// Scenario: a record over `max_record_bytes` between others. Guarantee: it alone is refused, at once, with the reason.
#[test]
fn an_oversize_record_is_refused_alone() {
    let mock = mock(&[("t", 1)]);
    let mut bench = Bench::new(&options(&mock));
    let fits = Sent { key: Some(vec![b'k'; 1_000]), ..line("f".repeat(99_000)) };
    let over = Sent { headers: vec![("h", Vec::new())], ..fits.clone() };
    let parcel = bench.produce("t", 0, &[line("before"), over, fits, line("after")]);
    bench.poll_reports(4);
    let results = bench.of(parcel);
    assert!(is_record_fault(&results[1], RecordFault::TooLarge), "{results:?}");
    assert_eq!([&results[0], &results[2], &results[3]], [&Ok(()); 3]);
    assert_eq!(read(&mock, "t", 3).last().map(|record| record.value.clone()), Some(b"after".to_vec()));
}

/// Scenario: the broker refuses a batch, each way a broker can. Guarantee: the reports accuse whom DESIGN says.
#[test]
fn a_refused_batch_accuses_the_right_one() {
    let check = |fault: MockFault, expect: fn(&Result<(), Fault>) -> bool| {
        let mock = mock(&[("t", 1)]);
        let mut bench = Bench::new(&options(&mock));
        mock.fail_produce(&[fault]);
        let parcel = bench.produce("t", 0, &[line("1"), line("2")]);
        bench.poll_reports(2);
        for result in bench.of(parcel) {
            assert!(expect(&result), "{fault:?}: {result:?}");
        }
        // The producer lives on, and a topic that was refused is taken again within seconds.
        let refused = Instant::now();
        while bench.reports.last().is_some_and(|last| last.2.is_err()) {
            assert!(refused.elapsed() < Duration::from_secs(60), "after {fault:?}: {:?}", bench.reports.last());
            let reports = bench.reports.len();
            bench.produce("t", 0, &[line("3")]);
            bench.poll_reports(reports + 1);
            bench.poll(Duration::from_millis(100));
        }
    };
    check(MockFault::TooLarge, |result| is_record_fault(result, RecordFault::TooLarge));
    check(MockFault::InvalidTimestamp, |result| is_record_fault(result, RecordFault::InvalidTimestamp));
    check(MockFault::InvalidRecord, |result| is_record_fault(result, RecordFault::Invalid));
    check(MockFault::NotAuthorized, |result| is_topic_fault(result, TopicFault::NotAuthorized));
    check(MockFault::Policy, |result| is_topic_fault(result, TopicFault::Refused));
}

/// Scenario: transient errors, a broken connection among them. Guarantee: nothing of it is seen; all arrive once, in order.
#[test]
fn transient_errors_are_not_reported() {
    let mock = mock(&[("t", 1)]);
    let mut bench = Bench::new(&options(&mock));
    mock.fail_produce(&[
        MockFault::NotLeader,
        MockFault::NotEnoughReplicas,
        MockFault::TimedOut,
        MockFault::Disconnect,
    ]);
    let lines: Vec<Sent> = (0..20).map(|n| line(n.to_string())).collect();
    for line in &lines {
        bench.produce("t", 0, std::slice::from_ref(line));
        bench.poll(Duration::ZERO);
    }
    bench.poll_reports(20);
    assert!(bench.reports.iter().all(|report| report.2.is_ok()), "{:?}", bench.reports);
    let expect: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(values(&read(&mock, "t", 20), 0), expect);
}

/// The numbers that librdkafka gives of one broker's thread.
#[derive(Default)]
struct Statistics {
    wakeups: AtomicU64,
    unanswered: AtomicI64,
}

impl ClientContext for Statistics {
    fn stats(&self, statistics: rdkafka::Statistics) {
        for broker in statistics.brokers.values().filter(|broker| broker.nodeid == 1) {
            self.wakeups.store(broker.wakeups.unwrap_or_default(), Ordering::Relaxed);
            self.unanswered.store(broker.waitresp_cnt, Ordering::Relaxed);
        }
    }
}

impl ProducerContext for Statistics {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        result.as_ref().expect("the broker takes it");
    }
}

/// Scenario: a second batch of a partition waits, longer than `linger`, for the answer to the first. Guarantee: the broker's
/// thread sleeps meanwhile. Without `idle` it wakes a million times.
#[test]
fn a_broker_thread_sleeps_until_the_answer_comes() {
    let mock = mock(&[("t", 1)]);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", mock.bootstrap()).set("enable.idempotence", "true");
    config.set("linger.ms", "1").set("statistics.interval.ms", "20");
    let producer: BaseProducer<Statistics> =
        config.create_with_context(Statistics::default()).expect("a good configuration");
    let statistics = producer.context();
    let send = |texts: std::ops::Range<u32>| {
        for n in texts {
            let value = n.to_string();
            let record = BaseRecord::<(), _>::to("t").partition(0).payload(&value);
            producer.send(record).expect("there is room in the queue");
        }
    };
    let poll_until = |what: &str, done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "waited for {what} in vain");
            producer.poll(Duration::from_millis(10));
        }
    };
    send(0..1);
    poll_until("the connection", &|| producer.in_flight_count() == 0);
    mock.set_delay(1, Duration::from_secs(1)).expect("there is a broker 1");
    send(1..100);
    poll_until("the first batch to be on its way", &|| statistics.unanswered.load(Ordering::Relaxed) == 1);
    let before = statistics.wakeups.load(Ordering::Relaxed);
    send(100..200);
    poll_until("both answers", &|| producer.in_flight_count() == 0);
    let reported = statistics.wakeups.load(Ordering::Relaxed);
    poll_until("the numbers of now", &|| statistics.wakeups.load(Ordering::Relaxed) != reported);
    let wakeups = statistics.wakeups.load(Ordering::Relaxed) - before;
    // One a millisecond, over the two answers, and what else there is to do.
    assert!(wakeups < 10_000, "it woke {wakeups} times");
}

/// What `idle` stands in for was read in this version.
#[test]
fn librdkafka_is_the_one_that_idle_was_written_for() {
    let (_, version) = rdkafka::util::get_rdkafka_version();
    assert_eq!(
        version, "2.12.1",
        "does a thread still spin, and is rd_kafka_transport_io_serve still the same? See `idle`"
    );
}

/// Scenario: an error that an idempotent producer can't survive. Guarantee: it is said once, and what is handed over
/// afterwards is given back as the producer's fault.
#[test]
fn a_fatal_error_is_said_once() {
    let mock = mock(&[("t", 1)]);
    let mut bench = Bench::new(&options(&mock));
    bench.produce("t", 0, &[line("1")]);
    bench.poll_reports(1);
    mock.fail_produce(&[MockFault::OutOfOrderSequence]);
    bench.produce("t", 0, &[line("2")]);
    bench.poll_until("a fatal error", |bench| !bench.fatal.is_empty());
    assert!(bench.fatal[0].contains("main"), "{:?}", bench.fatal);
    let parcel = bench.produce("t", 0, &[line("3"), line("4")]);
    bench.poll_until("a refusal", |bench| bench.of(parcel).len() == 2);
    for result in bench.of(parcel) {
        assert!(matches!(&result, Err(Fault::Producer { .. })), "{result:?}");
    }
    assert_eq!(bench.fatal.len(), 1);
}

/// Scenario: a partition that the topic does not have, before and after the topic is known. Guarantee: the partition is
/// accused, every record is given back, and the partitions that exist flow.
#[test]
fn an_unknown_partition_is_gone() {
    let mock = mock(&[("t", 2)]);
    let mut bench = Bench::new(&options(&mock));
    for round in 0..2 {
        let gone = bench.produce("t", 2, &[line("1"), line("2")]);
        let there = bench.produce("t", 1, &[line("3")]);
        bench.poll_reports(3 * (round + 1));
        for result in bench.of(gone) {
            assert!(is_topic_fault(&result, TopicFault::PartitionGone), "{result:?}");
        }
        assert_eq!(bench.of(there), [Ok(())]);
    }
}

/// Scenario: lookups of a topic that exists, of one that is missing and created later, and of one that is forbidden.
/// Guarantee: each is answered, nothing is created by asking, and what becomes known is said.
#[test]
fn lookups_are_answered_and_asked_again() {
    let mock = mock(&[("there", 3), ("forbidden", 1)]);
    mock.set_topic_fault("forbidden", Some(MockFault::NotAuthorized)).expect("it exists");
    let mut bench = Bench::new(&options(&mock));
    bench.producer.lookup(&"there".into());
    assert_eq!(bench.topic_answer("there"), Ok(3));
    bench.producer.lookup(&"there".into());
    assert_eq!(bench.topic_answer("there"), Ok(3), "who asks again is answered again");
    bench.producer.lookup(&"forbidden".into());
    let answer = bench.topic_answer("forbidden");
    assert!(is_topic_fault(&answer, TopicFault::NotAuthorized), "{answer:?}");
    bench.producer.lookup(&"missing".into());
    let answer = bench.topic_answer("missing");
    assert!(is_topic_fault(&answer, TopicFault::Missing), "{answer:?}");
    mock.create_topic("missing", 5).expect("asking has not created it");
    assert_eq!(bench.topic_answer("missing"), Ok(5));
    mock.set_topic_fault("forbidden", None).expect("it exists");
    assert_eq!(bench.topic_answer("forbidden"), Ok(1));
}

/// Scenario: a topic that is missing is forgotten, and looked up again once it exists. Guarantee: it is asked for no more in between,
/// and the next lookup is answered.
#[test]
fn a_missing_topic_is_asked_for_until_it_is_forgotten() {
    let mock = mock(&[]);
    let mut bench = Bench::new(&options(&mock));
    let missing: Arc<str> = "missing".into();
    bench.producer.lookup(&missing);
    let answer = bench.topic_answer("missing");
    assert!(is_topic_fault(&answer, TopicFault::Missing), "{answer:?}");
    assert_eq!(bench.producer.topics_asked(), 1);
    bench.producer.forget(&missing);
    assert_eq!(bench.producer.topics_asked(), 0);
    mock.create_topic("missing", 2).expect("asking has not created it");
    bench.producer.lookup(&missing);
    bench.poll_until("the next answer", |bench| {
        bench.topics.iter().any(|(topic, answer)| *topic == missing && *answer == Ok(2))
    });
}

/// Scenario: more topics than are asked for one by one. Guarantee: every lookup is answered.
#[test]
fn many_lookups_at_once_are_all_answered() {
    let names: Vec<String> = (0..40).map(|n| format!("topic-{n}")).collect();
    let mock = mock(&[]);
    for (n, name) in names.iter().enumerate().filter(|(n, _)| n % 4 != 0) {
        mock.create_topic(name, i32::try_from(n).expect("small")).expect("a new topic");
    }
    let mut bench = Bench::new(&options(&mock));
    for name in &names {
        bench.producer.lookup(&name.as_str().into());
    }
    bench.poll_until("all answers", |bench| bench.topics.len() >= names.len());
    for (n, name) in names.iter().enumerate() {
        let found = bench.topics.iter().find(|(topic, _)| **topic == **name).map(|(_, result)| result);
        let found = found.unwrap_or_else(|| panic!("no answer for {name}"));
        if n % 4 == 0 {
            assert!(is_topic_fault(found, TopicFault::Missing), "{name}: {found:?}");
        } else {
            assert_eq!(found, &Ok(u32::try_from(n).expect("small")), "{name}");
        }
    }
}

/// Scenario: `create_topics: broker`. Guarantee: asking creates the topic.
#[test]
fn a_broker_may_create_what_is_asked_for() {
    let mock = mock(&[]);
    let mut bench = Bench::new(&KafkaOptions { create_topics: true, ..options(&mock) });
    bench.producer.lookup(&"new".into());
    assert_eq!(bench.topic_answer("new"), Ok(4), "the embedded broker's default");
}

/// Scenario: a name that no topic can have. Guarantee: lookup and records say so; nothing else suffers.
#[test]
fn an_impossible_name_is_refused() {
    let mock = mock(&[("t", 1)]);
    let mut bench = Bench::new(&options(&mock));
    for name in ["", "nul\0byte"] {
        bench.producer.lookup(&name.into());
        let answer = bench.topic_answer(name);
        assert!(is_topic_fault(&answer, TopicFault::Refused), "{name:?}: {answer:?}");
        let before = bench.reports.len();
        let parcel = bench.produce(name, 0, &[line("1"), line("2")]);
        bench.poll_reports(before + 2);
        for result in bench.of(parcel) {
            assert!(is_topic_fault(&result, TopicFault::Refused), "{name:?}: {result:?}");
        }
    }
    bench.produce("t", 0, &[line("1")]);
    bench.poll_reports(5);
    assert_eq!(bench.reports[4].2, Ok(()));
}

/// Scenario: the broker goes away with records in flight, more are handed over, it comes back.
/// Guarantee: no report while it is away, then all of them; every record arrives once and in order.
#[test]
fn an_outage_delays_and_loses_nothing() {
    let mock = mock(&[("t", 1)]);
    let mut bench = Bench::new(&options(&mock));
    bench.produce("t", 0, &[line("0")]);
    bench.poll_reports(1);
    mock.down(-1).expect("it is up");
    for n in 1..200 {
        bench.produce("t", 0, &[line(n.to_string())]);
    }
    bench.producer.lookup(&"t".into());
    for _ in 0..5 {
        bench.poll(Duration::from_millis(100));
    }
    assert_eq!(bench.reports.len(), 1, "nothing is acknowledged while the broker is away");
    assert!(bench.topics.is_empty(), "an outage is not a fault of the topic: {:?}", bench.topics);
    mock.up(-1).expect("it is down");
    bench.poll_reports(200);
    assert_eq!(bench.topic_answer_so_far("t"), Some(Ok(1)));
    assert!(bench.reports.iter().all(|report| report.2.is_ok()));
    let expect: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    assert_eq!(values(&read(&mock, "t", 200), 0), expect);
}

impl Bench {
    /// The answer for a topic, which may have come before.
    fn topic_answer_so_far(&mut self, topic: &str) -> Option<Result<u32, Fault>> {
        self.poll_until("an answer", |bench| bench.topics.iter().any(|(name, _)| **name == *topic));
        self.topics.iter().find(|(name, _)| **name == *topic).map(|(_, result)| result.clone())
    }
}

/// Scenario: nothing happens, but another thread asks for a topic. Guarantee: a poll with a long timeout returns with the
/// answer.
#[test]
fn a_waiting_poll_is_woken() {
    let mock = mock(&[("t", 1)]);
    let bench = Bench::new(&options(&mock));
    let mut events = Vec::new();
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| bench.producer.lookup(&"t".into()));
        // Log lines may end a poll early.
        while events.is_empty() && started.elapsed() < PATIENCE {
            bench.producer.poll(PATIENCE, &mut events);
        }
    });
    let [OutputEvent::Replicas { replicas, .. }, OutputEvent::Topic { result: Ok(1), .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(replicas.len(), 1, "one partition");
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
}

/// Scenario: producers are dropped with records in flight: queued, sent and unanswered, refused and unpolled.
/// Guarantee: dropping does not wait, ends, and frees every batch.
#[test]
fn dropping_with_records_in_flight_is_sound() {
    let mock = mock(&[("t", 1)]);
    mock.set_delay(-1, Duration::from_millis(20)).expect("it is up");
    let mut budgets = Vec::new();
    for round in 0..40u64 {
        // Uncompressed and large, so that librdkafka refers to the payloads until they are on the wire.
        let compression = if round % 2 == 0 { Compression::None } else { Compression::Zstd };
        let mut bench = Bench::new(&KafkaOptions { compression, ..options(&mock) });
        for _ in 0..8 {
            bench.produce("t", 0, &[line("x".repeat(90_000)), line("y".repeat(200_000)), line("z")]);
            bench.produce("t", 7, &[line("no such partition")]);
        }
        bench.producer.lookup(&"t".into());
        bench.poll(Duration::from_millis(round));
        let Bench { producer, budget, .. } = bench;
        let started = Instant::now();
        drop(producer);
        assert!(started.elapsed() < Duration::from_secs(5), "dropping waited {:?}", started.elapsed());
        budgets.push(budget);
    }
    assert!(wait_closed(PATIENCE), "dropped clients end");
    for budget in budgets {
        assert_eq!(budget.bytes_used(), 0, "every batch is freed");
    }
}

/// Scenario: several threads hand over, each to its partition, while one polls. Guarantee: as for one.
#[test]
fn threads_hand_over_at_once() {
    const PER_THREAD: u32 = 300;
    let mock = mock(&[("t", 4)]);
    let mut bench = Bench::new(&options(&mock));
    let (producer, budget) = (&bench.producer, &bench.budget);
    std::thread::scope(|scope| {
        for partition in 0..4 {
            scope.spawn(move || {
                for n in 0..PER_THREAD {
                    let encoded = encode(budget, &[line(format!("{n}a")), line(format!("{n}b"))]);
                    let records: Range<u32> = 0..2;
                    let parcel = Parcel(u64::from(n) * 4 + u64::try_from(partition).expect("small"));
                    producer.produce(parcel, &encoded, &"t".into(), partition, records);
                }
            });
        }
    });
    let records = PER_THREAD as usize * 4 * 2;
    bench.poll_reports(records);
    let found = read(&mock, "t", records);
    let expect: Vec<String> = (0..PER_THREAD).flat_map(|n| [format!("{n}a"), format!("{n}b")]).collect();
    for partition in 0..4 {
        assert_eq!(values(&found, partition), expect, "partition {partition}");
    }
}

/// Scenario: a broker that is up, then one that is away. Guarantee: status names it, its state and its last error.
#[test]
fn brokers_are_known_with_their_state() {
    let mock = mock(&[("t", 1)]);
    let mut quick = options(&mock);
    quick.connection.rdkafka = vec![("statistics.interval.ms".to_owned(), "1000".to_owned())];
    let mut bench = Bench::new(&quick);
    bench.produce("t", 0, &[line("1")]);
    bench.poll_until("an UP broker", |bench| {
        bench.producer.brokers().iter().any(|broker| broker.state == "UP" && broker.name.ends_with("/1"))
    });
    mock.down(-1).expect("it is up");
    bench.poll_until("an error of the broker", |bench| {
        let brokers = bench.producer.brokers();
        brokers.iter().any(|broker| broker.state != "UP" && broker.last_error.is_some())
    });
}

/// Scenario: options that librdkafka can't take. Guarantee: opening says which property, and why.
#[test]
fn opening_says_what_is_wrong() {
    let mock = mock(&[]);
    let check = |name: &str, value: &str, expect: &str| {
        let mut options = options(&mock);
        options.connection.rdkafka = vec![(name.to_owned(), value.to_owned())];
        let error = KafkaProducer::open(&options).map(|_| ()).expect_err("refused").to_string();
        assert!(error.contains(expect), "{error}");
    };
    check("compression.level", "lots", "compression.level");
    check("no.such", "1", "no.such");
    let dir = tempfile::tempdir().expect("a directory");
    let der = dir.path().join("ca.der");
    std::fs::write(&der, [0x30, 0x82]).expect("a file");
    for (ca_file, expect) in [("/no/such/file.pem".into(), "No such file"), (der, "PEM")] {
        let mut options = options(&mock);
        options.connection.tls = Some(Tls { ca_file: Some(ca_file), verify: true, ..Tls::default() });
        let error = KafkaProducer::open(&options).map(|_| ()).expect_err("refused").to_string();
        assert!(error.contains("tls.ca_file") && error.contains(expect), "{error}");
    }
}

/// What is logged, as text.
#[derive(Clone, Default)]
struct Logged(Arc<std::sync::Mutex<Vec<u8>>>);

impl Logged {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("unpoisoned")).into_owned()
    }
}

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("unpoisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Scenario: a broker that refuses connections, SASL, and librdkafka told to log everything. Guarantee: its lines are ours,
/// with the name of the output, and the password is in none.
#[test]
fn what_librdkafka_logs_is_ours_and_without_secrets() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let mock = mock(&[]);
    let mut options = options(&mock);
    options.connection.brokers = vec![closed.to_string()];
    let (username, password) = ("ferry".to_owned(), Secret("hush-hush".to_owned()));
    options.connection.sasl = Some(Sasl::Plain { username, password });
    options.connection.rdkafka = vec![("debug".to_owned(), "all".to_owned())];
    let logged = Logged::default();
    let writer = {
        let logged = logged.clone();
        move || logged.clone()
    };
    let subscriber =
        tracing_subscriber::fmt().with_writer(writer).with_ansi(false).with_max_level(tracing::Level::TRACE).finish();
    tracing::subscriber::with_default(subscriber, || {
        let mut bench = Bench::new(&options);
        bench.poll_until("a refused connection", |_| logged.text().contains("Connection refused"));
        bench.poll_until("the configuration in the log", |_| logged.text().contains("sasl.password"));
    });
    let text = logged.text();
    assert!(text.contains("logferry::kafka") && text.contains("output=\"main\""), "{text}");
    assert!(!text.contains("hush-hush"), "the password is in the log");
}

/// Scenario: administration without a broker. Guarantee: the error names the brokers and what went wrong, in time.
#[test]
fn an_unreachable_cluster_is_explained() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let admin = Admin::open(&connection(closed.to_string())).expect("the options are right");
    let error = admin.metadata(None, Duration::from_secs(1)).expect_err("nobody listens").to_string();
    assert!(error.contains(&closed.to_string()) && error.contains("Connection refused"), "{error}");
}

/// Scenario: administration with a broker. Guarantee: it names brokers and topics, and creates nothing by asking.
#[test]
fn a_cluster_tells_its_brokers_and_topics() {
    let mock = mock(&[("a", 2), ("b", 1)]);
    let admin = Admin::open(&connection(mock.bootstrap())).expect("the options are right");
    let info = admin.metadata(None, PATIENCE).expect("the broker is up");
    assert_eq!(
        info.brokers.iter().map(|broker| format!("{}:{}", broker.host, broker.port)).collect::<Vec<_>>(),
        [mock.bootstrap()]
    );
    let mut topics: Vec<_> = info.topics.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect();
    topics.sort_unstable();
    assert_eq!(topics, [("a", 2), ("b", 1)]);
    let missing = admin.metadata(Some("c"), PATIENCE).expect("the broker is up");
    assert!(missing.topics[0].error.is_some(), "{missing:?}");
}
