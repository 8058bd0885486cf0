//! `kill -9` of the applier, the network half, and both, at every effect of the deployment machine, before it
//! and after it. The list of effects is the machine's own, so that a new one cannot be left out.
//!
//! Each point has one victim here, in turn; with `CUTOVER_KILLS=all` each has all three.

use anyhow::{Context as _, ensure};
use cutover_machine::Effect;
use cutover_shared::statement::Event;
use cutover_tests::harness::gate::{Ending, Gate};
use cutover_tests::harness::release::Made;

use super::{HOST, Theatre, Victim};

/// Who is killed at a point.
const VICTIMS: [Victim; 3] = [Victim::Applier, Victim::Network, Victim::Agent];

/// The ledger is written again and again: of the way forward it is so at least a dozen times.
const PERSISTS: [u32; 4] = [1, 4, 8, 12];

const HOOK: &str = "[hooks.pre-stop]\ncommand = \"hooks/pre-stop\"\ntimeout = \"10s\"\n";

/// A point and who is killed there.
#[derive(Debug, Clone, Copy)]
struct Case {
    effect: &'static str,
    side: &'static str,
    count: u32,
    victim: Victim,
}

fn cases() -> Vec<Case> {
    let all = std::env::var_os("CUTOVER_KILLS").is_some_and(|value| value == "all");
    let mut cases = Vec::new();
    for effect in Effect::NAMES {
        let counts: &[u32] = if *effect == "persist" { &PERSISTS } else { &[1] };
        for (side, count) in
            ["before", "after"].iter().flat_map(|it| counts.iter().map(move |n| (*it, *n)))
        {
            let turn = VICTIMS[cases.len() % VICTIMS.len()];
            let victims = if all { VICTIMS.to_vec() } else { vec![turn] };
            cases.extend(victims.into_iter().map(|victim| Case { effect, side, count, victim }));
        }
    }
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_every_effect() -> anyhow::Result<()> {
    let mut theatre = Theatre::open().await?;
    for (number, case) in cases().into_iter().enumerate() {
        let version = format!("2.{number}");
        let acted = act(&mut theatre, &version, case).await;
        let acted = match acted {
            Ok(()) => theatre.check().await,
            Err(error) => Err(error),
        };
        acted.with_context(|| format!("{case:?}: {}", theatre.stage.logs()))?;
        // What was looked at needs no second look.
        theatre.booked.clear();
    }
    Ok(())
}

/// One deployment, a kill in its midst, and its end.
async fn act(theatre: &mut Theatre, version: &str, case: Case) -> anyhow::Result<()> {
    let Case { effect, side, count, victim } = case;
    let mut point = Gate::new(&theatre.stage.desk.directory, &format!("point-{version}"))?;
    let gate = theatre.stage.desk.directory.join(format!("point-{version}"));
    let gate = gate.to_string_lossy().into_owned();
    let wanted = format!("{side}/{effect}/{count}");
    let host = theatre.stage.hosts.get_mut(HOST).context("the host")?;
    host.take_applier()?.kill()?;
    host.start_applier_with(&[("CUTOVER_FAULT_POINT", &wanted), ("CUTOVER_FAULT_GATE", &gate)])?;
    if effect == "settle" {
        return killed(theatre, &mut point, victim).await;
    }
    let mut hook = Gate::new(&theatre.stage.desk.directory, &format!("hook-{version}"))?;
    let waits = hook.script().to_owned();
    let scripts = [("pre-stop", if effect == "abort" { &*waits } else { "#!/bin/sh\n" })];
    let sick: &[&str] = if effect == "clean up" { &[HOST] } else { &[] };
    let made = Made { manifest: HOOK, hooks: &scripts, unhealthy_on: sick, ..Made::default() };
    let booked = theatre.book(version, &made)?;
    if effect == "abort" {
        hook.reached().await?;
        let host = theatre.stage.hosts.get(HOST).context("the host")?;
        // The applier is killed while it is at it, and this waits for its end in vain, or not.
        let mut operator = host.operator(&["return", "--reason", "no", "--yes", "--wait", "1m"])?;
        killed(theatre, &mut point, victim).await?;
        operator.wait()?;
    } else {
        killed(theatre, &mut point, victim).await?;
    }
    let outcome = theatre.stage.outcome(HOST, &booked.booking).await?;
    match outcome.event {
        Event::Committed => {
            ensure!(sick.is_empty() && effect != "abort", "committed all the same");
            version.clone_into(&mut theatre.version);
        }
        // Only the applier's own end is a reason to go back.
        Event::Returned { .. } => {
            ensure!(victim.has_applier() || !sick.is_empty() || effect == "abort", "{outcome:?}");
        }
        Event::RolledBack | Event::Refused { .. } | Event::Stuck { .. } | Event::Drifted { .. } => {
            anyhow::bail!("{outcome:?}");
        }
    }
    Ok(())
}

/// Waits until the point is reached, kills, and starts again who was killed.
async fn killed(theatre: &mut Theatre, point: &mut Gate, victim: Victim) -> anyhow::Result<()> {
    point.reached().await?;
    theatre.kill(victim)?;
    if !victim.has_applier() {
        point.end(Ending::Well).await?;
    }
    theatre.restart(victim).await
}
