//! What a person's command line is set to: flags, environment and configuration file, in that order.
//!
//! [`GlobalArgs`] holds what flags and environment say, [`Fragment`] what the file says; [`Settings`] is
//! the two merged, with the defaults.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;

use super::exit::Failure;

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct GlobalArgs {
    /// Configuration file with coordinator, policy, key and cache [default: ~/.config/cutover/config.toml]
    #[arg(
        long,
        global = true,
        env = "CUTOVER_CONFIG",
        value_name = "FILE",
        help_heading = "Settings"
    )]
    pub config: Option<PathBuf>,
    /// Where the coordinator is
    #[arg(
        long,
        global = true,
        env = "CUTOVER_COORDINATOR",
        value_name = "HOST:PORT",
        help_heading = "Settings"
    )]
    pub coordinator: Option<String>,
    /// The signed trust policy that you pin: the log must contain it
    #[arg(
        long,
        global = true,
        env = "CUTOVER_POLICY",
        value_name = "FILE",
        help_heading = "Settings"
    )]
    pub policy: Option<PathBuf>,
    /// Your secret key; its passphrase is asked for, or taken from $CUTOVER_PASSPHRASE
    #[arg(
        long,
        global = true,
        env = "CUTOVER_KEY",
        value_name = "FILE",
        help_heading = "Settings"
    )]
    pub key: Option<PathBuf>,
    /// Where the verified copy of the log is kept [default: ~/.cache/cutover]
    #[arg(
        long,
        global = true,
        env = "CUTOVER_CACHE",
        value_name = "DIR",
        help_heading = "Settings"
    )]
    pub cache: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true, help_heading = "Settings")]
    pub json: bool,
    /// Sign without asking; needed where there is no terminal
    #[arg(long, global = true, help_heading = "Settings")]
    pub yes: bool,
    /// Show what would be signed or changed, and do nothing
    #[arg(long, global = true, help_heading = "Settings")]
    pub dry_run: bool,
}

/// The configuration file. Paths in it are relative to its directory.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fragment {
    coordinator: Option<String>,
    policy: Option<PathBuf>,
    key: Option<PathBuf>,
    cache: Option<PathBuf>,
}

/// Everything that a command may need to know; what is absent is asked for only where it is needed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `host:port` of the coordinator.
    coordinator: Option<String>,
    /// The pinned policy's file.
    policy: Option<PathBuf>,
    /// The secret key's file.
    key: Option<PathBuf>,
    /// The cache's directory.
    cache: Option<PathBuf>,
}

impl Settings {
    /// Merges what was said on the command line with the configuration file.
    pub fn load(args: &GlobalArgs) -> Result<Self, Failure> {
        let fragment = match (&args.config, default_file()) {
            (Some(path), _) => read(path)?,
            (None, Some(path)) if path.exists() => read(&path)?,
            (None, _) => Fragment::default(),
        };
        Ok(Self {
            coordinator: args.coordinator.clone().or(fragment.coordinator),
            policy: args.policy.clone().or(fragment.policy),
            key: args.key.clone().or(fragment.key),
            cache: args.cache.clone().or(fragment.cache).or_else(default_cache),
        })
    }

    /// `host:port` of the coordinator.
    pub fn coordinator(&self) -> Result<&str, Failure> {
        self.coordinator
            .as_deref()
            .ok_or_else(|| missing("where the coordinator is", "coordinator"))
    }

    /// The pinned policy's file.
    pub fn policy(&self) -> Result<&Path, Failure> {
        self.policy.as_deref().ok_or_else(|| missing("which trust policy you pin", "policy"))
    }

    /// The secret key's file.
    pub fn key(&self) -> Result<&Path, Failure> {
        self.key.as_deref().ok_or_else(|| missing("which key is yours", "key"))
    }

    /// The cache's directory.
    pub fn cache(&self) -> Result<&Path, Failure> {
        self.cache.as_deref().ok_or_else(|| missing("where the copy of the log is kept", "cache"))
    }
}

