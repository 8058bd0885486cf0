//! Powers that are denied, each tried for.

use std::time::Duration;

use cutover_applier_core::Input;
use cutover_shared::digest::Digest;
use cutover_shared::protocol::{Directive, FromApplier};
use cutover_shared::statement::{
    Booking, ChangeType, HostTurn, Rollback, Says, Statement, Verdict,
};

use super::powers::{self, committed};
use crate::adversary::budget::Owned;
use crate::adversary::run::{Run, Service};
use crate::adversary::scene::{CANARY, HOSTS, Order, SECOND, STAGE, Scene, TIMING};
use crate::adversary::truth::{Truth, View, Wanted};
use crate::world::{
    Parcel, accepted, approval, assessment, enrolment, key, key_id, name, release, review, vote,
    window_release,
};

/// An attempt, and what it meets.
#[derive(Debug)]
pub struct Attempt {
    /// What is tried.
    pub name: &'static str,
    /// What is owned meanwhile.
    pub owned: Owned,
    /// The refusal that somebody must have met.
    pub meets: &'static str,
    /// Tries it.
    pub make: fn(&Scene) -> Run,
}

macro_rules! attempts {
    ($($owned:expr => { $($name:literal: $meets:literal = $make:expr,)* })*) => {
        /// All of them.
        pub const ATTEMPTS: &[Attempt] = &[$($(
            Attempt { name: $name, owned: $owned, meets: $meets, make: $make },
        )*)*];
    };
}

attempts! {
    Owned::Network => {
        "an old clearance again": "not-cleared" = old_clearance,
        "the clearance of another host": "not-cleared" = foreign_clearance,
        "a clearance that comes late": "not-cleared" = late_clearance,
        "a clearance signed by nobody": "signature-invalid" = unsigned_clearance,
        "evidence that was shortened": "checkpoint-stale" = shortened,
        "a proof with a flipped bit": "not-logged" = flipped_proof,
        "a statement with a flipped bit": "not-logged" = flipped_statement,
        "other bytes": "digest-mismatch" = other_bytes,
        "another package's bytes": "digest-mismatch" = other_package,
    }
    Owned::Coordinator => {
        "a release without its votes": "not-approved" = |scene| plain(scene, scene.unvoted),
        "a window that was not released": "not-released" = |scene| plain(scene, scene.unreleased),
        "a window that is over": "window-closed" = |scene| plain(scene, scene.missed),
        "a window that is not open yet": "window-not-open" = too_early,
        "what is left of a window": "window-too-short" = too_late,
        "a release that staging never had": "environment-not-proven"
            = |scene| plain(scene, scene.unstaged),
        "an iteration without its own word": "iteration-not-approved"
            = |scene| plain(scene, scene.iterations[1]),
        "an iteration behind a later one": "iteration-out-of-order" = behind,
        "a wave before its turn": "wave-not-proven" = skipped_wave,
        "a proof of the canary by nobody": "wave-not-proven" = forged_proof,
        "a wave that has not been well for long": "wave-not-proven" = hasty_wave,
        "an order twice": "rollback-not-authorised" = twice,
        "a package that was taken back": "not-reviewed" = taken_back,
        "a package that was taken back, with its old review": "not-reviewed" = old_review,
        "a forked log": "checkpoint-inconsistent" = forked,
        "a log of another order": "checkpoint-inconsistent" = reordered,
        "a forgotten log": "checkpoint-stale" = forgotten,
        "a policy of one root": "threshold-not-met" = one_root,
        "a policy that skips a version": "policy-rollback" = skipped_version,
        "a clock that is told": "clock-skew" = told_time,
        "a clearance for another phase": "not-cleared" = other_phase,
        "a clearance of another log": "checkpoint-inconsistent" = cleared_elsewhere,
        "an order for another host": "wrong-host" = wrong_host,
        "staging's order": "wrong-environment" = wrong_environment,
        "evidence of another release": "wrong-application" = mixed,
        "a return for another generation": "generation-passed" = wrong_generation,
        "a return twice": "generation-passed" = returned_twice,
    }
    Owned::CoordinatorAndQuorum => {
        "a hold hidden": "not-cleared" = powers::hold,
        "a freeze hidden": "not-cleared" = powers::freeze,
        "a denial hidden": "not-cleared" = powers::denial,
        "a rejection hidden": "not-cleared" = powers::rejection,
        "a return to the submitter hidden": "not-cleared" = powers::sent_back,
        "a cancellation hidden": "not-cleared" = powers::cancel,
        "a retirement hidden": "not-cleared" = powers::retired,
        "a revocation hidden": "not-cleared" = powers::revoked,
        "two at once": "not-cleared" = powers::at_once,
        "a failure hidden": "not-cleared" = powers::halted,
        "a wave before its turn": "wave-not-proven" = skipped_wave,
    }
    Owned::CoordinatorAndWitness => {
        "a hold hidden": "not-cleared" = powers::hold,
        "a revocation hidden": "not-cleared" = powers::revoked,
        "two at once": "not-cleared" = powers::at_once,
        "two at once between two witnesses": "not-cleared" = powers::between_witnesses,
    }
    Owned::CoordinatorAndPerson("sam") => {
        "a submitter alone": "wrong-application" = |scene| alone(scene, "sam"),
    }
    Owned::CoordinatorAndPerson("mia") => {
        "a change manager with a release of nobody": "wrong-application" = |scene| alone(scene, "mia"),
    }
    Owned::CoordinatorAndPerson("otto") => {
        "an operator's host for staging": "environment-not-proven" = made_up_host,
    }
    Owned::CoordinatorAndPerson("ruth") => {
        "a root alone": "threshold-not-met" = one_root,
    }
}

