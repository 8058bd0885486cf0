//! Offers: what becomes of each, and what is said of it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cutover_applier_core::{Answer, Input, Output, Saved, SavedTrust};
use cutover_machine::Phase as MachinePhase;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::evidence::Trust;
use cutover_shared::protocol::FromApplier;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{Event, Outcome, Phase, Says, Statement};

use crate::bench::{Bench, HOST, WINDOW, millis, parcel, read, seconds, settings, web};
use crate::world::{World, document, key, name};

pub(crate) fn refusal(outcome: &Outcome) -> &str {
    let Event::Refused { code, .. } = &outcome.event else { panic!("{outcome:?}") };
    code
}

#[test]
fn an_order_is_cleared_read_taken_up_and_reported() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    let began = bench.world.now;
    bench.offer(way.booking);
    assert_eq!(
        (bench.report().step.as_str(), bench.report().order),
        ("looking", Some(way.booking))
    );
    assert_eq!(bench.reports.last().unwrap().known, bench.world.tree.size());
    assert_eq!(bench.reports.last().unwrap().policy_version, 1);
    let asked = bench.until_asked();
    assert_eq!((asked.0, asked.1, asked.3), (way.booking, Phase::Start, bench.known()));
    bench.clear(asked);
    let reads = bench.until(|it| matches!(it, Output::Read { .. }));
    let Output::Read { order, package, .. } = reads else { panic!() };
    assert_eq!((order, package), (way.booking, way.package));
    assert_eq!(bench.core.saved().newest_time, Some(began));
    bench.tell(Input::Read { application: web(), order, result: Ok(read(&parcel("1.0", ""))) });
    assert_eq!(bench.core.machine(&web()).unwrap().phase(), MachinePhase::Fetching);
    assert_eq!(bench.report().step, "fetching");

    bench.tell(Input::Progress { application: web(), done: 3, all: 10 });
    assert_eq!(bench.report().progress, Some((3, 10)));
    let fetch = bench.until_work("assemble");
    bench.answered(fetch, Answer::Done);
    assert_eq!(bench.report().progress, None, "only while it fetches");
    let again = bench.until_asked();
    assert_eq!((again.0, again.1), (way.booking, Phase::Activate));
    assert_ne!(again.2, asked.2, "each question has its own nonce");
    bench.clear(again);

    let outcome = bench.until_ended();
    assert_eq!((&outcome.host, outcome.host_key), (&name(HOST), key(HOST).public().id()));
    assert_eq!((outcome.application, outcome.generation), (web(), 1));
    assert_eq!((outcome.order, outcome.release), (way.booking, way.release));
    assert_eq!((outcome.package, outcome.running), (way.package, Some(way.package)));
    assert_eq!((outcome.started, outcome.ended), (began, bench.world.now));
    assert_eq!(outcome.event, Event::Committed);
    assert!(outcome.readings.iter().all(|it| it.check == "answers" && it.healthy));
    assert_eq!(outcome.readings.last().unwrap().detail, "200");
    assert_eq!(outcome.readings.last().unwrap().time, bench.world.now);
    let phase = |text: &String| {
        let envelope = Envelope::parse(&BASE64_STANDARD.decode(text).unwrap()).unwrap();
        let Says::Clearance(it) = Statement::read(&envelope).unwrap().says else { panic!() };
        (it.phase, it.nonce)
    };
    let shown: Vec<_> = outcome.clearances.iter().map(phase).collect();
    assert_eq!(shown, [(Phase::Start, asked.2), (Phase::Activate, again.2)]);

    let report = bench.report();
    assert_eq!((report.generation, report.running), (1, Some(way.package)));
    assert_eq!((report.order, report.step.as_str()), (None, "committed"));
    assert_eq!(bench.statuses.first().map(String::as_str), Some("web: idle"));
    assert_eq!(bench.statuses.last().map(String::as_str), Some("web: committed"));
    let saved = &bench.written().applications[&web()];
    assert_eq!(saved.brought, [(1, way.booking)]);
    assert_eq!(saved.spent.iter().map(|it| it.0).collect::<Vec<_>>(), [way.booking]);
    assert_eq!(saved.spent[0].1, began + WINDOW);
    assert_eq!((&saved.order, saved.clearances.len()), (&None, 0));
    assert_eq!(saved.runbooks, [], "it is no gateway");
    assert_eq!(bench.written(), *bench.core.saved());
}

#[test]
fn what_is_looked_at_is_looked_at_anew_after_ten_seconds() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let first = bench.until_asked();
    bench.wait(seconds(10));
    bench.offer(way.booking);
    assert_eq!(bench.take().len(), 0);
    bench.wait(millis(1));
    bench.offer(way.booking);
    let second = bench.until_asked();
    assert_ne!(first.2, second.2);
    bench.clear(first);
    assert_eq!(bench.take().len(), 0, "the old question is not asked any longer");
    bench.clear(second);
    bench.until(|it| matches!(it, Output::Read { .. }));
    bench.wait(seconds(11));
    bench.offer(way.booking);
    let gave_up = |it: &Output| matches!(it, Output::GiveUpReading { .. });
    assert!(bench.take().iter().any(gave_up), "what was being read is not wanted");
}

