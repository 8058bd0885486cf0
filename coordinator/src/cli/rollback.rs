//! `cutover rollback`: hosts go back to the release before, by order.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use cutover_shared::digest::Digest;
use cutover_shared::fold::{HostRecord, Installed, State};
use cutover_shared::name::Name;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{HostTurn, Rollback, Statement};
use cutover_shared::time::{Time, span};

use super::context::Context;
use super::exit::Failure;
use super::names;

/// Order hosts back to the release before, as a change manager
///
/// The order names each host's generation, so that it can be carried out once and never again. Without
/// --host it is for every host of the environment that runs the newest release of the application.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  cutover rollback --application shop --environment production --reason 'Orders get lost.'\n  cutover rollback --application shop --environment production --host web-1 --host web-2 --reason 'Slow there.' --for 30m"
)]
pub struct RollbackArgs {
    /// The application
    #[arg(long, value_name = "APPLICATION")]
    pub application: Name,
    /// The environment
    #[arg(long, value_name = "ENVIRONMENT")]
    pub environment: Name,
    /// This host only; several times for several
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// How long the order is good: a host that cannot begin until then does not
    #[arg(long = "for", value_name = "DURATION", value_parser = span::parse, default_value = "10m")]
    pub good_for: Duration,
}

/// Carries the command out.
pub async fn run(context: &Context, args: &RollbackArgs) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let statement = statement(args, &synced.state, context.now())?;
    client.sign_and_append(context, &statement, &[]).await?;
    Ok(())
}

/// A host that runs something of the application.
struct Running<'s> {
    host: &'s HostRecord,
    installed: &'s Installed,
    from: Digest,
}

fn statement(args: &RollbackArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let chosen = chosen(args, state)?;
    let mut ways = BTreeSet::new();
    for it in &chosen {
        let to = it.installed.previous.ok_or_else(|| {
            Failure::usage(format!("{} has no release to go back to", name_of(it)))
        })?;
        ways.insert((it.from, to));
    }
    let mut ways = ways.into_iter();
    let (Some((from, to)), None) = (ways.next(), ways.next()) else {
        let told = chosen.iter().map(|it| {
            let to = it.installed.previous.as_ref().map(|to| version(state, to));
            let from = version(state, &it.from);
            format!("{} from {from} to {}", name_of(it), to.unwrap_or_default())
        });
        return Err(Failure::usage(format!(
            "these hosts do not go the same way; say with --host which go first: {}",
            told.collect::<Vec<_>>().join(", ")
        )));
    };
    if let Some(denial) = state.denial(&to) {
        let (version, denial) = (version(state, &to), denial.short());
        let facts = format!("security denied {version}, the release before ({denial})");
        return Err(Refusal::new(Code::Denied, facts).into());
    }
    let turn = |it: &Running<'_>| HostTurn {
        host: name_of(it).clone(),
        host_key: it.host.enrolment.says().host_key.id(),
        generation: it.installed.generation,
    };
    let mut hosts: Vec<_> = chosen.iter().map(turn).collect();
    hosts.sort_by(|one, other| one.host.cmp(&other.host));
    let rollback = Rollback {
        application: args.application.clone(),
        environment: args.environment.clone(),
        hosts,
        from,
        to,
        reason: args.reason.clone(),
    };
    Ok(Statement::new(now, rollback).until(now + args.good_for))
}

fn name_of<'s>(running: &Running<'s>) -> &'s Name {
    &running.host.enrolment.says().host
}

fn chosen<'s>(args: &RollbackArgs, state: &'s State) -> Result<Vec<Running<'s>>, Failure> {
    let running = |host: &'s HostRecord| {
        let installed = host.installed.get(&args.application)?;
        Some(Running { host, installed, from: installed.package? })
    };
    if args.hosts.is_empty() {
        let here = state.hosts().map(|(_, host)| host).filter(|host| {
            host.retired.is_none() && host.enrolment.says().environment == args.environment
        });
        let mut all: Vec<_> = here.filter_map(running).collect();
        let newest = state
            .cases()
            .rev()
            .map(|case| case.release.says().package)
            .find(|package| all.iter().any(|it| it.from == *package));
        all.retain(|it| Some(it.from) == newest);
        if all.is_empty() {
            return Err(Failure::not_found(format!(
                "a host of {} that runs {}",
                args.environment, args.application
            )));
        }
        return Ok(all);
    }
    let mut chosen: Vec<Running<'s>> = Vec::new();
    for text in &args.hosts {
        let host = names::host(state, text)?;
        let says = host.enrolment.says();
        if says.environment != args.environment {
            return Err(Failure::usage(format!("{} is in {}", says.host, says.environment)));
        }
        let none = || {
            Failure::not_found(format!(
                "{} on {}: nothing of it runs there",
                args.application, says.host
            ))
        };
        if !chosen.iter().any(|it| *name_of(it) == says.host) {
            chosen.push(running(host).ok_or_else(none)?);
        }
    }
    Ok(chosen)
}

