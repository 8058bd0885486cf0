//! What a policy's end asks of people, while there is time.

use std::time::Duration;

use super::PolicyDocument;
use crate::time::Time;

/// How many days before its end a policy's expiry is announced (DESIGN 4).
pub const ANNOUNCED_DAYS: [u64; 4] = [60, 30, 7, 1];

impl PolicyDocument {
    /// The announcements of its expiry that fall due after `since` and not after `now`: of how many days
    /// each speaks, the longest first. One that was missed (a coordinator that was down) is told late.
    pub fn expiry_due(&self, since: Time, now: Time) -> Vec<u64> {
        let at = |days: u64| self.expires - Duration::from_hours(days * 24);
        let due = |days: &u64| (since < at(*days)) && at(*days) <= now && now < self.expires;
        ANNOUNCED_DAYS.into_iter().filter(due).collect()
    }

    /// What people are told of its end while an announcement of it stands, and from its end on.
    pub fn expiry_note(&self, now: Time) -> Option<String> {
        let Self { version, expires, .. } = self;
        if *expires <= now {
            return Some(format!("note: policy version {version} expired at {expires}"));
        }
        let first = *expires - Duration::from_hours(ANNOUNCED_DAYS[0] * 24);
        let days = expires.since(now).as_secs() / (24 * 60 * 60);
        (first <= now).then(|| {
            format!(
                "note: policy version {version} expires at {expires}, in {days} days: the root holders \
                 sign and install the next one"
            )
        })
    }

    /// When the next announcement is due after `now`, if one is left.
    pub fn next_expiry_due(&self, now: Time) -> Option<Time> {
        let at = |days: u64| self.expires - Duration::from_hours(days * 24);
        ANNOUNCED_DAYS.into_iter().map(at).find(|due| now < *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SecretKey;
    use crate::policy::LogKey;

    fn policy() -> PolicyDocument {
        let key = SecretKey::from_seed([1; 32]).public();
        let log = LogKey { origin: "cutover.example.org/log".to_owned(), key };
        PolicyDocument::bare(log, "2026-12-31T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn each_announcement_is_made_once_also_after_a_rest() {
        let time = |text: &str| text.parse::<Time>().unwrap();
        let cases: [(&str, &str, &[u64]); 8] = [
            ("2026-01-01T00:00:00Z", "2026-10-31T23:59:59Z", &[]),
            ("2026-10-31T23:59:59Z", "2026-11-01T00:00:00Z", &[60]),
            ("2026-11-01T00:00:00Z", "2026-11-01T00:00:01Z", &[]),
            ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z", &[30]),
            ("2026-12-23T23:59:59Z", "2026-12-24T00:00:00Z", &[7]),
            ("2026-12-24T00:00:00Z", "2026-12-30T00:00:00Z", &[1]),
            ("2026-01-01T00:00:00Z", "2026-12-30T12:00:00Z", &[60, 30, 7, 1]),
            ("2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z", &[]),
        ];
        for (since, now, expected) in cases {
            assert_eq!(policy().expiry_due(time(since), time(now)), expected, "{since} to {now}");
        }
        let next = |now| policy().next_expiry_due(time(now)).map(|it| it.to_string());
        assert_eq!(next("2026-01-01T00:00:00Z").as_deref(), Some("2026-11-01T00:00:00Z"));
        assert_eq!(next("2026-11-01T00:00:00Z").as_deref(), Some("2026-12-01T00:00:00Z"));
        assert_eq!(next("2026-12-30T00:00:00Z"), None);
    }

    #[test]
    fn people_are_told_of_the_end_from_the_first_announcement_on() {
        let note = |now: &str| policy().expiry_note(now.parse().unwrap());
        assert_eq!(note("2026-10-31T23:59:59Z"), None);
        assert!(note("2026-11-01T00:00:00Z").unwrap().contains("in 60 days"));
        assert!(note("2026-12-30T23:59:59Z").unwrap().contains("in 0 days"), "less than one");
        assert!(note("2026-12-31T00:00:00Z").unwrap().contains("expired at"));
    }
}
