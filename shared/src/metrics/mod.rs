//! What the log says of the process itself: how timely it is (PROCESS 16), and how well it goes (PROCESS 19).
//!
//! An [`Observer`] is shown the entries of a log, in order, and told the time at the end; out come
//! [`Metrics`]. Pure, and from the log alone: two people with the same log read the same figures. Nothing is
//! judged here a second time. Whom a release waits for follows from its state word and from the rules that
//! refuse it ([`waits`]), how hosts ended from what they signed ([`changes`]).
//!
//! What counts in a period `[since, until)` is what happened in it: a denial when it was signed, a wait for
//! the part of it that lies there, a window when it was decided, a failed change when its first host ended.

mod changes;
mod waits;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

pub use waits::Side;

use crate::digest::Digest;
use crate::fold::{State, Vouched};
use crate::policy::Exception;
use crate::refusal::Refusal;
use crate::statement::{Says, Verdict};
use crate::time::Time;

/// The figures of a period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// From when on; the log's beginning where nothing is said.
    pub since: Option<Time>,
    /// Until when; waits that go on are counted up to here.
    pub until: Time,
    /// Releases that were submitted, each resubmission and iteration for itself.
    pub submissions: u64,
    /// Windows that were decided, and those whose every host committed in them.
    pub on_time: Share,
    /// Hosts of the windows that were decided, and those that committed in them: what `on_time` is by host, since
    /// one of many that is late makes a whole window late.
    pub hosts_on_time: Share,
    /// Windows that ended before every host had committed, none having failed: they are never caught up.
    pub expired: u64,
    /// How long releases waited, by whom they waited for; the board's is the wait for the CAB.
    pub waits: BTreeMap<Side, Spread>,
    /// Changes that reached a host, and those of them that a host or a person took back, or that are stuck
    /// (DORA: change failure rate).
    pub failed_changes: Share,
    /// From when the first failing host began with a change, or a return of it was ordered, until each such
    /// host ran a good release again (DORA: time to restore service).
    pub time_to_restore: Spread,
    /// From when an emergency was opened until the last commit of its iterations.
    pub time_to_fix: Spread,
    /// Reviews that sent a release back to its submitter.
    pub returned: u64,
    /// What was submitted anew: without resubmissions and later iterations. `returned` by this is the returns
    /// per release.
    pub releases: u64,
    /// Denials, by ground.
    pub denials: BTreeMap<Ground, u64>,
    /// Freezes that were passed by an override.
    pub freezes_passed: u64,
    /// Waivers, by what they do without.
    pub waivers: BTreeMap<Exception, u64>,
}

/// Why a release was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ground {
    /// A librarian: its documentation.
    Documentation,
    /// Security: its risk.
    Risk,
    /// A board member's vote.
    Board,
}

/// Some of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Share {
    /// Some.
    pub part: u64,
    /// Of so many.
    pub of: u64,
}

impl Share {
    /// In thousandths, rounded down; `None` of nothing.
    pub fn permille(self) -> Option<u64> {
        (self.part * 1000).checked_div(self.of)
    }

    fn count(&mut self, is_part: bool) {
        self.of += 1;
        self.part += u64::from(is_part);
    }
}

/// How long something took, over all the times that it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Spread {
    /// How many times.
    pub count: u64,
    /// How many of them go on.
    pub open: u64,
    /// All together.
    #[serde(rename = "total_seconds", serialize_with = "seconds")]
    pub total: Duration,
    /// The middle one, or the earlier of the two in the middle.
    #[serde(rename = "median_seconds", serialize_with = "seconds")]
    pub median: Duration,
    /// The longest.
    #[serde(rename = "longest_seconds", serialize_with = "seconds")]
    pub longest: Duration,
}

impl Spread {
    fn of(mut spans: Vec<Duration>, open: u64) -> Self {
        spans.sort_unstable();
        Self {
            count: spans.len() as u64,
            open,
            total: spans.iter().sum(),
            median: spans.get(spans.len().saturating_sub(1) / 2).copied().unwrap_or_default(),
            longest: spans.last().copied().unwrap_or_default(),
        }
    }

    /// All together by how many; zero of none.
    pub fn mean(&self) -> Duration {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        self.total.checked_div(count).unwrap_or_default()
    }
}

fn seconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(span.as_secs())
}

/// A stretch of time, open at its beginning where nothing is said.
#[derive(Debug, Clone, Copy)]
struct Period {
    since: Option<Time>,
    until: Time,
}

