//! The tables below `[outbox]`: where people and other programs are told of what was logged.
//!
//! Secrets are never in the configuration itself, which many may read: it names the files that they are in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use cutover_coordinator_core::outbox::{Limits, Routes, Team, Webhook, What};
use cutover_shared::calendar::zone::Zone;
use cutover_shared::name::Name;
use cutover_shared::policy::Scope;
use cutover_shared::time::span;
use toml::{Table, Value};

use super::{Fault, Fragment};

/// What a coordinator with an outbox tells whom, and how it reaches them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxSettings {
    /// `zone`: in whose time windows are told besides UTC, where neither booking nor calendar says it.
    pub zone: Zone,
    /// `catch-up`: where no ledger is found, so far back is told again.
    pub catch_up: Duration,
    /// `attempts`, `first-wait`, `longest-wait`: how deliveries that failed are tried again.
    pub limits: Limits,
    /// `[outbox.mail]`.
    pub mail: Option<MailSettings>,
    /// `[[outbox.team]]`.
    pub teams: Vec<Team>,
    /// `[[outbox.webhook]]`.
    pub webhooks: Vec<WebhookSettings>,
    /// `[outbox.servicenow]`.
    pub servicenow: Option<ServiceNowSettings>,
    /// `[outbox.jira]`.
    pub jira: Option<JiraSettings>,
}

impl OutboxSettings {
    /// Where messages go.
    pub fn routes(&self) -> Routes {
        let webhook =
            |it: &WebhookSettings| Webhook { name: it.name.clone(), events: it.events.clone() };
        let servicenow = self.servicenow.as_ref().map(|_| tracker(SERVICENOW));
        let jira = self.jira.as_ref().map(|_| tracker(JIRA));
        Routes {
            mail: self.mail.is_some(),
            teams: self.teams.clone(),
            webhooks: self.webhooks.iter().map(webhook).collect(),
            trackers: servicenow.into_iter().chain(jira).collect(),
        }
    }
}

/// What the ServiceNow instance is called in deliveries.
pub const SERVICENOW: &str = "servicenow";

/// What Jira is called in deliveries.
pub const JIRA: &str = "jira";

fn tracker(name: &str) -> Name {
    name.parse().expect("it is a name")
}

/// How mail is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailSettings {
    /// `server`: host and port of the mail server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `security`.
    pub security: MailSecurity,
    /// `from`: the address that mail comes from.
    pub from: lettre::message::Mailbox,
    /// `user` and `password-file`.
    pub login: Option<(String, PathBuf)>,
    /// `ca-file`: PEM certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailSecurity {
    /// `starttls`: it begins in clear text and is never used before it is encrypted (RFC 3207).
    StartTls,
    /// `wrapper`: it is encrypted from the first byte (RFC 8314).
    Wrapper,
    /// `clear-text`: anybody on the way reads and changes it. For a server on this very machine.
    ClearText,
}

/// A program that is told by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// `name`: what it is called in `cutover outbox`.
    pub name: Name,
    /// `url`, `transport`, `ca-file`.
    pub endpoint: EndpointSettings,
    /// `secret-file`: the secret that both sides know, at least 16 bytes.
    pub secret_file: PathBuf,
    /// `events`: what it is told of; empty means everything.
    pub events: BTreeSet<What>,
}

/// An HTTP interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSettings {
    /// `url`: `https://`, or `http://` with `transport = "clear-text"`; without a slash at its end.
    pub url: String,
    /// `ca-file`: PEM certificates that are trusted in the place of the well-known ones.
    pub ca_file: Option<PathBuf>,
}

/// A ServiceNow instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceNowSettings {
    /// `url`, `transport`, `ca-file`.
    pub endpoint: EndpointSettings,
    /// `user` and `password-file`, or `token-file`.
    pub login: Login,
}

