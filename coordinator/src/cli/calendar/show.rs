//! `cutover calendar show`.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use cutover_shared::calendar::agenda::{offered, standing_bookings};
use cutover_shared::calendar::lint::{self, Left};
use cutover_shared::calendar::span::WhenError;
use cutover_shared::calendar::zone::{Zone, database_version};
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::statement::{Freeze, Terms};
use cutover_shared::time::{Time, span};
use cutover_shared::window::Window;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Failure;
use super::super::names;
use super::super::output::table;
use super::super::suggest::calendar_zone;
use super::written;

/// `cutover calendar show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// One environment only
    #[arg(value_name = "ENVIRONMENT", required_if_eq("terms", "true"))]
    pub environment: Option<Name>,
    /// How many days to look ahead
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=366))]
    pub days: u32,
    /// The terms in force, as the file that `calendar set` reads
    #[arg(long)]
    pub terms: bool,
}

/// What is on in one environment.
#[derive(Debug, Serialize)]
struct Shown {
    environment: Name,
    /// The `calendar` statement in force.
    calendar: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<Terms>,
    tzdb: &'static str,
    /// By start.
    entries: Vec<Entry>,
    left: Left,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Entry {
    start: Time,
    end: Time,
    kind: &'static str,
    what: String,
    id: Option<String>,
}

/// Carries the command out.
pub(super) async fn run(context: &Context, args: &ShowArgs) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let (state, now) = (&synced.state, context.now());
    if let (true, Some(environment)) = (args.terms, &args.environment) {
        let Some(calendar) = state.calendar(environment) else {
            return Err(Failure::not_found(format!("a calendar of {environment}")));
        };
        return context.sink().bytes(written(&calendar.declared.says().terms)?.as_bytes());
    }
    let shown = shown(args, state, now)?;
    context.sink().result(&shown, |shown| {
        let texts: Vec<_> = shown.iter().map(|it| text(it, state)).collect();
        if texts.is_empty() {
            "No environment has a rule yet.".to_owned()
        } else {
            texts.join("\n\n")
        }
    })
}

fn shown(args: &ShowArgs, state: &State, now: Time) -> Result<Vec<Shown>, Failure> {
    let known = state.policy().into_iter().flat_map(|policy| &policy.document().rules);
    let mut environments: BTreeSet<_> = known.map(|rule| rule.environment.clone()).collect();
    if let Some(one) = &args.environment {
        environments.retain(|it| it == one);
        if environments.is_empty() {
            return Err(Failure::not_found(format!("an environment {one} in the policy")));
        }
    }
    let stretch = Window { start: now, end: now + Duration::from_hours(24 * u64::from(args.days)) };
    let shown = environments.into_iter().map(|environment| {
        let calendar = state.calendar(&environment).map(|it| &it.declared);
        Ok(Shown {
            calendar: calendar.map(|it| it.id().to_string()),
            terms: calendar.map(|it| it.says().terms.clone()),
            tzdb: database_version(),
            entries: entries(state, &environment, stretch)?,
            left: lint::left_in(state, &environment, &[], now),
            environment,
        })
    });
    shown.collect()
}

fn entries(state: &State, environment: &Name, stretch: Window) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    if let Some(calendar) = state.calendar(environment) {
        let offered = offered(calendar.declared.says(), stretch).map_err(WhenError::from)?;
        entries.extend(offered.into_iter().flatten().map(|it| Entry {
            start: it.window.start,
            end: it.window.end,
            kind: "window",
            what: it.name.to_string(),
            id: None,
        }));
    }
    for record in state.freezes().filter(|it| it.lifted.is_none()) {
        let Freeze::Declared { environments, applications, start, end, reason, .. } =
            record.declared.says()
        else {
            continue;
        };
        if environments.contains(environment)
            && stretch.overlaps(&Window { start: *start, end: *end })
        {
            let only: Vec<_> = applications.iter().map(Name::as_str).collect();
            let only = if only.is_empty() {
                String::new()
            } else {
                format!(" ({} only)", only.join(", "))
            };
            entries.push(Entry {
                start: *start,
                end: *end,
                kind: "freeze",
                what: format!("{reason}{only}"),
                id: Some(record.declared.id().to_string()),
            });
        }
    }
    for booking in standing_bookings(state, stretch.start) {
        let says = booking.booking.says();
        let case = state.case(&says.release);
        if says.environment == *environment && says.window.overlaps(&stretch) {
            entries.push(Entry {
                start: says.window.start,
                end: says.window.end,
                kind: "booking",
                what: format!(
                    "{} {}",
                    case.map(names::number).unwrap_or_default(),
                    says.application
                ),
                id: Some(booking.booking.id().to_string()),
            });
        }
    }
    entries.sort();
    Ok(entries)
}

fn text(shown: &Shown, state: &State) -> String {
    let zone = calendar_zone(state, &shown.environment).unwrap_or_else(Zone::utc);
    let mut lines = vec![match &shown.terms {
        None => format!("{}: no calendar, any time is offered", shown.environment),
        Some(terms) => {
            let capacity =
                terms.capacity_per_day.map_or("any number".to_owned(), |it| it.to_string());
            let notice = span::format(terms.notice);
            let id = shown.calendar.as_deref().unwrap_or_default();
            format!(
                "{}: calendar {}, notice {notice}, {capacity} a day of {} (tz {})",
                shown.environment,
                id.get(..12).unwrap_or(id),
                terms.zone,
                shown.tzdb
            )
        }
    }];
    lines.push(format!("what no freeze covers: {}", shown.left));
    if shown.entries.is_empty() {
        lines.push("Nothing is on.".to_owned());
        return lines.join("\n");
    }
    let mut table = table(["", "from", "until", &format!("in {}", zone.name()), "what", ""]);
    for it in &shown.entries {
        let local = zone.civil(it.start).strftime("%a %Y-%m-%d %H:%M").to_string();
        let id = it.id.as_deref().unwrap_or_default();
        table.add_row([
            it.kind.to_owned(),
            it.start.to_string(),
            it.end.to_string(),
            local,
            it.what.clone(),
            id.get(..12).unwrap_or(id).to_owned(),
        ]);
    }
    lines.push(table.to_string());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::super::names::parse;
    use super::super::super::names::scene::{Scene, minutes, names as set};
    use super::*;

    #[test]
    fn freezes_and_bookings_are_on() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        scene.book(release, "staging", &[&["stage-1"]]);
        let frozen = Freeze::Declared {
            policy: names::policy_id(&scene.state).unwrap(),
            environments: set(["staging"]),
            applications: set([]),
            start: scene.now,
            end: scene.now + minutes(20 * 24 * 60),
            reason: "Audit.".to_owned(),
        };
        scene.say("max", frozen);
        let args = parse::<ShowArgs>("staging").unwrap();
        let shown = shown(&args, &scene.state, scene.now).unwrap();
        let kinds: Vec<_> = shown[0].entries.iter().map(|it| (it.kind, it.what.as_str())).collect();
        assert_eq!(kinds, [("freeze", "Audit."), ("booking", "R-1 shop")]);
        let told = text(&shown[0], &scene.state);
        assert!(told.contains("leaves 240 h of 720 h in the next 30 days"), "{told}");
        let nowhere = parse::<ShowArgs>("laboratory").unwrap();
        assert_eq!(super::shown(&nowhere, &scene.state, scene.now).unwrap_err().code(), 5);
        assert!(parse::<ShowArgs>("--terms").is_err(), "the terms of one environment");
    }
}
