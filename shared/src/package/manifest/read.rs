//! Reading `release.toml`: all its faults at once.

use std::time::Duration;

use super::values::{
    address, change_type, civil, hook_path, is_hook_path, label, plain, program, shared_path,
    target, template, url, version, zone,
};
use super::{
    Extent, Hook, HookStage, Hooks, Impact, MANIFEST, MANIFEST_SCHEMA, Manifest, Preflight,
    Rollback, Schedule, Undo, agree, runbook,
};
use crate::package::fields::{
    Faults, Section, boolean, duration, explanation, integer, name, one_of,
};
use crate::package::finding::Finding;
use crate::package::health::{HealthCheck, HealthPolicy, Limits, Probe};

/// The most items of any list: more than anybody reads.
pub(super) const MAX_ITEMS: usize = 100;

/// The most arguments of a check's command, and the most checks.
const MAX_CHECKS: usize = 32;

/// The longest of what happens within one window.
pub(super) const MAX_BUDGET: Duration = Duration::from_hours(24);

/// The longest window that can be asked for.
const MAX_WINDOW: Duration = Duration::from_hours(24 * 31);

/// The longest of what one program may take.
const MAX_TIMEOUT: Duration = Duration::from_hours(4);

/// The largest number of anything that is counted: processes, files, percents, MiB.
const MAX_COUNT: u32 = 1_000_000_000;

/// The shortest that anything can be given: less cannot be kept on a busy host.
pub(super) const MIN_SPAN: Duration = Duration::from_millis(100);

pub(super) fn manifest(source: &str) -> Result<Manifest, Vec<Finding>> {
    let mut faults = Faults::new(MANIFEST, source);
    let manifest = faults.parse().and_then(|table| read(&mut faults, Section::top(&table)));
    if let Some(manifest) = &manifest {
        agree::check(&mut faults, manifest);
    }
    let findings = faults.into_findings();
    match manifest {
        Some(manifest) if findings.is_empty() => Ok(manifest),
        _ => Err(findings),
    }
}

fn read(faults: &mut Faults<'_>, mut top: Section<'_, '_>) -> Option<Manifest> {
    let schema = top.required(faults, "schema", integer(MANIFEST_SCHEMA..=MANIFEST_SCHEMA));
    let application = top.required(faults, "application", label);
    let version = top.required(faults, "version", version);
    let summary = top.required(faults, "summary", explanation);
    let change_type = top.required(faults, "change-type", change_type);
    let targets = top.list(faults, "targets", MAX_ITEMS, target);
    if targets.as_ref().is_some_and(Vec::is_empty) {
        top.missing(faults, "targets");
    }
    let budget = || duration(MIN_SPAN..=MAX_BUDGET);
    let apply_budget = top.required(faults, "apply-budget", budget());
    let rollback_reserve = top.required(faults, "rollback-reserve", budget());
    let shared = top.list(faults, "shared", MAX_ITEMS, shared_path);
    let impact = part(faults, &mut top, "impact", impact);
    let rollback = part(faults, &mut top, "rollback", rollback);
    let schedule = part(faults, &mut top, "schedule", schedule);
    let hooks = optional_part(faults, &mut top, "hooks", hooks);
    let runbook = runbook::steps(faults, &mut top);
    let preflight = optional_part(faults, &mut top, "preflight", preflight);
    let health = checks(faults, &mut top);
    let health_policy = part(faults, &mut top, "health-policy", health_policy);
    top.finish(faults);
    schema?;
    Some(Manifest {
        application: application?,
        version: version?,
        summary: summary?,
        change_type: change_type?,
        targets: targets?,
        apply_budget: apply_budget?,
        rollback_reserve: rollback_reserve?,
        shared: shared?,
        impact: impact?,
        rollback: rollback?,
        schedule: schedule?,
        hooks: hooks.ok()?.unwrap_or_default(),
        runbook: runbook?,
        preflight: preflight.ok()?.unwrap_or_default(),
        health: health?,
        health_policy: health_policy?,
    })
}

