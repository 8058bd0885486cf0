//! The exceptions that a policy can let two owners make.
//!
//! Only what people judge can be excepted. Cryptography, the log, hosts, windows, generations, denials,
//! holds and freezes have no word here, so no policy can list them.

use serde::{Deserialize, Serialize};

use super::Role;

/// What a waiver can do without, for one release in one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exception {
    /// Duties kept apart (rule 12).
    Duties,
    /// The librarians' review (rule 13); never the one that a return made necessary (P8).
    Review,
    /// Security's assessment (rule 14); never of a release that cannot be taken back.
    Assessment,
    /// The board's votes (rule 15); never a vote to reject, nor of a release that cannot be taken back.
    Votes,
    /// The delivery to the staging area (rule 16).
    Delivery,
    /// The proof by the environments before (rule 21).
    Environments,
    /// Other departments' answers (rule 26); never over a department's no.
    Consults,
}

impl Exception {
    /// Every exception.
    pub const ALL: &[Self] = &[
        Self::Duties,
        Self::Review,
        Self::Assessment,
        Self::Votes,
        Self::Delivery,
        Self::Environments,
        Self::Consults,
    ];

    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Duties => "duties",
            Self::Review => "review",
            Self::Assessment => "assessment",
            Self::Votes => "votes",
            Self::Delivery => "delivery",
            Self::Environments => "environments",
            Self::Consults => "consults",
        }
    }
}

impl std::fmt::Display for Exception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// An exception that a rule allows, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waivable {
    /// What can be done without.
    pub exception: Exception,
    /// The roles of the two who must sign, distinct owners; both may be the same role.
    pub by: [Role; 2],
}