#[test]
fn a_newer_offer_takes_the_place_of_what_is_only_looked_at() {
    let mut bench = Bench::new();
    let (one, two) = (bench.order("1.0"), bench.order("1.1"));
    bench.offer(one.booking);
    bench.take();
    bench.offer(two.booking);
    let said = bench.take();
    assert!(
        matches!(&said[..], [Output::Say(FromApplier::WantClearance { order, .. })] if *order == two.booking),
        "nothing was being read: {said:?}"
    );
    assert_eq!(bench.report().order, Some(two.booking));
}

#[test]
fn while_one_is_in_hand_another_is_told_to_wait_and_the_same_is_no_news() {
    let mut bench = Bench::new();
    let (one, two) = (bench.order("1.0"), bench.order("1.1"));
    bench.offer(one.booking);
    bench.until_work("assemble");
    bench.offer(one.booking);
    assert_eq!((bench.take().len(), bench.refused()), (0, None));
    bench.offer(two.booking);
    assert_eq!(bench.refused(), Some((two.booking, Code::Busy)));
    assert_eq!(bench.outcomes(), [], "that is nothing to sign");
    let facts = &bench.report().refused.as_ref().unwrap().1.facts;
    assert!(facts.contains(&one.booking.short()), "{facts}");
}

#[test]
fn an_offer_of_what_has_just_ended_is_passed_over_until_that_is_logged() {
    let mut bench = Bench::new();
    let (one, two) = (bench.order("1.0"), bench.order("1.1"));
    bench.offer(one.booking);
    bench.until_ended();
    bench.take();
    let noted = bench.notes.len();
    bench.offer(one.booking);
    assert_eq!((bench.take().len(), bench.notes.len()), (0, noted));
    bench.offer(two.booking);
    assert_eq!(bench.until_asked().0, two.booking, "another one is looked at");
    bench.log();
    bench.offer(one.booking);
    assert!(bench.noted("what was committed is not to be taken back"));
    assert_eq!(bench.refused(), None);
}

#[test]
fn what_was_begun_once_is_not_begun_again() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let start = bench.until_work("start");
    bench.failed(start, "no such file");
    let outcome = bench.until_ended();
    assert_eq!(outcome.event.name(), "returned");
    bench.log();
    bench.take();
    bench.offer(way.booking);
    let (order, code) = bench.refused().unwrap();
    assert_eq!(order, way.booking);
    assert!(!code.is_passing(), "{code}");
    let outcomes = bench.outcomes();
    assert_eq!(refusal(&outcomes[0]), code.name());
    assert_eq!((outcomes[0].release, outcomes[0].package), (way.release, way.package));
    assert_eq!((outcomes[0].generation, outcomes[0].running), (1, None));
    bench.offer(way.booking);
    bench.log();
    bench.offer(way.booking);
    assert_eq!(bench.outcomes(), [], "each refusal of an order is told once");
}

#[test]
fn an_order_for_another_application_is_refused_in_the_name_of_one_that_is_here() {
    let mut own = settings();
    let web_settings = own.applications.remove(&web()).unwrap();
    own.applications.insert(name("mail"), web_settings);
    let mut bench = Bench::with(World::new(), own);
    let way = bench.order("1.0");
    bench.offer(way.booking);
    assert_eq!(bench.refused(), Some((way.booking, Code::WrongApplication)));
    let outcomes = bench.outcomes();
    assert_eq!(
        (&outcomes[0].application, refusal(&outcomes[0])),
        (&name("mail"), "wrong-application")
    );
    assert_eq!((outcomes[0].order, outcomes[0].release), (way.booking, way.release));
    assert_eq!((outcomes[0].started, outcomes[0].ended), (bench.world.now, bench.world.now));
    assert!(bench.said().iter().any(|it| matches!(it, FromApplier::Append { .. })));
}

#[test]
fn evidence_that_proves_nothing_is_refused_once_for_whatever_order() {
    let mut bench = Bench::new();
    let (one, two) = (bench.order("1.0"), bench.order("1.1"));
    for order in [one.booking, two.booking] {
        let mut evidence = bench.evidence(order);
        evidence.entries.last_mut().unwrap().proof.clear();
        bench.offer_with(order, evidence);
        assert_eq!(bench.refused(), Some((order, Code::NotLogged)));
    }
    let outcomes = bench.outcomes();
    assert_eq!(outcomes.len(), 1, "orders can be made up without end");
    assert_eq!((outcomes[0].release, outcomes[0].package), (one.booking, one.booking));
}

