//! What happens in a run, drawn from its seed before it begins: who does what when, and what goes wrong.
//!
//! It is a plain list, so that a failing run can be made smaller: what is left out of the list does not
//! happen, and the rest goes on as well as it can.

mod draw;

use cutover_shared::policy::Exception;
use cutover_shared::statement::ClosureResult;

/// Milliseconds since the run began.
pub type Instant = u64;

/// A run.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Where it was drawn from; what is left to chance while it runs comes from it, too.
    pub seed: u64,
    /// The hosts.
    pub seats: Vec<Seat>,
    /// The releases that acts speak of.
    pub drafts: Vec<Draft>,
    /// The bookings that acts speak of.
    pub reservations: Vec<Reservation>,
    /// What people do.
    pub acts: Vec<(Instant, Act)>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// How the network is.
    pub network: Weather,
    /// How far the coordinator's clock is off, in milliseconds: at most a second.
    pub skew: i64,
    /// How many of three witnesses must clear what goes to production.
    pub witnesses: u32,
    /// Whether another department must say yes before.
    pub consults: bool,
    /// Whether somebody must have rehearsed it before.
    pub rehearsals: bool,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Its name.
    pub name: String,
    /// Its environment.
    pub environment: &'static str,
}

/// A release to be made.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Its version; another one is another package.
    pub version: String,
    /// How it behaves when it runs.
    pub behaviour: Behaviour,
    /// An iteration of an emergency: its number, and the draft before.
    pub iteration: Option<(u32, Option<usize>)>,
    /// Whether it is of a kind that somebody approves ahead.
    pub standard: bool,
    /// Whether its submitter is the one who also sits on the board.
    pub two_hats: bool,
}

/// How a release behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// It is well.
    Good,
    /// It is never well.
    Bad,
    /// It is not well on this host.
    BadOn(usize),
    /// It is not well on any host behind this one.
    BadBehind(usize),
    /// It is well for so many rounds of checks, and then not.
    Flaps(u32),
    /// It says that it is well, and ends by itself so many milliseconds after its start.
    Dies(u64),
}

/// A window on hosts.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// Which draft.
    pub draft: usize,
    /// Where.
    pub environment: &'static str,
    /// From.
    pub start: Instant,
    /// Until.
    pub end: Instant,
    /// On which hosts.
    pub waves: Vec<Vec<usize>>,
    /// How many at once.
    pub at_once: u32,
    /// How many failures halt it.
    pub halt_after: u32,
    /// How many seconds a wave must have been well.
    pub healthy_for: u64,
    /// A halt takes back so many hosts that have it already; none: it pauses.
    pub return_all: Option<u32>,
}

