//! `cutover hold`: stop going forward.

use clap::Args;
use cutover_shared::fold::State;
use cutover_shared::statement::{Hold, Statement};
use cutover_shared::time::Time;

use super::context::Context;
use super::exit::Failure;
use super::names;

/// Stop a release from going forward anywhere, as a change manager or security
///
/// Hosts that have not activated it clean up; hosts that have go back, unless --finish is said.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  cutover hold R-7 --reason 'Error rate rises on web-1.'\n  cutover hold R-7 --reason 'Call the vendor first.' --finish"
)]
pub struct HoldArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Hosts that have activated it already finish instead of going back
    #[arg(long)]
    pub finish: bool,
}

/// Carries the command out.
pub async fn run(context: &Context, args: &HoldArgs) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let statement = statement(args, &synced.state, context.now())?;
    let name = names::number(names::release(&synced.state, &args.release)?);
    client.sign_and_append(context, &statement, &[("release", name.into())]).await?;
    Ok(())
}

fn statement(args: &HoldArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let release = names::release(state, &args.release)?.release.id();
    Ok(Statement::new(now, Hold { release, reason: args.reason.clone(), finish: args.finish }))
}

#[cfg(test)]
mod tests {
    use super::super::names::parse;
    use super::super::names::scene::Scene;
    use super::*;

    #[test]
    fn holds_with_and_without_finish() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        for (line, finish) in [("R-1 --reason odd", false), ("R-1 --reason odd --finish", true)] {
            let args = parse::<HoldArgs>(line).unwrap();
            let made = statement(&args, &scene.state, scene.now).unwrap();
            assert_eq!(made.says, Hold { release, reason: "odd".to_owned(), finish }.into());
        }
    }
}
