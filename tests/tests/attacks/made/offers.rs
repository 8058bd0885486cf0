//! What a host is offered by a coordinator, or by a network half, that cheats: everything in it is signed by
//! somebody and proven to be in some log, but something is missing, old, or of another place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use cutover_shared::authorise::HostFacts;
use cutover_shared::codec;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::evidence::{Evidence, ProvenEntry};
use cutover_shared::log::TreeHead;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{
    Assessment, Event, Judgement, Phase, Review, Says, Statement, Verdict, Vote, WindowRelease,
};
use cutover_shared::time::Time;
use cutover_shared::window::Window;

use super::{COORDINATOR, NETWORK};
use crate::entrance::{Asked, Entrance};
use crate::fixture::Attack;
use crate::world::{Way, World, at, booking, document, key, name, names, outcome, release};

pub(super) const ROLLBACK: &str = "TUF 1.0.33, 1.5.2: rollback attack";
pub(super) const FREEZE: &str = "TUF 1.0.33, 1.5.2: indefinite freeze attack";
pub(super) const ARBITRARY: &str = "TUF 1.0.33, 1.5.2: arbitrary installation attack";
pub(super) const MIX: &str = "TUF 1.0.33, 1.5.2: mix-and-match attack";
pub(super) const WRONG: &str = "TUF 1.0.33, 1.5.2: wrong software installation";
pub(super) const BELOW: &str =
    "TUF 1.0.33, 1.5.2: vulnerability to key compromises, below the threshold";
pub(super) const ENDLESS: &str = "TUF 1.0.33, 1.5.2: endless data attack";
const SKIPPED: &str = "DESIGN 7: an order for a later wave carries the earlier ones' outcomes";

/// The nonce that hosts here send.
pub(super) fn nonce() -> Digest {
    Digest::of(b"nonce")
}

/// A host that is offered an order, and what it is offered.
pub(super) struct Offer {
    pub(super) asked: Asked,
    pub(super) evidence: Evidence,
    pub(super) clearance: Option<Vec<u8>>,
    /// Where it is not the common one.
    policy: Option<Vec<u8>>,
}

impl Offer {
    /// What an honest coordinator offers, without what every host has.
    pub(super) fn honest(world: &World, host: &str, order: Digest) -> Self {
        let mut evidence = world.evidence(order, host, 0);
        evidence.entries.retain(|entry| entry.index != 0);
        Self::of(world, host, order, evidence)
    }

    /// With this evidence, and everything else as it should be.
    pub(super) fn of(world: &World, host: &str, order: Digest, evidence: Evidence) -> Self {
        let asked = asked(&world.facts(host), order, world.now);
        let clearance = world.clearance(host, order, nonce()).signed_by([&key("log")]);
        let policy = (world.policy != super::policy()).then(|| world.policy.clone());
        Self { asked, evidence, clearance: Some(clearance.to_bytes()), policy }
    }

    pub(super) fn attack(self, name: &'static str, title: &str) -> Attack {
        self.brought_to(Entrance::Order, name, title)
    }

    pub(super) fn brought_to(self, entrance: Entrance, name: &'static str, title: &str) -> Attack {
        let evidence = codec::encode(&self.evidence).unwrap();
        let attack =
            Attack::new(name, title, entrance).given(&self.asked).by(COORDINATOR, ARBITRARY);
        let files = [
            ("policy.json", self.policy),
            ("evidence.bin", (evidence != common_evidence()).then_some(evidence)),
            ("clearance.json", self.clearance),
        ];
        files.into_iter().fold(attack, |attack, (name, bytes)| match bytes {
            Some(bytes) => attack.file(name, bytes),
            None => attack,
        })
    }

    /// Without a clearance: it is refused before.
    pub(super) fn unasked(mut self) -> Self {
        self.clearance = None;
        self
    }

    /// Without the entries of which this is said.
    fn without(mut self, hidden: impl Fn(&Statement) -> bool) -> Self {
        let before = self.evidence.entries.len();
        self.evidence.entries.retain(|entry| {
            let envelope = Envelope::parse(&entry.envelope).unwrap();
            !hidden(&Statement::read(&envelope).unwrap())
        });
        assert!(self.evidence.entries.len() < before, "something is withheld");
        self.unasked()
    }
}

fn asked(facts: &HostFacts, order: Digest, now: Time) -> Asked {
    Asked {
        host: facts.host.clone(),
        host_key: facts.host_key,
        environment: facts.environment.clone(),
        applications: facts.applications.clone(),
        order,
        phase: Phase::Start,
        now,
        nonce: nonce(),
        round_trip_milliseconds: 5,
        seen: TreeHead::empty(),
        newest_time: None,
        generation: 0,
        running: None,
        previous: None,
        committed_by: None,
        spent: BTreeSet::new(),
        returned: BTreeMap::new(),
    }
}

