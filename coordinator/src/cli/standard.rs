//! `cutover standard`: changes of one kind, approved ahead.
//!
//! The template is an earlier release, field by field; what may differ from it is said.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};
use cutover_shared::fold::{StandardRecord, State};
use cutover_shared::name::Name;
use cutover_shared::statement::{Differing, Standard, Statement, Template};
use cutover_shared::time::{Time, span};
use serde::Serialize;

use super::context::Context;
use super::exit::Failure;
use super::names;
use super::output::table;

/// Approve standard changes ahead, withdraw that, and list what is approved
#[derive(Debug, Clone, Subcommand)]
pub enum StandardCommand {
    /// Approve releases like an earlier one, as a change manager who submits none of them
    #[command(
        after_help = "Examples:\n  cutover standard approve R-7 --title 'Weekly catalogue' --may-differ package --for 90d --reason 'The same content job each week.'"
    )]
    Approve(ApproveArgs),
    /// Approve them no longer, as a change manager or security
    #[command(
        after_help = "Examples:\n  cutover standard withdraw 9c21d0 --reason 'It took the shop down.'"
    )]
    Withdraw(WithdrawArgs),
    /// List pre-approvals
    #[command(after_help = "Examples:\n  cutover standard list\n  cutover standard list --json")]
    List,
}

/// `cutover standard approve`.
#[derive(Debug, Clone, Args)]
pub struct ApproveArgs {
    /// The release that the others have to be like
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// What people call this kind of change
    #[arg(long, value_name = "TEXT")]
    pub title: String,
    /// What a release may have otherwise; several times for several [default: nothing]
    #[arg(long = "may-differ", value_name = "WHAT", value_parser = differing())]
    pub may_differ: Vec<Differing>,
    /// For how long
    #[arg(long = "for", value_name = "DURATION", value_parser = span::parse)]
    pub length: Duration,
    /// Why changes of this kind need no judgement of their own
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// `cutover standard withdraw`.
#[derive(Debug, Clone, Args)]
pub struct WithdrawArgs {
    /// The beginning of the pre-approval's digest, as `cutover standard list` shows it
    #[arg(value_name = "STANDARD")]
    pub standard: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

fn differing() -> impl clap::builder::TypedValueParser<Value = Differing> {
    PossibleValuesParser::new(Differing::ALL.iter().map(|it| it.name())).try_map(|name| {
        let what = Differing::ALL.iter().copied().find(|it| it.name() == name);
        what.ok_or_else(|| format!("{name} is nothing that may differ"))
    })
}

/// Carries the command out.
pub async fn run(context: &Context, command: &StandardCommand) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let (state, now) = (&synced.state, context.now());
    match command {
        StandardCommand::Approve(args) => {
            let statement = approved(args, state, now)?;
            client.sign_and_append(context, &statement, &[]).await?;
        }
        StandardCommand::Withdraw(args) => {
            let statement = withdrawn(args, state, now)?;
            client.sign_and_append(context, &statement, &[]).await?;
        }
        StandardCommand::List => {
            let rows = rows(state, now);
            context.sink().result(&rows, |rows| text(rows))?;
        }
    }
    Ok(())
}

fn approved(args: &ApproveArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    if args.length.is_zero() {
        return Err(Failure::usage("--for 0s would approve nothing"));
    }
    let case = names::release(state, &args.release)?;
    let like = case.release.says();
    if like.irreversible {
        return Err(Failure::usage(format!(
            "{} cannot be taken back: such changes are judged each",
            case.name()
        )));
    }
    let template = Template {
        policy: names::policy_id(state)?,
        title: args.title.clone(),
        application: like.application.clone(),
        environments: like.environments.clone(),
        package: like.package,
        apply_budget: like.apply_budget,
        rollback_reserve: like.rollback_reserve,
        may_differ: args.may_differ.iter().copied().collect(),
        reason: args.reason.clone(),
    };
    let approved = Standard::Approved(Box::new(template));
    Ok(Statement::new(now, approved).until(now + args.length))
}

fn withdrawn(args: &WithdrawArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let record = names::standard(state, &args.standard)?;
    let standard = record.approved.id();
    if record.withdrawn.is_some() {
        return Err(Failure::usage(format!("{} is withdrawn already", standard.short())));
    }
    Ok(Statement::new(now, Standard::Withdrawn { standard, reason: args.reason.clone() }))
}

/// One pre-approval in the list.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    standard: String,
    title: String,
    standing: &'static str,
    application: Name,
    environments: Vec<Name>,
    may_differ: BTreeSet<Differing>,
    approved_by: Vec<Name>,
    until: Option<Time>,
    reason: String,
}