/// A Jira site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JiraSettings {
    /// `url`, `transport`, `ca-file`.
    pub endpoint: EndpointSettings,
    /// `user` and `password-file` (in the cloud: an API token), or `token-file`.
    pub login: Login,
    /// `api`.
    pub api: JiraApi,
    /// `project`: the key of the project that the tickets are in.
    pub project: String,
    /// `change-type`: the issue type of a release; by default `Task`.
    pub change_type: String,
    /// `task-type`: the issue type of its tasks; by default `Sub-task`.
    pub task_type: String,
    /// `search-lag`: how long its search may not know of an issue that was just made; by default a minute.
    pub search_lag: Duration,
}

/// Which of Jira's interfaces a site has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JiraApi {
    /// `cloud-3`: REST version 3, where texts are documents and search is token-paged.
    Cloud3,
    /// `data-center-2`: REST version 2.
    DataCenter2,
}

/// Who we are to an HTTP interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// HTTP Basic, the password in a file.
    Basic(String, PathBuf),
    /// A bearer token in a file.
    Bearer(PathBuf),
}

/// The settings that the table says; `None` where there is none. Paths are relative to `base`.
pub(super) fn parse(table: Option<Value>, base: &Path) -> (Option<OutboxSettings>, Vec<Fault>) {
    let Some(value) = table else { return (None, Vec::new()) };
    let mut outer = Fragment::new("", Table::from_iter([("outbox".to_owned(), value)]));
    let mut top = outer.table("outbox");
    let mut faults = outer.finish();
    let zone = top.text("zone").unwrap_or_else(|| "UTC".to_owned());
    let zone = Zone::find(&zone).unwrap_or_else(|error| {
        top.fault("zone", error.to_string());
        Zone::utc()
    });
    let catch_up = top.span("catch-up", Duration::from_hours(24));
    let limits = limits(&mut top);
    let mail = top.optional_table("mail").map(|table| mail(table, base, &mut faults));
    let teams = top.tables("team").into_iter();
    let teams: Vec<_> = teams.map(|table| team(table, &mut faults)).collect();
    let webhooks = top.tables("webhook").into_iter();
    let webhooks: Vec<_> = webhooks.map(|table| webhook(table, base, &mut faults)).collect();
    let servicenow = top.optional_table("servicenow").map(|mut table| {
        let endpoint = endpoint(&mut table, base);
        let login = login(&mut table, base);
        faults.extend(table.finish());
        Some(ServiceNowSettings { endpoint: endpoint?, login: login? })
    });
    let jira = top.optional_table("jira").map(|table| jira(table, base, &mut faults));
    if mail.is_none() && !teams.is_empty() {
        top.fault("team", "teams are told by mail: [outbox.mail] is missing");
    }
    let mut names = BTreeSet::new();
    for hook in webhooks.iter().flatten() {
        if !names.insert(&hook.name) {
            top.fault("webhook", format!("two are called {}", hook.name));
        }
    }
    faults.extend(top.finish());
    let settings = OutboxSettings {
        zone,
        catch_up,
        limits,
        mail: mail.flatten(),
        teams: teams.into_iter().flatten().collect(),
        webhooks: webhooks.into_iter().flatten().collect(),
        servicenow: servicenow.flatten(),
        jira: jira.flatten(),
    };
    (faults.is_empty().then_some(settings), faults)
}

fn limits(top: &mut Fragment) -> Limits {
    let attempts = top.number("attempts", 20, 1..=1000);
    let first_wait = top.span("first-wait", Duration::from_secs(5));
    let longest_wait = top.span("longest-wait", Duration::from_hours(1));
    if first_wait.is_zero() || first_wait > longest_wait {
        top.fault(
            "first-wait",
            "it has to be longer than nothing, and no longer than longest-wait",
        );
    }
    Limits { attempts, first_wait, longest_wait }
}

