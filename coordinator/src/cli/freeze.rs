//! `cutover freeze`: nothing goes forward in a scope for a while.

use clap::{Args, Subcommand};
use cutover_shared::fold::{FreezeRecord, State};
use cutover_shared::name::Name;
use cutover_shared::statement::{Freeze, Statement};
use cutover_shared::time::Time;
use serde::Serialize;

use super::context::Context;
use super::exit::Failure;
use super::names;
use super::output::table;
use super::when::{SpanArgs, Zone};

/// Declare, lift and list freezes
#[derive(Debug, Clone, Subcommand)]
pub enum FreezeCommand {
    /// Declare that nothing goes forward in environments for a while, as a change manager
    ///
    /// A wall-clock time covers everything that it could mean when the clocks change.
    #[command(
        after_help = "Examples:\n  cutover freeze declare --environment production --start 2026-11-20T00:00 --until 2026-11-30T00:00 --zone America/New_York --reason 'Holiday sales.'\n  cutover freeze declare --environment production --application shop --start now --for 2h --reason 'Audit.'"
    )]
    Declare(DeclareArgs),
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
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
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
            let statement = declared(args, zone.as_ref(), &synced.state, now)?;
            client.sign_and_append(context, &statement, &[]).await?;
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

fn declared(
    args: &DeclareArgs,
    zone: Option<&Zone>,
    state: &State,
    now: Time,
) -> Result<Statement, Failure> {
    let window = args.span.prohibition(zone, now)?;
    let freeze = Freeze::Declared {
        policy: names::policy_id(state)?,
        environments: args.environments.iter().cloned().collect(),
        applications: args.applications.iter().cloned().collect(),
        start: window.start,
        end: window.end,
        reason: args.reason.clone(),
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
    use super::*;

    #[test]
    fn declared_listed_and_lifted() {
        let mut scene = Scene::new();
        let line = "--environment production --application shop --start +10m --for 1h --reason x";
        let args = parse::<DeclareArgs>(line).unwrap();
        let made = declared(&args, None, &scene.state, scene.now).unwrap();
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