/// A world with a release that may go to production's canary, p1, now.
pub(super) fn ready() -> (World, Way) {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    (world, way)
}

/// A world with a release that may go to staging now: fewer statements are needed there.
pub(super) fn ready_on_staging() -> (World, Way) {
    on_staging(World::new())
}

/// As before, from a world in which nothing was said yet.
pub(super) fn on_staging(mut world: World) -> (World, Way) {
    let (release, package) = world.submit("1.0");
    let environments = names(&["staging", "production"]);
    let says = Review { release, environments, verdict: Verdict::Complete };
    world.say(&["lib"], says).unwrap();
    let booking = world.book((release, package), "staging", &[&["s1"]]);
    let way = Way { release, package, booking };
    world.release_window(way);
    world.now = at(1000);
    (world, way)
}

/// The honest offer to s1.
pub(super) fn ready_on_staging_offer() -> Offer {
    let (world, way) = ready_on_staging();
    Offer::honest(&world, "s1", way.booking).unasked()
}

/// The honest offer to p1.
pub(super) fn ready_offer() -> Offer {
    let (world, way) = ready();
    Offer::honest(&world, "p1", way.booking)
}

/// What is offered where the attack is elsewhere.
pub(super) fn common_evidence() -> Vec<u8> {
    static EVIDENCE: OnceLock<Vec<u8>> = OnceLock::new();
    EVIDENCE.get_or_init(|| codec::encode(&ready_offer().evidence).unwrap()).clone()
}

pub(super) fn controls() -> Vec<Attack> {
    vec![ready_offer().attack("an order", "")]
}

pub(super) fn attacks() -> Vec<Attack> {
    [strangers(), withheld(), mixed(), replayed()].concat()
}

/// A whole way, all of it signed by the attacker.
fn strangers() -> Vec<Attack> {
    let (mut world, _) = ready();
    world.now = at(0);
    let package = Digest::of(b"malware");
    let mallory = |world: &mut World, statement: &Statement| {
        let envelope = statement.signed_by([&key("mallory")]);
        let _ = world.append_bytes(envelope.to_bytes());
        envelope.id()
    };
    let release = mallory(&mut world, &Statement::new(at(0), release("9.9", package)));
    let window = Window { start: at(1000), end: at(2000) };
    let says = booking((release, package), "production", &[&["p1"]], window);
    let order = mallory(&mut world, &Statement::new(at(0), says));
    let checkpoint = world.tree.head();
    let says = WindowRelease { booking: order, release, package, checkpoint };
    mallory(&mut world, &Statement::new(at(0), says));
    world.now = at(1000);
    let size = world.tree.size();
    let evidence = world.evidence_of(order, size - 3..size, 0);
    let not_known = format!("no good booking {} is known", order.short());
    vec![
        Offer::of(&world, "p1", order, evidence)
            .unasked()
            .attack(
                "installation-signed-by-nobody",
                "A package with release, booking and window's release, all signed with a key of the \
                 attacker's own and well proven to be in the log.",
            )
            .refused(Code::NotBooked, not_known),
        {
            let (world, way) = ready();
            let (entries, evidence) = (Vec::new(), world.evidence(way.booking, "p1", 0));
            Offer::of(&world, "p1", way.booking, Evidence { entries, ..evidence })
                .unasked()
                .attack("installation-without-evidence", "An order of which nothing is shown.")
                .by(NETWORK, ARBITRARY)
                .refused(
                    Code::NotBooked,
                    format!("no good booking {} is known", way.booking.short()),
                )
        },
    ]
}

/// The honest offer, with something left out.
fn withheld() -> Vec<Attack> {
    let without = |name, title, predicate: &str| {
        ready_offer()
            .without(|statement| statement.says.predicate().name() == predicate)
            .attack(name, title)
    };
    let by_board = |owner: &str| {
        let id = key(owner).public().id();
        move |statement: &Statement| {
            statement.says.predicate().name() == "vote" && statement.header.by == Some(id)
        }
    };
    let (mut world, way) = ready();
    world.outcome("p1", way, Event::Committed);
    let second_wave = Offer::honest(&world, "p2", way.booking)
        .without(|statement| matches!(&statement.says, Says::Outcome(it) if it.host == name("p1")));
    vec![
        without("review-skipped", "A release that no librarian looked at.", "review")
            .refused(Code::NotReviewed, "0 of 1 reviews for production"),
        without("assessment-skipped", "A release that security did not look at.", "assessment")
            .refused(Code::NotAssessed, "0 of 1 assessments for production"),
        ready_offer()
            .without(by_board("bob"))
            .attack("votes-below-the-quorum", "One vote of the two that are needed.")
            .by("one board member's key, and the coordinator", BELOW)
            .refused(Code::NotApproved, "1 of 2 votes for production"),
        without("delivery-skipped", "A release that was never delivered.", "delivery")
            .refused(Code::NotDelivered, "not delivered to the staging area"),
        ready_offer()
            .without(|statement| matches!(&statement.says, Says::WindowRelease(it) if it.booking == way.booking))
            .attack("window-not-released", "A booking that no change manager released.")
            .refused(Code::NotReleased, "the window of R-1 was not released"),
        without("staging-skipped", "A release that ran on no staging host.", "outcome")
            .refused(Code::EnvironmentNotProven, "committed on 0 of 1 hosts of staging"),
        second_wave
            .attack("canary-skipped", "The second wave, before the canary has committed.")
            .by(COORDINATOR, SKIPPED)
            .refused(Code::WaveNotProven, "not committed on p1"),
    ]
}

