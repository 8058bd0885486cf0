//! `cutover freeze`: nothing goes forward in a scope for a while.
//!
//! A freeze that recurs is declared as one statement for each occurrence, in instants, up to a horizon that
//! is said: what every host's clearance hangs on must not depend on anybody's zone database.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use cutover_shared::calendar::lint;
use cutover_shared::calendar::recurring::{Document, Length, Recurring};
use cutover_shared::calendar::rule::Rule;
use cutover_shared::calendar::span::{Ending, Reading, Wall, WhenError};
use cutover_shared::calendar::zone::Zone;
use cutover_shared::fold::{FreezeRecord, State};
use cutover_shared::name::Name;
use cutover_shared::statement::{Freeze, Statement};
use cutover_shared::time::{Time, span};
use cutover_shared::window::Window;
use serde::Serialize;

use super::calendar::read_ics;
use super::client::Client;
use super::context::Context;
use super::exit::Failure;
use super::names;
use super::output::table;
use super::when::SpanArgs;

/// Declare, lift and list freezes
#[derive(Debug, Clone, Subcommand)]
pub enum FreezeCommand {
    /// Declare that nothing goes forward in environments for a while, as a change manager
    ///
    /// A wall-clock time covers everything that it could mean when the clocks change.
    #[command(
        after_help = "Examples:\n  cutover freeze declare --environment production --start 2026-11-20T00:00 --until 2026-11-30T00:00 --zone America/New_York --reason 'Holiday sales.'\n  cutover freeze declare --environment production --application shop --start now --for 2h --reason 'Audit.'\n  cutover freeze declare --environment production --start 2026-01-31T18:00 --until 06:00 --zone America/New_York --repeat 'FREQ=MONTHLY;BYMONTHDAY=-1' --ahead 366d --reason 'Month end.'"
    )]
    Declare(Box<DeclareArgs>),
    /// Declare the freezes that an iCalendar file (.ics) has, as a change manager
    ///
    /// Each occurrence is a freeze of its own, and can be lifted alone; those that are declared already are
    /// passed over. A wall-clock time covers everything that it could mean when the clocks change.
    #[command(
        after_help = "Examples:\n  cutover freeze import holidays.ics --environment production --zone America/New_York --ahead 366d"
    )]
    Import(ImportArgs),
    /// Lift a freeze before its end, as a change manager
    #[command(after_help = "Examples:\n  cutover freeze lift 3f9a01 --reason 'The audit is over.'")]
    Lift(LiftArgs),
    /// List freezes
    #[command(after_help = "Examples:\n  cutover freeze list\n  cutover freeze list --json")]
    List,
}

/// `cutover freeze declare`.
#[derive(Debug, Clone, Args)]
pub struct DeclareArgs {
    /// An environment; several times for several
    #[arg(long = "environment", value_name = "ENVIRONMENT", required = true)]
    pub environments: Vec<Name>,
    /// An application; several times for several [default: all of them]
    #[arg(long = "application", value_name = "APPLICATION")]
    pub applications: Vec<Name>,
    /// When.
    #[command(flatten)]
    pub span: SpanArgs,
    /// Again by this rule (RFC 5545), as 'FREQ=MONTHLY;BYMONTHDAY=-1': a freeze for each occurrence
    #[arg(long, value_name = "RULE", requires = "ahead")]
    pub repeat: Option<Rule>,
    /// How far ahead occurrences are declared: 366d
    #[arg(long, value_name = "DURATION", value_parser = span::parse, requires = "repeat")]
    pub ahead: Option<Duration>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// `cutover freeze import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The iCalendar file
    #[arg(value_name = "FILE.ics")]
    pub file: PathBuf,
    /// An environment; several times for several
    #[arg(long = "environment", value_name = "ENVIRONMENT", required = true)]
    pub environments: Vec<Name>,
    /// An application; several times for several [default: all of them]
    #[arg(long = "application", value_name = "APPLICATION")]
    pub applications: Vec<Name>,
    /// IANA zone of dates and of times without a zone, as America/New_York
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// How far ahead occurrences are declared
    #[arg(long, value_name = "DURATION", default_value = "366d", value_parser = span::parse)]
    pub ahead: Duration,
}

