//! `cutover suggest`: when a release could have its window, and why not at other times.

use std::time::Duration;

use clap::Args;
use cutover_shared::calendar::agenda::{Agenda, Request};
use cutover_shared::calendar::span::{Span, When, WhenError};
use cutover_shared::calendar::suggest::{Suggestions, suggest};
use cutover_shared::calendar::zone::Zone;
use cutover_shared::case::{Budget, Case};
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::statement::{Derivation, RolloutPlan};
use cutover_shared::time::{Time, span};
use cutover_shared::window::Window;
use serde::Serialize;

use super::context::Context;
use super::exit::Failure;
use super::output::table;
use super::{book, names};

/// Suggest windows for a release: free of freezes and other bookings, and within the calendar
///
/// Nearest to the start that the submitter asked for first, or the earliest. Each refused time has its
/// reason; where there is nothing at all, the rule that stands in the way is told, and its end.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  cutover suggest R-7\n  cutover suggest R-7 --environment production --for 2h --near 2026-03-07T22:00 --zone America/New_York --days 30"
)]
pub struct SuggestArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// Where; several times for several [default: all that it is for]
    #[arg(long = "environment", value_name = "ENVIRONMENT")]
    pub environments: Vec<Name>,
    /// Exact length [default: as long as its hosts need, one after the other]
    #[arg(long = "for", value_name = "DURATION", value_parser = span::parse)]
    pub length: Option<Duration>,
    /// Near to this start: as --start of `cutover book` [default: what the submitter asked for]
    #[arg(long, value_name = "WHEN")]
    pub near: Option<When>,
    /// IANA zone of a wall-clock time, as America/New_York
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// How many days to look ahead
    #[arg(long, default_value_t = 90, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=366))]
    pub days: u32,
    /// How many windows to suggest in each environment
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub count: usize,
}

/// What was found for one environment.
#[derive(Debug, Serialize)]
struct Found {
    environment: Name,
    #[serde(with = "span")]
    length: Duration,
    /// Whose clocks the text shows.
    zone: String,
    #[serde(flatten)]
    suggestions: Suggestions,
}

/// Carries the command out.
pub async fn run(context: &Context, args: &SuggestArgs) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let found = found(args, &synced.state, context.now())?;
    context.sink().result(&found, |found| found.iter().map(text).collect::<Vec<_>>().join("\n\n"))
}

fn found(args: &SuggestArgs, state: &State, now: Time) -> Result<Vec<Found>, Failure> {
    let case = names::release(state, &args.release)?;
    let zone = args.zone.as_deref().map(Zone::find).transpose().map_err(WhenError::from)?;
    let near = args.near.as_ref().map(|near| near.permitted_start(zone.as_ref(), now));
    let near = near.transpose()?;
    let mut all = Vec::new();
    for environment in names::environments(case, &args.environments)? {
        let plan = book::default_plan(case, state, &environment)?;
        let mut request = request(case, &environment, &plan, args.length);
        request.preferred = near.or(request.preferred);
        (request.days, request.count) = (args.days, args.count);
        let suggestions = search(state, &request, now)?;
        let zone = calendar_zone(state, &environment).unwrap_or_else(Zone::utc);
        let (length, zone) = (request.length, zone.name().to_owned());
        all.push(Found { environment, length, zone, suggestions });
    }
    Ok(all)
}

/// What a plan asks of the calendar.
pub(super) fn request(
    case: &Case,
    environment: &Name,
    plan: &RolloutPlan,
    length: Option<Duration>,
) -> Request {
    let release = case.release.says();
    Request {
        release: case.release.id(),
        application: release.application.clone(),
        environment: environment.clone(),
        hosts: plan.hosts().map(|planned| planned.host_key).collect(),
        change: release.change,
        length: length.unwrap_or_else(|| needed(plan, case.budget())).max(case.budget().whole()),
        preferred: release.requested_start,
        days: 90,
        count: 1,
    }
}

/// How long a plan takes when every host needs its whole budget: the hosts that may go at once together,
/// one lot after the other, the waits between waves, and the reserve for the last of them.
fn needed(plan: &RolloutPlan, budget: Budget) -> Duration {
    let at_once = usize::try_from(plan.at_once).unwrap_or(usize::MAX).max(1);
    let lots: usize = plan.waves.iter().map(|wave| wave.hosts.len().div_ceil(at_once)).sum();
    let waits = plan.waves.len().saturating_sub(1);
    let times = |length: Duration, number: usize| {
        length.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX))
    };
    let applying = times(budget.apply, lots);
    applying.saturating_add(times(plan.healthy_for, waits)).saturating_add(budget.reserve)
}

/// Looks for slots.
pub(super) fn search(state: &State, request: &Request, now: Time) -> Result<Suggestions, Failure> {
    let agenda = Agenda::of(state, request, now).map_err(WhenError::from)?;
    Ok(suggest(request, &agenda, now))
}

/// The zone of an environment's calendar.
pub(super) fn calendar_zone(state: &State, environment: &Name) -> Option<Zone> {
    Zone::find(&state.calendar(environment)?.declared.says().terms.zone).ok()
}

