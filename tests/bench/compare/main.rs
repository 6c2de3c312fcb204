//! `cargo bench --bench compare`: the whole process against a peer, on the same file and the same real broker.
//!
//! Two jobs. `--job plain`: both tail one access log into a topic, as JSON records; the peer is rsyslog's omkafka.
//! `--job parse`: the log is a container's (CRI), and COMBINEDAPACHELOG and the request's time are taken from each line; the
//! peer is the OpenTelemetry Collector. Six partitions, lz4, acks=all.
//!
//! They take turns, so that a busy moment of the machine hurts both. What counts is CPU time: the kernel's account of the ended
//! process, user and system, all threads. It refuses to judge a round in which a line is missing.
//!
//! `-- --job plain|parse` (plain), `--lines N` (1,500,000), `--rounds N` (3), `--only logferry|rsyslog|collector`; `--latency`
//! measures [`latency`] instead.

mod collector;
#[allow(dead_code, reason = "the benchmark uses a part of the kit")]
#[path = "../../integration/kit/mod.rs"]
mod kit;
mod latency;
#[allow(dead_code, reason = "this benchmark uses a part of it")]
#[path = "../load.rs"]
mod load;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kit::cluster::Cluster;
use kit::process::{self, Usage};
use kit::{agent, scratch, skip, wait};
use load::{generate, median};

/// What containerd writes before each line.
const CONTAINER: &str = "2026-03-12T10:00:00.123456789Z stdout F ";
/// Not a last resort but a bound for a slow machine.
const ROUND_MAX: Duration = Duration::from_secs(1_800);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shipper {
    Logferry,
    Rsyslog,
    Collector,
}

impl Shipper {
    fn name(self) -> &'static str {
        match self {
            Self::Logferry => "logferry",
            Self::Rsyslog => "rsyslog",
            Self::Collector => "collector",
        }
    }
}

/// What is done with the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    /// They are shipped as they are.
    Plain,
    /// They are unpacked from the container's format and parsed.
    Parse,
}

impl Job {
    fn shippers(self) -> Vec<Shipper> {
        match self {
            Self::Plain => vec![Shipper::Logferry, Shipper::Rsyslog],
            Self::Parse => vec![Shipper::Logferry, Shipper::Collector],
        }
    }
}

struct Options {
    job: Job,
    lines: u64,
    rounds: usize,
    shippers: Vec<Shipper>,
    /// Measure latency for so many seconds instead of throughput.
    latency_seconds: Option<u64>,
}

/// What one run took.
struct Run {
    usage: Usage,
    /// From the start of the process to its last record in the topic.
    wall: Duration,
    megabytes: f64,
}

impl Run {
    fn megabytes_per_cpu_second(&self) -> f64 {
        self.megabytes / self.usage.cpu_seconds
    }
}

fn options() -> Result<Options, String> {
    let mut options =
        Options { job: Job::Plain, lines: 1_500_000, rounds: 3, shippers: Vec::new(), latency_seconds: None };
    let mut only = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--lines" => options.lines = value()?.parse().map_err(|error| format!("--lines: {error}"))?,
            "--rounds" => options.rounds = value()?.parse().map_err(|error| format!("--rounds: {error}"))?,
            "--latency" => options.latency_seconds = Some(20),
            "--only" => only = Some(value()?),
            "--job" => match value()?.as_str() {
                "plain" => options.job = Job::Plain,
                "parse" => options.job = Job::Parse,
                other => return Err(format!("--job takes plain or parse, not {other}")),
            },
            other => {
                return Err(format!(
                    "unknown: {other}; there are --job NAME, --lines N, --rounds N, --only NAME, --latency"
                ));
            }
        }
    }
    if options.latency_seconds.is_some() && options.job != Job::Plain {
        return Err("--latency is of --job plain".into());
    }
    options.shippers = options.job.shippers();
    if let Some(only) = only {
        options.shippers.retain(|shipper| shipper.name() == only);
        if options.shippers.is_empty() {
            return Err(format!("--only takes one that does this job, not {only}"));
        }
    }
    Ok(options)
}

