//! Files that are renamed, copied, cut and unlinked while they are read (I8), end to end.

use crate::kafka_or_skip;
use crate::kit::check::prove_gapless;
use crate::kit::writer::{Rotation, during};
use crate::kit::{agent::Agent, check::Check, cluster::Cluster, writer::Writer};

fn shipped(kafka: &Cluster, name: &str, input: &str) -> (Agent, Writer, String) {
    let topic = kafka.topic(name, 1);
    let agent = Agent::new(name);
    agent.ship(input, &kafka.bootstrap(), &format!("topic: {topic}"));
    let writer = Writer::new(&agent.log("app.log"), "app");
    (agent, writer, topic)
}

pub fn all_arrived(kafka: &Cluster, agent: &mut Agent, writer: &Writer, topic: &str) {
    kafka.wait_count(topic, i64::try_from(writer.written).expect("small"));
    agent.stop();
    let records = kafka.records(topic);
    Check::of(&records, &[writer]).exact();
    prove_gapless(&records).expect("no gap in any file");
}

/// Scenario: a file is renamed away every few hundred lines, twenty times and more, under load.
/// Guarantee: every line arrives once and in order, also those written just before a rename.
#[test]
fn rename_rotation_under_load() {
    let kafka = kafka_or_skip!();
    let (mut agent, mut writer, topic) = shipped(kafka, "rename", "");
    agent.start();
    during(&mut writer, 5_000, Rotation::Rename(400), || kafka.wait_count(&topic, 10_000));
    all_arrived(kafka, &mut agent, &writer, &topic);
}

/// Scenario: the same without inotify: the agent only looks every 200 ms, and a file may be renamed twice between looks.
/// Guarantee: the same.
#[test]
fn rename_rotation_seen_by_polling_alone() {
    let kafka = kafka_or_skip!();
    let (mut agent, mut writer, topic) = shipped(kafka, "rename-poll", "watch: poll\nscan_every: 200ms");
    agent.start();
    during(&mut writer, 2_000, Rotation::Rename(700), || kafka.wait_count(&topic, 5_000));
    all_arrived(kafka, &mut agent, &writer, &topic);
}

/// Scenario: a file is renamed, each time when all of it has arrived, to names that the input's pattern matches too.
/// Guarantee: a renamed file is the same file: nothing is read twice.
#[test]
fn a_rename_within_the_pattern_is_not_a_new_file() {
    let kafka = kafka_or_skip!();
    let (mut agent, mut writer, topic) = shipped(kafka, "inside", "");
    agent.start();
    for number in 0..8 {
        writer.write(300);
        kafka.wait_count(&topic, i64::try_from(writer.written).expect("small"));
        let to = agent.log(&format!("app-{number}.log"));
        writer.rotate_to(&to);
    }
    writer.write(300);
    all_arrived(kafka, &mut agent, &writer, &topic);
}

/// Scenario: a file is copied and truncated (logrotate's copytruncate) under load; the writer pauses for the copy, so that
/// logrotate itself loses nothing.
/// Guarantee: every line arrives once, those that were unread when the file was cut included.
#[test]
fn copytruncate_under_load() {
    let kafka = kafka_or_skip!();
    let (mut agent, mut writer, topic) = shipped(kafka, "copytruncate", "");
    agent.start();
    during(&mut writer, 3_000, Rotation::CopyTruncate(900), || kafka.wait_count(&topic, 8_000));
    all_arrived(kafka, &mut agent, &writer, &topic);
}

/// Scenario: a file is cut to nothing each time when all of it has arrived, and grows longer than before.
/// Guarantee: each generation is read from its beginning, once.
#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let kafka = kafka_or_skip!();
    let (mut agent, mut writer, topic) = shipped(kafka, "truncate", "");
    agent.start();
    for generation in 1..=4 {
        writer.write(generation * 300);
        kafka.wait_count(&topic, i64::try_from(writer.written).expect("small"));
        writer.truncate();
    }
    writer.write(2_000);
    all_arrived(kafka, &mut agent, &writer, &topic);
    let files: std::collections::BTreeSet<_> =
        kafka.records(&topic).iter().filter_map(|record| record.text("log.file.id")).collect();
    assert_eq!(files.len(), 5, "each generation is a file of its own");
}

/// Scenario: a file is unlinked while the agent has it open and unread lines are in it.
/// Guarantee: it is read to its end.
#[test]
fn an_unlinked_file_is_read_to_its_end() {
    let kafka = kafka_or_skip!();
    let (mut agent, mut writer, topic) = shipped(kafka, "unlink", "");
    writer.write(10);
    agent.start();
    kafka.wait_count(&topic, 10);
    writer.write(20_000).unlink();
    all_arrived(kafka, &mut agent, &writer, &topic);
}

/// Scenario: while the agent is stopped, the file is written, renamed away and written again.
/// Guarantee: at the next start the renamed file is found again and finished, then the new one is read.
#[test]
fn a_rotation_while_stopped_is_caught_up() {
    let kafka = kafka_or_skip!();
    let (mut agent, mut writer, topic) = shipped(kafka, "down", "");
    writer.write(500);
    agent.start();
    kafka.wait_count(&topic, 500);
    agent.stop();
    writer.write(500).rotate().write(500);
    agent.start();
    all_arrived(kafka, &mut agent, &writer, &topic);
}

/// Scenario: a symlink (as container runtimes make them) is pointed at another file.
/// Guarantee: both files are read whole, each once.
#[test]
fn a_symlink_that_is_swapped_is_another_file() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("symlink", 1);
    let mut agent = Agent::new("symlink");
    agent.ship("", &kafka.bootstrap(), &format!("topic: {topic}"));
    let folder = agent.folder().join("real");
    std::fs::create_dir(&folder).expect("the scratch folder is writable");
    let mut first = Writer::new(&folder.join("0.log"), "first");
    let mut second = Writer::new(&folder.join("1.log"), "second");
    first.write(500);
    second.write(500);
    std::os::unix::fs::symlink(folder.join("0.log"), agent.log("link.log")).expect("a link can be made");
    agent.start();
    kafka.wait_count(&topic, 500);
    std::os::unix::fs::symlink(folder.join("1.log"), agent.folder().join("next")).expect("a link can be made");
    std::fs::rename(agent.folder().join("next"), agent.log("link.log")).expect("a link can be swapped");
    kafka.wait_count(&topic, 1_000);
    agent.stop();
    Check::of(&kafka.records(&topic), &[&first, &second]).exact();
}

/// Scenario: the last line has no line feed; later it gets one; another file ends without one and is renamed away.
/// Guarantee: an unfinished line waits for its end, and is shipped as it is once its file is finished.
#[test]
fn an_unfinished_line_waits_until_its_file_is_finished() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("unfinished", 1);
    let mut agent = Agent::new("unfinished");
    agent.ship("", &kafka.bootstrap(), &format!("topic: {topic}"));
    agent.start();
    let path = agent.log("a.log");
    let mut writer = Writer::new(&path, "a");
    writer.append(b"one\r\ntwo\nthr");
    kafka.wait_count(&topic, 2);
    writer.append(b"ee\nfour without an end");
    kafka.wait_count(&topic, 3);
    writer.rotate();
    kafka.wait_count(&topic, 4);
    agent.stop();
    let records = kafka.records(&topic);
    let lines: Vec<String> = records.iter().map(crate::kit::consumer::Record::message).collect();
    assert_eq!(lines, ["one", "two", "three", "four without an end"]);
    prove_gapless(&records).expect("the line ends are counted too");
}
