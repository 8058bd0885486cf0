//! `applier.toml`: the host's own say.
//!
//! Read in three types: [`Fragment`] is what stands in the file, unknown keys refused; [`Settings`] is what
//! the applier runs with and cannot be invalid. Every fault is told at once, with its key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cutover_applier_core::{ApplicationSettings, Driver, Hooks, HostSettings, ProbeKind};
use cutover_shared::name::Name;
use cutover_shared::time::span;
use serde::Deserialize;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// Where the configuration is looked for.
pub const DEFAULT_PATH: &str = "/etc/cutover/applier.toml";

/// What stands in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fragment {
    host: String,
    environment: String,
    state_directory: Option<PathBuf>,
    socket: Option<PathBuf>,
    agent_user: Option<String>,
    inhibit_directory: Option<PathBuf>,
    probe: Option<PathBuf>,
    probe_user: Option<String>,
    #[serde(default)]
    log: LogFragment,
    #[serde(default)]
    applications: BTreeMap<String, ApplicationFragment>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct LogFragment {
    format: Option<LogFormat>,
    filter: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ApplicationFragment {
    root: PathBuf,
    owner: Option<String>,
    user: Option<String>,
    hooks: Option<Hooks>,
    #[serde(default)]
    slots: SlotAccess,
    #[serde(default)]
    driver: Driver,
    run: Option<RunFragment>,
    probes: Option<BTreeSet<ProbeKind>>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    retain: Option<usize>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RunFragment {
    unit: Option<String>,
    start: Option<Vec<String>>,
    stop_timeout: Option<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// What an application may do with its own slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotAccess {
    /// Look at them, and run what is in them.
    #[default]
    ReadOnly,
    /// Write them, if they are its user's.
    Writable,
}

/// How the application runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    /// As a unit of systemd.
    Unit(String),
    /// As a child of the applier, where there is no systemd.
    Command {
        /// Program and arguments; the program relative to `current/payload`, or absolute.
        start: Vec<String>,
        /// How long it has after SIGTERM.
        stop_timeout: Duration,
        /// Its environment, beside the variables in upper case.
        environment: BTreeMap<String, String>,
    },
    /// Not here: this host is the gateway to where it runs, and carries runbooks out.
    Elsewhere,
}

/// One application.
#[derive(Debug, Clone)]
pub struct Application {
    /// Its name.
    pub name: Name,
    /// Where its slots are.
    pub root: PathBuf,
    /// Whose the files of a slot are.
    pub owner: String,
    /// As whom hooks, commands and exec checks run.
    pub user: String,
    /// Whether hooks may run.
    pub hooks: Hooks,
    /// What it, its hooks and the commands of its checks may do with its slots.
    pub slots: SlotAccess,
    /// How it runs.
    pub run: Run,
    /// The kinds of check allowed.
    pub probes: BTreeSet<ProbeKind>,
    /// What health checks, hooks and commands may refer to.
    pub variables: BTreeMap<String, String>,
    /// How many earlier releases stay.
    pub retain: usize,
}

impl Application {
    /// The environment of hooks and commands: the variables in upper case, and the configured ones.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let upper = |name: &String| name.to_ascii_uppercase().replace(['-', '.'], "_");
        let mut all: BTreeMap<_, _> =
            self.variables.iter().map(|(name, value)| (upper(name), value.clone())).collect();
        if let Run::Command { environment, .. } = &self.run {
            all.extend(environment.clone());
        }
        all
    }
}

/// What the applier runs with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The host's name.
    pub host: Name,
    /// Its environment.
    pub environment: Name,
    /// Ledger, host key and inbox; mode 0700.
    pub state_directory: PathBuf,
    /// The socket for the network half.
    pub socket: PathBuf,
    /// The user that may connect to it, beside root and the applier's own.
    pub agent_user: String,
    /// Files here stop going forward.
    pub inhibit_directory: PathBuf,
    /// The `cutover-probe` program.
    pub probe: PathBuf,
    /// As whom it runs.
    pub probe_user: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which are written: `info`, say, or `warn,cutover_applier=debug`.
    pub log_filter: Targets,
    /// What may be deployed here.
    pub applications: BTreeMap<Name, Application>,
}