/// Good statements of one thing, offered for another.
fn mixed() -> Vec<Attack> {
    let (mut world, first) = ready();
    world.now = at(0);
    let (release, package) = world.submit("1.1");
    let order = world.book((release, package), "production", &[&["p1"]]);
    let second = Way { release, package, booking: order };
    world.release_window(second);
    world.now = at(1000);
    let size = world.tree.size();
    let approvals = world.evidence(first.booking, "p1", 0);
    let approvals = approvals.entries.iter().map(|entry| entry.index).filter(|index| *index != 0);
    let indexes: BTreeSet<u64> = approvals.chain(size - 3..size).collect();
    let approvals_of_another = world.evidence_of(order, indexes, 0);

    let (mut forged, way) = ready();
    let says = outcome("p1", way, Event::Committed, forged.now);
    let _ =
        forged.append_bytes(Statement::new(forged.now, says).signed_by([&key("p2")]).to_bytes());
    let last = forged.tree.size() - 1;
    let mut indexes: BTreeSet<u64> =
        forged.evidence(way.booking, "p2", 0).entries.iter().map(|it| it.index).collect();
    indexes.insert(last);
    indexes.remove(&0);
    let forged_outcome = forged.evidence_of(way.booking, indexes, 0);
    vec![
        Offer::of(&world, "p1", order, approvals_of_another)
            .unasked()
            .attack(
                "approvals-of-another-release",
                "Review, assessment and votes for 1.0 are offered with the booking of 1.1.",
            )
            .by(COORDINATOR, MIX)
            .refused(Code::NotReviewed, "0 of 1 reviews for production"),
        Offer::of(&forged, "p2", way.booking, forged_outcome)
            .unasked()
            .attack("canary-forged", "The canary's outcome, signed by the host of the second wave.")
            .by("one host's key, and the coordinator", SKIPPED)
            .refused(Code::WaveNotProven, "not committed on p1"),
        evidence_of_another_order(),
        one_owner_votes_twice(),
        submitter_votes(),
        denied_package(),
    ]
}

fn evidence_of_another_order() -> Attack {
    let (mut world, way) = ready();
    world.now = at(0);
    let other = world.book((way.release, way.package), "production", &[&["p2"]]);
    world.now = at(1000);
    let mut evidence = world.evidence(way.booking, "p1", 0);
    evidence.entries.retain(|entry| entry.index != 0);
    Offer::of(&world, "p1", other, evidence)
        .unasked()
        .attack(
            "evidence-of-another-order",
            "All that stands behind one booking is offered with another one's name.",
        )
        .by(NETWORK, MIX)
        .refused(Code::NotBooked, format!("no good booking {} is known", other.short()))
}

fn one_owner_votes_twice() -> Attack {
    let mut two_keys = document(1);
    let mut second = two_keys.keys.iter().find(|it| it.owner == name("bea")).unwrap().clone();
    second.key = key("bea's other key").public();
    two_keys.keys.push(second);
    let mut world = World::with_policy(two_keys);
    let way = world.whole_way("1.0");
    let judgement = Judgement::Accepted { reason: String::new() };
    let vote = Vote {
        release: way.release,
        environments: names(&["production"]),
        judgement,
        conditions: Vec::new(),
    };
    world.now = at(0);
    world.say(&["bea's other key"], vote).unwrap();
    world.now = at(1000);
    let bob = key("bob").public().id();
    Offer::honest(&world, "p1", way.booking)
        .without(|statement| statement.header.by == Some(bob))
        .attack("one-owner-votes-twice", "A board member votes with each of her two keys.")
        .by("one board member's two keys", "DESIGN 4: two keys of one owner count once")
        .refused(Code::NotApproved, "1 of 2 votes for production")
}

