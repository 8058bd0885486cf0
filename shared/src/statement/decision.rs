//! What people decide about a release.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ChangeType;
use crate::digest::Digest;
use crate::name::Name;
use crate::policy::Exception;
use crate::time::{Time, span};

/// A submitter says: this package is a release of this application. Approvals name the digest of this
/// statement, so that another type, target or schedule for the same bytes starts anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The application.
    pub application: Name,
    /// The version as its people call it.
    pub version: String,
    /// SHA-256 of the package index, which binds everything in the package.
    pub package: Digest,
    /// What kind of change; anything but `normal` needs its own signed ground.
    pub change: ChangeType,
    /// The environments that it is for; approvals are given for these, each by name.
    pub environments: BTreeSet<Name>,
    /// One line.
    pub summary: String,
    /// Longest time from the start on a host to a commit, without baking's end being cut short.
    #[serde(with = "span")]
    pub apply_budget: Duration,
    /// Time kept at the window's end for going back.
    #[serde(with = "span")]
    pub rollback_reserve: Duration,
    /// It cannot be taken back: needs board and security whatever the rule says (PROCESS 5).
    pub irreversible: bool,
    /// The start that the submitter asks for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requested_start: Option<Time>,
    /// The forms in the package, and which text of each schema they keep (PROCESS 4).
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub forms: BTreeSet<FormUsed>,
    /// Its place in a sequence of emergency iterations.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub iteration: Option<Iteration>,
    /// The `standard` statement that approved changes of its kind ahead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub standard: Option<Digest>,
    /// The earlier submission that this one takes the place of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub supersedes: Option<Digest>,
}

/// A form of a release: what it is read by, whatever becomes of the schemas later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormUsed {
    /// The schema's id; the form is `forms/<id>.toml` or `.json` in the package.
    pub form: Name,
    /// The schema's version.
    pub version: u32,
    /// SHA-256 of the schema's text.
    pub digest: Digest,
}

/// Where an emergency release stands in its sequence (PROCESS 18).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Iteration {
    /// The `emergency` statement that opened the route.
    pub grounds: Digest,
    /// 1, 2, 3 …
    pub number: u32,
    /// The `release` statement of the iteration before; none for the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous: Option<Digest>,
}

/// The emergency route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Emergency {
    /// It is open for an application in these environments, until the statement's `not_after`.
    Opened {
        /// The policy in force when it was signed.
        policy: Digest,
        /// The incident's number in its tracker.
        incident: String,
        /// The application.
        application: Name,
        /// The environments.
        environments: BTreeSet<Name>,
        /// Why the normal way is too slow.
        reason: String,
    },
    /// One iteration may act. A signature over one digest is none over another.
    Approved(IterationApproval),
}

/// A change manager's short approval of one iteration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IterationApproval {
    /// The `emergency` statement.
    pub grounds: Digest,
    /// The iteration's `release` statement.
    pub release: Digest,
    /// Its number, as the approver read it.
    pub number: u32,
}

/// Changes of one kind, approved ahead by a change manager who submits none of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Standard {
    /// Releases that fit the template are approved, until the statement's `not_after`.
    Approved(Box<Template>),
    /// They are approved no longer.
    Withdrawn {
        /// The `standard` statement.
        standard: Digest,
        /// Why.
        reason: String,
    },
}

/// What a standard change has to be, field by field. Version, summary and requested start are each
/// release's own; a release that cannot be taken back fits no template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// The policy in force when it was signed.
    pub policy: Digest,
    /// What people call this kind of change.
    pub title: String,
    /// The application.
    pub application: Name,
    /// The environments.
    pub environments: BTreeSet<Name>,
    /// The package.
    pub package: Digest,
    /// Longest time from the start on a host to a commit.
    #[serde(with = "span")]
    pub apply_budget: Duration,
    /// Time kept at the window's end for going back.
    #[serde(with = "span")]
    pub rollback_reserve: Duration,
    /// What a release may have otherwise.
    pub may_differ: BTreeSet<Differing>,
    /// Why changes of this kind need no judgement of their own.
    pub reason: String,
}

impl Template {
    /// The first field of a release that does not fit, if one does not.
    pub fn misfit(&self, release: &Release) -> Option<&'static str> {
        let may = |what| self.may_differ.contains(&what);
        let (ours, theirs) = (&self.environments, &release.environments);
        let budget = match release.apply_budget.cmp(&self.apply_budget) {
            Ordering::Less => may(Differing::ShorterBudget),
            Ordering::Equal => true,
            Ordering::Greater => false,
        };
        let reserve = match release.rollback_reserve.cmp(&self.rollback_reserve) {
            Ordering::Less => false,
            Ordering::Equal => true,
            Ordering::Greater => may(Differing::LongerReserve),
        };
        let fits = [
            ("application", release.application == self.application),
            (
                "environments",
                theirs == ours || may(Differing::FewerEnvironments) && theirs.is_subset(ours),
            ),
            ("package", release.package == self.package || may(Differing::Package)),
            ("apply budget", budget),
            ("rollback reserve", reserve),
            ("irreversible", !release.irreversible),
        ];
        fits.into_iter().find(|(_, fits)| !fits).map(|(field, _)| field)
    }
}

