//! The people of the process: they sign what the scenario has them do, and take it to the coordinator until
//! it is logged or they give up.

mod exceptions;
mod hosts;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::key::{PublicKey, SecretKey};
use cutover_shared::statement::{
    Booking, Cancel, ChangeType, Freeze, Grant, Hold, HostChange, Iteration, Judgement, OnHalt,
    Remark, Resume, Says, Statement, Verdict,
};
use cutover_shared::time::Time;
use cutover_shared::window::Window;

use super::fleet::{Event, Fleet};
use super::scenario::{Act, Behaviour, Instant, Scenario, Word};
use super::{APPLICATION, epoch, rules};
use crate::world::{
    Booked, LOG_KEY, Parcel, Timing, accepted, approval, assessment, booking, delivery, emergency,
    grant, join, key, name, names, planned, release, review, vote, window_release,
};

/// How long things take in the releases of a run, in seconds.
const TIMING: Timing =
    Timing { apply_budget: 20, rollback_reserve: 10, interval: 1, deadline: 6, bake: 3 };

/// Somebody on the way to the coordinator with a statement.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    pub(super) what: String,
    pub(super) by: PublicKey,
    pub(super) envelope: Vec<u8>,
    pub(super) id: Digest,
    pub(super) tries: u32,
    /// It stands against something: witnesses are handed it, too.
    pub(super) against: bool,
}

/// What people remember.
#[derive(Debug)]
pub(super) struct People {
    behaviours: BTreeMap<Digest, Behaviour>,
    /// The release statement and package of each draft.
    releases: BTreeMap<usize, (Digest, Digest)>,
    bookings: BTreeMap<usize, (Digest, Booking)>,
    holds: BTreeMap<usize, Digest>,
    freeze: Option<Digest>,
    /// What was approved ahead, by draft.
    standards: BTreeMap<usize, Digest>,
    /// The last approval of each draft that hangs on a condition.
    conditions: BTreeMap<usize, Digest>,
    grounds: Option<Digest>,
    policy_version: u64,
    policy: Digest,
    policy_envelope: Vec<u8>,
    grants: BTreeMap<&'static str, (Digest, Grant)>,
    /// What nobody takes to the coordinator any longer, which has not taken it.
    pub(super) given_up: BTreeSet<Digest>,
}

impl People {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let parcels = scenario.drafts.iter();
        let behaviours =
            parcels.map(|draft| (parcel(&draft.version).digest, draft.behaviour)).collect();
        Self {
            behaviours,
            releases: BTreeMap::new(),
            bookings: BTreeMap::new(),
            holds: BTreeMap::new(),
            freeze: None,
            standards: BTreeMap::new(),
            conditions: BTreeMap::new(),
            grounds: None,
            policy_version: 1,
            policy: Digest::of(b""),
            policy_envelope: Vec::new(),
            grants: BTreeMap::new(),
            given_up: BTreeSet::new(),
        }
    }

    /// The policy in force, as they last signed it.
    pub(super) fn policy(&self) -> Digest {
        self.policy
    }

    /// Whether somebody gave up bringing a statement.
    pub(super) fn gave_up(&self, id: &Digest) -> bool {
        self.given_up.contains(id)
    }

    /// How a package behaves.
    pub(super) fn behaviour(&self, package: &Digest) -> Option<Behaviour> {
        self.behaviours.get(package).copied()
    }
}

fn parcel(version: &str) -> Parcel {
    let content = format!("the program, version {version}");
    Parcel::new(APPLICATION, version, content.as_bytes(), TIMING, "")
}

fn judged(word: Word) -> Judgement {
    match word {
        Word::Yes => accepted(),
        Word::Later | Word::No => Judgement::Denied { reason: "too risky".to_owned() },
    }
}

fn instant(at: Instant) -> Time {
    epoch() + Duration::from_millis(at)
}

impl Fleet {
    /// The log begins: a policy, and grants with which hosts join.
    pub(super) fn found(&mut self) {
        let document = rules::document(&self.scenario, 1, instant(365 * 86_400_000));
        let envelope = Statement::new(self.wall(), document).signed_by([&key("ruth")]);
        self.people.policy = envelope.id();
        self.people.policy_envelope = envelope.to_bytes();
        self.coordinator.found(envelope.to_bytes());
        for environment in ["staging", "production"] {
            let says = grant(environment, environment, &[APPLICATION], 64);
            let statement = Statement::new(self.wall(), says.clone()).until(instant(86_400_000));
            let envelope = statement.signed_by([&key("otto")]);
            self.people.grants.insert(environment, (envelope.id(), says));
            self.coordinator.found(envelope.to_bytes());
        }
        for host in 0..self.hosts.len() {
            self.invite(host);
        }
    }