fn submitter_votes() -> Attack {
    let (mut world, way) = ready();
    world.now = at(0);
    let judgement = Judgement::Accepted { reason: String::new() };
    let vote = Vote {
        release: way.release,
        environments: names(&["production"]),
        judgement,
        conditions: Vec::new(),
    };
    world.say(&["sue"], vote).unwrap();
    world.now = at(1000);
    Offer::honest(&world, "p1", way.booking)
        .unasked()
        .attack(
            "submitter-on-the-board",
            "The submitter, who is on the board, votes for her own release.",
        )
        .by("the submitter's key", "PROCESS: nobody holds two duties on one release")
        .refused(Code::DutiesNotSeparate, "sue is author and board vote of the same release")
}

/// Security denied the bytes; somebody hands them in under another name.
fn denied_package() -> Attack {
    let (mut world, first) = ready();
    world.now = at(0);
    let denial = Assessment {
        release: first.release,
        package: first.package,
        environments: names(&["production"]),
        judgement: Judgement::Denied { reason: "leaks".to_owned() },
    };
    let denial = world.say(&["sec"], denial).unwrap();
    let again = world.say(&["sue"], release("1.0 again", first.package)).unwrap();
    world.approve(again, first.package);
    let staging = world.book((again, first.package), "staging", &[&["s1"]]);
    let on_staging = Way { release: again, package: first.package, booking: staging };
    world.release_window(on_staging);
    world.outcome("s1", on_staging, Event::Committed);
    let booking = world.book((again, first.package), "production", &[&["p1"]]);
    world.release_window(Way { release: again, package: first.package, booking });
    world.now = at(1000);
    let all = world.evidence_of(booking, 1..world.tree.size(), 0);
    Offer::of(&world, "p1", booking, all)
        .unasked()
        .attack(
            "denied-package-under-another-name",
            "The bytes that security denied, submitted again and approved by everybody.",
        )
        .by("the submitter, and an inattentive board", WRONG)
        .refused(Code::Denied, format!("security denied the package ({})", denial.short()))
}

/// What was good once.
fn replayed() -> Vec<Attack> {
    let (world, way) = ready();
    let honest = || Offer::honest(&world, "p1", way.booking);
    let mut spent = honest().unasked();
    spent.asked.spent.insert(way.booking);
    let mut late = honest().unasked();
    late.asked.now = at(2000);
    let mut early = honest().unasked();
    early.asked.now = at(999);
    let mut short = honest().unasked();
    short.asked.now = at(1851);
    let mut returned = honest().unasked();
    returned.asked.returned.insert(way.package, world.tree.size());
    vec![
        spent
            .attack(
                "order-carried-out-before",
                "A booking that this host has carried out, once more.",
            )
            .by(NETWORK, "TUF 1.0.33, 1.5.2: replay")
            .refused(Code::GenerationPassed, "this booking has been carried out here"),
        late.attack("window-over", "The order of a window that is over: last month's release.")
            .by(NETWORK, ROLLBACK)
            .refused(Code::WindowClosed, format!("closed at {}", at(2000))),
        early
            .attack("window-not-begun", "An order before its window.")
            .refused(Code::WindowNotOpen, format!("opens at {}", at(1000))),
        short
            .attack(
                "window-nearly-over",
                "An order so late that the host would be between two releases at the window's end.",
            )
            .by(NETWORK, "TUF 1.0.33, 1.5.2: slow retrieval attack")
            .refused(
                Code::WindowTooShort,
                "149 s left, 150 s needed to apply and, if need be, go back",
            ),
        returned
            .attack(
                "review-from-before-the-return",
                "The host took the package back; the return is withheld, the old review offered.",
            )
            .by(COORDINATOR, ROLLBACK)
            .refused(Code::NotReviewed, "0 of 1 reviews for production since a host took it back"),
        review_logged_again(),
    ]
}

/// As before, with the old review logged a second time.
fn review_logged_again() -> Attack {
    let (mut world, way) = ready();
    let size = world.tree.size();
    let review = Review {
        release: way.release,
        environments: names(&["staging", "production"]),
        verdict: Verdict::Complete,
    };
    let _ = world.append_bytes(Statement::new(at(0), review).signed_by([&key("lib")]).to_bytes());
    let shown = world.evidence(way.booking, "p1", 0);
    let is_review = |entry: &&ProvenEntry| {
        let statement = Statement::read(&Envelope::parse(&entry.envelope).unwrap()).unwrap();
        statement.says.predicate().name() == "review"
    };
    let kept = shown.entries.iter().filter(|entry| !is_review(entry) && entry.index != 0);
    let indexes: BTreeSet<u64> = kept.map(|entry| entry.index).chain([size]).collect();
    let evidence = world.evidence_of(way.booking, indexes, 0);
    let mut offer = Offer::of(&world, "p1", way.booking, evidence).unasked();
    offer.asked.returned.insert(way.package, size);
    offer
        .attack(
            "review-logged-again",
            "The review from before the return is put into the log once more, behind the return.",
        )
        .by(COORDINATOR, ROLLBACK)
        .refused(Code::NotReviewed, "0 of 1 reviews for production since a host took it back")
}