/// `cutover freeze lift`.
#[derive(Debug, Clone, Args)]
pub struct LiftArgs {
    /// The beginning of the freeze's digest, as `cutover freeze list` shows it
    #[arg(value_name = "FREEZE")]
    pub freeze: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Carries the command out.
pub async fn run(context: &Context, command: &FreezeCommand) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let now = context.now();
    match command {
        FreezeCommand::Declare(args) => {
            let zone = args.span.find_zone()?;
            let scope =
                Scope { environments: &args.environments, applications: &args.applications };
            let windows = windows(args, zone.as_ref(), now)?;
            let freezes = scope.freezes(windows.iter().map(|it| (*it, args.reason.as_str())));
            scope.warn(context, &synced.state, &freezes, now);
            if args.repeat.is_some() {
                declare_each(context, &mut client, &synced.state, freezes).await?;
            } else {
                for freeze in freezes {
                    let statement = statement(freeze, &synced.state, now)?;
                    client.sign_and_append(context, &statement, &[]).await?;
                }
            }
        }
        FreezeCommand::Import(args) => {
            let scope =
                Scope { environments: &args.environments, applications: &args.applications };
            let events = imported(args, now)?;
            let freezes = scope.freezes(events.iter().map(|(it, why)| (*it, why.as_str())));
            scope.warn(context, &synced.state, &freezes, now);
            declare_each(context, &mut client, &synced.state, freezes).await?;
        }
        FreezeCommand::Lift(args) => {
            let statement = lifted(args, &synced.state, now)?;
            client.sign_and_append(context, &statement, &[]).await?;
        }
        FreezeCommand::List => {
            let rows = rows(&synced.state, now);
            context.sink().result(&rows, |rows| text(rows))?;
        }
    }
    Ok(())
}

/// Where freezes hold.
struct Scope<'a> {
    environments: &'a [Name],
    applications: &'a [Name],
}

/// A freeze that is to be declared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    environments: BTreeSet<Name>,
    applications: BTreeSet<Name>,
    window: Window,
    reason: String,
}

impl Scope<'_> {
    fn freezes<'a>(&self, windows: impl Iterator<Item = (Window, &'a str)>) -> Vec<Wanted> {
        let wanted = windows.map(|(window, reason)| Wanted {
            environments: self.environments.iter().cloned().collect(),
            applications: self.applications.iter().cloned().collect(),
            window,
            reason: reason.to_owned(),
        });
        wanted.collect()
    }

    /// Says where too little is left of the coming weeks.
    fn warn(&self, context: &Context, state: &State, freezes: &[Wanted], now: Time) {
        for finding in self.findings(state, freezes, now) {
            context.sink().note(format!("warning: {finding}"));
        }
    }

    fn findings(&self, state: &State, freezes: &[Wanted], now: Time) -> Vec<String> {
        // Those of single applications leave the others alone.
        let whole = self.applications.is_empty();
        let windows: Vec<_> = freezes.iter().filter(|_| whole).map(|it| it.window).collect();
        let left = self.environments.iter().map(|it| (it, lint::left_in(state, it, &windows, now)));
        let too_little = left.filter(|(_, left)| left.is_too_little());
        too_little.map(|(it, left)| format!("what is frozen in {it} then {left}")).collect()
    }
}

/// When a freeze is to hold: once, or at each occurrence from now on.
fn windows(args: &DeclareArgs, zone: Option<&Zone>, now: Time) -> Result<Vec<Window>, Failure> {
    let span = args.span.span();
    let (Some(repeat), Some(ahead)) = (&args.repeat, args.ahead) else {
        return Ok(vec![span.window(Reading::Prohibition, zone, now)?]);
    };
    let zone = zone.ok_or_else(|| Failure::usage("say with --zone on whose wall it recurs"))?;
    let start = span.start.as_civil().ok_or_else(|| {
        Failure::usage("what recurs starts at a time on the wall, as 2026-03-08T02:30 with --zone")
    })?;
    let (length, until) = match &span.end {
        Ending::For(length) => (Some(Length(*length)), None),
        Ending::Until(until) => {
            let told =
                || Failure::usage("what recurs ends at a time of day, as --until 06:00, or --for");
            (None, Some(until.to_string().parse().map_err(|_| told())?))
        }
    };
    let recurring = Recurring::new(Document {
        name: "freeze".parse().expect("it is a name"),
        start: Wall(start),
        length,
        until,
        zone: zone.name().to_owned(),
        repeat: Some(repeat.clone()),
        also: BTreeSet::new(),
        except: BTreeSet::new(),
        moved: BTreeMap::new(),
    });
    let recurring = recurring.map_err(|error| Failure::usage(error.to_string()))?;
    let found = recurring.instances(Reading::Prohibition, zone, now, now + ahead);
    let windows: Vec<_> = found.windows.iter().map(|it| it.window).collect();
    if windows.is_empty() {
        return Err(Failure::usage(format!("it does not come within {}", span::format(ahead))));
    }
    Ok(windows)
}

