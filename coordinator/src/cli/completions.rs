//! `cutover completions`: what a shell needs to complete our words.

use clap::{Args, Command};
use clap_complete::Shell;

use super::context::Context;
use super::exit::Failure;
use super::file;

/// Print completions for a shell
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  cutover completions bash > /usr/share/bash-completion/completions/cutover")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Carries the command out for the whole command line `command`.
pub fn run(context: &Context, args: &CompletionsArgs, mut command: Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "cutover", &mut script);
    file::give(context, "completions", &String::from_utf8_lossy(&script), None)
}
