//! `cutover cab`: the change advisory board's agenda, and the conditions that it sets.

mod agenda;

use clap::{Args, Subcommand};
use cutover_shared::board;
use cutover_shared::fold::State;
use cutover_shared::statement::{Statement, Task, TaskChange};
use cutover_shared::time::Time;

use super::client::Client;
use super::context::Context;
use super::exit::Failure;
use super::names;

use self::agenda::AgendaReport;

/// The change advisory board: what it is to decide, and the conditions that it sets
#[derive(Debug, Clone, Subcommand)]
pub enum CabCommand {
    /// List what the board is to decide at a meeting, with what has to be known for it
    ///
    /// Votes are given at any time (`cutover vote`); a meeting is only a date by which they are due. Each
    /// release is listed with its impact and its way back. What is not ready yet is listed with what it waits
    /// for, and so is what went by the board.
    #[command(
        after_help = "Examples:\n  cutover cab agenda\n  cutover cab agenda --for 2026-12-03\n  cutover cab agenda --for 2026-12-03T09:00:00-05:00 --json"
    )]
    Agenda(AgendaArgs),
    /// Confirm that a condition of an approval is met, as a board member or a librarian
    ///
    /// The window cannot be released before each condition is confirmed. Nobody confirms one of a release
    /// that they submitted.
    #[command(
        after_help = "Examples:\n  cutover cab confirm R-7\n  cutover cab confirm R-7 --condition 2 --note 'Called the desk at nine.'"
    )]
    Confirm(ConfirmArgs),
}

/// `cutover cab agenda`.
#[derive(Debug, Clone, Args)]
pub struct AgendaArgs {
    /// The meeting: a date (from its beginning, UTC) or an instant with its offset [default: now]
    #[arg(long = "for", value_name = "DATE", value_parser = meeting)]
    pub meeting: Option<Time>,
}

/// `cutover cab confirm`.
#[derive(Debug, Clone, Args)]
pub struct ConfirmArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// Which of the release's open conditions, as `cutover cab confirm R-7` counts them when there are
    /// several
    #[arg(long, value_name = "NUMBER")]
    pub condition: Option<usize>,
    /// What was done
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
}

/// A date's first instant, or an instant.
fn meeting(text: &str) -> Result<Time, String> {
    let instant = if text.len() == "2026-12-03".len() {
        format!("{text}T00:00:00Z").parse::<Time>()
    } else {
        text.parse::<Time>()
    };
    instant.map_err(|_| {
        format!("{text:?} is no date as 2026-12-03, nor an instant as 2026-12-03T09:00:00-05:00")
    })
}

/// Carries the command out.
pub async fn run(context: &Context, command: &CabCommand) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let (state, now) = (&synced.state, context.now());
    match command {
        CabCommand::Agenda(args) => {
            let at = args.meeting.map_or(now, |meeting| meeting.max(now));
            let agenda = board::agenda(state, at);
            let papers = agenda::papers(context, &client, &agenda).await;
            let told = AgendaReport::new(state, &agenda, &papers, at);
            context.sink().result(&told, AgendaReport::text)
        }
        CabCommand::Confirm(args) => confirm(context, args, state, now, &mut client).await,
    }
}

async fn confirm(
    context: &Context,
    args: &ConfirmArgs,
    state: &State,
    now: Time,
    client: &mut Client,
) -> Result<(), Failure> {
    let (statement, text) = confirmed(args, state, now)?;
    let name = names::number(names::release(state, &args.release)?);
    let more = [("release", name.into()), ("condition", text.into())];
    client.sign_and_append(context, &statement, &more).await?;
    Ok(())
}

