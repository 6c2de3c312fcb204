//! Telemetry: what the agent says of itself. Its state as plain data ([`status`]), the same as metrics ([`metrics`]), both
//! over HTTP ([`admin`]), and its own log ([`logs`]).
//!
//! Nothing here looks into a stage: the pipeline fills a [`status::Status`] when somebody asks, so a stage pays for being
//! watched only what its own counters cost. Refused here: secrets (no part of the config is shown), per-file metrics (their
//! number has no bound; files are listed in the status), and any route that changes something.

pub mod admin;
pub mod logs;
pub mod metrics;
pub mod process;
pub mod status;

pub use admin::AdminServer;
pub use metrics::Histogram;
pub use status::{Status, StatusSource};
