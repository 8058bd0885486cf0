//! Witnesses of the log, on machines that the attacker does not own.

use cutover_coordinator_core::Proofs as _;
use cutover_shared::authorise::WitnessClearance;
use cutover_shared::digest::Digest;
use cutover_shared::policy::PolicyDocument;
use cutover_shared::statement::{Says, Statement};
use cutover_shared::time::Time;
use cutover_shared::turn::Asked;
use cutover_shared::witness::Witness;

use super::truth::{Subject, Truth, View, Wanted};
use crate::world::{self, WITNESSES, key};

/// How many clearances production demands: of any two quorums one witness is in both.
pub const QUORUM: u32 = 2;

/// The witnesses of a run, the last of which is the one that may be owned; none where none are demanded.
#[derive(Debug, Default)]
pub struct Witnesses {
    all: Vec<Witness>,
    /// For each, what people still have to hand to it: it refused it so far.
    waiting: Vec<Vec<Digest>>,
    heard: usize,
    /// Whether the last one signs whatever the attacker likes.
    pub is_one_owned: bool,
    /// The one honest witness that the attacker asks; all where it is none.
    pub through: Option<usize>,
}

/// Puts the witnesses into a policy, and the demand for them into its rules for production.
pub fn demand(document: &mut PolicyDocument) {
    world::demand_witnesses(document, QUORUM);
}

impl Witnesses {
    /// Witnesses that follow what is logged so far, and take every host for idle.
    ///
    /// # Panics
    ///
    /// When the true log is none that they follow.
    pub fn begin(truth: &Truth, genesis: Digest, now: Time) -> Self {
        let begin = |owner: &str| {
            let mut witness = Witness::new(world::witness_name(owner), key(owner), genesis, now);
            let log = &truth.view.log;
            witness.follow(&log.note(now), log.entries()).expect("the true log can be followed");
            witness
        };
        Self {
            all: WITNESSES.map(begin).into(),
            waiting: vec![Vec::new(); WITNESSES.len()],
            heard: truth.order.len(),
            is_one_owned: false,
            through: None,
        }
    }

    /// Who has said something against an order hands it to each witness, until it is taken.
    pub fn hear(&mut self, truth: &Truth, now: Time) {
        if self.all.is_empty() {
            return;
        }
        let new = truth.order.iter().skip(self.heard);
        let new = new.filter(|id| {
            let said = &truth.said[*id];
            said.index.is_some() && said.says.is_against()
        });
        let new: Vec<_> = new.copied().collect();
        self.heard = truth.order.len();
        for (witness, waiting) in self.all.iter_mut().zip(&mut self.waiting) {
            waiting.extend(&new);
            waiting.retain(|id| witness.hold(&truth.said[id].envelope, now).is_err());
        }
    }

    /// What those say to a host that the attacker asks, when it shows them a log.
    pub fn clear(
        &mut self,
        view: &View,
        subject: &Subject,
        wanted: &Wanted,
        now: Time,
    ) -> Vec<WitnessClearance> {
        let note = view.log.note(now);
        let Wanted { order, phase, nonce, .. } = *wanted;
        let asked = Asked { host: subject.host_key, order, phase, nonce };
        let (through, is_one_owned) = (self.through, self.is_one_owned);
        let is_asked = |place: usize| {
            let is_owned = is_one_owned && place + 1 == WITNESSES.len();
            !is_owned && through.is_none_or(|it| it == place)
        };
        let honest = self.all.iter_mut().enumerate().filter(|(place, _)| is_asked(*place));
        let mut clearances: Vec<_> = honest
            .filter_map(|(_, witness)| {
                let size = usize::try_from(witness.head().size).ok()?;
                if let Some(new) = view.log.entries().get(size..) {
                    // What does not go on from what it follows it does not follow.
                    let _ = witness.follow(&note, new);
                }
                let envelope = witness.clear(&asked, now).ok()?;
                let size = witness.head().size;
                let consistency = view.log.consistency(size, view.log.size()).unwrap_or_default();
                Some(WitnessClearance { clearance: envelope.to_bytes(), consistency })
            })
            .collect();
        if is_one_owned {
            clearances.push(owned(view, subject, wanted, now));
        }
        clearances
    }
}

/// What the owned witness says: what the attacker likes.
fn owned(view: &View, subject: &Subject, wanted: &Wanted, now: Time) -> WitnessClearance {
    let says = Says::Clearance(view.clearance(subject, wanted, now));
    let statement = Statement::new(now, says).until(now + super::FRESHNESS);
    let size = view.log.size();
    WitnessClearance {
        clearance: statement.signed_by([&key(WITNESSES[WITNESSES.len() - 1])]).to_bytes(),
        consistency: view.consistency(size),
    }
}