/// An order, carried as far as an owned coordinator can.
fn plain(scene: &Scene, order: Order) -> Run {
    let mut run = scene.at_window(2);
    let mut shown = everything(&run);
    run.carry(&[CANARY], order.booking, Service::Shown(&mut shown), 5);
    run
}

/// The true log, and everything else that was ever said after it.
fn everything(run: &Run) -> View {
    let mut view = run.truth.view.clone();
    for id in &run.truth.order {
        let said = &run.truth.said[id];
        if said.index.is_none() {
            view.push(&said.envelope);
        }
    }
    view
}

/// The nonce that a host waits for an answer to.
fn asked(run: &Run, host: usize) -> Option<Wanted> {
    run.hosts[host].outbox.iter().rev().find_map(|frame| {
        let FromApplier::WantClearance { order, phase, nonce, known } = frame else { return None };
        Some(Wanted { order: *order, phase: *phase, nonce: *nonce, known: *known })
    })
}

/// The canary has asked to start with what is due.
fn asking(scene: &Scene) -> (Run, Wanted) {
    let mut run = scene.at_window(2);
    run.offer(CANARY, scene.due.booking, None);
    let wanted = asked(&run, CANARY).expect("it asks");
    (run, wanted)
}

fn old_clearance(scene: &Scene) -> Run {
    let (mut run, wanted) = asking(scene);
    let old = run.honest_clearance(CANARY, &wanted);
    // It starts anew, and so with another nonce, which the old answer is said to answer.
    let now = run.now();
    run.hosts[CANARY].restart(now);
    run.hosts[CANARY].outbox.clear();
    run.offer(CANARY, scene.due.booking, None);
    let again = asked(&run, CANARY).expect("it asks again");
    run.feed(CANARY, Input::Clearance { nonce: again.nonce, answer: old });
    run
}

fn foreign_clearance(scene: &Scene) -> Run {
    let (mut run, wanted) = asking(scene);
    let view = run.truth.view.clone();
    // What the coordinator signed for another host, if that asked with this nonce.
    let clearance = view.clearance(&run.hosts[SECOND].subject(), &wanted, run.wall());
    let answer = Ok(view.answer(clearance, wanted.known, run.wall()));
    run.feed(CANARY, Input::Clearance { nonce: wanted.nonce, answer });
    run
}

fn late_clearance(scene: &Scene) -> Run {
    let (mut run, wanted) = asking(scene);
    let answer = run.honest_clearance(CANARY, &wanted);
    run.advance(Duration::from_secs(61));
    run.feed(CANARY, Input::Clearance { nonce: wanted.nonce, answer });
    run
}

