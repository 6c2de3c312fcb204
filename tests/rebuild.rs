//! The producer is replaced under load: the whole pipeline and librdkafka, against librdkafka's own broker over TCP, which can be told to
//! fail in ways that a real one can't.
//!
//! Not here: what real brokers do (`tests/integration/`), and every order of events (`tests/model/`, `tests/sim.rs`). The embedded
//! broker keeps the last 5 MB of a partition, so no test here sends more to one.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use logferry::config::{System, check_text};
use logferry::output::kafka::mock::{MockBroker, MockFault};
use logferry::output::kafka::options::Connection;
use logferry::output::kafka::reader::Reader;
use logferry::pipeline::Pipeline;

/// Far above what anything takes; only a failure does.
const LAST_RESORT: Duration = Duration::from_secs(120);
/// The pace of the load; nobody relies on it.
const PACE: Duration = Duration::from_millis(5);
/// The topic whose broker stays well, and the one whose broker does not.
const TOPICS: [&str; 2] = ["healthy", "sick"];
const PARTITIONS: i32 = 3;

/// A log and how many lines it has.
struct Log {
    file: File,
    written: u64,
}

impl Log {
    fn write(&mut self, lines: u64) {
        for _ in 0..lines {
            let filler = "GET /assets/app.js?v=41 HTTP/1.1 200 5316 https://example.org/start Mozilla/5.0";
            writeln!(self.file, "{:08} {filler}", self.written).expect("the temporary directory is writable");
            self.written += 1;
        }
    }
}

/// An agent with a log for each topic; `healthy` lives on broker 1, `sick` on broker 2 of three.
struct Bench {
    mock: MockBroker,
    agent: Pipeline,
    _home: tempfile::TempDir,
}

impl Bench {
    fn start() -> (Self, [Log; 2]) {
        let mock = MockBroker::start(3).expect("ports on the loopback");
        for (topic, broker) in TOPICS.into_iter().zip(1..) {
            mock.create_topic(topic, PARTITIONS).expect("a new topic");
            (0..PARTITIONS).for_each(|partition| mock.set_leader(topic, partition, Some(broker)).expect("it is there"));
        }
        let home = tempfile::tempdir().expect("a directory");
        let path = |topic: &str| home.path().join(format!("{topic}.log"));
        let logs = TOPICS.map(|topic| Log { file: File::create(path(topic)).expect("writable"), written: 0 });
        let input =
            |topic| format!("  {topic}: {{ type: file, paths: [\"{}\"], topic: {topic} }}\n", path(topic).display());
        let config = format!(
            "data_dir: \"{}\"\nadmin: {{ listen: 'off' }}\nmemory: {{ max_bytes: 16MiB }}\ninputs:\n{}outputs:\n  \
             main: {{ type: kafka, brokers: [{}], key: \"%{{[message]}}\", codec: json }}\n",
            home.path().join("data").display(),
            TOPICS.map(input).concat(),
            mock.bootstrap().replace(',', ", "),
        );
        let checked = check_text("rebuild.yaml", &config, &System).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let agent = Pipeline::start(checked).expect("it starts");
        (Self { mock, agent, _home: home }, logs)
    }

    /// Acknowledged records of an input.
    fn acked(&self, topic: &str) -> u64 {
        let status = self.agent.status();
        status.inputs.iter().find(|input| input.name == topic).expect("it is in the config").acked_records_total
    }

    fn rebuilds(&self) -> u64 {
        self.agent.status().outputs[0].rebuilds_total
    }

    /// Records of a topic that are handed over and not reported.
    fn in_flight(&self, topic: &str) -> u64 {
        let status = self.agent.status();
        let lanes = status.outputs[0].lanes.iter().filter(|lane| lane.topic == topic);
        lanes.map(|lane| lane.in_flight_records).sum()
    }

    fn wait_acked(&self, logs: &[Log; 2]) {
        for (topic, log) in TOPICS.iter().zip(logs) {
            wait(&format!("{} lines of {topic} to be acknowledged", log.written), || self.acked(topic) == log.written);
        }
    }

    /// How many records of the topic came again; panics if one is missing, or first came after a later one of its partition, but for
    /// the lines `unjudged`.
    fn judge(&self, topic: &str, written: u64, unjudged: &Range<u64>) -> u64 {
        let connection = Connection {
            brokers: vec![self.mock.bootstrap()],
            client_id: "judge".to_owned(),
            tls: None,
            sasl: None,
            rdkafka: Vec::new(),
        };
        let mut reader = Reader::open(&connection, topic).expect("the topic is there");
        let ends: i64 = reader.end_offsets().expect("the brokers are up").iter().map(|(_, end)| end).sum();
        let (mut seen, mut last, mut read) = (HashSet::new(), BTreeMap::new(), 0);
        wait(&format!("{ends} records of {topic} to be read"), || {
            while let Some(record) = reader.poll(Duration::from_millis(10)) {
                read += 1;
                let value: serde_json::Value = serde_json::from_slice(&record.value).expect("JSON");
                let line = value["message"].as_str().expect("the line");
                let number: u64 = line.split(' ').next().and_then(|number| number.parse().ok()).expect("its number");
                if seen.insert(number) {
                    let before = last.insert(record.partition, number);
                    let is_later =
                        |before: u64| before < number || unjudged.contains(&number) && unjudged.contains(&before);
                    assert!(before.is_none_or(is_later), "{topic}: {number} comes after {before:?}");
                }
            }
            read == ends
        });
        let lost: Vec<u64> = (0..written).filter(|number| !seen.contains(number)).collect();
        assert!(lost.is_empty(), "{topic}: {} lines are lost, from {:?} on", lost.len(), lost.first());
        u64::try_from(ends).expect("not negative") - written
    }
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LAST_RESORT, "waited {LAST_RESORT:?} for {what}");
        std::thread::park_timeout(PACE);
    }
}

