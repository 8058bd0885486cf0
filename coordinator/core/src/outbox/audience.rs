//! Whom something is told to, and over which channel.

use std::collections::{BTreeMap, BTreeSet};

use cutover_shared::case::Case;
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::key::KeyId;
use cutover_shared::name::Name;
use cutover_shared::policy::{KeyEntry, KeyStatus, Role, Scope, Signer, TrustPolicy};

use super::notice::{Notice, What};
use super::timed::{Asked, Cause};

/// Where messages go besides the people of the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Whether there is mail: to requester, roles and teams.
    pub mail: bool,
    /// Teams that are told by mail.
    pub teams: Vec<Team>,
    /// Programs that are told by HTTP.
    pub webhooks: Vec<Webhook>,
    /// Trackers in which each release is a ticket with tasks, by name.
    pub trackers: Vec<Name>,
}

/// A team that is told by mail of what concerns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// What it is called.
    pub name: Name,
    /// Its address.
    pub address: String,
    /// The applications that it has to do with.
    pub applications: Scope,
    /// The environments.
    pub environments: Scope,
    /// What it is told of; empty means everything.
    pub events: BTreeSet<What>,
}

/// A program that is told by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// What it is called.
    pub name: Name,
    /// What it is told of; empty means everything.
    pub events: BTreeSet<What>,
}

/// One recipient on one channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// A mail address.
    Mail {
        /// The address.
        address: String,
        /// Whose it is, for people.
        name: Name,
    },
    /// A webhook by name.
    Webhook(Name),
    /// A tracker by name.
    Tracker(Name),
}

impl Destination {
    /// The channel's word.
    pub const fn channel(&self) -> &'static str {
        match self {
            Self::Mail { .. } => "mail",
            Self::Webhook(_) => "webhook",
            Self::Tracker(_) => "tracker",
        }
    }

    /// The recipient: an address, or the name of an endpoint.
    pub fn recipient(&self) -> &str {
        match self {
            Self::Mail { address, .. } => address,
            Self::Webhook(name) | Self::Tracker(name) => name.as_str(),
        }
    }
}

/// Something that is told to somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Follows from statement, channel and recipient, from the release where a statement is news of several, and
    /// from the instant or the step where that is the news: a delivery that is made twice has it twice.
    pub key: Digest,
    /// What is told.
    pub notice: Notice,
    /// To whom.
    pub to: Destination,
}

impl Delivery {
    /// That `notice` is told there.
    pub fn new(notice: Notice, to: Destination) -> Self {
        let more = match &notice.cause {
            Cause::Entry if notice.what == What::Frozen => notice.subject().as_bytes().to_vec(),
            Cause::Entry => Vec::new(),
            Cause::Due(instant) => format!("\0due {instant}").into_bytes(),
            Cause::Asked(it) => format!("\0asked {} {}", it.host_key, it.awaited).into_bytes(),
        };
        let parts: [&[u8]; 7] = [
            b"cutover outbox v1\0",
            notice.statement.as_bytes(),
            to.channel().as_bytes(),
            b"\0",
            to.recipient().as_bytes(),
            b"\0",
            &more,
        ];
        Self { key: Digest::of_parts(parts), notice, to }
    }
}

/// Whom a notice is told to: the requester, those who hold a role for it, teams, and endpoints; nobody twice
/// over the same channel.
pub fn deliveries(state: &State, routes: &Routes, notice: &Notice) -> Vec<Delivery> {
    let case = notice.release.and_then(|release| state.case(&release));
    if case.is_none() && notice.release.is_some() {
        return Vec::new();
    }
    let mut all = Vec::new();
    if routes.mail {
        let by_mail = match case {
            Some(case) => addresses(state, routes, case, notice),
            None => {
                owners(state, |entry| notice.what.roles().iter().any(|it| entry.roles.contains(it)))
            }
        };
        all.extend(by_mail.into_iter().map(|(address, name)| Destination::Mail { address, name }));
    }
    let wanted = |events: &BTreeSet<What>| events.is_empty() || events.contains(&notice.what);
    let hooks = routes.webhooks.iter().filter(|it| wanted(&it.events));
    all.extend(hooks.map(|it| Destination::Webhook(it.name.clone())));
    if notice.cause == Cause::Entry {
        all.extend(routes.trackers.iter().cloned().map(Destination::Tracker));
    }
    all.into_iter().map(|to| Delivery::new(notice.clone(), to)).collect()
}

