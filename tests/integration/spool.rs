//! Kafka away, and what can't wait: what is spooled survives everything but the disk, and arrives in order (I1, I3).

use std::process::Stdio;

use crate::kafka_or_skip;
use crate::kit::jars::Release;
use crate::kit::wait::until;
use crate::kit::writer::{Rotation, during};
use crate::kit::{agent::Agent, check::Check, cluster::Cluster, writer::Writer};

/// How often something is repeated within a test that waits for a condition over time.
const TIMES: usize = 4;

/// The number at a JSON path of the one output's spool.
fn spool(status: &serde_json::Value, field: &str) -> Option<u64> {
    status["outputs"][0]["spool"][field].as_u64()
}

/// Scenario: Kafka is down; a log is written, rotated and what was rotated is deleted, three times; the agent is killed with -9
/// and started again while Kafka is still away, and the log goes on; then Kafka is back.
/// Guarantee: before the kill, `status` shows no bytes that only unlinked files have; not one line is missing, per key in
/// order.
#[test]
fn rotated_and_deleted_while_kafka_is_away() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("deleted", 3);
    let output = format!("topic: {topic}\nkey: \"%{{[message]}}\"");
    let mut agent = Agent::shipping("deleted", &kafka, &output);
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(1_000);
    agent.start();
    kafka.wait_count(&topic, 1_000);
    kafka.kill9(1);
    for _ in 0..3 {
        writer.write(5_000);
        let rotated = agent.folder().join("old.log");
        // A rotation that the agent has seen, as in every real one: it reads what has left its name.
        agent.wait_status("the file to be followed", |status| {
            (status["inputs"][0]["files_count"].as_u64()? > 0).then_some(())
        });
        writer.rotate_to(&rotated);
        agent.wait_status("the rotated file to be spooled", |status| {
            (status["inputs"][0]["files"].as_array()?.iter().all(|file| file["state"] != "draining")).then_some(())
        });
        std::fs::remove_file(&rotated).expect("it was made by us");
    }
    writer.write(1_000);
    agent.wait_status("everything unlinked to be spooled", |status| {
        let input = &status["inputs"][0];
        (input["unlinked_bytes"] == 0 && spool(status, "records")? >= 15_000).then_some(())
    });
    agent.kill9();
    agent.start();
    agent.wait_status("the spool to be there again", |status| (spool(status, "records")? >= 15_000).then_some(()));
    writer.write(1_000);
    kafka.restart(1);
    kafka.wait_count(&topic, i64::try_from(writer.written).expect("small"));
    agent.wait_status("the spool to be empty", |status| {
        (spool(status, "records")? == 0 && status["inputs"][0]["lag_bytes"] == 0).then_some(())
    });
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).complete();
}

/// Scenario: the agent starts while Kafka is away, so that it knows no partition; lines come by a pipe, which nobody can read
/// again; it is killed with -9 once they are spooled. Kafka comes, and it starts again.
/// Guarantee: every line arrives, in order.
#[test]
fn a_pipe_into_an_agent_that_never_saw_kafka() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("pipe", 3);
    kafka.kill9(1);
    let mut agent = Agent::new("pipe");
    agent.configure(&format!(
        "inputs:\n  in: {{ type: stdin }}\noutputs:\n  main:\n    type: kafka\n    brokers: [{}]\n    topic: {topic}\n    key: \"%{{[message]}}\"\n",
        kafka.bootstrap()
    ));
    let path = agent.folder().join("lines");
    let mut writer = Writer::new(&path, "p");
    writer.write(3_000);
    agent.spawn(&[], Stdio::piped());
    let mut pipe = agent.stdin();
    agent.wait_ready();
    std::io::Write::write_all(&mut pipe, &std::fs::read(&path).expect("just written")).expect("it reads");
    agent.wait_status("all of it to be spooled", |status| (spool(status, "records")? == 3_000).then_some(()));
    agent.kill9();
    kafka.restart(1);
    agent.spawn(&[], Stdio::piped());
    kafka.wait_count(&topic, 3_000);
    agent.wait_ready();
    agent.wait_status("the spool to be empty", |status| (spool(status, "records")? == 0).then_some(()));
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).complete();
}

