//! `release.toml`: what a release is, how it is applied, and how one comes back from it.
//!
//! ```toml
//! schema = 1
//! application = "shop"
//! version = "1.4.2"
//! summary = "Fixes the tax on orders from Ohio."
//! change-type = "normal"                     # or "standard", "emergency"
//! targets = ["hosts"]
//! apply-budget = "5m"
//! rollback-reserve = "2m"
//! shared = ["data", "logs"]                  # below payload/: outlasts releases, and may be written to
//!
//! [impact]
//! systems = ["shop web front end"]
//! users = "All customers see the shop's maintenance page while it restarts."
//! outage-minutes = 1
//! worst-case = "Orders cannot be placed until the hosts have gone back."
//! not-doing = "Orders from Ohio go on being taxed wrongly."
//!
//! [rollback]
//! strategy = "Each host goes back to the release before by itself."
//! steps = ["cutover rollback shop --to 1.4.1"]
//! trigger = "The health check fails, or the error rate rises above one in a hundred."
//! minutes = 5
//! owner = "Ada Example, ada@example.org"
//! data-loss = "No data is lost: the tables do not change."
//! irreversible = false                       # the default
//!
//! [schedule]
//! start = "2026-11-20T22:00"
//! for = "1h"                                 # or until = "2026-11-20T23:00"
//! zone = "America/New_York"
//! latest = "2026-11-30T22:00"
//!
//! [hooks]
//! stop = { command = "hooks/stop.sh", timeout = "30s" }
//! activate = { command = "hooks/migrate.sh", timeout = "1m", undo = { command = "hooks/back.sh", timeout = "1m" } }
//! support = ["hooks/lib"]                    # what hooks use and nobody calls by name
//!
//! [[runbook]]                                # for targets without an agent, which a gateway host reaches
//! name = "hold-job"
//! by = "operator"                            # or "gateway", or a department of the policy
//! what = "Hold the job PAYR010 and wait until it has ended."
//! timeout = "45s"
//! elements = ["PAYR010 -> PROD.PAYROLL.JCL"] # lines of the forms that it is about
//! undo = { what = "Release the job PAYR010 again.", timeout = "30s" }  # or no-undo = "why"
//!
//! [[runbook]]
//! name = "move-members"
//! by = "gateway"
//! what = "Copies the members into the production libraries."
//! command = "hooks/move.sh"
//! timeout = "30s"
//! undo = { what = "Puts the saved members back.", command = "hooks/back.sh", timeout = "30s" }
//!
//! [preflight]                                # what a host has to have before anything is touched
//! memory-mib = 256
//! ports = ["{listen}"]                       # nobody else may listen there
//!
//! [[health]]
//! name = "front-page"
//! kind = "http"
//! url = "http://{listen}/health"
//! body-contains = "ok"
//! timeout = "2s"
//!
//! [health-policy]
//! start-grace = "10s"
//! interval = "2s"
//! consecutive-successes = 3
//! deadline = "1m"
//! bake = "2m"
//! bake-tolerance = 1
//! ```

mod agree;
mod read;
mod runbook;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;
use std::time::Duration;

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use super::finding::Finding;
use super::health::{HealthCheck, HealthPolicy, Probe};
use super::path::EntryPath;
use super::runbook::RunbookStep;
use crate::calendar::span::{Ending, Span, Wall, When};
use crate::name::Name;
use crate::statement::ChangeType;
use crate::time::span;

/// The manifest's place in the package.
pub const MANIFEST: &str = "release.toml";

/// The version of the manifest's schema.
pub const MANIFEST_SCHEMA: u32 = 1;

