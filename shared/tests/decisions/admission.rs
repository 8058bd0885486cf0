//! Admission: early and helpful, with the codes that the host would give.

use std::time::Duration;

use cutover_shared::authorise::admission::admit;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{Event, Judgement, Says, Statement, Vote, WindowRelease};
use cutover_shared::time::Time;
use cutover_shared::window::Window;

use crate::world::{Way, World, at, booking, enrolment, key, names, outcome};

fn try_at(world: &World, owner: &str, says: impl Into<Says>, now: Time) -> Option<Code> {
    let bytes = Statement::new(world.now, says).signed_by([&key(owner)]).to_bytes();
    admit(&world.state, world.tree.size(), &bytes, now).err().map(|it| it.code)
}

fn vote(way: (cutover_shared::digest::Digest, cutover_shared::digest::Digest)) -> Vote {
    Vote {
        release: way.0,
        environments: names(&["production"]),
        judgement: Judgement::Accepted { reason: String::new() },
        conditions: Vec::new(),
    }
}

#[test]
fn roles_and_duties() {
    let mut world = World::new();
    let release = world.submit("1.0");
    assert_eq!(try_at(&world, "bea", vote(release), at(0)), None);
    assert_eq!(try_at(&world, "lib", vote(release), at(0)), Some(Code::RoleMissing));
    assert_eq!(try_at(&world, "sue", vote(release), at(0)), Some(Code::DutiesNotSeparate));
    assert_eq!(try_at(&world, "stranger", vote(release), at(0)), Some(Code::RoleMissing));
    let unknown = (release.1, release.1);
    assert_eq!(try_at(&world, "bea", vote(unknown), at(0)), Some(Code::SubjectUnknown));
}

#[test]
fn the_signers_clock() {
    let mut world = World::new();
    let release = world.submit("1.0");
    let minutes = |n| Duration::from_mins(n);
    assert_eq!(try_at(&world, "bea", vote(release), at(0) + minutes(5)), None);
    assert_eq!(
        try_at(&world, "bea", vote(release), at(0) + minutes(6)),
        Some(Code::ClockSkew),
        "an old statement kept back"
    );
    assert_eq!(try_at(&world, "bea", vote(release), at(0) - minutes(6)), Some(Code::ClockSkew));
    // A no is as good late; a yes kept back is not.
    let no = || Vote {
        judgement: Judgement::Denied { reason: "too risky".to_owned() },
        ..vote(release)
    };
    assert_eq!(try_at(&world, "bea", no(), at(0) + minutes(24 * 60)), None);
    let late = at(0) + minutes(24 * 60) + Duration::from_secs(1);
    assert_eq!(try_at(&world, "bea", no(), late), Some(Code::ClockSkew));
    assert_eq!(try_at(&world, "bea", no(), at(0) - minutes(6)), Some(Code::ClockSkew));
}

/// A host's clock may have been set while it worked: what became of it is heard all the same, and who waits for
/// its wave to stay healthy waits by the time that it told.
#[test]
fn a_hosts_clock() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let now = world.now;
    let hour = Duration::from_hours(1);
    for clock in [now - hour, now, now + hour] {
        let says = outcome("p1", way, Event::Committed, clock);
        let bytes = Statement::new(clock, says).signed_by([&key("p1")]).to_bytes();
        let admitted = admit(&world.state, world.tree.size(), &bytes, now);
        assert!(admitted.is_ok(), "{clock} at {now}: {admitted:?}");
    }
    // It says nothing of an order that there is not, or by another's key.
    let nowhere = Way { booking: way.release, ..way };
    for (signer, way, code) in
        [("p1", nowhere, Code::SubjectUnknown), ("p2", way, Code::SignatureInvalid)]
    {
        let says = outcome("p1", way, Event::Committed, now + hour);
        let bytes = Statement::new(now + hour, says).signed_by([&key(signer)]).to_bytes();
        let refused = admit(&world.state, world.tree.size(), &bytes, now).err().map(|it| it.code);
        assert_eq!(refused, Some(code));
    }
}

#[test]
fn bookings_follow_approvals_and_fit() {
    let mut world = World::new();
    let release = world.submit("1.0");
    let window = |start, end| Window { start: at(start), end: at(end) };
    let book = |world: &World, window| {
        try_at(world, "max", booking(release, "production", &[&["p1"]], window), world.now)
    };
    assert_eq!(book(&world, window(1000, 2000)), Some(Code::NotReviewed));
    world.approve(release.0, release.1);
    assert_eq!(book(&world, window(1000, 2000)), None);
    assert_eq!(book(&world, window(1000, 1100)), Some(Code::WindowTooShort));
    assert_eq!(book(&world, window(1000, 100_000)), Some(Code::WindowTooLong));
    let elsewhere = booking(release, "production", &[&["s1"]], window(1000, 2000));
    assert_eq!(try_at(&world, "max", elsewhere, at(0)), Some(Code::WrongEnvironment));
    let unknown = booking(release, "production", &[&["p9"]], window(1000, 2000));
    assert_eq!(try_at(&world, "max", unknown, at(0)), Some(Code::WrongHost));
    let twice = booking(release, "production", &[&["p1"], &["p1"]], window(1000, 2000));
    assert_eq!(try_at(&world, "max", twice, at(0)), Some(Code::Malformed));
}

#[test]
fn a_window_is_released_only_when_staging_proved_it() {
    let mut world = World::new();
    let (release, package) = world.submit("1.0");
    world.approve(release, package);
    let booking = world.book((release, package), "production", &[&["p1"]]);
    let way = Way { release, package, booking };
    let says = WindowRelease { booking, release, package, checkpoint: world.tree.head() };
    assert_eq!(try_at(&world, "max", says.clone(), at(0)), Some(Code::EnvironmentNotProven));
    let staging = world.book((release, package), "staging", &[&["s1"]]);
    let on_staging = Way { booking: staging, ..way };
    world.release_window(on_staging);
    world.outcome("s1", on_staging, Event::Committed);
    assert_eq!(try_at(&world, "max", says, at(0)), None);
}

#[test]
fn names_of_hosts_are_taken_once() {
    let world = World::new();
    let again = enrolment("p1", "production");
    assert_eq!(try_at(&world, "ops", again, at(0)), Some(Code::NameTaken));
    assert_eq!(
        try_at(&world, "sue", enrolment("p7", "production"), at(0)),
        Some(Code::RoleMissing)
    );
}
