//! `logferry schema`.

use super::{Exit, SchemaArgs};

/// Runs the command.
///
/// # Errors
/// Always: it is not part of this build.
pub fn run(_args: &SchemaArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("`logferry schema` is not part of this build")
}
