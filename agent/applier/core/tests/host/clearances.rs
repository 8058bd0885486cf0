//! Clearances: which answers count, and what becomes of the order where one does not.

use cutover_applier_core::{Input, Output};
use cutover_machine::Phase as MachinePhase;
use cutover_shared::authorise::WitnessClearance;
use cutover_shared::digest::Digest;
use cutover_shared::policy::{PolicyDocument, WitnessKey};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{Phase, Statement};

use crate::bench::{Bench, millis, seconds, settings, web};
use crate::others::note_by;
use crate::world::{Way, World, document, key, name, release};

type Asked = (Digest, Phase, Digest, u64);

fn phase(bench: &Bench) -> MachinePhase {
    bench.core.machine(&web()).unwrap().phase()
}

/// Offered, and asked about.
fn asked() -> (Bench, Way, Asked) {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let asked = bench.until_asked();
    (bench, way, asked)
}

/// In the machine's hands, which asks to activate.
fn asked_to_activate() -> (Bench, Way, Asked) {
    let (mut bench, way, asked) = asked();
    bench.clear(asked);
    let asked = bench.until_asked();
    assert_eq!(asked.1, Phase::Activate);
    (bench, way, asked)
}

/// In the machine's hands, which asks to start once more, since reading took as long as a clearance is good.
fn asked_to_start_again() -> (Bench, Way, Asked) {
    let (mut bench, way, asked) = asked();
    bench.clear(asked);
    let read = bench.until(|it| matches!(it, Output::Read { .. }));
    bench.pass(seconds(60));
    bench.pending.push_front(read);
    let asked = bench.until_asked();
    assert_eq!((asked.1, phase(&bench)), (Phase::Start, MachinePhase::Authorised));
    (bench, way, asked)
}

fn refuse(bench: &mut Bench, asked: Asked, code: Code) {
    let answer = Err(Refusal::new(code, "it is not your turn"));
    bench.tell(Input::Clearance { nonce: asked.2, answer });
}

#[test]
fn the_clearance_that_it_was_read_with_starts_it_while_it_is_good() {
    let (mut bench, _, asked) = asked();
    bench.clear(asked);
    let read = bench.until(|it| matches!(it, Output::Read { .. }));
    bench.pass(seconds(60).saturating_sub(millis(1)));
    bench.pending.push_front(read);
    bench.until_work("assemble");
    let (mut bench, ..) = asked_to_start_again();
    bench.until_work("assemble");
}

#[test]
fn a_refused_clearance_gives_back_what_was_only_looked_at() {
    let (mut bench, way, asked) = asked();
    refuse(&mut bench, asked, Code::Held);
    assert_eq!(
        bench.refused(),
        Some((way.booking, Code::NotCleared)),
        "anybody could have said it"
    );
    assert_eq!((bench.report().order, bench.outcomes().len()), (None, 0));
    bench.offer(way.booking);
    bench.until_work("assemble");
}

#[test]
fn an_answer_to_another_question_is_none() {
    let (mut bench, way, asked) = asked();
    let other = Digest::of(b"another");
    let answer = Err(Refusal::new(Code::NotCleared, "no"));
    bench.tell(Input::Clearance { nonce: other, answer });
    assert_eq!((bench.refused(), bench.report().order), (None, Some(way.booking)));
    bench.clear(asked);
    bench.until_work("assemble");
}

#[test]
fn what_the_network_half_says_is_cut() {
    let (mut bench, _, asked) = asked();
    let answer = Err(Refusal::new(Code::NotCleared, "y".repeat(3000)));
    bench.tell(Input::Clearance { nonce: asked.2, answer });
    let (_, refusal) = bench.report().refused.clone().unwrap();
    assert_eq!(refusal.facts.chars().count(), 1000);
}

#[test]
fn whose_turn_to_start_has_not_come_asks_again() {
    let (mut bench, way, asked) = asked_to_start_again();
    refuse(&mut bench, asked, Code::NotCleared);
    assert_eq!(phase(&bench), MachinePhase::Authorised);
    assert_eq!(bench.take().len(), 0, "not at once");
    let again = bench.until_asked();
    assert_eq!((again.0, again.1), (way.booking, Phase::Start));
    assert_ne!(again.2, asked.2);
    bench.clear(again);
    bench.until_work("assemble");
}

#[test]
fn who_may_not_activate_gives_the_order_back() {
    let (mut bench, way, asked) = asked_to_activate();
    refuse(&mut bench, asked, Code::NotCleared);
    let outcome = bench.until_ended();
    assert_eq!(outcome.event.name(), "refused");
    assert_eq!(bench.refused(), Some((way.booking, Code::NotCleared)));
    assert_eq!(bench.report().step, "returned");
}

