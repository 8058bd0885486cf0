//! `cutover vote`: a vote of the change advisory board.

use clap::{ArgGroup, Args};
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::statement::{Statement, Vote};
use cutover_shared::time::Time;

use super::assess::judgement;
use super::context::Context;
use super::exit::Failure;
use super::names;

/// Vote on a release, as a member of the change advisory board; your last vote counts
#[derive(Debug, Clone, Args)]
#[command(
    group = ArgGroup::new("judgement").required(true),
    after_help = "Examples:\n  cutover vote R-7 --approve\n  cutover vote R-7 --approve --condition 'The desk knows by Thursday.'\n  cutover vote R-7 --reject 'Not in the week of the elections.' --environment production"
)]
pub struct VoteArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// Yes
    #[arg(long, group = "judgement")]
    pub approve: bool,
    /// No
    #[arg(long, group = "judgement", value_name = "REASON")]
    pub reject: Option<String>,
    /// Why yes
    #[arg(long, conflicts_with = "reject", value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// What the yes hangs on, to be confirmed before the window is released; several times for several
    #[arg(long = "condition", conflicts_with = "reject", value_name = "TEXT")]
    pub conditions: Vec<String>,
    /// For this environment only; several times for several [default: all of the release's]
    #[arg(long = "environment", value_name = "ENVIRONMENT")]
    pub environments: Vec<Name>,
}

/// Carries the command out.
pub async fn run(context: &Context, args: &VoteArgs) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let statement = statement(args, &synced.state, context.now())?;
    let name = names::number(names::release(&synced.state, &args.release)?);
    client.sign_and_append(context, &statement, &[("release", name.into())]).await?;
    Ok(())
}

fn statement(args: &VoteArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let case = names::release(state, &args.release)?;
    let environments = names::environments(case, &args.environments)?;
    let judgement = judgement(args.reject.as_deref(), &args.reason);
    let (release, conditions) = (case.release.id(), args.conditions.clone());
    Ok(Statement::new(now, Vote { release, environments, judgement, conditions }))
}

#[cfg(test)]
mod tests {
    use cutover_shared::statement::{Judgement, Says};

    use super::super::names::parse;
    use super::super::names::scene::{Scene, names};
    use super::*;

    #[test]
    fn yes_and_no() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let made = |line: &str| {
            let args = parse::<VoteArgs>(line).unwrap();
            statement(&args, &scene.state, scene.now).unwrap().says
        };
        let vote = |environments, judgement| {
            Vote { release, environments, judgement, conditions: Vec::new() }.into()
        };
        let both = names(["staging", "production"]);
        let reason = String::new();
        assert_eq!(made("R-1 --approve"), vote(both, Judgement::Accepted { reason }));
        let reason = "later".to_owned();
        assert_eq!(
            made("R-1 --reject later --environment production"),
            vote(names(["production"]), Judgement::Denied { reason })
        );
        let on_conditions = made("R-1 --approve --condition call --condition wait");
        let Says::Vote(vote) = on_conditions else { panic!("a vote") };
        assert_eq!(vote.conditions, ["call", "wait"]);
        assert!(parse::<VoteArgs>("R-1").is_err());
        assert!(parse::<VoteArgs>("R-1 --reject no --condition call").is_err());
    }
}
