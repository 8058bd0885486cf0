//! May this host do this now, and if not, why not?
//!
//! The one answer for everybody: the command line explains with it, the coordinator plans with it, the
//! applier decides with it. Pure: what was said is a folded [`State`], what the host knows of itself is
//! [`HostFacts`], the time is an argument.
//!
//! Going forward takes two steps. [`judge`] runs the standing rules of [`rules::FORWARD`] and gives a
//! [`Candidate`]; [`authorise`] adds the clearance (fresh, for this host, order, phase and nonce) and gives
//! the [`Order`] that alone can move a host forward. An ordered return has its own short list
//! ([`rules::RETURN`]). Going back by itself to the last committed release needs no authority at all and is
//! not decided here.

pub mod admission;
pub mod clearance;
pub mod closing;
pub mod rules;
mod sitting;

use std::collections::{BTreeMap, BTreeSet};

use crate::case::{BookingCase, Budget, Case, Verified};
use crate::digest::Digest;
use crate::fold::{HostRecord, State};
use crate::key::KeyId;
use crate::name::Name;
use crate::policy::TrustPolicy;
use crate::refusal::{Code, Refusal};
use crate::rollout::LINGER;
use crate::statement::{Override, Phase, Waiver};
use crate::time::Time;
use crate::window::Window;

pub use clearance::{ClearanceFacts, Clearances, Cleared, WitnessClearance};
pub use sitting::{OF_ORDER, OF_WAVE, Sitting};

/// What a host knows of itself. On the host it comes from its own configuration and ledger; the
/// coordinator fills it from the log ([`HostFacts::from_log`]) and leaves open what only the host knows.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// Its name.
    pub host: Name,
    /// Its host key.
    pub host_key: KeyId,
    /// Its environment.
    pub environment: Name,
    /// The applications that may be deployed to it.
    pub applications: BTreeSet<Name>,
    /// What is installed of the order's application.
    pub installed: InstalledFacts,
    /// The newest time that it has accepted.
    pub newest_time: Option<Time>,
    /// Whether the kernel calls its clock synchronised; `None` where that is unknown.
    pub clock_synchronised: Option<bool>,
    /// The texts of its inhibitor files.
    pub inhibitors: Vec<String>,
}

/// What is installed of one application on a host.
#[derive(Debug, Clone, Default)]
pub struct InstalledFacts {
    /// Counted up by every order.
    pub generation: u64,
    /// The package that runs.
    pub running: Option<Digest>,
    /// The package committed before it, still on disk.
    pub previous: Option<Digest>,
    /// The order whose commit is the last thing that the application did here.
    pub committed_by: Option<Digest>,
    /// Orders that have been begun here; none is begun twice.
    pub spent: BTreeSet<Digest>,
    /// Packages taken back here: a review must come after.
    pub returned: BTreeMap<Digest, TakenBack>,
    /// The newest iteration of each emergency that was begun here.
    pub iterations: BTreeMap<Digest, u32>,
}

/// When a package was taken back on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenBack {
    /// Entries of the log that the host knew.
    pub size: u64,
    /// By its clock.
    pub time: Time,
}

impl HostFacts {
    /// As far as the log tells.
    pub fn from_log(record: &HostRecord, application: &Name) -> Self {
        let enrolment = record.enrolment.says();
        let installed = record.installed.get(application);
        Self {
            host: enrolment.host.clone(),
            host_key: enrolment.host_key.id(),
            environment: enrolment.environment.clone(),
            applications: enrolment.applications.clone(),
            installed: InstalledFacts {
                generation: installed.map_or(0, |it| it.generation),
                running: installed.and_then(|it| it.package),
                previous: installed.and_then(|it| it.previous),
                committed_by: installed.and_then(|it| it.committed_by),
                ..InstalledFacts::default()
            },
            newest_time: None,
            clock_synchronised: None,
            inhibitors: Vec::new(),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What was said.
    pub state: &'a State,
    /// What the host knows of itself.
    pub host: &'a HostFacts,
    /// The `booking` or `rollback` statement.
    pub order: Digest,
    /// To start, or to activate what was fetched.
    pub phase: Phase,
    /// The asker's clock.
    pub now: Time,
}

/// An order that every standing rule lets through, and that still needs a clearance. Only [`judge`] makes
/// one:
///
/// ```compile_fail,E0451
/// # use cutover_shared::{authorise::Candidate, digest::Digest};
/// fn forge(candidate: Candidate, order: Digest) -> Candidate {
///     Candidate { order, ..candidate }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    order: Digest,
    application: Name,
    release: Digest,
    package: Digest,
    window: Window,
    budget: Budget,
    declared_budget: Budget,
    irreversible: bool,
    iteration: Option<(Digest, u32)>,
}

/// An order that the host may carry out now. Only [`authorise`] makes one:
///
/// ```compile_fail,E0451
/// # use cutover_shared::authorise::{Candidate, Cleared, Order};
/// fn forge(candidate: Candidate, cleared: Cleared) -> Order {
///     Order { candidate, cleared }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    candidate: Candidate,
    cleared: Cleared,
}

/// An ordered return that the host may carry out now. Only [`authorise_return`] makes one:
///
/// ```compile_fail,E0451
/// # use cutover_shared::{authorise::ReturnOrder, digest::Digest, name::Name, time::Time};
/// fn forge(order: Digest, application: Name, not_after: Time) -> ReturnOrder {
///     ReturnOrder { order, application, from: order, to: order, not_after }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnOrder {
    order: Digest,
    application: Name,
    from: Digest,
    to: Digest,
    not_after: Time,
}

impl Order {
    /// What was cleared.
    pub fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// The clearance.
    pub fn cleared(&self) -> &Cleared {
        &self.cleared
    }
}