fn mail(mut table: Fragment, base: &Path, faults: &mut Vec<Fault>) -> Option<MailSettings> {
    let server = table.required("server");
    let server = server.and_then(|server| {
        let parts = server.rsplit_once(':').and_then(|(host, port)| {
            Some((host.to_owned(), port.parse::<u16>().ok()?)).filter(|_| !host.is_empty())
        });
        if parts.is_none() {
            table.fault("server", "a host and a port are expected, as smtp.example.org:587");
        }
        parts
    });
    let security = table.choice(
        "security",
        &[
            ("starttls", MailSecurity::StartTls),
            ("wrapper", MailSecurity::Wrapper),
            ("clear-text", MailSecurity::ClearText),
        ],
    );
    let from = table.parsed("from", "a mail address, as Cutover <cutover@example.org>");
    let user = table.text("user");
    let password = table.text("password-file").map(|it| base.join(it));
    if user.is_some() != password.is_some() {
        table.fault("user", "user and password-file go together");
    }
    if user.is_some() && security == Some(MailSecurity::ClearText) {
        table.fault("user", "a password is not sent in clear text: use starttls or wrapper");
    }
    let ca_file = table.text("ca-file").map(|it| base.join(it));
    faults.extend(table.finish());
    let (host, port) = server?;
    let login = user.zip(password);
    Some(MailSettings { host, port, security: security?, from: from?, login, ca_file })
}

fn team(mut table: Fragment, faults: &mut Vec<Fault>) -> Option<Team> {
    let name = table.parsed("name", "a name, as web-operations");
    let address = table.parsed::<lettre::Address>("e-mail", "a mail address, as web@example.org");
    let scope = |names: Vec<Name>| {
        if names.is_empty() { Scope::All } else { Scope::Only(names.into_iter().collect()) }
    };
    let applications = scope(table.list("applications", "names"));
    let environments = scope(table.list("environments", "names"));
    let events = table.events();
    faults.extend(table.finish());
    let address = address?.to_string();
    Some(Team { name: name?, address, applications, environments, events })
}

fn webhook(mut table: Fragment, base: &Path, faults: &mut Vec<Fault>) -> Option<WebhookSettings> {
    let name = table.parsed("name", "a name, as chat");
    let endpoint = endpoint(&mut table, base);
    let secret = table.required("secret-file").map(|it| base.join(it));
    let events = table.events();
    faults.extend(table.finish());
    Some(WebhookSettings { name: name?, endpoint: endpoint?, secret_file: secret?, events })
}

fn jira(mut table: Fragment, base: &Path, faults: &mut Vec<Fault>) -> Option<JiraSettings> {
    let endpoint = endpoint(&mut table, base);
    let login = login(&mut table, base);
    let api = table
        .choice("api", &[("cloud-3", JiraApi::Cloud3), ("data-center-2", JiraApi::DataCenter2)]);
    let project = table.required("project");
    // It is written into queries.
    let plain = |key: &String| key.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
    if project.as_ref().is_some_and(|key| !plain(key)) {
        table.fault("project", "the key of a project is expected, as CHG");
    }
    let change_type = table.text("change-type").unwrap_or_else(|| "Task".to_owned());
    let task_type = table.text("task-type").unwrap_or_else(|| "Sub-task".to_owned());
    let search_lag = table.span("search-lag", Duration::from_mins(1));
    faults.extend(table.finish());
    Some(JiraSettings {
        endpoint: endpoint?,
        login: login?,
        api: api?,
        project: project?,
        change_type,
        task_type,
        search_lag,
    })
}

fn endpoint(table: &mut Fragment, base: &Path) -> Option<EndpointSettings> {
    let url = table.required("url");
    let transport = match table.text("transport").as_deref() {
        None | Some("tls") => "https://",
        Some("clear-text") => "http://",
        Some(other) => {
            table.fault(
                "transport",
                format!("\"tls\" or \"clear-text\" is expected, not {other:?}"),
            );
            ""
        }
    };
    let ca_file = table.text("ca-file").map(|it| base.join(it));
    let url = url?;
    let host = url.strip_prefix(transport).unwrap_or_default();
    if host.is_empty() || host.contains(['?', '#', ' ']) {
        table.fault(
            "url",
            format!("an address that begins with {transport} is expected, not {url:?}"),
        );
        return None;
    }
    Some(EndpointSettings { url: url.trim_end_matches('/').to_owned(), ca_file })
}

