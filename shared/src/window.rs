//! Windows: half-open spans of instants, and whether a deployment fits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// `[start, end)`; in order of start, then end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Open from this instant on.
    pub start: Time,
    /// Closed from this instant on.
    pub end: Time,
}

/// Where an instant lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Before the start.
    Before,
    /// Inside, with room for apply budget and reserve.
    Open,
    /// Inside, but a deployment that begins now could not end in time.
    TooLate,
    /// At or after the end.
    After,
}

impl Window {
    /// Its length.
    pub fn length(&self) -> Duration {
        self.end.since(self.start)
    }

    /// Where `now` lies for a deployment that needs `apply` and keeps `reserve`: it begins only when
    /// `now + apply + reserve <= end` (DESIGN 6).
    pub fn position(&self, now: Time, apply: Duration, reserve: Duration) -> Position {
        if now < self.start {
            Position::Before
        } else if now >= self.end {
            Position::After
        } else if now + apply + reserve > self.end {
            Position::TooLate
        } else {
            Position::Open
        }
    }

    /// Whether the two share an instant.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// What the two share; none where they share no instant.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let shared = Self { start: self.start.max(other.start), end: self.end.min(other.end) };
        (shared.start < shared.end).then_some(shared)
    }

    /// Whether `now` is inside.
    pub fn contains(&self, now: Time) -> bool {
        self.start <= now && now < self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_within_both() {
        let at = |minute: u64| Time::from_millis(0).unwrap() + Duration::from_secs(60 * minute);
        let window = |from: u64, to: u64| Window { start: at(from), end: at(to) };
        let mine = window(10, 20);
        for (other, shared) in [
            (window(0, 30), Some(mine)),
            (window(12, 15), Some(window(12, 15))),
            (window(5, 11), Some(window(10, 11))),
            (window(19, 25), Some(window(19, 20))),
            (window(0, 10), None),
            (window(20, 30), None),
            (window(25, 30), None),
        ] {
            assert_eq!(mine.intersection(&other), shared, "{other:?}");
            assert_eq!(other.intersection(&mine), shared, "{other:?}");
        }
    }

    #[test]
    fn edges_are_half_open_and_the_reserve_counts() {
        let at = |minute: u64| Time::from_millis(0).unwrap() + Duration::from_secs(60 * minute);
        let window = Window { start: at(10), end: at(20) };
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let position = |now| window.position(now, minutes(3), minutes(2));
        assert_eq!(position(at(10) - Duration::from_millis(1)), Position::Before);
        assert_eq!(position(at(10)), Position::Open);
        assert_eq!(position(at(15)), Position::Open, "now + apply + reserve == end still fits");
        assert_eq!(position(at(15) + Duration::from_millis(1)), Position::TooLate);
        assert_eq!(position(at(20) - Duration::from_millis(1)), Position::TooLate);
        assert_eq!(position(at(20)), Position::After);
        assert!(!window.overlaps(&Window { start: at(20), end: at(21) }));
        assert!(window.overlaps(&Window { start: at(19), end: at(21) }));
        let millisecond = Duration::from_millis(1);
        let within = [at(10) - millisecond, at(10), at(20) - millisecond, at(20)];
        assert_eq!(within.map(|now| window.contains(now)), [false, true, true, false]);
    }
}
