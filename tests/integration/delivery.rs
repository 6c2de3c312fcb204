//! The main job: what is in the files is in the topic, once and in order, whatever happens to the agent (I1, I2, I3).

use crate::kafka_or_skip;
use crate::kit::check::prove_gapless;
use crate::kit::writer::{Rotation, during};
use crate::kit::{agent::Agent, check::Check, cluster::Cluster, wait, writer::Writer};

/// Scenario: three files, written before the agent starts and while it runs, into a topic with six partitions.
/// Guarantee: every line arrives once, each file's in order, and offset and length of the records prove that no byte is
/// missing. The agent's own counters agree.
#[test]
fn plain_files_arrive_once_and_in_order() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("plain", 6);
    let mut agent = Agent::shipping("plain", kafka, &format!("topic: {topic}"));
    let mut writers: Vec<Writer> =
        ["a", "b", "c"].iter().map(|name| Writer::new(&agent.log(&format!("{name}.log")), name)).collect();
    for writer in &mut writers {
        writer.write(2_000);
    }
    agent.start();
    for _ in 0..30 {
        for writer in &mut writers {
            writer.write(100);
        }
    }
    kafka.wait_count(&topic, 15_000);
    agent.wait_status("the agent to count 15,000 records as acknowledged", |status| {
        let input = &status["inputs"][0];
        (input["acked_records_total"] == 15_000 && input["lag_bytes"] == 0).then_some(())
    });
    agent.stop();
    let records = kafka.records(&topic);
    Check::of(&records, &writers.iter().collect::<Vec<_>>()).exact();
    let mut proved: Vec<u64> = prove_gapless(&records).expect("no gap").into_values().collect();
    let size = |name: &str| std::fs::metadata(agent.log(name)).expect("it is there").len();
    let mut sizes = vec![size("a.log"), size("b.log"), size("c.log")];
    proved.sort_unstable();
    sizes.sort_unstable();
    assert_eq!(proved, sizes);
}

/// Scenario: one run of `--until-idle` for each compression.
/// Guarantee: every line arrives, and the broker's own log says that the batches are compressed that way.
#[test]
fn every_compression_is_what_the_broker_stores() {
    let kafka = kafka_or_skip!();
    for (codec, name) in (0..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        let topic = kafka.topic(name, 2);
        let mut agent = Agent::shipping(name, kafka, &format!("topic: {topic}\ncompression: {name}"));
        let mut writer = Writer::new(&agent.log("a.log"), name);
        writer.write(1_000);
        agent.until_idle(1);
        Check::of(&kafka.records(&topic), &[&writer]).exact();
        assert_eq!(kafka.codecs(&topic), [codec].into(), "{name}");
    }
}

