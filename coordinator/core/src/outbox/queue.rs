//! What is sent next, and what becomes of what could not be sent.
//!
//! Each recipient has a lane. The first of a lane that is not parked is sent alone, so that nobody hears of a
//! cancellation before they have heard of the window. One that fails waits, twice as long each time; when
//! it has failed too often, or for a reason that does not pass, it is parked: the lane goes on without it,
//! people see it, and it is tried again when somebody says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::protocol::{DeliveryState, DeliveryView, MAX_DELIVERIES, OutboxView};
use cutover_shared::time::Time;

use super::audience::{Delivery, Destination};
use super::marks::{Mark, Remembered, SHOWN, Tried};
use super::timed::Cause;

/// Deliveries that are under way at the same time: enough that one slow endpoint does not hold up the
/// others, few enough that no mail server takes them for a flood.
pub(super) const AT_ONCE: usize = 8;

/// Longest wait that another program may ask for.
const LONGEST_ASKED: Duration = Duration::from_hours(24);

/// How deliveries that failed are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How often a delivery is tried before it is parked; at least once.
    pub attempts: u32,
    /// The wait after the first failure; each later one is twice as long.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
}

/// Why a delivery was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It may go better later: a network, a server that is busy or down.
    Passing {
        /// What happened.
        why: String,
        /// How long the other side asks to wait.
        after: Option<Duration>,
    },
    /// It cannot go better by itself: the other side refuses it.
    Lasting {
        /// What happened.
        why: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Until this moment of the monotonic clock.
    Waiting(Duration),
    Sending,
    Parked,
    Done(Time),
}

#[derive(Debug)]
struct Item {
    delivery: Delivery,
    attempts: u32,
    stage: Stage,
    why: Option<String>,
}

impl Item {
    fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_) | Stage::Sending)
    }

    /// Whether the clock has brought it.
    fn is_due(&self) -> bool {
        matches!(self.delivery.notice.cause, Cause::Due(_))
    }
}

/// Everything that is to be delivered, and what was delivered not long ago.
#[derive(Debug)]
pub struct Queue {
    limits: Limits,
    lanes: BTreeMap<Destination, BTreeMap<(u64, Digest), Item>>,
    lane_of: BTreeMap<Digest, (Destination, u64)>,
    /// Those that were made and are still shown, the oldest first.
    shown: VecDeque<Digest>,
    seen: u64,
    told_below: Option<u64>,
    /// The instant up to which the clock was asked.
    until: Time,
    /// Whether something fell due of which it is not remembered yet that all of it is settled.
    unsettled: bool,
    /// The deliveries of what hosts ask now.
    asked: BTreeSet<Digest>,
    sending: usize,
}

impl Queue {
    /// An empty one that goes on from entry `from` of the log, and from an instant.
    pub fn new(limits: Limits, from: u64, until: Time) -> Self {
        Self {
            limits,
            lanes: BTreeMap::new(),
            lane_of: BTreeMap::new(),
            shown: VecDeque::new(),
            seen: from,
            told_below: None,
            until,
            unsettled: false,
            asked: BTreeSet::new(),
            sending: 0,
        }
    }

    /// The first entry that was not given to it yet.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// What entry `index` tells and to whom, with what is remembered of it. Entries come in order, those of
    /// [`Remembered::earlier`] first. One that is known already is left as it is.
    pub fn handle_planned(
        &mut self,
        index: u64,
        deliveries: Vec<Delivery>,
        remembered: &Remembered,
        now: Duration,
    ) {
        // Of what lies before the mark everything that is not remembered was delivered.
        let is_settled = index < self.seen;
        for delivery in deliveries {
            self.take(delivery, is_settled, remembered, now);
        }
        self.seen = self.seen.max(index + 1);
    }

    /// The instant up to which it was given what fell due.
    pub fn told_until(&self) -> Time {
        self.until
    }

    /// What fell due up to `until`, and to whom that is told. What is known already is left as it is; of what fell
    /// due up to [`Remembered::until`] everything that is not remembered was delivered.
    pub fn handle_due(
        &mut self,
        deliveries: Vec<Delivery>,
        until: Time,
        remembered: &Remembered,
        now: Duration,
    ) {
        for delivery in deliveries {
            let Cause::Due(due) = delivery.notice.cause else { continue };
            let is_settled = remembered.until().is_some_and(|until| due <= until);
            self.unsettled |= !is_settled;
            self.take(delivery, is_settled, remembered, now);
        }
        self.until = self.until.max(until);
    }

