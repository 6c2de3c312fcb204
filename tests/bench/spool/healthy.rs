//! Kafka is healthy: an agent that has a spool against one that has none, on the same file and the same broker.
//!
//! What is measured is the whole process from its start to its end by itself (`--until-idle`). Here nothing is ever spooled.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::kit::cluster::{self, Cluster};
use super::kit::{agent, process, scratch, wait};
use super::{Options, ROUND_MAX, Took, load, median_of, row};

/// Measures both in turn.
pub fn run(options: &Options, table: &mut Vec<String>) {
    let Some(without) = &options.without else {
        println!("healthy: --without BINARY is not given, so there is nothing to compare with (docs/testing.md)");
        return;
    };
    let Some(kafka) = cluster::shared() else { return };
    let log = scratch::folder("log").join("access.log");
    let megabytes = load::generate(&log, options.lines, "") as f64 / 1e6;
    println!("healthy: {} lines, {megabytes:.0} MB, six partitions, lz4, acks=all", options.lines);
    println!("{:<6} {:<8} {:>8} {:>10} {:>8}", "round", "spool", "CPU s", "MB/CPU s", "wall s");
    let binaries = [("with", agent::binary()), ("without", without.clone())];
    let mut all: [Vec<Took>; 2] = Default::default();
    for round in 1..=options.rounds.unwrap_or(10) {
        for turn in 0..2 {
            // Who is first changes, too.
            let who = (turn + round) % 2;
            let (name, binary) = &binaries[who];
            let took = measure(kafka, binary, &log, options.lines, megabytes);
            println!(
                "{round:<6} {name:<8} {:>8.2} {:>10.1} {:>8.2}",
                took.cpu_seconds,
                took.per_cpu_second(),
                took.wall.as_secs_f64()
            );
            all[who].push(took);
        }
    }
    let [with, without] = all.map(|runs| (median_of(&runs, Took::per_second), median_of(&runs, Took::per_cpu_second)));
    table.push(row("healthy, without a spool", without.0, Some(without.1), None));
    table.push(row("healthy, with it: CPU ratio", with.0, Some(with.1), Some(with.1 / without.1)));
    table.push(row("healthy, with it: wall ratio", with.0, Some(with.1), Some(with.0 / without.0)));
}

fn measure(kafka: &Cluster, binary: &Path, log: &Path, lines: u64, megabytes: f64) -> Took {
    let topic = kafka.topic("healthy", 6);
    let folder = scratch::folder("healthy");
    let config = folder.join("logferry.yaml");
    let text = format!(
        "data_dir: {}/data\nadmin: {{ listen: \"off\" }}\ninputs:\n  access: {{ type: file, paths: [{}] }}\n\
         outputs:\n  main: {{ type: kafka, brokers: [{}], topic: {topic}, compression: lz4 }}\n",
        folder.display(),
        log.display(),
        kafka.bootstrap(),
    );
    std::fs::write(&config, text).expect("the scratch folder is writable");
    let output = std::fs::File::create(folder.join("output")).expect("the scratch folder is writable");
    let mut command = Command::new(binary);
    command.args(["run", "--until-idle=1s", "-c"]).arg(config).stdin(Stdio::null());
    command.stdout(output.try_clone().expect("a descriptor can be doubled")).stderr(output);
    let output = || std::fs::read_to_string(folder.join("output")).unwrap_or_default();
    let wanted = i64::try_from(lines).expect("lines are counted");
    let started = Instant::now();
    let mut process = process::spawn("logferry", command);
    let arrived = || (kafka.count(&topic)? >= wanted).then(|| started.elapsed());
    let wall = wait::until_or("every line to be in the topic", ROUND_MAX, arrived, output);
    let usage = process.wait();
    assert!(usage.status.success() && kafka.count(&topic) == Some(wanted), "{}: {}", usage.status, output());
    kafka.delete(&topic);
    Took { cpu_seconds: usage.cpu_seconds, wall, megabytes }
}
