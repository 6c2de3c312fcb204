//! The `logferry` command: arguments in, exit code out. Everything else is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    logferry::cli::main(std::env::args_os()).into()
}
