//! `cutover waive`: one release goes into one environment without something that the policy demands.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::policy::Exception;
use cutover_shared::statement::{Statement, Waiver};
use cutover_shared::time::{Time, span};

use super::context::Context;
use super::exit::Failure;
use super::{cosign, names};

/// Let a release do without something, as the first of two owners
///
/// The policy's rule lists what can be done without, and the roles of the two. Neither of them may have
/// submitted the release. The file goes to the other owner, who signs it with `cutover cosign`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  cutover waive R-7 --environment production --without votes --for 12h --reason 'The board is in the air.' --output waiver.json"
)]
pub struct WaiveArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// In this environment
    #[arg(long, value_name = "ENVIRONMENT")]
    pub environment: Name,
    /// What is done without
    #[arg(long, value_name = "WHAT", value_parser = exceptions())]
    pub without: Exception,
    /// For how long; it has to hold at the start of the window
    #[arg(long = "for", value_name = "DURATION", value_parser = span::parse)]
    pub length: Duration,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The file for the second owner
    #[arg(long, short, value_name = "FILE.json")]
    pub output: PathBuf,
}

fn exceptions() -> impl clap::builder::TypedValueParser<Value = Exception> {
    PossibleValuesParser::new(Exception::ALL.iter().map(|it| it.name())).try_map(|name| {
        let exception = Exception::ALL.iter().copied().find(|it| it.name() == name);
        exception.ok_or_else(|| format!("{name} is nothing that can be done without"))
    })
}

/// Carries the command out.
pub async fn run(context: &Context, args: &WaiveArgs) -> Result<(), Failure> {
    let synced = context.connect().await?.sync().await?;
    let statement = statement(args, &synced.state, context.now())?;
    cosign::begin(context, &statement, &synced.state, &args.output)
}

fn statement(args: &WaiveArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    if args.length.is_zero() {
        return Err(Failure::usage("--for 0s would waive nothing"));
    }
    let waiver = Waiver {
        release: names::release(state, &args.release)?.release.id(),
        environment: args.environment.clone(),
        exception: args.without,
        reason: args.reason.clone(),
    };
    Ok(Statement::new(now, waiver).until(now + args.length))
}

#[cfg(test)]
mod tests {
    use super::super::names::parse;
    use super::super::names::scene::{Scene, minutes, name};
    use super::*;

    #[test]
    fn says_what_for_how_long_and_why() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let made = |line: &str| {
            let line = format!("{line} --environment production --reason odd --output w.json");
            parse::<WaiveArgs>(&line).map(|args| statement(&args, &scene.state, scene.now))
        };
        let waiver = made("R-1 --without votes --for 1h").unwrap().unwrap();
        let expected = Waiver {
            release,
            environment: name("production"),
            exception: Exception::Votes,
            reason: "odd".to_owned(),
        };
        assert_eq!(waiver.says, expected.into());
        assert_eq!(waiver.header.not_after, Some(scene.now + minutes(60)));
        assert_eq!(made("R-1 --without votes --for 0s").unwrap().unwrap_err().code(), 2);
        assert_eq!(made("R-9 --without votes --for 1h").unwrap().unwrap_err().code(), 5);
        assert!(made("R-1 --without window --for 1h").is_err(), "no word for it");
    }
}
