//! Routing (P): from an event to its topic, key and partition.
//!
//! [`murmur2`] and [`partition`] place keys as the Java client does, so that streams of other producers can be joined on
//! them. Not here: the templates of topics, keys and headers (event), how many partitions a topic has, and where keyless
//! records go (deliver).

mod partition;

pub use partition::{TOPIC_BYTES_MAX, legal_topic, murmur2, partition};
