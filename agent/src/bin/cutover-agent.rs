//! `cutover-agent`: the network half of the agent, see [`cutover_agent::network`].

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use cutover_agent::network::{self, LogFormat, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

/// Read when `--config` is not given, and may then be absent.
const CONFIG: &str = "/etc/cutover/agent.toml";

/// What a configuration file may say, with what is the case when it does not.
const EXAMPLE: &str = r#"Configuration, with its defaults (relative paths are relative to the file):

  socket = "/run/cutover/applier.sock"
  transport-key = "/var/lib/cutover-agent/transport.pem"
  spool = "/var/lib/cutover-agent/spool"
  spool-limit-mib = 4096

  [log]
  format = "text"     # or "json"
  filter = "info"     # for instance "info,cutover_agent=debug"

Examples:

  cutover-agent run
  cutover-agent --config ./agent.toml run

Exit codes: 0 it was told to stop (SIGTERM, SIGINT), 1 it failed, 2 the command line or the configuration
is wrong."#;

/// The network half of Cutover's agent: connects the applier with the coordinator
#[derive(Debug, Parser)]
#[command(name = "cutover-agent", version, after_help = EXAMPLE)]
struct Arguments {
    /// The configuration file [default: /etc/cutover/agent.toml, which may be absent]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM or SIGINT
    #[command(after_help = "Example: cutover-agent run --config /etc/cutover/agent.toml")]
    Run,
}

/// Command line or configuration are wrong, as clap has it too.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Command::Run = arguments.command;
    let settings = match settings(arguments.config.as_deref()) {
        Ok(settings) => settings,
        Err(error) => {
            complain(&error);
            return ExitCode::from(USAGE);
        }
    };
    log(&settings);
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn settings(config: Option<&Path>) -> anyhow::Result<Settings> {
    match config {
        Some(path) => {
            Settings::read(path).with_context(|| format!("configure from {}", path.display()))
        }
        None if Path::new(CONFIG).exists() => {
            Settings::read(Path::new(CONFIG)).with_context(|| format!("configure from {CONFIG}"))
        }
        None => Ok(Settings::default()),
    }
}

fn log(settings: &Settings) {
    // A log that cannot be written, on a full disk, is no reason to end.
    let builder = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_max_level(LevelFilter::TRACE)
        .with_writer(io::stderr);
    let filter = settings.log_filter.clone();
    match settings.log_format {
        LogFormat::Text => builder.with_ansi(false).finish().with(filter).init(),
        LogFormat::Json => builder.json().finish().with(filter).init(),
    }
}

fn run(settings: &Settings) -> anyhow::Result<()> {
    // One thread: at most a few hundred MB/s of bytes and a handful of messages a minute.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let shutdown = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        network::run(settings, shutdown).await?;
        Ok(())
    })
}

/// The one place that prints: an error with its causes.
fn complain(error: &anyhow::Error) {
    // Nobody reads standard error: then nobody is to be told.
    let _ = writeln!(io::stderr(), "cutover-agent: {error:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_the_default() {
        let example: Vec<&str> =
            EXAMPLE.lines().skip(1).take_while(|line| !line.starts_with("Examples")).collect();
        let settings = Settings::parse(&example.join("\n"), Path::new("")).unwrap();
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
