//! `cutover status`: every release with its state word, or one release down to each host, and with `--output`
//! down to what a host's hooks and checks said.
//!
//! The coordinator is asked for two things only: the log, which is verified and folded here, and what it
//! hears of its hosts, which nobody signs. Whose turn it is is computed here, by the planner that the
//! coordinator uses.

mod leaving;
mod report;
mod told;

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use cutover_shared::log::checkpoint::Checkpoint;
use serde::Serialize;

pub(super) use self::report::{BookingReport, HostReport};
use self::report::{ReleaseReport, Row};
use self::told::Told;
use super::client::{Client, Follow};
use super::context::Context;
use super::exit::Failure;
use super::names;
use super::sync::Synced;

/// How often the hosts are asked after while watching: as often as a person looks.
const FLEET_PERIOD: Duration = Duration::from_secs(1);

/// Clears a terminal and begins at its top (ECMA-48: ED, CUP).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Show every release with its state, or one release down to each host
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  cutover status\n  cutover status R-7\n  cutover status R-7 --watch\n  cutover status R-7 --json\n  cutover status R-7 --host web-1 --output"
)]
pub struct StatusArgs {
    /// The release: R-7, or the beginning of its statement's digest [default: all]
    #[arg(value_name = "RELEASE")]
    pub release: Option<String>,
    /// Show this host only
    #[arg(long, value_name = "HOST", requires = "release")]
    pub host: Option<String>,
    /// Show what the host told of each of its orders, whole: where it failed, what hooks said (beginning and
    /// end), and the readings that decided
    #[arg(long, requires = "host", conflicts_with = "watch")]
    pub output: bool,
    /// Show it again on each change, until its bookings end or you press Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// What is shown.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Shown {
    All(Vec<Row>),
    One(Box<ReleaseReport>),
    Told(Vec<Told>),
}

impl Shown {
    fn text(&self) -> String {
        match self {
            Self::All(rows) => report::list_text(rows),
            Self::One(report) => report.text(),
            Self::Told(told) => told::text(told),
        }
    }

    /// Whether nothing more will happen to it by itself.
    fn is_over(&self) -> bool {
        match self {
            Self::All(_) | Self::Told(_) => false,
            Self::One(report) => report.is_over(),
        }
    }
}

/// Carries the command out.
pub async fn run(context: &Context, args: &StatusArgs) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    if args.watch {
        return watch(context, args, &mut client).await;
    }
    let shown = look(context, args, &client, &synced).await?;
    context.sink().result(&shown, Shown::text)?;
    if let Some(note) = synced.policy().ok().and_then(|it| it.document().expiry_note(context.now()))
    {
        context.sink().note(note);
    }
    Ok(())
}

async fn look(
    context: &Context,
    args: &StatusArgs,
    client: &Client,
    synced: &Synced,
) -> Result<Shown, Failure> {
    let (state, now) = (&synced.state, context.now());
    let Some(name) = &args.release else {
        return Ok(Shown::All(report::rows(state, now)));
    };
    let case = names::release(state, name)?;
    let host = args.host.as_ref().map(|host| names::host(state, host)).transpose()?;
    let host = host.map(|it| it.enrolment.says().host.clone());
    if let Some(host) = host.as_ref().filter(|_| args.output) {
        let entries = told::entries(state, case, host);
        let told = entries.into_iter().map(|index| Told::read(index, &synced.envelope(index)?));
        return Ok(Shown::Told(told.collect::<Result<_, _>>()?));
    }
    let fleet = client.fleet().await?;
    let mut report = ReleaseReport::new(state, &fleet, case, now);
    if let Some(host) = &host {
        report.only(host);
    }
    Ok(Shown::One(Box::new(report)))
}

/// Shows it, and again whenever it changes: the log tells when it grows, the hosts are asked after.
async fn watch(context: &Context, args: &StatusArgs, client: &mut Client) -> Result<(), Failure> {
    let mut growth = Box::pin(grown(client.follow().await?));
    let mut clock = tokio::time::interval(FLEET_PERIOD);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut synced = client.sync().await?;
    let mut last = None;
    loop {
        let shown = look(context, args, client, &synced).await?;
        if last.as_ref() != Some(&shown) {
            draw(context, &shown)?;
        }
        if shown.is_over() {
            return Ok(());
        }
        last = Some(shown);
        tokio::select! {
            (follow, checkpoint) = &mut growth => {
                if checkpoint?.is_none() {
                    return Err(Failure::failed("watch the log: the coordinator ended"));
                }
                growth = Box::pin(grown(follow));
                synced = client.sync().await?;
            }
            _ = clock.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// The next growth of the log, with the stream that told it: a stream must not be dropped while it reads.
async fn grown(mut follow: Follow) -> (Follow, Result<Option<Checkpoint>, Failure>) {
    let checkpoint = follow.next().await;
    (follow, checkpoint)
}

fn draw(context: &Context, shown: &Shown) -> Result<(), Failure> {
    if !context.json && std::io::stdout().is_terminal() {
        context.sink().bytes(CLEAR.as_bytes())?;
    }
    context.sink().result(shown, |shown| format!("{}\n", shown.text()))
}
