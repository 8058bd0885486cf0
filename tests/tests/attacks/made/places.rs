//! Offers of another log, under another policy, for another place, or without end.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::evidence::{MAX_ENTRIES, ProvenEntry};
use cutover_shared::log::{TreeHead, checkpoint};
use cutover_shared::policy::{KeyStatus, PolicyDocument};
use cutover_shared::refusal::Code;
use cutover_shared::statement::{Booking, Hold, Statement, WindowRelease};
use cutover_shared::window::Window;

use super::offers::{
    BELOW, ENDLESS, FREEZE, MIX, Offer, ROLLBACK, WRONG, ready, ready_offer, ready_on_staging,
    ready_on_staging_offer,
};
use super::{COORDINATOR, NETWORK};
use crate::fixture::Attack;
use crate::world::{ORIGIN, Way, World, at, booking, document, key, name, names};

const FORK: &str = "RFC 6962, 7.3: a log that shows different views";

pub(super) fn attacks() -> Vec<Attack> {
    [logs(), other_logs(), policies(), places(), sizes()].concat()
}

/// Logs that are not the one that the host knows.
fn logs() -> Vec<Attack> {
    let (world, way) = ready_on_staging();
    let size = world.tree.size();
    let honest = || Offer::honest(&world, "s1", way.booking).unasked();

    // The host has seen one more entry: a hold by security.
    let mut held = ready_on_staging().0;
    let hold = Hold { release: way.release, reason: "a hole".to_owned(), finish: false };
    held.say(&["sec"], hold).unwrap();
    let mut shortened = honest();
    shortened.asked.seen = held.tree.head();

    // The same, and the attacker's log has grown another way.
    let mut grown = ready_on_staging().0;
    for number in 0..2 {
        let _ = grown.append_bytes(format!("entry {number}").into_bytes());
    }
    let mut forked = Offer::honest(&grown, "s1", way.booking).unasked();
    forked.asked.seen = held.tree.head();
    forked.evidence.consistency =
        grown.tree.consistency(held.tree.size(), grown.tree.size()).unwrap();

    let mut unlogged = honest();
    let last = unlogged.evidence.entries.len() - 1;
    unlogged.evidence.entries[last].index = size;
    let mut moved = honest();
    let proof = moved.evidence.entries[1].proof.clone();
    let place = moved.evidence.entries[2].index;
    moved.evidence.entries[2].proof = proof;

    let seen = held.tree.size();
    vec![
        shortened
            .attack(
                "log-shortened",
                "The log as it was before security's hold, which the host has seen.",
            )
            .by(COORDINATOR, FREEZE)
            .refused(
                Code::CheckpointStale,
                format!("the log offered has {size} entries, {seen} were seen before"),
            ),
        forked
            .attack(
                "log-forked",
                "A log without security's hold, grown past the one that the host has seen.",
            )
            .by(COORDINATOR, FORK)
            .refused(Code::CheckpointInconsistent, format!(
                    "{} entries do not extend the {seen} seen before: arrive at the root of the log of \
                     {seen} entries",
                    seen + 1
                )),
        unlogged
            .attack("entry-that-is-not-logged", "A statement that is kept out of the log: nobody else sees it.")
            .by(COORDINATOR, FORK)
            .refused(Code::NotLogged, format!("entry {size}: find entry {size} in a log of {size}")),
        moved
            .attack("entry-with-the-proof-of-another", "A statement with another one's proof.")
            .by(COORDINATOR, FORK)
            .refused(Code::NotLogged, format!("entry {place}: arrive at the root of the log of {size} entries")),
        two_faced(),
    ]
}