/// The addresses of active keys, in small letters, so that no spelling of one is another recipient; each with the
/// name of the first whose it is.
fn owners(state: &State, concerned: impl Fn(&KeyEntry) -> bool) -> BTreeMap<String, Name> {
    let mut found = BTreeMap::new();
    let keys = state.policy().map(|policy| policy.document().keys.as_slice()).unwrap_or_default();
    for entry in keys.iter().filter(|it| it.status == KeyStatus::Active && concerned(it)) {
        found.entry(entry.email.to_ascii_lowercase()).or_insert_with(|| entry.owner.clone());
    }
    found
}

fn addresses(
    state: &State,
    routes: &Routes,
    case: &Case,
    notice: &Notice,
) -> BTreeMap<String, Name> {
    let what = notice.what;
    let release = case.release.says();
    let requesters = case.release.owners();
    let asked = departments(state, case, notice);
    let holds = |entry: &KeyEntry| {
        what.roles().iter().any(|role| entry.roles.contains(role))
            && entry.applications.covers(&release.application)
            && release.environments.iter().any(|it| entry.environments.covers(it))
    };
    let mut found = match &notice.cause {
        Cause::Asked(it) => {
            let may_do = |entry: &KeyEntry| {
                holds(entry) && !requesters.contains(&entry.owner) && does(state, it, entry)
            };
            owners(state, may_do)
        }
        Cause::Entry | Cause::Due(_) => owners(state, |entry| {
            requesters.contains(&entry.owner) || asked.contains(&entry.owner) || holds(entry)
        }),
    };
    for team in &routes.teams {
        let concerned = team.applications.covers(&release.application)
            && release.environments.iter().any(|it| team.environments.covers(it))
            && (team.events.is_empty() || team.events.contains(&what));
        if concerned {
            let address = team.address.to_ascii_lowercase();
            found.entry(address).or_insert_with(|| team.name.clone());
        }
    }
    found
}

/// Whether the step is for the holder of a key. Of one that cannot be read every operator is told.
fn does(state: &State, asked: &Asked, entry: &KeyEntry) -> bool {
    let signer = Signer { key: entry.key.id(), owner: entry.owner.clone() };
    let known = asked.step.as_ref().zip(state.policy());
    known.is_none_or(|(step, policy)| step.by.is_among(&[signer], policy.document()))
}

/// Those who speak for the department that a question is for.
fn departments<'a>(state: &'a State, case: &Case, notice: &Notice) -> BTreeSet<&'a Name> {
    let asked = case.consults.iter().find(|it| it.id() == notice.statement);
    let document = state.policy().map(TrustPolicy::document);
    let found = asked.zip(document).and_then(|(asked, document)| {
        document.department(asked.says().department()).map(|it| it.owners.iter().collect())
    });
    found.unwrap_or_default()
}

/// Whether a person sees every delivery; others see those to their own addresses.
pub fn may_see(state: &State, person: &KeyId) -> (bool, Option<String>) {
    const ALL: [Role; 3] = [Role::ChangeManager, Role::Librarian, Role::Operator];
    let entry = state.policy().and_then(|policy| policy.document().entry(person));
    let Some(entry) = entry.filter(|it| it.status == KeyStatus::Active) else {
        return (false, None);
    };
    let all = ALL.iter().any(|role| entry.roles.contains(role));
    (all, Some(entry.email.to_ascii_lowercase()))
}
