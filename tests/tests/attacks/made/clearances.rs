//! Clearances of another time, host, order or log. The order that they come with is good.

use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{Clearance, Hold, Phase, Says, Statement};
use cutover_shared::time::Time;

use super::offers::{Offer, nonce, ready};
use super::{COORDINATOR, NETWORK, PERSON};
use crate::fixture::Attack;
use crate::world::{at, key, name};

const REPLAY: &str = "DESIGN 11: a clearance answers the applier's own nonce";
const FREEZE: &str = "TUF 1.0.33, 1.5.2: indefinite freeze attack";
const CLOCK: &str = "DESIGN 6: the clock is evidence too";

/// The clearance that is honest, changed.
fn changed(change: impl Fn(&mut Clearance)) -> Statement {
    let (world, way) = ready();
    let mut statement = world.clearance("p1", way.booking, nonce());
    let Says::Clearance(says) = &mut statement.says else {
        panic!("a clearance");
    };
    change(says);
    statement
}

/// The good order, with this clearance.
fn with(name: &'static str, title: &str, by: &str, statement: &Statement) -> Attack {
    offered(by, statement).attack(name, title).by(COORDINATOR, REPLAY)
}

fn offered(by: &str, statement: &Statement) -> Offer {
    let (world, way) = ready();
    let mut offer = Offer::honest(&world, "p1", way.booking);
    offer.clearance = Some(statement.signed_by([&key(by)]).to_bytes());
    offer
}

pub(super) fn attacks() -> Vec<Attack> {
    [for_others(), by_others(), of_another_time(), of_another_state()].concat()
}

fn for_others() -> Vec<Attack> {
    let other = "the clearance is for another host, order or phase";
    vec![
        with(
            "clearance-replayed",
            "The answer to an earlier request of this host.",
            "log",
            &changed(|it| {
                it.nonce = Digest::of(b"another nonce");
            }),
        )
        .by(NETWORK, REPLAY)
        .refused(Code::NotCleared, "the clearance answers another request"),
        with(
            "clearance-of-another-order",
            "A clearance for another booking of this host.",
            "log",
            &changed(|it| it.order = Digest::of(b"another order")),
        )
        .refused(Code::NotCleared, other),
        with(
            "clearance-of-another-host",
            "The canary's turn, given to another host.",
            "log",
            &changed(|it| {
                it.host = name("p2");
                it.host_key = key("p2").public().id();
            }),
        )
        .by(NETWORK, REPLAY)
        .refused(Code::NotCleared, other),
        with(
            "clearance-of-another-phase",
            "The clearance to start, to activate with.",
            "log",
            &changed(|it| {
                it.phase = Phase::Activate;
            }),
        )
        .by(NETWORK, REPLAY)
        .refused(Code::NotCleared, other),
    ]
}

fn by_others() -> Vec<Attack> {
    let honest = changed(|_| {});
    let stranger = "the clearance is not signed by the key that is to sign it";
    let (world, way) = ready();
    let hold = Hold { release: way.release, reason: "because".to_owned(), finish: false };
    let hold = Statement::new(world.now, hold).until(world.now + Duration::from_mins(1));
    vec![
        with(
            "clearance-by-a-change-manager",
            "A person clears, in the log's place.",
            "max",
            &honest,
        )
        .by(PERSON, "DESIGN 3: clearances are the coordinator's and the witnesses'")
        .refused(Code::SignatureInvalid, stranger),
        with("clearance-by-the-host-itself", "A host clears itself.", "p1", &honest)
            .by("one host's key", "DESIGN 3: clearances are the coordinator's and the witnesses'")
            .refused(Code::SignatureInvalid, stranger),
        with(
            "clearance-that-is-a-hold",
            "Another statement in the place of a clearance.",
            "log",
            &hold,
        )
        .by(COORDINATOR, "DSSE 1.0, \"Background\": type confusion")
        .refused(Code::Malformed, "a hold where a clearance was due"),
    ]
}

