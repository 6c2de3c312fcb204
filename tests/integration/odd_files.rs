//! Odd files, end to end: encodings, names that are no text, a file under two inputs, what can't be read, an input renamed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::kafka_or_skip;
use crate::kit::agent::{Agent, indent};
use crate::kit::check::{Check, prove_gapless};
use crate::kit::consumer::Record;
use crate::kit::fuse::Failing;
use crate::kit::writer::Writer;

fn messages(records: &[Record]) -> Vec<String> {
    records.iter().map(Record::message).collect()
}

/// Scenario: a log in UTF-16 with a mark, as PowerShell writes it, one line of it malformed; the agent is killed within.
/// Guarantee: the lines arrive in UTF-8, marked where they were malformed, and no raw byte is missing.
#[test]
fn a_log_in_utf_16() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("utf16", 1);
    let mut agent = Agent::new("utf16");
    agent.ship("encoding: utf-16", &kafka.bootstrap(), &format!("topic: {topic}"));
    let bytes = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let mut writer = Writer::new(&agent.log("a.log"), "raw");
    writer.append(&bytes("\u{feff}Grüße\r\n\u{1f600} \u{a0a}\r\n"));
    agent.start();
    kafka.wait_count(&topic, 2);
    agent.kill9();
    writer.append(b"a\0\0\xd8\r\0\n\0").append(&bytes("ende\r\n"));
    agent.start();
    kafka.wait_count(&topic, 4);
    agent.stop();
    let mut records = kafka.records(&topic);
    // What was acknowledged just before the kill may come again.
    let mut seen = std::collections::BTreeSet::new();
    records.retain(|record| seen.insert(record.text("event.id")));
    assert_eq!(messages(&records), ["Grüße", "\u{1f600} \u{a0a}", "a\u{fffd}", "ende"]);
    let flags: Vec<_> = records.iter().map(|record| record.text("log.flags")).collect();
    assert_eq!(flags, [None, None, Some("[\"invalid_encoding\"]".to_owned()), None]);
    prove_gapless(&records).expect("no gap in the raw bytes");
}

/// Scenario: file names that are not UTF-8, in a directory with such a name; keys by path; kill -9 and a rotation.
/// Guarantee: each file is shipped whole under a name and key of its own.
#[test]
fn names_that_are_no_text() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("names", 1);
    let mut agent = Agent::new("names");
    agent.ship("", &kafka.bootstrap(), &format!("topic: {topic}\nkey: \"%{{[log.file.path]}}\""));
    let at = |name: &[u8]| agent.logs().join(OsStr::from_bytes(name));
    let mut first = Writer::new(&at(b"caf\xe9.log"), "first");
    let mut second = Writer::new(&at(b"caf\xe8.log"), "second");
    let rotated = at(b"caf\xe9.log.1");
    first.write(300);
    second.write(300);
    agent.start();
    kafka.wait_count(&topic, 600);
    agent.kill9();
    first.write(200).rotate_to(&rotated).write(100);
    second.write(100);
    agent.start();
    kafka.wait_count(&topic, 1_000);
    agent.wait_status("all to be acknowledged", |status| (status["inputs"][0]["lag_bytes"] == 0).then_some(()));
    agent.stop();
    let records = kafka.records(&topic);
    Check::of(&records, &[&first, &second]).complete();
    let logs = agent.logs();
    for record in &records {
        let name = if record.message().starts_with("first") { r"caf\xe9.log" } else { r"caf\xe8.log" };
        assert_eq!(record.key_text(), format!("{}/{name}", logs.display()));
        assert_eq!(record.text("log.file.path"), Some(record.key_text()));
    }
}

/// Scenario: two inputs match one file; one of them is renamed in the config while the agent is down, after a kill -9.
/// Guarantee: each ships every line; the renamed one goes on where it was.
#[test]
fn a_file_under_two_inputs_one_of_which_is_renamed() {
    let kafka = kafka_or_skip!();
    let (one, two) = (kafka.topic("one", 1), kafka.topic("two", 1));
    let mut agent = Agent::new("two-inputs");
    let configure = |agent: &Agent, second: &str| {
        let input = |name: &str, glob: &str, topic: &str| {
            let keys = format!("type: file\npaths: [\"{}\"]\nstart_at: end\ntopic: {topic}", agent.log(glob).display());
            format!("{name}:\n{}", indent(&keys))
        };
        let inputs = format!("{}{}", input("first", "*.log", &one), input(second, "app.*", &two));
        let output = format!("main:\n  type: kafka\n  brokers: [{}]\n", kafka.bootstrap());
        agent.configure(&format!("inputs:\n{}outputs:\n{}", indent(&inputs), indent(&output)));
    };
    configure(&agent, "second");
    agent.start();
    let mut writer = Writer::new(&agent.log("app.log"), "app");
    writer.write(500);
    kafka.wait_count(&one, 500);
    kafka.wait_count(&two, 500);
    agent.stop();
    writer.write(250);
    configure(&agent, "renamed");
    agent.start();
    kafka.wait_count(&one, 750);
    kafka.wait_count(&two, 750);
    agent.stop();
    for topic in [&one, &two] {
        let records = kafka.records(topic);
        Check::of(&records, &[&writer]).exact();
        prove_gapless(&records).expect("no gap");
    }
    agent.start();
    agent.kill9();
    writer.write(250);
    agent.start();
    kafka.wait_count(&one, 1_000);
    kafka.wait_count(&two, 1_000);
    agent.stop();
    for topic in [&one, &two] {
        Check::of(&kafka.records(topic), &[&writer]).complete();
    }
    assert!(agent.stderr().contains("goes on where an input that is not in the config any more has stopped"));
}

