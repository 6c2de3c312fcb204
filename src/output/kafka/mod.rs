//! TODO

pub mod options;
