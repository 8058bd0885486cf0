//! `cutover serve`: the coordinator itself, under a service manager or in a terminal.
//!
//! Here the process is set up: configuration, log lines to standard error, the signals that end it. What
//! it does then is [`crate::server`]'s.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

use super::exit::Failure;
use super::output::Sink;
use crate::config::{self, ConfigError, LogFormat, Settings};
use crate::server::{self, Rules};

/// How long work on other threads may go on when the server has ended.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Run the coordinator
///
/// It logs to standard error, tells the service manager when it is ready, and on SIGTERM or SIGINT ends
/// what is under way and stops. With --dry-run it reads its configuration, tells everything that is wrong
/// with it, and serves nothing.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  cutover serve --config /etc/cutover/coordinator.toml
  cutover serve --config /etc/cutover/coordinator.toml --dry-run

The configuration:
  listen = \"0.0.0.0:7400\"
  data-directory = \"/var/lib/cutover\"
  key = \"log.pem\"           # the log's secret key
  policy = \"policy.json\"    # the first trust policy, signed")]
pub struct ServeArgs {
    /// The coordinator's configuration
    // The same name as everybody's own --config, in the place of which it stands here.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Runs until it is told to stop; a dry run only reads the configuration.
pub fn run(args: &ServeArgs, dry_run: bool, sink: Sink) -> Result<(), Failure> {
    let settings = config::read(&args.config).map_err(|error| {
        let is_input = !matches!(error, ConfigError::Read { .. });
        let error = anyhow::Error::new(error);
        if is_input { Failure::Usage(error) } else { Failure::Failed(error) }
    })?;
    if dry_run {
        let (listen, data) = (settings.listen, settings.data_directory.display());
        let value = serde_json::json!({
            "dry-run": true, "listen": listen.to_string(), "data-directory": settings.data_directory,
        });
        return sink.result(&value, |_| {
            format!(
                "It would serve on {listen}, from {data}.\nThis is a dry run: nothing was started."
            )
        });
    }
    log_to_standard_error(&settings);
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let served = runtime.block_on(async {
        let asked_to_stop = async {
            if let Err(error) = server::signals().await {
                // Nobody could stop it in good order later: so now.
                tracing::error!(%error, "cannot listen for signals");
            }
        };
        server::serve(settings, Arc::new(Rules), asked_to_stop).await
    });
    // A delivery that some other program does not answer is nothing to wait for: the next run makes it.
    runtime.shutdown_timeout(LAST_WORK);
    Ok(served.context("serve")?)
}

fn log_to_standard_error(settings: &Settings) {
    // A log that cannot be written, on a full disk, is no reason to end.
    let lines = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_max_level(LevelFilter::TRACE)
        .with_writer(io::stderr);
    let filter = settings.log_filter.clone();
    match settings.log_format {
        LogFormat::Text => {
            lines.with_ansi(io::stderr().is_terminal()).finish().with(filter).init();
        }
        LogFormat::Json => lines.json().finish().with(filter).init(),
    }
}