fn unsigned_clearance(scene: &Scene) -> Run {
    let (mut run, wanted) = asking(scene);
    let mut answer = run.honest_clearance(CANARY, &wanted).expect("it is its turn");
    let clearance = run.truth.view.clearance(&run.hosts[CANARY].subject(), &wanted, run.wall());
    let until = run.wall() + Duration::from_secs(30);
    let statement = Statement::new(run.wall(), Says::Clearance(clearance)).until(until);
    answer.clearance = statement.signed_by([&key("web-1-transport")]).to_bytes();
    run.feed(CANARY, Input::Clearance { nonce: wanted.nonce, answer: Ok(answer) });
    run
}

/// Offers evidence that was tampered with.
fn tampered(
    scene: &Scene,
    tamper: impl FnOnce(&Run, &mut cutover_shared::evidence::Evidence),
) -> Run {
    let mut run = scene.at_window(2);
    let order = scene.due.booking;
    let mut evidence = run.evidence(CANARY, order, None);
    tamper(&run, &mut evidence);
    run.feed(CANARY, Input::Directive(Box::new(Directive::Offer { order, evidence })));
    run.serve(CANARY, &mut Service::Willing);
    run
}

fn shortened(scene: &Scene) -> Run {
    tampered(scene, |run, evidence| {
        // An honest note of before, passed on now.
        let size = run.truth.view.log.size() - 1;
        let knows = run.hosts[CANARY].knows().0;
        let head = run.truth.fork(size.min(knows - 1)).log.head();
        evidence.checkpoint = Truth::note(&head, run.wall());
    })
}

fn flipped_proof(scene: &Scene) -> Run {
    tampered(scene, |_, evidence| {
        let mut bytes = *evidence.entries[3].proof[0].as_bytes();
        bytes[0] ^= 1;
        evidence.entries[3].proof[0] = Digest::from_bytes(bytes);
    })
}

fn flipped_statement(scene: &Scene) -> Run {
    tampered(scene, |_, evidence| {
        let place = evidence.entries[3].envelope.len() / 2;
        evidence.entries[3].envelope[place] ^= 1;
    })
}

/// Serves a package's bytes changed.
fn served(scene: &Scene, change: impl FnOnce(&Run, &mut Parcel)) -> Run {
    let mut run = scene.at_window(2);
    let mut parcel = run.parcels[&scene.due.package].clone();
    change(&run, &mut parcel);
    run.hosts[CANARY].supply.insert(scene.due.package, parcel);
    run.carry(&[CANARY], scene.due.booking, Service::Honest, 5);
    run
}

fn other_bytes(scene: &Scene) -> Run {
    served(scene, |_, parcel| {
        let last = parcel.index.len() - 2;
        parcel.index[last] ^= 1;
    })
}

fn other_package(scene: &Scene) -> Run {
    served(scene, |run, parcel| *parcel = run.parcels[&scene.missed.package].clone())
}

fn too_early(scene: &Scene) -> Run {
    let mut run = scene.run(2);
    run.carry(&[CANARY], scene.due.booking, Service::Willing, 3);
    run
}

fn too_late(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    let left = scene.window.end.since(run.wall());
    run.advance(left.saturating_sub(Duration::from_mins(6)));
    run.carry(&[CANARY], scene.due.booking, Service::Willing, 5);
    run
}

/// The second iteration is approved and carried out; then the first is offered, the second's word hidden.
fn behind(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    let mut first = run.truth.view.clone();
    let [one, two] = scene.iterations;
    let says = approval(scene.grounds, two.release, 2);
    let word = run.truth.whisper(&["mia"], &Statement::new(run.wall(), says));
    run.truth.log(word);
    let mut second = everything(&run);
    run.carry(&[CANARY], two.booking, Service::Shown(&mut second), 15);
    // The host has seen the log with the word; a log without it has to go on from there all the same.
    first.clone_from(&second);
    hide(&mut run, &first, CANARY, one.booking, &[word]);
    run
}

/// Offers an order with some entries left out of the evidence.
fn hide(run: &mut Run, view: &View, host: usize, order: Digest, hidden: &[Digest]) {
    let mut evidence = run.evidence(host, order, Some(view));
    let envelopes: Vec<_> = hidden.iter().map(|id| run.truth.said[id].envelope.clone()).collect();
    evidence.entries.retain(|entry| !envelopes.contains(&entry.envelope));
    run.feed(host, Input::Directive(Box::new(Directive::Offer { order, evidence })));
    run.serve(host, &mut Service::Shown(&mut view.clone()));
}

