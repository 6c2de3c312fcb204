//! `logferry run`.

use super::{Exit, RunArgs};

/// Runs the command.
///
/// # Errors
/// Always: it is not part of this build.
pub fn run(_args: &RunArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("`logferry run` is not part of this build")
}
