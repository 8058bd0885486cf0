//! Attacks that gained something once, or nearly: each must gain nothing.

use std::time::Duration;

use cutover_shared::authorise::TakenBack;
use cutover_shared::digest::Digest;
use cutover_shared::evidence;
use cutover_shared::policy::KeyStatus;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{
    Event, Hold, HostChange, Judgement, Resume, Review, Statement, Verdict, Vote, WindowRelease,
};

use crate::world::{
    Way, World, at, booking, document, enrolment, key, name, names, outcome, release,
};

fn code<T: std::fmt::Debug>(result: Result<T, cutover_shared::refusal::Refusal>) -> Code {
    result.unwrap_err().code
}

#[test]
fn a_signature_beside_a_vote_is_no_second_vote() {
    let mut world = World::new();
    let (release, _) = world.submit("1.0");
    let vote = Vote {
        release,
        environments: names(&["production"]),
        judgement: Judgement::Accepted { reason: String::new() },
        conditions: Vec::new(),
    };
    world.say(&["bea", "bob"], vote.clone()).unwrap();
    let votes = world.state.case(&release).unwrap().votes_for(&name("production")).len();
    assert_eq!(votes, 1, "the speaker's alone");
    assert_eq!(
        code(world.say(&["ops", "bob"], vote)),
        Code::RoleMissing,
        "the speaker has no vote"
    );
}

#[test]
fn hosts_prove_nothing_for_orders_that_do_not_name_them() {
    let mut world = World::new();
    world.say(&["ops"], enrolment("s2", "staging")).unwrap();
    let (release, package) = world.submit("1.0");
    world.approve(release, package);
    let staging = world.book((release, package), "staging", &[&["s1"]]);
    let way = Way { release, package, booking: staging };
    world.release_window(way);
    let stranger = outcome("s2", way, Event::Committed, world.now);
    assert_eq!(code(world.say(&["s2"], stranger)), Code::WrongHost);
    let mut other = outcome("s1", way, Event::Committed, world.now);
    other.package = Digest::of(b"another");
    assert_eq!(code(world.say(&["s1"], other)), Code::WrongHost);
    let event = Event::Returned { step: "checking".to_owned(), reason: "lies".to_owned() };
    let elsewhere = outcome("p1", way, event, world.now);
    assert_eq!(code(world.say(&["p1"], elsewhere)), Code::WrongHost);
    assert_eq!(world.state.returned_at(&package), None, "one host key cannot stop a package");
}

#[test]
fn an_old_review_logged_again_is_no_new_review() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let review = Review {
        release: way.release,
        environments: names(&["staging", "production"]),
        verdict: Verdict::Complete,
    };
    let old = Statement::new(at(0), review.clone());
    let mut facts = world.facts("p1");
    let size = world.tree.size();
    let back = TakenBack { size, time: world.now };
    facts.installed.returned.insert(way.package, back);
    // The coordinator logs the librarian's old statement a second time and shows that one only.
    let bytes = old.signed_by([&key("lib")]).to_bytes();
    let _ = world.append_bytes(bytes);
    let is_review = |index: &u64| {
        let envelope = &world.entries[usize::try_from(*index).unwrap()];
        let envelope = cutover_shared::dsse::Envelope::parse(envelope).unwrap();
        Statement::read(&envelope).unwrap().says.predicate().name() == "review"
    };
    let host = key("p1").public().id();
    let mut indexes = evidence::select(&world.state, &way.booking, &host, 1);
    indexes.retain(|index| !is_review(index));
    indexes.insert(size);
    let shown = world.evidence_of(way.booking, indexes, 0);
    let opened = evidence::open(&shown, &way.booking, &world.trust()).unwrap();
    assert_eq!(code(world.ask_on(&opened, &facts, way.booking)), Code::NotReviewed);
}

#[test]
fn a_hold_is_not_lifted_by_the_one_who_releases() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let reason = || "because".to_owned();
    let says = Hold { release: way.release, reason: reason(), finish: false };
    let hold = world.say(&["max"], says).unwrap();
    world.say(&["max"], Resume { hold, reason: reason() }).unwrap();
    assert_eq!(code(world.ask("p1", way.booking)), Code::Held);
}

#[test]
fn a_release_of_a_window_names_a_log_with_the_booking() {
    let mut world = World::new();
    let (release, package) = world.submit("1.0");
    world.approve(release, package);
    let order = world.book((release, package), "staging", &[&["s1"]]);
    let checkpoint = world.tree.head_at(1).unwrap();
    world.say(&["max"], WindowRelease { booking: order, release, package, checkpoint }).unwrap();
    world.now = at(1000);
    assert_eq!(code(world.ask("s1", order)), Code::CheckpointStale);
}

#[test]
fn a_rotated_key_stays_rotated_wherever_a_policy_is_logged_again() {
    let mut world = World::new();
    let (release, package) = world.submit("1.0");
    let vote = || Vote {
        release,
        environments: names(&["production"]),
        judgement: Judgement::Accepted { reason: String::new() },
        conditions: Vec::new(),
    };
    let mut next = document(2);
    let bob = next.keys.iter_mut().find(|it| it.owner == name("bob")).unwrap();
    bob.status = KeyStatus::Rotated { logged_below: world.tree.size() };
    let next = Statement::new(world.now, next).signed_by([&key("root")]).to_bytes();
    world.append_bytes(next.clone()).unwrap();
    assert_eq!(code(world.say(&["bob"], vote())), Code::RoleMissing);
    let _ = world.append_bytes(next);
    world.now = at(1);
    assert_eq!(code(world.say(&["bob"], vote())), Code::RoleMissing);
    let _ = package;
}

#[test]
fn hosts_and_releases_are_only_replaced_by_their_likes() {
    let mut world = World::new();
    let HostChange::Enrolled(mut new) = enrolment("s9", "staging") else { panic!("an enrolment") };
    new.replaces = Some(key("p1").public().id());
    assert_eq!(code(world.say(&["ops"], HostChange::Enrolled(new.clone()))), Code::WrongHost);
    new.replaces = Some(new.host_key.id());
    assert_eq!(code(world.say(&["ops"], HostChange::Enrolled(new))), Code::SubjectUnknown);
    let (earlier, _) = world.submit("1.0");
    let mut narrower = release("1.1", Digest::of(b"1.1"));
    narrower.environments = names(&["staging"]);
    narrower.supersedes = Some(earlier);
    assert_eq!(code(world.say(&["sue"], narrower)), Code::WrongEnvironment);
}

#[test]
fn waves_are_proven_by_their_own_booking() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    world.outcome("p1", way, Event::Committed);
    assert!(world.ask("p2", way.booking).is_ok());
    world.now = at(0);
    let again = world.say(&["max"], {
        let window = cutover_shared::window::Window { start: at(1000), end: at(3000) };
        booking((way.release, way.package), "production", &[&["p1"], &["p2"]], window)
    });
    let again = Way { booking: again.unwrap(), ..way };
    world.release_window(again);
    world.now = at(1000) + Duration::from_secs(1);
    assert_eq!(code(world.ask("p2", again.booking)), Code::WaveNotProven);
}
