//! `cutover cancel`: give a release up, or one booking of it.

use clap::Args;
use cutover_shared::fold::State;
use cutover_shared::statement::{Cancel, Statement};
use cutover_shared::time::Time;

use super::context::Context;
use super::exit::Failure;
use super::names;

/// Give up a release, or one booking of it, as a change manager or security
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  cutover cancel R-7 --reason 'Overtaken by events.'\n  cutover cancel R-7 --booking 3f9a01 --reason 'The window is needed for something else.'"
)]
pub struct CancelArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// This booking only: the beginning of its digest
    #[arg(long, value_name = "BOOKING")]
    pub booking: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Carries the command out.
pub async fn run(context: &Context, args: &CancelArgs) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let statement = statement(args, &synced.state, context.now())?;
    let name = names::number(names::release(&synced.state, &args.release)?);
    client.sign_and_append(context, &statement, &[("release", name.into())]).await?;
    Ok(())
}

fn statement(args: &CancelArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let case = names::release(state, &args.release)?;
    let booking = args.booking.as_deref().map(|text| {
        let (of, booking) = names::booking(state, text)?;
        if of.release.id() != case.release.id() {
            let short = booking.booking.id().short();
            return Err(Failure::usage(format!("{short} is a booking of {}", of.name())));
        }
        Ok(booking.booking.id())
    });
    let booking = booking.transpose()?;
    Ok(Statement::new(
        now,
        Cancel { release: case.release.id(), booking, reason: args.reason.clone() },
    ))
}

#[cfg(test)]
mod tests {
    use super::super::names::parse;
    use super::super::names::scene::Scene;
    use super::*;

    #[test]
    fn all_of_it_or_one_booking() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        scene.submit("1.1");
        let booking = scene.book(release, "staging", &[&["stage-1"]]);
        let made = |line: String| {
            let args = parse::<CancelArgs>(&line).unwrap();
            statement(&args, &scene.state, scene.now)
        };
        let cancel = |booking| Cancel { release, booking, reason: "no".to_owned() }.into();
        assert_eq!(made("R-1 --reason no".to_owned()).unwrap().says, cancel(None));
        let short = booking.short();
        let one = made(format!("R-1 --booking {short} --reason no")).unwrap();
        assert_eq!(one.says, cancel(Some(booking)));
        let wrong = made(format!("R-2 --booking {short} --reason no")).unwrap_err();
        assert_eq!(wrong.code(), 2);
    }
}