#[test]
fn a_clearance_by_somebody_else_gives_the_order_back() {
    for (start, (mut bench, way, asked)) in
        [(true, asked_to_start_again()), (false, asked_to_activate())]
    {
        let mut answer = bench.answer(asked);
        let statement = bench.clearance(asked.0, asked.1, asked.2);
        answer.clearance = statement.signed_by([&key("max")]).to_bytes();
        bench.tell(Input::Clearance { nonce: asked.2, answer: Ok(answer) });
        bench.until_ended();
        assert_eq!(bench.refused(), Some((way.booking, Code::SignatureInvalid)), "{start}");
    }
}

#[test]
fn a_checkpoint_by_somebody_else_or_of_another_log_is_none() {
    let (mut bench, way, asked) = asked();
    let mut answer = bench.answer(asked);
    answer.checkpoint = note_by(&bench.world, "max");
    bench.tell(Input::Clearance { nonce: asked.2, answer: Ok(answer) });
    assert_eq!(bench.refused(), Some((way.booking, Code::SignatureInvalid)));

    let (mut bench, way, asked) = self::asked();
    let mut forked = World::replay(&bench.world, asked.3 - 1);
    forked.now = bench.world.now;
    for _ in 0..4 {
        forked.say(&["sue"], release("6.6", Digest::of(b"other"))).unwrap();
    }
    let mut answer = bench.answer(asked);
    answer.checkpoint = forked.note();
    answer.consistency = forked.tree.consistency(asked.3, forked.tree.size()).unwrap();
    bench.tell(Input::Clearance { nonce: asked.2, answer: Ok(answer) });
    assert_eq!(bench.refused(), Some((way.booking, Code::CheckpointInconsistent)));
    assert_eq!(bench.outcomes().len(), 1, "that is worth a signature");
}

#[test]
fn the_head_that_an_answer_proves_is_the_newest_known() {
    let (mut bench, _, asked) = asked();
    bench.world.say(&["sue"], release("2.0", Digest::of(b"other"))).unwrap();
    bench.clear(asked);
    assert_eq!(bench.known(), bench.world.tree.size());
    assert_eq!(bench.written().trust.unwrap().trust().unwrap().head, bench.world.tree.head());
}

#[test]
fn an_answer_that_a_receipt_overtook_is_asked_for_again() {
    let (mut bench, way, asked) = asked();
    let good = bench.answer(asked);
    let other = bench.order("1.1");
    bench.stop(other.booking);
    assert!(bench.known() > asked.3);
    bench.tell(Input::Clearance { nonce: asked.2, answer: Ok(good) });
    let again = bench.until_asked();
    assert_eq!((again.0, again.1, again.3), (way.booking, Phase::Start, bench.known()));
    bench.clear(again);
    bench.until_work("assemble");
}

#[test]
fn after_a_lost_connection_what_is_unanswered_is_asked_again() {
    let (mut bench, way, asked) = asked();
    bench.tell(Input::Connected(false));
    assert_eq!(bench.take().len(), 0);
    bench.tell(Input::Connected(true));
    let again = bench.until_asked();
    assert_eq!((again.0, again.1), (way.booking, Phase::Start));
    assert_ne!(again.2, asked.2);
    assert!(bench.noted("the coordinator is reached") && bench.noted("the coordinator is lost"));
    bench.clear(again);
    bench.until(|it| matches!(it, Output::Read { .. }));
    bench.tell(Input::Connected(true));
    assert_eq!(bench.take().len(), 0, "it was answered");
}

#[test]
fn a_policy_that_came_meanwhile_has_the_order_offered_again() {
    let (mut bench, way, asked) = asked();
    bench.world.say(&["root"], document(2)).unwrap();
    let other = bench.order("1.1");
    bench.stop(other.booking);
    assert_eq!(bench.core.trust().unwrap().policy.document().version, 2);
    refuse_stale(&mut bench, asked);
    assert_eq!(bench.refused(), Some((way.booking, Code::NotCleared)));
    bench.offer(way.booking);
    bench.until_ended();
    assert_eq!(bench.refused(), None);
}

/// The answer is asked for anew, since the head moved, and is good but for the policy.
fn refuse_stale(bench: &mut Bench, asked: Asked) {
    bench.clear(asked);
    let again = bench.until_asked();
    bench.clear(again);
}

#[test]
fn the_signed_time_may_be_off_by_as_much_as_asking_took() {
    for (slow, off, good) in
        [(0, 2000, true), (0, 2001, false), (3000, 5000, true), (3000, 5001, false)]
    {
        let (mut bench, way, asked) = asked();
        bench.monotonic += millis(slow);
        bench.world.now = bench.world.now + millis(off);
        let ahead = bench.answer(asked);
        bench.world.now = bench.world.now - millis(off);
        bench.tell(Input::Clearance { nonce: asked.2, answer: Ok(ahead) });
        let expected = (!good).then_some((way.booking, Code::ClockSkew));
        assert_eq!(bench.refused(), expected, "{slow} {off}");
    }
}

#[test]
fn an_answer_may_take_as_long_as_a_clearance_is_good() {
    for (took, expected) in [(millis(60_000), None), (millis(60_001), Some(Code::NotCleared))] {
        let (mut bench, way, asked) = asked();
        bench.monotonic += took;
        bench.clear(asked);
        assert_eq!(bench.refused(), expected.map(|code| (way.booking, code)));
    }
}

