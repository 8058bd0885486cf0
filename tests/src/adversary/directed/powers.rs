//! Powers that are granted, each had.

use std::time::Duration;

use cutover_shared::policy::KeyStatus;
use cutover_shared::statement::{
    Cancel, Event, Freeze, Hold, HostChange, Judgement, Outcome, Says, Verdict,
};

use crate::adversary::budget::{Gain, Owned};
use crate::adversary::run::{Run, Service};
use crate::adversary::scene::{CANARY, HOSTS, SECOND, Scene, THIRD};
use crate::world::{assessment, key_id, name, names, review, vote};

/// A power, and a run in which it is had.
#[derive(Debug)]
pub struct Power {
    /// What it is called.
    pub name: &'static str,
    /// Who has it.
    pub owned: Owned,
    /// What is gained.
    pub gain: Gain,
    /// Takes it.
    pub take: fn(&Scene) -> Run,
}

/// All of them. A power of a row is one of every row that owns more.
pub const POWERS: &[Power] = &[
    Power { name: "silence", owned: Owned::Network, gain: Gain::Delay, take: silence },
    Power { name: "silence", owned: Owned::Coordinator, gain: Gain::Delay, take: silence },
    Power { name: "a hold", owned: Owned::Coordinator, gain: Gain::PassOver, take: hold },
    Power { name: "a freeze", owned: Owned::Coordinator, gain: Gain::PassOver, take: freeze },
    Power { name: "a denial", owned: Owned::Coordinator, gain: Gain::PassOver, take: denial },
    Power { name: "a rejection", owned: Owned::Coordinator, gain: Gain::PassOver, take: rejection },
    Power { name: "a return", owned: Owned::Coordinator, gain: Gain::PassOver, take: sent_back },
    Power { name: "a cancellation", owned: Owned::Coordinator, gain: Gain::PassOver, take: cancel },
    Power { name: "a retirement", owned: Owned::Coordinator, gain: Gain::PassOver, take: retired },
    Power { name: "a revocation", owned: Owned::Coordinator, gain: Gain::PassOver, take: revoked },
    Power { name: "two at once", owned: Owned::Coordinator, gain: Gain::OutOfTurn, take: at_once },
    Power { name: "a halt", owned: Owned::Coordinator, gain: Gain::OutOfTurn, take: halted },
    Power { name: "silence", owned: Owned::CoordinatorAndQuorum, gain: Gain::Delay, take: silence },
    Power {
        name: "a canary that lies",
        owned: Owned::CoordinatorAndHost,
        gain: Gain::Unproven,
        take: lying_canary,
    },
];

/// The control: everybody is honest, and what is due is done.
pub fn honest(scene: &Scene) -> Run {
    let mut run = scene.at_window(1);
    run.carry(&[CANARY, SECOND, THIRD], scene.due.booking, Service::Honest, 60);
    run
}

fn silence(scene: &Scene) -> Run {
    let mut run = scene.at_window(1);
    run.advance(scene.window.end.since(run.wall()));
    run
}

/// Something is said against the order that is due, and the attacker shows a log without it.
fn hides(scene: &Scene, by: &[&str], says: impl Into<Says>) -> Run {
    let mut run = scene.run(1);
    let mut shown = run.truth.view.clone();
    run.truth.say(by, run.wall(), says);
    run.advance(scene.window.start.since(run.wall()) + Duration::from_secs(5));
    run.carry(&[CANARY], scene.due.booking, Service::Shown(&mut shown), 15);
    run
}

pub(super) fn hold(scene: &Scene) -> Run {
    let hold = Hold { release: scene.due.release, reason: "stop".to_owned(), finish: false };
    hides(scene, &["seth"], hold)
}

pub(super) fn freeze(scene: &Scene) -> Run {
    let freeze = Freeze::Declared {
        policy: scene.policy,
        environments: names(&["production"]),
        applications: names(&["web"]),
        start: scene.window.start,
        end: scene.window.end,
        reason: "elections".to_owned(),
    };
    hides(scene, &["mia"], freeze)
}

