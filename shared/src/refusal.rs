//! Refusals: a stable code for machines, the facts for people, and what to do next.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal, $remedy:literal;)*) => {
        /// Why something is refused. The kebab-case spelling is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[doc = $doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable spelling.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What a person can do about it.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }
        }
    };
}

// Frames carry a code by its place in this list: new ones go to the end.
codes! {
    /// The trust policy has passed its expiry.
    PolicyExpired = "policy-expired", "the root holders sign and install the next policy version";
    /// A policy older than one already accepted, or one that skips a version.
    PolicyRollback = "policy-rollback", "offer the versions in order, none older than the one in force";
    /// A signature does not verify.
    SignatureInvalid = "signature-invalid", "sign the statement again; if you did not make it, report it";
    /// Not a statement at all, or one with unknown or missing fields.
    Malformed = "malformed", "make the statement with the same version of Cutover as the coordinator";
    /// Fewer distinct owners signed than the policy demands.
    ThresholdNotMet = "threshold-not-met", "let further holders sign the same document";
    /// No signer holds the role, for this application and environment.
    RoleMissing = "role-missing", "let someone sign who holds the role; `cutover policy show` lists them";
    /// One person holds two duties on one release.
    DutiesNotSeparate = "duties-not-separate", "let another owner do one of the two";
    /// No rule of the policy matches the case.
    RuleMissing = "rule-missing", "the root holders add a rule for this environment and change type";
    /// A predicate that the policy does not list, or this program does not know.
    PredicateUnknown = "predicate-unknown", "upgrade Cutover here, or list the predicate in the policy";
    /// Two things that should be the same bytes are not.
    DigestMismatch = "digest-mismatch", "submit the package again; if it was tampered with, report it";
    /// The statement speaks of something that is not known here.
    SubjectUnknown = "subject-unknown", "check the name; `cutover status` lists what there is";
    /// The librarian's review is missing, or a return made a new one necessary.
    NotReviewed = "not-reviewed", "a librarian reviews it: `cutover review`";
    /// The review sent it back.
    Returned = "returned", "the submitter mends the items and submits again";
    /// Denied; these bytes are never deployed.
    Denied = "denied", "build a package that answers the reason and submit that";
    /// Security has not assessed it.
    NotAssessed = "not-assessed", "security assesses it: `cutover assess`";
    /// The board's quorum is not reached.
    NotApproved = "not-approved", "board members vote: `cutover vote`";
    /// It has not been delivered to the staging area.
    NotDelivered = "not-delivered", "a librarian or change manager delivers it: `cutover deliver`";
    /// No booking.
    NotBooked = "not-booked", "a change manager books a window: `cutover book`";
    /// The window has not been released.
    NotReleased = "not-released", "a change manager releases it: `cutover window release`";
    /// The order is for other hosts.
    WrongHost = "wrong-host", "book a window for this host";
    /// The order is for another environment than the host's own configuration says.
    WrongEnvironment = "wrong-environment", "book a window in the host's environment";
    /// The host's own configuration does not have this application.
    WrongApplication = "wrong-application", "add the application to the host's configuration";
    /// The window has not begun.
    WindowNotOpen = "window-not-open", "wait for the window, or book an earlier one";
    /// The window is over; there is no catching up.
    WindowClosed = "window-closed", "book a new window";
    /// What is left of the window is shorter than apply budget and rollback reserve.
    WindowTooShort = "window-too-short", "book a longer window";
    /// The window is longer than the policy allows.
    WindowTooLong = "window-too-long", "book a window within the rule's longest";
    /// No fresh clearance for this host, order and nonce.
    NotCleared = "not-cleared", "wait for the host's turn; `cutover status` says what it waits for";
    /// A freeze covers it.
    Frozen = "frozen", "wait for the freeze's end, or lift it";
    /// A hold stands.
    Held = "held", "the role that held it resumes: `cutover resume`";
    /// It was given up.
    Cancelled = "cancelled", "submit or book again";
    /// A later submission took its place.
    Superseded = "superseded", "go on with the later one";
    /// No open emergency (or pre-approval) stands behind the change type.
    GroundMissing = "ground-missing", "a change manager opens the route: `cutover emergency open`";
    /// The iteration before has not ended here.
    IterationOutOfOrder = "iteration-out-of-order", "end, cancel or deny the iteration before";
    /// No change manager approved this iteration's own digest.
    IterationNotApproved = "iteration-not-approved", "a change manager approves it: `cutover emergency approve`";
    /// The environments before have not proven this release.
    EnvironmentNotProven = "environment-not-proven", "deploy it there first";
    /// The waves before have not proven this release.
    WaveNotProven = "wave-not-proven", "wait for the waves before";
    /// The rollback is not signed by those who must, or goes where it may not.
    RollbackNotAuthorised = "rollback-not-authorised", "sign it with the roles that the policy names";
    /// The order was for an earlier generation of this host, or has been carried out.
    GenerationPassed = "generation-passed", "sign a new order";
    /// The checkpoint is older than one that the order or this host has seen.
    CheckpointStale = "checkpoint-stale", "offer a newer checkpoint";
    /// The log was forked or shortened.
    CheckpointInconsistent = "checkpoint-inconsistent", "stop and report it: the log was tampered with";
    /// The statement is not in the log under the checkpoint.
    NotLogged = "not-logged", "submit the statement to the coordinator first";
    /// The clock differs from the signed time by more than the policy's limit.
    ClockSkew = "clock-skew", "synchronise the clock of this machine";
    /// The clock is behind a time already accepted.
    ClockSteppedBack = "clock-stepped-back", "set the clock; then `cutover-applier clock accept` at the host";
    /// The kernel does not call the clock synchronised, and the policy demands it.
    ClockUnsynchronised = "clock-unsynchronised", "run a time service (chrony, systemd-timesyncd)";
    /// A file on the host inhibits going forward.
    Inhibited = "inhibited", "remove the host's inhibitor file when its reason is gone";
    /// The host does other work.
    Busy = "busy", "wait for it to end";
    /// The same name is taken.
    NameTaken = "name-taken", "choose another name, or retire the other one first";
    /// The grant is used up or expired.
    GrantExhausted = "grant-exhausted", "an operator makes a new grant: `cutover host grant`";
    /// The trust policy was signed ahead, and its day has not come.
    PolicyNotYet = "policy-not-yet", "install it when its `not_before` has come";
    /// The policy lets nobody make this exception, or pass this freeze.
    NotWaivable = "not-waivable", "meet the rule, or let the root holders list the exception";
    /// The environment's calendar does not offer that time.
    OutsideCalendar = "outside-calendar", "book one of the offered windows: `cutover suggest`";
    /// The environment's calendar asks for more notice.
    NoticeTooShort = "notice-too-short", "book a later window: `cutover suggest`";
    /// As many windows start that day as the environment's calendar allows.
    CapacityReached = "capacity-reached", "book another day: `cutover suggest`";
    /// Another release has these hosts, or this application there, at that time.
    WindowTaken = "window-taken", "book another time: `cutover suggest`, or cancel the other booking";
    /// The host has not what the release needs, or its way back is not whole. Nothing was touched.
    HostNotReady = "host-not-ready", "make the host ready, as the facts say; then book again";
    /// A department whose yes is needed has not given it.
    NotConsulted = "not-consulted", "the department answers: `cutover consult answer`";
    /// A condition that a board member set on an approval is not confirmed.
    ConditionOpen = "condition-open", "a board member or librarian confirms it: `cutover cab confirm`";
    /// Nobody but the submitter has rehearsed it, or it failed.
    NotRehearsed = "not-rehearsed", "somebody else rehearses it: `cutover package rehearse`";
    /// It was closed.
    Closed = "closed", "submit it as a new release";
    /// A post-implementation review is owed.
    ReviewOwed = "review-owed", "a change manager writes it: `cutover close --findings`";
    /// It cannot be closed yet.
    InProgress = "in-progress", "let its windows end, or cancel it: `cutover cancel`";
    /// The submission does not name a form that the policy asks for.
    FormMissing = "form-missing", "the submitter adds the form to the package and submits again";
}

impl Code {
    /// Whether it can pass by itself, so that the same order may be offered again.
    pub const fn is_passing(self) -> bool {
        matches!(
            self,
            Self::WindowNotOpen
                | Self::PolicyNotYet
                | Self::NotCleared
                | Self::Frozen
                | Self::Held
                | Self::Busy
                | Self::Inhibited
                | Self::WaveNotProven
                | Self::EnvironmentNotProven
                | Self::CheckpointStale
                | Self::ClockSkew
                | Self::ClockSteppedBack
                | Self::ClockUnsynchronised
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A refusal: the code and the facts behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {facts}")]
pub struct Refusal {
    /// Why, stable.
    pub code: Code,
    /// What was found, for people.
    pub facts: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: Code, facts: impl Into<String>) -> Self {
        Self { code, facts: facts.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_spelt_alike_everywhere() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
        }
    }
}
