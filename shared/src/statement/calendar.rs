//! The calendar of an environment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::calendar::recurring::Recurring;
use crate::digest::Digest;
use crate::name::Name;
use crate::time::span;

/// A change manager says when an environment may be worked on. The last one logged is in force, whole: it
/// takes the place of the one before. It binds bookings on their way into the log; what was booked stays
/// booked, and hosts never see it. Emergencies are exempt from it, and from nothing else.
///
/// Freezes are not in here: each is a statement of its own with its own instants, since every host's
/// clearance hangs on them, and those who fold the log must not need the same zone database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// The policy in force when it was signed.
    pub policy: Digest,
    /// The environment.
    pub environment: Name,
    /// The `calendar` statement that this one takes the place of; none for the environment's first. One
    /// that was written over another than it takes the place of is refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replaces: Option<Digest>,
    /// What it says.
    pub terms: Terms,
}

/// What people edit, as TOML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Terms {
    /// IANA name of the zone whose days are counted, and in which times are shown.
    pub zone: String,
    /// A window is booked at least so long before its start.
    #[serde(with = "span")]
    pub notice: Duration,
    /// At most so many windows start in one day of the zone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub capacity_per_day: Option<u32>,
    /// A booking lies within these; none means any time.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub windows: Vec<Recurring>,
}

/// Most windows in a calendar: several for each day of the week, and each month-end.
pub const MAX_WINDOWS: usize = 64;

impl Terms {
    /// What is wrong with them as they stand, whatever the zone database says.
    pub fn fault(&self) -> Option<String> {
        if !crate::calendar::zone::is_zone_name(&self.zone) {
            return Some(format!("{:?} is no IANA zone name", self.zone));
        }
        if self.windows.len() > MAX_WINDOWS {
            return Some(format!("it has more than {MAX_WINDOWS} windows"));
        }
        if self.capacity_per_day == Some(0) {
            return Some("a capacity of 0 is a freeze: declare one".to_owned());
        }
        let mut names: Vec<_> = self.windows.iter().map(Recurring::name).collect();
        names.sort();
        let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
        twice.map(|pair| format!("two windows are called {}", pair[0]))
    }
}