pub(super) fn denial(scene: &Scene) -> Run {
    let denied = Judgement::Denied { reason: "a hole".to_owned() };
    let id = (scene.due.release, scene.due.package);
    hides(scene, &["seth"], assessment(id, &["production"], denied))
}

pub(super) fn rejection(scene: &Scene) -> Run {
    let denied = Judgement::Denied { reason: "not now".to_owned() };
    hides(scene, &["sue"], vote(scene.due.release, &["production"], denied))
}

pub(super) fn sent_back(scene: &Scene) -> Run {
    let verdict = Verdict::Denied { reason: "the notes are empty".to_owned() };
    hides(scene, &["lena"], review(scene.due.release, &["production"], verdict))
}

pub(super) fn cancel(scene: &Scene) -> Run {
    let reason = "no longer wanted".to_owned();
    hides(scene, &["mia"], Cancel { release: scene.due.release, booking: None, reason })
}

pub(super) fn retired(scene: &Scene) -> Run {
    let (host, _) = HOSTS[CANARY];
    let reason = "sold".to_owned();
    let says = HostChange::Retired { host: name(host), host_key: key_id(host), reason };
    hides(scene, &["otto"], says)
}

pub(super) fn revoked(scene: &Scene) -> Run {
    let mut policy = scene.two_roots(2);
    for entry in policy.keys.iter_mut().filter(|entry| entry.owner == name("lena")) {
        entry.status = KeyStatus::Compromised;
    }
    hides(scene, &["ruth", "rob"], policy)
}

/// The canary commits honestly.
fn proven(scene: &Scene) -> Run {
    let mut run = scene.at_window(1);
    run.carry(&[CANARY], scene.due.booking, Service::Honest, 15);
    run.advance(Duration::from_secs(70));
    run
}

pub(super) fn at_once(scene: &Scene) -> Run {
    let mut run = proven(scene);
    run.carry(&[SECOND, THIRD], scene.due.booking, Service::Willing, 15);
    run
}

/// One honest witness is asked about one host, the other about the other; the owned one is the second of both.
pub(super) fn between_witnesses(scene: &Scene) -> Run {
    let mut run = proven(scene);
    for _ in 0..15 {
        for (host, witness) in [(SECOND, 0), (THIRD, 1)] {
            run.witnesses.through = Some(witness);
            if run.hosts[host].task().is_none() {
                run.offer(host, scene.due.booking, None);
            }
            run.serve(host, &mut Service::Willing);
        }
        run.advance(Duration::from_secs(6));
    }
    run
}

pub(super) fn halted(scene: &Scene) -> Run {
    let mut run = proven(scene);
    run.hosts[SECOND].healthy = false;
    let mut shown = run.truth.view.clone();
    run.carry(&[SECOND], scene.due.booking, Service::Hiding(&mut shown), 30);
    run.carry(&[THIRD], scene.due.booking, Service::Hiding(&mut shown), 15);
    run
}

/// Whoever holds the canary's key says that it has committed, and it has not.
fn lying_canary(scene: &Scene) -> Run {
    let mut run = scene.at_window(1);
    let (host, _) = HOSTS[CANARY];
    let outcome = committed(&run, scene, host, run.hosts[CANARY].generation() + 1);
    run.truth.say(&[host], run.wall(), outcome);
    run.advance(Duration::from_secs(70));
    run.carry(&[SECOND], scene.due.booking, Service::Willing, 15);
    run
}

/// A statement that a host has committed what is due.
pub(super) fn committed(run: &Run, scene: &Scene, host: &str, generation: u64) -> Outcome {
    Outcome {
        host: name(host),
        host_key: key_id(host),
        application: name("web"),
        generation,
        order: scene.due.booking,
        release: scene.due.release,
        package: scene.due.package,
        event: Event::Committed,
        running: Some(scene.due.package),
        started: run.wall(),
        ended: run.wall(),
        readings: Vec::new(),
        clearances: Vec::new(),
    }
}
