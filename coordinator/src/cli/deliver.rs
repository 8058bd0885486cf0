//! `cutover deliver`: the release is in the staging area.

use clap::Args;
use cutover_shared::fold::State;
use cutover_shared::statement::{Delivery, Statement};
use cutover_shared::time::Time;

use super::context::Context;
use super::exit::Failure;
use super::names;

/// Say that a release was delivered to the staging area, as a librarian or change manager
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  cutover deliver R-7 --location 'staging area, shelf 3'")]
pub struct DeliverArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// Where it can be found
    #[arg(long, value_name = "TEXT")]
    pub location: String,
}

/// Carries the command out.
pub async fn run(context: &Context, args: &DeliverArgs) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let statement = statement(args, &synced.state, context.now())?;
    let name = names::number(names::release(&synced.state, &args.release)?);
    client.sign_and_append(context, &statement, &[("release", name.into())]).await?;
    Ok(())
}

fn statement(args: &DeliverArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let case = names::release(state, &args.release)?;
    let delivery = Delivery {
        release: case.release.id(),
        package: case.release.says().package,
        location: args.location.clone(),
    };
    Ok(Statement::new(now, delivery))
}

#[cfg(test)]
mod tests {
    use super::super::names::parse;
    use super::super::names::scene::Scene;
    use super::*;

    #[test]
    fn names_the_place() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let package = scene.state.case(&release).unwrap().release.says().package;
        let args = parse::<DeliverArgs>("R-1 --location shelf").unwrap();
        let made = statement(&args, &scene.state, scene.now).unwrap();
        let location = "shelf".to_owned();
        assert_eq!(made.says, Delivery { release, package, location }.into());
    }
}