impl Period {
    fn has(self, instant: Time) -> bool {
        self.since.is_none_or(|since| since <= instant) && instant < self.until
    }

    /// How much of `[from, to)` lies in it.
    fn part_of(self, from: Time, to: Time) -> Duration {
        let from = self.since.map_or(from, |since| since.max(from));
        to.min(self.until).since(from)
    }
}

/// Looks on as a log is read.
#[derive(Debug)]
pub struct Observer {
    since: Option<Time>,
    state: State,
    waits: waits::Waits,
    counted: Counted,
}

/// What needs no more than to be counted when it is said.
#[derive(Debug, Default)]
struct Counted {
    submissions: u64,
    releases: u64,
    returned: u64,
    denials: BTreeMap<Ground, u64>,
    freezes_passed: u64,
    waivers: BTreeMap<Exception, u64>,
}

impl Observer {
    /// Counts what happens from an instant on, or from the beginning.
    pub fn new(since: Option<Time>) -> Self {
        let (waits, counted) = (waits::Waits::new(since), Counted::default());
        Self { since, state: State::empty(), waits, counted }
    }

    /// The next entry of the reader's own log, which the reader has verified. What the fold refuses is no
    /// part of any figure. The rest of the log is to be shown as well, before `since` too: a wait that goes on
    /// has begun somewhere.
    ///
    /// Errors: what the fold refuses; nothing else has to be done about it.
    pub fn observe(&mut self, index: u64, envelope: &[u8]) -> Result<(), Refusal> {
        let entry = Vouched::read(envelope)?;
        let statement = entry.statement().clone();
        let id = self.state.apply_vouched(index, entry)?;
        let said = statement.header.issued;
        if self.since.is_none_or(|since| since <= said) {
            self.counted.count(&statement.says);
        }
        self.waits.observe(&self.state, id, &statement);
        Ok(())
    }

    /// The figures up to an instant, which is after everything that was observed.
    pub fn finish(self, until: Time) -> Metrics {
        let Self { since, state, waits, counted } = self;
        let period = Period { since, until };
        let windows = changes::windows(&state, period);
        let (failed_changes, time_to_restore) = changes::failures(&state, period);
        Metrics {
            since,
            until,
            submissions: counted.submissions,
            on_time: windows.on_time,
            hosts_on_time: windows.hosts_on_time,
            expired: windows.expired,
            waits: waits.finish(until),
            failed_changes,
            time_to_restore,
            time_to_fix: changes::fixes(&state, period),
            returned: counted.returned,
            releases: counted.releases,
            denials: counted.denials,
            freezes_passed: counted.freezes_passed,
            waivers: counted.waivers,
        }
    }
}

impl Counted {
    /// Most predicates are no figure by themselves.
    fn count(&mut self, says: &Says) {
        if let Says::Release(it) = says {
            let later = it.iteration.as_ref().is_some_and(|it| it.number > 1);
            self.submissions += 1;
            self.releases += u64::from(it.supersedes.is_none() && !later);
        } else if let Says::Review(it) = says {
            match it.verdict {
                Verdict::Complete => {}
                Verdict::Returned { .. } => self.returned += 1,
                Verdict::Denied { .. } => self.deny(Ground::Documentation),
            }
        } else if let Says::Assessment(it) = says {
            self.deny_unless(it.judgement.is_accepted(), Ground::Risk);
        } else if let Says::Vote(it) = says {
            self.deny_unless(it.judgement.is_accepted(), Ground::Board);
        } else if let Says::Override(it) = says {
            self.freezes_passed += it.freezes.len() as u64;
        } else if let Says::Waiver(it) = says {
            *self.waivers.entry(it.exception).or_default() += 1;
        }
    }

    fn deny_unless(&mut self, is_accepted: bool, ground: Ground) {
        if !is_accepted {
            self.deny(ground);
        }
    }

    fn deny(&mut self, ground: Ground) {
        *self.denials.entry(ground).or_default() += 1;
    }
}

/// The release that a statement is about, and the one whose place it takes.
fn releases_of(state: &State, id: Digest, says: &Says) -> Vec<Digest> {
    if let Says::Release(it) = says {
        return [Some(id), it.supersedes].into_iter().flatten().collect();
    }
    if let Says::Outcome(it) = says {
        return vec![it.release];
    }
    if let Says::Resume(it) = says {
        return state.hold(&it.hold).copied().into_iter().collect();
    }
    let subjects = says.subjects().into_iter();
    subjects.filter(|(name, _)| *name == "release").map(|(_, digest)| digest).collect()
}
