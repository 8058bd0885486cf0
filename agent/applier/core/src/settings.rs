//! The host's own say, as far as it decides anything.

use std::collections::{BTreeMap, BTreeSet};

use cutover_shared::name::Name;
use serde::{Deserialize, Serialize};

/// What this host is and what may be deployed to it. A statement that says otherwise is refused.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// Its name.
    pub host: Name,
    /// Its environment.
    pub environment: Name,
    /// What may be deployed here.
    pub applications: BTreeMap<Name, ApplicationSettings>,
}

/// What the host allows one application.
#[derive(Debug, Clone)]
pub struct ApplicationSettings {
    /// How it is deployed.
    pub driver: Driver,
    /// Whether hooks may run.
    pub hooks: Hooks,
    /// The kinds of check allowed.
    pub probes: BTreeSet<ProbeKind>,
    /// How many earlier releases stay.
    pub retain: usize,
}

/// How an application is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// Its payload becomes a slot of this host, and runs here.
    #[default]
    Slot,
    /// This host is the gateway to a target without an agent, and carries the package's runbook out.
    Runbook,
}

/// Whether a package may bring programs that run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hooks {
    /// They run, as the application's user.
    Allowed,
    /// A package with hooks is refused.
    Refused,
}

/// Kinds of health check that the host allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// A GET.
    Http,
    /// A connection.
    Tcp,
    /// A command.
    Exec,
    /// A systemd unit.
    Unit,
    /// A program that runs.
    Process,
    /// What the application takes of the host.
    Resource,
}

impl ProbeKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Http, Self::Tcp, Self::Exec, Self::Unit, Self::Process, Self::Resource];
}
