//! Everything that can happen to the applier, and what is lent to it meanwhile.

use cutover_machine::{EffectId, Machine, Now, Rejection, Sample};
use cutover_shared::digest::Digest;
use cutover_shared::key::PublicKey;
use cutover_shared::name::Name;
use cutover_shared::protocol::{ClearanceAnswer, Directive, Part, Receipt, ToApplier};
use cutover_shared::refusal::Refusal;
use cutover_shared::statement::Drift;
use serde::{Deserialize, Serialize};

use crate::operator::OperatorAsk;
use crate::package::Package;

/// What is kept across crashes.
pub trait Ledger {
    /// Replaces what is kept, whole or not at all; on return it is durable. The error is for people.
    fn save(&mut self, body: &[u8]) -> Result<(), String>;
}

/// A source of nonces.
pub trait Nonces {
    /// A nonce that nobody can foresee and that never came before. The error is for people.
    fn nonce(&mut self) -> Result<Digest, String>;
}

/// The world, lent for one input.
pub struct Outside<'a> {
    /// Both clocks.
    pub now: Now,
    /// Whether the kernel calls its clock synchronised; `None` where that is unknown.
    pub clock_synchronised: Option<bool>,
    /// What is kept.
    pub ledger: &'a mut dyn Ledger,
    /// Nonces.
    pub nonces: &'a mut dyn Nonces,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// The network half connected. Nothing is known of it until it says hello.
    Linked,
    /// Its connection ended.
    Unlinked,
    /// It says who it is on the wire.
    Hello {
        /// The transport key.
        transport_key: PublicKey,
    },
    /// The coordinator is reached, or lost.
    Connected(bool),
    /// What the coordinator sent.
    Directive(Box<Directive>),
    /// The answer to a request for a clearance.
    Clearance {
        /// The nonce asked with.
        nonce: Digest,
        /// The answer, or why there is none.
        answer: Result<ClearanceAnswer, Refusal>,
    },
    /// A statement was logged.
    Logged {
        /// Its identity.
        id: Digest,
        /// The proof.
        receipt: Receipt,
        /// From the head that was known to the receipt's checkpoint.
        consistency: Vec<Digest>,
    },
    /// A statement was refused by the coordinator.
    NotLogged {
        /// Its identity.
        id: Digest,
        /// Why.
        refusal: Refusal,
    },
    /// Work was done, or could not be.
    Answered {
        /// Of which application.
        application: Name,
        /// Which effect.
        effect: EffectId,
        /// How.
        answer: Answer,
    },
    /// A package's manifest was read, or could not be.
    Read {
        /// For which application.
        application: Name,
        /// For which order.
        order: Digest,
        /// What was read; a failure begins with a refusal's code.
        result: Result<Box<Package>, String>,
    },
    /// Bytes of a slot arrived.
    Progress {
        /// Of which application.
        application: Name,
        /// Bytes there.
        done: u64,
        /// Bytes in all.
        all: u64,
    },
    /// A watched process ended by itself.
    Exited {
        /// Of which application.
        application: Name,
        /// Which process.
        running: Running,
    },
    /// A process that had ended was started again, or could not be.
    Restarted {
        /// Of which application.
        application: Name,
        /// What runs now, where there is a process to watch.
        result: Result<Option<Running>, String>,
    },
    /// Something of a release that is watched over was changed.
    Changed {
        /// Of which application.
        application: Name,
    },
    /// A release that is watched over was compared with what was deployed.
    Swept {
        /// Of which application.
        application: Name,
        /// Which comparison.
        number: u64,
        /// Its first deviations, at most [`SWEEP_LIMIT`](crate::SWEEP_LIMIT); or why it could not be compared.
        result: Result<Vec<Drift>, String>,
    },
    /// The host's own directories were looked at.
    Looked {
        /// The local reasons not to go forward.
        inhibitors: Vec<String>,
        /// A join string that an operator put in, once.
        join: Option<String>,
        /// An operator accepts the clock as it is.
        clock_accepted: bool,
    },
    /// An operator at the host asks for something; answered by
    /// [`Output::Reply`](crate::Output::Reply).
    Asked {
        /// What the answer carries.
        number: String,
        /// What for.
        ask: OperatorAsk,
    },
    /// Time passed.
    Timeout,
}

/// The answer to work.
#[derive(Debug)]
pub enum Answer {
    /// It was carried out.
    Done,
    /// It was carried out, and this runs now.
    Started(Running),
    /// It was carried out, and the link had to be put right for it. What runs now, where there is a process
    /// to watch.
    Repaired(Box<Drift>, Option<Running>),
    /// It failed.
    Failed(String),
    /// Something that may go by itself stood in the way.
    Blocked(String),
    /// A round of health checks.
    Sample(Sample),
}

impl Answer {
    /// Gives the answer to the machine that asked.
    pub fn give(self, machine: &mut Machine, effect: EffectId, now: Now) -> Result<(), Rejection> {
        match self {
            Self::Done | Self::Started(_) | Self::Repaired(..) => machine.handle_done(effect, now),
            Self::Failed(why) => machine.handle_failed(effect, why, now),
            Self::Blocked(why) => machine.handle_blocked(effect, why, now),
            Self::Sample(sample) => machine.handle_sample(effect, sample, now),
        }
    }
}

/// A frame of the network half that is none of the core's business: bytes of a package, for whoever
/// fetches it.
#[derive(Debug)]
pub enum Delivery {
    /// Bytes of a part, as asked.
    Bytes {
        /// The package.
        package: Digest,
        /// The part.
        part: Part,
        /// Where they begin.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether they complete what was asked for.
        last: bool,
    },
    /// A fetch was refused or failed for good.
    Failed {
        /// The package.
        package: Digest,
        /// The part.
        part: Part,
        /// Why.
        refusal: Refusal,
    },
}

/// Enough to recognise a process after the applier was restarted. Meaningless after a reboot, which it
/// survives as little as the process: another one with the same number started at another tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The leader of the session.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub started_ticks: u64,
}

impl Input {
    /// What a frame of the network half is to the core, or else to whoever fetches.
    pub fn of_frame(frame: ToApplier) -> Result<Self, Delivery> {
        Ok(match frame {
            ToApplier::Hello { transport_key } => Self::Hello { transport_key },
            ToApplier::Connected(connected) => Self::Connected(connected),
            ToApplier::Directive(directive) => Self::Directive(directive),
            ToApplier::Clearance { nonce, answer } => Self::Clearance { nonce, answer },
            ToApplier::Logged { id, receipt, consistency } => {
                Self::Logged { id, receipt, consistency }
            }
            ToApplier::NotLogged { id, refusal } => Self::NotLogged { id, refusal },
            ToApplier::Bytes { package, part, offset, bytes, last } => {
                return Err(Delivery::Bytes { package, part, offset, bytes, last });
            }
            ToApplier::FetchFailed { package, part, offset: _, refusal } => {
                return Err(Delivery::Failed { package, part, refusal });
            }
        })
    }
}

impl std::fmt::Debug for Outside<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { now, clock_synchronised, ledger: _, nonces: _ } = self;
        let mut shown = f.debug_struct("Outside");
        shown.field("now", now).field("clock_synchronised", clock_synchronised);
        shown.finish_non_exhaustive()
    }
}