#[test]
fn a_host_that_is_not_enrolled_signs_no_refusals() {
    let world = World::new();
    let trust = Trust { head: world.tree.head(), ..world.trust() };
    let saved = Saved { trust: Some(SavedTrust::of(&trust)), ..Saved::default() };
    let mut bench = Bench::on(world, settings(), saved);
    bench.connect();
    let way = bench.order("1.0");
    let mut evidence = bench.evidence(way.booking);
    evidence.entries.last_mut().unwrap().proof.clear();
    bench.offer_with(way.booking, evidence);
    assert_eq!(bench.refused(), Some((way.booking, Code::NotLogged)));
    assert_eq!(bench.outcomes(), []);

    let mut bench = Bench::on(World::new(), settings(), Saved::default());
    bench.connect();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    assert_eq!(bench.refused(), Some((way.booking, Code::SubjectUnknown)), "it has not joined");
}

#[test]
fn what_passes_by_itself_is_not_signed() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.inhibitors = vec!["a backup runs".to_owned()];
    bench.look();
    bench.offer(way.booking);
    assert_eq!(bench.refused(), Some((way.booking, Code::Inhibited)));
    let facts = &bench.report().refused.as_ref().unwrap().1.facts;
    assert!(facts.contains("a backup runs"), "{facts}");
    assert_eq!(bench.outcomes(), []);
    bench.inhibitors.clear();
    bench.look();
    bench.offer(way.booking);
    bench.until_asked();
    assert_eq!(bench.refused(), None, "it is looked at again");
}

#[test]
fn long_facts_are_cut() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.inhibitors = vec!["x".repeat(3000)];
    bench.look();
    bench.offer(way.booking);
    let facts = &bench.report().refused.as_ref().unwrap().1.facts;
    assert_eq!(facts.chars().count(), 1000);
}

#[test]
fn an_offer_for_a_head_of_before_is_no_fault() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    let known = bench.known();
    bench.offer(way.booking);
    bench.until_asked();
    // A statement of the host's own is logged, the log grows, and the offer is for what the host knew.
    let stale = bench.known();
    assert!(known < stale);
    bench.order("1.1");
    let receipt_head = bench.world.tree.size();
    let other = bench.order("1.2");
    let evidence = bench.world.evidence(other.booking, HOST, stale);
    let middle = World::replay(&bench.world, receipt_head);
    let mut between = middle.evidence(way.booking, HOST, stale);
    between.release_consistency = bench.world.tree.consistency(stale - 1, receipt_head).unwrap();
    bench.stop_with(way.booking, between);
    assert_eq!(bench.known(), receipt_head);
    bench.offer_with(other.booking, evidence.clone());
    assert!(bench.noted("the offer was made for a head of before"));
    assert_eq!((bench.refused(), bench.outcomes().len()), (None, 0));

    // A log that is another one, from some entry on, is.
    let mut forked = World::replay(&bench.world, receipt_head - 1);
    forked.now = bench.world.now;
    for _ in 0..8 {
        forked.say(&["sue"], crate::world::release("6.6", Digest::of(b"other"))).unwrap();
    }
    let mut evidence = evidence;
    evidence.checkpoint = forked.note();
    evidence.consistency = forked.tree.consistency(receipt_head, forked.tree.size()).unwrap();
    bench.offer_with(other.booking, evidence);
    assert_eq!(bench.refused(), Some((other.booking, Code::CheckpointInconsistent)));
    assert_eq!(refusal(&bench.outcomes()[0]), "checkpoint-inconsistent");
}

#[test]
fn a_head_and_a_policy_that_are_learnt_are_written_down() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let trusted = |bench: &Bench| bench.written().trust.unwrap().trust().unwrap();
    assert_eq!(trusted(&bench).head, bench.world.tree.head());
    assert_eq!(trusted(&bench).policy.document().version, 1);
    bench.world.say(&["root"], document(2)).unwrap();
    let other = bench.order("1.1");
    bench.offer(other.booking);
    assert_eq!(trusted(&bench).policy.document().version, 2);
    assert_eq!(bench.reports.last().unwrap().policy_version, 2);
}

#[test]
fn nothing_is_looked_at_that_cannot_be_written_down() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.kept.full = true;
    bench.offer(way.booking);
    assert_eq!(bench.refused(), Some((way.booking, Code::Busy)));
    assert_eq!(bench.take().len(), 0);
    bench.kept.full = false;
    bench.offer(way.booking);
    bench.until_ended();
}

#[test]
fn what_is_known_already_is_not_written_down_again() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    bench.take();
    bench.kept.full = true;
    bench.wait(seconds(11));
    bench.offer(way.booking);
    assert_eq!(bench.refused(), None);
    assert_eq!(bench.until_asked().0, way.booking);
}
