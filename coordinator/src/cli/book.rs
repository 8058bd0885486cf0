//! `cutover book`: a window, hosts, and the order in which they go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::{Args, ValueEnum};
use cutover_shared::calendar::zone::Zone;
use cutover_shared::case::Case;
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::rollout::waves::{self, Candidate, WaveError, WaveSpec};
use cutover_shared::statement::{
    Booking, Derivation, OnHalt, PlannedHost, RolloutPlan, Statement, Wave,
};
use cutover_shared::time::{Time, span};
use cutover_shared::window::Window;

use super::context::Context;
use super::exit::Failure;
use super::when::SpanArgs;
use super::{names, suggest};

/// Book a window for a release in an environment, as a change manager
///
/// Without --wave the first host by name is the canary, and the others are the second wave.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("start", |start| start.required(false).required_unless_present("suggest")),
    mut_arg("length", |length| length.required_unless_present_any(["until", "suggest"])),
    after_help = "Examples:\n  cutover book R-7 --environment staging --start now --for 30m\n  cutover book R-7 --environment production --suggest\n  cutover book R-7 --environment production --start 2026-03-07T22:00 --until 02:00 --zone America/New_York --wave canary=web-1 --wave rest=web-2,web-3 --at-once 2 --healthy-for 10m\n  cutover book R-7 --environment production --start now --for 2h --wave canary=1 --wave some=25% --wave rest=rest --on-halt return-all"
)]
pub struct BookArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// Where
    #[arg(long, value_name = "ENVIRONMENT")]
    pub environment: Name,
    /// When.
    #[command(flatten)]
    pub span: SpanArgs,
    /// Take the best window that `cutover suggest` finds, of the length --for, in the place of --start
    #[arg(long, conflicts_with_all = ["start", "until", "zone"])]
    pub suggest: bool,
    /// A wave and its hosts; once for each wave, in order, the first is the canary. Instead of hosts: a number
    /// of them, a percentage (`25%`), `label:KEY=VALUE`, or `rest`; each takes from what is left, by name
    #[arg(long = "wave", value_name = "NAME=HOST,HOST…")]
    pub waves: Vec<WaveSpec>,
    /// How many hosts may be under way at once
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub at_once: u32,
    /// How long a wave must have been committed before the next one starts
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = span::parse)]
    pub healthy_for: Duration,
    /// So many failures halt the rollout
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub halt_after: u32,
    /// What a halt does with the hosts that have the release: they keep it, or, once two have failed, go back
    #[arg(long, value_enum, default_value_t = HaltArg::Pause)]
    pub on_halt: HaltArg,
    /// Most hosts that a halt takes back; without it all of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub return_budget: Option<u32>,
}

/// What a halt does, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HaltArg {
    /// People decide
    Pause,
    /// All go back
    ReturnAll,
}

/// Carries the command out.
pub async fn run(context: &Context, args: &BookArgs) -> Result<(), Failure> {
    let zone = args.span.find_zone()?;
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let case = names::release(&synced.state, &args.release)?;
    let made = booking(args, zone.as_ref(), &synced.state, context.now())?;
    let left_out = left_out(&synced.state, &made);
    if !left_out.is_empty() {
        context.sink().note(format!("not in the plan: {}", join(&left_out)));
    }
    let window = format!("{} to {}", made.window.start, made.window.end);
    let more = [("release", names::number(case).into()), ("window", window.into())];
    let statement = Statement::new(context.now(), made);
    client.sign_and_append(context, &statement, &more).await?;
    Ok(())
}

