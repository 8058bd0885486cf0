//! What is remembered of deliveries: which are done, how often the others were tried.

use std::collections::BTreeMap;

use cutover_shared::digest::Digest;
use cutover_shared::time::Time;
use serde::{Deserialize, Serialize};

/// Deliveries that were made and are still shown to people.
pub(super) const SHOWN: usize = 500;

/// Something that is to be remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Mark {
    /// Of the entries before this one everything is delivered, or parked.
    Below(u64),
    /// Of what fell due up to this instant everything is delivered, or parked.
    Until(Time),
    /// A delivery was made.
    Done {
        /// Its key.
        key: Digest,
        /// The entry that it tells of.
        index: u64,
        /// When.
        at: Time,
    },
    /// A delivery was tried and failed, or is to be tried again from the start.
    Tried {
        /// Its key.
        key: Digest,
        /// How often, and how that ended.
        tried: Tried,
    },
    /// A tracker's own name for what it was given: where to look first the next time.
    Known {
        /// The tracker.
        tracker: String,
        /// Our name for it.
        correlation: String,
        /// The tracker's.
        id: String,
    },
}

/// How a delivery that is not made stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tried {
    /// The entry that it tells of.
    pub index: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// It is not tried any more until somebody says so.
    pub parked: bool,
    /// Why it failed the last time.
    pub why: String,
}

/// All marks together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    below: Option<u64>,
    until: Option<Time>,
    done: BTreeMap<(u64, Digest), Time>,
    tried: BTreeMap<Digest, Tried>,
    known: BTreeMap<(String, String), String>,
}

impl Remembered {
    /// The first entry of which not everything is delivered or parked; `None` where nothing is remembered.
    pub fn below(&self) -> Option<u64> {
        self.below
    }

    /// The instant up to which everything that fell due is delivered or parked; `None` where nothing is remembered.
    pub fn until(&self) -> Option<Time> {
        self.until
    }

    /// Whether and when a delivery about entry `index` was made.
    pub fn done(&self, index: u64, key: &Digest) -> Option<Time> {
        self.done.get(&(index, *key)).copied()
    }

    /// The deliveries that were made and are remembered, in the order of the log.
    pub fn all_done(&self) -> impl DoubleEndedIterator<Item = (u64, &Digest, Time)> {
        self.done.iter().map(|((index, key), at)| (*index, key, *at))
    }

    /// How often a delivery was tried.
    pub fn tried(&self, key: &Digest) -> Option<&Tried> {
        self.tried.get(key)
    }

    /// The entries before [`Remembered::below`] that are looked at again: something of them is parked or
    /// was made not long ago.
    pub fn earlier(&self) -> Vec<u64> {
        let below = self.below.unwrap_or(0);
        let parked = self.tried.values().map(|it| it.index);
        let done = self.done.keys().map(|(index, _)| *index);
        let mut all: Vec<u64> = parked.chain(done).filter(|index| *index < below).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The tracker's name for something.
    pub fn known(&self, tracker: &str, correlation: &str) -> Option<&str> {
        self.known.get(&(tracker.to_owned(), correlation.to_owned())).map(String::as_str)
    }

    /// Remembers one more.
    pub fn add(&mut self, mark: Mark) {
        match mark {
            Mark::Below(below) => {
                self.below = Some(below);
                let settled = |((index, _), _): &(&(u64, Digest), &Time)| *index < below;
                let surplus = self.done.iter().filter(settled).count().saturating_sub(SHOWN);
                let gone: Vec<_> = self.done.keys().take(surplus).copied().collect();
                for key in gone {
                    self.done.remove(&key);
                }
            }
            Mark::Until(until) => self.until = self.until.max(Some(until)),
            Mark::Done { key, index, at } => {
                self.tried.remove(&key);
                self.done.insert((index, key), at);
            }
            Mark::Tried { key, tried } => {
                self.tried.insert(key, tried);
            }
            Mark::Known { tracker, correlation, id } => {
                self.known.insert((tracker, correlation), id);
            }
        }
    }

    /// The fewest marks that come to the same.
    pub fn marks(&self) -> Vec<Mark> {
        let done = self.done.iter().map(|((index, key), at)| Mark::Done {
            key: *key,
            index: *index,
            at: *at,
        });
        let tried =
            self.tried.iter().map(|(key, tried)| Mark::Tried { key: *key, tried: tried.clone() });
        let known = self.known.iter().map(|((tracker, correlation), id)| Mark::Known {
            tracker: tracker.clone(),
            correlation: correlation.clone(),
            id: id.clone(),
        });
        let below = self.below.map(Mark::Below);
        let until = self.until.map(Mark::Until);
        done.chain(tried).chain(known).chain(below).chain(until).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Digest {
        Digest::of(&[number])
    }

    #[test]
    fn fewer_marks_come_to_the_same() {
        let at: Time = "2026-03-08T06:30:00Z".parse().unwrap();
        let tried = Tried { index: 3, attempts: 2, parked: true, why: "no route".to_owned() };
        let mut all = Remembered::default();
        all.add(Mark::Tried { key: key(1), tried: tried.clone() });
        all.add(Mark::Tried { key: key(2), tried });
        all.add(Mark::Done { key: key(1), index: 3, at });
        all.add(Mark::Below(2));
        all.add(Mark::Below(9));
        all.add(Mark::Until(at));
        all.add(Mark::Until(at - std::time::Duration::from_secs(1)));
        let known = |id: &str| Mark::Known {
            tracker: "jira".to_owned(),
            correlation: "r".to_owned(),
            id: id.to_owned(),
        };
        all.add(known("CHG-1"));
        all.add(known("CHG-2"));
        let marks = all.marks();
        assert_eq!(marks.len(), 5);
        assert_eq!(all.until(), Some(at), "it does not go back");
        let mut again = Remembered::default();
        for mark in marks {
            again.add(mark);
        }
        assert_eq!(again, all);
        assert_eq!(again.earlier(), [3]);
        assert_eq!(again.known("jira", "r"), Some("CHG-2"));
        assert!(again.tried(&key(1)).is_none() && again.done(3, &key(1)).is_some());
    }

    #[test]
    fn what_is_settled_is_forgotten_in_time() {
        let at: Time = "2026-03-08T06:30:00Z".parse().unwrap();
        let mut all = Remembered::default();
        let many = SHOWN as u64 + 20;
        for index in 0..many {
            all.add(Mark::Done { key: key(0), index, at });
        }
        all.add(Mark::Below(many - 5));
        assert_eq!(all.all_done().count(), SHOWN + 5);
        assert!(all.done(many - 1, &key(0)).is_some() && all.done(0, &key(0)).is_none());
    }
}
