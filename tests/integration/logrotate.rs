//! Files that Debian's logrotate rotates, in each of its modes, under load (I8): the program that writes opens its file
//! anew when it is another (as Python's `WatchedFileHandler` does), or never (copy, copytruncate).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::kafka_or_skip;
use crate::kit::check::Check;
use crate::kit::consumer::Record;
use crate::kit::logrotate::Logrotate;
use crate::kit::writer::{Rotation, during};
use crate::kit::{agent::Agent, cluster::Cluster, process, wait, writer::Writer};
use crate::rotation::all_arrived;

const ROTATIONS: usize = 10;
const LINES_PER_SECOND: u64 = 5_000;

/// An agent that ships `logs/*.log`, and the writer of `logs/app.log`.
fn stage(kafka: &Cluster, name: &str) -> (Agent, Writer, PathBuf, String) {
    let topic = kafka.topic(name, 1);
    let agent = Agent::new(name);
    agent.ship("", &kafka.bootstrap(), &format!("topic: {topic}"));
    let log = agent.log("app.log");
    let writer = Writer::new(&log, "app");
    (agent, writer, log, topic)
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |stat| stat.len())
}

/// Waits until the log has grown by some reads' worth, and the clock shows another second than at the last rotation.
fn let_grow(log: &Path, since: u64, second: &mut u64) {
    wait::until("the log to grow", || (size(log) >= since + 20_000).then_some(()));
    *second = wait::until("the next second", || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        (now != *second).then_some(now)
    });
}

/// Scenario: logrotate rotates ten times in this mode, under load. Guarantee: every line arrives once and in order.
fn rotates(kafka: &Cluster, name: &str, directives: &str) {
    let (mut agent, mut writer, log, topic) = stage(kafka, name);
    std::fs::create_dir(agent.folder().join("old")).expect("the scratch folder is writable");
    let directives = directives.replace("OLD", &agent.folder().join("old").display().to_string());
    let Some(logrotate) = Logrotate::or_skip(agent.folder(), &log, &format!("rotate 1000\n{directives}")) else {
        return;
    };
    agent.start();
    during(&mut writer, LINES_PER_SECOND, Rotation::External, || {
        let (mut since, mut second) = (0, 0);
        for _ in 0..ROTATIONS {
            let_grow(&log, since, &mut second);
            logrotate.force();
            // After `copy` it goes on growing, else it begins at 0.
            since = if directives.starts_with("copy\n") { size(&log) } else { 0 };
        }
    });
    writer.write(100);
    all_arrived(kafka, &mut agent, &writer, &topic);
}

#[test]
fn create() {
    rotates(kafka_or_skip!(), "lr-create", "create");
}

#[test]
fn copy() {
    rotates(kafka_or_skip!(), "lr-copy", "copy\n");
}

#[test]
fn compress() {
    rotates(kafka_or_skip!(), "lr-compress", "create\ncompress");
}

#[test]
fn delaycompress() {
    rotates(kafka_or_skip!(), "lr-delay", "create\ncompress\ndelaycompress");
}

#[test]
fn dateext() {
    rotates(kafka_or_skip!(), "lr-date", "create\ndateext\ndateformat -%Y%m%d-%s");
}

/// The rotated names match the input's pattern too.
#[test]
fn dateext_within_the_pattern() {
    rotates(kafka_or_skip!(), "lr-date-in", "create\ndateext\ndateformat -%Y%m%d-%s\nextension .log");
}

#[test]
fn olddir() {
    rotates(kafka_or_skip!(), "lr-olddir", "create\nolddir OLD");
}

/// Scenario: logrotate runs again and again without a pause, by size, under load.
/// Guarantee: every line arrives once and in order.
#[test]
fn by_size_in_a_tight_loop() {
    let kafka = kafka_or_skip!();
    let (mut agent, mut writer, log, topic) = stage(kafka, "lr-size");
    let directives = "size 1\nrotate 1000\ncreate\nnotifempty";
    let Some(logrotate) = Logrotate::or_skip(agent.folder(), &log, directives) else { return };
    agent.start();
    during(&mut writer, 10_000, Rotation::External, || (0..80).for_each(|_| logrotate.force()));
    writer.write(100);
    all_arrived(kafka, &mut agent, &writer, &topic);
}