/// What somebody does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Submits a draft.
    Submit(usize),
    /// Reviews it.
    Review(usize, Word),
    /// Assesses it.
    Assess(usize, Word),
    /// Votes on it.
    Vote(usize, &'static str, Word),
    /// Delivers it.
    Deliver(usize),
    /// Books a reservation.
    Book(usize),
    /// Releases its window.
    Release(usize),
    /// Holds a draft, and lets what is active finish or not.
    Hold(usize, bool),
    /// Lets it go on.
    Resume(usize),
    /// Gives a draft up.
    Cancel(usize),
    /// Freezes an environment between two instants.
    Freeze(&'static str, Instant, Instant),
    /// Lifts the last freeze.
    Lift,
    /// A change manager and this one pass the last freeze with a reservation.
    Override(usize, &'static str),
    /// Two do without something for a draft in production.
    Waive(usize, Exception),
    /// Approves ahead what a draft will be; or something that it is not, where this is false.
    PreApprove(usize, bool),
    /// Takes the pre-approval of a draft back.
    Withdraw(usize),
    /// Asks a department, without whose yes a draft does not go on.
    Ask(usize, &'static str),
    /// Somebody answers for a department.
    Answer(usize, &'static str, &'static str, Word),
    /// Somebody rehearses a draft: it works, or does not.
    Rehearse(usize, &'static str, Word),
    /// Somebody votes for a draft, on a condition.
    VoteIf(usize, &'static str),
    /// Somebody confirms the condition.
    Confirm(usize, &'static str),
    /// Somebody closes a draft, as what it came to.
    Close(usize, &'static str, ClosureResult),
    /// Sends the hosts of a reservation back to the release before.
    Rollback(usize),
    /// Opens the emergency route.
    Emergency,
    /// Approves an iteration.
    Approve(usize),
    /// Puts the next policy in force.
    Policy,
    /// Retires a host.
    Retire(usize),
    /// Makes a host anew, under another key, and lets it join.
    Remake(usize),
}

/// Yes, or one of two ways of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Yes.
    Yes,
    /// Not as it is.
    Later,
    /// No.
    No,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A host's applier ends at its `point`-th crash point: before and after each time that it writes its
    /// ledger, at the beginning and at the end of each piece of work.
    CrashHost {
        /// Which.
        host: usize,
        /// Where.
        point: u32,
        /// Whether the whole host loses power, and with it what was not synced.
        power: bool,
        /// For how long it is down.
        down: Instant,
    },
    /// The coordinator ends at its `point`-th crash point: before and after the sync of each append, and
    /// before each answer.
    CrashCoordinator {
        /// Where.
        point: u32,
        /// For how long it is down.
        down: Instant,
    },
    /// A host, or every host, is cut off.
    Partition {
        /// Which.
        host: Option<usize>,
        /// From.
        from: Instant,
        /// Until.
        to: Instant,
    },
    /// A host's wall clock is set.
    Step {
        /// Whose.
        host: usize,
        /// When.
        at: Instant,
        /// By so many milliseconds.
        by: i64,
        /// And set right again then.
        until: Instant,
    },
    /// A host's disk is full.
    Full {
        /// Whose.
        host: usize,
        /// From.
        from: Instant,
        /// Until.
        to: Instant,
    },
    /// The coordinator's disk is full.
    LogFull {
        /// From.
        from: Instant,
        /// Until.
        to: Instant,
    },
    /// Whatever a host does takes so many times as long.
    Slow {
        /// Which.
        host: usize,
        /// From.
        from: Instant,
        /// Until.
        to: Instant,
        /// How many times.
        times: u64,
    },
    /// Work of a host fails while this lasts, so often in a thousand.
    Fails {
        /// Which.
        host: usize,
        /// From.
        from: Instant,
        /// Until.
        to: Instant,
        /// How often.
        per_mille: u64,
    },
    /// A witness is not to be reached.
    WitnessGone {
        /// Which of them.
        witness: usize,
        /// From.
        from: Instant,
        /// Until.
        to: Instant,
    },
    /// What runs on a host ends by itself.
    Dies {
        /// Where.
        host: usize,
        /// When.
        at: Instant,
    },
    /// Somebody at the host puts an inhibitor in its way.
    Inhibited {
        /// Where.
        host: usize,
        /// From.
        from: Instant,
        /// Until.
        to: Instant,
    },
}

impl Fault {
    /// When it is over at the latest, where it has a time.
    pub fn over(&self) -> Instant {
        match self {
            Self::CrashHost { .. } | Self::CrashCoordinator { .. } => 0,
            Self::Partition { to, .. }
            | Self::Full { to, .. }
            | Self::LogFull { to, .. }
            | Self::Slow { to, .. }
            | Self::Fails { to, .. }
            | Self::WitnessGone { to, .. }
            | Self::Inhibited { to, .. } => *to,
            Self::Step { until, .. } => *until,
            Self::Dies { at, .. } => *at,
        }
    }
}

/// How the network is, each so often in a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// A message is lost.
    pub lost: u64,
    /// A message comes twice.
    pub twice: u64,
    /// A message takes seconds.
    pub late: u64,
    /// A connection breaks at a message.
    pub breaks: u64,
    /// An answer is given to another question.
    pub mixed_up: u64,
}

impl Scenario {
    /// The run of a seed.
    pub fn draw(seed: u64) -> Self {
        draw::scenario(seed)
    }

    /// Whether nothing goes wrong in it but releases.
    pub fn is_faultless(&self) -> bool {
        let Weather { lost, twice, late, breaks, mixed_up } = self.network;
        self.faults.is_empty() && self.skew == 0 && lost + twice + late + breaks + mixed_up == 0
    }

    /// When people and faults have all had their turn.
    pub fn quiet(&self) -> Instant {
        let acts = self.acts.iter().map(|(at, _)| *at);
        let windows = self.reservations.iter().map(|it| it.end);
        acts.chain(windows).chain(self.faults.iter().map(Fault::over)).max().unwrap_or(0)
    }
}
