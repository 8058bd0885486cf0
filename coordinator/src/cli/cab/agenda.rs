//! The board's agenda, as people and programs read it: what is to be known of each release before a vote.

use std::collections::{BTreeMap, BTreeSet};

use cutover_shared::authorise::rules::{Answer, standpoints};
use cutover_shared::board::{Agenda, Ballot, Item};
use cutover_shared::case::Case;
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::package::manifest::{Impact, Manifest, Rollback};
use cutover_shared::statement::{ChangeType, TaskKind, Verdict};
use cutover_shared::time::{Time, span};
use serde::Serialize;

use crate::cli::client::Client;
use crate::cli::compared::fetched;
use crate::cli::context::Context;
use crate::cli::explain::{route, who_votes};
use crate::cli::names;

/// What packages say of impact and rollback, by their `release` statements.
pub(super) type Papers = BTreeMap<Digest, Paper>;

/// What a package says of impact and rollback.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Paper {
    impact: Impact,
    rollback: Rollback,
}

impl From<Manifest> for Paper {
    fn from(manifest: Manifest) -> Self {
        Self { impact: manifest.impact, rollback: manifest.rollback }
    }
}

/// Reads the packages of everything that is to be decided. One that cannot be read is told, and is no reason not
/// to show the rest.
pub(super) async fn papers(context: &Context, client: &Client, agenda: &Agenda<'_>) -> Papers {
    let mut papers = Papers::new();
    for item in agenda.decide.iter().chain(&agenda.waiting) {
        match fetched(client, item.case).await {
            Ok((_, checked)) => {
                papers.extend(checked.manifest.map(|it| (item.case.release.id(), Paper::from(it))));
            }
            Err(failure) => {
                context.sink().note(format!("{}: {}", item.case.name(), failure.text()));
            }
        }
    }
    papers
}

/// The agenda, told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct AgendaReport {
    meeting: Time,
    /// The board's turn.
    pub(super) to_decide: Vec<ItemReport>,
    /// Others' turn first.
    pub(super) not_ready: Vec<ItemReport>,
    /// Approved, with something to be confirmed.
    pub(super) conditions: Vec<ConditionReport>,
    /// Windows that were released without the board in the week before.
    without_the_board: Vec<SkippedReport>,
    /// Emergencies that owe a review.
    reviews_owed: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ItemReport {
    pub(super) release: String,
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
    /// What its package says of impact and rollback; none: it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    paper: Option<Paper>,
    reviewed_by: Vec<Name>,
    assessed_by: Vec<String>,
    departments: Vec<String>,
    pub(super) ballots: Vec<BallotReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct BallotReport {
    environment: Name,
    pub(super) needed: u32,
    approved_by: Vec<String>,
    /// Whose vote is still wanted.
    pub(super) may_vote: Vec<Name>,
    /// What others have to do first.
    pub(super) waits_for: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ConditionReport {
    release: String,
    condition: String,
    set_by: Name,
    vote: Option<Digest>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SkippedReport {
    release: String,
    environment: Name,
    released: Time,
    why: String,
}

impl AgendaReport {
    pub(super) fn new(state: &State, agenda: &Agenda<'_>, papers: &Papers, at: Time) -> Self {
        let items = |items: &[Item<'_>]| -> Vec<_> {
            items.iter().map(|it| ItemReport::new(state, it, papers, at)).collect()
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

    pub(super) fn text(&self) -> String {
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
    fn new(state: &State, item: &Item<'_>, papers: &Papers, at: Time) -> Self {
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
            paper: papers.get(&case.release.id()).cloned(),
            reviewed_by: reviewed.into_iter().cloned().collect(),
            assessed_by,
            departments,
            ballots: item.ballots.iter().map(|it| BallotReport::new(state, case, it, at)).collect(),
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
        match &self.paper {
            Some(Paper { impact, rollback }) => {
                line("systems", impact.systems.join(", "));
                line("users", impact.users.clone());
                line("outage", format!("{} minutes", impact.outage_minutes));
                line("worst case", impact.worst_case.clone());
                line("not doing it", impact.not_doing.clone());
                line("way back", rollback.strategy.clone());
                line("its steps", rollback.steps.join("; "));
                line("taken when", rollback.trigger.clone());
                line("takes back", format!("{} minutes, by {}", rollback.minutes, rollback.owner));
                line("data loss", rollback.data_loss.clone());
            }
            None => line("impact", "its package cannot be read from here".to_owned()),
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
    fn new(state: &State, case: &Case, ballot: &Ballot<'_>, at: Time) -> Self {
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
            may_vote: who_votes(state, case, ballot.environment, at).into_iter().collect(),
            waits_for: waits_for.collect(),
        }
    }
}

fn list(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}
