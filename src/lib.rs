//! Logferry: the log shipper for Kafka.

pub mod ack;
pub mod batch;
pub mod budget;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod decode;
pub mod deliver;
pub mod disk;
pub mod encode;
pub mod event;
pub mod input;
pub mod output;
pub mod pipeline;
pub mod process;
pub mod route;
pub mod telemetry;
