//! How long to wait before the next attempt.

use std::time::Duration;

/// Delays that double from the first to a cap, each cut by up to a half at random so that a fleet which
/// lost the same coordinator does not come back in one instant.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    /// Delays from `first` to `cap`.
    pub(super) const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, attempts: 0 }
    }

    /// The delay before the next attempt.
    pub(super) fn next(&mut self) -> Duration {
        let whole = self.whole();
        self.attempts = self.attempts.saturating_add(1);
        // Without randomness the delay is merely not spread.
        let cut = fraction(getrandom::u32().unwrap_or(0)) / 2.0;
        whole.mul_f64(1.0 - cut)
    }

    /// The last attempt succeeded: begin again with the shortest delay.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }

    fn whole(&self) -> Duration {
        // 2^31 times anything is beyond every cap, so that a larger exponent changes nothing.
        let doubled = 1_u32 << self.attempts.min(31);
        self.first.saturating_mul(doubled).min(self.cap)
    }
}

/// A random number as a fraction of one.
fn fraction(random: u32) -> f64 {
    f64::from(random) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_begin_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for whole in [100, 200, 400, 800, 1000, 1000] {
            let delay = backoff.next();
            let whole = Duration::from_millis(whole);
            assert!(whole / 2 <= delay && delay <= whole, "{delay:?} of {whole:?}");
        }
        for _ in 0..100 {
            assert!(backoff.next() <= Duration::from_secs(1));
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
