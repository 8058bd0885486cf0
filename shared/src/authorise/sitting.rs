//! Judging many hosts of one order at a time.
//!
//! Most rules say the same to every host of an order, and some of them look through all that was said of
//! it. Asked for each of a thousand hosts they would take a thousand times as long, and longer: a
//! [`Sitting`] asks each of them once, and gives every host the very answer that [`super::judge`] would.

use std::collections::BTreeMap;

use super::{HostFacts, Question, rules};
use crate::digest::Digest;
use crate::fold::State;
use crate::key::KeyId;
use crate::refusal::Refusal;
use crate::statement::Phase;
use crate::time::Time;

/// Rules that look at the order alone. A rule that is not named here, or in [`OF_WAVE`], is asked for each
/// host: slow, and never wrong. A test holds that those named never tell two hosts apart.
pub const OF_ORDER: &[u16] =
    &[1, 2, 3, 6, 7, 8, 9, 10, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 26, 27, 29, 61, 64, 66];

/// Rules that say the same to all hosts of a wave.
pub const OF_WAVE: &[u16] = &[23];

/// The hosts of one order are judged, one after the other, at one instant.
#[derive(Debug)]
pub struct Sitting<'a> {
    state: &'a State,
    order: Digest,
    now: Time,
    rules: &'static [rules::Rule],
    waves: BTreeMap<KeyId, usize>,
    answers: BTreeMap<(u16, Option<usize>), Result<(), Refusal>>,
}

impl<'a> Sitting<'a> {
    /// To start a booking.
    pub fn forward(state: &'a State, booking: Digest, now: Time) -> Self {
        Self::new(rules::FORWARD, state, booking, now)
    }

    /// To go back from a booking that was halted.
    pub fn halting(state: &'a State, booking: Digest, now: Time) -> Self {
        Self::new(rules::HALTING, state, booking, now)
    }

    fn new(rules: &'static [rules::Rule], state: &'a State, order: Digest, now: Time) -> Self {
        let mut waves = BTreeMap::new();
        if let Some((_, booking)) = state.booking(&order) {
            for (number, wave) in booking.booking.says().plan.waves.iter().enumerate() {
                waves.extend(wave.hosts.iter().map(|host| (host.host_key, number)));
            }
        }
        Self { state, order, now, rules, waves, answers: BTreeMap::new() }
    }

    /// The first rule that refuses this host, in rule order.
    pub fn judge(&mut self, host: &HostFacts) -> Result<(), Refusal> {
        let question = Question {
            state: self.state,
            host,
            order: self.order,
            phase: Phase::Start,
            now: self.now,
        };
        let wave = self.waves.get(&host.host_key).copied();
        for rule in self.rules {
            let shared = if OF_ORDER.contains(&rule.number) {
                Some(None)
            } else if OF_WAVE.contains(&rule.number) {
                wave.map(Some)
            } else {
                None
            };
            match shared {
                Some(place) => {
                    let answer = self.answers.entry((rule.number, place));
                    answer.or_insert_with(|| (rule.check)(&question)).clone()?;
                }
                None => (rule.check)(&question)?,
            }
        }
        Ok(())
    }
}