#[test]
fn a_clock_that_went_back_is_refused_until_an_operator_accepts_it() {
    let mut bench = Bench::new();
    let (way, next) = (bench.order("1.0"), bench.order("1.1"));
    bench.offer(way.booking);
    let asked = bench.until_asked();
    let accepted = bench.world.now;
    // The coordinator's clock is a second ahead of this one, and then it is not.
    let newest = accepted + seconds(1);
    bench.world.now = newest;
    let ahead = bench.answer(asked);
    bench.world.now = accepted;
    bench.tell(Input::Clearance { nonce: asked.2, answer: Ok(ahead) });
    assert_eq!(bench.refused(), None);
    let again = bench.until_asked();
    assert_eq!(bench.core.saved().newest_time, Some(newest));
    let behind = bench.answer(again);
    bench.pass(seconds(1));
    bench.tell(Input::Clearance { nonce: again.2, answer: Ok(behind) });
    assert_eq!(bench.core.saved().newest_time, Some(newest), "it never goes back");
    bench.until_ended();
    bench.log();
    let newest = bench.core.saved().newest_time.unwrap();
    bench.offer(next.booking);
    let asked = bench.until_asked();
    bench.world.now = newest - millis(1);
    bench.clear(asked);
    assert_eq!(bench.refused(), Some((next.booking, Code::ClockSteppedBack)));
    assert_eq!(bench.core.saved().newest_time, Some(newest));
    bench.tell(Input::Looked { inhibitors: Vec::new(), join: None, clock_accepted: true });
    assert_eq!((bench.core.saved().newest_time, bench.written().newest_time), (None, None));
    assert!(bench.noted("an operator accepted the clock as it is"));
}

#[test]
fn what_the_kernel_says_of_its_clock_counts() {
    let mut strict: PolicyDocument = document(1);
    strict.freshness.clock = cutover_shared::policy::Clock::Synchronised;
    for (says, refused) in [(Some(true), None), (Some(false), Some(Code::ClockUnsynchronised))] {
        let mut bench = Bench::with(World::with_policy(strict.clone()), settings());
        bench.synchronised = says;
        let way = bench.order("1.0");
        bench.offer(way.booking);
        let asked = bench.until_asked();
        bench.clear(asked);
        assert_eq!(bench.refused(), refused.map(|code| (way.booking, code)));
    }
}

#[test]
fn nothing_is_asked_without_randomness_nor_begun_without_a_ledger() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.nonces.dry = true;
    bench.offer(way.booking);
    assert!(bench.noted("no randomness for a nonce"));
    assert_eq!(bench.take().len(), 0);

    let (mut bench, way, asked) = asked();
    bench.kept.full = true;
    bench.clear(asked);
    assert_eq!(bench.refused(), Some((way.booking, Code::Busy)));
    assert!(!bench.take().iter().any(|it| matches!(it, Output::Read { .. })));
}

#[test]
fn witnesses_that_counted_are_shown_and_no_others() {
    let mut demanding = document(1);
    demanding.witnesses = ["wanda", "will"]
        .map(|owner| WitnessKey {
            name: format!("{owner}.witness.test"),
            owner: name(owner),
            email: format!("{owner}@example.org"),
            key: key(owner).public(),
        })
        .to_vec();
    demanding.rules[0].witnesses = 1;
    let mut bench = Bench::with(World::with_policy(demanding), settings());
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let mut shown = Vec::new();
    for _ in 0..2 {
        let asked = bench.until_asked();
        let statement: Statement = bench.clearance(asked.0, asked.1, asked.2);
        let witness = |owner: &str| WitnessClearance {
            clearance: statement.signed_by([&key(owner)]).to_bytes(),
            consistency: Vec::new(),
        };
        let mut answer = bench.answer(asked);
        answer.witnesses = vec![witness("max"), witness("wanda")];
        shown.extend([answer.clearance.clone(), answer.witnesses[1].clearance.clone()]);
        bench.tell(Input::Clearance { nonce: asked.2, answer: Ok(answer) });
    }
    let outcome = bench.until_ended();
    let base64 = |bytes: &Vec<u8>| {
        use base64::Engine as _;
        base64::prelude::BASE64_STANDARD.encode(bytes)
    };
    assert_eq!(outcome.clearances, shown.iter().map(base64).collect::<Vec<_>>());
}

#[test]
fn after_a_restart_the_order_is_given_back_and_offered_anew() {
    let (mut bench, way, _) = asked_to_activate();
    bench.restart();
    bench.see_to_all();
    let outcome = bench.outcomes().pop().unwrap();
    assert_eq!(outcome.event.name(), "refused");
    assert_eq!(bench.refused(), Some((way.booking, Code::NotCleared)));
    bench.log();
    bench.offer(way.booking);
    assert_eq!(bench.until_ended().event.name(), "committed", "nothing of it was spent");
    assert_eq!(bench.core.machine(&web()).unwrap().record().generation, 2);
}
