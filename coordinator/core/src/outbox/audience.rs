//! Whom something is told to, and over which channel.

use std::collections::{BTreeMap, BTreeSet};

use cutover_shared::case::Case;
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::key::KeyId;
use cutover_shared::name::Name;
use cutover_shared::policy::{KeyEntry, KeyStatus, Role, Scope, TrustPolicy};

use super::notice::{Notice, What};

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
    /// Follows from statement, channel and recipient, and from the release where a statement is news of several:
    /// a delivery that is made twice has it twice.
    pub key: Digest,
    /// What is told.
    pub notice: Notice,
    /// To whom.
    pub to: Destination,
}

impl Delivery {
    /// That `notice` is told there.
    pub fn new(notice: Notice, to: Destination) -> Self {
        let release = (notice.what == What::Frozen).then_some(notice.release);
        let parts: [&[u8]; 7] = [
            b"cutover outbox v1\0",
            notice.statement.as_bytes(),
            to.channel().as_bytes(),
            b"\0",
            to.recipient().as_bytes(),
            b"\0",
            release.as_ref().map_or(&[][..], |it| it.as_bytes()),
        ];
        Self { key: Digest::of_parts(parts), notice, to }
    }
}

/// Whom a notice is told to: the requester, those who hold a role for it, teams, and endpoints; nobody twice
/// over the same channel.
pub fn deliveries(state: &State, routes: &Routes, notice: Notice) -> Vec<Delivery> {
    let Some(case) = state.case(&notice.release) else { return Vec::new() };
    let mut all = Vec::new();
    if routes.mail {
        let by_mail = addresses(state, routes, case, &notice);
        all.extend(by_mail.into_iter().map(|(address, name)| Destination::Mail { address, name }));
    }
    let wanted = |events: &BTreeSet<What>| events.is_empty() || events.contains(&notice.what);
    let hooks = routes.webhooks.iter().filter(|it| wanted(&it.events));
    all.extend(hooks.map(|it| Destination::Webhook(it.name.clone())));
    all.extend(routes.trackers.iter().cloned().map(Destination::Tracker));
    all.into_iter().map(|to| Delivery::new(notice, to)).collect()
}

/// Addresses in small letters, so that no spelling of one is another recipient; each with the name of the
/// first whose it is.
fn addresses(
    state: &State,
    routes: &Routes,
    case: &Case,
    notice: &Notice,
) -> BTreeMap<String, Name> {
    let what = notice.what;
    let mut found = BTreeMap::new();
    let release = case.release.says();
    let requesters = case.release.owners();
    let asked = departments(state, case, notice);
    let keys = state.policy().map(|policy| policy.document().keys.as_slice()).unwrap_or_default();
    let concerned = |entry: &&KeyEntry| {
        requesters.contains(&entry.owner)
            || asked.contains(&entry.owner)
            || (what.roles().iter().any(|role| entry.roles.contains(role))
                && entry.applications.covers(&release.application)
                && release.environments.iter().any(|it| entry.environments.covers(it)))
    };
    let active = keys.iter().filter(|entry| entry.status == KeyStatus::Active);
    for entry in active.filter(concerned) {
        found.entry(entry.email.to_ascii_lowercase()).or_insert_with(|| entry.owner.clone());
    }
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