fn skipped_wave(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    run.carry(&[SECOND], scene.due.booking, Service::Willing, 5);
    run
}

fn forged_proof(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    let mut shown = run.truth.view.clone();
    let (host, _) = HOSTS[CANARY];
    let outcome = committed(&run, scene, host, run.hosts[CANARY].generation() + 1);
    // The canary's transport key is owned, its host key is not.
    let statement = Statement::new(run.wall(), Says::Outcome(Box::new(outcome)));
    shown.push(&statement.signed_by([&key("web-1-transport")]).to_bytes());
    run.advance(Duration::from_secs(70));
    run.carry(&[SECOND], scene.due.booking, Service::Shown(&mut shown), 5);
    run
}

fn hasty_wave(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    let due = scene.due.booking;
    for _ in 0..40 {
        run.carry(&[CANARY], due, Service::Willing, 1);
        if run.referee.has_committed("web-1", due) {
            break;
        }
    }
    run.carry(&[SECOND], due, Service::Willing, 1);
    run
}

fn twice(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    run.carry(&[CANARY], scene.due.booking, Service::Willing, 20);
    run
}

/// The canary takes what is due back, because it is not healthy.
fn went_back(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    run.hosts[CANARY].healthy = false;
    run.carry(&[CANARY], scene.due.booking, Service::Willing, 20);
    run.hosts[CANARY].healthy = true;
    run
}

/// The same package, booked and released once more.
fn booked_again(run: &mut Run, scene: &Scene) -> Digest {
    let (_, case) = run.truth.view.state.booking(&scene.due.booking).expect("it is booked");
    let mut again: Booking = case.booking.says().clone();
    again.window.start = run.wall();
    let booking = run.truth.say(&["max"], run.wall(), again.clone());
    let says = window_release(booking, &again, run.truth.head());
    run.truth.say(&["max"], run.wall(), says);
    booking
}

fn taken_back(scene: &Scene) -> Run {
    let mut run = went_back(scene);
    let again = booked_again(&mut run, scene);
    run.advance(Duration::from_secs(5));
    run.carry(&[CANARY], again, Service::Willing, 5);
    run
}

fn old_review(scene: &Scene) -> Run {
    let mut run = went_back(scene);
    let again = booked_again(&mut run, scene);
    // The librarian said it before; whoever owns the log says it a second time.
    let mut shown = run.truth.view.clone();
    let is_review = |says: &Says| {
        matches!(says, Says::Review(it) if it.release == scene.due.release
            && it.verdict == Verdict::Complete)
    };
    let old = run.truth.said.values().find(|said| is_review(&said.says)).expect("it was reviewed");
    shown.push(&old.envelope);
    run.advance(Duration::from_secs(5));
    run.carry(&[CANARY], again, Service::Shown(&mut shown), 5);
    run
}

/// A log that is as the true one up to a size, and then another.
fn fork(run: &Run, size: u64) -> View {
    let mut view = run.truth.fork(size);
    while view.log.size() < run.truth.view.log.size() + 3 {
        view.push(b"made up");
    }
    view
}

fn forked(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    let size = run.hosts[CANARY].knows().0 - 1;
    let mut shown = fork(&run, size);
    run.carry(&[CANARY], scene.due.booking, Service::Shown(&mut shown), 3);
    let entries = run.truth.view.log.entries().to_vec();
    let mut shown = run.truth.fork(size);
    shown.push(b"made up");
    for entry in &entries[usize::try_from(size).expect("it is short")..] {
        shown.push(entry);
    }
    run.carry(&[CANARY], scene.due.booking, Service::Shown(&mut shown), 3);
    run
}

fn reordered(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    let known = usize::try_from(run.hosts[CANARY].knows().0).expect("it is short");
    let mut entries = run.truth.view.log.entries().to_vec();
    entries.swap(known - 1, known - 2);
    let mut shown = View::default();
    for entry in &entries {
        shown.push(entry);
    }
    run.carry(&[CANARY], scene.due.booking, Service::Shown(&mut shown), 3);
    run
}