/// What a connection needs.
#[derive(Debug, Clone, Copy)]
pub struct Reach<'a> {
    /// `host:port` of the coordinator.
    pub coordinator: &'a str,
    /// The pinned policy's file.
    pub policy: &'a Path,
    /// The cache's directory.
    pub cache: &'a Path,
}

impl Settings {
    /// What a connection needs, or everything of it that is missing.
    pub fn reach(&self) -> Result<Reach<'_>, Failure> {
        match (self.coordinator(), self.policy(), self.key(), self.cache()) {
            (Ok(coordinator), Ok(policy), Ok(_), Ok(cache)) => {
                Ok(Reach { coordinator, policy, cache })
            }
            (coordinator, policy, key, cache) => {
                let all = [coordinator.err(), policy.err(), key.err(), cache.err()];
                let faults = all.iter().flatten().filter_map(|failure| match failure {
                    Failure::Usage(error) => Some(error.to_string()),
                    Failure::Failed(_)
                    | Failure::Declined
                    | Failure::Refused(_)
                    | Failure::Faults
                    | Failure::NotFound(_) => None,
                });
                Err(Failure::usage(faults.collect::<Vec<_>>().join("\n       ")))
            }
        }
    }
}

fn missing(what: &str, option: &str) -> Failure {
    Failure::usage(format!(
        "it is not known {what}: say --{option}, set CUTOVER_{}, or write `{option} = …` in the \
         configuration file",
        option.to_uppercase()
    ))
}

fn read(path: &Path) -> Result<Fragment, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("read the configuration {}", path.display()))?;
    let mut fragment = parse(&text)
        .map_err(|faults| Failure::usage(format!("{}: {}", path.display(), faults.join("; "))))?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let files = [&mut fragment.policy, &mut fragment.key, &mut fragment.cache];
    for file in files.into_iter().flatten() {
        *file = directory.join(&*file);
    }
    Ok(fragment)
}

/// The file's content, or every fault in it.
fn parse(text: &str) -> Result<Fragment, Vec<String>> {
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| vec![error.to_string()])?;
    let faults = table.iter().filter_map(|(key, value)| {
        let alone = toml::Table::from_iter([(key.clone(), value.clone())]);
        let fault = alone.try_into::<Fragment>().err()?;
        Some(fault.to_string().trim().replace('\n', " "))
    });
    let faults: Vec<_> = faults.collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    table.try_into().map_err(|error: toml::de::Error| vec![error.to_string()])
}

fn default_file() -> Option<PathBuf> {
    Some(base("XDG_CONFIG_HOME", ".config")?.join("cutover/config.toml"))
}

fn default_cache() -> Option<PathBuf> {
    Some(base("XDG_CACHE_HOME", ".cache")?.join("cutover"))
}

/// The XDG base directory: the variable where it is an absolute path, or else below the home.
fn base(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    set.or_else(|| Some(env::home_dir()?.join(below_home)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_its_paths_are_relative_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(
            &path,
            "coordinator = \"a:1\"\npolicy = \"policy.json\"\nkey = \"/k.pem\"\n",
        )
        .unwrap();
        let args = GlobalArgs {
            config: Some(path),
            coordinator: Some("b:2".to_owned()),
            ..GlobalArgs::default()
        };
        let settings = Settings::load(&args).unwrap();
        assert_eq!(settings.coordinator().unwrap(), "b:2");
        assert_eq!(settings.policy().unwrap(), directory.path().join("policy.json"));
        assert_eq!(settings.key().unwrap(), Path::new("/k.pem"));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let faults = parse("cordinator = \"a\"\nkey = 7\npolicy = \"p\"\n").unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
    }

    #[test]
    fn what_is_missing_is_named_with_the_three_ways_to_say_it() {
        let settings = Settings { coordinator: None, policy: None, key: None, cache: None };
        let text = settings.key().unwrap_err().text();
        for way in ["--key", "CUTOVER_KEY", "key = "] {
            assert!(text.contains(way), "{text}");
        }
    }
}