/// The events of a file as freezes, with what they are called.
fn imported(args: &ImportArgs, now: Time) -> Result<Vec<(Window, String)>, Failure> {
    let zone = args.zone.as_deref().map(Zone::find).transpose().map_err(WhenError::from)?;
    let mut all = Vec::new();
    for event in read_ics(&args.file, zone.as_ref())? {
        let zone = event.window.find_zone().map_err(WhenError::from)?;
        let until = now + args.ahead;
        let found = event.window.instances(Reading::Prohibition, &zone, now, until);
        let why = if event.summary.is_empty() { event.uid } else { event.summary };
        if !event.is_cancelled {
            all.extend(found.windows.iter().map(|it| (it.window, why.clone())));
        }
    }
    all.sort();
    Ok(all)
}

/// Declares each that was not declared before, so that to do it again does nothing.
async fn declare_each(
    context: &Context,
    client: &mut Client,
    state: &State,
    mut freezes: Vec<Wanted>,
) -> Result<(), Failure> {
    freezes.retain(|wanted| !stands(state, wanted));
    freezes.dedup();
    if freezes.is_empty() {
        return context.sink().result(&Vec::<Row>::new(), |_| "Each of them stands already.");
    }
    let mut shown = table(["freeze", "from", "until", "why"]);
    for (place, it) in freezes.iter().enumerate() {
        let (start, end) = (it.window.start.to_string(), it.window.end.to_string());
        shown.add_row([(place + 1).to_string(), start, end, it.reason.clone()]);
    }
    let statements: Result<Vec<_>, Failure> =
        freezes.into_iter().map(|it| statement(it, state, context.now())).collect();
    client.sign_and_append_each(context, &statements?, &shown.to_string()).await
}

/// Whether the very same freeze was declared and not lifted.
fn stands(state: &State, wanted: &Wanted) -> bool {
    let mut standing = state.freezes().filter(|it| it.lifted.is_none());
    standing.any(|record| match record.declared.says() {
        Freeze::Declared { environments, applications, start, end, reason, .. } => {
            (environments, applications, reason)
                == (&wanted.environments, &wanted.applications, &wanted.reason)
                && wanted.window == Window { start: *start, end: *end }
        }
        Freeze::Lifted { .. } => false,
    })
}

fn statement(wanted: Wanted, state: &State, now: Time) -> Result<Statement, Failure> {
    let freeze = Freeze::Declared {
        policy: names::policy_id(state)?,
        environments: wanted.environments,
        applications: wanted.applications,
        start: wanted.window.start,
        end: wanted.window.end,
        reason: wanted.reason,
    };
    Ok(Statement::new(now, freeze))
}

fn lifted(args: &LiftArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let record = names::freeze(state, &args.freeze)?;
    let freeze = record.declared.id();
    if record.lifted.is_some() {
        return Err(Failure::usage(format!("the freeze {} is lifted already", freeze.short())));
    }
    Ok(Statement::new(now, Freeze::Lifted { freeze, reason: args.reason.clone() }))
}

/// One freeze in the list.
#[derive(Serialize)]
struct Row {
    freeze: String,
    standing: &'static str,
    environments: Vec<Name>,
    applications: Vec<Name>,
    start: Time,
    end: Time,
    reason: String,
}

fn rows(state: &State, now: Time) -> Vec<Row> {
    let mut rows: Vec<_> = state.freezes().filter_map(|record| row(record, now)).collect();
    rows.sort_by_key(|row| row.start);
    rows
}

