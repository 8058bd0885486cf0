//! `cutover emergency`: the short way for incidents, one approval for each iteration.

mod deploy;
mod status;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use cutover_shared::case::{Case, Verified};
use cutover_shared::fold::{State, waiting};
use cutover_shared::name::Name;
use cutover_shared::package::difference::Side;
use cutover_shared::rollout::waves::WaveSpec;
use cutover_shared::statement::{Emergency, IterationApproval, Statement};
use cutover_shared::time::{Time, span};

use super::client::Client;
use super::compared::{compared, fetched};
use super::context::{Beside, Context};
use super::exit::Failure;
use super::submit::SubmitArgs;
use super::{names, submit};

/// Open the emergency route, iterate on it, approve its iterations, see how it stands
#[derive(Debug, Clone, Subcommand)]
pub enum EmergencyCommand {
    /// Open the emergency route for an incident, as a change manager who will not submit to it
    #[command(
        after_help = "Examples:\n  cutover emergency open --incident INC-2231 --application shop --environment production --for 4h --reason 'Orders get lost.'"
    )]
    Open(OpenArgs),
    /// Submit the next iteration, as the submitter: the same as `cutover submit --emergency`, wherever the
    /// emergency is open
    ///
    /// What is different to the iteration before is shown first: files, answers of forms, settings.
    #[command(
        after_help = "Examples:\n  cutover emergency iterate shop-1.4.3.cutover --incident INC-2231"
    )]
    Iterate(IterateArgs),
    /// Approve one iteration, as a change manager other than its author; it is good for that one only
    ///
    /// What is different to the iteration before is shown first: files, answers of forms, settings.
    #[command(
        after_help = "Examples:\n  cutover emergency approve R-9\n  cutover emergency approve R-9 --deploy\n  cutover emergency approve R-9 --deploy --wave canary=web-1 --wave rest=rest"
    )]
    Approve(ApproveArgs),
    /// List emergencies and their iterations, and which owe a post-implementation review
    #[command(
        after_help = "Examples:\n  cutover emergency status\n  cutover emergency status INC-2231 --json"
    )]
    Status(StatusArgs),
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

/// `cutover emergency iterate`.
#[derive(Debug, Clone, Args)]
pub struct IterateArgs {
    /// The package that `cutover package build` made, with change-type = "emergency"
    #[arg(value_name = "FILE.cutover")]
    pub file: PathBuf,
    /// The incident, or the beginning of the emergency's digest
    #[arg(long, value_name = "INCIDENT")]
    pub incident: String,
    /// An environment that it is for; several times for several [default: all that the emergency is for]
    #[arg(long = "environment", value_name = "ENVIRONMENT")]
    pub environments: Vec<Name>,
}

/// `cutover emergency approve`.
#[derive(Debug, Clone, Args)]
pub struct ApproveArgs {
    /// The iteration's release: R-9, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// Give it its window as well, from now on: booked and released, as long as the policy's
    /// `standing_window` for emergencies says
    #[arg(long)]
    pub deploy: bool,
    /// With --deploy: a wave and its hosts, as --wave of `cutover book`
    #[arg(long = "wave", value_name = "NAME=HOST,HOST…", requires = "deploy")]
    pub waves: Vec<WaveSpec>,
    /// With --deploy: how many hosts may be under way at once
    #[arg(long, default_value_t = 1, value_name = "N", requires = "deploy", value_parser = clap::value_parser!(u32).range(1..))]
    pub at_once: u32,
}

/// `cutover emergency status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// The incident, or the beginning of the emergency's digest [default: all]
    #[arg(value_name = "INCIDENT")]
    pub incident: Option<String>,
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
        EmergencyCommand::Iterate(args) => {
            submit::run(context, &iteration(args, &synced.state)?).await?;
        }
        EmergencyCommand::Approve(args) => {
            let statement = approved(args, &synced.state, now)?;
            let case = names::release(&synced.state, &args.release)?;
            let windows = if args.deploy {
                Some(deploy::windows(args, &synced.state, case, now)?)
            } else {
                None
            };
            let beside = to_the_one_before(&client, &synced.state, case).await?;
            if let Some(windows) = windows {
                let approval = deploy::Approval { statement, case, windows, beside };
                return deploy::approve(context, &mut client, &approval).await;
            }
            let more = [("release", names::number(case).into())];
            client.sign_and_append_beside(context, &statement, &more, beside.as_ref()).await?;
        }
        EmergencyCommand::Status(args) => {
            let only = args.incident.as_deref().map(|it| names::emergency(&synced.state, it));
            let only = only.transpose()?.map(Verified::id);
            let rows = status::rows(&synced.state, only, now);
            context.sink().result(&rows, |rows| status::text(rows))?;
        }
    }
    Ok(())
}

/// What is different to the iteration before; of the first one, to the release before of its application.
async fn to_the_one_before(
    client: &Client,
    state: &State,
    case: &Case,
) -> Result<Option<Beside>, Failure> {
    let Some(earlier) = waiting::before(state, case) else { return Ok(None) };
    let (listing, checked) = fetched(client, case).await?;
    let after = Side::new(&listing, &checked);
    Ok(Some(compared(client, earlier, &after).await?.beside()))
}

/// What `cutover submit` is to do for an iteration.
fn iteration(args: &IterateArgs, state: &State) -> Result<SubmitArgs, Failure> {
    let opened = names::emergency(state, &args.incident)?;
    let Emergency::Opened { environments: all, .. } = opened.says() else {
        return Err(Failure::not_found(format!("an open emergency {}", args.incident)));
    };
    let environments = match args.environments.as_slice() {
        [] => all.iter().cloned().collect(),
        given => given.to_vec(),
    };
    Ok(SubmitArgs {
        file: args.file.clone(),
        environments,
        supersedes: None,
        emergency: Some(opened.id().to_string()),
        standard: None,
    })
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
        assert!(
            status::text(&status::rows(&scene.state, None, scene.now))
                .contains("until 2026-03-02T14:00:00Z")
        );
        scene.wait(minutes(240));
        assert!(status::text(&status::rows(&scene.state, None, scene.now)).contains("no longer"));
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
        let told = status::text(&status::rows(&scene.state, None, scene.now));
        assert!(told.contains("R-2 (E2) 1.0.2: not approved, submitted"), "{told}");
        scene.add("mia", &statement);
        let told = status::text(&status::rows(&scene.state, None, scene.now));
        assert!(told.contains("R-2 (E2) 1.0.2: approved by mia, approved"), "{told}");
        assert!(told.contains("R-1 (E1) 1.0.1: approved by max, superseded"), "{told}");
    }
}
