//! Ordered returns: the way back is short, and so it is tried.

use cutover_shared::digest::Digest;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{Assessment, HostTurn, Judgement, Rollback, Statement};

use super::offers::Offer;
use super::{COORDINATOR, NETWORK, PERSON};
use crate::entrance::Entrance;
use crate::fixture::Attack;
use crate::world::{Way, World, at, key, name, names};

const ROLLBACK: &str = "TUF 1.0.33, 1.5.2: rollback attack";

/// The release before.
fn before() -> Digest {
    Digest::of(b"1.0")
}

/// A host at generation 4 that runs 1.1, and an order back to 1.0 by `owner`.
fn ordered(owner: &str, deny: bool) -> (World, Way, Offer) {
    let mut world = World::new();
    let way = world.whole_way("1.1");
    if deny {
        world.now = at(0);
        let (release, package) = world.submit("1.0");
        let judgement = Judgement::Denied { reason: "leaks".to_owned() };
        let environments = names(&["production"]);
        world.say(&["sec"], Assessment { release, package, environments, judgement }).unwrap();
        world.now = at(1000);
    }
    let host_key = key("p1").public().id();
    let says = Rollback {
        application: name("web"),
        environment: name("production"),
        hosts: vec![HostTurn { host: name("p1"), host_key, generation: 4 }],
        from: way.package,
        to: before(),
        reason: "slow".to_owned(),
    };
    let statement = Statement::new(at(1000), says).until(at(1600));
    let envelope = statement.signed_by([&key(owner)]);
    let order = envelope.id();
    let _ = world.append_bytes(envelope.to_bytes());
    let mut evidence = world.evidence(order, "p1", 0);
    if world.state.rollback(&order).is_none() {
        evidence = world.evidence_of(order, world.tree.size() - 1..world.tree.size(), 0);
    }
    evidence.entries.retain(|entry| entry.index != 0);
    let mut offer = Offer::of(&world, "p1", order, evidence);
    offer.clearance = None;
    offer.asked.generation = 4;
    offer.asked.running = Some(way.package);
    offer.asked.previous = Some(before());
    (world, way, offer)
}

fn changed(name: &'static str, title: &str, change: impl Fn(&mut Offer)) -> Attack {
    let (_, _, mut offer) = ordered("max", false);
    change(&mut offer);
    offer.brought_to(Entrance::Return, name, title).by(NETWORK, ROLLBACK)
}

pub(super) fn controls() -> Vec<Attack> {
    vec![changed("a return", "", |_| {})]
}

pub(super) fn attacks() -> Vec<Attack> {
    let denial = {
        let (world, _, offer) = ordered("max", true);
        let denial = world.state.denial(&before()).unwrap();
        offer
            .brought_to(
                Entrance::Return,
                "return-to-a-denied-package",
                "Back to a release in which security has found a hole since.",
            )
            .by(PERSON, ROLLBACK)
            .refused(Code::Denied, format!("security denied the package ({})", denial.short()))
    };
    let (_, _, by_submitter) = ordered("sue", false);
    vec![
        denial,
        by_submitter
            .brought_to(
                Entrance::Return,
                "return-by-the-submitter",
                "The submitter orders a return.",
            )
            .by("the submitter's key, and the coordinator", ROLLBACK)
            .refused(Code::RollbackNotAuthorised, "no good rollback statement is known"),
        changed(
            "return-replayed",
            "A return that was ordered at an earlier generation.",
            |offer| {
                offer.asked.generation = 5;
            },
        )
        .refused(Code::GenerationPassed, "signed for generation 4, the host is at 5"),
        changed("return-carried-out-before", "A return that has been carried out.", |offer| {
            offer.asked.spent.insert(offer.asked.order);
        })
        .refused(Code::GenerationPassed, "signed for generation 4, the host is at 4"),
        changed("return-that-ran-out", "A return that nobody carried out in time.", |offer| {
            offer.asked.now = at(1600);
        })
        .refused(Code::WindowClosed, "the rollback has run out"),
        changed("return-further-back", "Back past the release before, to an old hole.", |offer| {
            offer.asked.previous = Some(Digest::of(b"another"));
        })
        .by(COORDINATOR, ROLLBACK)
        .refused(Code::RollbackNotAuthorised, "it does not go to the release before"),
        changed("return-from-another-release", "A return from what does not run here.", |offer| {
            offer.asked.running = Some(Digest::of(b"another"));
        })
        .by(COORDINATOR, ROLLBACK)
        .refused(Code::RollbackNotAuthorised, "another package runs than the one to leave"),
        changed("return-of-another-host", "One host's return, offered to another.", |offer| {
            offer.asked.host = name("p2");
            offer.asked.host_key = key("p2").public().id();
        })
        .refused(Code::WrongHost, "the rollback does not name p2"),
        changed(
            "return-of-another-environment",
            "Production's return, offered in staging.",
            |offer| {
                offer.asked.environment = name("staging");
            },
        )
        .refused(Code::WrongEnvironment, "the rollback is for production"),
    ]
}
