//! Deliver: from encoded batches to acknowledged records.
//!
//! [`machine`] decides (pure), [`driver`] does. [`lane`], [`waiting`], [`ranges`] and [`backoff`] are the machine's parts.

pub mod backoff;
pub mod driver;
pub mod lane;
pub mod machine;
pub mod ranges;
#[cfg(test)]
mod tests;
pub mod waiting;
