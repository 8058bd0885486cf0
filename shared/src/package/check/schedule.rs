//! Whether the window that is asked for can be one, by the zone's rules.

use crate::calendar::span::{Reading, WhenError};
use crate::calendar::zone::Zone;
use crate::package::finding::{Finding, Rule};
use crate::package::manifest::{Extent, MANIFEST, Manifest};
use crate::time::{Time, span};

pub(super) fn check(manifest: &Manifest, findings: &mut Vec<Finding>) {
    let mut refuse = |field: &str, rule, problem: String, remedy: &str| {
        let field = Some(format!("schedule.{field}"));
        findings.push(Finding { field, ..Finding::of_file(MANIFEST, rule, problem, remedy) });
    };
    let schedule = &manifest.schedule;
    let zone = match Zone::find(&schedule.zone) {
        Ok(zone) => zone,
        Err(unknown) => {
            let problem = format!("no zone {:?} is known", unknown.0);
            let remedy = "write an IANA name, as America/New_York";
            return refuse("zone", Rule::FieldValue, problem, remedy);
        }
    };
    let extent = match schedule.extent {
        Extent::For(_) => "for",
        Extent::Until(_) => "until",
    };
    // All of it is on the wall: nothing is reckoned from now, whenever that is.
    match schedule.span().window(Reading::Permission, Some(&zone), Time::EPOCH) {
        Ok(window) => {
            let length = window.end.since(window.start);
            let needed = manifest.apply_budget + manifest.rollback_reserve;
            if length < needed {
                let [length, needed] = [length, needed].map(span::format);
                let problem = format!(
                    "the window is {length} long, and apply-budget and rollback-reserve are {needed} together"
                );
                let remedy = "ask for a longer window: in this one no host could start";
                refuse(extent, Rule::Contradiction, problem, remedy);
            }
        }
        Err(error @ WhenError::Gap { .. }) => {
            let remedy = "choose a time before or after the gap";
            refuse("start", Rule::FieldValue, error.to_string(), remedy);
        }
        Err(error) => {
            let remedy = "correct the start, the end or the zone";
            refuse(extent, Rule::Contradiction, error.to_string(), remedy);
        }
    }
}
