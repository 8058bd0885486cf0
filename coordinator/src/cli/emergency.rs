//! `cutover emergency`: the short way for incidents, one approval for each iteration.

use std::time::Duration;

use clap::{Args, Subcommand};
use cutover_shared::fold::State;
use cutover_shared::fold::standing::{Lifecycle, release_standing};
use cutover_shared::name::Name;
use cutover_shared::statement::{Emergency, IterationApproval, Statement};
use cutover_shared::time::{Time, span};
use serde::Serialize;

use super::context::Context;
use super::exit::Failure;
use super::names;
use super::output::table;

/// Open the emergency route, approve its iterations, see how it stands
#[derive(Debug, Clone, Subcommand)]
pub enum EmergencyCommand {
    /// Open the emergency route for an incident, as a change manager who will not submit to it
    #[command(
        after_help = "Examples:\n  cutover emergency open --incident INC-2231 --application shop --environment production --for 4h --reason 'Orders get lost.'"
    )]
    Open(OpenArgs),
    /// Approve one iteration, as a change manager other than its author; it is good for that one only
    #[command(after_help = "Examples:\n  cutover emergency approve R-9")]
    Approve(ApproveArgs),
    /// List emergencies and their iterations
    #[command(
        after_help = "Examples:\n  cutover emergency status\n  cutover emergency status --json"
    )]
    Status,
}

/// `cutover emergency open`.
#[derive(Debug, Clone, Args)]
pub struct OpenArgs {
    /// The incident's number in its tracker
    #[arg(long, value_name = "INCIDENT")]
    pub incident: String,
    /// The application
    #[arg(long, value_name = "APPLICATION")]
    pub application: Name,
    /// An environment; several times for several
    #[arg(long = "environment", value_name = "ENVIRONMENT", required = true)]
    pub environments: Vec<Name>,
    /// How long the route is open
    #[arg(long = "for", value_name = "DURATION", value_parser = span::parse)]
    pub open_for: Duration,
    /// Why the normal way is too slow
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// `cutover emergency approve`.
#[derive(Debug, Clone, Args)]
pub struct ApproveArgs {
    /// The iteration's release: R-9, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
}

/// Carries the command out.
pub async fn run(context: &Context, command: &EmergencyCommand) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let now = context.now();
    match command {
        EmergencyCommand::Open(args) => {
            let statement = opened(args, &synced.state, now)?;
            let more = [("incident", args.incident.clone().into())];
            client.sign_and_append(context, &statement, &more).await?;
        }
        EmergencyCommand::Approve(args) => {
            let statement = approved(args, &synced.state, now)?;
            let name = names::number(names::release(&synced.state, &args.release)?);
            client.sign_and_append(context, &statement, &[("release", name.into())]).await?;
        }
        EmergencyCommand::Status => {
            let rows = rows(&synced.state, now);
            context.sink().result(&rows, |rows| text(rows))?;
        }
    }
    Ok(())
}

fn opened(args: &OpenArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    if args.open_for.is_zero() {
        return Err(Failure::usage("--for 0s would open nothing"));
    }
    let opened = Emergency::Opened {
        policy: names::policy_id(state)?,
        incident: args.incident.clone(),
        application: args.application.clone(),
        environments: args.environments.iter().cloned().collect(),
        reason: args.reason.clone(),
    };
    Ok(Statement::new(now, opened).until(now + args.open_for))
}

fn approved(args: &ApproveArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let case = names::release(state, &args.release)?;
    let Some(iteration) = &case.release.says().iteration else {
        return Err(Failure::usage(format!(
            "{} is no iteration of an emergency: it is reviewed, assessed and voted on",
            case.name()
        )));
    };
    let approval = IterationApproval {
        grounds: iteration.grounds,
        release: case.release.id(),
        number: iteration.number,
    };
    Ok(Statement::new(now, Emergency::Approved(approval)))
}

/// One emergency in the list.
#[derive(Serialize)]
struct Row {
    emergency: String,
    incident: String,
    application: Name,
    environments: Vec<Name>,
    open: bool,
    until: Option<Time>,
    reason: String,
    iterations: Vec<IterationRow>,
}

