//! A world for the machine: what the tests feed it and how they drive it.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_machine::*;
use cutover_shared::digest::Digest;
use cutover_shared::time::Time;

pub(crate) const WINDOW: Duration = Duration::from_hours(1);
pub(crate) const BUDGET: Duration = Duration::from_mins(10);
pub(crate) const RESERVE: Duration = Duration::from_mins(5);

pub(crate) fn start() -> Time {
    "2026-03-08T06:00:00Z".parse().unwrap()
}

/// `seconds` into the window, on both clocks.
pub(crate) fn at(seconds: u64) -> Now {
    let since = Duration::from_secs(seconds);
    Now { wall: start() + since, monotonic: Duration::from_secs(1000) + since }
}

pub(crate) fn health() -> HealthPolicy {
    HealthPolicy {
        start_grace: Duration::from_secs(2),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        successes: 2,
        deadline: Duration::from_secs(30),
        bake: Duration::from_secs(10),
        bake_tolerance: 1,
    }
}

pub(crate) fn all_hooks() -> Hooks {
    let all = BTreeSet::from([
        HookPhase::PreStop,
        HookPhase::Stop,
        HookPhase::Activate,
        HookPhase::Start,
        HookPhase::PostStart,
    ]);
    Hooks { forward: all.clone(), undo: all }
}

pub(crate) fn order(generation: u64) -> Assignment {
    let name = |what: &str| Digest::of(format!("{what} {generation}").as_bytes());
    Assignment {
        application: "shop".to_owned(),
        generation,
        package: name("package"),
        release: name("release"),
        booking: name("booking"),
        kind: Kind::Forward,
        window_start: start(),
        window_end: start() + WINDOW,
        apply_budget: BUDGET,
        rollback_reserve: RESERVE,
        hooks: Hooks::default(),
        health: health(),
        reversibility: Reversibility::Reversible,
    }
}

pub(crate) fn sample(healthy: bool, now: Now) -> Sample {
    let reading = Reading {
        check: "http".to_owned(),
        healthy,
        detail: if healthy { "200" } else { "503" }.to_owned(),
        took: Duration::from_millis(3),
    };
    Sample { at: now.wall, readings: vec![reading] }
}

/// What the world was left with by the effects that were carried out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct World {
    /// What the ledger holds.
    pub(crate) ledger: Option<Record>,
    pub(crate) outcomes: Vec<Outcome>,
    /// What the link names.
    pub(crate) link: Option<Slot>,
    pub(crate) running: bool,
    /// Slots that are whole.
    pub(crate) whole: BTreeSet<u64>,
    /// Hooks that were done and not undone.
    pub(crate) hooks: Vec<HookPhase>,
    pub(crate) log: Vec<String>,
}

impl World {
    /// Carries out `effect` (but for `Persist` and what is answered otherwise, all of it).
    pub(crate) fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::Persist { record, outcome } => {
                self.ledger = Some((**record).clone());
                if let Some(outcome) = outcome {
                    self.outcomes.retain(|it| it.generation != outcome.generation);
                    self.outcomes.push((**outcome).clone());
                }
                self.log.push(format!("persist {}", record.state.phase()));
            }
            Effect::RequestClearance { phase } => self.log.push(format!("clear {phase:?}")),
            Effect::Assemble { assignment } => {
                self.whole.insert(assignment.generation);
                self.log.push("assemble".to_owned());
            }
            Effect::Preflight { .. } => self.log.push("preflight".to_owned()),
            Effect::Hook { phase, direction, .. } => {
                match direction {
                    Direction::Forward => self.hooks.push(*phase),
                    Direction::Undo => self.hooks.retain(|done| done != phase),
                }
                self.log.push(format!("{direction:?} {phase:?}"));
            }
            Effect::Stop => {
                self.running = false;
                self.log.push("stop".to_owned());
            }
            Effect::Switch { to } => {
                self.link = *to;
                let name = to.map_or("nothing".to_owned(), |slot| slot.generation.to_string());
                self.log.push(format!("switch to {name}"));
            }
            Effect::Start { slot } => {
                assert_eq!(self.link, Some(*slot), "what is started is what the link names");
                self.running = true;
                self.log.push(format!("start {}", slot.generation));
            }
            Effect::Check { slot, .. } => {
                assert_eq!(self.link, Some(*slot), "what is checked is what the link names");
                self.log.push("check".to_owned());
            }
            Effect::CleanUp { slot } => {
                assert_ne!(self.link, Some(*slot), "what the link names is not removed");
                self.whole.remove(&slot.generation);
                self.log.push("clean up".to_owned());
            }
            Effect::Abort { .. } => self.log.push("abort".to_owned()),
            Effect::Settle { slot } => {
                self.link = *slot;
                self.running = slot.is_some();
                self.log.push("settle".to_owned());
            }
        }
    }
}

/// Whether the machine is at an end.
pub(crate) fn ended(machine: &Machine) -> bool {
    matches!(machine.phase(), Phase::Idle | Phase::Committed | Phase::Returned | Phase::Stuck)
}

/// Carries out everything, well and at once, until the machine rests; returns the end of time.
pub(crate) fn run(machine: &mut Machine, world: &mut World, now: Now) -> Now {
    run_until(machine, world, now, |_| false).0
}

/// As [`run`], but stops when `stop` says so of an effect that was just handed out, and gives that; it was
/// neither carried out nor answered.
pub(crate) fn run_until(
    machine: &mut Machine,
    world: &mut World,
    mut now: Now,
    stop: impl Fn(&Issued) -> bool,
) -> (Now, Option<EffectId>) {
    for _ in 0..10_000 {
        if let Some(issued) = machine.poll_effect() {
            if stop(&issued) {
                return (now, Some(issued.id));
            }
            world.carry_out(&issued.effect);
            answer_well(machine, &issued, now);
        } else if ended(machine) {
            return (now, None);
        } else {
            let timeout = machine.poll_timeout(now).expect("it waits for something");
            now.wall = now.wall + timeout.after;
            now.monotonic += timeout.after;
            machine.handle_timeout(now);
        }
    }
    panic!("does not end: {machine:?}");
}

pub(crate) fn answer_well(machine: &mut Machine, issued: &Issued, now: Now) {
    match issued.effect {
        Effect::RequestClearance { .. } => {
            let clearance = Decision::Granted(Digest::of(b"clearance"));
            machine.handle_clearance(issued.id, clearance, now).unwrap();
        }
        Effect::Check { .. } => {
            machine.handle_sample(issued.id, sample(true, now), now).unwrap();
        }
        _ => machine.handle_done(issued.id, now).unwrap(),
    }
}

/// A machine that has committed order 1, and its world.
pub(crate) fn committed_once() -> (Machine, World, Now) {
    let mut machine = Machine::new("shop");
    let mut world = World::default();
    machine.handle_order(order(1), at(0)).unwrap();
    let now = run(&mut machine, &mut world, at(0));
    assert_eq!(machine.phase(), Phase::Committed);
    (machine, world, now)
}
