//! `logferry try`.

use super::{Exit, TryArgs};

/// Runs the command.
///
/// # Errors
/// Always: it is not part of this build.
pub fn run(_args: &TryArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("`logferry try` is not part of this build")
}