#[derive(Serialize)]
struct IterationRow {
    release: String,
    number: u32,
    version: String,
    approved: bool,
    state: Lifecycle,
}

fn rows(state: &State, now: Time) -> Vec<Row> {
    let mut emergencies: Vec<_> = state.emergencies().collect();
    emergencies.sort_by_key(|it| it.index());
    let rows = emergencies.into_iter().filter_map(|opened| {
        let Emergency::Opened { incident, application, environments, reason, .. } = opened.says()
        else {
            return None;
        };
        let iterations = state.cases().filter_map(|case| {
            let iteration = case.release.says().iteration.as_ref()?;
            (iteration.grounds == opened.id()).then(|| IterationRow {
                release: names::number(case),
                number: iteration.number,
                version: case.release.says().version.clone(),
                approved: !case.approvals.is_empty(),
                state: release_standing(state, case, now).word,
            })
        });
        Some(Row {
            emergency: opened.id().to_string(),
            incident: incident.clone(),
            application: application.clone(),
            environments: environments.iter().cloned().collect(),
            open: opened.header().covers(now),
            until: opened.header().not_after,
            reason: reason.clone(),
            iterations: iterations.collect(),
        })
    });
    rows.collect()
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No emergency was opened.".to_owned();
    }
    let mut table = table(["incident", "application", "environments", "open", "iterations", "why"]);
    for row in rows {
        let environments: Vec<_> = row.environments.iter().map(Name::as_str).collect();
        let open = match row.until {
            Some(until) if row.open => format!("until {until}"),
            _ => "no longer".to_owned(),
        };
        let iterations: Vec<_> = row
            .iterations
            .iter()
            .map(|it| {
                let approved = if it.approved { "approved" } else { "not approved" };
                let title = format!("{} (E{}) {}", it.release, it.number, it.version);
                format!("{title}: {approved}, {}", it.state)
            })
            .collect();
        table.add_row([
            row.incident.clone(),
            row.application.to_string(),
            environments.join(" "),
            open,
            iterations.join("\n"),
            row.reason.clone(),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::names::parse;
    use super::super::names::scene::{Scene, minutes};
    use super::*;

    #[test]
    fn opens_for_a_while() {
        let mut scene = Scene::new();
        let line =
            "--incident INC-1 --application shop --environment production --for 4h --reason x";
        let args = parse::<OpenArgs>(line).unwrap();
        let made = opened(&args, &scene.state, scene.now).unwrap();
        assert_eq!(made.header.not_after, Some(scene.now + minutes(240)));
        scene.add("max", &made);
        assert!(text(&rows(&scene.state, scene.now)).contains("until 2026-03-02T14:00:00Z"));
        scene.wait(minutes(240));
        assert!(text(&rows(&scene.state, scene.now)).contains("no longer"));
    }

    #[test]
    fn an_approval_names_its_iteration() {
        let mut scene = Scene::new();
        let grounds = scene.open_emergency("INC-1");
        let first = scene.iterate("1.0.1", grounds, 1, None);
        scene.approve_iteration(grounds, first, 1);
        let second = scene.iterate("1.0.2", grounds, 2, Some(first));
        scene.submit("2.0");
        let made = |release: &str| {
            let args = parse::<ApproveArgs>(release).unwrap();
            approved(&args, &scene.state, scene.now)
        };
        let statement = made("R-2").unwrap();
        let expected = IterationApproval { grounds, release: second, number: 2 };
        assert_eq!(statement.says, Emergency::Approved(expected).into());
        assert_eq!(made("R-3").unwrap_err().code(), 2);
        let told = text(&rows(&scene.state, scene.now));
        assert!(told.contains("R-2 (E2) 1.0.2: not approved, submitted"), "{told}");
        scene.add("mia", &statement);
        let told = text(&rows(&scene.state, scene.now));
        assert!(told.contains("R-2 (E2) 1.0.2: approved"), "{told}");
        assert!(told.contains("R-1 (E1) 1.0.1: approved, superseded"), "{told}");
    }
}
