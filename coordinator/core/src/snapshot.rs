//! When the fold is written down, so that the next start need not read the whole log.

/// Fewer entries than this are folded from the log in less than a second.
const LEAST: u64 = 4096;

/// And less than this part of the log is not worth writing all of it again: so what is written in all stays
/// in proportion to the log, and a start verifies this part of it at most.
const PART: u64 = 32;

/// Whether the fold of `size` entries is due to be written down, when the last that was is of `last`.
pub fn is_snapshot_due(size: u64, last: u64) -> bool {
    size.saturating_sub(last) >= LEAST.max(last / PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_enough_that_is_new() {
        for (size, last, due) in [
            (0, 0, false),
            (4095, 0, false),
            (4096, 0, true),
            (5000, 4096, false),
            (1_031_249, 1_000_000, false),
            (1_031_250, 1_000_000, true),
            // The log was cut back to before the snapshot.
            (10, 20_000, false),
        ] {
            assert_eq!(is_snapshot_due(size, last), due, "{size} after {last}");
        }
    }

    #[test]
    fn what_is_written_stays_in_proportion() {
        let (mut last, mut written) = (0, 0);
        for size in 1..=1_000_000 {
            if is_snapshot_due(size, last) {
                (last, written) = (size, written + size);
            }
        }
        assert!(written < 40 * 1_000_000, "{written}");
        assert!(1_000_000 - last < 40_000);
    }
}
