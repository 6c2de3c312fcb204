//! A healthy topic keeps its pace while another one is at fault (I6): latencies from append to consumer, before and during.

use std::time::Duration;

use crate::kafka_or_skip;
use crate::kit::cluster::{self, Cluster, SASL_PASSWORD, SASL_USER, secure};
use crate::kit::jars::Release;
use crate::kit::latency::{Latency, measured};
use crate::kit::number;
use crate::kit::wait;
use crate::kit::writer::{Rotation, during};
use crate::kit::{agent::Agent, check::Check, writer::Writer};

/// So many lines are measured in each phase, if `LATENCY_LINES` does not say; about six seconds.
const LINES: u64 = 1_500;
/// What else runs on the machine can only add to a latency: one undisturbed round shows what the agent can do.
const ROUNDS: u32 = 3;

/// The promise: within twice the p99 before the fault, or within 100 ms of it.
fn is_kept(before: &Latency, with_fault: &Latency) -> bool {
    let allowed = (before.p99() * 2).max(before.p99() + Duration::from_millis(100));
    with_fault.p99() <= allowed
}

/// A fault and its end, as a test brings them about.
struct Trouble<'a> {
    /// What is told when it was felt.
    name: &'a str,
    begin: &'a dyn Fn(),
    /// Waits until the agent has felt it.
    felt: &'a dyn Fn(),
    end: &'a dyn Fn(),
}

/// Measures `topic` without and with the trouble, at most [`ROUNDS`] times, until the promise is kept; panics if it never is.
fn keeps_its_pace(kafka: &Cluster, topic: &str, writer: &mut Writer, trouble: &Trouble<'_>) {
    let mut told = String::new();
    // The start is slower, and no measure.
    writer.write(100);
    kafka.wait_count(topic, 100);
    for _ in 0..ROUNDS {
        let enough = |seen: &dyn Fn() -> u64| {
            let lines = number("LATENCY_LINES", LINES);
            let (had, bound) = (seen(), wait::LAST_RESORT + Duration::from_millis(lines * 40));
            wait::until_or("lines to be measured", bound, || (seen() >= had + lines).then_some(()), String::new);
        };
        let before = measured(kafka, topic, writer, |seen| enough(seen));
        (trouble.begin)();
        let with_fault = measured(kafka, topic, writer, |seen| {
            (trouble.felt)();
            enough(seen);
        });
        (trouble.end)();
        let line = format!(
            "{}: p50 {:?} p99 {:?} max {:?} of {} lines before; p50 {:?} p99 {:?} max {:?} of {} with it\n",
            trouble.name,
            before.at(0.5),
            before.p99(),
            before.at(1.0),
            before.count(),
            with_fault.at(0.5),
            with_fault.p99(),
            with_fault.at(1.0),
            with_fault.count(),
        );
        eprint!("{line}");
        told.push_str(&line);
        if is_kept(&before, &with_fault) {
            return;
        }
    }
    panic!("the healthy topic was held up in every round:\n{told}");
}

/// Waits until a lane of the topic is at fault.
fn wait_fault(agent: &Agent, topic: &str) {
    agent.wait_status("a lane of the topic to be at fault", |status| {
        let mut lanes = status["outputs"][0]["lanes"].as_array()?.iter();
        lanes.find(|lane| lane["topic"] == topic && lane["state"] != "direct").map(|_| ())
    });
}

/// Waits until 500 more records of the topic have arrived.
fn wait_flow(kafka: &Cluster, topic: &str) {
    let before = kafka.count(topic).unwrap_or(0);
    kafka.wait_count(topic, before + 500);
}

/// A config of file inputs, each to a topic of its own.
fn configure(agent: &Agent, inputs: &[(&str, &str)], output: &str) {
    let input = |(name, topic): &(&str, &str)| {
        let path = agent.log(&format!("{name}.log"));
        format!("  {name}: {{ type: file, paths: [\"{}*\"], topic: \"{topic}\" }}\n", path.display())
    };
    let inputs: String = inputs.iter().map(input).collect();
    agent.configure(&format!("inputs:\n{inputs}outputs:\n  main:\n    type: kafka\n{output}"));
}

