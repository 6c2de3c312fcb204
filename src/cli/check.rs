//! `logferry check`.

use super::{CheckArgs, Exit};

/// Runs the command.
///
/// # Errors
/// Always: it is not part of this build.
pub fn run(_args: &CheckArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("`logferry check` is not part of this build")
}
