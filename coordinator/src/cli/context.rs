//! What every subcommand works with: the settings, the person's key, the clock, the way out to the
//! screen and the way in to the coordinator.

use std::cell::OnceCell;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use cutover_shared::dsse::Envelope;
use cutover_shared::fold::State;
use cutover_shared::key::{KeyError, SecretKey};
use cutover_shared::statement::Statement;
use cutover_shared::time::Time;
use cutover_transport::{CloseCode, Endpoint};

use super::client::Client;
use super::exit::Failure;
use super::output::{self, Sink};
use super::readable::readable;
use super::settings::{GlobalArgs, Settings};
use crate::clock;

/// The variable that a passphrase is taken from, so that programs can sign.
pub const PASSPHRASE: &str = "CUTOVER_PASSPHRASE";

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// What a subcommand works with.
pub struct Context {
    /// Flags, environment and configuration file, merged.
    pub settings: Settings,
    /// Programs read the output.
    pub json: bool,
    /// Sign without asking.
    pub yes: bool,
    /// Show, and do nothing.
    pub dry_run: bool,
    sink: Sink,
    key: OnceCell<SecretKey>,
    endpoint: OnceCell<Endpoint>,
}

impl Context {
    /// From the command line.
    pub fn new(args: &GlobalArgs) -> Result<Self, Failure> {
        Ok(Self {
            settings: Settings::load(args)?,
            json: args.json,
            yes: args.yes,
            dry_run: args.dry_run,
            sink: Sink::new(args.json),
            key: OnceCell::new(),
            endpoint: OnceCell::new(),
        })
    }

    /// Where results go.
    pub fn sink(&self) -> &Sink {
        &self.sink
    }

    /// The time.
    pub fn now(&self) -> Time {
        clock::now()
    }

    /// The person's secret key. A passphrase is asked for once.
    pub fn secret_key(&self) -> Result<&SecretKey, Failure> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let key = read_secret_key(self.settings.key()?)?;
        Ok(self.key.get_or_init(|| key))
    }

    /// Shows what will be signed and asks. `false` means that this is a dry run and nothing more is to be
    /// done; saying no is [`Failure::Declined`]. With `state`, digests of known things get their names.
    pub fn confirm(&self, statement: &Statement, state: Option<&State>) -> Result<bool, Failure> {
        self.confirm_beside(statement, state, None)
    }

    /// The same, with what is to be seen `beside` it.
    pub fn confirm_beside(
        &self,
        statement: &Statement,
        state: Option<&State>,
        beside: Option<&Beside>,
    ) -> Result<bool, Failure> {
        if self.dry_run {
            let mut value =
                serde_json::json!({ "dry-run": true, "statement": payload(statement)? });
            add(&mut value, beside);
            self.sink.result(&value, |_| {
                let shown = with(readable(statement, state), beside);
                format!("{shown}\nThis is a dry run: nothing was signed.")
            })?;
            return Ok(false);
        }
        self.show(beside);
        self.consent(|| readable(statement, state), "Sign this?")?;
        Ok(true)
    }

    /// What belongs beside a statement is shown to people even where they are not asked.
    fn show(&self, beside: Option<&Beside>) {
        if let Some(beside) = beside.filter(|_| !self.json) {
            self.sink.note(format!("{}\n", beside.text));
        }
    }

    /// Shows a text and asks, unless `--yes` was said. Saying no is [`Failure::Declined`].
    pub fn consent(&self, shown: impl FnOnce() -> String, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        self.sink.note(shown());
        match output::ask(question)? {
            Some(true) => Ok(()),
            Some(false) => Err(Failure::Declined),
            None => Err(Failure::usage("there is no terminal to ask at: say --yes to sign this")),
        }
    }

    /// Shows, asks, and signs with the person's key; `None` for a dry run.
    pub fn sign(
        &self,
        statement: &Statement,
        state: Option<&State>,
        beside: Option<&Beside>,
    ) -> Result<Option<Envelope>, Failure> {
        // The key first: nobody should read and agree only to hear that the key cannot be opened.
        let key = if self.dry_run { None } else { Some(self.secret_key()?) };
        let confirmed = self.confirm_beside(statement, state, beside)?;
        Ok(key.filter(|_| confirmed).map(|key| statement.signed_by([key])))
    }

    /// The same for several statements, which `shown` tells; `None` for a dry run.
    pub fn sign_each(
        &self,
        statements: &[Statement],
        shown: &str,
        beside: Option<&Beside>,
    ) -> Result<Option<Vec<Envelope>>, Failure> {
        if self.dry_run {
            let payloads: Result<Vec<_>, Failure> = statements.iter().map(payload).collect();
            let mut value = serde_json::json!({ "dry-run": true, "statements": payloads? });
            add(&mut value, beside);
            let shown = with(shown.to_owned(), beside);
            let text = |_: &_| format!("{shown}\nThis is a dry run: nothing was signed.");
            self.sink.result(&value, text)?;
            return Ok(None);
        }
        let key = self.secret_key()?;
        self.show(beside);
        self.consent(|| shown.to_owned(), "Sign all of these?")?;
        Ok(Some(statements.iter().map(|statement| statement.signed_by([key])).collect()))
    }

    /// Connects to the coordinator that the pinned policy names, as the holder of the person's key.
    pub async fn connect(&self) -> Result<Client, Failure> {
        Client::connect(self).await
    }

    /// The socket that connections are made from.
    pub(super) fn endpoint(&self) -> Result<&Endpoint, Failure> {
        if let Some(endpoint) = self.endpoint.get() {
            return Ok(endpoint);
        }
        let endpoint = cutover_transport::client_endpoint().context("open a socket")?;
        Ok(self.endpoint.get_or_init(|| endpoint))
    }

    /// Says goodbye, so that the coordinator need not wait for an answer that nobody will give.
    pub(super) async fn finish(&self) {
        if let Some(endpoint) = self.endpoint.get() {
            endpoint.close(CloseCode::Done.into(), b"");
            // A coordinator that is gone cannot be told; that is no reason to wait.
            let _ = tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await;
        }
    }
}