/// What a standard release may have otherwise than its template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Differing {
    /// Any package.
    Package,
    /// Fewer environments.
    FewerEnvironments,
    /// A shorter time to apply.
    ShorterBudget,
    /// A longer time kept for going back.
    LongerReserve,
}

impl Differing {
    /// Every one.
    pub const ALL: &[Self] =
        &[Self::Package, Self::FewerEnvironments, Self::ShorterBudget, Self::LongerReserve];

    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::FewerEnvironments => "fewer-environments",
            Self::ShorterBudget => "shorter-budget",
            Self::LongerReserve => "longer-reserve",
        }
    }
}

/// Two owners pass freezes with one booking (DESIGN 3): a change manager, and a second owner of the role
/// that the policy's rule names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// The `release` statement.
    pub release: Digest,
    /// The `booking` statement.
    pub booking: Digest,
    /// Each freeze that it passes; a freeze that is not named is not passed.
    pub freezes: Vec<PassedFreeze>,
}

/// A freeze that is passed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassedFreeze {
    /// The `freeze` statement.
    pub freeze: Digest,
    /// Why.
    pub reason: String,
}

/// Two owners make an exception for one release in one environment, until the statement's `not_after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// The `release` statement.
    pub release: Digest,
    /// The environment.
    pub environment: Name,
    /// What is done without.
    pub exception: Exception,
    /// Why.
    pub reason: String,
}

/// A librarian's review for completeness (PROCESS 7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// The `release` statement.
    pub release: Digest,
    /// For these environments.
    pub environments: BTreeSet<Name>,
    /// What was found.
    pub verdict: Verdict,
}

/// The result of a review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Verdict {
    /// A non-involved entity could deploy it.
    Complete,
    /// Back to the submitter, item by item.
    Returned {
        /// What is to be mended.
        items: Vec<Remark>,
    },
    /// Denied for its documentation.
    Denied {
        /// Why.
        reason: String,
    },
}

/// One remark of a review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remark {
    /// File and field, or the form item's id.
    pub item: String,
    /// What to do about it.
    pub remark: String,
}

/// Yes or no, with a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Judgement {
    /// Yes.
    Accepted {
        /// Why, or nothing to add.
        reason: String,
    },
    /// No.
    Denied {
        /// Why.
        reason: String,
    },
}

/// Security's assessment. A denial names the package too: those bytes are never deployed anywhere
/// (PROCESS 11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assessment {
    /// The `release` statement.
    pub release: Digest,
    /// Its package.
    pub package: Digest,
    /// For these environments.
    pub environments: BTreeSet<Name>,
    /// The judgement.
    pub judgement: Judgement,
}

/// A board member's vote. The last vote of an owner counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    /// The `release` statement.
    pub release: Digest,
    /// For these environments.
    pub environments: BTreeSet<Name>,
    /// The judgement.
    pub judgement: Judgement,
    /// What an approval hangs on, line by line: each is confirmed by a `task` before the window is released.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub conditions: Vec<String>,
}

/// Delivered to the staging area (PROCESS 14).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// The `release` statement.
    pub release: Digest,
    /// Its package.
    pub package: Digest,
    /// Where it can be found.
    pub location: String,
}

/// Stop going forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// The `release` statement.
    pub release: Digest,
    /// Why.
    pub reason: String,
    /// Hosts that have activated already finish instead of going back.
    pub finish: bool,
}

/// The hold is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// The `hold` statement.
    pub hold: Digest,
    /// Why.
    pub reason: String,
}

/// The release is given up, or one of its bookings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// The `release` statement.
    pub release: Digest,
    /// One booking only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub booking: Option<Digest>,
    /// Why.
    pub reason: String,
}

/// A freeze: nothing goes forward in a scope between two instants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Freeze {
    /// It holds in `[start, end)`.
    Declared {
        /// The policy in force when it was signed.
        policy: Digest,
        /// These environments.
        environments: BTreeSet<Name>,
        /// These applications; empty means all.
        applications: BTreeSet<Name>,
        /// From.
        start: Time,
        /// Until.
        end: Time,
        /// Why.
        reason: String,
    },
    /// It holds no longer.
    Lifted {
        /// The `freeze` statement.
        freeze: Digest,
        /// Why.
        reason: String,
    },
}