    /// A join string is put into a host's inbox.
    fn invite(&mut self, host: usize) {
        let environment = self.hosts[host].environment;
        let Some((id, grant)) = self.people.grants.get(environment) else { return };
        let head = self.coordinator.log.head();
        let text = join(&self.people.policy_envelope, head, (environment, *id), grant);
        self.hosts[host].join = Some(text);
    }

    /// Somebody acts.
    pub(super) fn act(&mut self, number: usize) {
        let act = self.scenario.acts[number].1.clone();
        let what = format!("{act:?}");
        match act {
            Act::Submit(draft) => self.submit(draft),
            Act::Book(reservation) => self.book(reservation),
            Act::Release(reservation) => self.release_window(reservation),
            Act::Rollback(reservation) => self.roll_back(reservation),
            Act::Policy => self.next_policy(),
            Act::Remake(host) => self.remake(host),
            Act::Freeze(environment, from, to) => self.freeze(environment, from, to),
            Act::Hold(draft, finish) => self.hold(draft, finish),
            Act::Emergency => {
                let application = name(APPLICATION);
                let says = emergency(self.people.policy, &application, &["production"]);
                let statement =
                    Statement::new(self.wall(), says).until(self.wall() + Duration::from_hours(4));
                self.people.grounds = Some(self.sign(&["max"], &what, &statement));
            }
            Act::Override(reservation, second) => self.override_freeze(reservation, second),
            Act::Waive(draft, exception) => self.waive(draft, exception),
            Act::PreApprove(draft, fits) => self.approve_ahead(draft, fits),
            Act::VoteIf(draft, who) => self.vote_if(draft, who, &what),
            Act::Review(..)
            | Act::Assess(..)
            | Act::Vote(..)
            | Act::Deliver(_)
            | Act::Resume(_)
            | Act::Cancel(_)
            | Act::Lift
            | Act::Approve(_)
            | Act::Withdraw(_)
            | Act::Retire(_)
            | Act::Ask(..)
            | Act::Answer(..)
            | Act::Rehearse(..)
            | Act::Confirm(..)
            | Act::Close(..) => {
                let said = self.said_of(&act).or_else(|| self.said_around(&act));
                if let Some((who, says)) = said {
                    self.say(who, &what, says);
                }
            }
        }
    }

    /// Who says what, where one statement is all there is to it.
    fn said_of(&self, act: &Act) -> Option<(&'static str, Says)> {
        let both: &[&str] = &["staging", "production"];
        let drafted = |draft: &usize| self.people.releases.get(draft).copied();
        Some(match act {
            Act::Review(draft, word) => {
                let verdict = match word {
                    Word::Yes => Verdict::Complete,
                    Word::Later => Verdict::Returned {
                        items: vec![Remark {
                            item: "NOTES.md".to_owned(),
                            remark: "say more".to_owned(),
                        }],
                    },
                    Word::No => Verdict::Denied { reason: "not documented".to_owned() },
                };
                ("lena", review(drafted(draft)?.0, both, verdict).into())
            }
            Act::Assess(draft, word) => {
                ("seth", assessment(drafted(draft)?, &["production"], judged(*word)).into())
            }
            Act::Vote(draft, who, word) => {
                (who, vote(drafted(draft)?.0, &["production"], judged(*word)).into())
            }
            Act::Deliver(draft) => ("lena", delivery(drafted(draft)?).into()),
            Act::Resume(draft) => {
                let hold = *self.people.holds.get(draft)?;
                ("mia", Resume { hold, reason: "it is clear now".to_owned() }.into())
            }
            Act::Cancel(draft) => {
                let release = drafted(draft)?.0;
                let reason = "it is not wanted any longer".to_owned();
                ("max", Cancel { release, booking: None, reason }.into())
            }
            Act::Lift => {
                let freeze = self.people.freeze?;
                ("max", Freeze::Lifted { freeze, reason: "it is over".to_owned() }.into())
            }
            Act::Withdraw(draft) => ("seth", self.withdrawal(*draft)?),
            Act::Approve(draft) => {
                let (number, _) = self.scenario.drafts[*draft].iteration?;
                let approval = approval(self.people.grounds?, drafted(draft)?.0, number);
                ("mia", approval.into())
            }
            Act::Retire(host) => {
                let host = &self.hosts[*host];
                let change = HostChange::Retired {
                    host: name(&host.name),
                    host_key: host.key_id(),
                    reason: "it is made anew".to_owned(),
                };
                ("otto", change.into())
            }
            Act::Submit(_)
            | Act::Book(_)
            | Act::Release(_)
            | Act::Hold(..)
            | Act::Freeze(..)
            | Act::Rollback(_)
            | Act::Override(..)
            | Act::Waive(..)
            | Act::PreApprove(..)
            | Act::VoteIf(..)
            | Act::Ask(..)
            | Act::Answer(..)
            | Act::Rehearse(..)
            | Act::Confirm(..)
            | Act::Close(..)
            | Act::Emergency
            | Act::Policy
            | Act::Remake(_) => return None,
        })
    }

