//! `logferry schema`: the JSON schema of the config, for editors; or the same as a page to read.

use std::io::Write as _;

use crate::cli::{Exit, SchemaArgs};
use crate::config::{docs, schema};

/// Prints the schema, or the reference page.
///
/// # Errors
/// If the output can't be written.
pub fn run(args: &SchemaArgs) -> anyhow::Result<Exit> {
    let text = if args.markdown { docs::render() } else { format!("{:#}\n", schema::published()) };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Exit::Fine)
}