/// A table that must be there.
fn part<T>(
    faults: &mut Faults<'_>,
    top: &mut Section<'_, '_>,
    key: &'static str,
    read: impl FnOnce(&mut Faults<'_>, Section<'_, '_>) -> Option<T>,
) -> Option<T> {
    if !top.has(key) {
        top.missing(faults, key);
    }
    let section = top.section(faults, key)?;
    read(faults, section)
}

/// The fault has been noted; there is nothing more to say about the value.
pub(super) struct Noted;

/// A table that may be absent.
pub(super) fn optional_part<T>(
    faults: &mut Faults<'_>,
    parent: &mut Section<'_, '_>,
    key: &'static str,
    read: impl FnOnce(&mut Faults<'_>, Section<'_, '_>) -> Option<T>,
) -> Result<Option<T>, Noted> {
    let section = parent.section(faults, key);
    if !parent.has(key) {
        return Ok(None);
    }
    match section.and_then(|section| read(faults, section)) {
        Some(value) => Ok(Some(value)),
        None => Err(Noted),
    }
}

fn impact(faults: &mut Faults<'_>, mut section: Section<'_, '_>) -> Option<Impact> {
    let systems = section.list(faults, "systems", MAX_ITEMS, name);
    if systems.as_ref().is_some_and(Vec::is_empty) {
        section.missing(faults, "systems");
    }
    let users = section.required(faults, "users", explanation);
    let outage_minutes = section.required(faults, "outage-minutes", integer(0..=100_000));
    let worst_case = section.required(faults, "worst-case", explanation);
    let not_doing = section.required(faults, "not-doing", explanation);
    section.finish(faults);
    Some(Impact {
        systems: systems?,
        users: users?,
        outage_minutes: outage_minutes?,
        worst_case: worst_case?,
        not_doing: not_doing?,
    })
}

fn rollback(faults: &mut Faults<'_>, mut section: Section<'_, '_>) -> Option<Rollback> {
    let strategy = section.required(faults, "strategy", explanation);
    let steps = section.list(faults, "steps", MAX_ITEMS, name);
    let trigger = section.required(faults, "trigger", explanation);
    let minutes = section.required(faults, "minutes", integer(1..=100_000));
    let owner = section.required(faults, "owner", name);
    let data_loss = section.required(faults, "data-loss", explanation);
    let irreversible = section.defaulted(faults, "irreversible", boolean, false);
    if steps.as_ref().is_some_and(Vec::is_empty) && irreversible == Some(false) {
        section.missing(faults, "steps");
    }
    section.finish(faults);
    Some(Rollback {
        strategy: strategy?,
        steps: steps?,
        trigger: trigger?,
        minutes: minutes?,
        owner: owner?,
        data_loss: data_loss?,
        irreversible: irreversible?,
    })
}

fn schedule(faults: &mut Faults<'_>, mut section: Section<'_, '_>) -> Option<Schedule> {
    let start = section.required(faults, "start", civil);
    let extent = extent(faults, &mut section);
    let zone = section.required(faults, "zone", zone);
    let latest = section.required(faults, "latest", civil);
    section.finish(faults);
    Some(Schedule { start: start?, extent: extent?, zone: zone?, latest: latest? })
}

/// One of `for` and `until`: which of two that contradict each other would hold, nobody could know.
fn extent(faults: &mut Faults<'_>, section: &mut Section<'_, '_>) -> Option<Extent> {
    let length = section.optional(faults, "for", duration(MIN_SPAN..=MAX_WINDOW));
    let until = section.optional(faults, "until", civil);
    match (section.has("for"), section.has("until")) {
        (true, true) => {
            faults.contradiction(
                &section.name("until"),
                "for is there, too",
                "write one of the two: for is an exact length, until a time on the wall",
            );
            None
        }
        (false, true) => until.map(Extent::Until),
        (true, false) => length.map(Extent::For),
        (false, false) => {
            section.missing(faults, "for");
            None
        }
    }
}

fn hooks(faults: &mut Faults<'_>, mut section: Section<'_, '_>) -> Option<Hooks> {
    let [pre_stop, stop, activate, start, post_start] =
        HookStage::ALL.map(|stage| optional_part(faults, &mut section, stage.name(), hook));
    let support = section.list(faults, "support", MAX_ITEMS, hook_path);
    section.finish(faults);
    Some(Hooks {
        pre_stop: pre_stop.ok()?,
        stop: stop.ok()?,
        activate: activate.ok()?,
        start: start.ok()?,
        post_start: post_start.ok()?,
        support: support?,
    })
}

fn hook(faults: &mut Faults<'_>, mut section: Section<'_, '_>) -> Option<Hook> {
    let command = section.required(faults, "command", hook_path);
    let timeout = section.required(faults, "timeout", duration(MIN_SPAN..=MAX_TIMEOUT));
    let undo = optional_part(faults, &mut section, "undo", undo);
    section.finish(faults);
    Some(Hook { command: command?, timeout: timeout?, undo: undo.ok()? })
}

fn undo(faults: &mut Faults<'_>, mut section: Section<'_, '_>) -> Option<Undo> {
    let command = section.required(faults, "command", hook_path);
    let timeout = section.required(faults, "timeout", duration(MIN_SPAN..=MAX_TIMEOUT));
    section.finish(faults);
    Some(Undo { command: command?, timeout: timeout? })
}

fn checks(faults: &mut Faults<'_>, top: &mut Section<'_, '_>) -> Option<Vec<HealthCheck>> {
    if !top.has("health") {
        top.missing(faults, "health");
        return None;
    }
    let (sections, whole) = top.sections(faults, "health", MAX_CHECKS);
    let read: Vec<Option<HealthCheck>> =
        sections.into_iter().map(|section| check(faults, section)).collect();
    if read.is_empty() && whole {
        top.missing(faults, "health");
        return None;
    }
    let checks: Option<Vec<HealthCheck>> = read.into_iter().collect();
    whole.then_some(checks).flatten()
}

fn check(faults: &mut Faults<'_>, mut section: Section<'_, '_>) -> Option<HealthCheck> {
    const KINDS: [(&str, &str); 6] = [
        ("http", "http"),
        ("tcp", "tcp"),
        ("exec", "exec"),
        ("unit", "unit"),
        ("process", "process"),
        ("resource", "resource"),
    ];
    let name = section.required(faults, "name", label);
    let timeout = section.required(faults, "timeout", duration(MIN_SPAN..=MAX_TIMEOUT));
    let Some(kind) = section.required(faults, "kind", one_of(&KINDS)) else {
        // Which other fields belong here is not known.
        return None;
    };
    let probe = match kind {
        "http" => http(faults, &mut section),
        "tcp" => section.required(faults, "address", address).map(|address| Probe::Tcp { address }),
        "unit" => unit(faults, &mut section),
        "process" => process(faults, &mut section),
        "resource" => resource(faults, &mut section),
        _ => exec(faults, &mut section),
    };
    section.finish(faults);
    Some(HealthCheck { name: name?, timeout: timeout?, probe: probe? })
}

fn http(faults: &mut Faults<'_>, section: &mut Section<'_, '_>) -> Option<Probe> {
    let url = section.required(faults, "url", url);
    let status = section.defaulted(faults, "expect-status", integer(100..=599), 200);
    let body_contains =
        section.defaulted(faults, "body-contains", |value| plain(value).map(Some), None);
    Some(Probe::Http {
        url: url?,
        expect_status: u16::try_from(status?).expect("599 fits 16 bits"),
        body_contains: body_contains?,
    })
}

fn exec(faults: &mut Faults<'_>, section: &mut Section<'_, '_>) -> Option<Probe> {
    let command = section.list(faults, "command", MAX_CHECKS, template)?;
    let Some(program) = command.first() else {
        section.missing(faults, "command");
        return None;
    };
    let known = program.starts_with('/') || is_hook_path(program);
    if !known {
        faults.contradiction(
            &section.name("command[0]"),
            format!("{program:?} is neither an absolute path nor one under hooks/"),
            "write the whole path: nothing is looked for in PATH",
        );
        return None;
    }
    Some(Probe::Exec { command })
}

fn unit(faults: &mut Faults<'_>, section: &mut Section<'_, '_>) -> Option<Probe> {
    let unit = section.defaulted(faults, "unit", |value| template(value).map(Some), None);
    let restarts = section.defaulted(faults, "restarts-at-most", integer(0..=MAX_COUNT), 0);
    Some(Probe::Unit { unit: unit?, restarts_at_most: restarts? })
}

fn process(faults: &mut Faults<'_>, section: &mut Section<'_, '_>) -> Option<Probe> {
    let program = section.required(faults, "program", program);
    let at_least = section.defaulted(faults, "at-least", integer(0..=MAX_COUNT), 1);
    let at_most = limit(faults, section, "at-most");
    let (at_least, at_most) = (at_least?, at_most.ok()?);
    if at_most.is_some_and(|most| most < at_least) {
        faults.contradiction(
            &section.name("at-most"),
            "it is less than at-least",
            "raise it, or lower at-least: so nothing could ever pass",
        );
        return None;
    }
    Some(Probe::Process { program: program?, at_least, at_most })
}

fn resource(faults: &mut Faults<'_>, section: &mut Section<'_, '_>) -> Option<Probe> {
    let memory = limit(faults, section, "memory-mib-at-most");
    let cpu = limit(faults, section, "cpu-percent-at-most");
    let open_files = limit(faults, section, "open-files-at-most");
    let disk = limit(faults, section, "disk-free-mib-at-least");
    let limits = Limits {
        memory_mib_at_most: memory.ok()?,
        cpu_percent_at_most: cpu.ok()?,
        open_files_at_most: open_files.ok()?,
        disk_free_mib_at_least: disk.ok()?,
    };
    if limits == Limits::default() {
        faults.contradiction(
            &section.name("kind"),
            "it has no limit, so it could never fail",
            "write one of memory-mib-at-most, cpu-percent-at-most, open-files-at-most and \
             disk-free-mib-at-least",
        );
        return None;
    }
    Some(Probe::Resource(limits))
}

/// A number that need not be there.
fn limit(
    faults: &mut Faults<'_>,
    section: &mut Section<'_, '_>,
    key: &'static str,
) -> Result<Option<u32>, Noted> {
    let number = section.optional(faults, key, integer(0..=MAX_COUNT));
    if number.is_none() && section.has(key) { Err(Noted) } else { Ok(number) }
}

fn preflight(faults: &mut Faults<'_>, mut section: Section<'_, '_>) -> Option<Preflight> {
    let memory = section.defaulted(faults, "memory-mib", integer(0..=MAX_COUNT), 0);
    let ports = section.list(faults, "ports", MAX_ITEMS, address);
    section.finish(faults);
    Some(Preflight { memory_mib: memory?, ports: ports? })
}

fn health_policy(faults: &mut Faults<'_>, mut section: Section<'_, '_>) -> Option<HealthPolicy> {
    let start_grace =
        section.required(faults, "start-grace", duration(Duration::ZERO..=MAX_TIMEOUT));
    let interval = section.required(faults, "interval", duration(MIN_SPAN..=MAX_TIMEOUT));
    let successes = section.required(faults, "consecutive-successes", integer(1..=100));
    let deadline = section.required(faults, "deadline", duration(MIN_SPAN..=MAX_BUDGET));
    let bake = section.required(faults, "bake", duration(Duration::ZERO..=MAX_BUDGET));
    let bake_tolerance = section.required(faults, "bake-tolerance", integer(0..=1000));
    section.finish(faults);
    Some(HealthPolicy {
        start_grace: start_grace?,
        interval: interval?,
        consecutive_successes: successes?,
        deadline: deadline?,
        bake: bake?,
        bake_tolerance: bake_tolerance?,
    })
}
