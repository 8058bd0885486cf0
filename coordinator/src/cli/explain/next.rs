//! The next step: one command, who gives it, and by when.
//!
//! It is the first refusal that somebody can lift, in the environment that comes first; what only time or hosts
//! move is nobody's step, and is told as such.

use cutover_shared::case::Case;
use cutover_shared::fold::State;
use cutover_shared::fold::standing::Lifecycle;
use cutover_shared::name::Name;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{ChangeType, Release};
use cutover_shared::time::{Time, span};
use serde::Serialize;

use super::Here;
use super::who::Who;
use crate::cli::names;

/// What happens next.
#[derive(Debug, Serialize)]
pub(super) struct Next {
    /// Where.
    environment: Name,
    /// What to do, or what is waited for.
    what: String,
    /// The command that does it, as it is typed; what is written in capitals is to be filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    /// Who gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<Who>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<By>,
}

/// Until when something is to be done.
#[derive(Debug, Serialize)]
struct By {
    time: Time,
    why: &'static str,
}

impl Next {
    /// Lines for people.
    pub(super) fn text(&self) -> String {
        let Self { environment, what, command, who, by } = self;
        let mut lines = vec![format!("next step, for {environment}: {what}")];
        let who = who.as_ref().and_then(Who::text);
        lines.extend(who.map(|who| format!("  who   {who}")));
        lines.extend(command.iter().map(|command| format!("  do    {command}")));
        lines.extend(by.iter().map(|by| format!("  by    {}, {}", by.time, by.why)));
        lines.join("\n")
    }
}

/// The next step of a release.
pub(super) fn next(state: &State, case: &Case, all: &[Here], now: Time) -> Option<Next> {
    // Where nothing refuses any more it has arrived, or its hosts are at it.
    let mut moving = all.iter().filter(|it| it.state != Lifecycle::Verifying);
    let first = moving.find_map(|here| step(state, case, here, now));
    first.or_else(|| all.iter().rev().find_map(waited_for))
}

fn step(state: &State, case: &Case, here: &Here, now: Time) -> Option<Next> {
    let refused = here.refusals.iter().find(|it| !it.who.is_nobody())?;
    let command = command(state, case, &here.environment, refused.code);
    let asked = case.release.says().requested_start.filter(|it| *it > now);
    let by = match (here.before, asked) {
        (Some(time), _) => Some(By { time, why: "when the last host can begin" }),
        (None, Some(time)) => Some(By { time, why: "the start that the submitter asked for" }),
        (None, None) => None,
    };
    Some(Next {
        environment: here.environment.clone(),
        what: refused.next.split(": `").next().unwrap_or(refused.next).to_owned(),
        command,
        who: Some(refused.who.clone()),
        by,
    })
}

fn waited_for(here: &Here) -> Option<Next> {
    let refused = here.refusals.first();
    let what = match (refused, here.state) {
        (Some(refused), _) => refused.next.to_owned(),
        (None, Lifecycle::Released | Lifecycle::Deploying) => {
            "nothing to do: its hosts take their turns; `cutover status --watch` shows them"
                .to_owned()
        }
        (None, _) => return None,
    };
    let environment = here.environment.clone();
    Some(Next { environment, what, command: None, who: None, by: None })
}

/// The command that takes a refusal away.
fn command(state: &State, case: &Case, environment: &Name, code: Code) -> Option<String> {
    let name = names::number(case);
    let release = case.release.says();
    if BOOKED_ANEW.contains(&code) {
        return Some(book(state, &name, release, environment));
    }
    if code == Code::IterationNotApproved {
        let rule = state.policy().and_then(|it| it.rule(environment, release.change).ok());
        let standing = rule.is_some_and(|rule| rule.standing_window.is_some());
        let deploy = if standing { " --deploy" } else { "" };
        return Some(format!("cutover emergency approve {name}{deploy}"));
    }
    let commands = [
        (Code::NotReviewed, format!("cutover review {name} --complete")),
        (Code::NotAssessed, format!("cutover assess {name} --accept")),
        (Code::NotApproved, format!("cutover vote {name} --approve")),
        (Code::NotDelivered, format!("cutover deliver {name} --location WHERE")),
        (Code::NotReleased, format!("cutover window release {name} --environment {environment}")),
        (Code::NotConsulted, format!("cutover consult answer {name} --department WHICH --accept")),
        (Code::ConditionOpen, format!("cutover cab confirm {name}")),
        (Code::Held, format!("cutover resume {name} --reason WHY")),
        (Code::Returned, submit_again(release, &name)),
        (Code::Denied, submit_again(release, &name)),
        (Code::PolicyExpired, "cutover policy install POLICY.json".to_owned()),
    ];
    commands.into_iter().find(|(of, _)| *of == code).map(|(_, command)| command)
}

/// What a new booking takes away.
const BOOKED_ANEW: &[Code] = &[
    Code::NotBooked,
    Code::WindowClosed,
    Code::WindowTooShort,
    Code::WindowTooLong,
    Code::OutsideCalendar,
    Code::NoticeTooShort,
    Code::CapacityReached,
    Code::WindowTaken,
];

/// An emergency begins at once, as long as the rule lets it; anything else takes the best window there is.
fn book(state: &State, name: &str, release: &Release, environment: &Name) -> String {
    let longest = state.policy().and_then(|it| it.rule(environment, release.change).ok());
    match (release.change, longest) {
        (ChangeType::Emergency, Some(rule)) => {
            let length = span::format(rule.standing_window.unwrap_or(rule.longest_window));
            format!("cutover book {name} --environment {environment} --start now --for {length}")
        }
        (ChangeType::Standard | ChangeType::Normal | ChangeType::Emergency, _) => {
            format!("cutover book {name} --environment {environment} --suggest")
        }
    }
}

/// How it is submitted again, in its own place.
fn submit_again(release: &Release, name: &str) -> String {
    let environments = release.environments.iter().map(|it| format!(" --environment {it}"));
    let ground = match (&release.iteration, &release.standard) {
        (Some(iteration), _) => format!(" --emergency {}", iteration.grounds.short()),
        (None, Some(standard)) => format!(" --standard {}", standard.short()),
        (None, None) => String::new(),
    };
    let environments: String = environments.collect();
    format!("cutover submit FILE.cutover{environments}{ground} --supersedes {name}")
}