/// Scenario: a steady load with fast rotation; Kafka goes away and comes back, again and again; files are rotated meanwhile.
/// Guarantee: everything arrives once and in order, through spool, resending, and back to the direct way.
#[test]
fn away_and_back_under_rotation() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("back", 3);
    let output = format!("topic: {topic}\nkey: \"%{{[message]}}\"");
    let mut agent = Agent::shipping("back", &kafka, &output);
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    agent.start();
    during(&mut writer, 2_000, Rotation::Rename(3_000), || {
        for _ in 0..2 {
            let before = kafka.count(&topic).unwrap_or(0);
            until("records to flow", || (kafka.count(&topic)? > before + 1_000).then_some(()));
            kafka.kill9(1);
            let had = agent.status()["outputs"][0]["spool"]["appended_records_total"].as_u64().expect("a number");
            agent.wait_status("rotated files to be spooled", |status| {
                (spool(status, "appended_records_total")? > had + 3_000).then_some(())
            });
            kafka.restart(1);
        }
    });
    kafka.wait_count(&topic, i64::try_from(writer.written).expect("small"));
    agent.wait_status("the spool to be empty", |status| (spool(status, "records")? == 0).then_some(()));
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).complete();
}

/// Scenario: Kafka hangs for a second, goes on for a moment, and hangs again, under load and fast rotation.
/// Guarantee: it is slow and alive: nothing is written to the spool.
#[test]
fn slow_and_alive_does_not_touch_the_disk() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("slow", 1);
    let mut agent = Agent::new("slow");
    agent.ship("", &kafka.bootstrap(), &format!("topic: {topic}"));
    let config = std::fs::read_to_string(agent.config()).expect("just written");
    std::fs::write(agent.config(), config + "spool: { after: 30s }\n").expect("it is ours");
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    agent.start();
    during(&mut writer, 1_000, Rotation::Rename(1_000), || {
        until("records to flow", || (kafka.count(&topic)? > 100).then_some(()));
        for _ in 0..TIMES {
            kafka.freeze(1, true);
            let read = agent.input("files")["read_records_total"].as_u64().expect("a number");
            agent.wait_status("more to be read while Kafka hangs", |status| {
                (status["inputs"][0]["read_records_total"].as_u64()? > read + 100).then_some(())
            });
            kafka.freeze(1, false);
            let before = kafka.count(&topic).unwrap_or(0);
            until("records to flow", || (kafka.count(&topic)? > before).then_some(()));
        }
    });
    kafka.wait_count(&topic, i64::try_from(writer.written).expect("small"));
    let status = agent.status();
    assert_eq!(spool(&status, "appended_records_total"), Some(0));
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
}

/// Scenario: two topics fed by one file, by a field of the line; one of them is deleted while the agent runs, and made again later.
/// Guarantee: the lines for the other one go on arriving meanwhile; those for the deleted one are spooled, survive a kill -9,
/// and arrive when it is there again.
#[test]
fn a_deleted_topic_holds_up_only_itself() {
    let kafka = kafka_or_skip!();
    let (kept, gone) = (kafka.topic("kept", 2), kafka.topic("gone", 2));
    let mut agent = Agent::new("one-gone");
    let log = |name: &str| agent.log(name).display().to_string();
    agent.configure(&format!(
        "inputs:\n  a:\n    type: file\n    paths: [{}]\n    topic: \"%{{[fields.to]}}\"\n    fields: {{ to: {kept} }}\n  b:\n    type: file\n    paths: [{}]\n    topic: \"{gone}\"\noutputs:\n  main:\n    type: kafka\n    brokers: [{}]\nspool: {{ files: always }}\n",
        log("a.log"),
        log("b.log"),
        kafka.bootstrap()
    ));
    let mut writers = [Writer::new(&agent.log("a.log"), "a"), Writer::new(&agent.log("b.log"), "b")];
    agent.start();
    writers.iter_mut().for_each(|writer| _ = writer.write(1_000));
    kafka.wait_count(&kept, 1_000);
    kafka.wait_count(&gone, 1_000);
    let before = kafka.records(&gone);
    kafka.delete(&gone);
    writers.iter_mut().for_each(|writer| _ = writer.write(5_000));
    kafka.wait_count(&kept, 6_000);
    agent.wait_status("what has no topic to be spooled", |status| (spool(status, "records")? >= 5_000).then_some(()));
    agent.kill9();
    agent.start();
    writers[0].write(1_000);
    kafka.wait_count(&kept, 7_000);
    kafka.create(&gone, 2);
    kafka.wait_count(&gone, 5_000);
    agent.wait_status("the spool to be empty", |status| (spool(status, "records")? == 0).then_some(()));
    agent.stop();
    Check::of(&kafka.records(&kept), &[&writers[0]]).complete();
    let all: Vec<_> = before.into_iter().chain(kafka.records(&gone)).collect();
    let check = Check::of(&all, &[&writers[1]]);
    assert!(check.lost.is_empty() && check.invented.is_empty(), "lost {:?}", check.lost.len());
}
