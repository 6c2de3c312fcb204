//! `cargo bench --bench spool`: what the spool costs while nobody needs it, how fast it is written with Kafka away, and how
//! fast it empties when Kafka is back. Whole process, real Apache Kafka, one table with ratios.
//!
//! `-- --only healthy|spooling|draining` (all), `--rounds N` (10 for healthy, else 3), `--lines N` (1,500,000 of 170 bytes),
//! `--without BINARY`: the agent that healthy is compared with, since no config is without a spool (docs/testing.md says how to
//! build one). Runs take turns, so that a busy moment of the machine hurts both sides; CPU time is the kernel's account. A
//! round in which a line is missing, or not in its order, is not judged: it panics.

mod draining;
mod healthy;
#[allow(dead_code, reason = "the benchmark uses a part of the kit")]
#[path = "../../integration/kit/mod.rs"]
mod kit;
#[path = "../load.rs"]
mod load;
mod spooling;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kit::agent::Agent;
use kit::{skip, wait};

/// Not a last resort but a bound for a slow machine.
const ROUND_MAX: Duration = Duration::from_secs(1_800);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Healthy,
    Spooling,
    Draining,
}

struct Options {
    parts: Vec<Part>,
    rounds: Option<usize>,
    lines: u64,
    without: Option<PathBuf>,
}

/// What a stretch of work took.
struct Took {
    cpu_seconds: f64,
    wall: Duration,
    /// Of log lines, as they stand in their files or come by the pipe.
    megabytes: f64,
}

impl Took {
    fn per_second(&self) -> f64 {
        self.megabytes / self.wall.as_secs_f64()
    }

    fn per_cpu_second(&self) -> f64 {
        self.megabytes / self.cpu_seconds
    }
}

/// The CPU time of a running agent, and the clock.
struct Stopwatch {
    cpu_seconds: f64,
    started: Instant,
}

impl Stopwatch {
    fn start(agent: &Agent) -> Self {
        Self { cpu_seconds: agent.usage_now().0, started: Instant::now() }
    }

    fn stop(&self, agent: &Agent, megabytes: f64) -> Took {
        let wall = self.started.elapsed();
        Took { cpu_seconds: agent.usage_now().0 - self.cpu_seconds, wall, megabytes }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        parts: vec![Part::Healthy, Part::Spooling, Part::Draining],
        rounds: None,
        lines: 1_500_000,
        without: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--lines" => options.lines = value()?.parse().map_err(|error| format!("--lines: {error}"))?,
            "--rounds" => options.rounds = Some(value()?.parse().map_err(|error| format!("--rounds: {error}"))?),
            "--without" => options.without = Some(value()?.into()),
            "--only" => {
                options.parts = match value()?.as_str() {
                    "healthy" => vec![Part::Healthy],
                    "spooling" => vec![Part::Spooling],
                    "draining" => vec![Part::Draining],
                    other => return Err(format!("--only takes healthy, spooling or draining, not {other}")),
                };
            }
            other => {
                return Err(format!(
                    "unknown: {other}; there are --only PART, --rounds N, --lines N, --without BINARY"
                ));
            }
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
    if !skip::has("kcat") {
        eprintln!("there is no kcat here, which reads back what arrived: apt-get install kcat");
        std::process::exit(1);
    }
    let mut table = Vec::new();
    for part in &options.parts {
        let begun = load_average();
        match part {
            Part::Healthy => healthy::run(&options, &mut table),
            Part::Spooling => spooling::run(&options, &mut table),
            Part::Draining => draining::run(&options, &mut table),
        }
        println!("load of the machine: {begun} before, {} after\n", load_average());
    }
    println!("{:<52} {:>12} {:>12} {:>7}", "medians", "MB/s", "MB/CPU s", "ratio");
    table.iter().for_each(|row| println!("{row}"));
}

/// A line of the table. `ratio`: of what to what stands in the name.
fn row(name: &str, per_second: f64, per_cpu_second: Option<f64>, ratio: Option<f64>) -> String {
    let or_none = |value: Option<f64>, digits: usize| value.map_or(String::new(), |value| format!("{value:.digits$}"));
    format!("{name:<52} {per_second:>12.1} {:>12} {:>7}", or_none(per_cpu_second, 1), or_none(ratio, 2))
}

/// The median of what `value` says of each.
fn median_of<T>(all: &[T], value: impl Fn(&T) -> f64) -> f64 {
    load::median(all.iter().map(value).collect())
}

/// Over the last minute: the benchmark's own work is in it.
fn load_average() -> String {
    let all = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    all.split(' ').next().unwrap_or("unknown").to_owned()
}

/// The records that stand in the spool of the one output.
fn spooled(status: &serde_json::Value) -> Option<u64> {
    status["outputs"][0]["spool"]["records"].as_u64()
}

/// Waits until the one output's spool holds so many records.
fn wait_spooled(agent: &Agent, records: u64) {
    wait::until_or(
        &format!("{records} records to be in the spool"),
        ROUND_MAX,
        || (spooled(&serde_json::from_str(&agent.get("/status")?.1).ok()?)? >= records).then_some(()),
        || format!("{:#}", agent.status()["outputs"]),
    );
}
