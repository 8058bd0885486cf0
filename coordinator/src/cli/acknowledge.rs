//! `cutover acknowledge`: that somebody has seen what they were told (PROCESS 10 and 15).

use clap::Args;
use cutover_shared::case::Case;
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::statement::{Acknowledgement, Statement};
use cutover_shared::time::Time;

use super::context::Context;
use super::exit::Failure;
use super::names;
use super::sync::by_prefix;

/// Say that you have seen what was said of a release, as anybody whose key is in the policy
///
/// Without --statement it is the release's newest schedule: its newest booking, or what cancelled that. The
/// window's release, or the release itself, where there is nothing newer.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  cutover acknowledge R-7\n  cutover acknowledge R-7 --statement 3f9a"
)]
pub struct AcknowledgeArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// The beginning of the digest of the statement that you have seen
    #[arg(long, value_name = "STATEMENT")]
    pub statement: Option<String>,
}

/// Carries the command out.
pub async fn run(context: &Context, args: &AcknowledgeArgs) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let statement = statement(args, &synced.state, context.now())?;
    let name = names::number(names::release(&synced.state, &args.release)?);
    client.sign_and_append(context, &statement, &[("release", name.into())]).await?;
    Ok(())
}

fn statement(args: &AcknowledgeArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let case = names::release(state, &args.release)?;
    let known = schedule(case);
    let seen = match &args.statement {
        Some(prefix) => by_prefix("statement", prefix, known.iter().map(|(_, id)| (*id, *id)))?,
        None => known.last().map_or(case.release.id(), |(_, id)| *id),
    };
    Ok(Statement::new(now, Acknowledgement { release: case.release.id(), seen }))
}

/// What was said of a release's schedule, and the release itself, in the order of the log.
fn schedule(case: &Case) -> Vec<(u64, Digest)> {
    let mut all = vec![(case.release.index(), case.release.id())];
    for it in case.booked() {
        all.push((it.booking.index(), it.booking.id()));
        all.extend(it.released.as_ref().map(|it| (it.index(), it.id())));
        all.extend(it.cancelled.as_ref().map(|it| (it.index(), it.id())));
    }
    all.extend(case.cancelled.as_ref().map(|it| (it.index(), it.id())));
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::super::names::parse;
    use super::super::names::scene::Scene;
    use super::*;

    #[test]
    fn names_the_newest_of_the_schedule_or_what_is_asked_for() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let seen = |scene: &Scene, line: &str| {
            let args = parse::<AcknowledgeArgs>(line).unwrap();
            statement(&args, &scene.state, scene.now).map(|it| it.says)
        };
        assert_eq!(seen(&scene, "R-1").unwrap(), Acknowledgement { release, seen: release }.into());
        scene.approve(release);
        let booking = scene.book(release, "staging", &[&["stage-1"]]);
        assert_eq!(seen(&scene, "R-1").unwrap(), Acknowledgement { release, seen: booking }.into());
        let line = format!("R-1 --statement {release}");
        assert_eq!(seen(&scene, &line).unwrap(), Acknowledgement { release, seen: release }.into());
        assert!(seen(&scene, "R-1 --statement ffffffffffff").is_err());
    }
}
