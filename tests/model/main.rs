//! Models: pure machines against simulated worlds, at random and by the table.
//!
//! `SIM_SEED=n` replays one case of the random ones, `MODEL_CASES=n` runs that many of each.

mod broker;
mod deliver;
mod deliver_table;
mod random;
mod world;