/// Scenario: three brokers, a topic on each, all under load; the third broker hangs (its sockets stay open) until the cluster takes
/// it for dead.
/// Guarantee: the topic on the first broker keeps its p99, from append to consumer, within twice what it was or 100 ms more; when
/// the broker goes on, so does what waited for it, in order.
#[test]
fn a_hanging_broker_does_not_slow_a_topic_that_is_not_on_it() {
    let Some(kafka) = cluster::three() else { return };
    let topics: Vec<String> = (1..=3).map(|node| Cluster::name(&format!("pace-{node}"))).collect();
    (1..).zip(&topics).for_each(|(node, topic)| kafka.create_on(topic, &[node]));
    let mut agent = Agent::new("pace-hang");
    let output = format!("    brokers: [{}]\n", kafka.bootstrap());
    configure(&agent, &[("a", &topics[0]), ("b", &topics[1]), ("c", &topics[2])], &output);
    let mut writers = ["a", "b", "c"].map(|name| Writer::new(&agent.log(&format!("{name}.log")), name));
    agent.start();
    let [a, b, c] = &mut writers;
    during(b, 500, Rotation::Rename(3_000), || {
        during(c, 500, Rotation::Rename(3_000), || {
            let trouble = Trouble {
                name: "one of three brokers hangs",
                begin: &|| kafka.freeze(3, true),
                felt: &|| wait_fault(&agent, &topics[2]),
                end: &|| {
                    kafka.freeze(3, false);
                    wait_flow(&kafka, &topics[2]);
                },
            };
            keeps_its_pace(&kafka, &topics[0], a, &trouble);
        });
    });
    for (topic, writer) in topics.iter().zip(&writers) {
        kafka.wait_count(topic, i64::try_from(writer.written).expect("small"));
    }
    agent.stop();
    Check::of(&kafka.records(&topics[0]), &[&writers[0]]).exact();
    Check::of(&kafka.records(&topics[2]), &[&writers[2]]).complete();
}

/// Scenario: three brokers; the first leads three topics: two of them are on no other broker, the third has a replica on the third
/// broker, which hangs. The first broker answers what it is asked on one connection in turn, and for the third topic not before the
/// replica is out of sync.
/// Guarantee: the agent finds out who does not answer, and gives the topics that don't need it a producer of their own. From then on
/// they keep their p99, from append to consumer, within twice what it was or 100 ms more, while the broker still hangs. When it goes
/// on, so does what waited for it, in order; of what was sent again nothing is out of order.
#[test]
fn a_hanging_replica_of_one_topic_does_not_slow_another_of_the_same_leader() {
    let Some(kafka) = cluster::three() else { return };
    let topics: Vec<String> =
        ["measured", "loaded", "held-up"].map(|name| Cluster::name(&format!("pace-{name}"))).into();
    kafka.create_on(&topics[0], &[1]);
    kafka.create_on(&topics[1], &[1]);
    kafka.create_on(&topics[2], &[1, 3]);
    let mut agent = Agent::new("pace-replica");
    let output = format!("    brokers: [{}]\n", kafka.bootstrap());
    configure(&agent, &[("a", &topics[0]), ("b", &topics[1]), ("c", &topics[2])], &output);
    let mut writers = ["a", "b", "c"].map(|name| Writer::new(&agent.log(&format!("{name}.log")), name));
    agent.start();
    let rebuilds = |status: &serde_json::Value| status["outputs"][0]["rebuilds_total"].as_u64();
    let [a, b, c] = &mut writers;
    during(b, 500, Rotation::Rename(3_000), || {
        during(c, 500, Rotation::Rename(3_000), || {
            let trouble = Trouble {
                name: "a replica of another topic hangs",
                begin: &|| {
                    let before = rebuilds(&agent.status()).expect("a number");
                    let begun = std::time::Instant::now();
                    kafka.freeze(3, true);
                    agent.wait_status("the topic to be set aside", |status| (rebuilds(status)? > before).then_some(()));
                    eprintln!("set aside after {:?}", begun.elapsed());
                    agent.wait_status("the silent broker to be named", |status| {
                        let mut brokers = status["outputs"][0]["brokers"].as_array()?.iter();
                        brokers
                            .find(|one| one["last_error"].as_str().is_some_and(|error| error.contains("not answer")))
                            .map(drop)
                    });
                    wait_flow(&kafka, &topics[1]);
                },
                felt: &|| wait_fault(&agent, &topics[2]),
                end: &|| {
                    kafka.freeze(3, false);
                    wait_flow(&kafka, &topics[2]);
                },
            };
            keeps_its_pace(&kafka, &topics[0], a, &trouble);
        });
    });
    for (topic, writer) in topics.iter().zip(&writers) {
        kafka.wait_count(topic, i64::try_from(writer.written).expect("small"));
    }
    agent.stop();
    for (topic, writer) in topics.iter().zip(&writers) {
        Check::of(&kafka.records(topic), &[writer]).complete();
    }
}

