//! The file input on a real filesystem, with a host that reads by hand.
//!
//! `world` is the stage: a directory, a store, a host whose sources are read when a test says so. `rotation`, `lines`,
//! `encoding`, `joining` and `odd` are scenarios; `model` plays random ones against a simple model.

mod encoding;
mod joining;
mod lines;
mod model;
mod odd;
mod restart;
mod rotation;
mod watching;
pub(crate) mod world;
