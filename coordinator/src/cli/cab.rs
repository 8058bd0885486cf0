//! `cutover cab`: the change advisory board's agenda, and the conditions that it sets.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use cutover_shared::authorise::rules::{Answer, standpoints};
use cutover_shared::board::{self, Agenda, Ballot, Item};
use cutover_shared::case::Case;
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::statement::{ChangeType, Statement, Task, TaskChange, TaskKind, Verdict};
use cutover_shared::time::{Time, span};
use serde::Serialize;

use super::client::Client;
use super::context::Context;
use super::exit::Failure;
use super::explain::{route, who_votes};
use super::names;

/// The change advisory board: what it is to decide, and the conditions that it sets
#[derive(Debug, Clone, Subcommand)]
pub enum CabCommand {
    /// List what the board is to decide at a meeting, with what has to be known for it
    ///
    /// Votes are given at any time (`cutover vote`); a meeting is only a date by which they are due. What
    /// is not ready yet is listed with what it waits for, and so is what went by the board.
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
            let told = AgendaReport::new(state, &board::agenda(state, at), at);
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

/// The agenda, told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct AgendaReport {
    meeting: Time,
    /// The board's turn.
    to_decide: Vec<ItemReport>,
    /// Others' turn first.
    not_ready: Vec<ItemReport>,
    /// Approved, with something to be confirmed.
    conditions: Vec<ConditionReport>,
    /// Windows that were released without the board in the week before.
    without_the_board: Vec<SkippedReport>,
    /// Emergencies that owe a review.
    reviews_owed: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ItemReport {
    release: String,
    statement: Digest,
    application: Name,
    version: String,
    change: ChangeType,
    summary: String,
    submitted_by: Vec<Name>,
    requested_start: Option<Time>,
    /// The start that was asked for, or booked, is before the meeting.
    late: bool,
    apply_budget: String,
    rollback_reserve: String,
    irreversible: bool,
    package: Digest,
    reviewed_by: Vec<Name>,
    assessed_by: Vec<String>,
    departments: Vec<String>,
    ballots: Vec<BallotReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct BallotReport {
    environment: Name,
    needed: u32,
    approved_by: Vec<String>,
    /// Whose vote is still wanted.
    may_vote: Vec<Name>,
    /// What others have to do first.
    waits_for: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ConditionReport {
    release: String,
    condition: String,
    set_by: Name,
    vote: Option<Digest>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SkippedReport {
    release: String,
    environment: Name,
    released: Time,
    why: String,
}

impl AgendaReport {
    fn new(state: &State, agenda: &Agenda<'_>, at: Time) -> Self {
        let items = |items: &[Item<'_>]| -> Vec<_> {
            items.iter().map(|it| ItemReport::new(state, it, at)).collect()
        };
        let conditions = agenda.conditions.iter().map(|(case, it)| ConditionReport {
            release: names::number(case),
            condition: it.text.to_owned(),
            set_by: it.set_by.clone(),
            vote: match it.task {
                TaskKind::Condition { vote, .. } => Some(vote),
                TaskKind::Stage | TaskKind::Deploy | TaskKind::Verify | TaskKind::Review => None,
            },
        });
        let skipped = agenda.skipped.iter().filter_map(|it| {
            let environment = &it.booking.booking.says().environment;
            Some(SkippedReport {
                release: names::number(it.case),
                environment: environment.clone(),
                released: it.released,
                why: route::told(state, it.case, environment, it.policy, &it.route)?,
            })
        });
        Self {
            meeting: at,
            to_decide: items(&agenda.decide),
            not_ready: items(&agenda.waiting),
            conditions: conditions.collect(),
            without_the_board: skipped.collect(),
            reviews_owed: agenda.reviews_owed.iter().map(|case| case.name()).collect(),
        }
    }

    fn text(&self) -> String {
        let mut parts = vec![format!("Change advisory board, {}", self.meeting)];
        let items = |items: &[ItemReport]| items.iter().map(ItemReport::text).collect::<Vec<_>>();
        let mut section = |title: &str, lines: Vec<String>, none: &str| {
            if !lines.is_empty() {
                parts.push(format!("{title}:\n{}", lines.join("\n")));
            } else if !none.is_empty() {
                parts.push(format!("{title}: {none}"));
            }
        };
        section("To decide", items(&self.to_decide), "nothing");
        section("Not ready yet", items(&self.not_ready), "");
        let conditions = self
            .conditions
            .iter()
            .map(|it| format!("  {}  {} (set by {})", it.release, it.condition, it.set_by));
        section("Conditions to confirm (cutover cab confirm)", conditions.collect(), "");
        let skipped = self.without_the_board.iter().map(|it| {
            format!("  {} in {}, released {}: {}", it.release, it.environment, it.released, it.why)
        });
        section("Went without the board in the week before", skipped.collect(), "");
        let owed = self.reviews_owed.iter().map(|it| format!("  {it}"));
        section("Owe a post-implementation review (cutover close)", owed.collect(), "");
        parts.join("\n\n")
    }
}

impl ItemReport {
    fn new(state: &State, item: &Item<'_>, at: Time) -> Self {
        let (case, release) = (item.case, item.case.release.says());
        let mut assessed_by = Vec::new();
        let mut departments = Vec::new();
        for ballot in &item.ballots {
            for (owner, assessment) in case.assessments_for(ballot.environment) {
                let judgement = &assessment.says().judgement;
                let word = if judgement.is_accepted() { "accepted" } else { "denied" };
                let text = format!("{owner} {word}: {}", judgement.reason());
                assessed_by.push(text.trim_end_matches([':', ' ']).to_owned());
            }
            for it in standpoints(state, case, ballot.environment, at) {
                let word = match it.answer {
                    Answer::None => "has not answered",
                    Answer::Yes => "says yes",
                    Answer::No => "says no",
                };
                departments.push(format!("{} {word} for {}", it.department, ballot.environment));
            }
        }
        assessed_by.sort();
        assessed_by.dedup();
        let complete = case.reviews.iter().filter(|it| it.says().verdict == Verdict::Complete);
        let reviewed: BTreeSet<_> = complete.flat_map(|it| it.owners()).collect();
        Self {
            release: case.name(),
            statement: case.release.id(),
            application: release.application.clone(),
            version: release.version.clone(),
            change: release.change,
            summary: release.summary.clone(),
            submitted_by: case.release.owners().into_iter().cloned().collect(),
            requested_start: item.start,
            late: item.start.is_some_and(|start| start < at),
            apply_budget: span::format(release.apply_budget),
            rollback_reserve: span::format(release.rollback_reserve),
            irreversible: release.irreversible,
            package: release.package,
            reviewed_by: reviewed.into_iter().cloned().collect(),
            assessed_by,
            departments,
            ballots: item.ballots.iter().map(|it| BallotReport::new(state, case, it)).collect(),
        }
    }

    fn text(&self) -> String {
        let Self { release, application, version, change, summary, .. } = self;
        let mut lines = vec![format!("  {release}  {application} {version} ({change}): {summary}")];
        let mut line = |name: &str, text: String| {
            if !text.is_empty() {
                lines.push(format!("    {name:13} {text}"));
            }
        };
        line("submitted by", list(&self.submitted_by));
        let late = if self.late { ", before this meeting" } else { "" };
        let start = self.requested_start.map(|it| format!("{it}{late}"));
        line("to begin", start.unwrap_or_default());
        let takes = format!("{}, and {} to go back", self.apply_budget, self.rollback_reserve);
        line("takes", takes);
        if self.irreversible {
            line("IRREVERSIBLE", "it cannot be taken back".to_owned());
        }
        line("reviewed by", list(&self.reviewed_by));
        line("security", self.assessed_by.join("; "));
        line("departments", self.departments.join("; "));
        for it in &self.ballots {
            let missing =
                it.needed.saturating_sub(u32::try_from(it.approved_by.len()).unwrap_or(0));
            let approved = match it.approved_by.len() {
                0 => String::new(),
                _ => format!("; yes from {}", it.approved_by.join(", ")),
            };
            line(
                "vote",
                format!("{}: {missing} of {} still needed{approved}", it.environment, it.needed),
            );
            line("may vote", list(&it.may_vote));
            line("waits for", it.waits_for.join("; "));
        }
        line("read it with", format!("cutover review show {}", self.release_number()));
        lines.join("\n")
    }

    /// The name without an iteration's number.
    fn release_number(&self) -> &str {
        self.release.split_once(' ').map_or(self.release.as_str(), |(number, _)| number)
    }
}

impl BallotReport {
    fn new(state: &State, case: &Case, ballot: &Ballot<'_>) -> Self {
        let approved = ballot.votes.iter().filter(|(_, vote)| vote.says().judgement.is_accepted());
        let approved = approved.map(|(owner, vote)| match vote.says().conditions.len() {
            0 => owner.to_string(),
            conditions => format!("{owner} (on {conditions} conditions)"),
        });
        let waits_for = ballot.waits_for.iter().map(|it| format!("{}: {}", it.code, it.facts));
        Self {
            environment: ballot.environment.clone(),
            needed: ballot.needed,
            approved_by: approved.collect(),
            may_vote: who_votes(state, case, ballot.environment).into_iter().collect(),
            waits_for: waits_for.collect(),
        }
    }
}

fn list(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use cutover_shared::statement::{Judgement, Vote};

    use super::super::names::parse;
    use super::super::names::scene::{Scene, minutes, names as set, yes};
    use super::*;

    fn agenda(scene: &Scene) -> AgendaReport {
        let at = scene.now + minutes(60);
        AgendaReport::new(&scene.state, &board::agenda(&scene.state, at), at)
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
