//! Kafka is away: how fast what can't wait is made durable in the spool; beside it `dd`, which does nothing but write and
//! sync to the same file system at the same time.
//!
//! The agent has shipped a line before, so it knows the topic's partitions, and one more since Kafka went, so it knows that
//! nobody answers. What is measured is from the first byte of the rest to the last record that `/status` counts as spooled.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::kit::agent::Agent;
use super::kit::cluster::Cluster;
use super::kit::jars::Release;
use super::kit::scratch;
use super::{Options, Stopwatch, Took, load, median_of, row, wait_spooled};

/// What comes by files comes by so many at once.
const FILES: usize = 4;
/// The files and the pipe.
const SOURCES: i64 = FILES as i64 + 1;
/// What `dd` writes, in MiB.
const DD_MEBIBYTES: u64 = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Pipe,
    Files,
}

struct Round {
    from: From,
    codec: &'static str,
    took: Took,
    /// What the spool takes on the disk.
    disk_megabytes: f64,
    syncs: f64,
}

/// Measures the pipe and the files, with the default codec and with lines as they are, in turn.
pub fn run(options: &Options, table: &mut Vec<String>) {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let log = scratch::folder("log").join("access.log");
    let megabytes = load::generate(&log, options.lines, "") as f64 / 1e6;
    println!("spooling: {} lines, {megabytes:.0} MB, Kafka away", options.lines);
    println!(
        "{:<6} {:<6} {:<5} {:>8} {:>10} {:>8} {:>13} {:>6}",
        "round", "from", "codec", "MB/s", "MB/CPU s", "wall s", "MB/s on disk", "syncs"
    );
    let (mut rounds, mut synced, mut at_end) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.rounds.unwrap_or(3) {
        for (from, codec) in [(From::Pipe, "ecs"), (From::Files, "ecs"), (From::Pipe, "raw"), (From::Files, "raw")] {
            // Each time, so that both find the page cache in the same state.
            synced.push(dd("oflag=dsync"));
            at_end.push(dd("conv=fsync"));
            let one = measure(&kafka, from, codec, &log, options.lines, megabytes);
            println!(
                "{round:<6} {:<6} {codec:<5} {:>8.1} {:>10.1} {:>8.2} {:>13.1} {:>6}",
                from.name(),
                one.took.per_second(),
                one.took.per_cpu_second(),
                one.took.wall.as_secs_f64(),
                one.disk_per_second(),
                one.syncs,
            );
            rounds.push(one);
        }
    }
    table.push(row("dd bs=16M oflag=dsync", load::median(synced.clone()), None, None));
    table.push(row("dd bs=16M conv=fsync", load::median(at_end), None, None));
    for (from, codec) in [(From::Pipe, "ecs"), (From::Files, "ecs"), (From::Pipe, "raw"), (From::Files, "raw")] {
        let own: Vec<&Round> = rounds.iter().filter(|one| one.from == from && one.codec == codec).collect();
        let name = format!("spooling from {}, codec {codec}", from.name());
        let per_second = median_of(&own, |one| one.took.per_second());
        table.push(row(&name, per_second, Some(median_of(&own, |one| one.took.per_cpu_second())), None));
        let disk = median_of(&own, |one| one.disk_per_second());
        table.push(row(
            "  on the disk; ratio to dd oflag=dsync",
            disk,
            None,
            Some(disk / load::median(synced.clone())),
        ));
    }
}

impl From {
    fn name(self) -> &'static str {
        match self {
            Self::Pipe => "pipe",
            Self::Files => "files",
        }
    }
}

impl Round {
    fn disk_per_second(&self) -> f64 {
        self.disk_megabytes / self.took.wall.as_secs_f64()
    }
}

/// MB a second of `dd` from nothing to where the agents have their spools.
fn dd(how: &str) -> f64 {
    let path = scratch::folder("dd").join("zeros");
    let mut command = Command::new("dd");
    command.arg("if=/dev/zero").arg(format!("of={}", path.display())).arg("bs=16M");
    command.arg(format!("count={}", DD_MEBIBYTES / 16)).arg(how).stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status().expect("every Linux has dd");
    let wall = started.elapsed();
    assert!(status.success(), "dd {how}: {status}");
    std::fs::remove_file(&path).expect("dd wrote it");
    (DD_MEBIBYTES << 20) as f64 / 1e6 / wall.as_secs_f64()
}

