//! `cutover close`: a release is over, with what came of it and the review after the fact.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use cutover_shared::fold::State;
use cutover_shared::statement::{Closure, ClosureResult, PostReview, Statement};
use cutover_shared::time::Time;

use super::context::Context;
use super::exit::Failure;
use super::names;

/// Close a release, or an emergency, that is over, as a change manager who did not submit it
///
/// Nothing moves under it any more. A release that did not simply succeed, and each iteration of an
/// emergency, is closed with a post-implementation review: what was found, and what is done about it. The
/// emergency itself is closed with a summary, when the newest of its iterations that touched a host is closed.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  cutover close R-7 --result successful\n  cutover close R-9 --result successful-with-issues --findings 'The check was too strict; web-2 went back once.' --action 'Widen the check (CHG-88).' --reference KB-31\n  cutover close R-8 --result not-implemented\n  cutover close INC-2231 --summary 'The queue was full; R-9 drains it.'"
)]
pub struct CloseArgs {
    /// The release: R-7, or the beginning of its statement's digest; with --summary the incident of an
    /// emergency
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// What came of the release
    #[arg(
        long,
        value_name = "RESULT",
        value_parser = results(),
        required_unless_present = "summary"
    )]
    pub result: Option<ClosureResult>,
    /// Close the emergency: what came of it
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["result", "findings"])]
    pub summary: Option<String>,
    /// The review: what happened, against what was planned
    #[arg(long, value_name = "TEXT")]
    pub findings: Option<String>,
    /// The review: something that is done about it; several times for several
    #[arg(long = "action", value_name = "TEXT", requires = "findings")]
    pub actions: Vec<String>,
    /// The review: where it is kept
    #[arg(long, value_name = "TEXT", requires = "findings")]
    pub reference: Option<String>,
}

fn results() -> impl clap::builder::TypedValueParser<Value = ClosureResult> {
    PossibleValuesParser::new(ClosureResult::ALL.iter().map(|it| it.name())).try_map(|name| {
        let result = ClosureResult::ALL.iter().copied().find(|it| it.name() == name);
        result.ok_or_else(|| format!("{name} is no result"))
    })
}

/// Carries the command out.
pub async fn run(context: &Context, args: &CloseArgs) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let statement = statement(args, &synced.state, context.now())?;
    let about = match &args.summary {
        Some(_) => ("emergency", args.release.clone()),
        None => ("release", names::number(names::release(&synced.state, &args.release)?)),
    };
    client.sign_and_append(context, &statement, &[(about.0, about.1.into())]).await?;
    Ok(())
}

fn statement(args: &CloseArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    if let Some(summary) = &args.summary {
        let grounds = names::emergency(state, &args.release)?.id();
        return Ok(Statement::new(now, Closure::Emergency { grounds, summary: summary.clone() }));
    }
    let Some(result) = args.result else {
        return Err(Failure::usage("say what came of it: --result"));
    };
    let review = args.findings.as_ref().map(|findings| PostReview {
        findings: findings.clone(),
        actions: args.actions.clone(),
        reference: args.reference.clone(),
    });
    let release = names::release(state, &args.release)?.release.id();
    Ok(Statement::new(now, Closure::Release { release, result, review }))
}

#[cfg(test)]
mod tests {
    use super::super::names::parse;
    use super::super::names::scene::Scene;
    use super::*;

    #[test]
    fn closes_with_and_without_a_review() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let made = |line: &str| {
            parse::<CloseArgs>(line).map(|args| statement(&args, &scene.state, scene.now))
        };
        let says = |result, review| Closure::Release { release, result, review }.into();
        let plain = made("R-1 --result successful").unwrap().unwrap();
        assert_eq!(plain.says, says(ClosureResult::Successful, None));
        let line = "R-1 --result backed-out --findings slow --action tune --action ask";
        let review = PostReview {
            findings: "slow".to_owned(),
            actions: vec!["tune".to_owned(), "ask".to_owned()],
            reference: None,
        };
        let reviewed = made(line).unwrap().unwrap();
        assert_eq!(reviewed.says, says(ClosureResult::BackedOut, Some(review)));
        let grounds = scene.open_emergency("INC-7");
        let args = parse::<CloseArgs>("INC-7 --summary over").unwrap();
        let whole = statement(&args, &scene.state, scene.now).unwrap();
        let summary = "over".to_owned();
        assert_eq!(whole.says, Closure::Emergency { grounds, summary }.into());
        let made = |line: &str| parse::<CloseArgs>(line);
        assert!(made("R-1").is_err(), "neither a result nor a summary");
        assert!(made("R-1 --result fine").is_err(), "no such result");
        assert!(made("R-1 --result backed-out --action tune").is_err(), "no findings");
    }
}
