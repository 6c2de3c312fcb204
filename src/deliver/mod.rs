//! Deliver: from encoded batches to acknowledged records.
//!
//! [`machine`] decides (pure), [`driver`] does, [`burial`] what it says of refused records; [`offer_all`] hands one batch to several
//! outputs. `aside` keeps lanes with a silent broker out of the others' way, `relief` those that are
//! stuck for other reasons; `portions` is for topics that take small batches. [`lane`], [`waiting`], [`ranges`], [`backoff`] and [`tally`] are the machine's parts.

pub mod admission;
mod aside;
pub mod backoff;
pub mod burial;
pub mod driver;
pub mod lane;
pub mod machine;
pub mod offer_all;
mod portions;
pub mod ranges;
mod relief;
pub mod spill;
pub mod spooler;
pub mod tally;
#[cfg(test)]
mod tests;
pub mod waiting;
