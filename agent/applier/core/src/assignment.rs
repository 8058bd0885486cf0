//! From an authorised order and its package's manifest to what the deployment machine is told to do.

use std::collections::BTreeSet;

use cutover_machine::{
    Assignment, HealthPolicy, HookPhase, Hooks as MachineHooks, Kind, Rejection, Reversibility,
};
use cutover_shared::authorise::Order;
use cutover_shared::digest::Digest;
use cutover_shared::name::Name;
use cutover_shared::package::health::Probe;
use cutover_shared::package::manifest::{HookStage, Manifest, Target};
use cutover_shared::package::runbook::{Doer, RunbookStep};
use cutover_shared::policy::TrustPolicy;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::window::Window;

use crate::settings::{ApplicationSettings, Driver, Hooks, ProbeKind};

pub(crate) fn coded(text: &str) -> Refusal {
    let (name, facts) = text.split_once(": ").unwrap_or(("", text));
    let code = Code::ALL.iter().copied().find(|code| code.name() == name);
    Refusal::new(code.unwrap_or(Code::Busy), facts)
}

pub(crate) fn refusal_of(rejection: &Rejection) -> Refusal {
    let code = match rejection {
        Rejection::WrongApplication(_) => Code::WrongApplication,
        Rejection::GenerationPassed { .. } | Rejection::AlreadyCommitted => Code::GenerationPassed,
        Rejection::WindowNotOpen(_) => Code::WindowNotOpen,
        Rejection::WindowClosed(_) => Code::WindowClosed,
        Rejection::WindowTooShort(_) => Code::WindowTooShort,
        Rejection::Busy(_)
        | Rejection::Stuck
        | Rejection::Stale(_)
        | Rejection::WrongAnswer(_)
        | Rejection::OutOfPlace(_)
        | Rejection::Irreversible
        | Rejection::NotForward => Code::Busy,
    };
    Refusal::new(code, rejection.to_string())
}

/// Whether the manifest is what the release statement says of it, and what the host allows.
pub(crate) fn accept(
    manifest: &Manifest,
    order: &Order,
    host: &ApplicationSettings,
) -> Result<(), Refusal> {
    let candidate = order.candidate();
    let mismatch = |what: &str| {
        Refusal::new(Code::DigestMismatch, format!("the manifest's {what} is not the release's"))
    };
    if manifest.application != *candidate.application() {
        return Err(mismatch("application"));
    }
    let declared = candidate.declared_budget();
    if (manifest.apply_budget, manifest.rollback_reserve) != (declared.apply, declared.reserve) {
        return Err(mismatch("apply-budget or rollback-reserve"));
    }
    if manifest.rollback.irreversible != candidate.is_irreversible() {
        return Err(mismatch("irreversible"));
    }
    allow(manifest, host)
}

/// Whether the host lets a package with this manifest do what it is about to.
pub fn allow(manifest: &Manifest, host: &ApplicationSettings) -> Result<(), Refusal> {
    let refused = |facts: String| Err(Refusal::new(Code::Inhibited, facts));
    let hooks = match host.driver {
        Driver::Slot if !manifest.targets.contains(&Target::Hosts) => {
            return refused(
                "the package is for targets without an agent, and this host's configuration makes it \
                 no gateway to them (driver = \"runbook\")"
                    .to_owned(),
            );
        }
        Driver::Runbook if manifest.runbook.is_empty() => {
            return refused("this host is a gateway, and the package has no runbook".to_owned());
        }
        Driver::Slot => HookStage::ALL.into_iter().any(|stage| manifest.hooks.at(stage).is_some()),
        Driver::Runbook => !manifest.runbook_programs().is_empty(),
    };
    if hooks && host.hooks == Hooks::Refused {
        return refused("this host's configuration refuses hooks".to_owned());
    }
    for check in &manifest.health {
        let kind = match check.probe {
            Probe::Http { .. } => ProbeKind::Http,
            Probe::Tcp { .. } => ProbeKind::Tcp,
            Probe::Exec { .. } => ProbeKind::Exec,
            Probe::Unit { .. } => ProbeKind::Unit,
            Probe::Process { .. } => ProbeKind::Process,
            Probe::Resource(_) => ProbeKind::Resource,
        };
        let packaged = matches!(&check.probe, Probe::Exec { command }
            if command.first().is_some_and(|program| !program.starts_with('/')));
        if packaged && host.hooks == Hooks::Refused {
            let facts = format!(
                "this host's configuration refuses the package's programs ({})",
                check.name
            );
            return refused(facts);
        }
        if !host.probes.contains(&kind) {
            let facts =
                format!("this host's configuration refuses {kind:?} checks ({})", check.name);
            return refused(facts);
        }
    }
    Ok(())
}

