//! `-- --latency`: from the append of a line to its place in the broker's log, at 5,000 lines a second over 20 files.
//!
//! Each line says when it was written; the topic is stamped by the broker (`LogAppendTime`, whole milliseconds). So both
//! shippers are measured by the same clock from outside, and neither can flatter itself.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::kit::cluster::Cluster;
use super::kit::{process, scratch, wait};
use super::{Job, Options, ROUND_MAX, Shipper, logferry, rsyslog};

const FILES: usize = 20;
const LINES_PER_SECOND: u64 = 5_000;
/// Lines are appended in this rhythm, to all files in turn.
const BEAT: Duration = Duration::from_millis(2);
/// What is not measured: discovery, connections, the first metadata.
const WARM_UP_LINES: u64 = 2 * LINES_PER_SECOND;

/// Measures each shipper in turn.
pub fn run(kafka: &Cluster, options: &Options, seconds: u64) {
    println!("{LINES_PER_SECOND} lines a second over {FILES} files for {seconds} s, linger 20 ms");
    println!("{:<6} {:<9} {:>9} {:>9} {:>9} {:>9}", "round", "shipper", "p50 ms", "p99 ms", "max ms", "CPU %");
    for round in 1..=options.rounds {
        for &shipper in &options.shippers {
            let (mut latencies, cpu) = measure(kafka, shipper, seconds);
            latencies.sort_unstable();
            let at = |share: f64| latencies[(latencies.len() as f64 * share) as usize];
            let max = latencies.last().expect("lines were written");
            println!("{round:<6} {:<9} {:>9} {:>9} {max:>9} {cpu:>9.1}", shipper.name(), at(0.5), at(0.99),);
        }
    }
}

/// Milliseconds of each line after the warm-up, and the CPU in per cent of one core.
fn measure(kafka: &Cluster, shipper: Shipper, seconds: u64) -> (Vec<i64>, f64) {
    let topic = Cluster::name(shipper.name());
    kafka.create_with(&topic, 6, &[("message.timestamp.type", "LogAppendTime")]);
    let folder = scratch::folder(shipper.name());
    let logs = scratch::folder("logs");
    let pattern = logs.join("*.log");
    let command = match shipper {
        Shipper::Logferry => logferry(kafka, &topic, &folder, &pattern, Job::Plain, &["run"]),
        Shipper::Rsyslog => rsyslog(kafka, &topic, &folder, &pattern),
        Shipper::Collector => unreachable!("latency is of the plain job, which it has no part in"),
    };
    let lines = LINES_PER_SECOND * seconds + WARM_UP_LINES;
    let begun = Instant::now();
    let mut process = process::spawn(shipper.name(), command);
    write(&logs, lines);
    let wanted = i64::try_from(lines).expect("lines are counted");
    let output = || std::fs::read_to_string(folder.join("output")).unwrap_or_default();
    let arrived = || (kafka.count(&topic)? >= wanted).then_some(());
    wait::until_or("every line to be in the topic", ROUND_MAX, arrived, output);
    process.signal(libc::SIGTERM);
    let usage = process.wait();
    let cpu = usage.cpu_seconds / begun.elapsed().as_secs_f64() * 100.0;
    let records = kafka.records(&topic);
    kafka.delete(&topic);
    let latency = |record: &super::kit::consumer::Record| {
        let message = record.message();
        let (number, written_ms) = message.split_once(' ').expect("a line is a number and a time");
        let number: u64 = number.parse().expect("a number");
        let written_ms: i64 = written_ms.trim_end_matches('x').trim().parse().expect("milliseconds");
        (number >= WARM_UP_LINES).then(|| (record.timestamp - written_ms).max(0))
    };
    (records.iter().filter_map(latency).collect(), cpu)
}

/// Appends `lines` lines at the rate, each with its number and the time.
fn write(logs: &Path, lines: u64) {
    let open = |n: usize| std::fs::File::create(logs.join(format!("{n}.log"))).expect("the scratch folder is writable");
    let mut files: Vec<std::fs::File> = (0..FILES).map(open).collect();
    let begun = Instant::now();
    let mut written = 0;
    while written < lines {
        let due = (begun.elapsed().as_secs_f64() * LINES_PER_SECOND as f64) as u64;
        while written < due.min(lines) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
            let file = &mut files[usize::try_from(written).expect("small") % FILES];
            file.write_all(format!("{written} {now} {:x<140}\n", "").as_bytes()).expect("the disk has room");
            written += 1;
        }
        // Nobody unparks it: this is the beat.
        std::thread::park_timeout(BEAT);
    }
}