/// Scenario: the agent is killed with -9 before every other rotation and started after the next.
/// Guarantee: nothing is lost, and nothing out of order.
#[test]
fn create_and_compress_while_the_agent_is_killed() {
    let kafka = kafka_or_skip!();
    let (mut agent, mut writer, log, topic) = stage(kafka, "lr-kill");
    let directives = "rotate 1000\ncreate\ncompress\ndelaycompress";
    let Some(logrotate) = Logrotate::or_skip(agent.folder(), &log, directives) else { return };
    agent.start();
    during(&mut writer, LINES_PER_SECOND, Rotation::External, || {
        let mut second = 0;
        for round in 0..ROTATIONS {
            let_grow(&log, 0, &mut second);
            if round % 3 == 1 {
                agent.kill9();
            }
            logrotate.force();
            if round % 3 == 2 {
                agent.start();
            }
        }
    });
    writer.write(100);
    kafka.wait_count(&topic, i64::try_from(writer.written).expect("small"));
    let last = writer.line(writer.written - 1);
    wait::until("the last line", || kafka.records(&topic).iter().any(|record| record.message() == last).then_some(()));
    agent.stop();
    let check = Check::of(&kafka.records(&topic), &[&writer]);
    assert!(check.lost.is_empty() && check.invented.is_empty(), "{check:?}");
}

/// The numbers of the whole lines of a file.
fn numbers(writer: &Writer, text: &str) -> BTreeSet<u64> {
    let number = |line: &str| {
        let number: u64 = line.split(' ').nth(1)?.parse().ok()?;
        (writer.line(number) == line).then_some(number)
    };
    text.lines().filter_map(number).collect()
}

/// Scenario: copytruncate under load, by a writer that does not wait for it: what is written between the copy and the cut
/// is in neither. `tail -F` reads beside us.
/// Guarantee: every line that is in a copy or in the file arrives, once. So we lose at most what logrotate itself loses.
#[test]
fn copytruncate() {
    let kafka = kafka_or_skip!();
    let (mut agent, mut writer, log, topic) = stage(kafka, "lr-copytruncate");
    let Some(logrotate) = Logrotate::or_skip(agent.folder(), &log, "rotate 1000\ncopytruncate") else { return };
    let tailed = agent.folder().join("tailed");
    let mut tail = Command::new("tail");
    tail.args(["-n", "+1", "-F"]).arg(&log).stdin(Stdio::null()).stderr(Stdio::null());
    tail.stdout(std::fs::File::create(&tailed).expect("the scratch folder is writable"));
    let tail = process::spawn("tail", tail);
    agent.start();
    during(&mut writer, 20_000, Rotation::External, || {
        let mut second = 0;
        for _ in 0..ROTATIONS {
            let_grow(&log, 0, &mut second);
            logrotate.force();
        }
    });
    // The last line is never cut away: it is in the file.
    writer.write(100);
    let last = writer.line(writer.written - 1);
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).expect("it is there")).into_owned();
    wait::until("tail to catch up", || read(&tailed).ends_with(&format!("{last}\n")).then_some(()));
    drop(tail);
    wait::until("the last line", || kafka.records(&topic).iter().any(|record| record.message() == last).then_some(()));
    agent.wait_status("all to be acknowledged", |status| (status["inputs"][0]["lag_bytes"] == 0).then_some(()));
    agent.stop();

    let mut kept = numbers(&writer, &read(&log));
    for number in 1..=ROTATIONS {
        kept.extend(numbers(&writer, &read(&agent.log(&format!("app.log.{number}")))));
    }
    let lines: Vec<String> = kafka.records(&topic).iter().map(Record::message).collect();
    let ours = numbers(&writer, &lines.join("\n"));
    let by_tail = numbers(&writer, &read(&tailed));
    let lost = |have: &BTreeSet<u64>| writer.written - have.len() as u64;
    let figures = format!(
        "of {} lines logrotate lost {}, tail -F {} and the agent {}",
        writer.written,
        lost(&kept),
        lost(&by_tail),
        lost(&ours)
    );
    println!("{figures}");
    let missing: Vec<&u64> = kept.difference(&ours).collect();
    assert!(
        missing.is_empty(),
        "{} lines that were kept did not arrive, {:?}…; {figures}",
        missing.len(),
        missing.first()
    );
    assert!(lost(&ours) <= lost(&kept), "{figures}");
    let whole = lines.iter().filter(|line| !numbers(&writer, line).is_empty()).count();
    assert_eq!(whole, ours.len(), "no line twice; {figures}");
}
