//! Inputs: where lines come from. [`source`] is what the pipeline sees of them; one folder or file an input.

pub mod file;
mod joining;
pub mod source;
pub mod stdin;
