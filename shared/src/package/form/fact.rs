//! What a form need not ask: facts that the release or the log has.

use std::collections::BTreeMap;

use crate::package::manifest::{Manifest, Target};
use crate::time::span;

/// A fact that is known under this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fact(&'static str);

/// Facts by name, as people read them.
pub type Facts = BTreeMap<Fact, String>;

/// Every fact, and what it is.
pub const FACTS: &[(&str, &str)] = &[
    ("release.application", "release.toml: application"),
    ("release.version", "release.toml: version"),
    ("release.summary", "release.toml: summary"),
    ("release.change-type", "release.toml: change-type"),
    ("release.targets", "release.toml: targets"),
    ("release.apply-budget", "release.toml: apply-budget"),
    ("release.rollback-reserve", "release.toml: rollback-reserve"),
    ("impact.systems", "release.toml: impact.systems"),
    ("impact.users", "release.toml: impact.users"),
    ("impact.outage-minutes", "release.toml: impact.outage-minutes"),
    ("impact.worst-case", "release.toml: impact.worst-case"),
    ("impact.not-doing", "release.toml: impact.not-doing"),
    ("rollback.strategy", "release.toml: rollback.strategy"),
    ("rollback.steps", "release.toml: rollback.steps"),
    ("rollback.trigger", "release.toml: rollback.trigger"),
    ("rollback.minutes", "release.toml: rollback.minutes"),
    ("rollback.owner", "release.toml: rollback.owner"),
    ("rollback.data-loss", "release.toml: rollback.data-loss"),
    ("rollback.irreversible", "release.toml: rollback.irreversible"),
    ("schedule.start", "release.toml: schedule.start"),
    ("schedule.ending", "release.toml: schedule.for or schedule.until"),
    ("schedule.zone", "release.toml: schedule.zone"),
    ("schedule.latest", "release.toml: schedule.latest"),
    ("log.release", "the release's number"),
    ("log.environments", "the environments that it was submitted for"),
    ("log.package", "the package's digest"),
    ("log.submitted-by", "who signed the submission"),
    ("log.submitted-at", "when"),
    ("log.received", "when the librarian's first answer was signed"),
    ("log.checked-by", "who reviewed it"),
    ("log.check-result", "what the librarian said, by environment"),
    ("log.staging-location", "where it was delivered"),
    ("log.assessment", "what security said"),
    ("log.board-decision", "the votes of the board"),
    ("log.board-date", "when the last of them was signed"),
    ("log.conditions", "what the board attached to its approval"),
    ("log.windows", "the booked windows"),
    ("log.actual-start", "the first window that was released"),
    ("log.actual-end", "when the last host reported"),
    ("log.result", "what the hosts reported"),
    ("log.review-reference", "the closure with its review"),
];

impl Fact {
    /// The fact of this name, if there is one.
    pub fn find(name: &str) -> Option<Self> {
        FACTS.iter().find(|(known, _)| *known == name).map(|(known, _)| Self(known))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// Whether a later statement tells it: it is not there before the log has it.
    pub fn is_of_the_log(self) -> bool {
        self.0.starts_with("log.")
    }
}

/// What `release.toml` tells.
pub fn of_manifest(manifest: &Manifest) -> Facts {
    let Manifest { impact, rollback, schedule, .. } = manifest;
    let targets: Vec<&str> = manifest.targets.iter().map(|target| Target::name(*target)).collect();
    let numbered = |steps: &[String]| {
        let lines = steps.iter().enumerate().map(|(n, step)| format!("{}. {step}", n + 1));
        lines.collect::<Vec<_>>().join("\n")
    };
    let known = [
        ("release.application", manifest.application.to_string()),
        ("release.version", manifest.version.clone()),
        ("release.summary", manifest.summary.clone()),
        ("release.change-type", manifest.change_type.to_string()),
        ("release.targets", targets.join(", ")),
        ("release.apply-budget", span::format(manifest.apply_budget)),
        ("release.rollback-reserve", span::format(manifest.rollback_reserve)),
        ("impact.systems", impact.systems.join(", ")),
        ("impact.users", impact.users.clone()),
        ("impact.outage-minutes", impact.outage_minutes.to_string()),
        ("impact.worst-case", impact.worst_case.clone()),
        ("impact.not-doing", impact.not_doing.clone()),
        ("rollback.strategy", rollback.strategy.clone()),
        ("rollback.steps", numbered(&rollback.steps)),
        ("rollback.trigger", rollback.trigger.clone()),
        ("rollback.minutes", rollback.minutes.to_string()),
        ("rollback.owner", rollback.owner.clone()),
        ("rollback.data-loss", rollback.data_loss.clone()),
        ("rollback.irreversible", if rollback.irreversible { "yes" } else { "no" }.to_owned()),
        ("schedule.start", schedule.start.to_string()),
        ("schedule.ending", schedule.extent.to_string()),
        ("schedule.zone", schedule.zone.clone()),
        ("schedule.latest", schedule.latest.to_string()),
    ];
    named(known)
}

/// Facts by their names, all of which are [`FACTS`].
pub fn named<'n>(known: impl IntoIterator<Item = (&'n str, String)>) -> Facts {
    let known = known.into_iter().map(|(name, text)| {
        let fact = Fact::find(name).expect("only names of FACTS are given here");
        (fact, text)
    });
    known.collect()
}