/// What `release.toml` says. Only [`Manifest::parse`] makes one that keeps every rule; one that comes
/// out of another document has to be compared with the package's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// `application`.
    pub application: Name,
    /// `version`: the author's name for it; letters, digits and `.+-_~`, at most 64.
    pub version: String,
    /// `summary`: one sentence for everybody.
    pub summary: String,
    /// `change-type`: which route the release asks for. Any but `normal` needs a signed ground.
    pub change_type: ChangeType,
    /// `targets`: the kinds of target, which decide what forms are needed.
    pub targets: Vec<Target>,
    /// `apply-budget`: the longest that a host takes from starting to committed. Nothing starts with
    /// less left in the window.
    #[serde(with = "span")]
    pub apply_budget: Duration,
    /// `rollback-reserve`: the longest that a host takes to go back. It is kept free at the window's end.
    #[serde(with = "span")]
    pub rollback_reserve: Duration,
    /// `shared`: paths below `payload/` that are kept outside of the slots, see
    /// [`outside`](super::outside). Not written: none.
    pub shared: Vec<EntryPath>,
    /// `[impact]`.
    pub impact: Impact,
    /// `[rollback]`.
    pub rollback: Rollback,
    /// `[schedule]`.
    pub schedule: Schedule,
    /// `[hooks]`.
    pub hooks: Hooks,
    /// `[[runbook]]`: how targets without an agent are carried over; none for hosts alone.
    pub runbook: Vec<RunbookStep>,
    /// `[preflight]`; not written: nothing beyond what every release needs.
    pub preflight: Preflight,
    /// `[[health]]`, at least one.
    pub health: Vec<HealthCheck>,
    /// `[health-policy]`.
    pub health_policy: HealthPolicy,
}

/// A kind of target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Hosts with an agent. They need a COT-F052 form.
    Hosts,
    /// zSeries systems, which a runbook on a gateway host reaches. They need a COT-F053 form.
    Zseries,
}

impl Target {
    /// The words of the manifest, and what they mean.
    pub const WORDS: [(&str, Self); 2] = [("hosts", Self::Hosts), ("zseries", Self::Zseries)];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Zseries => "zseries",
        }
    }
}

/// What the release may do to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Impact {
    /// `systems`: by name, at least one.
    pub systems: Vec<String>,
    /// `users`: who notices what.
    pub users: String,
    /// `outage-minutes`: how long it is down when all goes well.
    pub outage_minutes: u32,
    /// `worst-case`: what happens when it goes wrong.
    pub worst_case: String,
    /// `not-doing`: what happens without it.
    pub not_doing: String,
}

/// How one comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rollback {
    /// `strategy`: in a sentence.
    pub strategy: String,
    /// `steps`: one by one; may be empty only when it is irreversible.
    pub steps: Vec<String>,
    /// `trigger`: what makes one go back.
    pub trigger: String,
    /// `minutes`: how long it takes, at least 1.
    pub minutes: u32,
    /// `owner`: who does it and how they are reached.
    pub owner: String,
    /// `data-loss`: what is lost by going back; where nothing is, why.
    pub data_loss: String,
    /// `irreversible`: there is no way back; the board and security must approve that. Not written: false.
    pub irreversible: bool,
}

/// When the author would like it. The booking decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Schedule {
    /// `start`: wall-clock time in `zone`.
    pub start: DateTime,
    /// `for` or `until`: how long the window should be.
    pub extent: Extent,
    /// `zone`: an IANA name, or `UTC`. Whether it is known is for whoever has a zone database.
    pub zone: String,
    /// `latest`: the latest acceptable start, wall-clock time in `zone`.
    pub latest: DateTime,
}

impl Schedule {
    /// From when until when, as the calendar reads it.
    pub fn span(&self) -> Span {
        let end = match self.extent {
            Extent::For(length) => Ending::For(length),
            Extent::Until(end) => Ending::Until(When::civil(end)),
        };
        Span { start: When::civil(self.start), end }
    }
}

/// How long a window should be: one of the two, never implied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// `for`: an exact length.
    #[serde(with = "span")]
    For(Duration),
    /// `until`: when the clock on the wall shows this in the schedule's zone.
    Until(DateTime),
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(length) => write!(f, "for {}", span::format(*length)),
            Self::Until(end) => write!(f, "until {}", Wall(*end)),
        }
    }
}