/// Another log altogether.
fn other_logs() -> Vec<Attack> {
    let (world, way) = ready_on_staging();
    let honest = || Offer::honest(&world, "s1", way.booking).unasked();
    let mut other_log = honest();
    other_log.evidence.checkpoint =
        checkpoint::sign("other.test/log", &world.tree.head(), at(1000), &key("log"));
    let mut by_another = honest();
    by_another.evidence.checkpoint =
        checkpoint::sign(ORIGIN, &world.tree.head(), at(1000), &key("max"));

    vec![
        other_log
            .attack("log-of-another-origin", "The same entries in another log of the same key.")
            .by(COORDINATOR, FORK)
            .refused(
                Code::SignatureInvalid,
                "checkpoint: accept a checkpoint of \"other.test/log\": expected \"cutover.test/log\"",
            ),
        by_another
            .attack("log-by-another-key", "A log of the attacker's own.")
            .by(NETWORK, "TUF 1.0.33, 1.5.2: malicious mirrors")
            .refused(
                Code::SignatureInvalid,
                "checkpoint: find the log's signature on the checkpoint",
            ),
    ]
}

/// The change manager's program saw another log than this one when it released the window.
fn two_faced() -> Attack {
    let (mut two_faced, way) = ready_on_staging();
    two_faced.now = at(0);
    let order = two_faced.book((way.release, way.package), "staging", &[&["s1"]]);
    let checkpoint = TreeHead { root: Digest::of(b"another"), ..two_faced.tree.head() };
    let says =
        WindowRelease { booking: order, release: way.release, package: way.package, checkpoint };
    two_faced.say(&["max"], says).unwrap();
    two_faced.now = at(1000);
    let seen = two_faced.tree.size() - 1;
    Offer::honest(&two_faced, "s1", order)
        .unasked()
        .attack(
            "log-with-two-faces",
            "The log that the change manager saw when he released the window is not the host's.",
        )
        .by(COORDINATOR, FORK)
        .refused(
            Code::CheckpointInconsistent,
            format!(
                "{} entries do not extend the {seen} seen before: arrive at the root of the log of \
                     {seen} entries",
                seen + 1
            ),
        )
}

/// Policies that are old, too new, or too weak.
fn policies() -> Vec<Attack> {
    let signed = |document: PolicyDocument, by: &str| {
        Statement::new(at(0), document).signed_by([&key(by)]).to_bytes()
    };
    let with = |next: Vec<u8>| {
        let (mut world, way) = ready_on_staging();
        let mut indexes: BTreeSet<u64> =
            world.evidence(way.booking, "s1", 0).entries.iter().map(|it| it.index).collect();
        indexes.remove(&0);
        indexes.insert(world.tree.size());
        let _ = world.append_bytes(next);
        let evidence = world.evidence_of(way.booking, indexes, 0);
        Offer::of(&world, "s1", way.booking, evidence).unasked()
    };
    let mut expired = ready_offer().unasked();
    expired.asked.now = at(365 * 86400);
    let mut stolen = document(2);
    stolen.keys.iter_mut().find(|it| it.owner == name("lib")).unwrap().status =
        KeyStatus::Compromised;
    vec![
        with(signed(stolen, "root"))
            .attack(
                "review-with-a-stolen-key",
                "A review by a key that the newest policy calls compromised.",
            )
            .by("one person's stolen key", BELOW)
            .refused(Code::NotReviewed, "0 of 1 reviews for staging"),
        with(signed(document(3), "root"))
            .attack(
                "policy-version-withheld",
                "The policy after the next: the one between, which revoked a key, is withheld.",
            )
            .by(COORDINATOR, ROLLBACK)
            .refused(Code::PolicyRollback, "version 3 after version 1"),
        with(signed(document(2), "max"))
            .attack(
                "policy-by-a-change-manager",
                "The next policy, signed by somebody who is no root owner.",
            )
            .by("one person's key, and the coordinator", BELOW)
            .refused(Code::ThresholdNotMet, "policy 2 needs 1 root owners of policy 1; 1 signed"),
        expired
            .attack(
                "policy-expired",
                "A policy that nobody has renewed: the root may have been lost.",
            )
            .by(COORDINATOR, FREEZE)
            .refused(
                Code::PolicyExpired,
                format!("policy version 1 expired at {}", at(365 * 86400)),
            ),
    ]
}