fn main() {
    let options = match options() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            std::process::exit(2);
        }
    };
    let Some(kafka) = kit::cluster::shared() else { return };
    if options.shippers.contains(&Shipper::Rsyslog) && !skip::has("rsyslogd") {
        eprintln!("there is no rsyslogd here: apt-get install rsyslog rsyslog-kafka (or --only logferry)");
        std::process::exit(1);
    }
    if let Some(seconds) = options.latency_seconds {
        return latency::run(kafka, &options, seconds);
    }
    let log = scratch::folder("log").join("access.log");
    let bytes = generate(&log, options.lines, if options.job == Job::Parse { CONTAINER } else { "" });
    println!(
        "{} lines, {:.1} MB ({:.0} bytes a line)",
        options.lines,
        bytes as f64 / 1e6,
        bytes as f64 / options.lines as f64
    );
    println!("{:<6} {:<9} {:>9} {:>13} {:>8} {:>9}", "round", "shipper", "CPU s", "MB/CPU s", "wall s", "RSS MiB");
    let mut runs: Vec<(Shipper, Run)> = Vec::new();
    for round in 1..=options.rounds {
        for &shipper in &options.shippers {
            let run = measure(kafka, shipper, &log, &options);
            println!(
                "{round:<6} {:<9} {:>9.2} {:>13.1} {:>8.1} {:>9.1}",
                shipper.name(),
                run.usage.cpu_seconds,
                run.megabytes_per_cpu_second(),
                run.wall.as_secs_f64(),
                run.usage.resident_bytes_max as f64 / f64::from(1 << 20),
            );
            runs.push((shipper, run));
        }
    }
    summarise(&runs, &options);
}

fn summarise(runs: &[(Shipper, Run)], options: &Options) {
    let of = |shipper: Shipper, value: fn(&Run) -> f64| {
        median(runs.iter().filter(|(who, _)| *who == shipper).map(|(_, run)| value(run)).collect())
    };
    println!();
    for &shipper in &options.shippers {
        println!(
            "median {:<9} {:>7.1} MB of input per CPU-second, {:.2} µs a line, {:.1} s wall, {:.1} MiB at the peak",
            shipper.name(),
            of(shipper, Run::megabytes_per_cpu_second),
            of(shipper, |run| run.usage.cpu_seconds) / options.lines as f64 * 1e6,
            of(shipper, |run| run.wall.as_secs_f64()),
            of(shipper, |run| run.usage.resident_bytes_max as f64 / f64::from(1 << 20)),
        );
    }
    if let [ours, theirs] = options.shippers[..] {
        let ratio = |value: fn(&Run) -> f64| of(ours, value) / of(theirs, value);
        println!(
            "logferry / {}: {:.2} × the input per CPU-second, {:.2} × the wall time, {:.2} × the memory",
            theirs.name(),
            ratio(Run::megabytes_per_cpu_second),
            ratio(|run| run.wall.as_secs_f64()),
            ratio(|run| run.usage.resident_bytes_max as f64),
        );
    }
}

