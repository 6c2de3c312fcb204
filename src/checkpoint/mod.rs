//! Checkpoints: which sources there are, and how far each output has settled each of them (I1, I2).
//!
//! [`DataDir`] owns the directory and keeps a second agent out; [`Store`] is the database in it; [`Entry`] is what is
//! kept of a source. The store is written by one thread each second; sources are told about nothing before that.
//! A position that can't be read is an error, never a new beginning: starting over silently would repeat a disk of logs.

mod data_dir;
mod entry;
mod store;

pub use data_dir::{DataDir, OpenError};
pub use entry::{Entry, Fingerprint, Identity};
pub use store::{Store, StoreError};
