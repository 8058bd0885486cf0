//! `cutover assess`: security's assessment of the risk.

use clap::{ArgGroup, Args};
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::statement::{Assessment, Judgement, Statement};
use cutover_shared::time::Time;

use super::context::Context;
use super::exit::Failure;
use super::names;

/// Assess the risk of a release, as security; a denied package is never deployed anywhere
#[derive(Debug, Clone, Args)]
#[command(
    group = ArgGroup::new("judgement").required(true),
    after_help = "Examples:\n  cutover assess R-7 --accept --reason 'No new ports, no new secrets.'\n  cutover assess R-7 --deny 'It writes passwords to its log.'"
)]
pub struct AssessArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// The risk is acceptable
    #[arg(long, group = "judgement")]
    pub accept: bool,
    /// It is not: these bytes are never deployed anywhere
    #[arg(long, group = "judgement", value_name = "REASON")]
    pub deny: Option<String>,
    /// Why it is acceptable
    #[arg(long, conflicts_with = "deny", value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// For this environment only; several times for several [default: all of the release's]
    #[arg(long = "environment", value_name = "ENVIRONMENT")]
    pub environments: Vec<Name>,
}

/// Carries the command out.
pub async fn run(context: &Context, args: &AssessArgs) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let statement = statement(args, &synced.state, context.now())?;
    let name = names::number(names::release(&synced.state, &args.release)?);
    client.sign_and_append(context, &statement, &[("release", name.into())]).await?;
    Ok(())
}

fn statement(args: &AssessArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let case = names::release(state, &args.release)?;
    let environments = names::environments(case, &args.environments)?;
    let assessment = Assessment {
        release: case.release.id(),
        package: case.release.says().package,
        environments,
        judgement: judgement(args.deny.as_deref(), &args.reason),
    };
    Ok(Statement::new(now, assessment))
}

/// A no with its reason, or else a yes with what there is to say.
pub(super) fn judgement(no: Option<&str>, reason: &str) -> Judgement {
    match no {
        Some(reason) => Judgement::Denied { reason: reason.to_owned() },
        None => Judgement::Accepted { reason: reason.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::parse;
    use super::super::names::scene::{Scene, names};
    use super::*;

    #[test]
    fn names_release_and_package() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let package = scene.state.case(&release).unwrap().release.says().package;
        let made = |line: &str| {
            let args = parse::<AssessArgs>(line).unwrap();
            statement(&args, &scene.state, scene.now).unwrap().says
        };
        let reason = "fine".to_owned();
        let expected = Assessment {
            release,
            package,
            environments: names(["staging", "production"]),
            judgement: Judgement::Accepted { reason },
        };
        assert_eq!(made("R-1 --accept --reason fine"), expected.clone().into());
        let reason = "leaks".to_owned();
        let denied = Assessment { judgement: Judgement::Denied { reason }, ..expected };
        assert_eq!(made("R-1 --deny leaks"), denied.into());
        assert!(parse::<AssessArgs>("R-1").is_err());
        assert!(parse::<AssessArgs>("R-1 --accept --deny x").is_err());
    }
}
