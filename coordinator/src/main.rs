//! `cutover`: the coordinator, and the command line of everyone in the process.

use std::process::ExitCode;

fn main() -> ExitCode {
    cutover_coordinator::cli::main(std::env::args_os())
}
