//! Routing (P): from an event to its topic, key and partition.
//!
//! [`Template`] renders topics, keys and headers; [`murmur2`] and [`partition`] place keys as the Java client does, so that
//! streams of other producers can be joined on them. Not here: how many partitions a topic has, and where keyless records
//! go (deliver).

mod joda;
mod partition;
mod template;

pub use partition::{TOPIC_BYTES_MAX, legal_topic, murmur2, partition};
pub use template::{Missing, Template};
