//! The outbox's ways out of the process: mail, webhooks, ServiceNow, Jira, and the ledger that remembers what
//! was delivered.
//!
//! What is told, to whom, and when it is tried again is decided in [`cutover_coordinator_core::outbox`]; the
//! server drives it (`server/outbox.rs`). Everything here is synchronous, bounded in time ([`ANSWER`]), and
//! done on threads that may wait. Whatever is sent carries its delivery's key, so that a second delivery can
//! be told from a second event: mail in its Message-ID, a webhook in its `webhook-id` and CloudEvents `id`; a
//! tracker is asked first whether it has the ticket already.

mod http;
mod jira;
mod ledger;
mod mail;
mod servicenow;
mod webhook;

use std::path::{Path, PathBuf};
use std::time::Duration;

use cutover_coordinator_core::outbox::{Destination, Failure, Mark, Message, Ticket};
use cutover_shared::digest::Digest;
use cutover_shared::time::Time;
use zeroize::Zeroizing;

use crate::config::{Login, OutboxSettings};
use crate::store::FileError;

use self::http::HttpError;
use self::jira::Jira;
use self::mail::{Mail, MailError};
use self::servicenow::ServiceNow;
use self::webhook::Webhook;

pub use self::ledger::{Ledger, LedgerReport};

/// How long another program may take to answer.
pub const ANSWER: Duration = Duration::from_secs(30);

/// Longest secret.
const MAX_SECRET: usize = 16 * 1024;

/// The outbox cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The ledger.
    #[error("open the ledger")]
    Ledger(#[from] FileError),
    /// A secret or certificate cannot be read.
    #[error("read {what} {}", path.display())]
    Read {
        /// What it should be.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A secret is not usable.
    #[error("use the secret {}: {fault}", path.display())]
    Secret {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// Certificates are not usable.
    #[error("use the certificates {}: PEM is expected, as -----BEGIN CERTIFICATE-----", .0.display())]
    Certificates(PathBuf),
    /// Mail.
    #[error("use the mail server")]
    Mail(#[from] MailError),
}

impl From<HttpError> for OutboxError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Certificates(path) => Self::Certificates(path),
            HttpError::Read(path, source) => Self::Read { what: "certificates", path, source },
        }
    }
}

/// Something that is to be sent, ready.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The delivery's key.
    pub key: Digest,
    /// The log that it tells of: its name.
    pub origin: String,
    /// The statement of what it is about: a release, or a policy.
    pub subject: Digest,
    /// When what it tells of was signed, or fell due.
    pub issued: Time,
    /// To whom.
    pub to: Destination,
    /// What.
    pub content: Content,
}

/// What is sent.
#[derive(Debug, Clone)]
pub enum Content {
    /// A message.
    Message(Box<Message>),
    /// The ticket as it should be.
    Ticket(Box<Ticket>),
}

/// Delivers parcels.
#[derive(Debug)]
pub struct Courier {
    mail: Option<Mail>,
    webhooks: Vec<Webhook>,
    servicenow: Option<ServiceNow>,
    jira: Option<Jira>,
}

/// Where a tracker had a thing the last time; see [`Mark::Known`].
pub type Known<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Courier {
    /// Reads every secret.
    pub fn open(settings: &OutboxSettings) -> Result<Self, OutboxError> {
        let webhooks = settings.webhooks.iter().map(Webhook::open);
        Ok(Self {
            mail: settings.mail.as_ref().map(Mail::open).transpose()?,
            webhooks: webhooks.collect::<Result<_, _>>()?,
            servicenow: settings.servicenow.as_ref().map(ServiceNow::open).transpose()?,
            jira: settings.jira.as_ref().map(Jira::open).transpose()?,
        })
    }

    /// The address that mail comes from.
    pub fn from(&self) -> Option<String> {
        self.mail.as_ref().map(Mail::from)
    }

    /// Delivers one parcel at `now`. `known` is what is remembered of its tracker; what is to be remembered,
    /// also when it fails, is added to `marks`.
    pub fn deliver(
        &self,
        parcel: &Parcel,
        now: Time,
        known: Known<'_>,
        marks: &mut Vec<Mark>,
    ) -> Result<(), Failure> {
        let gone = || Failure::Lasting {
            why: format!(
                "the configuration has no {} {} any more",
                parcel.to.channel(),
                parcel.to.recipient()
            ),
        };
        match (&parcel.to, &parcel.content) {
            (Destination::Mail { address, name }, Content::Message(message)) => {
                let mail = self.mail.as_ref().ok_or_else(gone)?;
                mail.send(parcel, (address, name.as_str()), message, now)
            }
            (Destination::Webhook(name), Content::Message(message)) => {
                let hook = self.webhooks.iter().find(|hook| hook.name() == name);
                hook.ok_or_else(gone)?.send(parcel, message, now)
            }
            (Destination::Tracker(name), Content::Ticket(ticket)) => match name.as_str() {
                crate::config::SERVICENOW => {
                    self.servicenow.as_ref().ok_or_else(gone)?.bring_up_to_date(ticket, now)
                }
                crate::config::JIRA => {
                    let jira = self.jira.as_ref().ok_or_else(gone)?;
                    jira.bring_up_to_date(ticket, now, known, marks)
                }
                _ => Err(gone()),
            },
            (
                Destination::Mail { .. } | Destination::Webhook(_) | Destination::Tracker(_),
                Content::Message(_) | Content::Ticket(_),
            ) => Err(gone()),
        }
    }
}

/// The text in a secret's file, without the end of its line.
fn read_secret(what: &'static str, path: &Path) -> Result<Zeroizing<String>, OutboxError> {
    let read = std::fs::read(path).map(Zeroizing::new);
    let bytes = read.map_err(|source| OutboxError::Read { what, path: path.to_owned(), source })?;
    let wrong = |fault| OutboxError::Secret { path: path.to_owned(), fault };
    if bytes.len() > MAX_SECRET {
        return Err(wrong("it is far too long"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is not UTF-8"))?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(wrong("it is empty"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// What the Authorization header says.
fn login(login: &Login) -> Result<Zeroizing<String>, OutboxError> {
    use base64::Engine as _;
    Ok(match login {
        Login::Basic(user, path) => {
            let password = read_secret("a password", path)?;
            let both = Zeroizing::new(format!("{user}:{}", password.as_str()));
            let encoded = base64::engine::general_purpose::STANDARD.encode(both.as_bytes());
            Zeroizing::new(format!("Basic {encoded}"))
        }
        Login::Bearer(path) => {
            let token = read_secret("a token", path)?;
            Zeroizing::new(format!("Bearer {}", token.as_str()))
        }
    })
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
