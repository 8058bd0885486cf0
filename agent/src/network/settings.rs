//! The configuration file, `agent.toml`, and the settings that it becomes.
//!
//! The file is read as plain TOML and looked through by hand, so that everything that is wrong with it
//! is told at once. Every key may be left out; paths that are not absolute are relative to the file.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::{Table, Value};
use tracing_subscriber::filter::{LevelFilter, Targets};

/// Where the applier listens.
const SOCKET: &str = "/run/cutover/applier.sock";

/// Where the transport key is kept.
const TRANSPORT_KEY: &str = "/var/lib/cutover-agent/transport.pem";

/// Where bytes that arrived are kept.
const SPOOL: &str = "/var/lib/cutover-agent/spool";

/// How much of them, in MiB: two or three ordinary packages.
const SPOOL_LIMIT_MIB: u64 = 4096;

/// Most that may be asked for in MiB, 16 TiB: beyond is a slip of the pen.
const SPOOL_LIMIT_MOST: u64 = 16 << 20;

/// What is logged.
const LEVEL: LevelFilter = LevelFilter::INFO;

/// Longest path of a Unix socket in bytes (`sun_path` without its final zero, unix(7)).
const SOCKET_PATH: usize = 107;

/// What the network half runs with. All of it is usable: [`Settings::parse`] refuses the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The applier's socket.
    pub socket: PathBuf,
    /// The transport key's file, made on the first start.
    pub transport_key: PathBuf,
    /// The spool's directory.
    pub spool: PathBuf,
    /// Most that the spool holds, in bytes.
    pub spool_limit: u64,
    /// How lines are logged.
    pub log_format: LogFormat,
    /// Which lines are logged: `info`, say, or `warn,cutover_agent=debug`.
    pub log_filter: Targets,
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
pub enum SettingsError {
    /// The file cannot be read.
    #[error("read {path:?}")]
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

impl Settings {
    /// The settings in the file `path`.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("")))
    }

    /// The settings that `text` says. Paths in it are relative to `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Self, SettingsError> {
        let mut top = Fragment::new("", text.parse::<Table>()?);
        let mut log = top.table("log");
        let settings = Self {
            socket: base.join(top.text("socket").unwrap_or_else(|| SOCKET.to_owned())),
            transport_key: base
                .join(top.text("transport-key").unwrap_or_else(|| TRANSPORT_KEY.to_owned())),
            spool: base.join(top.text("spool").unwrap_or_else(|| SPOOL.to_owned())),
            spool_limit: top.mebibytes("spool-limit-mib").unwrap_or(SPOOL_LIMIT_MIB) << 20,
            log_format: log.format("format").unwrap_or(LogFormat::Text),
            log_filter: log.filter("filter").unwrap_or_else(|| Targets::new().with_default(LEVEL)),
        };
        if settings.socket.as_os_str().len() > SOCKET_PATH {
            let fault = format!("a socket's path has at most {SOCKET_PATH} bytes");
            top.fault("socket", fault);
        }
        let mut faults = top.finish();
        faults.extend(log.finish());
        if faults.is_empty() { Ok(settings) } else { Err(SettingsError::Faults(faults)) }
    }
}

impl Default for Settings {
    /// What an empty file says.
    fn default() -> Self {
        Self::parse("", Path::new("")).expect("the defaults are good settings")
    }
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
                let found = other.type_str();
                self.fault(key, format!("a table is expected, not {found}"));
                Table::new()
            }
            None => Table::new(),
        };
        Self::new(&format!("{}{key}.", self.prefix), table)
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let value = self.table.remove(key)?;
        let found = value.type_str();
        if let Value::String(text) = value {
            if !text.is_empty() {
                return Some(text);
            }
            self.fault(key, "it is empty");
        } else {
            self.fault(key, format!("a text in quotes is expected, not {found}"));
        }
        None
    }

    fn mebibytes(&mut self, key: &str) -> Option<u64> {
        let value = self.table.remove(key)?;
        let number = value.as_integer().and_then(|it| u64::try_from(it).ok());
        match number {
            Some(number) if number <= SPOOL_LIMIT_MOST => Some(number),
            Some(_) | None => {
                self.fault(
                    key,
                    format!("a whole number of MiB from 0 to {SPOOL_LIMIT_MOST} is expected"),
                );
                None
            }
        }
    }

    fn format(&mut self, key: &str) -> Option<LogFormat> {
        match self.text(key)?.as_str() {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            other => {
                self.fault(key, format!("\"text\" or \"json\" is expected, not {other:?}"));
                None
            }
        }
    }

    fn filter(&mut self, key: &str) -> Option<Targets> {
        let filter = self.text(key)?;
        match filter.parse() {
            Ok(filter) => Some(filter),
            Err(error) => {
                self.fault(key, format!("{filter:?} is not a filter: {error}"));
                None
            }
        }
    }

    fn finish(mut self) -> Vec<Fault> {
        let unknown: Vec<String> = self.table.keys().cloned().collect();
        for key in unknown {
            self.fault(&key, "there is no such setting");
        }
        self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        match Settings::parse(text, Path::new("/etc/cutover")) {
            Err(SettingsError::Faults(faults)) => faults.iter().map(|it| it.key.clone()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_empty_file_says_the_defaults() {
        let settings = Settings::parse("", Path::new("/etc/cutover")).unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.socket, Path::new(SOCKET));
        assert_eq!(settings.spool_limit, 4 << 30);
    }

    #[test]
    fn everything_can_be_said() {
        let text = r#"
            socket = "applier.sock"
            transport-key = "/keys/transport.pem"
            spool = "spool"
            spool-limit-mib = 0

            [log]
            format = "json"
            filter = "warn,cutover_agent=debug"
        "#;
        let settings = Settings::parse(text, Path::new("/etc/cutover")).unwrap();
        assert_eq!(
            settings,
            Settings {
                socket: "/etc/cutover/applier.sock".into(),
                transport_key: "/keys/transport.pem".into(),
                spool: "/etc/cutover/spool".into(),
                spool_limit: 0,
                log_format: LogFormat::Json,
                log_filter: "warn,cutover_agent=debug".parse().unwrap(),
            }
        );
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let text = r#"
            socket = 7
            transport-key = ""
            spool-limit-mib = -1
            coordinator = "elsewhere:7400"

            [log]
            format = "xml"
            filter = "web=loud"
            colour = true
        "#;
        assert_eq!(
            faults(text),
            [
                "socket",
                "transport-key",
                "spool-limit-mib",
                "coordinator",
                "log.format",
                "log.filter",
                "log.colour"
            ]
        );
        assert_eq!(faults("log = 1"), ["log"]);
        assert_eq!(faults(&format!("socket = \"/{}\"", "x".repeat(120))), ["socket"]);
        assert!(matches!(Settings::parse("socket", Path::new("")), Err(SettingsError::Syntax(_))));
    }
}
