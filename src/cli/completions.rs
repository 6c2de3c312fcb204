//! `logferry completions SHELL`: completion scripts on stdout.

use std::io::{self, Write};

use clap::CommandFactory;

use super::{Cli, CompletionsArgs, Exit};

/// Prints the script of one shell.
///
/// # Errors
/// If stdout can't be written.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    // The generator panics on write errors, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "logferry", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Exit::Fine)
}