/// What a host has to have before anything on it is touched for this release. That the slot fits on the
/// disk, that its programs can run, and that the way back is intact is looked at in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Preflight {
    /// `memory-mib`: so much memory is available while the release before is still running.
    pub memory_mib: u32,
    /// `ports`: nobody but the application itself listens on these: `"{listen}"` or `"0.0.0.0:8080"`.
    pub ports: Vec<String>,
}

/// The hooks, each optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hooks {
    /// `pre-stop`: before the running release is stopped, as draining a load balancer.
    pub pre_stop: Option<Hook>,
    /// `stop`: stops the running release.
    pub stop: Option<Hook>,
    /// `activate`: while nothing runs, as migrating a database.
    pub activate: Option<Hook>,
    /// `start`: starts the new release.
    pub start: Option<Hook>,
    /// `post-start`: after the start, as warming a cache.
    pub post_start: Option<Hook>,
    /// `support`: files and directories under `hooks/` that hooks use.
    pub support: Vec<EntryPath>,
}

/// A step that a hook can stand for, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookStage {
    /// `pre-stop`.
    PreStop,
    /// `stop`.
    Stop,
    /// `activate`.
    Activate,
    /// `start`.
    Start,
    /// `post-start`.
    PostStart,
}

impl HookStage {
    /// All of them, in their order.
    pub const ALL: [Self; 5] =
        [Self::PreStop, Self::Stop, Self::Activate, Self::Start, Self::PostStart];

    /// The key in `[hooks]`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreStop => "pre-stop",
            Self::Stop => "stop",
            Self::Activate => "activate",
            Self::Start => "start",
            Self::PostStart => "post-start",
        }
    }
}

/// A program of the package that is run at a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hook {
    /// `command`: its path under `hooks/`; it is run without arguments and without a shell.
    pub command: EntryPath,
    /// `timeout`: it is stopped, and has failed, after so long.
    #[serde(with = "span")]
    pub timeout: Duration,
    /// `undo`: what takes back its effect when the host goes back. Not written: nothing is to be undone.
    pub undo: Option<Undo>,
}

/// What takes back the effect of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Undo {
    /// `command`: its path under `hooks/`.
    pub command: EntryPath,
    /// `timeout`: it is stopped, and has failed, after so long.
    #[serde(with = "span")]
    pub timeout: Duration,
}

impl Hooks {
    /// The hook of `stage`, if there is one.
    pub fn at(&self, stage: HookStage) -> Option<&Hook> {
        match stage {
            HookStage::PreStop => self.pre_stop.as_ref(),
            HookStage::Stop => self.stop.as_ref(),
            HookStage::Activate => self.activate.as_ref(),
            HookStage::Start => self.start.as_ref(),
            HookStage::PostStart => self.post_start.as_ref(),
        }
    }
}

impl Manifest {
    /// Reads a manifest, or tells everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        read::manifest(text)
    }

    /// Each program of the package that is run by name, with the field that names it: hooks, what
    /// undoes them, the gateway's steps, and the programs of `exec` checks.
    pub fn programs(&self) -> Vec<(String, EntryPath)> {
        let mut programs = self.runbook_programs();
        for stage in HookStage::ALL {
            let Some(hook) = self.hooks.at(stage) else {
                continue;
            };
            let field = format!("hooks.{}", stage.name());
            if let Some(undo) = &hook.undo {
                programs.push((format!("{field}.undo.command"), undo.command.clone()));
            }
            programs.push((format!("{field}.command"), hook.command.clone()));
        }
        for (position, check) in self.health.iter().enumerate() {
            if let Probe::Exec { command } = &check.probe
                && let Some(Ok(path)) = command.first().map(|program| EntryPath::new(program))
            {
                programs.push((format!("health[{position}].command[0]"), path));
            }
        }
        programs
    }

    /// Those that a gateway host runs for the runbook's steps.
    pub fn runbook_programs(&self) -> Vec<(String, EntryPath)> {
        let mut programs = Vec::new();
        for (position, step) in self.runbook.iter().enumerate() {
            let commands = step.deeds().filter_map(|(part, deed)| {
                let field = format!("runbook[{position}].{part}command");
                Some((field, deed.command.clone()?))
            });
            programs.extend(commands);
        }
        programs
    }
}
