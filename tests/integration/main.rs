//! The real binary against real Apache Kafka. Each test names its Scenario and its Guarantee; docs/testing.md tells how
//! they are run and what they need.
//!
//! Nothing here is mocked and nothing waits for time. What arrived is judged by a consumer that is not ours.

mod kit;

mod brokers;
mod campaign;
mod cloud;
mod commands;
mod config_tests;
mod conformance;
mod connect;
mod dead_letter;
mod delivery;
mod empty_root;
mod examples;
mod fields;
mod files;
mod grok;
mod kit_itself;
mod lanes;
mod latency;
mod logrotate;
mod multiline;
mod odd_files;
mod operation;
mod outputs;
mod record;
mod reload;
mod rotation;
mod routing;
mod security;
mod spool;
