//! `cutover window release`: the act that arms the agents.

use clap::{Args, Subcommand};
use cutover_shared::case::{BookingCase, Case};
use cutover_shared::fold::State;
use cutover_shared::log::TreeHead;
use cutover_shared::name::Name;
use cutover_shared::statement::{Statement, WindowRelease};
use cutover_shared::time::Time;

use super::context::Context;
use super::exit::Failure;
use super::names;

/// Release booked windows
#[derive(Debug, Clone, Subcommand)]
pub enum WindowCommand {
    /// Release a booked window, as a change manager: from its start the hosts carry it out
    #[command(
        after_help = "Examples:\n  cutover window release R-7 --environment staging\n  cutover window release 3f9a01"
    )]
    Release(ReleaseArgs),
}

/// `cutover window release`.
#[derive(Debug, Clone, Args)]
pub struct ReleaseArgs {
    /// The release with one booking to release, or the beginning of the booking's digest
    #[arg(value_name = "RELEASE|BOOKING")]
    pub booked: String,
    /// The booking in this environment
    #[arg(long, value_name = "ENVIRONMENT")]
    pub environment: Option<Name>,
}

/// Carries the command out.
pub async fn run(context: &Context, command: &WindowCommand) -> Result<(), Failure> {
    let WindowCommand::Release(args) = command;
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let now = context.now();
    let (case, booking) = booked(args, &synced.state, now)?;
    let statement = statement(case, booking, &synced.head, now);
    let window = booking.booking.says().window;
    let more = [
        ("release", names::number(case).into()),
        ("window", format!("{} to {}", window.start, window.end).into()),
    ];
    client.sign_and_append(context, &statement, &more).await?;
    Ok(())
}

/// The release of a booking by somebody who has verified the log up to `head`.
pub(super) fn statement(
    case: &Case,
    booking: &BookingCase,
    head: &TreeHead,
    now: Time,
) -> Statement {
    let release = WindowRelease {
        booking: booking.booking.id(),
        release: case.release.id(),
        package: booking.booking.says().package,
        checkpoint: head.clone(),
    };
    Statement::new(now, release)
}

/// The one booking that can be meant.
fn booked<'s>(
    args: &ReleaseArgs,
    state: &'s State,
    now: Time,
) -> Result<(&'s Case, &'s BookingCase), Failure> {
    let Ok(case) = names::release(state, &args.booked) else {
        let (case, booking) = names::booking(state, &args.booked)?;
        return match fault(booking, now) {
            Some(fault) => Err(Failure::usage(fault)),
            None => Ok((case, booking)),
        };
    };
    let here = |it: &&BookingCase| {
        args.environment.as_ref().is_none_or(|name| it.booking.says().environment == *name)
    };
    let bookings: Vec<_> = case.booked().filter(here).collect();
    let open: Vec<_> = bookings.iter().filter(|it| fault(it, now).is_none()).collect();
    match (open.as_slice(), bookings.as_slice()) {
        ([booking], _) => Ok((case, booking)),
        ([], []) => Err(Failure::not_found(format!(
            "a booking of {}{}; a change manager books a window: `cutover book`",
            case.name(),
            args.environment.as_ref().map(|it| format!(" in {it}")).unwrap_or_default()
        ))),
        ([], all) => {
            let faults: Vec<_> = all.iter().filter_map(|it| fault(it, now)).collect();
            Err(Failure::usage(faults.join("; ")))
        }
        (several, _) => {
            let told = several.iter().map(|it| {
                let says = it.booking.says();
                let (id, start) = (it.booking.id().short(), says.window.start);
                format!("{id} (in {}, {start})", says.environment)
            });
            Err(Failure::usage(format!(
                "{} has several bookings; say which, or --environment: {}",
                case.name(),
                told.collect::<Vec<_>>().join(", ")
            )))
        }
    }
}

/// Why a booking cannot be released.
fn fault(booking: &BookingCase, now: Time) -> Option<String> {
    let says = booking.booking.says();
    let what = format!("the booking {} in {}", booking.booking.id().short(), says.environment);
    if booking.cancelled.is_some() {
        Some(format!("{what} was cancelled"))
    } else if booking.released.is_some() {
        Some(format!("{what} is released already"))
    } else if says.window.end <= now {
        Some(format!("{what} ended at {}: book a new window", says.window.end))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use cutover_shared::digest::Digest;

    use super::super::names::parse;
    use super::super::names::scene::{Scene, minutes};
    use super::*;

    fn found(scene: &Scene, line: &str) -> Result<Digest, Failure> {
        let args = parse::<ReleaseArgs>(line).unwrap();
        booked(&args, &scene.state, scene.now).map(|(_, booking)| booking.booking.id())
    }

    #[test]
    fn finds_the_one_that_can_be_meant() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        assert_eq!(found(&scene, "R-1").unwrap_err().code(), 5);
        let staging = scene.book(release, "staging", &[&["stage-1"]]);
        assert_eq!(found(&scene, "R-1").unwrap(), staging);
        let production = scene.book(release, "production", &[&["web-1"]]);
        let failure = found(&scene, "R-1").unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.text().contains("in staging"), "{}", failure.text());
        assert_eq!(found(&scene, "R-1 --environment production").unwrap(), production);
        assert_eq!(found(&scene, &staging.short()).unwrap(), staging);
        scene.arm(staging);
        assert_eq!(found(&scene, "R-1").unwrap(), production);
        assert!(found(&scene, &staging.short()).unwrap_err().text().contains("released already"));
        scene.wait(minutes(90));
        assert!(found(&scene, "R-1").unwrap_err().text().contains("ended at"));
    }

    #[test]
    fn names_what_was_verified() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let booking = scene.book(release, "staging", &[&["stage-1"]]);
        let (case, it) = scene.state.booking(&booking).unwrap();
        let checkpoint = TreeHead { size: 9, root: Digest::of(b"root") };
        let made = statement(case, it, &checkpoint, scene.now);
        let package = case.release.says().package;
        assert_eq!(made.says, WindowRelease { booking, release, package, checkpoint }.into());
    }
}
