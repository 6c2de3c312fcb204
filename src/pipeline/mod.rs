//! The pipeline: the only place that knows every stage.
//!
//! | file | job |
//! |---|---|
//! | `build` | from a checked config to threads that run, and back: start, stop, kill |
//! | `reload` | another config for a running pipeline |
//! | `plan` | what the config makes of one input |
//! | `sources` | the table of live sources, the ready queue, parking |
//! | `worker` | one quantum of one source, run to completion |
//! | `outgoing` | route and encode: a batch becomes records, grouped by where they go |
//! | `acks` | what became of each source's batches; positions to be committed |
//! | `report` | the state of it all, for status and metrics |
//! | `databases` | databases of processors that were replaced |
//! | `cloud` | where this host runs, asked once |
//! | `threads` | who must not end before the pipeline does |
//!
//! Threads: one a file input (discovery), one for stdin, the workers (cores, at most 4), one an output (reports), one for
//! checkpoints, one for databases, one for the admin endpoint; librdkafka has its own.

mod acks;
mod build;
mod cloud;
mod databases;
mod outgoing;
mod plan;
mod reload;
mod report;
mod sources;
mod threads;
mod worker;

pub use build::{Maker, Pipeline, ProducerFactory};
pub use outgoing::{CREATE_TIME_AFTER, CREATE_TIME_BEFORE, Encoder, FALLBACK_TAG, Outgoing, Part, Topics};
pub use plan::{Plan, RouteCache, Target};
pub use reload::{Changes, ReloadError};

pub(crate) use build::{dry_plan, shared_of};
