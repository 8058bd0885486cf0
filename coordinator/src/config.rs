//! The coordinator's configuration file, `coordinator.toml`, and the settings that it becomes.
//!
//! The file is read as plain TOML and looked through key by key, so that everything that is wrong with it
//! is told at once. Paths that are not absolute are relative to the file.

mod outbox;

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::{Table, Value};
use tracing_subscriber::filter::Targets;

pub use outbox::{
    EndpointSettings, JIRA, JiraApi, JiraSettings, Login, MailSecurity, MailSettings,
    OutboxSettings, SERVICENOW, ServiceNowSettings, WebhookSettings,
};

/// What is logged when nothing is said.
const FILTER: &str = "info";

/// What the coordinator runs with. All of it is usable as far as that can be known without opening the
/// files; [`read`] refuses the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `listen`: the UDP address to serve on. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// `data-directory`: the log, the packages and the cache.
    pub data_directory: PathBuf,
    /// `key`: the file with the log's secret key, in PEM, not encrypted.
    pub key: PathBuf,
    /// `policy`: the file with the signed trust policy.
    pub policy: PathBuf,
    /// `forms-directory`: schemas of forms beside those that are shipped, a `.toml` file each.
    pub forms_directory: Option<PathBuf>,
    /// `advertise`: `host:port` under which others reach the coordinator, for people to see in its log.
    pub advertise: Option<String>,
    /// `port-file`: where the port that is served on is written, once it is.
    pub port_file: Option<PathBuf>,
    /// `log.format`: how lines are logged.
    pub log_format: LogFormat,
    /// `log.filter`: which lines are logged: a filter of `tracing_subscriber`, such as `info` or
    /// `cutover_coordinator=debug`.
    pub log_filter: Targets,
    /// `[outbox]`: where people and programs are told; none without that table.
    pub outbox: Option<OutboxSettings>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not TOML.
    #[error("read the configuration as TOML")]
    Syntax(#[from] toml::de::Error),
    /// What is in it is wrong.
    #[error("use the configuration: {}", listed(.0))]
    Faults(Vec<Fault>),
}

fn listed(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key, with its table: `log.format`.
    pub key: String,
    /// What is wrong with it.
    pub fault: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.fault)
    }
}

/// The settings in the file `path`.
pub fn read(path: &Path) -> Result<Settings, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, path.parent().unwrap_or(Path::new("")))
}