/// Whether somebody can speak for each department that the runbook waits for.
pub(crate) fn speaks(manifest: &Manifest, policy: Option<&TrustPolicy>) -> Result<(), Refusal> {
    let unknown = |step: &&RunbookStep| match &step.by {
        Doer::Gateway | Doer::Operator => false,
        Doer::Department(name) => policy.is_none_or(|policy| policy.department(name).is_none()),
    };
    let Some(step) = manifest.runbook.iter().find(unknown) else { return Ok(()) };
    let facts = format!(
        "the runbook's step {} is by {}, and the policy has no such department",
        step.name, step.by
    );
    Err(Refusal::new(Code::SubjectUnknown, facts))
}

/// What an order to go forward says beside the package's own manifest.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The package.
    pub package: Digest,
    /// The `release` statement.
    pub release: Digest,
    /// The `booking`.
    pub order: Digest,
    /// The host's order generation.
    pub generation: u64,
    /// When.
    pub window: Window,
    /// What applying takes at most.
    pub apply_budget: std::time::Duration,
    /// What is kept for going back.
    pub rollback_reserve: std::time::Duration,
}

impl Terms {
    pub(crate) fn of(order: &Order, generation: u64) -> Self {
        let candidate = order.candidate();
        Self {
            package: candidate.package(),
            release: candidate.release(),
            order: candidate.order(),
            generation,
            window: candidate.window(),
            apply_budget: candidate.budget().apply,
            rollback_reserve: candidate.budget().reserve,
        }
    }
}

/// The hooks of a package on a host with this driver: a gateway's whole runbook is one of them.
fn hooks(manifest: &Manifest, driver: Driver) -> MachineHooks {
    if driver == Driver::Runbook {
        let runbook = BTreeSet::from([HookPhase::Activate]);
        return MachineHooks { forward: runbook.clone(), undo: runbook };
    }
    let present = |stage: &HookStage| manifest.hooks.at(*stage).is_some();
    let undone =
        |stage: &HookStage| manifest.hooks.at(*stage).is_some_and(|hook| hook.undo.is_some());
    let phases = |test: &dyn Fn(&HookStage) -> bool| {
        HookStage::ALL.into_iter().filter(|stage| test(stage)).map(phase).collect()
    };
    MachineHooks { forward: phases(&present), undo: phases(&undone) }
}

/// The hooks of an ordered return on a gateway: the runbook's way back. What has gone wrong in that is an
/// operator's to put right; nothing undoes an undo.
pub(crate) fn runbook_back() -> MachineHooks {
    MachineHooks { forward: BTreeSet::from([HookPhase::Activate]), undo: BTreeSet::new() }
}

/// What the deployment machine is told to do, to bring in a package with this manifest on these terms.
pub fn forward_assignment(
    manifest: &Manifest,
    name: &Name,
    terms: &Terms,
    driver: Driver,
) -> Assignment {
    let policy = &manifest.health_policy;
    let slowest = manifest.health.iter().map(|check| check.timeout).max();
    Assignment {
        application: name.to_string(),
        generation: terms.generation,
        package: terms.package,
        release: terms.release,
        booking: terms.order,
        kind: Kind::Forward,
        window_start: terms.window.start,
        window_end: terms.window.end,
        apply_budget: terms.apply_budget,
        rollback_reserve: terms.rollback_reserve,
        hooks: hooks(manifest, driver),
        health: HealthPolicy {
            start_grace: policy.start_grace,
            interval: policy.interval,
            // A round is late a little after its slowest check was cut off.
            timeout: slowest.unwrap_or(policy.interval) + std::time::Duration::from_secs(2),
            successes: policy.consecutive_successes,
            deadline: policy.deadline,
            bake: policy.bake,
            bake_tolerance: policy.bake_tolerance,
        },
        reversibility: if manifest.rollback.irreversible {
            Reversibility::Irreversible
        } else {
            Reversibility::Reversible
        },
    }
}

/// The machine's name of a manifest's hook place.
fn phase(stage: HookStage) -> HookPhase {
    match stage {
        HookStage::PreStop => HookPhase::PreStop,
        HookStage::Stop => HookPhase::Stop,
        HookStage::Activate => HookPhase::Activate,
        HookStage::Start => HookPhase::Start,
        HookStage::PostStart => HookPhase::PostStart,
    }
}
