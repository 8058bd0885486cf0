//! `cutover man`: a manual page for each command.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command};

use super::context::Context;
use super::exit::Failure;

/// Write manual pages into a directory
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  cutover man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// The directory; made where it is not there
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// Carries the command out for the whole command line `command`.
pub fn run(context: &Context, args: &ManArgs, command: Command) -> Result<(), Failure> {
    let directory = &args.directory;
    if context.dry_run {
        return context.sink().dry_run(&format!("manual pages into {}", directory.display()));
    }
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command, directory));
    written.with_context(|| format!("write manual pages into {}", directory.display()))?;
    let result = serde_json::json!({ "directory": directory });
    context
        .sink()
        .result(&result, |_| format!("Manual pages were written into {}.", directory.display()))
}