/// Scenario: two topics under load; one of them is deleted, and made again.
/// Guarantee: the other one keeps its p99, from append to consumer, within twice what it was or 100 ms more.
#[test]
fn a_deleted_topic_does_not_slow_another() {
    let kafka = kafka_or_skip!();
    let (kept, gone) = (kafka.topic("pace-kept", 1), kafka.topic("pace-gone", 1));
    let mut agent = Agent::new("pace-deleted");
    configure(&agent, &[("a", &kept), ("b", &gone)], &format!("    brokers: [{}]\n", kafka.bootstrap()));
    let mut writers = ["a", "b"].map(|name| Writer::new(&agent.log(&format!("{name}.log")), name));
    agent.start();
    let [a, b] = &mut writers;
    during(b, 500, Rotation::Rename(3_000), || {
        let trouble = Trouble {
            name: "a topic is deleted",
            begin: &|| kafka.delete(&gone),
            felt: &|| wait_fault(&agent, &gone),
            end: &|| {
                kafka.create(&gone, 1);
                kafka.wait_count(&gone, 500);
            },
        };
        keeps_its_pace(kafka, &kept, a, &trouble);
    });
    agent.stop();
    Check::of(&kafka.records(&kept), &[&writers[0]]).exact();
}

/// Scenario: two topics under load; the right to write to one is taken away while the agent runs, and given back.
/// Guarantee: the other one keeps its p99, from append to consumer, within twice what it was or 100 ms more; when the right is back,
/// everything arrives, once and in order.
#[test]
fn a_right_taken_away_does_not_slow_another_topic() {
    let Some(kafka) = secure() else { return };
    let (kept, lost) = (kafka.cluster.topic("pace-kept", 1), kafka.cluster.topic("pace-lost", 1));
    let principal = format!("User:{SASL_USER}");
    kafka.allow(&principal, &kept);
    kafka.allow(&principal, &lost);
    let mut agent = Agent::new("pace-right");
    let output = format!(
        "    brokers: [\"127.0.0.1:{}\"]\n    tls: {{ ca_file: \"{}\" }}\n    \
         sasl: {{ mechanism: PLAIN, username: {SASL_USER}, password: \"{SASL_PASSWORD}\" }}\n",
        kafka.sasl_port,
        kafka.pki.ca.display(),
    );
    configure(&agent, &[("a", &kept), ("b", &lost)], &output);
    let mut writers = ["a", "b"].map(|name| Writer::new(&agent.log(&format!("{name}.log")), name));
    agent.start();
    let [a, b] = &mut writers;
    during(b, 500, Rotation::Rename(3_000), || {
        let trouble = Trouble {
            name: "the right to write to a topic is taken away",
            begin: &|| kafka.forbid(&principal, &lost),
            felt: &|| wait_fault(&agent, &lost),
            end: &|| {
                kafka.allow(&principal, &lost);
                wait_flow(&kafka.cluster, &lost);
            },
        };
        keeps_its_pace(&kafka.cluster, &kept, a, &trouble);
    });
    for (topic, writer) in [&kept, &lost].into_iter().zip(&writers) {
        kafka.cluster.wait_count(topic, i64::try_from(writer.written).expect("small"));
    }
    agent.stop();
    Check::of(&kafka.cluster.records(&kept), &[&writers[0]]).exact();
    Check::of(&kafka.cluster.records(&lost), &[&writers[1]]).complete();
}

