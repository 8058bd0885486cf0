//! A coordinator that clears a host without the witnesses whom the policy demands, or with fewer than it
//! makes them seem.

use cutover_shared::authorise::WitnessClearance;
use cutover_shared::codec;
use cutover_shared::digest::Digest;
use cutover_shared::policy::{PolicyDocument, WitnessKey};
use cutover_shared::refusal::Code;
use cutover_shared::statement::{Says, Statement};

use super::COORDINATOR;
use super::offers::{BELOW, FREEZE, Offer, ROLLBACK, nonce, on_staging};
use crate::fixture::Attack;
use crate::world::{Way, World, document, enrolment, key, name};

/// Owners of witnesses, and the names of their keys.
const WITNESSES: [(&str, &str); 3] =
    [("wanda", "wanda"), ("wanda", "wanda's other"), ("will", "will")];

/// Two owners' witnesses are demanded in staging.
fn demanding() -> PolicyDocument {
    let mut document = document(1);
    let witness = |(number, (owner, of)): (usize, &(&str, &str))| WitnessKey {
        name: format!("w{number}.witness.test"),
        owner: name(owner),
        email: format!("{owner}@example.org"),
        key: key(of).public(),
    };
    document.witnesses = WITNESSES.iter().enumerate().map(witness).collect();
    for rule in document.rules.iter_mut().filter(|it| it.environment == name("staging")) {
        rule.witnesses = 2;
    }
    document
}

/// A world in which s1 may go to a release when two owners' witnesses clear it, and the size of its log
/// before the newest entry.
fn ready() -> (World, Way, u64) {
    let (mut world, way) = on_staging(World::with_policy(demanding()));
    let before = world.tree.size();
    world.say(&["ops"], enrolment("p9", "production")).unwrap();
    (world, way, before)
}

/// `statement` as a witness's, who had seen `from` entries.
fn signed(world: &World, statement: &Statement, by: &str, from: u64) -> WitnessClearance {
    let consistency = world.tree.consistency(from, world.tree.size()).unwrap();
    WitnessClearance { clearance: statement.signed_by([&key(by)]).to_bytes(), consistency }
}

fn offered(name: &'static str, title: &str, cleared: &[WitnessClearance]) -> Attack {
    let (world, way, _) = ready();
    let offer = Offer::honest(&world, "s1", way.booking).attack(name, title);
    let files = ["witness-01.bin", "witness-02.bin"];
    assert!(cleared.len() <= files.len(), "a file each");
    files
        .into_iter()
        .zip(cleared)
        .fold(offer, |offer, (file, cleared)| offer.file(file, codec::encode(cleared).unwrap()))
}

fn by(owners: &[&str]) -> Vec<WitnessClearance> {
    let (world, way, _) = ready();
    let statement = world.clearance("s1", way.booking, nonce());
    owners.iter().map(|owner| signed(&world, &statement, owner, world.tree.size())).collect()
}

pub(super) fn controls() -> Vec<Attack> {
    vec![offered("witnesses", "", &by(&["wanda", "will"]))]
}

pub(super) fn attacks() -> Vec<Attack> {
    let (world, way, before) = ready();
    let mut early = world.clearance("s1", way.booking, nonce());
    let Says::Clearance(says) = &mut early.says else { unreachable!("a clearance") };
    says.checkpoint = world.tree.head_at(before).unwrap();
    let unproven = WitnessClearance {
        clearance: early.signed_by([&key("will")]).to_bytes(),
        consistency: Vec::new(),
    };
    let replayed = world.clearance("s1", way.booking, Digest::of(b"the nonce before"));
    let replayed = signed(&world, &replayed, "will", world.tree.size());
    let good = by(&["wanda"]).remove(0);
    let one_and = |why: &str| format!("1 of 2 witnesses cleared it: {why}");
    let earlier = format!(
        "checkpoint-inconsistent: will: {} entries do not extend the {before} seen before: use a \
         proof of 0 hashes where 3 are due",
        world.tree.size()
    );
    vec![
        offered("witnesses-left-out", "The coordinator clears the host alone.", &[])
            .by(COORDINATOR, FREEZE)
            .refused(Code::NotCleared, "0 of 2 witnesses cleared it"),
        offered("witness-below-the-quorum", "One witness of two.", &by(&["wanda"]))
            .by("the coordinator, and one witness", BELOW)
            .refused(Code::NotCleared, "1 of 2 witnesses cleared it"),
        offered(
            "witness-with-two-keys",
            "Two witnesses of one owner.",
            &by(&["wanda", "wanda's other"]),
        )
        .by("the coordinator, and one owner's witnesses", BELOW)
        .refused(Code::NotCleared, "1 of 2 witnesses cleared it"),
        offered(
            "witness-by-the-coordinator",
            "The coordinator signs as the second witness, too.",
            &by(&["wanda", "log"]),
        )
        .by("the coordinator, and one witness", BELOW)
        .refused(Code::NotCleared, one_and("signature-invalid: by no witness of the policy")),
        offered(
            "witness-of-an-earlier-log",
            "A witness cleared an earlier log, and nothing shows that this one extends it.",
            &[good.clone(), unproven],
        )
        .by(COORDINATOR, FREEZE)
        .refused(Code::NotCleared, one_and(&earlier)),
        offered(
            "witness-replayed",
            "A witness's clearance of an earlier request.",
            &[good, replayed],
        )
        .by(COORDINATOR, ROLLBACK)
        .refused(
            Code::NotCleared,
            one_and("not-cleared: will: the clearance answers another request"),
        ),
    ]
}
