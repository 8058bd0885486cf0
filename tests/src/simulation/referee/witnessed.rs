//! What witnesses say, and whether a host had as many of them behind it as are demanded.

use std::collections::BTreeSet;

use cutover_shared::turn::Asked;

use super::{Invariant, Issued, Referee};
use crate::simulation::scenario::Instant;
use crate::simulation::witnesses::Watcher;
use crate::world::name;

impl Referee {
    /// A witness clears a host: nothing that it was handed may be missing from the log.
    pub(in crate::simulation) fn witnessed(
        &mut self,
        now: Instant,
        watcher: &Watcher,
        asked: &Asked,
    ) {
        self.saw("witnessed");
        self.witnessed.push((watcher.owner, *asked));
        if let Some(missing) = watcher.handed.iter().find(|id| !self.ledger.has(id)) {
            let text = format!("{} clears, and the log lacks {missing}", watcher.owner);
            self.fault(Invariant::P2, now, text);
        }
    }

    /// As many owners of witnesses as are demanded in production cleared what the coordinator did.
    pub(super) fn is_witnessed(&self, issued: &Issued) -> Result<(), String> {
        let strict = name(crate::simulation::rules::STRICT);
        if self.ledger.environment(&issued.order) != Some(&strict) {
            return Ok(());
        }
        let same = |it: &Asked| {
            (it.host, it.order, it.phase, it.nonce)
                == (issued.host, issued.order, issued.phase, issued.nonce)
        };
        let cleared = self.witnessed.iter().filter(|(_, asked)| same(asked));
        let owners: BTreeSet<_> = cleared.map(|(owner, _)| owner).collect();
        if owners.len() >= self.witnesses as usize {
            return Ok(());
        }
        Err(format!("{} of {} witnesses cleared it", owners.len(), self.witnesses))
    }
}
