//! Kafka is back: how fast the spool empties while live lines keep coming, against an agent that sends the same lines straight
//! from their files.
//!
//! Both rounds are the same but for `spool.files`: the agent runs, Kafka is killed, the log comes in (`always`: it is spooled;
//! `auto`: it waits in its files), Kafka is started again. What is measured is from the first record that arrives to the one that
//! completes the log's number, while [`LIVE_PER_SECOND`] lines a second are appended behind it and to a file of their own.
//! kcat reads everything back: each file's records in its order, none missing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::kit::agent::Agent;
use super::kit::cluster::Cluster;
use super::kit::jars::Release;
use super::kit::{process, scratch, wait};
use super::{Options, ROUND_MAX, Stopwatch, Took, load, median_of, row, spooled, wait_spooled};

/// The log comes in so many files, each with a key of its own.
const FILES: usize = 6;
/// Appended while the backlog is sent, to all files and the live one in turn.
const LIVE_PER_SECOND: u64 = 2_000;
/// Live lines are appended in this rhythm.
const LIVE_BEAT: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    Drained,
}

struct Round {
    way: Way,
    took: Took,
    /// From the start of an agent that finds the spool full, to its being ready; of drained ones.
    start: Duration,
    /// Live lines of the file of their own: written, and arrived, when the backlog had.
    live: (u64, i64),
}

/// Measures both ways in turn.
pub fn run(options: &Options, table: &mut Vec<String>) {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    // Three times as many bytes are spooled as the lines have: 2,000,000 of them make 1 GB.
    let lines = options.lines / 3 * 4 / FILES as u64 * FILES as u64;
    println!(
        "draining: {lines} lines in {FILES} files, six partitions, lz4, acks=all, {LIVE_PER_SECOND} live lines a second"
    );
    println!(
        "{:<6} {:<8} {:>8} {:>10} {:>8} {:>9} {:>16}",
        "round", "way", "MB/s", "MB/CPU s", "wall s", "ready s", "live lines there"
    );
    let mut rounds = Vec::new();
    for round in 1..=options.rounds.unwrap_or(3) {
        for turn in 0..2 {
            let way = if (round + turn) % 2 == 0 { Way::Direct } else { Way::Drained };
            let one = measure(&kafka, way, lines);
            println!(
                "{round:<6} {:<8} {:>8.1} {:>10.1} {:>8.2} {:>9.2} {:>9} of {}",
                if way == Way::Direct { "direct" } else { "drained" },
                one.took.per_second(),
                one.took.per_cpu_second(),
                one.took.wall.as_secs_f64(),
                one.start.as_secs_f64(),
                one.live.1,
                one.live.0,
            );
            rounds.push(one);
        }
    }
    let of = |way: Way, value: fn(&Took) -> f64| {
        let own: Vec<&Round> = rounds.iter().filter(|one| one.way == way).collect();
        median_of(&own, |one| value(&one.took))
    };
    let (direct, drained) = (of(Way::Direct, Took::per_second), of(Way::Drained, Took::per_second));
    let (direct_cpu, drained_cpu) = (of(Way::Direct, Took::per_cpu_second), of(Way::Drained, Took::per_cpu_second));
    table.push(row("sent from the files when Kafka is back", direct, Some(direct_cpu), None));
    table.push(row("drained from the spool: wall ratio", drained, Some(drained_cpu), Some(drained / direct)));
    table.push(row("drained from the spool: CPU ratio", drained, Some(drained_cpu), Some(drained_cpu / direct_cpu)));
}

fn measure(kafka: &Cluster, way: Way, lines: u64) -> Round {
    let (topic, live_topic) = (kafka.topic("draining", 6), kafka.topic("live", 1));
    let mut agent = Agent::new("draining");
    configure(&agent, kafka, way, &topic, &live_topic);
    let names: Vec<String> = (0..FILES).map(|number| format!("{number}.log")).chain(["live.log".to_owned()]).collect();
    names.iter().for_each(|name| std::fs::write(agent.log(name), "before Kafka went\n").expect("it is ours"));
    agent.start();
    kafka.wait_count(&topic, FILES as i64);
    kafka.wait_count(&live_topic, 1);
    kafka.kill9(1);
    let bytes = append_all(&agent, lines / FILES as u64);
    let mut start = Duration::ZERO;
    if way == Way::Drained {
        wait_spooled(&agent, lines);
        // As after a restart: the spool is found, not remembered.
        agent.stop();
        let started = Instant::now();
        agent.start();
        start = started.elapsed();
        wait_spooled(&agent, lines);
    } else {
        agent.wait_status("the backlog to be seen", |status| {
            (status["inputs"][0]["lag_bytes"].as_u64()? > 0).then_some(())
        });
    }
    kafka.restart(1);
    let backlog = FILES as i64 + i64::try_from(lines).expect("lines are counted");
    let (enough, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (took, live, written) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| append_live(&agent, &names, &enough, &done));
        let progress = |least: i64| {
            let arrived = || (kafka.count(&topic)? >= least).then_some(());
            wait::until_or("the backlog to arrive", ROUND_MAX, arrived, || format!("{:#}", agent.status()["outputs"]));
        };
        progress(FILES as i64 + 1);
        let watch = Stopwatch::start(&agent);
        progress(backlog);
        let took = watch.stop(&agent, bytes as f64 / 1e6);
        enough.store(true, Ordering::Release);
        let live = kafka.count(&live_topic).expect("the broker answers");
        wait::until("the writer to end", || done.load(Ordering::Acquire).then_some(()));
        (took, live, writer.join().expect("it does not panic"))
    });
    let all = written.iter().sum::<u64>() - written[FILES];
    kafka.wait_count(&topic, backlog + i64::try_from(all).expect("lines are counted"));
    kafka.wait_count(&live_topic, 1 + i64::try_from(written[FILES]).expect("lines are counted"));
    agent.wait_status("the spool to be empty", |status| (spooled(status)? == 0).then_some(()));
    agent.stop();
    prove_order(kafka, &topic, &agent);
    prove_order(kafka, &live_topic, &agent);
    let _space = std::fs::remove_dir_all(agent.folder());
    kafka.delete(&topic);
    kafka.delete(&live_topic);
    Round { way, took, start, live: (written[FILES], live) }
}