/// Scenario: the pattern matches a FIFO, a socket, a device, a directory, a link to nothing and a link to itself.
/// Guarantee: each is named once in the agent's log, over several scans; the file beside them is shipped.
#[test]
fn what_is_no_file_is_named_once() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("odd", 1);
    let mut agent = Agent::new("odd");
    agent.ship("scan_every: 100ms", &kafka.bootstrap(), &format!("topic: {topic}"));
    let made = std::process::Command::new("mkfifo").arg(agent.log("fifo.log")).status().expect("coreutils");
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(agent.log("socket.log")).expect("a short path");
    std::fs::create_dir(agent.log("dir.log")).expect("writable");
    std::os::unix::fs::symlink("/dev/null", agent.log("device.log")).expect("writable");
    std::os::unix::fs::symlink("/nowhere", agent.log("dangling.log")).expect("writable");
    std::os::unix::fs::symlink("loop.log", agent.log("loop.log")).expect("writable");
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    agent.start();
    for round in 1..=5 {
        writer.write(100);
        kafka.wait_count(&topic, round * 100);
    }
    let scans = |agent: &Agent| agent.metric("logferry_input_read_errors_total", &["input=\"files\""]).unwrap_or(0.0);
    // The loop is what the system refuses: counted with each scan.
    crate::kit::wait::until("some scans", || (scans(&agent) >= 10.0).then_some(()));
    agent.stop();
    let log = agent.stderr();
    for name in ["fifo.log", "socket.log", "device.log", "dangling.log", "loop.log", "dir.log"] {
        assert_eq!(log.matches(&format!("/logs/{name}")).count(), 1, "{name} in\n{log}");
    }
    Check::of(&kafka.records(&topic), &[&writer]).exact();
}

/// Scenario: a file fails with EIO when it is found, while it is read, and after a kill -9; each time it recovers. Another
/// file is written all the while.
/// Guarantee: the failures are counted and name the file, the other file is not held up, and every line arrives.
#[test]
fn a_file_that_fails_with_eio() {
    let kafka = kafka_or_skip!();
    let (bad_topic, good_topic) = (kafka.topic("eio", 1), kafka.topic("beside", 1));
    let mut agent = Agent::new("eio");
    let at = agent.folder().join("mnt");
    let Some(disk) = Failing::or_skip(&at, "bad.log") else { return };
    let input = |name: &str, glob: &std::path::Path, topic: &str| {
        let keys = format!("type: file\nscan_every: 100ms\npaths: [\"{}\"]\ntopic: {topic}", glob.display());
        format!("{name}:\n{}", indent(&keys))
    };
    let inputs = input("beside", &agent.log("*.log"), &good_topic) + &input("disk", &at.join("*.log"), &bad_topic);
    let output = format!("main:\n  type: kafka\n  brokers: [{}]\n", kafka.bootstrap());
    agent.configure(&format!("inputs:\n{}outputs:\n{}", indent(&inputs), indent(&output)));
    let mut good = Writer::new(&agent.log("good.log"), "good");
    let errors = |agent: &Agent| agent.metric("logferry_input_read_errors_total", &["input=\"disk\""]).unwrap_or(0.0);
    let arrived = |number: i64| {
        let line = format!("bad {number}");
        crate::kit::wait::until(&line, || messages(&kafka.records(&bad_topic)).contains(&line).then_some(()));
    };
    disk.fail(true);
    disk.append(b"bad 0\n");
    agent.start();
    for round in 1..=3i64 {
        let before = errors(&agent);
        crate::kit::wait::until("the disk to fail", || (errors(&agent) >= before + 2.0).then_some(()));
        good.write(100);
        kafka.wait_count(&good_topic, round * 100);
        disk.fail(false);
        arrived(round - 1);
        disk.fail(true);
        disk.append(format!("bad {round}\n").as_bytes());
        if round == 2 {
            agent.kill9();
            agent.start();
        }
    }
    disk.fail(false);
    arrived(3);
    agent.stop();
    let lines: std::collections::BTreeSet<_> = messages(&kafka.records(&bad_topic)).into_iter().collect();
    assert!(lines.iter().eq(["bad 0", "bad 1", "bad 2", "bad 3"]), "{lines:?}");
    Check::of(&kafka.records(&good_topic), &[&good]).complete();
    assert!(agent.stderr().contains("mnt/bad.log"), "{}", agent.stderr());
}