impl Settings {
    /// What the core has to know of them.
    pub fn host_settings(&self) -> HostSettings {
        let application = |(name, it): (&Name, &Application)| {
            let Application { hooks, probes, retain, .. } = it.clone();
            let driver = match it.run {
                Run::Elsewhere => Driver::Runbook,
                Run::Unit(_) | Run::Command { .. } => Driver::Slot,
            };
            (name.clone(), ApplicationSettings { driver, hooks, probes, retain })
        };
        HostSettings {
            host: self.host.clone(),
            environment: self.environment.clone(),
            applications: self.applications.iter().map(application).collect(),
        }
    }
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML of the right shape.
    #[error("understand {path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// Its values are wrong.
    #[error("use {path}:\n  {}", faults.join("\n  "))]
    Faults {
        /// The file.
        path: PathBuf,
        /// Each with its key and what to do.
        faults: Vec<String>,
    },
}

/// Reads the configuration.
pub fn read(path: &Path) -> Result<Settings, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, path)
}

/// Understands the text of a configuration; `path` is for messages.
pub fn parse(text: &str, path: &Path) -> Result<Settings, ConfigError> {
    let fragment: Fragment = toml::from_str(text).map_err(|error| ConfigError::Parse {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    let mut faults = Vec::new();
    let settings = merge(fragment, &mut faults);
    match settings {
        Some(settings) if faults.is_empty() => Ok(settings),
        Some(_) | None => Err(ConfigError::Faults { path: path.to_owned(), faults }),
    }
}

fn name(key: &str, text: &str, faults: &mut Vec<String>) -> Option<Name> {
    text.parse().map_err(|error| faults.push(format!("{key}: {error}"))).ok()
}

fn merge(fragment: Fragment, faults: &mut Vec<String>) -> Option<Settings> {
    let host = name("host", &fragment.host, faults);
    let environment = name("environment", &fragment.environment, faults);
    let mut applications = BTreeMap::new();
    for (key, application) in fragment.applications {
        if let Some(application) = merge_application(&key, application, faults) {
            applications.insert(application.name.clone(), application);
        }
    }
    if applications.is_empty() {
        faults.push(
            "applications: none; add [applications.NAME] for what is deployed here".to_owned(),
        );
    }
    let roots: BTreeSet<_> = applications.values().map(|it| &it.root).collect();
    if roots.len() < applications.len() {
        faults.push("applications: two have the same root; give each its own".to_owned());
    }
    let mut log_filter = Targets::new().with_default(LevelFilter::INFO);
    if let Some(filter) = &fragment.log.filter {
        match filter.parse() {
            Ok(filter) => log_filter = filter,
            Err(error) => faults.push(format!("log.filter: {filter:?} is not a filter: {error}")),
        }
    }
    let default = |path: Option<PathBuf>, default: &str| path.unwrap_or_else(|| default.into());
    let agent_user = fragment.agent_user.unwrap_or_else(|| "cutover-agent".to_owned());
    Some(Settings {
        host: host?,
        environment: environment?,
        state_directory: default(fragment.state_directory, "/var/lib/cutover-applier"),
        socket: default(fragment.socket, "/run/cutover/applier.sock"),
        probe_user: fragment.probe_user.unwrap_or_else(|| agent_user.clone()),
        agent_user,
        inhibit_directory: default(fragment.inhibit_directory, "/run/cutover/inhibit.d"),
        probe: default(fragment.probe, "/usr/bin/cutover-probe"),
        log_format: fragment.log.format.unwrap_or_default(),
        log_filter,
        applications,
    })
}

fn merge_application(
    key: &str,
    fragment: ApplicationFragment,
    faults: &mut Vec<String>,
) -> Option<Application> {
    let at = |field: &str| format!("applications.{key}.{field}");
    let name = name(&format!("applications.{key}"), key, faults);
    if !fragment.root.is_absolute() || fragment.root.parent().is_none() {
        faults.push(format!("{}: must be an absolute path of its own, as /srv/{key}", at("root")));
    }
    // It stands in files of systemd, a line each.
    if fragment.root.to_string_lossy().contains(char::is_control) {
        faults.push(format!("{}: must be without control characters", at("root")));
    }
    for variable in fragment.variables.keys() {
        if variable.parse::<Name>().is_err() {
            faults.push(format!("{}: {variable:?} is not a name", at("variables")));
        }
    }
    let run = match (fragment.driver, fragment.run) {
        (Driver::Slot, Some(run)) => merge_run(&at("run"), run, faults),
        (Driver::Runbook, None) => Some(Run::Elsewhere),
        (Driver::Slot, None) => {
            faults.push(format!("{}: is missing; say how the application runs", at("run")));
            None
        }
        (Driver::Runbook, Some(_)) => {
            let remedy = "remove it: with the driver \"runbook\" nothing runs here";
            faults.push(format!("{}: {remedy}", at("run")));
            None
        }
    };
    let all = BTreeSet::from(ProbeKind::ALL);
    Some(Application {
        root: fragment.root,
        owner: fragment.owner.unwrap_or_else(|| "root".to_owned()),
        user: fragment.user.unwrap_or_else(|| "root".to_owned()),
        hooks: fragment.hooks.unwrap_or(Hooks::Refused),
        slots: fragment.slots,
        run: run?,
        probes: fragment.probes.unwrap_or(all),
        variables: fragment.variables,
        retain: fragment.retain.unwrap_or(3),
        name: name?,
    })
}

fn merge_run(key: &str, fragment: RunFragment, faults: &mut Vec<String>) -> Option<Run> {
    let stop_timeout = match fragment.stop_timeout.as_deref().map_or(Ok(DEFAULT_STOP), span::parse)
    {
        Ok(timeout) => timeout,
        Err(error) => {
            faults.push(format!("{key}.stop-timeout: {error}"));
            DEFAULT_STOP
        }
    };
    match (fragment.unit, fragment.start) {
        (Some(unit), None) if unit.ends_with(".service") && !unit.contains('/') => {
            Some(Run::Unit(unit))
        }
        (Some(unit), None) => {
            faults.push(format!("{key}.unit: {unit:?} must be the name of a unit, as web.service"));
            None
        }
        (None, Some(start)) if !start.is_empty() => {
            Some(Run::Command { start, stop_timeout, environment: fragment.environment })
        }
        (None, Some(_)) => {
            faults.push(format!("{key}.start: is empty; give the program and its arguments"));
            None
        }
        (Some(_), Some(_)) | (None, None) => {
            faults.push(format!("{key}: give either unit or start"));
            None
        }
    }
}

/// What a stop takes at most where the configuration says nothing: what systemd's users are used to is
/// 90 s, too long for a rollback reserve.
const DEFAULT_STOP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
host = "web-1"
environment = "production"
[applications.web]
root = "/srv/web"
hooks = "allowed"
run = { unit = "web.service" }
variables = { listen-port = "8080" }
"#;

    #[test]
    fn defaults_are_filled_in() {
        let settings = parse(GOOD, Path::new("applier.toml")).unwrap();
        assert_eq!(settings.agent_user, "cutover-agent");
        let web = &settings.applications[&"web".parse().unwrap()];
        assert_eq!(web.retain, 3);
        assert_eq!(web.slots, SlotAccess::ReadOnly);
        assert_eq!(web.environment()["LISTEN_PORT"], "8080");
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let text = GOOD
            .replace("web-1", "Web 1")
            .replace("/srv/web", "srv/web\\u0007")
            .replace("unit = \"web.service\"", "stop-timeout = \"soon\"")
            + "[log]\nfilter = \"web=loud\"\n";
        let error = parse(&text, Path::new("applier.toml")).unwrap_err().to_string();
        for part in [
            "host:",
            "applications.web.root: must be an absolute",
            "applications.web.root: must be without control",
            "run.stop-timeout:",
            "log.filter:",
            "either unit or start",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn a_gateway_runs_nothing_itself() {
        let gateway = GOOD.replace("run = { unit = \"web.service\" }", "driver = \"runbook\"");
        let settings = parse(&gateway, Path::new("applier.toml")).unwrap();
        let web = "web".parse().unwrap();
        assert_eq!(settings.applications[&web].run, Run::Elsewhere);
        assert_eq!(settings.host_settings().applications[&web].driver, Driver::Runbook);
        let both = GOOD.replace("run =", "driver = \"runbook\"\nrun =");
        let neither = GOOD.replace("run =", "#");
        for text in [both, neither] {
            let error = parse(&text, Path::new("applier.toml")).unwrap_err().to_string();
            assert!(error.contains("applications.web.run:"), "{error}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        let text = GOOD.replace("hooks =", "hoks =");
        let error = parse(&text, Path::new("applier.toml")).unwrap_err().to_string();
        assert!(error.contains("hoks"), "{error}");
    }
}