/// What is to be seen beside a statement before it is signed, and is no part of it.
#[derive(Debug, Clone)]
pub struct Beside {
    /// What it is called in what programs read.
    pub name: &'static str,
    /// For programs.
    pub value: serde_json::Value,
    /// For people.
    pub text: String,
}

fn with(shown: String, beside: Option<&Beside>) -> String {
    match beside {
        Some(beside) => format!("{}\n\n{shown}", beside.text),
        None => shown,
    }
}

fn add(value: &mut serde_json::Value, beside: Option<&Beside>) {
    if let Some(Beside { name, value: beside, .. }) = beside {
        value[*name] = beside.clone();
    }
}

/// The statement as JSON.
fn payload(statement: &Statement) -> Result<serde_json::Value, Failure> {
    Ok(serde_json::from_slice(&statement.to_payload()).context("read back a statement")?)
}

/// Reads a secret key's file; for an encrypted one the passphrase comes from the environment or the
/// terminal.
pub fn read_secret_key(path: &Path) -> Result<SecretKey, Failure> {
    let pem = std::fs::read_to_string(path);
    let pem = pem.with_context(|| format!("read the key {}", path.display()))?;
    let pem = zeroize::Zeroizing::new(pem);
    let opened = if SecretKey::is_encrypted(&pem) {
        let passphrase = passphrase(&format!("Passphrase of {}: ", path.display()))?;
        SecretKey::from_pem(&pem, Some(&passphrase))
    } else {
        SecretKey::from_pem(&pem, None)
    };
    opened.map_err(|error: KeyError| {
        Failure::Usage(
            anyhow::Error::new(error).context(format!("{} is not usable", path.display())),
        )
    })
}

/// A passphrase from the environment, or else from the terminal.
pub fn passphrase(prompt: &str) -> Result<zeroize::Zeroizing<String>, Failure> {
    let given = match std::env::var(PASSPHRASE) {
        Ok(passphrase) => Some(passphrase),
        Err(std::env::VarError::NotPresent) => output::ask_passphrase(prompt)?,
        Err(std::env::VarError::NotUnicode(_)) => {
            return Err(Failure::usage(format!("{PASSPHRASE} is not UTF-8")));
        }
    };
    let given = given.ok_or_else(|| {
        Failure::usage(format!(
            "there is no terminal to ask for the passphrase at: set {PASSPHRASE}"
        ))
    })?;
    Ok(zeroize::Zeroizing::new(given))
}
