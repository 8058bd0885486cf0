//! `cutover log`: the verified log itself, entry by entry, down to the signed bytes.

use anyhow::Context as _;
use clap::{ArgGroup, Args, Subcommand};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::fold::State;
use cutover_shared::key::KeyId;
use cutover_shared::log::{Frontier, leaf_hash};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::Statement;
use cutover_shared::time::Time;
use serde::Serialize;

use super::context::Context;
use super::exit::Failure;
use super::output::table;
use super::readable::{about, readable};
use super::sync::Synced;

/// Read and verify the log
#[derive(Debug, Clone, Subcommand)]
pub enum LogCommand {
    /// List entries: who said what about what, and what of it does not count
    #[command(after_help = "\
Examples:
  cutover log list
  cutover log list --from 120 --to 140 --json")]
    List(ListArgs),
    /// Show one entry, or exactly the bytes that were signed
    #[command(after_help = "\
Examples:
  cutover log show 12
  cutover log show 12 --pae > pae.bin; cutover log show 12 --signature > sig.bin
  openssl pkeyutl -verify -pubin -inkey alice.pem.pub -rawin -in pae.bin -sigfile sig.bin")]
    Show(ShowArgs),
    /// Verify the whole log against the coordinator's newest checkpoint
    #[command(after_help = "\
Examples:
  cutover log verify")]
    Verify,
}

/// `cutover log list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// First entry
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub from: u64,
    /// One past the last entry [default: the end]
    #[arg(long, value_name = "N")]
    pub to: Option<u64>,
}

/// `cutover log show`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("form"))]
pub struct ShowArgs {
    /// The entry's number
    #[arg(value_name = "N")]
    pub index: u64,
    /// Only what the signatures are over (DSSE pre-authentication encoding), as it is
    #[arg(long, group = "form")]
    pub pae: bool,
    /// Only the in-toto statement, as it is
    #[arg(long, group = "form")]
    pub payload: bool,
    /// Only the DSSE envelope, as it is
    #[arg(long, group = "form")]
    pub envelope: bool,
    /// Only the first signature's 64 bytes, as they are
    #[arg(long, group = "form")]
    pub signature: bool,
}

/// Carries the command out.
pub async fn run(context: &Context, command: &LogCommand) -> Result<(), Failure> {
    let synced = context.connect().await?.sync().await?;
    match command {
        LogCommand::List(args) => list(context, args, &synced),
        LogCommand::Show(args) => show(context, args, &synced),
        LogCommand::Verify => verify(context, &synced),
    }
}

/// One entry in a list.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line {
    index: u64,
    id: Option<Digest>,
    issued: Option<Time>,
    predicate: Option<String>,
    signers: Vec<Signer>,
    about: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignored: Option<Refusal>,
}

/// Whose signature an entry carries, as far as its key is known.
#[derive(Serialize)]
struct Signer {
    key: KeyId,
    name: Option<String>,
}

impl Line {
    fn of(synced: &Synced, index: u64) -> Result<Self, Failure> {
        let state = &synced.state;
        let ignored = state.ignored().iter().find(|(at, _)| *at == index);
        let mut line = Self {
            index,
            id: None,
            issued: None,
            predicate: None,
            signers: Vec::new(),
            about: String::new(),
            ignored: ignored.map(|(_, refusal)| refusal.clone()),
        };
        let Ok(envelope) = Envelope::parse(&synced.entry(index)?) else { return Ok(line) };
        line.id = Some(envelope.id());
        line.signers = signers(&envelope, state);
        if let Ok(statement) = Statement::read(&envelope) {
            line.issued = Some(statement.header.issued);
            line.predicate = Some(statement.says.predicate().to_string());
            line.about = about(&statement, state);
        }
        Ok(line)
    }

    fn row(&self) -> [String; 7] {
        let signers = self.signers.iter().map(Signer::text).collect::<Vec<_>>();
        [
            self.index.to_string(),
            self.issued.map(|time| time.to_string()).unwrap_or_default(),
            self.predicate.clone().unwrap_or_else(|| "?".to_owned()),
            signers.join(", "),
            self.about.clone(),
            self.id.map(|id| id.short()).unwrap_or_default(),
            self.ignored.as_ref().map(|it| format!("does not count: {it}")).unwrap_or_default(),
        ]
    }
}