fn rows(state: &State, now: Time) -> Vec<Row> {
    let mut rows: Vec<_> = state.standards().map(|record| row(record, now)).collect();
    rows.sort_by_key(|row| row.until);
    rows
}

fn row(record: &StandardRecord, now: Time) -> Row {
    let template = record.approved.says();
    let header = record.approved.header();
    let standing = match record.withdrawn.is_some() {
        true => "withdrawn",
        false if header.covers(now) => "in force",
        false => "over",
    };
    Row {
        standard: record.approved.id().to_string(),
        title: template.title.clone(),
        standing,
        application: template.application.clone(),
        environments: template.environments.iter().cloned().collect(),
        may_differ: template.may_differ.clone(),
        approved_by: record.approved.owners().into_iter().cloned().collect(),
        until: header.not_after,
        reason: template.reason.clone(),
    }
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No standard change was approved.".to_owned();
    }
    let mut table =
        table(["standard", "", "", "application", "environments", "may differ", "until", "why"]);
    for row in rows {
        let join = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(" ");
        let differ: Vec<_> = row.may_differ.iter().map(|it| it.name()).collect();
        table.add_row([
            row.standard[..12].to_owned(),
            row.title.clone(),
            row.standing.to_owned(),
            row.application.to_string(),
            join(&row.environments),
            differ.join(" "),
            row.until.map(|it| it.to_string()).unwrap_or_default(),
            format!("{}\nby {}", row.reason, join(&row.approved_by)),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use cutover_shared::statement::Says;

    use super::super::names::parse;
    use super::super::names::scene::{Scene, minutes};
    use super::*;

    #[test]
    fn approved_listed_and_withdrawn() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let line = "R-1 --title Weekly --may-differ package --for 1h --reason routine";
        let args = parse::<ApproveArgs>(line).unwrap();
        let made = approved(&args, &scene.state, scene.now).unwrap();
        let Says::Standard(Standard::Approved(template)) = &made.says else { panic!("{made:?}") };
        assert_eq!(template.misfit(scene.state.case(&release).unwrap().release.says()), None);
        assert_eq!(template.misfit(&Scene::release("1.1", &["staging", "production"])), None);
        assert!(template.misfit(&Scene::release("1.1", &["staging"])).is_some());
        let standard = scene.add("max", &made);
        let standing = |scene: &Scene| rows(&scene.state, scene.now)[0].standing;
        assert_eq!(standing(&scene), "in force");
        assert!(text(&rows(&scene.state, scene.now)).contains(&standard.short()));
        let args = parse::<WithdrawArgs>(&format!("{} --reason odd", standard.short())).unwrap();
        let withdrawal = withdrawn(&args, &scene.state, scene.now).unwrap();
        let mut later = Scene::new();
        later.submit("1.0");
        later.add("max", &made);
        later.wait(minutes(60));
        assert_eq!(standing(&later), "over");
        scene.add("sergei", &withdrawal);
        assert_eq!(standing(&scene), "withdrawn");
        assert_eq!(withdrawn(&args, &scene.state, scene.now).unwrap_err().code(), 2);
    }

    #[test]
    fn what_cannot_be_taken_back_is_no_template() {
        let mut scene = Scene::new();
        let mut release = Scene::release("1.0", &["staging"]);
        release.irreversible = true;
        scene.say("sam", release);
        let args = parse::<ApproveArgs>("R-1 --title x --for 1h --reason y").unwrap();
        assert_eq!(approved(&args, &scene.state, scene.now).unwrap_err().code(), 2);
    }
}