/// The statement, and the condition's text.
fn confirmed(args: &ConfirmArgs, state: &State, now: Time) -> Result<(Statement, String), Failure> {
    let case = names::release(state, &args.release)?;
    let open = board::open_conditions(case);
    let listed = || {
        let lines = open.iter().enumerate();
        let lines =
            lines.map(|(at, it)| format!("  {}  {} (set by {})", at + 1, it.text, it.set_by));
        lines.collect::<Vec<_>>().join("\n")
    };
    let chosen = match (args.condition, open.len()) {
        (_, 0) => None,
        (None, 1) => open.first(),
        (None, _) => {
            return Err(Failure::usage(format!(
                "{} has several open conditions: say --condition NUMBER\n{}",
                case.name(),
                listed()
            )));
        }
        (Some(number), _) => number.checked_sub(1).and_then(|at| open.get(at)),
    };
    let Some(condition) = chosen else {
        let which = args.condition.map(|it| format!(" {it}")).unwrap_or_default();
        return Err(Failure::not_found(format!("an open condition{which} of {}", case.name())));
    };
    let change = TaskChange::Done { note: args.note.clone() };
    let task = Task { release: case.release.id(), kind: condition.task, change };
    Ok((Statement::new(now, task), condition.text.to_owned()))
}

#[cfg(test)]
mod tests {
    use cutover_shared::statement::{Judgement, TaskKind, Verdict, Vote};

    use super::super::names::parse;
    use super::super::names::scene::{Scene, minutes, names as set, yes};
    use super::*;

    fn agenda(scene: &Scene) -> AgendaReport {
        let at = scene.now + minutes(60);
        let agenda = board::agenda(&scene.state, at);
        AgendaReport::new(&scene.state, &agenda, &agenda::Papers::new(), at)
    }

    #[test]
    fn what_is_ready_and_what_waits_for_others() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let told = agenda(&scene);
        assert!(told.to_decide.is_empty());
        assert_eq!(told.not_ready[0].ballots.len(), 1, "staging asks for no votes");
        assert_eq!(told.not_ready[0].ballots[0].waits_for.len(), 2, "review and assessment");
        let both = ["staging", "production"];
        scene.review(release, &both, Verdict::Complete);
        scene.assess(release, yes());
        let told = agenda(&scene);
        assert!(told.not_ready.is_empty());
        let item = &told.to_decide[0];
        assert_eq!((item.release.as_str(), item.ballots[0].needed), ("R-1", 2));
        assert!(item.ballots[0].may_vote.len() >= 2, "{item:?}");
        let text = told.text();
        for part in
            ["To decide:", "R-1  shop 1.0 (normal)", "reviewed by   lia", "2 of 2 still needed"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        scene.vote("bea", release, yes());
        let text = agenda(&scene).text();
        assert!(text.contains("1 of 2 still needed"), "{text}");
        scene.vote("bob", release, yes());
        assert!(agenda(&scene).to_decide.is_empty(), "decided");
    }

    #[test]
    fn conditions_are_listed_and_confirmed() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let vote = Vote {
            release,
            environments: set(["production"]),
            judgement: Judgement::Accepted { reason: String::new() },
            conditions: vec!["call the desk".to_owned(), "wait for the backup".to_owned()],
        };
        let vote = scene.say("bea", vote);
        assert_eq!(agenda(&scene).conditions.len(), 2);
        let made = |line: &str| {
            let args = parse::<ConfirmArgs>(line).unwrap();
            confirmed(&args, &scene.state, scene.now)
        };
        let several = made("R-1").unwrap_err().text();
        assert!(several.contains("2  wait for the backup (set by bea)"), "{several}");
        let (statement, text) = made("R-1 --condition 2").unwrap();
        assert_eq!(text, "wait for the backup");
        let kind = TaskKind::Condition { vote, number: 2 };
        let done = TaskChange::Done { note: String::new() };
        assert_eq!(statement.says, Task { release, kind, change: done }.into());
        assert_eq!(made("R-1 --condition 3").unwrap_err().code(), 5);
        scene.add("lia", &statement);
        assert_eq!(agenda(&scene).conditions.len(), 1);
    }

    #[test]
    fn a_meeting_is_a_date_or_an_instant() {
        let date: Time = "2026-12-03T00:00:00Z".parse().unwrap();
        assert_eq!(meeting("2026-12-03").unwrap(), date);
        assert_eq!(meeting("2026-12-03T01:00:00+01:00").unwrap(), date);
        assert!(meeting("2026-13-03").is_err() && meeting("thursday").is_err());
    }
}