fn of_another_time() -> Vec<Attack> {
    let ends = |seconds: u64| {
        let mut statement = changed(|_| {});
        statement.header.not_after = Some(at(seconds));
        statement
    };
    let mut endless = changed(|_| {});
    endless.header.not_after = None;
    let asked_at = |now: Time, statement: &Statement| {
        let mut offer = offered("log", statement);
        offer.asked.now = now;
        offer
    };
    let mut slow = offered("log", &changed(|_| {}));
    slow.asked.round_trip_milliseconds = 61_000;
    slow.asked.now = at(1030);
    let mut back = offered("log", &changed(|_| {}));
    back.asked.newest_time = Some(at(1001));
    vec![
        with(
            "clearance-that-ran-out",
            "A clearance that ended when it was signed.",
            "log",
            &ends(1000),
        )
        .by(NETWORK, FREEZE)
        .refused(Code::NotCleared, "the clearance has run out"),
        with("clearance-without-end", "A clearance that is good for ever.", "log", &endless)
            .by(COORDINATOR, FREEZE)
            .refused(Code::Malformed, "the clearance has no not_after"),
        {
            // A round trip that would excuse the difference of the clocks.
            let mut offer = asked_at(at(1060), &ends(100_000));
            offer.asked.round_trip_milliseconds = 59_000;
            offer
                .attack(
                    "clearance-stretched",
                    "A clearance signed for a day, used after its minute.",
                )
                .by(COORDINATOR, FREEZE)
                .refused(Code::NotCleared, "the clearance has run out")
        },
        slow.attack(
            "clearance-on-the-way-for-a-minute",
            "An answer that was kept back for a minute.",
        )
        .by(NETWORK, "TUF 1.0.33, 1.5.2: slow retrieval attack")
        .refused(Code::NotCleared, "the answer took longer than a clearance is good"),
        asked_at(at(1003), &changed(|_| {}))
            .attack("clearance-with-another-clock", "The host's clock is ahead of the signed time.")
            .by("the host's time source", CLOCK)
            .refused(
                Code::ClockSkew,
                format!(
                    "the clock here says {}, the signed time {}: 3000 ms apart, 2005 allowed",
                    at(1003),
                    at(1000)
                ),
            ),
        back.attack("clock-turned-back", "The host's clock is behind a time that it has accepted.")
            .by("the host's time source", CLOCK)
            .refused(
                Code::ClockSteppedBack,
                format!("the clock here says {}, {} was accepted before", at(1000), at(1001)),
            ),
    ]
}

fn of_another_state() -> Vec<Attack> {
    let (world, _) = ready();
    let size = world.tree.size();
    let before = world.tree.head_at(size - 1).unwrap();
    vec![
        with(
            "clearance-of-an-older-log",
            "A clearance that judged a shorter log.",
            "log",
            &changed(|it| {
                it.checkpoint = before.clone();
            }),
        )
        .by(COORDINATOR, FREEZE)
        .refused(
            Code::CheckpointStale,
            format!("the clearance judged {} entries, the host knows {size}", size - 1),
        ),
        with(
            "clearance-of-a-forked-log",
            "A clearance that judged another log of the same size.",
            "log",
            &changed(|it| it.checkpoint.root = Digest::of(b"another")),
        )
        .by(COORDINATOR, "RFC 6962, 7.3: a log that shows different views")
        .refused(
            Code::CheckpointStale,
            format!("the clearance judged {size} entries, the host knows {size}"),
        ),
        with(
            "clearance-of-another-policy",
            "A clearance under a policy that the host was not shown.",
            "log",
            &changed(|it| {
                it.policy_version = 2;
                it.policy = Digest::of(b"another");
            }),
        )
        .by(COORDINATOR, "DESIGN 11: a clearance names the policy in force")
        .refused(
            Code::PolicyRollback,
            "the clearance names policy version 2, the evidence has version 1",
        ),
    ]
}