    /// Everything that hosts ask now, and whom. What they go on asking is told once.
    pub fn handle_asked(
        &mut self,
        deliveries: Vec<Delivery>,
        remembered: &Remembered,
        now: Duration,
    ) {
        let asked: BTreeSet<Digest> = deliveries.iter().map(|it| it.key).collect();
        for delivery in deliveries {
            if !self.asked.contains(&delivery.key) {
                self.take(delivery, false, remembered, now);
            }
        }
        self.asked = asked;
    }

    fn take(&mut self, it: Delivery, is_settled: bool, remembered: &Remembered, now: Duration) {
        let (key, index) = (it.key, it.notice.index);
        let tried = remembered.tried(&key);
        let stage = match (remembered.done(index, &key), tried) {
            (Some(at), _) => Stage::Done(at),
            (None, Some(tried)) if tried.parked => Stage::Parked,
            (None, None) if is_settled => return,
            (None, Some(_) | None) => Stage::Waiting(now),
        };
        let attempts = tried.map_or(0, |it| it.attempts);
        let why = tried.map(|it| it.why.clone()).filter(|why| !why.is_empty());
        if self.lane_of.contains_key(&key) {
            return;
        }
        self.lane_of.insert(key, (it.to.clone(), index));
        let is_done = matches!(stage, Stage::Done(_));
        let lane = self.lanes.entry(it.to.clone()).or_default();
        lane.insert((index, key), Item { delivery: it, attempts, stage, why });
        if is_done {
            self.show(key);
        }
    }

    /// What is to be sent now. Each is answered once by [`Queue::handle_delivered`] or
    /// [`Queue::handle_failed`].
    #[must_use]
    pub fn poll_due(&mut self, now: Duration) -> Vec<Delivery> {
        let room = AT_ONCE.saturating_sub(self.sending);
        let mut heads: Vec<(Duration, &mut Item)> = Vec::new();
        for lane in self.lanes.values_mut() {
            let head = lane.values_mut().find(|item| item.is_open());
            if let Some(item) = head
                && let Stage::Waiting(due) = item.stage
                && due <= now
            {
                heads.push((due, item));
            }
        }
        heads.sort_by_key(|(due, item)| (*due, item.delivery.notice.index, item.delivery.key));
        let due: Vec<Delivery> = heads
            .into_iter()
            .take(room)
            .map(|(_, item)| {
                item.stage = Stage::Sending;
                item.delivery.clone()
            })
            .collect();
        self.sending += due.len();
        due
    }

    /// When there may be something to send next by itself; `None` where only an event can bring something.
    pub fn next_due(&self) -> Option<Duration> {
        if self.sending >= AT_ONCE {
            return None;
        }
        let heads = self.lanes.values().filter_map(|lane| lane.values().find(|it| it.is_open()));
        let due = heads.filter_map(|item| match item.stage {
            Stage::Waiting(due) => Some(due),
            Stage::Sending | Stage::Parked | Stage::Done(_) => None,
        });
        due.min()
    }

    /// A delivery was made at `at`.
    #[must_use]
    pub fn handle_delivered(&mut self, key: &Digest, at: Time) -> Vec<Mark> {
        let Some(item) = self.sent(key) else { return Vec::new() };
        item.stage = Stage::Done(at);
        item.attempts += 1;
        item.why = None;
        let index = item.delivery.notice.index;
        let mut marks = vec![Mark::Done { key: *key, index, at }];
        self.show(*key);
        marks.extend(self.advance());
        marks
    }

    /// One more was made; of those only so many are kept.
    fn show(&mut self, key: Digest) {
        self.shown.push_back(key);
        if self.shown.len() <= SHOWN {
            return;
        }
        let gone = self.shown.pop_front().and_then(|old| Some((old, self.lane_of.remove(&old)?)));
        let Some((old, (to, index))) = gone else { return };
        let Some(lane) = self.lanes.get_mut(&to) else { return };
        lane.remove(&(index, old));
        if lane.is_empty() {
            self.lanes.remove(&to);
        }
    }

    /// A delivery failed. `jitter` is a random number: it spreads those that failed together.
    #[must_use]
    pub fn handle_failed(
        &mut self,
        key: &Digest,
        failure: Failure,
        now: Duration,
        jitter: u64,
    ) -> Vec<Mark> {
        let limits = self.limits;
        let Some(item) = self.sent(key) else { return Vec::new() };
        item.attempts += 1;
        let (why, after) = match failure {
            Failure::Passing { why, after } => {
                let asked = after.map(|it| it.min(LONGEST_ASKED));
                (why, Some(wait(&limits, item.attempts, jitter).max(asked.unwrap_or_default())))
            }
            Failure::Lasting { why } => (why, None),
        };
        item.stage = match after {
            Some(after) if item.attempts < limits.attempts => Stage::Waiting(now + after),
            Some(_) | None => Stage::Parked,
        };
        item.why = Some(why);
        let mut marks = vec![tried(item)];
        marks.extend(self.advance());
        marks
    }

