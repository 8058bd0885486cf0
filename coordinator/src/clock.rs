//! The one place of this binary that reads the wall clock.

use cutover_shared::time::Time;

/// Now, in whole milliseconds. A clock that stands outside the years 1 to 9999 counts as 1970, which
/// is refused wherever it matters: every instant that was accepted before is later.
#[expect(clippy::disallowed_methods, reason = "this is the module that the prohibition points to")]
pub fn now() -> Time {
    let now = jiff::Timestamp::now();
    Time::from_timestamp(now)
        .unwrap_or_else(|| Time::from_millis(0).expect("1970 is within the range of instants"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn time_passes() {
        let this_was_written: cutover_shared::time::Time = "2025-01-01T00:00:00Z".parse().unwrap();
        assert!(super::now() > this_was_written);
    }
}
