//! The real binary against real Apache Kafka. Each test names its Scenario and its Guarantee; docs/testing.md tells how
//! they are run and what they need.
//!
//! Nothing here is mocked and nothing waits for time. What arrived is judged by a consumer that is not ours.

mod kit;
mod kit_itself;