/// Orders for somebody else.
fn places() -> Vec<Attack> {
    let (world, way) = ready();
    let honest = || Offer::honest(&world, "p1", way.booking).unasked();
    let mut application = honest();
    application.asked.applications = names(&["mail"]);
    let mut environment = honest();
    environment.asked.environment = name("staging");
    let mut other_key = honest();
    other_key.asked.host_key = key("p1 before it was stolen").public().id();
    let mut elsewhere = honest();
    elsewhere.asked.host = name("p9");
    vec![
        application
            .attack(
                "application-of-another-host",
                "An application that this host's own configuration has not.",
            )
            .by(COORDINATOR, WRONG)
            .refused(Code::WrongApplication, "p1 has no web"),
        environment
            .attack(
                "environment-of-another-host",
                "A production order for a host that is in staging.",
            )
            .by(COORDINATOR, WRONG)
            .refused(
                Code::WrongEnvironment,
                "the booking is for production, this host is in staging",
            ),
        other_key
            .attack("order-for-an-old-self", "An order for the host that had this name before.")
            .by(COORDINATOR, WRONG)
            .refused(Code::WrongHost, "the booking does not name p1"),
        elsewhere
            .attack("order-for-another-host", "An order that names another host.")
            .by(COORDINATOR, WRONG)
            .refused(Code::WrongHost, "the booking does not name p9"),
        window_past_the_policy(),
        longer_than_allowed(),
    ]
}

/// A booking signed by the change manager that the policy does not allow, and that is in the log all the
/// same.
fn booked(change: impl Fn(&mut Booking), document: PolicyDocument) -> Offer {
    let mut world = World::with_policy(document);
    let way = world.whole_way("1.0");
    world.now = at(0);
    let window = Window { start: at(1000), end: at(2000) };
    let mut says = booking((way.release, way.package), "production", &[&["p1"]], window);
    change(&mut says);
    let order = world.say(&["max"], says).unwrap();
    world.release_window(Way { booking: order, ..way });
    world.now = at(1000);
    Offer::honest(&world, "p1", order).unasked()
}

fn window_past_the_policy() -> Attack {
    let mut ending = document(1);
    ending.expires = at(3000);
    booked(|says| says.window.end = at(4000), ending)
        .attack("window-past-the-policy", "A window that goes on when the policy has expired.")
        .by("the change manager's key, and the coordinator", FREEZE)
        .refused(
            Code::PolicyExpired,
            format!("the window ends after the policy does, {}", at(3000)),
        )
}

fn longer_than_allowed() -> Attack {
    let year = Duration::from_hours(24 * 300);
    booked(|says| says.window.end = at(1000) + year, document(1))
        .attack("window-without-end", "A window of three hundred days: a licence for ever.")
        .by("the change manager's key, and the coordinator", "DESIGN 4: the longest window")
        .refused(Code::WindowTooLong, "25920000 s booked, 28800 s allowed")
}

/// Too much, or in disorder.
fn sizes() -> Vec<Attack> {
    let entry = |index: u64| ProvenEntry { index, envelope: Vec::new(), proof: Vec::new() };
    let mut many = ready_on_staging_offer();
    many.evidence.entries = (0..).take(MAX_ENTRIES + 1).map(entry).collect();
    let mut twice = ready_on_staging_offer();
    let first = twice.evidence.entries[0].clone();
    twice.evidence.entries.insert(1, first);
    let mut reversed = ready_on_staging_offer();
    reversed.evidence.entries.reverse();
    let facts = "the evidence's entries do not rise, or are too many";
    vec![
        many.attack("evidence-without-end", "More entries than any order can need.")
            .by(NETWORK, ENDLESS)
            .refused(Code::Malformed, facts),
        twice
            .attack("evidence-with-an-entry-twice", "One entry in two places.")
            .by(NETWORK, MIX)
            .refused(Code::Malformed, facts),
        reversed
            .attack(
                "evidence-in-another-order",
                "The entries backwards: a cancellation before what it cancels.",
            )
            .by(NETWORK, MIX)
            .refused(Code::Malformed, facts),
    ]
}