/// What is booked.
pub(super) fn booking(
    args: &BookArgs,
    zone: Option<&Zone>,
    state: &State,
    now: Time,
) -> Result<Booking, Failure> {
    let case = names::release(state, &args.release)?;
    names::environments(case, std::slice::from_ref(&args.environment))?;
    let release = case.release.says();
    let waves = waves(args, case, state)?;
    let hosts = waves.iter().map(|wave| wave.hosts.len()).sum();
    let plan = RolloutPlan {
        on_halt: on_halt(args, case, hosts)?,
        waves,
        at_once: args.at_once,
        healthy_for: args.healthy_for,
        halt_after: args.halt_after,
    };
    if let Some(fault) = plan.fault() {
        return Err(Failure::usage(fault));
    }
    let (window, derivation) = if args.suggest {
        suggested(args, case, &plan, state, now)?
    } else {
        (args.span.permission(zone, now)?, args.span.derivation(zone))
    };
    let needed = case.budget().whole();
    if window.length() < needed {
        return Err(Failure::usage(format!(
            "the window is {} long, and {} needs {}: to apply it and, if need be, to go back",
            span::format(window.length()),
            case.name(),
            span::format(needed)
        )));
    }
    Ok(Booking {
        release: case.release.id(),
        package: release.package,
        application: release.application.clone(),
        environment: args.environment.clone(),
        window,
        derivation,
        plan,
    })
}

/// The best window for a plan, and the words for it on the wall of the environment's calendar.
fn suggested(
    args: &BookArgs,
    case: &Case,
    plan: &RolloutPlan,
    state: &State,
    now: Time,
) -> Result<(Window, Option<Derivation>), Failure> {
    let request = suggest::request(case, &args.environment, plan, args.span.length);
    let found = suggest::search(state, &request, now)?;
    match (found.slots.first(), found.blocked_by) {
        (Some(slot), _) => {
            let zone = suggest::calendar_zone(state, &args.environment);
            let derivation = zone.and_then(|zone| suggest::derivation(slot.window, &zone));
            Ok((slot.window, derivation))
        }
        (None, Some((refusal, _))) => Err(refusal.into()),
        (None, None) => Err(Failure::not_found("a window: `cutover suggest` says why")),
    }
}

/// The plan of a booking that names no wave: the first host by name, then the others, one after the other.
pub(super) fn default_plan(
    case: &Case,
    state: &State,
    environment: &Name,
) -> Result<RolloutPlan, Failure> {
    Ok(RolloutPlan {
        waves: default_waves(case, state, environment)?,
        at_once: 1,
        healthy_for: Duration::ZERO,
        halt_after: 1,
        on_halt: OnHalt::Pause,
    })
}

fn default_waves(case: &Case, state: &State, environment: &Name) -> Result<Vec<Wave>, Failure> {
    let application = &case.release.says().application;
    let mut hosts = hosts_of(state, environment, application).into_values().map(|it| it.planned);
    let Some(first) = hosts.next() else {
        return Err(Failure::not_found(format!(
            "a host of {environment} that is enrolled for {application}"
        )));
    };
    let wave =
        |name: &str, hosts| Wave { name: name.parse().expect("canary and rest are names"), hosts };
    let mut waves = vec![wave("canary", vec![first]), wave("rest", hosts.collect())];
    waves.retain(|wave| !wave.hosts.is_empty());
    Ok(waves)
}

fn on_halt(args: &BookArgs, case: &Case, hosts: usize) -> Result<OnHalt, Failure> {
    match (args.on_halt, args.return_budget) {
        (HaltArg::Pause, None) => Ok(OnHalt::Pause),
        (HaltArg::Pause, Some(_)) => {
            Err(Failure::usage("--return-budget is for --on-halt return-all"))
        }
        (HaltArg::ReturnAll, _) if case.release.says().irreversible => {
            Err(Failure::usage(format!("{} cannot be taken back: let a halt pause", case.name())))
        }
        (HaltArg::ReturnAll, budget) => {
            let all = u32::try_from(hosts).unwrap_or(u32::MAX);
            Ok(OnHalt::ReturnAll { budget: budget.unwrap_or(all) })
        }
    }
}

