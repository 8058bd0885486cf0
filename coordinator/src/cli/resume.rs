//! `cutover resume`: the hold is over.

use clap::Args;
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::fold::standing::standing_holds;
use cutover_shared::statement::{Resume, Statement};
use cutover_shared::time::Time;

use super::context::Context;
use super::exit::Failure;
use super::names;

/// Let a held release go on, in the role that held it
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  cutover resume R-7 --reason 'It was the load balancer.'\n  cutover resume 3f9a01 --reason 'The vendor confirms.'"
)]
pub struct ResumeArgs {
    /// The release with one hold, or the beginning of the hold's digest
    #[arg(value_name = "RELEASE|HOLD")]
    pub held: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Carries the command out.
pub async fn run(context: &Context, args: &ResumeArgs) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let statement = statement(args, &synced.state, context.now())?;
    client.sign_and_append(context, &statement, &[]).await?;
    Ok(())
}

fn statement(args: &ResumeArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let hold = standing_hold(state, &args.held, now)?;
    Ok(Statement::new(now, Resume { hold, reason: args.reason.clone() }))
}

fn standing_hold(state: &State, text: &str, now: Time) -> Result<Digest, Failure> {
    let Ok(case) = names::release(state, text) else {
        let (case, hold) = names::hold(state, text)?;
        if !standing_holds(state, case, now).iter().any(|stands| stands.id() == hold.id()) {
            return Err(Failure::usage(format!("the hold {} is over already", hold.id().short())));
        }
        return Ok(hold.id());
    };
    match standing_holds(state, case, now).as_slice() {
        [] => Err(Failure::not_found(format!("a hold on {}", case.name()))),
        [hold] => Ok(hold.id()),
        several => {
            let told: Vec<_> = several
                .iter()
                .map(|hold| format!("{} ({})", hold.id().short(), hold.says().reason))
                .collect();
            Err(Failure::usage(format!(
                "several holds stand on {}; say which: {}",
                case.name(),
                told.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use cutover_shared::statement::{Cancel, Hold};

    use super::super::names::parse;
    use super::super::names::scene::{Scene, minutes};
    use super::*;

    #[test]
    fn finds_the_one_hold_or_asks_which() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let made = |scene: &Scene, held: &str| {
            let args = parse::<ResumeArgs>(&format!("{held} --reason ok")).unwrap();
            statement(&args, &scene.state, scene.now)
        };
        let says = |hold| Resume { hold, reason: "ok".to_owned() };
        assert_eq!(made(&scene, "R-1").unwrap_err().code(), 5);
        let hold = Hold { release, reason: "odd".to_owned(), finish: false };
        let first = scene.say("max", hold.clone());
        assert_eq!(made(&scene, "R-1").unwrap().says, says(first).into());
        scene.wait(minutes(1));
        let second = scene.say("sergei", hold);
        let failure = made(&scene, "R-1").unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.text().contains(&first.short()), "{}", failure.text());
        assert_eq!(made(&scene, &second.short()).unwrap().says, says(second).into());
        scene.say("max", says(first));
        assert_eq!(made(&scene, "R-1").unwrap().says, says(second).into());
        assert_eq!(made(&scene, &first.short()).unwrap_err().code(), 2);
    }

    #[test]
    fn what_a_releaser_resumed_for_himself_can_be_resumed_by_another() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let hold = Hold { release, reason: "odd".to_owned(), finish: false };
        let hold = scene.say("max", hold);
        scene.say("max", Resume { hold, reason: "mine".to_owned() });
        let args = parse::<ResumeArgs>("R-1 --reason ok").unwrap();
        let made = |scene: &Scene| statement(&args, &scene.state, scene.now);
        assert_eq!(made(&scene).unwrap_err().code(), 5);
        let booking = scene.book(release, "staging", &[&["stage-1"]]);
        assert!(made(&scene).is_ok(), "max has booked, and is not another owner any more");
        let reason = "No.".to_owned();
        scene.say("max", Cancel { release, booking: Some(booking), reason });
        assert_eq!(made(&scene).unwrap_err().code(), 5);
    }
}
