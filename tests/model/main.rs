//! Models: pure machines against simulated worlds, at random.
//!
//! `SIM_SEED=n` replays one case of the random ones, `MODEL_CASES=n` runs that many of each.

mod broker;
mod deliver;
mod log;
mod random;
mod spool;
mod world;
