//! `logferry demo`.

use super::{DemoArgs, Exit};

/// Runs the command.
///
/// # Errors
/// Always: it is not part of this build.
pub fn run(_args: &DemoArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("`logferry demo` is not part of this build")
}