    /// Somebody wants a delivery tried again at once; `None` where there is none of that key that waits or is
    /// parked.
    #[must_use]
    pub fn handle_retry(&mut self, key: &Digest, now: Duration) -> Option<Mark> {
        let (lane, index) = self.lane_of.get(key)?;
        let item = self.lanes.get_mut(lane)?.get_mut(&(*index, *key))?;
        if !matches!(item.stage, Stage::Waiting(_) | Stage::Parked) {
            return None;
        }
        (item.attempts, item.stage) = (0, Stage::Waiting(now));
        Some(tried(item))
    }

    fn sent(&mut self, key: &Digest) -> Option<&mut Item> {
        let (lane, index) = self.lane_of.get(key)?;
        let item = self.lanes.get_mut(lane)?.get_mut(&(*index, *key))?;
        if item.stage != Stage::Sending {
            return None;
        }
        self.sending = self.sending.saturating_sub(1);
        Some(item)
    }

    /// How far everything is delivered or parked, in the log and in time, where that is further than was said
    /// before.
    #[must_use]
    pub fn advance(&mut self) -> Vec<Mark> {
        let of_log = |it: &&Item| it.is_open() && it.delivery.notice.cause == Cause::Entry;
        let firsts = self.lanes.values().filter_map(|lane| lane.values().find(of_log));
        let first = firsts.map(|it| it.delivery.notice.index).min();
        // One that was parked and is tried again may lie before what was said.
        let below = first.unwrap_or(self.seen).max(self.told_below.unwrap_or(0));
        let mut items = self.lanes.values().flat_map(BTreeMap::values);
        let is_settled = self.unsettled && !items.any(|it| it.is_open() && it.is_due());
        let mut marks = Vec::new();
        if self.told_below != Some(below) {
            self.told_below = Some(below);
            marks.push(Mark::Below(below));
        }
        if is_settled {
            self.unsettled = false;
            marks.push(Mark::Until(self.until));
        }
        marks
    }

    /// Everything that `shown` says yes to: what is not delivered first, the oldest of it first, and then
    /// what was delivered, the newest first.
    pub fn view(&self, now: Duration, shown: impl Fn(&Delivery) -> bool) -> OutboxView {
        let items = || self.lanes.values().flat_map(BTreeMap::values);
        let items = items().filter(|item| shown(&item.delivery));
        let (mut done, mut open): (Vec<_>, Vec<_>) =
            items.partition(|item| matches!(item.stage, Stage::Done(_)));
        let place = |item: &&Item| (item.delivery.notice.index, item.delivery.key);
        open.sort_by_key(place);
        done.sort_by_key(place);
        let all = (open.len() + done.len()) as u64;
        let ordered = open.into_iter().chain(done.into_iter().rev());
        let deliveries: Vec<_> = ordered.take(MAX_DELIVERIES).map(|item| seen(item, now)).collect();
        let left_out = all - deliveries.len() as u64;
        OutboxView { deliveries, left_out }
    }
}

fn tried(item: &Item) -> Mark {
    let tried = Tried {
        index: item.delivery.notice.index,
        attempts: item.attempts,
        parked: item.stage == Stage::Parked,
        why: item.why.clone().unwrap_or_default(),
    };
    Mark::Tried { key: item.delivery.key, tried }
}

fn seen(item: &Item, now: Duration) -> DeliveryView {
    let Delivery { key, notice, to } = &item.delivery;
    DeliveryView {
        key: *key,
        release: notice.subject(),
        statement: notice.statement,
        index: notice.index,
        what: notice.what.name().to_owned(),
        channel: to.channel().to_owned(),
        recipient: to.recipient().to_owned(),
        state: match item.stage {
            Stage::Waiting(due) => DeliveryState::Waiting {
                milliseconds: u64::try_from(due.saturating_sub(now).as_millis())
                    .unwrap_or(u64::MAX),
            },
            Stage::Sending => DeliveryState::Sending,
            Stage::Parked => DeliveryState::Parked,
            Stage::Done(at) => DeliveryState::Delivered { at },
        },
        attempts: item.attempts,
        trouble: item.why.clone(),
    }
}

/// The wait after the `attempts`th failure: twice the one before, up to the longest; from half of it to all
/// of it by `jitter`.
fn wait(limits: &Limits, attempts: u32, jitter: u64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(31);
    let whole = limits.first_wait.saturating_mul(1 << doublings).min(limits.longest_wait);
    let millis = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis / 2 + jitter % (millis / 2 + 1))
}