/// The status of an output.
fn output<'a>(status: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    status["outputs"].as_array()?.iter().find(|output| output["name"] == name)
}

/// Scenario: two clusters get the same lines; the second dies under load, and comes back; then it dies for so long that its spool,
/// which its output bounds at 64 MiB, is full; and comes back.
/// Guarantee: while the spool takes what the dead one misses, the other keeps its p99 within twice what it was or 100 ms more. Then
/// both wait, and say so; at the end both have every line in order, and the one that was never away has none twice.
#[test]
fn a_dead_output_does_not_slow_another_until_its_spool_is_full() {
    let kafka = kafka_or_skip!();
    let Some(second) = Cluster::single(Release::Current) else { return };
    let (here, there) = (kafka.topic("pace-here", 1), second.topic("pace-there", 1));
    let mut agent = Agent::new("pace-dead");
    agent.configure(&format!(
        "inputs:\n  a: {{ type: file, paths: [\"{}\"] }}\noutputs:\n  \
         here: {{ type: kafka, brokers: [{}], topic: {here} }}\n  \
         there: {{ type: kafka, brokers: [{}], topic: {there}, spool: {{ max_bytes: 64MiB, after: 500ms }} }}\n",
        agent.log("a.log").display(),
        kafka.bootstrap(),
        second.bootstrap(),
    ));
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    agent.start();
    let spooled = |status: &serde_json::Value| output(status, "there")?["spool"]["records"].as_u64();
    let trouble = Trouble {
        name: "the cluster of another output dies",
        begin: &|| second.kill9(1),
        felt: &|| agent.wait_status("records to be spooled", |status| (spooled(status)? > 0).then_some(())),
        end: &|| {
            second.restart(1);
            second.all_up();
            agent.wait_status("the spool to be empty", |status| (spooled(status)? == 0).then_some(()));
        },
    };
    keeps_its_pace(kafka, &here, &mut writer, &trouble);
    second.kill9(1);
    writer.write(20_000);
    kafka.wait_count(&here, i64::try_from(writer.written).expect("small"));
    let waiting = |status: &serde_json::Value| status["inputs"][0]["waiting_count"].as_u64();
    writer.write(200_000);
    let (bytes, records) = agent.wait_status("the spool to be full, and the file to wait", |status| {
        let spool = &output(status, "there")?["spool"];
        let is_full = spool["full"] == true && spool["waiting_sources"] == 1 && waiting(status)? == 1;
        (is_full && output(status, "here")?["in_flight_records"] == 0).then_some(())?;
        Some((spool["live_bytes"].as_u64()?, spool["records"].as_u64()?))
    });
    eprintln!("{records} records took {bytes} bytes of the spool");
    let count = wait::until("the broker to answer", || kafka.count(&here));
    assert!(count < i64::try_from(writer.written).expect("small"), "what is full holds the file: {count}");
    second.restart(1);
    second.all_up();
    for (cluster, topic) in [(kafka, &here), (&second, &there)] {
        cluster.wait_count(topic, i64::try_from(writer.written).expect("small"));
    }
    agent.wait_status("everything to be acknowledged", |status| {
        (spooled(status)? == 0 && status["inputs"][0]["lag_bytes"] == 0).then_some(())
    });
    assert_eq!(agent.status()["drops"], serde_json::json!({}), "nothing is given up");
    agent.stop();
    Check::of(&kafka.records(&here), &[&writer]).exact();
    Check::of(&second.records(&there), &[&writer]).complete();
}