/// Scenario: all brokers answer late, so that thousands of records are in flight to both topics, and then one answers with an error that
/// an idempotent producer does not survive; more lines come meanwhile.
/// Guarantee: a new producer takes over; nothing is lost, no more comes again than was in flight, and everything before and after that
/// is in order. (Within it order is not judged: the embedded broker looks at the sequence numbers of transactions only, and writes what came behind the
/// batch that it refused. A real one refuses that too; see `tests/integration/` and `tests/model/`.)
#[test]
fn a_fatal_error_under_load_loses_nothing() {
    for fault in [MockFault::OutOfOrderSequence, MockFault::Fenced] {
        let (bench, mut logs) = Bench::start();
        logs.iter_mut().for_each(|log| log.write(500));
        bench.wait_acked(&logs);
        bench.mock.set_delay(-1, Duration::from_millis(700)).expect("they are there");
        logs.iter_mut().for_each(|log| log.write(2_000));
        wait("records of both topics to be in flight", || TOPICS.iter().all(|topic| bench.in_flight(topic) > 500));
        bench.mock.fail_produce(&[fault]);
        logs.iter_mut().for_each(|log| log.write(2_000));
        let mut in_flight = 0;
        wait("the producer to be replaced", || {
            in_flight = in_flight.max(TOPICS.iter().map(|topic| bench.in_flight(topic)).sum());
            bench.rebuilds() > 0
        });
        bench.mock.set_delay(-1, Duration::ZERO).expect("they are there");
        logs.iter_mut().for_each(|log| log.write(500));
        bench.wait_acked(&logs);
        let repeated: u64 =
            TOPICS.iter().zip(&logs).map(|(topic, log)| bench.judge(topic, log.written, &(500..4_500))).sum();
        eprintln!("{fault:?}: {repeated} records came again, {in_flight} were in flight");
        assert!(repeated <= in_flight, "{fault:?}: {repeated} came again, {in_flight} were in flight");
        bench.agent.stop(Duration::from_secs(10));
    }
}

/// Scenario: the broker of one topic answers nothing any more (its connections stay open), until that topic has taken more than half of
/// what may be in flight; the other topic flows under load. Later the broker answers again.
/// Guarantee: the producer is replaced, and the other topic does not notice: it has nothing twice, and is never held up for long. Of the
/// stuck one nothing is lost, nothing is out of order, and no more comes again than was in flight.
#[test]
fn a_stuck_broker_is_left_while_the_others_flow() {
    /// A silence that only the stuck broker has: it is silent for 15 s before it is left.
    const HELD_UP_MAX: Duration = Duration::from_secs(5);
    let (bench, mut logs) = Bench::start();
    logs.iter_mut().for_each(|log| log.write(500));
    bench.wait_acked(&logs);
    bench.mock.set_delay(2, Duration::from_secs(3_600)).expect("it is there");
    let [healthy, sick] = &mut logs;
    sick.write(30_000);
    let is_over = AtomicBool::new(false);
    let (in_flight, longest) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                healthy.write(2);
                std::thread::park_timeout(PACE);
            }
        });
        let watched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let (mut in_flight, mut acked, mut at, mut longest) = (0, 0, Instant::now(), Duration::ZERO);
            let mut look = |rebuilds_left: bool| {
                if rebuilds_left {
                    in_flight = in_flight.max(bench.in_flight("sick"));
                }
                let now = bench.acked("healthy");
                longest = longest.max(at.elapsed());
                if now > acked {
                    (acked, at) = (now, Instant::now());
                }
                now
            };
            wait("the producer to be replaced", || {
                look(true);
                bench.rebuilds() > 0
            });
            let target = look(false) + 1_000;
            wait("the healthy topic to go on", || look(false) >= target);
            (in_flight, longest)
        }));
        is_over.store(true, Ordering::Relaxed);
        watched.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    assert_eq!(bench.acked("sick"), 500, "its broker answers nothing");
    bench.mock.set_delay(2, Duration::ZERO).expect("it is there");
    bench.wait_acked(&logs);
    let [healthy, sick] = &logs;
    assert_eq!(bench.judge("healthy", healthy.written, &(0..0)), 0, "the healthy topic moves with nothing in flight");
    let repeated = bench.judge("sick", sick.written, &(0..0));
    eprintln!(
        "stuck: {repeated} records came again, {in_flight} were in flight; the longest silence of the other: {longest:?}"
    );
    assert!(repeated <= in_flight, "{repeated} came again, {in_flight} were in flight");
    assert!(longest < HELD_UP_MAX, "the healthy topic was held up for {longest:?}");
    bench.agent.stop(Duration::from_secs(10));
}