/// The hosts of an environment that are enrolled for an application, by name.
fn hosts_of(state: &State, environment: &Name, application: &Name) -> BTreeMap<Name, Candidate> {
    let here = state.hosts().map(|(_, host)| host).filter(|host| {
        let says = host.enrolment.says();
        host.retired.is_none()
            && says.environment == *environment
            && says.applications.contains(application)
    });
    here.map(|host| {
        let says = host.enrolment.says();
        let planned = PlannedHost { host: says.host.clone(), host_key: says.host_key.id() };
        (says.host.clone(), Candidate { planned, labels: says.labels.clone() })
    })
    .collect()
}

fn waves(args: &BookArgs, case: &Case, state: &State) -> Result<Vec<Wave>, Failure> {
    if args.waves.is_empty() {
        return default_waves(case, state, &args.environment);
    }
    let application = &case.release.says().application;
    let hosts = hosts_of(state, &args.environment, application);
    waves::expand(&args.waves, &hosts).map_err(|error| match error {
        WaveError::NoSuchHost { .. } => Failure::not_found(format!(
            "{error}, of {} and enrolled for {application}",
            args.environment
        )),
        WaveError::Twice { .. } | WaveError::TooFew { .. } | WaveError::Empty { .. } => {
            Failure::usage(error.to_string())
        }
    })
}

/// The hosts that could have been in the plan and are not.
fn left_out(state: &State, booking: &Booking) -> BTreeSet<Name> {
    let mut hosts = hosts_of(state, &booking.environment, &booking.application);
    for planned in booking.plan.hosts() {
        hosts.remove(&planned.host);
    }
    hosts.into_keys().collect()
}