impl Candidate {
    /// The `booking` statement.
    pub fn order(&self) -> Digest {
        self.order
    }

    /// The application.
    pub fn application(&self) -> &Name {
        &self.application
    }

    /// The `release` statement.
    pub fn release(&self) -> Digest {
        self.release
    }

    /// The package.
    pub fn package(&self) -> Digest {
        self.package
    }

    /// The window.
    pub fn window(&self) -> Window {
        self.window
    }

    /// What the host must have time for: as declared, or as rehearsed where that took longer.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// What the release says of it.
    pub fn declared_budget(&self) -> Budget {
        self.declared_budget
    }

    /// It was approved as one that cannot be taken back.
    pub fn is_irreversible(&self) -> bool {
        self.irreversible
    }

    /// The emergency and its number, for an iteration.
    pub fn iteration(&self) -> Option<(Digest, u32)> {
        self.iteration
    }
}

impl ReturnOrder {
    /// The `rollback` statement.
    pub fn order(&self) -> Digest {
        self.order
    }

    /// The application.
    pub fn application(&self) -> &Name {
        &self.application
    }

    /// The package that runs.
    pub fn from(&self) -> Digest {
        self.from
    }

    /// The package to go back to.
    pub fn to(&self) -> Digest {
        self.to
    }

    /// Until when it may begin.
    pub fn not_after(&self) -> Time {
        self.not_after
    }
}

impl<'a> Question<'a> {
    /// The policy in force.
    fn policy(&self) -> Result<&'a TrustPolicy, Refusal> {
        let none = || Refusal::new(Code::SubjectUnknown, "no trust policy is known");
        self.state.policy().ok_or_else(none)
    }

    /// The release and the booking asked about.
    fn booking(&self) -> Result<(&'a Case, &'a BookingCase), Refusal> {
        self.state.booking(&self.order).ok_or_else(|| {
            Refusal::new(
                Code::NotBooked,
                format!("no good booking {} is known", self.order.short()),
            )
        })
    }
}

/// The first standing rule that refuses, in rule order; or the candidate.
pub fn judge(question: &Question<'_>) -> Result<Candidate, Refusal> {
    for rule in rules::FORWARD {
        (rule.check)(question)?;
    }
    let (case, booking) = question.booking()?;
    let release = case.release.says();
    Ok(Candidate {
        order: question.order,
        application: release.application.clone(),
        release: case.release.id(),
        package: release.package,
        window: booking.booking.says().window,
        budget: case.budget(),
        declared_budget: case.declared_budget(),
        irreversible: release.irreversible,
        iteration: release.iteration.as_ref().map(|it| (it.grounds, it.number)),
    })
}

/// Every standing rule that refuses, in rule order, with its number.
pub fn explain(question: &Question<'_>) -> Vec<(u16, Refusal)> {
    let refusals = rules::FORWARD.iter().map(|rule| (rule.number, (rule.check)(question).err()));
    let mut found: Vec<(u16, Refusal)> = Vec::new();
    for (number, refusal) in refusals.filter_map(|(number, it)| it.map(|it| (number, it))) {
        // Rules that need a booking all miss it alike; once is enough.
        if !found.iter().any(|(_, known)| *known == refusal) {
            found.push((number, refusal));
        }
    }
    found
}

/// The exceptions that hold for an order now: what two owners let it do without, for everybody to see.
#[derive(Debug, Clone)]
pub struct Exceptions<'a> {
    /// Rules of judgement that are waived.
    pub waivers: Vec<&'a Verified<Waiver>>,
    /// Freezes that are passed.
    pub overrides: Vec<&'a Verified<Override>>,
}

/// The exceptions that hold for the order asked about; none for one that is not known.
pub fn exceptions<'a>(question: &Question<'a>) -> Exceptions<'a> {
    let Ok(about) = question.booking() else {
        return Exceptions { waivers: Vec::new(), overrides: Vec::new() };
    };
    Exceptions {
        waivers: rules::waivers(question, about).collect(),
        overrides: rules::overrides(question, about).collect(),
    }
}

/// The order, if every standing rule lets it through and the clearances are good.
pub fn authorise(
    question: &Question<'_>,
    clearances: &Clearances<'_>,
    facts: &ClearanceFacts,
) -> Result<Order, Refusal> {
    let candidate = judge(question)?;
    let cleared = clearance::check(question, clearances, facts)?;
    Ok(Order { candidate, cleared })
}

/// An ordered return, if its rules let it through: one that a `rollback` statement orders, or a booking
/// whose rollout was halted.
pub fn authorise_return(question: &Question<'_>) -> Result<ReturnOrder, Refusal> {
    if question.state.booking(&question.order).is_some() {
        return authorise_halting(question);
    }
    for rule in rules::RETURN {
        (rule.check)(question)?;
    }
    let Some(case) = question.state.rollback(&question.order) else {
        return Err(Refusal::new(
            Code::RollbackNotAuthorised,
            "no good rollback statement is known",
        ));
    };
    let says = case.rollback.says();
    Ok(ReturnOrder {
        order: question.order,
        application: says.application.clone(),
        from: says.from,
        to: says.to,
        not_after: case.rollback.header().not_after.unwrap_or(question.now),
    })
}

fn authorise_halting(question: &Question<'_>) -> Result<ReturnOrder, Refusal> {
    for rule in rules::HALTING {
        (rule.check)(question)?;
    }
    let (_, booking) = question.booking()?;
    let says = booking.booking.says();
    let Some(to) = question.host.installed.previous else {
        return Err(Refusal::new(
            Code::RollbackNotAuthorised,
            "there is no release before it on this host",
        ));
    };
    Ok(ReturnOrder {
        order: question.order,
        application: says.application.clone(),
        from: says.package,
        to,
        not_after: says.window.end + LINGER,
    })
}
