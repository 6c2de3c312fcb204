//! Models: pure machines against simulated worlds, at random.
//!
//! `SIM_SEED=n` replays one case of the random ones, `MODEL_CASES=n` runs that many of each, from
//! `MODEL_FIRST` on; each test uses all cores.

mod broker;
mod deliver;
mod log;
mod random;
mod seeds;
mod spool;
mod world;