fn forgotten(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    // It learns of the whole log, and is then shown an earlier one.
    run.offer(CANARY, scene.due.booking, None);
    run.hosts[CANARY].outbox.clear();
    run.advance(Duration::from_secs(15));
    let mut shown = run.truth.fork(run.truth.view.log.size() - 1);
    run.carry(&[CANARY], scene.due.booking, Service::Shown(&mut shown), 3);
    run
}

fn one_root(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    let mut policy = scene.two_roots(2);
    policy.root_threshold = 1;
    policy.rules.retain(|rule| rule.votes == 0);
    let id = run.truth.whisper(&["ruth"], &Statement::new(run.wall(), policy));
    with_policy(&mut run, scene, id);
    run
}

fn skipped_version(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    let id = run.truth.whisper(&["ruth", "rob"], &Statement::new(run.wall(), scene.two_roots(3)));
    with_policy(&mut run, scene, id);
    run
}

/// Offers what was not voted on with a policy beside it.
fn with_policy(run: &mut Run, scene: &Scene, policy: Digest) {
    let shown = everything(run);
    let order = scene.unvoted.booking;
    let mut evidence = run.evidence(CANARY, order, Some(&shown));
    let envelope = run.truth.said[&policy].envelope.clone();
    let index = shown.find(&envelope).expect("it is shown");
    let receipt = shown.receipt(index, run.wall());
    let entry = cutover_shared::evidence::ProvenEntry { index, envelope, proof: receipt.inclusion };
    evidence.entries.retain(|it| it.index != index);
    evidence.entries.push(entry);
    evidence.entries.sort_by_key(|it| it.index);
    run.feed(CANARY, Input::Directive(Box::new(Directive::Offer { order, evidence })));
    run.serve(CANARY, &mut Service::Shown(&mut shown.clone()));
}

/// Answers the canary's request with a clearance that was changed.
fn cleared(scene: &Scene, change: impl FnOnce(&mut cutover_shared::statement::Clearance)) -> Run {
    let (mut run, wanted) = asking(scene);
    let view = run.truth.view.clone();
    let mut clearance = view.clearance(&run.hosts[CANARY].subject(), &wanted, run.wall());
    change(&mut clearance);
    let answer = Ok(view.answer(clearance, wanted.known, run.wall()));
    run.feed(CANARY, Input::Clearance { nonce: wanted.nonce, answer });
    run
}

fn told_time(scene: &Scene) -> Run {
    cleared(scene, |clearance| clearance.time = clearance.time + Duration::from_mins(10))
}

fn other_phase(scene: &Scene) -> Run {
    cleared(scene, |clearance| clearance.phase = cutover_shared::statement::Phase::Activate)
}

fn cleared_elsewhere(scene: &Scene) -> Run {
    let (mut run, wanted) = asking(scene);
    let view = fork(&run, 5);
    let policy = run.truth.view.clearance(&run.hosts[CANARY].subject(), &wanted, run.wall());
    let clearance = cutover_shared::statement::Clearance { checkpoint: view.log.head(), ..policy };
    let answer = Ok(view.answer(clearance, wanted.known, run.wall()));
    run.feed(CANARY, Input::Clearance { nonce: wanted.nonce, answer });
    run
}

fn wrong_host(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    // A booking of its own for a part of the hosts.
    let (_, case) = run.truth.view.state.booking(&scene.due.booking).expect("it is booked");
    let mut part: Booking = case.booking.says().clone();
    part.plan.waves.truncate(1);
    let booking = run.truth.say(&["max"], run.wall(), part.clone());
    let says = window_release(booking, &part, run.truth.head());
    run.truth.say(&["max"], run.wall(), says);
    run.carry(&[SECOND], booking, Service::Willing, 3);
    run
}

fn wrong_environment(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    run.carry(&[STAGE], scene.due.booking, Service::Willing, 3);
    run
}

