//! What the ledger holds: everything that the applier must not forget.

use std::collections::BTreeMap;

use cutover_machine::{Record, Slot, State};
use cutover_shared::codec::{self, CodecError};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::evidence::Trust;
use cutover_shared::log::TreeHead;
use cutover_shared::name::Name;
use cutover_shared::package::runbook::RunbookStep;
use cutover_shared::policy::TrustPolicy;
use cutover_shared::protocol::Join;
use cutover_shared::statement::Direction;
use cutover_shared::time::Time;
use serde::{Deserialize, Serialize};

/// Most ends of orders that wait to be logged. A host that is cut off is offered nothing, so there are few.
pub(crate) const MAX_REPORTS: usize = 256;

/// Most refusals among the reports that wait: whoever makes a host refuse things cannot crowd out what it
/// has to say of itself.
pub(crate) const MAX_REFUSALS: usize = 32;

/// Most deviations among the reports that wait: who changes a host cannot crowd out the ends of its orders.
pub(crate) const MAX_DRIFT_REPORTS: usize = 64;

/// Most refusals that are remembered as told, so that each is told once.
const MAX_TOLD: usize = 256;

/// Most takings-back that are remembered.
const MAX_RETURNED: usize = 256;

/// The body of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// How to join and whom to talk to; the grant's private half is wiped once the host is enrolled.
    pub join: Option<Join>,
    /// What the host trusts.
    pub trust: Option<SavedTrust>,
    /// The host's own enrolment.
    pub enrolment: Option<SavedEnrolment>,
    /// The newest time accepted from a good clearance.
    pub newest_time: Option<Time>,
    /// By application.
    pub applications: BTreeMap<Name, SavedApplication>,
    /// Signed outcomes that are not known to be logged: identity and envelope, oldest first.
    pub reports: Vec<(Digest, Vec<u8>)>,
    /// Refusals told already: order and code.
    pub told: Vec<(Digest, String)>,
}

/// [`Trust`] as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedTrust {
    policy_envelope: Vec<u8>,
    policy: Digest,
    head: TreeHead,
}

/// The enrolment statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedEnrolment {
    /// Its identity.
    pub id: Digest,
    /// Its envelope.
    pub envelope: Vec<u8>,
    /// Whether it is proven to be in the log.
    pub logged: bool,
}

/// One application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedApplication {
    /// The machine's record.
    pub record: Record,
    /// The releases committed before the one that runs and still on disk, the newest first.
    pub history: Vec<Slot>,
    /// Orders that have touched the host, with the end of what they permit.
    pub spent: Vec<(Digest, Time)>,
    /// Packages taken back: the size of the log then, and when.
    pub returned: Vec<(Digest, u64, Time)>,
    /// The newest iteration of each emergency that was begun.
    pub iterations: Vec<(Digest, u32)>,
    /// Envelopes of the clearances of the order in hand, witnesses' among them, by the identity of the
    /// coordinator's.
    pub clearances: Vec<(Digest, Vec<u8>)>,
    /// The order in hand as it was authorised.
    pub order: Option<SavedOrder>,
    /// The orders that brought the releases on disk, by generation.
    pub brought: Vec<(u64, Digest)>,
    /// The deviations of the committed release that were told: the path, and what was found there.
    pub drifts: Vec<(String, Digest)>,
    /// On a gateway: the runbooks of the newest order and of the release that runs.
    pub runbooks: Vec<SavedRunbook>,
}

/// A runbook, and how far it was carried out: what has to be known to take it back, by itself or by order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedRunbook {
    /// The `booking` statement whose runbook it is.
    pub order: Digest,
    /// Its steps.
    pub steps: Vec<RunbookStep>,
    /// How many of them, from the first on, were begun and not taken back.
    pub begun: usize,
}

/// What outlives a restart of an order in hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedOrder {
    /// The `booking` or `rollback` statement.
    pub order: Digest,
    /// When what it permits ends.
    pub end: Time,
    /// The emergency and number.
    pub iteration: Option<(Digest, u32)>,
}

impl SavedApplication {
    /// One that was never deployed.
    pub fn new(name: &Name) -> Self {
        Self {
            record: Record {
                application: name.to_string(),
                generation: 0,
                committed: None,
                state: State::Idle,
            },
            history: Vec::new(),
            spent: Vec::new(),
            returned: Vec::new(),
            iterations: Vec::new(),
            clearances: Vec::new(),
            order: None,
            brought: Vec::new(),
            drifts: Vec::new(),
            runbooks: Vec::new(),
        }
    }