fn row(record: &FreezeRecord, now: Time) -> Option<Row> {
    let Freeze::Declared { environments, applications, start, end, reason, .. } =
        record.declared.says()
    else {
        return None;
    };
    let standing = match record.lifted.is_some() {
        true => "lifted",
        false if now < *start => "ahead",
        false if now < *end => "in force",
        false => "over",
    };
    Some(Row {
        freeze: record.declared.id().to_string(),
        standing,
        environments: environments.iter().cloned().collect(),
        applications: applications.iter().cloned().collect(),
        start: *start,
        end: *end,
        reason: reason.clone(),
    })
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No freeze was declared.".to_owned();
    }
    let mut table = table(["freeze", "", "environments", "applications", "from", "until", "why"]);
    for row in rows {
        let join = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(" ");
        let applications =
            if row.applications.is_empty() { "all".to_owned() } else { join(&row.applications) };
        table.add_row([
            row.freeze[..12].to_owned(),
            row.standing.to_owned(),
            join(&row.environments),
            applications,
            row.start.to_string(),
            row.end.to_string(),
            row.reason.clone(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::names::parse;
    use super::super::names::scene::{Scene, minutes, names as set};
    use cutover_shared::statement::Says;

    use super::*;

    fn made(args: &DeclareArgs, scene: &Scene) -> Vec<Statement> {
        let scope = Scope { environments: &args.environments, applications: &args.applications };
        let zone = args.span.find_zone().unwrap();
        let windows = windows(args, zone.as_ref(), scene.now).unwrap();
        let wanted = scope.freezes(windows.iter().map(|it| (*it, args.reason.as_str())));
        wanted.into_iter().map(|it| statement(it, &scene.state, scene.now).unwrap()).collect()
    }

    #[test]
    fn a_recurring_one_is_a_freeze_for_each_occurrence() {
        let mut scene = Scene::new();
        let line = "--environment production --start 2026-02-28T18:00 --until 06:00 --zone America/New_York \
                    --repeat FREQ=MONTHLY;BYMONTHDAY=-1 --ahead 92d --reason month-end";
        let args = parse::<DeclareArgs>(line).unwrap();
        let freezes = made(&args, &scene);
        let starts: Vec<_> = freezes
            .iter()
            .map(|it| {
                let Says::Freeze(Freeze::Declared { start, .. }) = &it.says else {
                    panic!("{:?}", it.says)
                };
                start.to_string()
            })
            .collect();
        // The night of 31 March is on summer time.
        let expected = ["2026-03-31T22:00:00Z", "2026-04-30T22:00:00Z", "2026-05-31T22:00:00Z"];
        assert_eq!(starts, expected);
        for freeze in &freezes {
            scene.add("max", freeze);
        }
        let zone = args.span.find_zone().unwrap();
        let again = windows(&args, zone.as_ref(), scene.now).unwrap();
        let scope = Scope { environments: &args.environments, applications: &args.applications };
        let again = scope.freezes(again.iter().map(|it| (*it, args.reason.as_str())));
        assert!(again.iter().all(|it| stands(&scene.state, it)), "to do it again does nothing");
        for (from, to) in [
            ("--zone America/New_York ", ""),
            ("2026-02-28T18:00", "+10m"),
            ("2026-02-28T18:00", "2026-02-27T18:00"),
            ("--until 06:00", "--until 2026-03-01T06:00"),
            ("--ahead 92d", "--ahead 1d"),
        ] {
            let args = parse::<DeclareArgs>(&line.replace(from, to)).unwrap();
            let zone = args.span.find_zone().unwrap();
            assert!(windows(&args, zone.as_ref(), scene.now).is_err(), "{from} {to}");
        }
        assert!(parse::<DeclareArgs>(&line.replace("--ahead 92d", "")).is_err());
    }

    #[test]
    fn too_few_hours_are_told_when_it_is_written() {
        let scene = Scene::new();
        let findings = |line: &str| {
            let args = parse::<DeclareArgs>(line).unwrap();
            let scope =
                Scope { environments: &args.environments, applications: &args.applications };
            let windows = windows(&args, None, scene.now).unwrap();
            let wanted = scope.freezes(windows.iter().map(|it| (*it, "x")));
            scope.findings(&scene.state, &wanted, scene.now)
        };
        let line = "--environment production --start now --for 29d13h --reason x";
        let told = "what is frozen in production then leaves 11 h of 720 h in the next 30 days";
        assert_eq!(findings(line), [told]);
        assert!(findings(&line.replace("29d13h", "10d")).is_empty());
        assert!(findings(&format!("{line} --application shop")).is_empty());
    }

    #[test]
    fn declared_listed_and_lifted() {
        let mut scene = Scene::new();
        let line = "--environment production --application shop --start +10m --for 1h --reason x";
        let args = parse::<DeclareArgs>(line).unwrap();
        let made = made(&args, &scene).remove(0);
        let expected = Freeze::Declared {
            policy: scene.state.policy().unwrap().id(),
            environments: set(["production"]),
            applications: set(["shop"]),
            start: scene.now + minutes(10),
            end: scene.now + minutes(70),
            reason: "x".to_owned(),
        };
        assert_eq!(made.says, expected.into());
        let freeze = scene.add("max", &made);
        let standing = |scene: &Scene| rows(&scene.state, scene.now)[0].standing;
        assert_eq!(standing(&scene), "ahead");
        scene.wait(minutes(10));
        assert_eq!(standing(&scene), "in force");
        assert!(text(&rows(&scene.state, scene.now)).contains(&freeze.short()));
        let args = parse::<LiftArgs>(&format!("{} --reason y", freeze.short())).unwrap();
        let lift = lifted(&args, &scene.state, scene.now).unwrap();
        scene.add("mia", &lift);
        assert_eq!(standing(&scene), "lifted");
        assert_eq!(lifted(&args, &scene.state, scene.now).unwrap_err().code(), 2);
    }
}
