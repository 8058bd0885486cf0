//! `cutover review`: a librarian's check for completeness, and `cutover review show`: all that it takes, on
//! one screen.
//!
//! The machine check runs here again, over the package that the coordinator stores, by the forms that the
//! release was submitted with: a librarian does not say "complete" of what lacks something.

mod show;

use anyhow::Context as _;
use clap::{ArgGroup, Args, Subcommand};
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::package::check;
use cutover_shared::statement::{Remark, Review, Statement, Verdict};
use cutover_shared::time::Time;

use super::context::Context;
use super::exit::Failure;
use super::names;
use super::package::tell;

/// Review a release for completeness, as a librarian
#[derive(Debug, Clone, Args)]
#[command(
    group = ArgGroup::new("verdict").required(true),
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  cutover review show R-7\n  cutover review R-7 --complete\n  cutover review R-7 --return 'NOTES.md=Say what changes for users.' --return 'rollback.steps=Step 2 needs the password store.'\n  cutover review R-7 --deny 'No way back is documented.' --environment production"
)]
pub struct ReviewArgs {
    /// What else there is to do
    #[command(subcommand)]
    pub command: Option<ReviewCommand>,
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE", required = true)]
    pub release: Option<String>,
    /// A non-involved entity could deploy it
    #[arg(long, group = "verdict")]
    pub complete: bool,
    /// Send it back: what is to be mended, item by item, as `review show` names the items
    #[arg(long = "return", group = "verdict", value_name = "ITEM=REMARK", value_parser = remark)]
    pub returned: Vec<Remark>,
    /// Deny it for its documentation
    #[arg(long, group = "verdict", value_name = "REASON")]
    pub deny: Option<String>,
    /// For this environment only; several times for several [default: all of the release's]
    #[arg(long = "environment", value_name = "ENVIRONMENT")]
    pub environments: Vec<Name>,
}

/// `cutover review show`.
#[derive(Debug, Clone, Subcommand)]
pub enum ReviewCommand {
    /// Show what is to be reviewed on one screen: check, notes, impact, rollback, forms, difference, waits
    #[command(
        after_help = "Examples:\n  cutover review show R-7\n  cutover review show R-7 --against R-5 --full\n  cutover review show R-7 --json"
    )]
    Show(show::ShowArgs),
}

fn remark(text: &str) -> Result<Remark, String> {
    let (item, remark) = text.split_once('=').ok_or("write it as ITEM=REMARK")?;
    let [item, remark] = [item, remark].map(|part| part.trim().to_owned());
    if item.is_empty() || remark.is_empty() {
        return Err("write it as ITEM=REMARK, with neither of them empty".to_owned());
    }
    Ok(Remark { item, remark })
}

/// Carries the command out.
pub async fn run(context: &Context, args: &ReviewArgs) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    if let Some(ReviewCommand::Show(args)) = &args.command {
        return show::run(context, &client, &synced.state, args).await;
    }
    let statement = statement(args, &synced.state, context.now())?;
    let case = names::release(&synced.state, release(args)?)?;
    if args.complete {
        let release = case.release.says();
        let catalogue = client.catalogue_of(release).await?;
        let findings = check::check(&client.listing(release.package).await?, &catalogue);
        if !findings.is_empty() {
            let mut out = Vec::new();
            tell::findings(&findings, "The package", context.json, &mut out)
                .context("tell what is wrong")?;
            context.sink().bytes(&out)?;
            return Err(Failure::Faults);
        }
    }
    let name = names::number(case);
    client.sign_and_append(context, &statement, &[("release", name.into())]).await?;
    Ok(())
}

fn release(args: &ReviewArgs) -> Result<&str, Failure> {
    // clap demands it where there is no subcommand.
    args.release.as_deref().ok_or_else(|| Failure::usage("say which release: R-7"))
}

fn statement(args: &ReviewArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let case = names::release(state, release(args)?)?;
    let environments = names::environments(case, &args.environments)?;
    let verdict = match (&args.deny, args.returned.is_empty()) {
        (Some(reason), _) => Verdict::Denied { reason: reason.clone() },
        (None, false) => Verdict::Returned { items: args.returned.clone() },
        (None, true) => Verdict::Complete,
    };
    Ok(Statement::new(now, Review { release: case.release.id(), environments, verdict }))
}

#[cfg(test)]
mod tests {
    use super::super::names::parse;
    use super::super::names::scene::{Scene, names};
    use super::*;

    #[test]
    fn three_verdicts() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let made = |line: &str| {
            let args = parse::<ReviewArgs>(line).unwrap();
            statement(&args, &scene.state, scene.now).unwrap().says
        };
        let both = names(["staging", "production"]);
        let review = |environments, verdict| Review { release, environments, verdict }.into();
        assert_eq!(made("R-1 --complete"), review(both, Verdict::Complete));
        let reason = "thin".to_owned();
        assert_eq!(
            made("R-1 --deny thin --environment production"),
            review(names(["production"]), Verdict::Denied { reason })
        );
        let items = vec![
            Remark { item: "a".to_owned(), remark: "b=c".to_owned() },
            Remark { item: "d".to_owned(), remark: "e".to_owned() },
        ];
        assert_eq!(
            made("R-1 --return a=b=c --return d=e --environment staging"),
            review(names(["staging"]), Verdict::Returned { items })
        );
    }

    #[test]
    fn one_verdict_and_no_other() {
        for wrong in ["R-1", "R-1 --complete --deny x", "R-1 --return x", "R-1 --return =x"] {
            assert!(parse::<ReviewArgs>(wrong).is_err(), "{wrong}");
        }
    }
}