/// The words on a wall that give a window, where there are some: not for one that begins or ends in an hour
/// that comes twice.
pub(super) fn derivation(window: Window, zone: &Zone) -> Option<Derivation> {
    let start = When::civil(zone.civil(window.start));
    let end = format!("for {}", span::format(window.length()));
    let words = Span::parse(&start.to_string(), &end).ok()?;
    let same =
        words.window(cutover_shared::calendar::span::Reading::Permission, Some(zone), window.start);
    words.derivation(Some(zone)).filter(|_| same == Ok(window))
}

fn text(found: &Found) -> String {
    let zone = Zone::find(&found.zone).unwrap_or_else(|_| Zone::utc());
    let local = |time: Time| zone.civil(time).strftime("%a %Y-%m-%d %H:%M").to_string();
    let by = |name: &Option<Name>| name.as_ref().map(ToString::to_string).unwrap_or_default();
    let length = span::format(found.length);
    let mut lines = vec![format!("{}, for {length}:", found.environment)];
    let suggestions = &found.suggestions;
    if !suggestions.slots.is_empty() {
        let mut slots = table(["from", "until", &format!("in {}", found.zone), "window"]);
        for slot in &suggestions.slots {
            let (start, end) = (slot.window.start, slot.window.end);
            slots.add_row([start.to_string(), end.to_string(), local(start), by(&slot.offered_by)]);
        }
        lines.push(slots.to_string());
    }
    if let Some((refusal, until)) = &suggestions.blocked_by {
        let until = until.map(|until| format!(", until {until}")).unwrap_or_default();
        lines.push(format!("There is none: {refusal}{until}\nnext: {}", refusal.code.remedy()));
    }
    if !suggestions.refused.is_empty() {
        let mut refused = table(["not from", "until", "why", "over at"]);
        for it in suggestions.refused.iter().take(MAX_REFUSED_SHOWN) {
            refused.add_row([
                it.window.start.to_string(),
                it.window.end.to_string(),
                it.refusal.to_string(),
                it.blocked_until.map(|until| until.to_string()).unwrap_or_default(),
            ]);
        }
        lines.push(refused.to_string());
        let more = suggestions.refused.len().saturating_sub(MAX_REFUSED_SHOWN);
        if more > 0 {
            lines.push(format!("and {more} more; --json has them"));
        }
    }
    lines.join("\n")
}

/// Most refused times in a text.
const MAX_REFUSED_SHOWN: usize = 12;

#[cfg(test)]
mod tests {
    use cutover_shared::statement::Freeze;

    use super::super::names::parse;
    use super::super::names::scene::{Scene, minutes, name, names, time};
    use super::*;

    fn run(scene: &Scene, line: &str) -> Result<Vec<Found>, Failure> {
        found(&parse::<SuggestArgs>(line).unwrap(), &scene.state, scene.now)
    }

    #[test]
    fn the_length_is_what_the_hosts_need() {
        let mut scene = Scene::new();
        scene.submit("1.0");
        let all = run(&scene, "R-1 --count 1").unwrap();
        let told: Vec<_> = all.iter().map(|it| (it.environment.as_str(), it.length)).collect();
        // Five minutes for each host and two to go back.
        assert_eq!(told, [("production", minutes(17)), ("staging", minutes(12))]);
        let one = run(&scene, "R-1 --environment staging --for 1s").unwrap();
        assert_eq!(one[0].length, minutes(7), "never shorter than one host needs");
        assert_eq!(run(&scene, "R-1 --environment laboratory").unwrap_err().code(), 2);
        assert_eq!(run(&scene, "R-9").unwrap_err().code(), 5);
    }

    #[test]
    fn near_to_what_was_asked_for_and_round_freezes() {
        let mut scene = Scene::new();
        scene.submit("1.0");
        let frozen = Freeze::Declared {
            policy: names::policy_id(&scene.state).unwrap(),
            environments: names(["staging"]),
            applications: names([]),
            start: time("2026-03-04T00:00:00Z"),
            end: time("2026-03-04T12:00:00Z"),
            reason: "Elections.".to_owned(),
        };
        scene.say("max", frozen);
        let near = "--near 2026-03-04T06:00 --zone America/New_York";
        let all = run(&scene, &format!("R-1 --environment staging --for 1h {near}")).unwrap();
        assert_eq!(all[0].suggestions.slots[0].window.start, time("2026-03-04T12:00:00Z"));
        let shown = text(&all[0]);
        assert!(
            shown.contains("staging, for 1h") && shown.contains("2026-03-04T12:00:00Z"),
            "{shown}"
        );
        let none = run(&scene, "R-1 --environment staging --for 9h").unwrap();
        assert!(text(&none[0]).contains("There is none: window-too-long"));
        let gap = "R-1 --near 2026-03-08T02:30 --zone America/New_York";
        assert_eq!(run(&scene, gap).unwrap_err().code(), 2);
    }

    #[test]
    fn words_that_would_not_give_the_window_again_are_none() {
        let zone = Zone::find("America/New_York").unwrap();
        let window = |start: &str| Window { start: time(start), end: time(start) + minutes(30) };
        let told = derivation(window("2026-11-01T05:00:00Z"), &zone).unwrap();
        assert_eq!((told.start.as_str(), told.end.as_str()), ("2026-11-01T01:00:00", "for 30m"));
        assert_eq!(derivation(window("2026-11-01T06:00:00Z"), &zone), None, "01:00 once more");
        assert_eq!(name(told.zone.to_lowercase().rsplit('/').next().unwrap()).as_str(), "new_york");
    }
}
