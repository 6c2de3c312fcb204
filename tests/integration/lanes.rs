//! Lanes (I6): what is wrong with one topic or partition is not felt by the others, and it heals.

use std::time::Duration;

use crate::kafka_or_skip;
use crate::kit::{agent::Agent, check::Check, cluster::Cluster, wait, writer::Writer};

/// Scenario: one file's topic does not exist; another file's does. Later the topic is created.
/// Guarantee: the other file flows; nothing of the first is lost, dead-lettered or invented; the status names the topic and
/// why it waits; once created, its lines arrive in order.
#[test]
fn a_missing_topic_parks_only_its_files_and_heals() {
    let kafka = kafka_or_skip!();
    let there = kafka.topic("there", 2);
    let missing = Cluster::name("missing");
    let mut agent = Agent::new("missing");
    agent.configure(&format!(
        "inputs:\n  \
           good: {{ type: file, paths: [{good}], topic: {there} }}\n  \
           waiting: {{ type: file, paths: [{waiting}], topic: {missing} }}\n\
         outputs:\n  main: {{ type: kafka, brokers: [{brokers}], key: one }}\n",
        good = agent.log("good.log").display(),
        waiting = agent.log("waiting.log").display(),
        brokers = kafka.bootstrap(),
    ));
    let mut good = Writer::new(&agent.log("good.log"), "good");
    let mut waiting = Writer::new(&agent.log("waiting.log"), "waiting");
    // Several times what the window holds: the waiting file must be parked, not just be slow.
    waiting.write(150_000);
    good.write(1_000);
    agent.start();
    kafka.wait_count(&there, 1_000);
    agent.wait_status("the status to name the missing topic and why it waits", |status| {
        let lanes = status["outputs"][0]["lanes"].as_array()?;
        let lane = lanes.iter().find(|lane| lane["topic"] == missing.as_str())?;
        lane["cause"].as_str().filter(|cause| !cause.is_empty())?;
        Some(())
    });
    good.write(50_000);
    kafka.wait_count(&there, 51_000);
    assert_eq!(agent.input("waiting")["acked_records_total"], 0);
    assert_eq!(agent.status()["drops"], serde_json::json!({}), "nothing is given up");
    assert!(agent.stderr().contains(&missing), "the log names the topic:\n{}", agent.stderr());
    kafka.create(&missing, 2);
    kafka.wait_count(&missing, 150_000);
    agent.stop();
    Check::of(&kafka.records(&there), &[&good]).exact();
    Check::of(&kafka.records(&missing), &[&waiting]).exact();
}

/// Scenario: the topic grows from one partition to four while lines with keys of their own are written.
/// Guarantee: within 60 s the new partitions get records; nothing is lost or repeated.
#[test]
fn partitions_added_while_running_are_used_within_a_minute() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("grow", 1);
    let mut agent = Agent::shipping("grow", kafka, &format!("topic: {topic}\nkey: \"%{{[message]}}\""));
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(100);
    agent.start();
    kafka.wait_count(&topic, 100);
    kafka.grow(&topic, 4);
    wait::until_or(
        "records in all four partitions",
        Duration::from_secs(60),
        || {
            writer.write(5);
            kafka.ends(&topic)?.iter().all(|&end| end > 0).then_some(())
        },
        || format!("{:?}", kafka.ends(&topic)),
    );
    kafka.wait_count(&topic, i64::try_from(writer.written).expect("small"));
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
}

/// Scenario: a topic is deleted and made again with fewer partitions, while lines are written for it.
/// Guarantee: the lane goes on by itself; every line is in the old topic or in the new one.
#[test]
fn a_topic_made_anew_is_written_to_again() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("anew", 3);
    let mut agent = Agent::shipping("anew", kafka, &format!("topic: {topic}\nkey: \"%{{[message]}}\""));
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(1_000);
    agent.start();
    kafka.wait_count(&topic, 1_000);
    agent.wait_status("all to be acknowledged", |status| {
        (status["inputs"][0]["acked_records_total"] == 1_000).then_some(())
    });
    let mut records = kafka.records(&topic);
    kafka.delete(&topic);
    writer.write(1_000);
    kafka.create(&topic, 1);
    kafka.wait_count(&topic, 1_000);
    agent.stop();
    records.extend(kafka.records(&topic));
    let check = Check::of(&records, &[&writer]);
    assert!(check.lost.is_empty() && check.invented.is_empty(), "{check:?}");
}