fn measure(kafka: &Cluster, from: From, codec: &'static str, log: &Path, lines: u64, megabytes: f64) -> Round {
    let topic = kafka.topic("spooling", 6);
    let mut agent = Agent::new("spooling");
    configure(&agent, kafka, &topic, codec);
    agent.spawn(&[], Stdio::piped());
    agent.wait_ready();
    let mut pipe = agent.stdin();
    let mut say = |what: &str| {
        pipe.write_all(what.as_bytes()).expect("it reads");
        for number in 0..FILES {
            let path = agent.log(&format!("{number}-{}.log", what.len()));
            std::fs::write(path, what).expect("the scratch folder is writable");
        }
    };
    say("before Kafka went\n");
    kafka.wait_count(&topic, SOURCES);
    kafka.kill9(1);
    // Each lane finds out that nobody answers.
    say("since Kafka went\n");
    wait_spooled(&agent, SOURCES as u64);
    let files = if from == From::Files { cut(&agent, log) } else { Vec::new() };
    let bytes = if from == From::Pipe { std::fs::read(log).expect("it was generated") } else { Vec::new() };
    let before = agent.status()["outputs"][0]["spool"].clone();
    let watch = Stopwatch::start(&agent);
    pipe.write_all(&bytes).expect("it reads");
    for (number, file) in files.iter().enumerate() {
        std::fs::rename(file, agent.log(&format!("{number}-rest.log"))).expect("both are on one file system");
    }
    wait_spooled(&agent, lines + SOURCES as u64);
    let took = watch.stop(&agent, megabytes);
    let spool = agent.status()["outputs"][0]["spool"].clone();
    let bytes = |spool: &serde_json::Value| spool["appended_bytes_total"].as_f64().expect("a number");
    let syncs = |spool: &serde_json::Value| -> f64 {
        let counts = spool["fsync_seconds"]["counts"].as_array().expect("a histogram");
        counts.iter().filter_map(serde_json::Value::as_f64).sum()
    };
    let (disk_megabytes, syncs) = ((bytes(&spool) - bytes(&before)) / 1e6, syncs(&spool) - syncs(&before));
    agent.kill9();
    let _space = std::fs::remove_dir_all(agent.folder());
    kafka.restart(1);
    kafka.all_up();
    kafka.delete(&topic);
    Round { from, codec, took, disk_megabytes, syncs }
}

/// Each file has a key of its own, so that the partitions are the same in each round.
fn configure(agent: &Agent, kafka: &Cluster, topic: &str, codec: &str) {
    let mut yaml = String::from("inputs:\n  pipe: { type: stdin, key: pipe }\n");
    for number in 0..FILES {
        let paths = agent.log(&format!("{number}-*.log"));
        let _always =
            writeln!(yaml, "  files{number}: {{ type: file, paths: [\"{}\"], key: \"{number}\" }}", paths.display());
    }
    let output = format!("topic: {topic}, codec: {codec}, compression: lz4");
    let _always = writeln!(yaml, "outputs:\n  main: {{ type: kafka, brokers: [{}], {output} }}", kafka.bootstrap());
    agent.configure(&(yaml + "spool: { max_bytes: 8GiB, after: 200ms, files: always }\n"));
}

/// The log in equal parts, beside the folder that the agent watches.
fn cut(agent: &Agent, log: &Path) -> Vec<PathBuf> {
    let all = std::fs::read(log).expect("it was generated");
    let mut rest = &all[..];
    (0..FILES)
        .map(|number| {
            let about = rest.len() / (FILES - number);
            let end = memchr::memchr(b'\n', &rest[about - 1..]).expect("the log ends with a line") + about;
            let path = agent.folder().join(format!("part.{number}"));
            std::fs::write(&path, &rest[..end]).expect("the scratch folder is writable");
            rest = &rest[end..];
            path
        })
        .collect()
}
