//! `cutover override`: one booking passes freezes, each named.

use std::path::PathBuf;

use clap::Args;
use cutover_shared::fold::State;
use cutover_shared::statement::{Override, PassedFreeze, Statement};
use cutover_shared::time::Time;

use super::context::Context;
use super::exit::Failure;
use super::{cosign, names};

/// Let a booking pass freezes, as the first of two owners
///
/// It takes a change manager and another owner of the role that the policy's rule names. Neither of them
/// may have submitted the release. A freeze that is not named, or is declared later, still refuses. The
/// file goes to the other owner, who signs it with `cutover cosign`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  cutover override 4be1c2 --freeze '3f9a01=Without the fix no order can be paid.' --output override.json"
)]
pub struct OverrideArgs {
    /// The beginning of the booking's digest, as `cutover status R-7` shows it
    #[arg(value_name = "BOOKING")]
    pub booking: String,
    /// A freeze, by the beginning of its digest, and why it is passed; several times for several
    #[arg(long = "freeze", value_name = "FREEZE=WHY", required = true, value_parser = freeze)]
    pub freezes: Vec<(String, String)>,
    /// The file for the second owner
    #[arg(long, short, value_name = "FILE.json")]
    pub output: PathBuf,
}

fn freeze(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((freeze, why)) if !freeze.is_empty() && !why.trim().is_empty() => {
            Ok((freeze.to_owned(), why.to_owned()))
        }
        Some(_) | None => Err("write FREEZE=WHY: each freeze is passed for a reason".to_owned()),
    }
}

/// Carries the command out.
pub async fn run(context: &Context, args: &OverrideArgs) -> Result<(), Failure> {
    let synced = context.connect().await?.sync().await?;
    let statement = statement(args, &synced.state, context.now())?;
    cosign::begin(context, &statement, &synced.state, &args.output)
}

fn statement(args: &OverrideArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let (case, booking) = names::booking(state, &args.booking)?;
    let mut freezes = Vec::new();
    for (text, why) in &args.freezes {
        let freeze = names::freeze(state, text)?.declared.id();
        freezes.push(PassedFreeze { freeze, reason: why.clone() });
    }
    let passing = Override { release: case.release.id(), booking: booking.booking.id(), freezes };
    // It is of no use after the window, so it ends with it.
    Ok(Statement::new(now, passing).until(booking.booking.says().window.end))
}

#[cfg(test)]
mod tests {
    use cutover_shared::statement::Freeze;

    use super::super::names::scene::{Scene, minutes, names as set};
    use super::*;

    #[test]
    fn names_the_booking_and_each_freeze() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        scene.approve(release);
        let booking = scene.book(release, "production", &[&["web-1"]]);
        let declared = Freeze::Declared {
            policy: scene.state.policy().unwrap().id(),
            environments: set(["production"]),
            applications: set([]),
            start: scene.now,
            end: scene.now + minutes(600),
            reason: "Elections.".to_owned(),
        };
        let frozen = scene.say("mia", declared);
        let args = |frozen: &str| OverrideArgs {
            booking: booking.short(),
            freezes: vec![freeze(&format!("{frozen}=It burns.")).unwrap()],
            output: "override.json".into(),
        };
        let made = statement(&args(&frozen.short()), &scene.state, scene.now).unwrap();
        let passed = PassedFreeze { freeze: frozen, reason: "It burns.".to_owned() };
        let expected = Override { release, booking, freezes: vec![passed] };
        assert_eq!(made.says, expected.into());
        assert_eq!(made.header.not_after, Some(scene.now + minutes(70)));
        let unknown = statement(&args(&release.short()), &scene.state, scene.now);
        assert_eq!(unknown.unwrap_err().code(), 5);
        for text in ["3f9a01", "3f9a01=", "3f9a01= ", "=why"] {
            assert!(freeze(text).is_err(), "{text}");
        }
    }
}