fn configure(agent: &Agent, kafka: &Cluster, way: Way, topic: &str, live_topic: &str) {
    let mut yaml = String::from("inputs:\n");
    for number in 0..FILES {
        let path = agent.log(&format!("{number}.log"));
        let _always =
            writeln!(yaml, "  f{number}: {{ type: file, paths: [\"{}\"], key: \"{number}\" }}", path.display());
    }
    let live = agent.log("live.log");
    let _always = writeln!(yaml, "  live: {{ type: file, paths: [\"{}\"], topic: {live_topic} }}", live.display());
    let files = if way == Way::Drained { "always" } else { "auto" };
    let output = format!("topic: {topic}, compression: lz4");
    let _always = writeln!(yaml, "outputs:\n  main: {{ type: kafka, brokers: [{}], {output} }}", kafka.bootstrap());
    let _always = writeln!(yaml, "spool: {{ max_bytes: 4GiB, after: 200ms, files: {files} }}");
    agent.configure(&yaml);
}

/// Appends so many lines to each file: how many bytes in all.
fn append_all(agent: &Agent, lines_each: u64) -> u64 {
    let part = scratch::folder("part").join("part.log");
    let bytes = load::generate(&part, lines_each, "");
    let text = std::fs::read(&part).expect("it was generated");
    std::fs::remove_file(&part).expect("it was generated");
    for number in 0..FILES {
        open(agent, &format!("{number}.log")).write_all(&text).expect("the disk has room");
    }
    bytes * FILES as u64
}

fn open(agent: &Agent, name: &str) -> std::fs::File {
    std::fs::File::options().append(true).open(agent.log(name)).expect("it was made before")
}

/// Appends lines at the rate until it is enough: how many to each file.
fn append_live(agent: &Agent, names: &[String], enough: &AtomicBool, done: &AtomicBool) -> Vec<u64> {
    let mut files: Vec<std::fs::File> = names.iter().map(|name| open(agent, name)).collect();
    let mut written = vec![0; names.len()];
    let started = Instant::now();
    let mut count = 0;
    while !enough.load(Ordering::Acquire) {
        let due = (started.elapsed().as_secs_f64() * LIVE_PER_SECOND as f64) as u64;
        while count < due {
            let at = usize::try_from(count).expect("64 bits") % names.len();
            // As loggers do it: a line, a write.
            let line = format!("live line {count} of this run, as long as it takes\n");
            files[at].write_all(line.as_bytes()).expect("the disk has room");
            written[at] += 1;
            count += 1;
        }
        // Nobody unparks it: this is the beat.
        std::thread::park_timeout(LIVE_BEAT);
    }
    done.store(true, Ordering::Release);
    written
}

/// Reads the topic back with kcat: every byte of every file, in the order of the file.
fn prove_order(kafka: &Cluster, topic: &str, agent: &Agent) {
    let mut command = Command::new("kcat");
    command.args(["-b", &kafka.bootstrap(), "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%s\\n"]);
    let mut child = process::tie(&mut command).stdout(Stdio::piped()).spawn().expect("kcat was found");
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let mut repeated = 0u64;
    for line in BufReader::with_capacity(1 << 20, child.stdout.take().expect("it is piped")).lines() {
        let line = line.expect("kcat writes text");
        let path = text_after(&line, "\"path\":\"");
        let (offset, length) = (number_after(&line, "\"offset\":"), number_after(&line, "\"length\":"));
        let end = ends.entry(path.to_owned()).or_default();
        if offset < *end {
            repeated += 1;
            continue;
        }
        assert_eq!(offset, *end, "{path}: a record is missing, or comes too late");
        *end = offset + length;
    }
    assert!(child.wait().expect("it was started").success(), "kcat has read {topic}");
    for (path, end) in &ends {
        let len = std::fs::metadata(path).expect("nobody has removed it").len();
        assert_eq!(*end, len, "{path}: its last records are missing ({})", agent.folder().display());
    }
    if repeated > 0 {
        println!("{topic}: {repeated} records came twice");
    }
}

fn text_after<'a>(record: &'a str, what: &str) -> &'a str {
    let (_, rest) = record.split_once(what).unwrap_or_else(|| panic!("no {what} in {record}"));
    rest.split('"').next().expect("a split has a first part")
}

fn number_after(record: &str, what: &str) -> u64 {
    let (_, rest) = record.split_once(what).unwrap_or_else(|| panic!("no {what} in {record}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{what} is no number in {record}"))
}
