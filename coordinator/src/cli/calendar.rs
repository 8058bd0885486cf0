//! `cutover calendar`: when an environment may be worked on, and what is on.
//!
//! The terms are edited as TOML and signed whole ([`Terms`]); `import` makes such a file out of an iCalendar
//! one, so that what somebody else's program wrote is read before it is signed. `lint` and `import` need no
//! coordinator.

mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use cutover_shared::calendar::ics::{self, Feed, Imported};
use cutover_shared::calendar::lint::{self, Finding};
use cutover_shared::calendar::span::WhenError;
use cutover_shared::calendar::zone::Zone;
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::statement::{Calendar, Statement, Terms};
use cutover_shared::time::span;

use super::context::Context;
use super::exit::Failure;
use super::output::table;
use super::{file, names};

/// Show, sign, check, import and export calendars: windows that come again, notice, capacity
#[derive(Debug, Clone, Subcommand)]
pub enum CalendarCommand {
    /// Show what is on: offered windows, freezes and bookings of the coming days
    #[command(
        after_help = "Examples:\n  cutover calendar show\n  cutover calendar show production --days 90\n  cutover calendar show production --terms > production.toml"
    )]
    Show(show::ShowArgs),
    /// Put a calendar in force in an environment, as a change manager, in the place of the one before
    ///
    /// What is booked stays booked. Emergencies are exempt from the calendar, and from no freeze.
    #[command(after_help = SET_HELP)]
    Set(SetArgs),
    /// Tell what is amiss: starts that do not exist, windows that never come, too few hours between freezes
    ///
    /// Without a file: of everything in the log, bookings that a changed time zone would move among it.
    #[command(
        after_help = "Examples:\n  cutover calendar lint production.toml\n  cutover calendar lint"
    )]
    Lint(LintArgs),
    /// Make a calendar's file out of an iCalendar file (.ics), to be read and signed with `calendar set`
    ///
    /// What cannot be honoured is refused, with its line and property; to declare freezes from such a file
    /// see `cutover freeze import`.
    #[command(
        after_help = "Examples:\n  cutover calendar import patch-nights.ics --zone America/New_York --notice 2d --output production.toml"
    )]
    Import(ImportArgs),
    /// Write an iCalendar feed (.ics) of bookings, windows and freezes
    #[command(
        after_help = "Examples:\n  cutover calendar export --output cutover.ics\n  cutover calendar export --environment production > production.ics"
    )]
    Export(ExportArgs),
}

const SET_HELP: &str = r#"Examples:
  cutover calendar set production.toml --environment production

The file:
  zone = "America/New_York"       # whose days are counted
  notice = "2d"                   # booked so long ahead, or more
  capacity-per-day = 3            # windows that start in one day; left out: any number

  [[windows]]                     # none at all: any time is offered
  name = "saturdays"
  start = "2026-01-03T22:00"      # the first one
  until = "02:00"                 # or: for = "4h", or: until = "+1d 06:00"
  zone = "America/New_York"
  repeat = "FREQ=WEEKLY;BYDAY=SA" # RFC 5545; left out: once
  except = ["2026-12-26T22:00"]"#;

/// `cutover calendar set`.
#[derive(Debug, Clone, Args)]
pub struct SetArgs {
    /// The calendar
    #[arg(value_name = "FILE.toml")]
    pub file: PathBuf,
    /// Where
    #[arg(long, value_name = "ENVIRONMENT")]
    pub environment: Name,
}

/// `cutover calendar lint`.
#[derive(Debug, Clone, Args)]
pub struct LintArgs {
    /// A calendar [default: everything in the log]
    #[arg(value_name = "FILE.toml")]
    pub file: Option<PathBuf>,
}

/// `cutover calendar import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The iCalendar file
    #[arg(value_name = "FILE.ics")]
    pub file: PathBuf,
    /// IANA zone whose days are counted, and of times without a zone
    #[arg(long, value_name = "ZONE")]
    pub zone: String,
    /// Windows are booked so long ahead, or more
    #[arg(long, default_value = "0s", value_parser = span::parse, value_name = "DURATION")]
    pub notice: Duration,
    /// So many windows may start in one day [default: any number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub capacity_per_day: Option<u32>,
    /// The file to make [default: standard output]
    #[arg(long, short, value_name = "FILE.toml")]
    pub output: Option<PathBuf>,
}

/// `cutover calendar export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// One environment only
    #[arg(long, value_name = "ENVIRONMENT")]
    pub environment: Option<Name>,
    /// The file to make [default: standard output]
    #[arg(long, short, value_name = "FILE.ics")]
    pub output: Option<PathBuf>,
}

/// Carries the command out.
pub async fn run(context: &Context, command: &CalendarCommand) -> Result<(), Failure> {
    match command {
        CalendarCommand::Show(args) => show::run(context, args).await,
        CalendarCommand::Set(args) => set(context, args).await,
        CalendarCommand::Lint(args) => lint(context, args).await,
        CalendarCommand::Import(args) => {
            file::give(context, "calendar", &imported(args)?, args.output.as_deref())
        }
        CalendarCommand::Export(args) => {
            let mut client = context.connect().await?;
            let synced = client.sync().await?;
            let environment = args.environment.as_ref();
            let feed = Feed { state: &synced.state, environment, now: context.now() };
            let text = ics::export(&feed).map_err(WhenError::from)?;
            file::give(context, "calendar", &text, args.output.as_deref())
        }
    }
}