/// What people call a package.
fn version(state: &State, package: &Digest) -> String {
    let case = state.cases().rev().find(|case| case.release.says().package == *package);
    match case {
        Some(case) => format!("{} ({})", case.release.says().version, case.name()),
        None => package.short(),
    }
}

#[cfg(test)]
mod tests {
    use cutover_shared::statement::{Event, Says};

    use super::super::names::parse;
    use super::super::names::scene::{Scene, key, minutes, name, no};
    use super::*;

    const WEB: [&str; 3] = ["web-1", "web-2", "web-3"];

    /// 1.0 on all three, 1.1 on the first two.
    fn scene() -> (Scene, Digest, Digest) {
        let mut scene = Scene::new();
        let (old, new) = (scene.submit("1.0"), scene.submit("1.1"));
        scene.deploy(old, "production", &WEB);
        scene.deploy(new, "production", &WEB[..2]);
        let package = |release: &Digest| scene.state.case(release).unwrap().release.says().package;
        let (old, new) = (package(&old), package(&new));
        (scene, old, new)
    }

    fn made(scene: &Scene, line: &str) -> Result<Statement, Failure> {
        let base = "--application shop --reason slow";
        let args = parse::<RollbackArgs>(&format!("{base} {line}")).unwrap();
        statement(&args, &scene.state, scene.now)
    }

    fn rollback(statement: &Statement) -> &Rollback {
        let Says::Rollback(it) = &statement.says else { panic!("it is another statement") };
        it
    }

    #[test]
    fn every_host_on_the_newest_goes_back_one() {
        let (mut scene, old, new) = scene();
        let made = made(&scene, "--environment production").unwrap();
        let says = rollback(&made);
        assert_eq!((says.from, says.to), (new, old));
        let turn = |host: &str| HostTurn {
            host: name(host),
            host_key: key(host).public().id(),
            generation: 2,
        };
        assert_eq!(says.hosts, [turn("web-1"), turn("web-2")]);
        assert_eq!(made.header.not_after, Some(scene.now + minutes(10)));
        let order = scene.add("max", &made);
        scene.report("web-1", order, Event::RolledBack);
    }

    #[test]
    fn hosts_that_go_different_ways_are_named() {
        let (scene, ..) = scene();
        let line = "--environment production --host web-1 --host web-3";
        let failure = made(&scene, line).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.text().contains("web-3 has no release"), "{}", failure.text());
        let one =
            made(&scene, "--environment production --host web-2 --host web-2 --for 1h").unwrap();
        assert_eq!(rollback(&one).hosts.len(), 1);
        assert_eq!(one.header.not_after, Some(scene.now + minutes(60)));
    }

    #[test]
    fn nobody_goes_back_twice() {
        let (mut scene, old, new) = scene();
        let order = scene.roll_back("production", &["web-1"], new, old);
        scene.report("web-1", order, Event::RolledBack);
        let failure = made(&scene, "--environment production --host web-1").unwrap_err();
        assert!(failure.text().contains("no release to go back to"), "{}", failure.text());
        let newest = made(&scene, "--environment production").unwrap();
        assert_eq!(rollback(&newest).hosts.len(), 1, "web-2 is left");
    }

    #[test]
    fn two_ways_are_two_statements() {
        let (mut scene, ..) = scene();
        let next = scene.submit("1.2");
        scene.deploy(next, "production", &["web-3"]);
        let failure =
            made(&scene, "--environment production --host web-1 --host web-3").unwrap_err();
        let text = failure.text();
        for part in ["web-1 from 1.1 (R-2) to 1.0 (R-1)", "web-3 from 1.2 (R-3) to 1.0 (R-1)"] {
            assert!(text.contains(part), "{text}");
        }
        let newest = made(&scene, "--environment production").unwrap();
        assert_eq!(rollback(&newest).hosts.len(), 1, "only web-3 runs the newest");
    }

    #[test]
    fn never_to_what_was_denied_and_never_from_nothing() {
        let (mut scene, ..) = scene();
        assert_eq!(made(&scene, "--environment staging").unwrap_err().code(), 5);
        assert_eq!(made(&scene, "--environment staging --host web-1").unwrap_err().code(), 2);
        assert_eq!(made(&scene, "--environment staging --host stage-1").unwrap_err().code(), 5);
        let release = names::release(&scene.state, "R-1").unwrap().release.id();
        scene.assess(release, no("It leaks."));
        let failure = made(&scene, "--environment production").unwrap_err();
        assert!(matches!(failure, Failure::Refused(it) if it.code == Code::Denied));
    }
}
