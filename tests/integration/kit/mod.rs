//! The kit of the integration tests: real Apache Kafka, the real binary, writers, and a consumer that is not ours.
//!
//! Everything it starts dies with the test process, even when that is killed with -9. It waits for conditions, never for
//! time; [`wait::until`] is the one place that pauses. It refuses to fake: there is no mock broker in here.

pub mod agent;
pub mod broker;
pub mod check;
pub mod cluster;
pub mod consumer;
pub mod fuse;
pub mod jars;
pub mod latency;
pub mod logrotate;
#[path = "../../../src/process/mmdb.rs"]
pub mod mmdb;
pub mod pki;
pub mod process;
pub mod scratch;
pub mod skip;
pub mod tokens;
pub mod wait;
pub mod writer;

// A part of what librdkafka is linked with: see its `output::kafka::idle`.
use logferry as _;

/// A number that the environment may say: how long a campaign is.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The shared broker, or an early return that says loudly what was skipped.
#[macro_export]
macro_rules! kafka_or_skip {
    () => {
        match $crate::kit::cluster::shared() {
            Some(cluster) => cluster,
            None => return,
        }
    };
}