fn measure(kafka: &Cluster, shipper: Shipper, log: &Path, options: &Options) -> Run {
    let topic = kafka.topic(shipper.name(), 6);
    let folder = scratch::folder(shipper.name());
    let command = match shipper {
        Shipper::Logferry => logferry(kafka, &topic, &folder, log, options.job, &["run", "--until-idle=1s"]),
        Shipper::Rsyslog => rsyslog(kafka, &topic, &folder, log),
        Shipper::Collector => with_output(collector::command(kafka, &topic, &folder, log), &folder),
    };
    let arrived = || match shipper {
        Shipper::Collector => collector::arrived(kafka, &topic, options.lines),
        _ => kafka.count(&topic),
    };
    let lines = i64::try_from(options.lines).expect("lines are counted");
    let begun = Instant::now();
    let mut process = process::spawn(shipper.name(), command);
    let output = || std::fs::read_to_string(folder.join("output")).unwrap_or_default();
    wait::until_or(
        "every line to be in the topic",
        ROUND_MAX,
        || {
            let count = arrived()?;
            if let Some(usage) = process.ended() {
                assert!(usage.status.success() && count >= lines, "it ended with {count} lines: {}", output());
            }
            (count >= lines).then_some(())
        },
        output,
    );
    let wall = begun.elapsed();
    // logferry ends by itself (--until-idle); the others must be told.
    if shipper != Shipper::Logferry {
        process.signal(libc::SIGTERM);
    }
    let usage = process.wait();
    let count = arrived().unwrap_or(lines);
    if count != lines {
        println!("{}: {} records more than lines", shipper.name(), count - lines);
    }
    kafka.delete(&topic);
    let bytes = std::fs::metadata(log).expect("it was generated").len();
    Run { usage, wall, megabytes: bytes as f64 / 1e6 }
}

fn with_output(mut command: Command, folder: &Path) -> Command {
    let output = std::fs::File::create(folder.join("output")).expect("the scratch folder is writable");
    command.stdin(Stdio::null()).stdout(output.try_clone().expect("a descriptor can be doubled")).stderr(output);
    command
}

fn write_config(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("the scratch folder is writable");
    path
}

fn logferry(kafka: &Cluster, topic: &str, folder: &Path, log: &Path, job: Job, arguments: &[&str]) -> Command {
    let (format, processors) = match job {
        Job::Plain => ("lines", ""),
        Job::Parse => (
            "cri",
            "processors:\n  - grok: { field: message, patterns: [\"%{COMBINEDAPACHELOG}\"] }\n  \
             - date: { field: timestamp, formats: [\"dd/MMM/yyyy:HH:mm:ss Z\"] }\n  - drop_fields: { fields: [timestamp] }\n",
        ),
    };
    let config = format!(
        "data_dir: {}/data\nadmin: {{ listen: \"off\" }}\ninputs:\n  access: {{ type: file, paths: [{}], format: {format} }}\n\
         {processors}outputs:\n  main: {{ type: kafka, brokers: [{}], topic: {topic}, compression: lz4 }}\n",
        folder.display(),
        log.display(),
        kafka.bootstrap(),
    );
    let config = write_config(folder, "logferry.yaml", &config);
    let mut command = Command::new(agent::binary());
    command.args(arguments).arg("-c").arg(config);
    with_output(command, folder)
}

fn rsyslog(kafka: &Cluster, topic: &str, folder: &Path, log: &Path) -> Command {
    let config = format!(
        r#"global(workDirectory="{folder}")
module(load="imfile")
module(load="omkafka")
template(name="record" type="list" option.jsonf="on") {{
  property(outname="@timestamp" name="timegenerated" dateFormat="rfc3339" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
  property(outname="log.file.path" name="$!metadata!filename" format="jsonf")
  property(outname="log.offset" name="$!metadata!fileoffset" format="jsonf")
  property(outname="host.name" name="hostname" format="jsonf")
  constant(outname="agent.type" value="rsyslog" format="jsonf")
}}
input(type="imfile" File="{log}" Tag="access" addMetadata="on" ruleset="ship")
ruleset(name="ship") {{
  action(type="omkafka" broker="{broker}" topic="{topic}" template="record" partitions.auto="on"
         resubmitOnFailure="on" confParam=["compression.codec=lz4", "acks=all"])
}}
"#,
        folder = folder.display(),
        log = log.display(),
        broker = kafka.bootstrap(),
    );
    let config = write_config(folder, "rsyslog.conf", &config);
    let mut command = Command::new("rsyslogd");
    command.args(["-n", "-i"]).arg(folder.join("pid")).arg("-f").arg(config);
    with_output(command, folder)
}
