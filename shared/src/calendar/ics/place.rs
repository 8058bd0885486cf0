//! Which zone a TZID means.

use std::collections::BTreeMap;

use super::windows::iana_name;
use crate::calendar::zone::Zone;

/// The zones of a file, by TZID.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// X-LIC-LOCATION of its VTIMEZONEs.
    locations: BTreeMap<String, String>,
}

impl Places {
    /// A VTIMEZONE says where it is.
    pub(super) fn add(&mut self, tzid: String, location: String) {
        self.locations.insert(tzid, location);
    }

    /// The zone that a TZID means; the error says what was tried.
    pub(super) fn find(&self, tzid: &str) -> Result<Zone, String> {
        let location = self.locations.get(tzid).map(String::as_str);
        [Some(tzid), location].into_iter().flatten().find_map(named).ok_or_else(|| {
            let tzid: String = tzid.chars().take(80).collect();
            format!("the zone {tzid:?} is no IANA name, nor one that Windows uses")
        })
    }
}

/// An IANA name, one behind a prefix (`/example.org/20050126_1/America/New_York`), or a Windows name.
fn named(text: &str) -> Option<Zone> {
    let text = text.trim();
    if let Ok(zone) = Zone::find(text) {
        return Some(zone);
    }
    if let Some(name) = iana_name(text) {
        return Zone::find(name).ok();
    }
    let global = text.strip_prefix('/')?;
    let mut rest = global;
    while let Some((_, after)) = rest.split_once('/') {
        rest = after;
        if let Ok(zone) = Zone::find(rest) {
            return Some(zone);
        }
    }
    None
}