fn join<'n>(names: impl IntoIterator<Item = &'n Name>) -> String {
    names.into_iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::names::parse;
    use super::super::names::scene::{Scene, minutes, name, names, time};
    use super::*;

    fn made(scene: &Scene, line: &str) -> Result<Booking, Failure> {
        let args = parse::<BookArgs>(line).unwrap();
        booking(&args, None, &scene.state, scene.now)
    }

    fn wave_names(booking: &Booking) -> Vec<(String, Vec<String>)> {
        let hosts = |wave: &Wave| wave.hosts.iter().map(|it| it.host.to_string()).collect();
        booking.plan.waves.iter().map(|wave| (wave.name.to_string(), hosts(wave))).collect()
    }

    fn told(waves: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        let text = |hosts: &[&str]| hosts.iter().map(|it| (*it).to_owned()).collect();
        waves.iter().map(|(name, hosts)| ((*name).to_owned(), text(hosts))).collect()
    }

    #[test]
    fn the_first_host_is_the_canary_unless_waves_are_named() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let line = "R-1 --environment production --start +10m --for 1h";
        let booking = made(&scene, line).unwrap();
        assert_eq!(booking.release, release);
        assert_eq!(booking.window.start, scene.now + minutes(10));
        assert_eq!(booking.window.end, scene.now + minutes(70));
        assert_eq!(
            wave_names(&booking),
            told(&[("canary", &["web-1"]), ("rest", &["web-2", "web-3"])])
        );
        assert!(left_out(&scene.state, &booking).is_empty());
        scene.say("max", booking);

        let line = format!("{line} --wave one=web-3 --wave two=web-1 --at-once 2 --halt-after 3");
        let booking = made(&scene, &line).unwrap();
        assert_eq!(wave_names(&booking), told(&[("one", &["web-3"]), ("two", &["web-1"])]));
        assert_eq!(left_out(&scene.state, &booking), names(["web-2"]));
        assert_eq!((booking.plan.at_once, booking.plan.halt_after), (2, 3));
    }

    #[test]
    fn a_suggested_window_is_the_best_one() {
        let mut scene = Scene::new();
        let other = scene.submit("1.0");
        scene.submit("1.1");
        // Staging has 1.0 from 10:10 to 11:10.
        scene.book(other, "staging", &[&["stage-1"]]);
        let line = "R-2 --environment staging --suggest --for 30m";
        let booking = made(&scene, line).unwrap();
        assert_eq!(booking.window.start, time("2026-03-02T11:10:00Z"));
        assert_eq!(booking.window.length(), minutes(30));
        let booking = made(&scene, "R-2 --environment staging --suggest").unwrap();
        assert_eq!(booking.window.length(), minutes(12), "two hosts and the way back");
        let refused = made(&scene, &line.replace("30m", "9h")).unwrap_err();
        assert_eq!(refused.code(), 3, "{}", refused.text());
        for wrong in ["--start now", "--until 10:00", "--zone UTC"] {
            assert!(parse::<BookArgs>(&format!("{line} {wrong}")).is_err(), "{wrong}");
        }
        assert!(parse::<BookArgs>("R-2 --environment staging --for 1h").is_err(), "no start");
    }

    #[test]
    fn only_hosts_of_the_environment_and_each_once() {
        let mut scene = Scene::new();
        scene.submit("1.0");
        let production = "R-1 --environment production --start now --for 1h";
        for (line, code) in [
            (format!("{production} --wave a=stage-1"), 5),
            (format!("{production} --wave a=web-1 --wave b=web-1"), 2),
            ("R-1 --environment laboratory --start now --for 1h".to_owned(), 2),
            ("R-1 --environment production --start now --for 6m".to_owned(), 2),
            ("R-1 --environment production --start 2026-03-09T02:00 --for 1h".to_owned(), 2),
            ("R-2 --environment production --start now --for 1h".to_owned(), 5),
        ] {
            assert_eq!(made(&scene, &line).unwrap_err().code(), code, "{line}");
        }
        for wrong in ["--wave a", "--wave a=", "--wave =web-1", "--at-once 0"] {
            assert!(parse::<BookArgs>(&format!("{production} {wrong}")).is_err(), "{wrong}");
        }
        assert!(parse::<BookArgs>("R-1 --environment production --start now").is_err());
    }

    #[test]
    fn waves_by_number_share_and_label_and_what_a_halt_does() {
        let mut scene = Scene::new();
        scene.submit("1.0");
        let line = "R-1 --environment production --start now --for 1h";
        let counted = format!("{line} --wave canary=1 --wave half=34% --on-halt return-all");
        let booking = made(&scene, &counted).unwrap();
        let waves = told(&[("canary", &["web-1"]), ("half", &["web-2", "web-3"])]);
        assert_eq!(wave_names(&booking), waves);
        assert_eq!(booking.plan.on_halt, OnHalt::ReturnAll { budget: 3 });
        let budget = made(&scene, &format!("{counted} --return-budget 5")).unwrap();
        assert_eq!(budget.plan.on_halt, OnHalt::ReturnAll { budget: 5 });
        for (wrong, code) in [
            ("--return-budget 5", 2),
            ("--wave a=4", 2),
            ("--wave a=label:rack=z", 2),
            ("--wave a=rest --wave b=rest", 2),
            ("--wave a=web-9", 5),
        ] {
            assert_eq!(
                made(&scene, &format!("{line} {wrong}")).unwrap_err().code(),
                code,
                "{wrong}"
            );
        }
    }

    #[test]
    fn one_host_is_a_canary_without_a_rest() {
        let mut scene = Scene::new();
        let mut release = Scene::release("1.0", &["staging"]);
        release.application = name("desk");
        let release = scene.say("sam", release);
        let line =
            "R-1 --environment staging --start 2026-03-02T11:00:00Z --until 2026-03-02T12:00:00Z";
        assert_eq!(made(&scene, line).unwrap_err().code(), 5, "nobody is enrolled for the desk");
        let release = scene.state.case(&release).unwrap().release.id();
        assert_eq!(names::release(&scene.state, "R-1").unwrap().release.id(), release);
        scene.submit("1.1");
        let booking = made(&scene, &line.replace("R-1", "R-2")).unwrap();
        assert_eq!(booking.window.start, time("2026-03-02T11:00:00Z"));
    }
}
