//! The one place of the applier that reads clocks.

use std::time::Instant;

use cutover_machine::Now;
use cutover_shared::time::Time;

/// The wall clock and a monotonic one that began with the process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// Begins now.
    pub fn start() -> Self {
        Self { began: Instant::now() }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        Now { wall: wall(), monotonic: self.began.elapsed() }
    }
}

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the applier's clock module")]
fn wall() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let epoch = Time::from_millis(0).expect("1970 is an instant");
    Time::from_millis(millis).unwrap_or(epoch)
}

/// Whether the kernel calls its clock synchronised (`adjtimex`, `STA_UNSYNC` not set); `None` when it
/// cannot be asked.
#[expect(unsafe_code, reason = "adjtimex has no safe wrapper; a zeroed timex only reads")]
pub fn synchronised() -> Option<bool> {
    // SAFETY: timex is plain old data, for which all zeroes is a value, and `modes == 0` reads only.
    let status = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        let result = libc::adjtimex(&raw mut timex);
        (result >= 0).then_some(timex.status)
    };
    status.map(|status| status & libc::STA_UNSYNC == 0)
}
