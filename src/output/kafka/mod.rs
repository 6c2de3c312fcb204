//! The Kafka output: producer, reader, admin client and embedded broker, on librdkafka. The only folder that names rdkafka.
//!
//! ```text
//!  options  what the config says           conf     its librdkafka properties
//!  ffi      the C functions, made safe     client   one instance: its queue, its end on a thread of its own
//!  producer hand-over and reports          slots    what is in flight, kept alive until its report   (P)
//!  topics   partition counts, in the back  fault    error codes → whom they accuse                   (P)
//!  reader   a topic from its beginning     admin    topics made, removed, looked at (with describe)
//!  mock     librdkafka's own broker        resolver host names in a static binary
//!  knock    whether brokers answer         probe    what is in the way, if anything: `check --connect`
//!  idle     its threads sleep
//! ```
//!
//! The producing path calls librdkafka's C interface directly: records are handed over without a copy and reported in runs
//! (0.8 µs of CPU a record, everything included; the safe `BaseProducer` needs 1.1).
//!
//! Refused here: retries, lanes, back-off of records (deliver owns them), and everything that needs `dlopen` (SASL plugins,
//! GSSAPI, librdkafka plugins), which a static binary can't have.

mod client;
mod conf;
mod describe;
mod fault;
mod ffi;
mod idle;
mod knock;
mod oauth;
mod resolver;
mod slots;
mod topics;

pub mod admin;
pub mod mock;
pub mod options;
pub mod probe;
pub mod producer;
pub mod reader;

#[cfg(test)]
mod tests;

pub use client::{OpenError, wait_closed};
pub use conf::{check_property, property_names};
pub use producer::KafkaProducer;
pub use resolver::prepare_static_resolver;
