//! How a release is known to be healthy: the checks, when they count, and what a host fills in.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::time::span;

/// One check: `[[health]]` in `release.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HealthCheck {
    /// `name`: once in a manifest.
    pub name: Name,
    /// `timeout`: a check that has not answered by then has failed.
    #[serde(with = "span")]
    pub timeout: Duration,
    /// `kind` and its fields.
    pub probe: Probe,
}

/// What a check does. Texts may have `{variables}`, which the host's configuration fills in
/// ([`substitute`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Probe {
    /// `kind = "http"`: a GET answers as expected. Redirections are not followed.
    Http {
        /// `url`: as `"http://{listen}/health"`.
        url: String,
        /// `expect-status`: the one good status; 200 where it is not written.
        #[serde(rename = "expect-status")]
        expect_status: u16,
        /// `body-contains`: a text that a good answer has; not written: any will do.
        #[serde(rename = "body-contains")]
        body_contains: Option<String>,
    },
    /// `kind = "tcp"`: a connection is taken.
    Tcp {
        /// `address`: as `"127.0.0.1:5432"` or `"{listen}"`.
        address: String,
    },
    /// `kind = "exec"`: a command ends with status 0.
    Exec {
        /// `command`: the program and its arguments. The program is an absolute path on the host, or
        /// one under `hooks/` in the package. No shell reads it.
        command: Vec<String>,
    },
    /// `kind = "unit"`: a systemd unit is active, and did not have to be restarted since it was started.
    Unit {
        /// `unit`: as `"shop-worker.service"` or `"{worker}"`; not written: the one that the host's
        /// configuration runs the application as.
        unit: Option<String>,
        /// `restarts-at-most`: so many restarts by systemd are borne; 0 where it is not written.
        #[serde(rename = "restarts-at-most")]
        restarts_at_most: u32,
    },
    /// `kind = "process"`: a program runs, as the application's user.
    Process {
        /// `program`: the file that runs, by an absolute path on the host, or one under `payload/` in the
        /// package: then it is this very release's. A script's is its interpreter.
        program: String,
        /// `at-least`: so many processes; 1 where it is not written.
        #[serde(rename = "at-least")]
        at_least: u32,
        /// `at-most`: no more than so many; not written: any number.
        #[serde(rename = "at-most")]
        at_most: Option<u32>,
    },
    /// `kind = "resource"`: what the application's processes take, and what they leave. Those that are
    /// not written are not looked at; one at least is.
    Resource(Limits),
}

/// For how long processor time is measured.
pub const CPU_SPAN: Duration = Duration::from_millis(250);

/// The limits of a `resource` check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// `memory-mib-at-most`: resident memory of all the application's processes together.
    pub memory_mib_at_most: Option<u32>,
    /// `cpu-percent-at-most`: of one processor, all of them together, over a quarter of a second.
    pub cpu_percent_at_most: Option<u32>,
    /// `open-files-at-most`: of any one of them.
    pub open_files_at_most: Option<u32>,
    /// `disk-free-mib-at-least`: on the file system of the application's slots.
    pub disk_free_mib_at_least: Option<u32>,
}

impl Probe {
    /// The texts of the probe that may have variables.
    pub fn templates(&self) -> Vec<&str> {
        match self {
            Self::Http { url, .. } => vec![url],
            Self::Tcp { address } => vec![address],
            Self::Exec { command } => command.iter().map(String::as_str).collect(),
            Self::Unit { unit, .. } => unit.iter().map(String::as_str).collect(),
            Self::Process { program, .. } => vec![program],
            Self::Resource(_) => Vec::new(),
        }
    }
}

/// When checks count: `[health-policy]` in `release.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HealthPolicy {
    /// `start-grace`: for so long after the start a failed check is only not yet a success.
    #[serde(with = "span")]
    pub start_grace: Duration,
    /// `interval`: from the beginning of one round of all checks to the next.
    #[serde(with = "span")]
    pub interval: Duration,
    /// `consecutive-successes`: so many rounds in a row, each with every check passed, are healthy.
    pub consecutive_successes: u32,
    /// `deadline`: not healthy so long after the start: the host goes back. The grace is part of it.
    #[serde(with = "span")]
    pub deadline: Duration,
    /// `bake`: for so long after it became healthy the release is watched before it is committed.
    #[serde(with = "span")]
    pub bake: Duration,
    /// `bake-tolerance`: so many failed checks while baking are borne; one more and the host goes back.
    pub bake_tolerance: u32,
}

/// Why a text with variables cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubstituteError {
    /// A brace that does not belong to a `{variable}`.
    #[error("{0:?} has a brace that is not part of a {{variable}}")]
    Brace(String),
    /// What is between the braces is no name of a variable.
    #[error("{0:?} is no name of a variable")]
    Name(String),
    /// A variable that the host does not define.
    #[error("the variable {0:?} is not defined on this host")]
    Undefined(String),
}

/// `template` with each `{name}` replaced by what `values` has for it. What is put in is not looked at
/// again. There is no way to write a brace that is none: addresses have none.
pub fn substitute(
    template: &str,
    values: &BTreeMap<String, String>,
) -> Result<String, SubstituteError> {
    fill(template, |name| {
        let value = values.get(name);
        value.ok_or_else(|| SubstituteError::Undefined(name.to_owned()))
    })
}

/// Checks that `template` could be filled in by somebody.
pub fn check_template(template: &str) -> Result<(), SubstituteError> {
    let nothing = String::new();
    fill(template, |_| Ok(&nothing)).map(|_| ())
}

fn fill<'v>(
    template: &str,
    value: impl Fn(&str) -> Result<&'v String, SubstituteError>,
) -> Result<String, SubstituteError> {
    let brace = || SubstituteError::Brace(template.to_owned());
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(position) = rest.find(['{', '}']) {
        filled.push_str(&rest[..position]);
        let opened = rest[position..].strip_prefix('{').ok_or_else(brace)?;
        let (name, after) = opened.split_once('}').ok_or_else(brace)?;
        if name.parse::<Name>().is_err() {
            return Err(SubstituteError::Name(name.to_owned()));
        }
        filled.push_str(value(name)?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> BTreeMap<String, String> {
        [("listen", "127.0.0.1:80"), ("name", "{listen}")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn variables_are_filled_in_once() {
        for (template, filled) in [
            ("http://{listen}/health", "http://127.0.0.1:80/health"),
            ("{listen}{listen}", "127.0.0.1:80127.0.0.1:80"),
            ("{name}", "{listen}"),
            ("nothing", "nothing"),
            ("", ""),
        ] {
            assert_eq!(substitute(template, &values()).as_deref(), Ok(filled));
        }
    }

    #[test]
    fn what_cannot_be_filled_in() {
        for template in ["{", "}", "a}b", "{listen", "{{listen}}}", "{a{b}"] {
            let refused = substitute(template, &values());
            assert!(
                matches!(refused, Err(SubstituteError::Brace(_) | SubstituteError::Name(_))),
                "{template}"
            );
            assert!(check_template(template).is_err());
        }
        for template in ["{}", "{A}", "{-a}", "{a b}"] {
            let refused = substitute(template, &values());
            assert!(matches!(refused, Err(SubstituteError::Name(_))), "{template}");
        }
        assert_eq!(
            substitute("{other}", &values()),
            Err(SubstituteError::Undefined("other".to_owned()))
        );
        assert_eq!(check_template("{other}"), Ok(()));
    }
}
