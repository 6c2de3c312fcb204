//! file input

mod glob;
mod identity;
mod names;
pub mod options;
