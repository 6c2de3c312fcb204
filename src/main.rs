//! The `logferry` command: arguments in, exit code out. Everything else is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything resolves a name: see there.
    logferry::output::kafka::prepare_static_resolver();
    logferry::cli::main(std::env::args_os()).into()
}
