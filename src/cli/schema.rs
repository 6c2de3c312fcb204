//! `logferry schema`: the JSON schema of the config, for editors; or the same as a page to read.

use std::io::Write as _;

use crate::config::{docs, schema};

/// Arguments of `logferry schema`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SchemaArgs {
    /// Print the reference page (docs/configuration.md) instead of the schema
    #[arg(long)]
    pub markdown: bool,
}

/// Prints the schema; the exit code.
pub fn run(args: &SchemaArgs) -> i32 {
    let text = if args.markdown { docs::render() } else { format!("{:#}\n", schema::published()) };
    // A reader that has seen enough (`| head`) is no failure.
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("logferry: cannot write the schema: {error}");
            1
        }
        _ => 0,
    }
}