fn mixed(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    // The evidence of what is due, for an order of another release.
    let evidence = run.evidence(CANARY, scene.due.booking, None);
    let order = scene.unvoted.release;
    run.feed(CANARY, Input::Directive(Box::new(Directive::Offer { order, evidence })));
    let mut evidence = run.evidence(CANARY, scene.due.booking, None);
    let booking = run.truth.said[&scene.unvoted.booking].envelope.clone();
    let index = run.truth.view.find(&booking).expect("it is logged");
    let proof = run.truth.view.receipt(index, run.wall()).inclusion;
    evidence.entries.push(cutover_shared::evidence::ProvenEntry {
        index,
        envelope: booking,
        proof,
    });
    evidence.entries.sort_by_key(|it| it.index);
    let order = scene.unvoted.booking;
    run.feed(CANARY, Input::Directive(Box::new(Directive::Offer { order, evidence })));
    run.serve(CANARY, &mut Service::Willing);
    run
}

/// The canary has committed what is due, and somebody orders it back, at a generation.
fn ordered_back(scene: &Scene, ahead: u64) -> (Run, Digest) {
    let mut run = scene.at_window(2);
    run.carry(&[CANARY], scene.due.booking, Service::Willing, 15);
    let (host, environment) = HOSTS[CANARY];
    let turn = HostTurn {
        host: name(host),
        host_key: key_id(host),
        generation: run.hosts[CANARY].generation() + ahead,
    };
    let rollback = Rollback {
        application: name("web"),
        environment: name(environment),
        hosts: vec![turn],
        from: scene.due.package,
        to: scene.first.package,
        reason: "complaints".to_owned(),
    };
    let until = run.wall() + Duration::from_hours(1);
    let statement = Statement::new(run.wall(), rollback).until(until);
    let order = run.truth.whisper(&["mia"], &statement);
    run.truth.log(order);
    (run, order)
}

fn wrong_generation(scene: &Scene) -> Run {
    let (mut run, order) = ordered_back(scene, 1);
    run.carry(&[CANARY], order, Service::Willing, 3);
    run
}

fn returned_twice(scene: &Scene) -> Run {
    let (mut run, order) = ordered_back(scene, 0);
    run.carry(&[CANARY], order, Service::Willing, 15);
    assert_eq!(run.hosts[CANARY].runs(), Some(scene.first.package), "the first time it is good");
    run.carry(&[CANARY], order, Service::Willing, 3);
    run
}

/// One person does everything that this person's key can sign for a package of nobody else's.
fn alone(scene: &Scene, who: &str) -> Run {
    let mut run = scene.at_window(2);
    let parcel = Parcel::new("web", "evil", b"this is evil", TIMING, "");
    let package = parcel.digest;
    for host in &mut run.hosts {
        host.supply.insert(package, parcel.clone());
    }
    run.parcels.insert(package, parcel.clone());
    let says = release(&parcel, ChangeType::Normal, &["staging", "production"]);
    let now = run.wall();
    let mut sign = |says: Says| run.truth.whisper(&[who], &Statement::new(now, says));
    let release = sign(Says::Release(Box::new(says)));
    sign(Says::Review(review(release, &["production"], Verdict::Complete)));
    sign(Says::Assessment(assessment((release, package), &["production"], accepted())));
    sign(Says::Vote(vote(release, &["production"], accepted())));
    let (_, case) = run.truth.view.state.booking(&scene.due.booking).expect("it is booked");
    let booking = Booking { release, package, ..case.booking.says().clone() };
    let order = run.truth.whisper(&[who], &Statement::new(now, booking.clone()));
    let says = window_release(order, &booking, everything(&run).log.head());
    run.truth.whisper(&[who], &Statement::new(now, says));
    let mut shown = everything(&run);
    run.carry(&[CANARY], order, Service::Shown(&mut shown), 5);
    run
}

/// An operator enrols a host of staging after the submission, and signs with its key that all is well.
fn made_up_host(scene: &Scene) -> Run {
    let mut run = scene.at_window(2);
    let host = "stage-2";
    let says = enrolment(host, "staging", &["web"]);
    run.truth.whisper(&["otto", host], &Statement::new(run.wall(), says));
    let mut outcome = committed(&run, scene, host, 1);
    outcome.order = scene.unstaged.booking;
    outcome.release = scene.unstaged.release;
    outcome.package = scene.unstaged.package;
    run.truth.whisper(&[host], &Statement::new(run.wall(), outcome));
    let mut shown = everything(&run);
    run.carry(&[CANARY], scene.unstaged.booking, Service::Shown(&mut shown), 5);
    run
}
