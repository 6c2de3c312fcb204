//! Everything at once: three brokers, an agent, two logs that rotate under load, and a seed that decides what dies next.
//! A few steps run with the other tests; `tests/campaign/chaos` runs it for minutes.

use std::time::Duration;

use crate::kit::cluster::{self, Three};
use crate::kit::latency::measured;
use crate::kit::number;
use crate::kit::wait::{self, until};
use crate::kit::writer::{Rotation, during};
use crate::kit::{agent::Agent, check::Check, writer::Writer};

/// Steps in a run that nobody asked more of.
const STEPS: u64 = 4;
/// The shortest line of a [`Writer`], in bytes: what repeats are bounded with.
const LINE_BYTES_MIN: u64 = 50;

/// A small seeded generator (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

struct Chaos<'a> {
    kafka: &'a Three,
    agent: Agent,
    topics: [String; 2],
    victim: String,
    dice: Dice,
    /// What a kill of the agent, or a producer that is replaced, may repeat.
    bytes_repeated_max: u64,
}

impl Chaos<'_> {
    /// So many records more in both topics.
    fn flows(&self) {
        for topic in &self.topics {
            let before = until("a count", || self.kafka.count(topic));
            until("records to flow", || (self.kafka.count(topic)? > before + 200).then_some(()));
        }
    }

    /// More is read or spooled than was, or everything waits: time has passed for the agent.
    fn goes_on(&self) {
        let read = |status: &serde_json::Value| -> Option<u64> {
            status["inputs"].as_array()?.iter().map(|input| input["read_records_total"].as_u64()).sum()
        };
        let before = read(&self.agent.status()).expect("a number");
        let started = std::time::Instant::now();
        self.agent.wait_status("the agent to read on, or to wait", |status| {
            let spooled = status["outputs"][0]["spool"]["records"].as_u64()? > 0;
            let is_late = started.elapsed() > Duration::from_secs(8);
            (read(status)? > before + 2_000 || spooled || is_late).then_some(())
        });
    }

    fn kill_agent(&mut self) {
        self.note_repeats();
        self.agent.kill9();
        self.agent.start();
    }

    fn note_repeats(&mut self) {
        let status = self.agent.status();
        let bound = status["duplicates_bound_bytes"].as_u64().expect("a number");
        let window = status["outputs"][0]["window"]["max_bytes"].as_u64().expect("a number");
        self.bytes_repeated_max += bound + window;
    }

    fn step(&mut self) -> &'static str {
        let node = 1 + i32::try_from(self.dice.below(3)).expect("small");
        match self.dice.below(7) {
            0 => {
                self.kafka.kill9(node);
                self.goes_on();
                self.kafka.all_up();
                "a broker killed"
            }
            1 => {
                self.note_repeats();
                self.kafka.freeze(node, true);
                self.goes_on();
                self.kafka.freeze(node, false);
                "a broker hung"
            }
            2 => {
                (1..=3).for_each(|node| self.kafka.kill9(node));
                self.goes_on();
                if self.dice.below(2) == 0 {
                    self.kill_agent();
                }
                self.kafka.all_up();
                "all brokers killed"
            }
            3 => {
                self.kill_agent();
                "the agent killed"
            }
            4 => {
                self.kafka.delete(&self.victim);
                self.goes_on();
                self.kafka.create(&self.victim, 2);
                "a topic deleted and made again"
            }
            5 => {
                self.kafka.kill9(node);
                self.goes_on();
                self.kill_agent();
                self.kafka.all_up();
                "a broker and the agent killed"
            }
            _ => {
                self.agent.stop();
                self.agent.start();
                "the agent stopped and started"
            }
        }
    }
}

/// Scenario: three brokers, an agent, two logs under load with fast rotation; seeded: brokers killed and hung, one or all of
/// them, the agent killed with -9 and stopped, a third topic deleted and made again. `CHAOS_SEED`, `CHAOS_STEPS`.
/// Guarantee: lost 0, out of order 0, repeated no more than the bound that `/status` gave before each kill.
#[test]
fn chaos() {
    let Some(kafka) = cluster::three() else { return };
    let seed = number("CHAOS_SEED", 1);
    let topics = [kafka.topic("chaos-a", 3), kafka.topic("chaos-b", 3)];
    let victim = kafka.topic("chaos-victim", 2);
    let agent = Agent::new("chaos");
    let log = |name: &str| agent.log(name).display().to_string();
    agent.configure(&format!(
        "inputs:\n  a: {{ type: file, paths: [\"{}*\"], topic: {} }}\n  b: {{ type: file, paths: [\"{}\"], topic: {} }}\n  \
         c: {{ type: file, paths: [\"{}\"], topic: {victim} }}\n\
         outputs:\n  main: {{ type: kafka, brokers: [{}], key: \"%{{[message]}}\" }}\n",
        log("a.log"),
        topics[0],
        log("b.log"),
        topics[1],
        log("c.log"),
        kafka.bootstrap()
    ));
    let mut writers = ["a", "b", "c"].map(|name| Writer::new(&agent.log(&format!("{name}.log")), name));
    let mut chaos = Chaos { kafka: &kafka, agent, topics, victim, dice: Dice(seed), bytes_repeated_max: 0 };
    chaos.agent.start();
    let [a, b, c] = &mut writers;
    during(a, 600, Rotation::Rename(2_000), || {
        during(b, 300, Rotation::Rename(1_500), || {
            during(c, 100, Rotation::Rename(1_000_000), || {
                chaos.flows();
                for step in 0..number("CHAOS_STEPS", STEPS) {
                    let what = chaos.step();
                    eprintln!("chaos seed {seed} step {step}: {what}");
                    chaos.flows();
                }
            });
        });
    });
    for (topic, writer) in chaos.topics.iter().zip(&writers) {
        kafka.wait_count(topic, i64::try_from(writer.written).expect("small"));
    }
    chaos.agent.wait_status("everything to be acknowledged", |status| {
        let lag: u64 = status["inputs"].as_array()?.iter().filter_map(|input| input["lag_bytes"].as_u64()).sum();
        (lag == 0 && status["outputs"][0]["spool"]["records"] == 0).then_some(())
    });
    chaos.agent.stop();
    let mut repeated = 0;
    for (topic, writer) in chaos.topics.iter().zip(&writers) {
        let check = Check::of(&kafka.records(topic), &[writer]);
        repeated += check.complete().repeated as u64;
        eprintln!(
            "chaos seed {seed}: {topic} {} written, {} arrived, {} repeated",
            writer.written, check.arrived, check.repeated
        );
    }
    let bound = chaos.bytes_repeated_max / LINE_BYTES_MIN;
    assert!(repeated <= bound, "{repeated} records came twice, the bound is {bound}");
}