/// Scenario: a topic takes batches of 20,000 bytes at most, and three of 1,500 lines are longer than that.
/// Guarantee: all others arrive, once and in order; the three are in the dead letter with their reason, and counted by
/// topic and reason.
#[test]
fn records_too_large_for_their_topic_are_set_aside_and_counted() {
    let kafka = kafka_or_skip!();
    let topic = Cluster::name("narrow");
    kafka.create_with(&topic, 1, &[("max.message.bytes", "20000")]);
    let output = format!("topic: {topic}\ncompression: none\nbatch_bytes: 15000");
    let mut agent = Agent::shipping("narrow", kafka, &output);
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    for _ in 0..3 {
        writer.write(500).append(format!("{}\n", "x".repeat(30_000)).as_bytes());
    }
    agent.start();
    kafka.wait_count(&topic, 1_500);
    let failed = agent.wait_status("everything to be settled", |status| {
        let done = status["inputs"][0]["acked_records_total"] == 1_503;
        done.then(|| status["outputs"][0]["topics"][0].clone())
    });
    assert_eq!(
        (&failed["topic"], &failed["failed_total"]["too_large"]),
        (&topic.as_str().into(), &3.into()),
        "{failed}"
    );
    assert_eq!(failed["produced_records_total"], 1_500, "{failed}");
    let labels = [format!("topic=\"{topic}\""), "reason=\"too_large\"".to_owned()];
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    assert_eq!(agent.metric("logferry_topic_failed_records_total", &labels), Some(3.0));
    let letter = std::fs::read_to_string(agent.data().join("dead_letter/main.jsonl")).expect("it was written");
    let reasons: Vec<serde_json::Value> = letter
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["reason"].clone())
        .collect();
    assert_eq!(reasons, ["too_large"; 3]);
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
}

/// Scenario: a topic takes batches of 200,000 bytes at most, and the agent makes larger ones; a log comes before the topic has
/// refused one, others after it, each ending in a batch that the topic would take.
/// Guarantee: everything arrives, once, nothing is in the dead letter; and once the topic has refused a batch, every line comes in
/// its order, however large what stands before it is.
#[test]
fn a_topic_that_takes_small_batches_keeps_the_order() {
    let kafka = kafka_or_skip!();
    let topic = Cluster::name("small-batches");
    kafka.create_with(&topic, 1, &[("max.message.bytes", "200000")]);
    let output = format!("topic: {topic}\ncompression: none\nbatch_bytes: 500kB");
    let mut agent = Agent::shipping("small-batches", kafka, &output);
    let mut first = Writer::new(&agent.log("first.log"), "first");
    first.write(3_000);
    agent.start();
    kafka.wait_count(&topic, 3_000);
    let mut writers = vec![first];
    for number in 0..6 {
        let stream = format!("later-{number}");
        let mut writer = Writer::new(&agent.log(&format!("{stream}.log")), &stream);
        writer.write(3_000);
        writers.push(writer);
        let written: u64 = writers.iter().map(|writer| writer.written).sum();
        kafka.wait_count(&topic, i64::try_from(written).expect("a few thousand"));
    }
    let settled: u64 = writers.iter().map(|writer| writer.written).sum();
    agent.wait_status("everything to be settled", |status| {
        (status["inputs"][0]["acked_records_total"] == settled).then_some(())
    });
    agent.stop();
    assert!(!agent.data().join("dead_letter/main.jsonl").exists(), "no record is too large");
    let records = kafka.records(&topic);
    let check = Check::of(&records, &writers.iter().collect::<Vec<_>>());
    assert_eq!((check.lost.len(), check.repeated, check.invented.len()), (0, 0, 0));
    let of_later = |line: &&String| line.starts_with("later");
    assert_eq!(check.out_of_order.iter().filter(of_later).collect::<Vec<_>>(), Vec::<&String>::new());
}