    fn say(&mut self, who: &str, what: &str, says: impl Into<Says>) -> Digest {
        let statement = Statement::new(self.wall(), says);
        self.sign(&[who], what, &statement)
    }

    /// They sign, and send somebody; twice now and then, and sometimes late.
    fn sign(&mut self, who: &[&str], what: &str, statement: &Statement) -> Digest {
        let keys: Vec<SecretKey> = who.iter().map(|who| key(who)).collect();
        let envelope = statement.signed_by(&keys);
        let id = envelope.id();
        let errand = Errand {
            what: what.to_owned(),
            by: keys[0].public(),
            envelope: envelope.to_bytes(),
            id,
            tries: 0,
            against: statement.says.is_against(),
        };
        self.hand(&errand);
        if self.random.chance(self.scenario.network.twice) {
            let wait = self.random.between(10, 20_000);
            self.after(wait, Event::Bring(Box::new(errand.clone())));
        }
        let late = self.random.chance(self.scenario.network.late);
        let wait =
            if late { self.random.between(1000, 20_000) } else { self.random.between(5, 80) };
        self.after(wait, Event::Bring(Box::new(errand)));
        id
    }

    /// What was brought is in the log.
    pub(super) fn brought(&mut self, errand: &Errand) {
        self.transcript.line(self.now, &format!("logged: {}", errand.what));
    }

    fn submit(&mut self, number: usize) {
        let draft = self.scenario.drafts[number].clone();
        let parcel = parcel(&draft.version);
        let mut says = match draft.iteration {
            None if draft.standard => {
                let Some(says) = self.standard(number, &parcel) else { return };
                says
            }
            None => release(&parcel, ChangeType::Normal, &["staging", "production"]),
            Some(_) => release(&parcel, ChangeType::Emergency, &["production"]),
        };
        if let Some((iteration, previous)) = draft.iteration {
            let Some(grounds) = self.people.grounds else { return };
            let before = previous.and_then(|draft| self.people.releases.get(&draft));
            says.iteration =
                Some(Iteration { grounds, number: iteration, previous: before.map(|it| it.0) });
        }
        let package = parcel.digest;
        self.coordinator.packages.insert(package, parcel);
        let who = if draft.two_hats { "sue" } else { "sam" };
        let id = self.say(who, &format!("submit {}", draft.version), says);
        self.people.releases.insert(number, (id, package));
    }

    fn book(&mut self, number: usize) {
        let reserved = self.scenario.reservations[number].clone();
        let Some((release, package)) = self.people.releases.get(&reserved.draft).copied() else {
            return;
        };
        let host = |host: &usize| {
            let host = &self.hosts[*host];
            planned(&host.name, host.key_id())
        };
        let mut says = booking(Booked {
            release,
            package,
            application: &name(APPLICATION),
            environment: reserved.environment,
            window: Window { start: instant(reserved.start), end: instant(reserved.end) },
            waves: reserved.waves.iter().map(|wave| wave.iter().map(host).collect()).collect(),
            at_once: reserved.at_once,
            halt_after: reserved.halt_after,
            healthy_for: Duration::from_secs(reserved.healthy_for),
        });
        if let Some(budget) = reserved.return_all {
            says.plan.on_halt = OnHalt::ReturnAll { budget };
        }
        let id = self.say("max", &format!("book {number}"), says.clone());
        self.people.bookings.insert(number, (id, says));
    }

    /// The change manager's program reads the log first, and names what it has read.
    fn release_window(&mut self, number: usize) {
        let Some((id, booking)) = self.people.bookings.get(&number).cloned() else { return };
        let Some(life) = &self.coordinator.life else { return };
        let says = window_release(id, &booking, life.folded.head.clone());
        self.say("max", &format!("release the window of {number}"), says);
    }

    fn hold(&mut self, draft: usize, finish: bool) {
        let Some((release, _)) = self.people.releases.get(&draft).copied() else { return };
        let says = Hold { release, reason: "something is wrong".to_owned(), finish };
        let id = self.say("seth", &format!("hold {draft}"), says);
        self.people.holds.insert(draft, id);
    }

    fn freeze(&mut self, environment: &'static str, from: Instant, to: Instant) {
        let says = Freeze::Declared {
            policy: self.people.policy,
            environments: names(&[environment]),
            applications: names(&[]),
            start: instant(from),
            end: instant(to),
            reason: "the year ends".to_owned(),
        };
        self.people.freeze = Some(self.say("max", &format!("freeze {environment}"), says));
    }

    fn next_policy(&mut self) {
        self.people.policy_version += 1;
        let version = self.people.policy_version;
        let expires = instant(365 * 86_400_000);
        let document = rules::document(&self.scenario, version, expires);
        assert_eq!(document.log.key, key(LOG_KEY).public(), "the log stays the same");
        let statement = Statement::new(self.wall(), document);
        self.people.policy = self.sign(&["ruth"], &format!("policy {version}"), &statement);
    }
}
