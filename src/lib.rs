//! Logferry: the log shipper for Kafka. This page is the house in one screen.
//!
//! ```text
//!  file ──┐                                                          ┌─► output (Kafka: librdkafka)
//!         │  Batch ─► decode ─► process ─► route + encode ─► deliver ─┼─► spool (what can't wait)
//!  stdin ─┘  (one owner at a time, byte permit inside)               └─► dead letter (refused for good)
//!    ▲                                                                       │
//!    └──── checkpoint ◄── watermark per source ◄── receipt settled ◄─────────┘
//! ```
//!
//! # The way of one line
//! [`input::file`] finds a file and gives the pipeline a source for it. A worker ([`pipeline`]) takes the source from the
//! ready queue and reads a quantum; [`decode`] makes events of its lines, [`process`] changes them, [`route`] says where they
//! go, [`encode`] writes their bytes. [`deliver`] takes the batch or holds it: held means that the source is rewound and
//! waits, the line safe in its file; what may not be there any more when Kafka takes it goes to the [`spool`]. Taken, it goes to the [`output`]; the acknowledgement settles the batch's receipt
//! ([`batch`]), the receipt moves the source's watermark ([`ack`]), and the watermark is committed ([`checkpoint`]).
//!
//! # The way of one config mistake
//! [`cli`] hands the file to [`config`]: parsed with positions, checked as a whole, and either a `Checked` config or the list
//! of all its mistakes, before anything is opened.
//!
//! # Code map
//! | folder | job | pure |
//! |---|---|---|
//! | [`event`], [`batch`], [`ack`], [`budget`] | what moves: events, batches, receipts, watermarks, byte permits | yes |
//! | [`disk`] | the file system as a seam, and one that forgets what was not synced | |
//! | [`input`] | where lines come from | |
//! | [`checkpoint`] | how far each source is settled, over restarts | |
//! | [`decode`], [`process`], [`route`], [`encode`] | line → event → record | yes |
//! | [`deliver`] | windows, lanes, refusals, what is spooled: `machine` decides (pure), `driver` and `spooler` do | partly |
//! | [`spool`] | the log of one output on the disk: frames, cursors, recovery | |
//! | [`output`] | Kafka (the only folder that names rdkafka), files, dead letter | |
//! | [`telemetry`] | status, metrics, the admin endpoint, the agent's own log | |
//! | [`config`] | the config as written, its check, its schema, its reference | |
//! | [`pipeline`] | the only place that knows every stage | |
//! | [`cli`] | one file a command | |
//!
//! Imports go one way: `main → cli → pipeline → stages → {event, batch, ack, budget, disk}`; stages do not import each other,
//! but for `input → decode, checkpoint` and `deliver → spool, output`. `tests/tidy.rs` holds the code to it.
//!
//! # Invariants
//! - A source is told "done" only after all in-sync replicas have the record, or spool or dead letter have it durably (I1).
//! - A checkpoint moves only over a gap-free prefix of settled bytes (I2).
//! - The records of one source with one key reach their partition in source order (I3).
//! - Payload is bounded by `memory.max_bytes`; full means: stop reading (I4).
//! - A partition that fails holds only the sources that feed it (I6).
//!
//! # Deliberately absent
//! A task, channel or lock per event; waiting inside a worker; acknowledging on enqueue; dropping by default.

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
pub mod spool;
pub mod telemetry;