async fn set(context: &Context, args: &SetArgs) -> Result<(), Failure> {
    let terms = read_terms(&args.file)?;
    let now = context.now();
    let findings = lint::terms(&terms, now);
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let calendar = calendar(terms, &args.environment, &synced.state)?;
    for finding in findings {
        context.sink().note(format!("warning: {finding}"));
    }
    let freezes = lint::left_under(&synced.state, &calendar, now);
    if freezes.is_too_little() {
        context.sink().note(format!("warning: the freezes of {}: {freezes}", args.environment));
    }
    let statement = Statement::new(now, calendar);
    client.sign_and_append(context, &statement, &[]).await?;
    Ok(())
}

fn calendar(terms: Terms, environment: &Name, state: &State) -> Result<Calendar, Failure> {
    if let Some(fault) = terms.fault() {
        return Err(Failure::usage(fault));
    }
    // A zone that nobody knows would let no booking in.
    let zones = terms.windows.iter().map(|window| window.document().zone.as_str());
    for zone in zones.chain([terms.zone.as_str()]) {
        Zone::find(zone).map_err(WhenError::from)?;
    }
    Ok(Calendar {
        policy: names::policy_id(state)?,
        environment: environment.clone(),
        replaces: state.calendar(environment).map(|it| it.declared.id()),
        terms,
    })
}

async fn lint(context: &Context, args: &LintArgs) -> Result<(), Failure> {
    let now = context.now();
    let findings = if let Some(file) = &args.file {
        lint::terms(&read_terms(file)?, now)
    } else {
        let mut client = context.connect().await?;
        let synced = client.sync().await?;
        lint::everything(&synced.state, now)
    };
    context.sink().result(&findings, |findings| listed(findings))?;
    if findings.is_empty() { Ok(()) } else { Err(Failure::Faults) }
}

fn listed(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "Nothing is amiss.".to_owned();
    }
    let mut table = table(["about", "what"]);
    for finding in findings {
        table.add_row([&finding.about, &finding.problem]);
    }
    table.to_string()
}

fn read_terms(path: &Path) -> Result<Terms, Failure> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read the calendar {}", path.display()))?;
    toml::from_str(&text)
        .with_context(|| format!("{} is no calendar", path.display()))
        .map_err(Failure::Usage)
}

/// Reads an iCalendar file; what cannot be honoured is told, all of it.
pub(super) fn read_ics(path: &Path, zone: Option<&Zone>) -> Result<Vec<Imported>, Failure> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read the iCalendar file {}", path.display()))?;
    ics::import(&text, zone).map_err(|faults| {
        let faults: Vec<_> = faults.iter().map(|it| format!("{}: {it}", path.display())).collect();
        Failure::usage(format!("cannot honour all of the file:\n{}", faults.join("\n")))
    })
}

fn imported(args: &ImportArgs) -> Result<String, Failure> {
    let zone = Zone::find(&args.zone).map_err(WhenError::from)?;
    let windows = read_ics(&args.file, Some(&zone))?;
    let terms = Terms {
        zone: zone.name().to_owned(),
        notice: args.notice,
        capacity_per_day: args.capacity_per_day,
        windows: windows.into_iter().filter(|it| !it.is_cancelled).map(|it| it.window).collect(),
    };
    match terms.fault() {
        Some(fault) => Err(Failure::usage(fault)),
        None => Ok(written(&terms)?),
    }
}

/// The terms as `set` reads them.
fn written(terms: &Terms) -> anyhow::Result<String> {
    toml::to_string(terms).context("write the calendar as TOML")
}

#[cfg(test)]
mod tests {
    use super::super::names::scene::{Scene, name};
    use super::*;

    fn example() -> Terms {
        let (_, file) = SET_HELP.split_once("The file:\n").unwrap();
        toml::from_str(file).unwrap()
    }

    #[test]
    fn the_example_in_the_help_is_a_calendar() {
        let terms = example();
        assert_eq!(terms.fault(), None);
        assert_eq!((terms.capacity_per_day, terms.windows.len()), (Some(3), 1));
        assert_eq!(toml::from_str::<Terms>(&written(&terms).unwrap()).unwrap(), terms);
    }

    #[test]
    fn a_calendar_takes_the_place_of_the_one_before() {
        let mut scene = Scene::new();
        let first = calendar(example(), &name("staging"), &scene.state).unwrap();
        assert_eq!(first.replaces, None);
        let first = scene.say("max", first);
        let second = calendar(example(), &name("staging"), &scene.state).unwrap();
        assert_eq!(second.replaces, Some(first));
        let mut unknown = example();
        unknown.zone = "America/Atlantis".to_owned();
        assert_eq!(calendar(unknown, &name("staging"), &scene.state).unwrap_err().code(), 2);
    }
}
