//! What is said around the decisions: other departments, rehearsals, that all is closed.

use cutover_shared::statement::ClosureResult;

use super::super::{Act, Instant, Word};
use super::Drawing;
use crate::simulation::rules::CONSULTED;

impl Drawing {
    /// Those who are asked answer, and those who rehearse do, if they do not forget.
    pub(super) fn around(&mut self, draft: usize, at: Instant) {
        if self.scenario.consults && !self.random.chance(40) {
            let who = self.random.pick(&["otto", "otto", "mia"]);
            let word = if self.random.chance(40) { Word::No } else { Word::Yes };
            let wait = self.random.between(100, 2500);
            self.act(at + wait, Act::Answer(draft, CONSULTED, who, word));
        }
        if self.random.chance(120) {
            self.act(at, Act::Ask(draft, "desk"));
            if self.random.chance(800) {
                let who = self.random.pick(&["bob", "bob", "sue", "bea"]);
                self.act(at + 900, Act::Answer(draft, "desk", who, Word::Yes));
            }
        }
        if self.scenario.rehearsals && !self.random.chance(40) {
            let who = self.random.pick(&["otto", "otto", "bea", "sam"]);
            let failed = self.random.chance(150);
            let word = if failed { Word::No } else { Word::Yes };
            self.act(at + 300, Act::Rehearse(draft, who, word));
            if failed && self.random.chance(700) {
                self.act(at + 1800, Act::Rehearse(draft, "bea", Word::Yes));
            }
        }
    }

    /// It is over, and somebody closes it; and then somebody books it once more.
    pub(super) fn closed(&mut self, draft: usize, end: Instant) {
        let who = self.random.pick(&["mia", "mia", "sue"]);
        let results =
            [ClosureResult::Successful, ClosureResult::BackedOut, ClosureResult::NotImplemented];
        for result in results {
            // It is one of these, and the others are refused.
            self.act(end + 1000, Act::Close(draft, who, result));
        }
        self.reservation(draft, "production", end + 9000, (60, 100));
    }
}