/// Scenario: three brokers under load, with a topic on all of them, one on the third alone and one on the first alone; the third is
/// stopped (its sockets stay open) for `STOPPED_SECONDS`, and goes on. Logs are rotated meanwhile.
/// Guarantee: lost 0, out of order 0; twice comes no more than was in flight at each producer that was replaced; the topic on all
/// brokers goes on while the third is stopped.
#[test]
fn a_broker_that_is_stopped() {
    let Some(kafka) = cluster::three() else { return };
    // Long enough for the cluster to take it for dead, and for the agent to leave what is stuck there.
    let seconds = number("STOPPED_SECONDS", 20);
    let bound = Duration::from_secs(seconds) + wait::LAST_RESORT;
    let (spread, lonely, healthy) = (
        kafka.topic("stopped-spread", 3),
        cluster::Cluster::name("stopped-lonely"),
        cluster::Cluster::name("stopped-healthy"),
    );
    kafka.create_on(&lonely, &[3]);
    kafka.create_on(&healthy, &[1]);
    let mut agent = Agent::new("stopped");
    let inputs: String = [("a", &spread), ("b", &lonely), ("c", &healthy)]
        .map(|(name, topic)| {
            let path = agent.log(&format!("{name}.log"));
            format!("  {name}: {{ type: file, paths: [\"{}*\"], topic: {topic} }}\n", path.display())
        })
        .concat();
    agent.configure(&format!(
        "inputs:\n{inputs}outputs:\n  main: {{ type: kafka, brokers: [{}], key: \"%{{[message]}}\" }}\n",
        kafka.bootstrap()
    ));
    let mut writers = ["a", "b", "c"].map(|name| Writer::new(&agent.log(&format!("{name}.log")), name));
    agent.start();
    writers.iter_mut().for_each(|writer| _ = writer.write(100));
    [&spread, &lonely, &healthy].into_iter().for_each(|topic| kafka.wait_count(topic, 100));
    let uptime = |agent: &Agent| agent.status()["uptime_seconds"].as_f64().expect("a number");
    let mut in_flight = 0;
    let [a, b, c] = &mut writers;
    let latency = during(a, 500, Rotation::Rename(20_000), || {
        during(b, 500, Rotation::Rename(20_000), || {
            measured(&kafka, &healthy, c, |seen| {
                kafka.freeze(3, true);
                let (from, had) = (uptime(&agent), seen());
                let before = until("a count", || kafka.count(&spread));
                #[expect(clippy::cast_precision_loss, reason = "minutes")]
                wait::until_or(
                    "the time to be over",
                    bound,
                    || {
                        let status = agent.status();
                        in_flight = in_flight.max(status["outputs"][0]["in_flight_records"].as_u64()?);
                        (status["uptime_seconds"].as_f64()? > from + seconds as f64).then_some(())
                    },
                    String::new,
                );
                until("the other topics to go on", || {
                    (kafka.count(&spread)? > before + 500 && seen() > had + 500).then_some(())
                });
                kafka.freeze(3, false);
            })
        })
    });
    for (topic, writer) in [&spread, &lonely, &healthy].into_iter().zip(&writers) {
        kafka.wait_count_within(topic, i64::try_from(writer.written).expect("small"), bound);
    }
    agent.wait_status("everything to be acknowledged", |status| {
        let lag: u64 = status["inputs"].as_array()?.iter().filter_map(|input| input["lag_bytes"].as_u64()).sum();
        (lag == 0 && status["outputs"][0]["spool"]["records"] == 0).then_some(())
    });
    let output = agent.status()["outputs"][0].clone();
    agent.stop();
    let rebuilds = output["rebuilds_total"].as_u64().expect("a number");
    eprintln!(
        "stopped for {seconds} s: {rebuilds} producers replaced, {} records were spooled, {in_flight} in flight at most; the healthy \
         topic's p99 was {:?}, the most {:?}",
        output["spool"]["appended_records_total"],
        latency.p99(),
        latency.at(1.0)
    );
    let mut repeated = 0;
    for (topic, writer) in [&spread, &lonely, &healthy].into_iter().zip(&writers) {
        let check = Check::of(&kafka.records(topic), &[writer]);
        eprintln!("{topic}: {} written, {} arrived, {} repeated", writer.written, check.arrived, check.repeated);
        repeated += check.complete().repeated as u64;
    }
    assert!(repeated <= rebuilds * in_flight, "{repeated} came again, {in_flight} were in flight, {rebuilds} rebuilds");
}