/// The settings that `text` says. Paths in it are relative to `base`.
pub fn parse(text: &str, base: &Path) -> Result<Settings, ConfigError> {
    let mut top = Fragment::new("", text.parse::<Table>()?);
    let mut log = top.table("log");
    let listen = top.parsed::<SocketAddr>("listen", "an address and port, as 0.0.0.0:7400");
    let data_directory = top.required("data-directory");
    let key = top.required("key");
    let policy = top.required("policy");
    let forms_directory = top.text("forms-directory").map(|it| base.join(it));
    let advertise = top.text("advertise");
    if advertise.as_deref().is_some_and(|it| !is_host_and_port(it)) {
        top.fault("advertise", "a host and a port are expected, as cutover.example.org:7400");
    }
    let port_file = top.text("port-file").map(|it| base.join(it));
    let log_format = log.format("format");
    let log_filter = log.filter("filter");
    let (outbox, outbox_faults) = outbox::parse(top.table.remove("outbox"), base);
    let mut faults = top.finish();
    faults.extend(log.finish());
    faults.extend(outbox_faults);
    match (listen, data_directory, key, policy) {
        (Some(listen), Some(data_directory), Some(key), Some(policy)) if faults.is_empty() => {
            Ok(Settings {
                listen,
                data_directory: base.join(data_directory),
                key: base.join(key),
                policy: base.join(policy),
                forms_directory,
                advertise,
                port_file,
                log_format,
                log_filter,
                outbox,
            })
        }
        _ => Err(ConfigError::Faults(faults)),
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// A table of the file, emptied key by key; what is left at the end is unknown.
struct Fragment {
    prefix: String,
    table: Table,
    faults: Vec<Fault>,
}

impl Fragment {
    fn new(prefix: &str, table: Table) -> Self {
        Self { prefix: prefix.to_owned(), table, faults: Vec::new() }
    }

    fn fault(&mut self, key: &str, fault: impl Into<String>) {
        self.faults.push(Fault { key: format!("{}{key}", self.prefix), fault: fault.into() });
    }

    fn table(&mut self, key: &str) -> Self {
        let table = match self.table.remove(key) {
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.fault(key, format!("a table is expected, not {}", other.type_str()));
                Table::new()
            }
            None => Table::new(),
        };
        Self::new(&format!("{}{key}.", self.prefix), table)
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let value = self.table.remove(key)?;
        let fault = match value.as_str() {
            Some("") => "it is empty".to_owned(),
            Some(text) => return Some(text.to_owned()),
            None => format!("a text in quotes is expected, not {}", value.type_str()),
        };
        self.fault(key, fault);
        None
    }

    fn required(&mut self, key: &str) -> Option<String> {
        if !self.table.contains_key(key) {
            self.fault(key, "it is missing");
        }
        self.text(key)
    }

    fn parsed<T: std::str::FromStr>(&mut self, key: &str, expected: &str) -> Option<T> {
        let text = self.required(key)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.fault(key, format!("{expected} is expected, not {text:?}"));
        }
        value
    }

    fn format(&mut self, key: &str) -> LogFormat {
        match self.text(key).as_deref() {
            Some("text") | None => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(other) => {
                self.fault(key, format!("\"text\" or \"json\" is expected, not {other:?}"));
                LogFormat::Text
            }
        }
    }

    fn filter(&mut self, key: &str) -> Targets {
        let filter = self.text(key);
        let filter = filter.as_deref().unwrap_or(FILTER);
        filter.parse().unwrap_or_else(|error| {
            self.fault(key, format!("{filter:?} is not a filter: {error}"));
            Targets::default()
        })
    }

    fn finish(mut self) -> Vec<Fault> {
        let unknown: Vec<String> = self.table.keys().cloned().collect();
        for key in unknown {
            self.fault(&key, "no such key");
        }
        self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const LEAST: &str = "listen = \"127.0.0.1:0\"\ndata-directory = \"data\"\nkey = \"log.pem\"\n\
                         policy = \"/etc/cutover/policy.json\"\n";

    #[test]
    fn what_is_not_said_has_a_default_and_paths_are_relative_to_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("coordinator.toml");
        fs::write(&path, LEAST).unwrap();
        let expected = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_directory: directory.path().join("data"),
            key: directory.path().join("log.pem"),
            policy: PathBuf::from("/etc/cutover/policy.json"),
            forms_directory: None,
            advertise: None,
            port_file: None,
            log_format: LogFormat::Text,
            log_filter: "info".parse().unwrap(),
            outbox: None,
        };
        assert_eq!(read(&path).unwrap(), expected);
    }

    #[test]
    fn everything_can_be_said() {
        let text = format!(
            "{LEAST}forms-directory = \"forms\"\nadvertise = \"c.example.org:7400\"\nport-file = \"port\"\n\
             [log]\nformat = \"json\"\nfilter = \"debug\"\n"
        );
        let settings = parse(&text, Path::new("/base")).unwrap();
        assert_eq!(settings.advertise.as_deref(), Some("c.example.org:7400"));
        assert_eq!(settings.forms_directory.as_deref(), Some(Path::new("/base/forms")));
        assert_eq!(settings.port_file.as_deref(), Some(Path::new("/base/port")));
        assert_eq!(settings.log_format, LogFormat::Json);
        assert_eq!(settings.log_filter, "debug".parse().unwrap());
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let text = "listen = \"7400\"\nkey = 7\npolicy = \"\"\nadvertise = \"here\"\ncolour = 1\n\
                    [log]\nformat = \"xml\"\nfilter = \"web=loud\"\nlevel = \"info\"\n";
        let ConfigError::Faults(faults) = parse(text, Path::new("")).unwrap_err() else {
            panic!("it is TOML");
        };
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "listen",
                "data-directory",
                "key",
                "policy",
                "advertise",
                "colour",
                "log.format",
                "log.filter",
                "log.level"
            ]
        );
        assert!(matches!(parse("listen =", Path::new("")), Err(ConfigError::Syntax(_))));
    }

    #[test]
    fn the_shipped_file_is_good() {
        let shipped = include_str!("../../systemd/coordinator.toml");
        let settings = parse(shipped, Path::new("")).unwrap();
        assert_eq!(settings.listen, "0.0.0.0:7400".parse().unwrap());
        assert_eq!(settings.log_filter, FILTER.parse().unwrap());
        assert!(settings.outbox.is_none());
    }

    #[test]
    fn what_the_shipped_file_shows_of_the_outbox_is_good_when_it_is_said() {
        let shipped = include_str!("../../systemd/coordinator.toml");
        let (_, outbox) = shipped.split_once("#[outbox]").unwrap();
        let said = format!("#[outbox]{outbox}").lines().fold(String::new(), |text, line| {
            let line = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
            text + line.unwrap_or_default() + "\n"
        });
        let settings = parse(&format!("{LEAST}{said}"), Path::new("")).unwrap();
        let outbox = settings.outbox.unwrap();
        assert!(outbox.mail.is_some() && outbox.servicenow.is_some() && outbox.jira.is_some());
        assert_eq!((outbox.teams.len(), outbox.webhooks.len()), (1, 1));
    }
}