/// A small seeded generator (splitmix64): the kills of a failing run can be replayed with `KILL_SEED`.
fn seeded(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Scenario: a file is written and rotated all the time; five times the agent is killed with -9 after a random number of
/// records has arrived, and started again while the writer goes on.
/// Guarantee: nothing is lost, first arrivals are in order, and what was checkpointed before a kill is not sent again: only
/// what was read after the last checkpoint may be.
#[test]
fn kill_nine_loses_nothing_and_repeats_little() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("kill", 1);
    let mut seed = std::env::var("KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(6);
    eprintln!("KILL_SEED={seed}");
    let mut agent = Agent::shipping("kill", kafka, &format!("topic: {topic}"));
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    // Records that a kill may repeat: those that arrived after the last moment at which all was checkpointed.
    let mut may_repeat = 0;
    for round in 0..5 {
        agent.start();
        // The writer pauses; once all it wrote is in a saved checkpoint, nothing of it may ever be sent again.
        kafka.wait_count(&topic, i64::try_from(writer.written).expect("small"));
        agent.wait_status("everything to be checkpointed", |status| {
            (status["inputs"][0]["lag_bytes"] == 0 && status["duplicates_bound_bytes"] == 0).then_some(())
        });
        let settled = kafka.count(&topic).expect("the broker answers");
        let until = settled + 1 + i64::try_from(seeded(&mut seed) % 4_000).expect("small");
        during(&mut writer, 10_000, Rotation::Rename(700), || {
            kafka.wait_count(&topic, until);
            agent.kill9();
        });
        let arrived = kafka.count(&topic).expect("the broker answers");
        may_repeat += arrived - settled;
        eprintln!("round {round}: killed after {} records", arrived - settled);
        writer.write(50).rotate().write(50);
    }
    agent.start();
    wait::until_or(
        "every line to be acknowledged",
        wait::LAST_RESORT,
        || {
            let check = Check::of(&kafka.records(&topic), &[&writer]);
            check.lost.is_empty().then_some(())
        },
        || format!("{:?}\n{}", Check::of(&kafka.records(&topic), &[&writer]).lost.len(), agent.stderr()),
    );
    agent.stop();
    let check = Check::of(&kafka.records(&topic), &[&writer]);
    check.complete();
    assert!(check.repeated as i64 <= may_repeat, "{} records repeated, {may_repeat} may be", check.repeated);
}

/// Scenario: three times the agent is told to stop (SIGTERM) in the middle of a rotating load, and started again.
/// Guarantee: it ends with exit code 0; nothing is lost and nothing is repeated.
#[test]
fn a_stop_loses_nothing_and_repeats_nothing() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("stop", 1);
    let mut agent = Agent::shipping("stop", kafka, &format!("topic: {topic}"));
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    for _ in 0..3 {
        agent.start();
        let now = kafka.count(&topic).expect("the broker answers");
        during(&mut writer, 10_000, Rotation::Rename(1_000), || {
            kafka.wait_count(&topic, now + 2_500);
            agent.stop();
        });
        writer.rotate().write(100);
    }
    agent.start();
    kafka.wait_count(&topic, i64::try_from(writer.written).expect("small"));
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
}

/// Scenario: `--until-idle` over files that were there before.
/// Guarantee: it ends by itself with exit code 0, when all has arrived; a second run finds nothing to do.
#[test]
fn until_idle_ends_when_all_has_arrived() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("idle", 2);
    let mut agent = Agent::shipping("idle", kafka, &format!("topic: {topic}"));
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(3_000);
    for _ in 0..2 {
        agent.until_idle(1);
        Check::of(&kafka.records(&topic), &[&writer]).exact();
    }
}

/// Scenario: the only broker is killed with -9 under load, stays away while the writer goes on, and comes back.
/// Guarantee: everything arrives in order, nothing is lost and nothing repeated; the agent stays healthy all the time.
#[test]
fn a_broker_that_crashes_costs_nothing() {
    let Some(kafka) = Cluster::single(crate::kit::jars::Release::Current) else { return };
    let topic = kafka.topic("crash", 2);
    let mut agent = Agent::shipping("crash", &kafka, &format!("topic: {topic}\nkey: one"));
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    agent.start();
    during(&mut writer, 2_000, Rotation::Rename(3_000), || {
        kafka.wait_count(&topic, 2_000);
        kafka.kill9(1);
        let read = agent.input("files")["read_bytes_total"].clone();
        agent.wait_status("the agent to see the broker away", |status| {
            let brokers = status["outputs"][0]["brokers"].as_array()?;
            brokers.iter().all(|broker| broker["state"] != "UP").then_some(())
        });
        assert_eq!(
            agent.get("/healthz").map(|(code, _)| code),
            Some(200),
            "Kafka's absence is no fault of the process"
        );
        assert!(read.as_u64() > Some(0));
        kafka.restart(1);
        kafka.all_up();
        let now = kafka.count(&topic).expect("the broker answers");
        kafka.wait_count(&topic, now + 2_000);
    });
    kafka.wait_count(&topic, i64::try_from(writer.written).expect("small"));
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
}

/// Scenario: a Kafka of the 3.x line.
/// Guarantee: the same as with the newest.
#[test]
fn an_older_kafka_is_served_too() {
    let Some(kafka) = Cluster::single(crate::kit::jars::Release::Old) else { return };
    let topic = kafka.topic("old", 2);
    let mut agent = Agent::shipping("old", &kafka, &format!("topic: {topic}\ncompression: zstd"));
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(2_000);
    agent.until_idle(1);
    Check::of(&kafka.records(&topic), &[&writer]).exact();
}