impl Signer {
    fn text(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("key {}", self.key.short()))
    }
}

fn signers(envelope: &Envelope, state: &State) -> Vec<Signer> {
    let name = |key: &KeyId| {
        let person = state.policy().and_then(|policy| policy.document().entry(key));
        let host = state.host(key).map(|host| host.enrolment.says().host.to_string());
        person.map(|entry| entry.owner.to_string()).or(host)
    };
    let keys = envelope.signatures().iter().map(|(key, _)| *key);
    keys.map(|key| Signer { key, name: name(&key) }).collect()
}

fn list(context: &Context, args: &ListArgs, synced: &Synced) -> Result<(), Failure> {
    let to = args.to.unwrap_or(synced.head.size).min(synced.head.size);
    let lines = (args.from..to).map(|index| Line::of(synced, index));
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    context.sink().result(&lines, |lines| {
        let mut table = table(["entry", "issued", "says", "signed by", "about", "id", ""]);
        for line in lines {
            table.add_row(line.row());
        }
        table
    })
}

fn show(context: &Context, args: &ShowArgs, synced: &Synced) -> Result<(), Failure> {
    let bytes = synced.entry(args.index)?;
    if args.envelope {
        return context.sink().bytes(&bytes);
    }
    let envelope = synced.envelope(args.index)?;
    if args.pae {
        return context.sink().bytes(&envelope.pae());
    }
    if args.payload {
        return context.sink().bytes(envelope.payload());
    }
    if args.signature {
        let (_, signature) = envelope.signatures().first().expect("an envelope has a signature");
        return context.sink().bytes(signature);
    }
    let line = Line::of(synced, args.index)?;
    let payload = serde_json::from_slice::<serde_json::Value>(envelope.payload());
    let shown = serde_json::json!({ "entry": &line, "statement": payload.ok() });
    context.sink().result(&shown, |_| {
        let signers =
            line.signers.iter().map(|signer| format!("{} ({})", signer.text(), signer.key));
        let mut lines =
            vec![format!("entry     {}", line.index), format!("id        {}", envelope.id())];
        lines.extend(signers.map(|signer| format!("signed by {signer}")));
        let ignored = line.ignored.iter();
        lines.extend(ignored.map(|refusal| format!("This statement does not count: {refusal}")));
        lines.push(match Statement::read(&envelope) {
            Ok(statement) => readable(&statement, Some(&synced.state)),
            Err(error) => format!("It is no statement that is known here: {error}"),
        });
        lines.join("\n")
    })
}

/// The result of `verify`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Verified<'a> {
    origin: &'a str,
    entries: u64,
    root: Digest,
    checkpoint_time: Time,
    ignored: &'a [(u64, Refusal)],
}

/// Once more from the bytes on the disk, without the help of what was verified on the way.
fn verify(context: &Context, synced: &Synced) -> Result<(), Failure> {
    let mut frontier = Frontier::default();
    let mut state = State::empty();
    for index in 0..synced.head.size {
        let entry = synced.entry(index)?;
        frontier.append(leaf_hash(&entry));
        // What does not count is listed below.
        let _ = state.apply(index, &entry);
    }
    if frontier.head() != synced.head {
        let facts = "the entries do not have the root of the checkpoint";
        return Err(Refusal::new(Code::CheckpointInconsistent, facts).into());
    }
    let policy = state.policy().context("find a trust policy in the log")?;
    let verified = Verified {
        origin: &policy.document().log.origin,
        entries: synced.head.size,
        root: synced.head.root,
        checkpoint_time: synced.checkpoint.time,
        ignored: state.ignored(),
    };
    context.sink().result(&verified, |it| {
        let mut lines = vec![
            format!("log         {}", it.origin),
            format!("entries     {}", it.entries),
            format!("root        {}", it.root),
            format!("checkpoint  {}", it.checkpoint_time),
            format!("policy      version {}", policy.document().version),
        ];
        let ignored = it.ignored.iter();
        lines.extend(ignored.map(|(at, refusal)| format!("entry {at} does not count: {refusal}")));
        lines.push("The log is whole: every entry is under the checkpoint.".to_owned());
        lines.join("\n")
    })
}
