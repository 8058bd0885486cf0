//! From an authorised order and its package's manifest to what the deployment machine is told to do.

use cutover_machine::{
    Assignment, HealthPolicy, HookPhase, Hooks as MachineHooks, Kind, Rejection, Reversibility,
};
use cutover_shared::authorise::Order;
use cutover_shared::name::Name;
use cutover_shared::package::health::Probe;
use cutover_shared::package::manifest::{HookStage, Manifest};
use cutover_shared::refusal::{Code, Refusal};

use crate::settings::{ApplicationSettings, Hooks, ProbeKind};

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
    if manifest.apply_budget != candidate.apply_budget()
        || manifest.rollback_reserve != candidate.rollback_reserve()
    {
        return Err(mismatch("apply-budget or rollback-reserve"));
    }
    if manifest.rollback.irreversible != candidate.is_irreversible() {
        return Err(mismatch("irreversible"));
    }
    let hooks = HookStage::ALL.into_iter().any(|stage| manifest.hooks.at(stage).is_some());
    if hooks && host.hooks == Hooks::Refused {
        return Err(Refusal::new(Code::Inhibited, "this host's configuration refuses hooks"));
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
            return Err(Refusal::new(Code::Inhibited, facts));
        }
        if !host.probes.contains(&kind) {
            let facts =
                format!("this host's configuration refuses {kind:?} checks ({})", check.name);
            return Err(Refusal::new(Code::Inhibited, facts));
        }
    }
    Ok(())
}

pub(crate) fn forward_assignment(
    manifest: &Manifest,
    order: &Order,
    name: &Name,
    generation: u64,
) -> Assignment {
    let candidate = order.candidate();
    let present = |stage: &HookStage| manifest.hooks.at(*stage).is_some();
    let undone =
        |stage: &HookStage| manifest.hooks.at(*stage).is_some_and(|hook| hook.undo.is_some());
    let phases = |test: &dyn Fn(&HookStage) -> bool| {
        HookStage::ALL.into_iter().filter(|stage| test(stage)).map(phase).collect()
    };
    let policy = &manifest.health_policy;
    let slowest = manifest.health.iter().map(|check| check.timeout).max();
    Assignment {
        application: name.to_string(),
        generation,
        package: candidate.package(),
        release: candidate.release(),
        booking: candidate.order(),
        kind: Kind::Forward,
        window_start: candidate.window().start,
        window_end: candidate.window().end,
        apply_budget: candidate.apply_budget(),
        rollback_reserve: candidate.rollback_reserve(),
        hooks: MachineHooks { forward: phases(&present), undo: phases(&undone) },
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
        reversibility: if candidate.is_irreversible() {
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