    /// The order that brought a release; none where it is no longer known.
    pub fn brought_by(&self, slot: &Slot) -> Option<Digest> {
        let found = self.brought.iter().find(|(generation, _)| *generation == slot.generation);
        found.map(|(_, order)| *order)
    }

    /// The runbook of an order.
    pub fn runbook(&self, order: &Digest) -> Option<&SavedRunbook> {
        self.runbooks.iter().find(|it| it.order == *order)
    }

    /// The runbook by which the release that runs came; none where it did not come by one, or by a return.
    pub fn runbook_committed(&self) -> Option<&SavedRunbook> {
        self.runbook(&self.brought_by(&self.record.committed?)?)
    }

    /// The runbook of a new order, beside that of the release that runs and no other.
    pub(crate) fn begin_runbook(&mut self, runbook: SavedRunbook) {
        let kept = self.runbook_committed().map(|it| it.order);
        self.runbooks.retain(|it| Some(it.order) == kept);
        self.runbooks.push(runbook);
    }

    /// Marks an order as begun here, and forgets those that can no longer be offered: what they permit
    /// ended, by a time that was accepted, and the window rule refuses them.
    pub fn spend(&mut self, order: Digest, end: Time, accepted: Option<Time>) {
        self.spent.retain(|(other, end)| *other != order && accepted.is_none_or(|now| *end > now));
        self.spent.push((order, end));
    }

    /// Remembers that an iteration of an emergency was begun.
    pub fn begin_iteration(&mut self, (grounds, number): (Digest, u32)) {
        self.iterations.retain(|(other, _)| *other != grounds);
        if self.iterations.len() >= MAX_RETURNED {
            self.iterations.remove(0);
        }
        self.iterations.push((grounds, number));
    }

    /// Remembers that a package was taken back when the log had `size` entries.
    pub fn take_back(&mut self, package: Digest, size: u64, time: Time) {
        self.returned.retain(|(other, _, _)| *other != package);
        if cutover_shared::seeded!(ReturnsForgotten) {
            return;
        }
        if self.returned.len() >= MAX_RETURNED {
            self.returned.remove(0);
        }
        self.returned.push((package, size, time));
    }
}

impl SavedRunbook {
    /// Whether all of it that can be taken back is there to be.
    pub fn is_whole(&self) -> bool {
        let missing = self.steps.iter().skip(self.begun);
        missing.into_iter().all(|step| step.deed(Direction::Back).is_none())
    }
}

impl SavedTrust {
    /// As it is stored.
    pub fn of(trust: &Trust) -> Self {
        Self {
            policy_envelope: trust.policy_envelope.clone(),
            policy: trust.policy.id(),
            head: trust.head.clone(),
        }
    }

    /// As it is used. `None` when the stored policy no longer reads as one, which is a damaged ledger.
    pub fn trust(&self) -> Option<Trust> {
        let envelope = Envelope::parse(&self.policy_envelope).ok()?;
        Some(Trust {
            policy: TrustPolicy::pinned(&envelope, &self.policy).ok()?,
            policy_envelope: self.policy_envelope.clone(),
            head: self.head.clone(),
        })
    }
}

impl Saved {
    /// Reads a ledger's body.
    pub fn decode(body: &[u8]) -> Result<Self, CodecError> {
        codec::decode(body)
    }