fn login(table: &mut Fragment, base: &Path) -> Option<Login> {
    let user = table.text("user");
    let password = table.text("password-file").map(|it| base.join(it));
    let token = table.text("token-file").map(|it| base.join(it));
    match (user, password, token) {
        (Some(user), Some(password), None) => Some(Login::Basic(user, password)),
        (None, None, Some(token)) => Some(Login::Bearer(token)),
        _ => {
            table.fault("user", "either user and password-file, or token-file is expected");
            None
        }
    }
}

impl Fragment {
    fn optional_table(&mut self, key: &str) -> Option<Self> {
        self.table.contains_key(key).then(|| self.table(key))
    }

    /// The tables of a list of them.
    fn tables(&mut self, key: &str) -> Vec<Self> {
        let prefix = format!("{}{key}", self.prefix);
        let tables = match self.table.remove(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => vec![other],
        };
        let mut fragments = Vec::new();
        let mut wrong = false;
        for (number, table) in tables.into_iter().enumerate() {
            if let Value::Table(table) = table {
                fragments.push(Self::new(&format!("{prefix} {}: ", number + 1), table));
            } else {
                wrong = true;
            }
        }
        if wrong {
            self.fault(key, format!("tables are expected: [[{prefix}]]"));
        }
        fragments
    }

    fn span(&mut self, key: &str, default: Duration) -> Duration {
        let Some(text) = self.text(key) else { return default };
        span::parse(&text).unwrap_or_else(|fault| {
            self.fault(key, fault);
            default
        })
    }

    fn number(&mut self, key: &str, default: u32, range: std::ops::RangeInclusive<u32>) -> u32 {
        let Some(value) = self.table.remove(key) else { return default };
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
        number.filter(|number| range.contains(number)).unwrap_or_else(|| {
            let (first, last) = (range.start(), range.end());
            self.fault(key, format!("a number from {first} to {last} is expected, not {value}"));
            default
        })
    }

    fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.required(key)?;
        let found = choices.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            self.fault(key, format!("one of {} is expected, not {text:?}", words.join(", ")));
        }
        found.map(|(_, choice)| *choice)
    }

    fn list<T: FromStr>(&mut self, key: &str, expected: &str) -> Vec<T> {
        let Some(value) = self.table.remove(key) else { return Vec::new() };
        let items = value.as_array().map(|items| {
            items.iter().map(|item| item.as_str()?.parse().ok()).collect::<Option<Vec<T>>>()
        });
        items.flatten().filter(|items| !items.is_empty()).unwrap_or_else(|| {
            self.fault(key, format!("a list of {expected} is expected, not {value}"));
            Vec::new()
        })
    }

    fn events(&mut self) -> BTreeSet<What> {
        let words: Vec<String> = self.list("events", "words");
        let mut events = BTreeSet::new();
        for word in words {
            match What::ALL.iter().find(|what| what.name() == word) {
                Some(what) => {
                    events.insert(*what);
                }
                None => {
                    let known: Vec<_> = What::ALL.iter().map(|what| what.name()).collect();
                    let known = known.join(", ");
                    self.fault("events", format!("{word:?} is no event: there are {known}"));
                }
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ConfigError, parse, tests::LEAST};
    use super::*;

    fn outbox(text: &str) -> Result<OutboxSettings, Vec<String>> {
        match parse(&format!("{LEAST}{text}"), Path::new("/base")) {
            Ok(settings) => Ok(settings.outbox.expect("there is a table")),
            Err(ConfigError::Faults(faults)) => {
                Err(faults.iter().map(|fault| fault.key.clone()).collect())
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn an_empty_table_has_defaults_and_tells_nobody() {
        let settings = outbox("[outbox]\n").unwrap();
        assert_eq!(settings.routes(), Routes::default());
        assert_eq!(settings.limits.attempts, 20);
        assert!(parse(LEAST, Path::new("")).unwrap().outbox.is_none());
    }

    #[test]
    fn everything_can_be_said() {
        let text = "[outbox]\nzone = \"America/New_York\"\ncatch-up = \"2d\"\nattempts = 3\n\
             [outbox.mail]\nserver = \"smtp.example.org:587\"\nsecurity = \"starttls\"\n\
             from = \"Cutover <cutover@example.org>\"\nuser = \"c\"\npassword-file = \"p\"\n\
             [[outbox.team]]\nname = \"web\"\ne-mail = \"web@example.org\"\nenvironments = [\"staging\"]\n\
             [[outbox.webhook]]\nname = \"chat\"\nurl = \"https://chat.example.org/in/\"\n\
             secret-file = \"s\"\nevents = [\"booked\", \"went-back\"]\n\
             [outbox.servicenow]\nurl = \"https://x.example.org\"\nuser = \"c\"\npassword-file = \"/p\"\n\
             [outbox.jira]\nurl = \"http://localhost:1\"\ntransport = \"clear-text\"\n\
             token-file = \"t\"\napi = \"data-center-2\"\nproject = \"CHG\"\n";
        let settings = outbox(text).unwrap();
        let routes = settings.routes();
        assert!(routes.mail);
        assert_eq!(
            routes.trackers.iter().map(Name::as_str).collect::<Vec<_>>(),
            ["servicenow", "jira"]
        );
        assert_eq!(routes.teams[0].applications, Scope::All);
        assert_eq!(routes.webhooks[0].events, BTreeSet::from([What::Booked, What::WentBack]));
        assert_eq!(settings.webhooks[0].endpoint.url, "https://chat.example.org/in");
        assert_eq!(settings.webhooks[0].secret_file, Path::new("/base/s"));
        assert_eq!(settings.mail.unwrap().port, 587);
        assert_eq!(settings.jira.unwrap().login, Login::Bearer(PathBuf::from("/base/t")));
    }

    #[test]
    fn every_fault_is_told_with_its_table() {
        let text = "[outbox]\nzone = \"Moon/Crater\"\nattempts = 0\nfirst-wait = \"2h\"\ncolour = 1\n\
             [outbox.mail]\nserver = \"smtp\"\nsecurity = \"none\"\nfrom = \"me\"\nuser = \"c\"\n\
             [[outbox.team]]\nname = \"web\"\ne-mail = \"nowhere\"\n\
             [[outbox.webhook]]\nname = \"chat\"\nurl = \"http://chat.example.org\"\nsecret-file = \"s\"\n\
             events = [\"born\"]\n[outbox.jira]\nurl = \"https://x\"\nproject = \"A B\"\n";
        assert_eq!(
            outbox(text).unwrap_err(),
            [
                "outbox.mail.server",
                "outbox.mail.security",
                "outbox.mail.from",
                "outbox.mail.user",
                "outbox.team 1: e-mail",
                "outbox.webhook 1: url",
                "outbox.webhook 1: events",
                "outbox.jira.user",
                "outbox.jira.api",
                "outbox.jira.project",
                "outbox.zone",
                "outbox.attempts",
                "outbox.first-wait",
                "outbox.colour",
            ]
        );
        let text = "[[outbox.team]]\nname = \"web\"\ne-mail = \"web@example.org\"\n";
        assert_eq!(outbox(text).unwrap_err(), ["outbox.team"]);
        let clear = "[outbox.mail]\nserver = \"s:25\"\nsecurity = \"clear-text\"\nfrom = \"a@b.org\"\n\
             user = \"c\"\npassword-file = \"p\"\n";
        assert_eq!(outbox(clear).unwrap_err(), ["outbox.mail.user"]);
    }
}