    /// A ledger's body.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self)
    }

    /// Notes that a refusal is told; whether it was not before.
    pub fn tell_once(&mut self, order: Digest, code: &str) -> bool {
        let entry = (order, code.to_owned());
        if self.told.contains(&entry) {
            return false;
        }
        if self.told.len() >= MAX_TOLD {
            self.told.remove(0);
        }
        self.told.push(entry);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn application() -> SavedApplication {
        SavedApplication::new(&"web".parse().unwrap())
    }

    fn id(number: usize) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    fn at(seconds: u64) -> Time {
        let start: Time = "2026-12-01T02:00:00Z".parse().unwrap();
        start + std::time::Duration::from_secs(seconds)
    }

    #[test]
    fn an_order_is_spent_for_as_long_as_it_could_be_offered() {
        let mut application = application();
        application.spend(id(1), at(10), None);
        application.spend(id(2), at(20), None);
        application.spend(id(1), at(10), None);
        assert_eq!(application.spent, [(id(2), at(20)), (id(1), at(10))], "each once");
        application.spend(id(3), at(30), Some(at(9)));
        assert_eq!(application.spent.len(), 3);
        application.spend(id(4), at(40), Some(at(10)));
        let left: Vec<_> = application.spent.iter().map(|(order, _)| *order).collect();
        assert_eq!(left, [id(2), id(3), id(4)], "it ended just then");
    }

    #[test]
    fn the_newest_iteration_of_each_emergency_is_known() {
        let mut application = application();
        application.begin_iteration((id(1), 1));
        application.begin_iteration((id(2), 1));
        application.begin_iteration((id(1), 2));
        assert_eq!(application.iterations, [(id(2), 1), (id(1), 2)]);
        for number in 10..10 + MAX_RETURNED {
            application.begin_iteration((id(number), 1));
        }
        assert_eq!(application.iterations.len(), MAX_RETURNED, "the oldest are forgotten");
        assert_eq!(application.iterations[0].0, id(10));
    }

    #[test]
    fn the_last_taking_back_of_each_package_is_known() {
        let mut application = application();
        application.take_back(id(1), 5, at(1));
        application.take_back(id(2), 6, at(2));
        application.take_back(id(1), 7, at(3));
        assert_eq!(application.returned, [(id(2), 6, at(2)), (id(1), 7, at(3))]);
        for number in 10..10 + MAX_RETURNED {
            application.take_back(id(number), 8, at(4));
        }
        assert_eq!(application.returned.len(), MAX_RETURNED, "the oldest are forgotten");
        assert_eq!(application.returned[0].0, id(10));
    }

    fn runbook(order: usize, begun: usize) -> SavedRunbook {
        use cutover_shared::package::runbook::{Deed, Doer, Undoing};
        let deed = || Deed {
            what: "Something is done.".to_owned(),
            command: None,
            timeout: std::time::Duration::from_mins(1),
        };
        let step = |name: &str, undo| RunbookStep {
            name: name.parse().unwrap(),
            by: Doer::Operator,
            deed: deed(),
            elements: Vec::new(),
            undo,
        };
        let undo = Undoing::Deed(deed());
        let last = Undoing::Nothing("It only looks.".to_owned());
        let steps = vec![step("hold", undo.clone()), step("move", undo), step("look", last)];
        SavedRunbook { order: id(order), steps, begun }
    }

    #[test]
    fn a_ledger_that_has_one_runbook_or_none_is_read_as_it_was_written() {
        let one = || runbook(1, 2);
        assert_eq!(codec::encode(&Some(one())).unwrap(), codec::encode(&vec![one()]).unwrap());
        let (before, now): (Option<SavedRunbook>, Vec<SavedRunbook>) = (None, Vec::new());
        assert_eq!(codec::encode(&before).unwrap(), codec::encode(&now).unwrap());
    }

    #[test]
    fn a_runbook_is_whole_when_all_that_can_be_taken_back_is_there_to_be() {
        let whole: Vec<_> = (0..=3).map(|begun| runbook(1, begun).is_whole()).collect();
        assert_eq!(whole, [false, false, true, true]);
    }

    #[test]
    fn the_runbook_of_the_release_that_runs_stays_beside_the_newest() {
        let mut application = application();
        application.begin_runbook(runbook(1, 0));
        assert_eq!(application.runbook_committed(), None, "nothing runs");
        let health = cutover_machine::HealthPolicy {
            start_grace: std::time::Duration::ZERO,
            interval: std::time::Duration::ZERO,
            timeout: std::time::Duration::ZERO,
            successes: 1,
            deadline: std::time::Duration::ZERO,
            bake: std::time::Duration::ZERO,
            bake_tolerance: 0,
        };
        let (package, release) = (id(11), id(12));
        application.record.committed = Some(Slot { generation: 1, package, release, health });
        application.brought = vec![(1, id(1))];
        for other in [2, 3] {
            application.begin_runbook(runbook(other, 0));
            let kept: Vec<_> = application.runbooks.iter().map(|it| it.order).collect();
            assert_eq!(kept, [id(1), id(other)]);
        }
        assert_eq!(application.runbook_committed(), Some(&runbook(1, 0)));
        assert_eq!(application.runbook(&id(2)), None);
    }

    #[test]
    fn a_refusal_is_told_once_as_long_as_it_is_remembered() {
        let mut saved = Saved::default();
        assert!(saved.tell_once(id(1), "held"));
        assert!(!saved.tell_once(id(1), "held"));
        assert!(saved.tell_once(id(1), "frozen") && saved.tell_once(id(2), "held"));
        for number in 0..MAX_TOLD - 2 {
            assert!(saved.tell_once(id(10 + number), "held"));
        }
        assert_eq!(saved.told.len(), MAX_TOLD);
        assert!(!saved.tell_once(id(2), "held"));
        assert!(saved.tell_once(id(1), "held"), "it was let go");
    }
}
