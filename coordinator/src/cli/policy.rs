//! `cutover policy`: the trust policy, from a commented file to a version in force.
//!
//! The file is edited as TOML ([`draft`]); the first root holder's signature makes an envelope of it, the
//! next ones add theirs to the same envelope. Nothing here needs the coordinator but `install`, and `show`
//! without a file.

mod draft;
mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::name::Name;
use cutover_shared::policy::{KeyEntry, KeyStatus, PolicyDocument, Role, TrustPolicy};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{PAYLOAD_TYPE, Says, Statement};
use cutover_shared::time::span;
use serde::Serialize;

pub(super) use self::draft::write_whole;
use self::draft::{Draft, log_key, scope};
use super::client::Appended;
use super::context::Context;
use super::exit::Failure;
use super::key::read_public_key;

/// Write, sign, check and install trust policies
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyCommand {
    /// Write a policy to start from: strict rules for staging and production, commented
    #[command(after_help = "\
Examples:
  cutover policy init --example --origin cutover.example.org/log --log-key log.pem.pub --output policy.toml")]
    Init(InitArgs),
    /// Add somebody's key with roles
    #[command(after_help = "\
Examples:
  cutover policy add-key policy.toml --owner alice --email alice@example.org --role submitter --key alice.pem.pub
  cutover policy add-key policy.toml --owner otto --email otto@example.org --role operator --environment staging --key otto.pem.pub")]
    AddKey(AddKeyArgs),
    /// Sign a policy: .toml starts a signed policy, .json adds a signature to one
    #[command(after_help = "\
Examples:
  cutover policy sign policy.toml --key ruth.pem --output policy.json
  cutover policy sign policy.json --key rob.pem --output policy.json")]
    Sign(SignArgs),
    /// Check a signed policy: its rules, its signatures, and that it follows the one before
    #[command(after_help = "\
Examples:
  cutover policy verify policy.json
  cutover policy verify policy-2.json --after policy.json")]
    Verify(VerifyArgs),
    /// Put the next version in force: append it to the log
    #[command(after_help = "\
Examples:
  cutover policy install policy-2.json")]
    Install(InstallArgs),
    /// Show a policy: the one in force, or a file
    #[command(after_help = "\
Examples:
  cutover policy show
  cutover policy show policy.toml --json")]
    Show(ShowArgs),
}

/// `cutover policy init`.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// Begin with the strict default, the one template that there is
    #[arg(long)]
    pub example: bool,
    /// Name of the log: a URL without scheme
    #[arg(long, value_name = "NAME")]
    pub origin: String,
    /// The public key of the coordinator's log
    #[arg(long, value_name = "FILE.pub")]
    pub log_key: PathBuf,
    /// How long the policy is good
    #[arg(long, default_value = "365d", value_parser = span::parse, value_name = "DURATION")]
    pub expires_in: Duration,
    /// How many root owners must sign
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub root_threshold: u32,
    /// The file to make
    #[arg(long, short, value_name = "FILE.toml")]
    pub output: PathBuf,
}

/// `cutover policy add-key`.
#[derive(Debug, Clone, Args)]
pub struct AddKeyArgs {
    /// The policy
    #[arg(value_name = "FILE.toml")]
    pub file: PathBuf,
    /// Whose key it is; thresholds and duties count owners
    #[arg(long)]
    pub owner: Name,
    /// Where the owner is told
    #[arg(long, value_name = "ADDRESS")]
    pub email: String,
    /// What the key may sign; several times for several roles
    #[arg(
        long = "role",
        required_unless_present = "departments",
        value_parser = roles(),
        value_name = "ROLE"
    )]
    pub roles: Vec<Role>,
    /// The owner speaks for this department; several times for several
    #[arg(long = "department", value_name = "NAME")]
    pub departments: Vec<Name>,
    /// The public key
    // The same name as everybody's own --key, in the place of which it stands here.
    #[arg(long, value_name = "FILE.pub")]
    pub key: PathBuf,
    /// Only for this application; several times for several [default: all]
    #[arg(long = "application", value_name = "NAME")]
    pub applications: Vec<Name>,
    /// Only in this environment; several times for several [default: all]
    #[arg(long = "environment", value_name = "NAME")]
    pub environments: Vec<Name>,
}

/// `cutover policy sign`.
#[derive(Debug, Clone, Args)]
pub struct SignArgs {
    /// The policy: .toml to begin, .json to add a signature
    pub file: PathBuf,
    /// The signed policy [default: FILE with the ending .json]
    #[arg(long, short, value_name = "FILE.json")]
    pub output: Option<PathBuf>,
}

/// `cutover policy verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// The signed policy
    #[arg(value_name = "FILE.json")]
    pub file: PathBuf,
    /// The version before, which must be trusted already
    #[arg(long, value_name = "FILE.json")]
    pub after: Option<PathBuf>,
}

/// `cutover policy install`.
#[derive(Debug, Clone, Args)]
pub struct InstallArgs {
    /// The signed policy
    #[arg(value_name = "FILE.json")]
    pub file: PathBuf,
}

/// `cutover policy show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// A policy, signed or not [default: the one in force]
    pub file: Option<PathBuf>,
}

const ROLES: [Role; 7] = [
    Role::Root,
    Role::Submitter,
    Role::Librarian,
    Role::Security,
    Role::Board,
    Role::ChangeManager,
    Role::Operator,
];

fn roles() -> impl clap::builder::TypedValueParser<Value = Role> {
    PossibleValuesParser::new(ROLES.map(Role::name)).try_map(|name| {
        let role = ROLES.into_iter().find(|role| role.name() == name);
        role.ok_or_else(|| format!("{name} is not a role"))
    })
}

/// Carries the command out.
pub async fn run(context: &Context, command: &PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Init(args) => init(context, args),
        PolicyCommand::AddKey(args) => add_key(context, args),
        PolicyCommand::Sign(args) => sign(context, args),
        PolicyCommand::Verify(args) => verify(context, args),
        PolicyCommand::Install(args) => install(context, args).await,
        PolicyCommand::Show(args) => show(context, args).await,
    }
}

fn init(context: &Context, args: &InitArgs) -> Result<(), Failure> {
    if !args.example {
        return Err(Failure::usage("there is one template: say --example"));
    }
    if args.output.exists() {
        return Err(Failure::usage(format!("{} is there already", args.output.display())));
    }
    let log = log_key(&args.origin, read_public_key(&args.log_key)?);
    let draft = Draft::example(&log, context.now() + args.expires_in, args.root_threshold);
    written(context, &draft, &args.output, || {
        format!(
            "{} was written. Add people next:\n  cutover policy add-key {0} --owner NAME --email ADDRESS \
             --role root --key FILE.pub",
            args.output.display()
        )
    })
}

fn add_key(context: &Context, args: &AddKeyArgs) -> Result<(), Failure> {
    let mut draft = Draft::read(&args.file)?;
    let entry = KeyEntry {
        owner: args.owner.clone(),
        email: args.email.clone(),
        key: read_public_key(&args.key)?,
        roles: args.roles.iter().copied().collect(),
        applications: scope(&args.applications),
        environments: scope(&args.environments),
        status: KeyStatus::Active,
    };
    draft.add(&entry)?;
    for department in &args.departments {
        draft.add_speaker(department, &args.owner)?;
    }
    // What cannot be read back must not be written.
    draft.unchecked()?;
    written(context, &draft, &args.file, || {
        let roles = entry.roles.iter().map(|role| role.name().to_owned());
        let speaks = args.departments.iter().map(|it| format!("speaks for {it}"));
        let can = roles.chain(speaks).collect::<Vec<_>>().join(", ");
        format!("key {} was added: {}, {can}", entry.key.id(), entry.owner)
    })
}

fn written(
    context: &Context,
    draft: &Draft,
    path: &Path,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    if context.dry_run {
        let json = serde_json::json!({ "dry-run": true, "policy": draft.text() });
        return context.sink().result(&json, |_| draft.text());
    }
    draft.write(path)?;
    context.sink().result(&serde_json::json!({ "file": path }), |_| text())
}

fn sign(context: &Context, args: &SignArgs) -> Result<(), Failure> {
    let output = args.output.clone().unwrap_or_else(|| args.file.with_extension("json"));
    let (mut envelope, document) = if is_draft(&args.file) {
        if output.exists() {
            return Err(Failure::usage(format!(
                "{} is there already: sign that, or choose another --output",
                output.display()
            )));
        }
        let document = Draft::read(&args.file)?.policy()?;
        let statement = Statement::new(context.now(), document.clone());
        (Envelope::unsigned(PAYLOAD_TYPE, statement.to_payload()), document)
    } else {
        let (envelope, document) = read_signed(&args.file)?;
        (envelope, document)
    };
    if context.dry_run {
        let json = serde_json::json!({ "dry-run": true, "policy": document });
        return context.sink().result(&json, |_| table::text(&document));
    }
    let key = context.secret_key()?;
    context.consent(|| table::text(&document), "Sign this policy?")?;
    envelope.sign(key);
    write_whole(&output, &envelope.to_bytes())?;
    let id = key.public().id();
    if !document.entry(&id).is_some_and(|entry| entry.roles.contains(&Role::Root)) {
        context.sink().note(format!(
            "note: the key {} is no root key of this policy; the signature counts only if it is one of \
             the version before",
            id.short()
        ));
    }
    let signed = Signed::of(&envelope, &document)?;
    context.sink().result(&signed, |signed| {
        format!("policy  {}\n{}\nfile    {}", signed.id, signed.line(), output.display())
    })
}

/// How far a policy is signed.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Signed {
    id: Digest,
    version: u64,
    root_threshold: u32,
    #[serde(rename = "signed-by")]
    owners: BTreeSet<Name>,
}

impl Signed {
    fn of(envelope: &Envelope, document: &PolicyDocument) -> Result<Self, Failure> {
        let signers = envelope
            .valid_signers(|id| document.entry(id).map(|entry| entry.key.clone()))
            .map_err(|error| Refusal::new(Code::SignatureInvalid, error.to_string()))?;
        let roots = signers.iter().filter_map(|id| document.entry(id));
        let roots =
            roots.filter(|it| it.status == KeyStatus::Active && it.roles.contains(&Role::Root));
        Ok(Self {
            id: envelope.id(),
            version: document.version,
            root_threshold: document.root_threshold,
            owners: roots.map(|entry| entry.owner.clone()).collect(),
        })
    }

    fn line(&self) -> String {
        let owners: Vec<_> = self.owners.iter().map(Name::as_str).collect();
        format!(
            "signed  by {} of the {} root owners that version {} needs{}{}",
            owners.len(),
            self.root_threshold,
            self.version,
            if owners.is_empty() { "" } else { ": " },
            owners.join(", ")
        )
    }
}

fn verify(context: &Context, args: &VerifyArgs) -> Result<(), Failure> {
    let (envelope, document) = read_signed(&args.file)?;
    let policy = match &args.after {
        Some(before) => {
            let (before, _) = read_signed(before)?;
            TrustPolicy::pinned(&before, &before.id())?.successor(&envelope)?
        }
        None => TrustPolicy::pinned(&envelope, &envelope.id())?,
    };
    let signed = Signed::of(&envelope, &document)?;
    context.sink().result(&signed, |signed| {
        let expires = policy.document().expires;
        format!("policy  {}\n{}\nexpires {expires}\nThe policy is good.", signed.id, signed.line())
    })
}

async fn install(context: &Context, args: &InstallArgs) -> Result<(), Failure> {
    let (envelope, document) = read_signed(&args.file)?;
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    if let Some(index) = synced.state.policy_indexes().get(&document.version).copied()
        && synced.state.contains(&envelope.id())
    {
        let appended = Appended { id: envelope.id(), index };
        return context.sink().appended(&appended, &[("installed", "before".into())]);
    }
    // The same examination that the coordinator makes: better refused here than there.
    synced.state.examine(synced.head.size, &envelope.to_bytes())?;
    if context.dry_run {
        let json = serde_json::json!({ "dry-run": true, "policy": document });
        return context.sink().result(&json, |_| table::text(&document));
    }
    context.consent(|| table::text(&document), "Put this policy in force?")?;
    let appended = client.append(&envelope).await?;
    if synced.policy()?.document().log != document.log {
        context.sink().note(
            "note: this version names another log or log key: start the coordinator anew with that key, \
             and let everyone pin this version",
        );
    }
    context.sink().appended(&appended, &[("version", document.version.into())])
}

async fn show(context: &Context, args: &ShowArgs) -> Result<(), Failure> {
    let document = match &args.file {
        Some(path) if is_draft(path) => Draft::read(path)?.unchecked()?,
        Some(path) => read_signed(path)?.1,
        None => {
            let synced = context.connect().await?.sync().await?;
            synced.policy()?.document().clone()
        }
    };
    context.sink().result(&document, table::text)
}

fn is_draft(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

/// Reads a signed policy. Its signatures are not verified here, its faults are told.
fn read_signed(path: &Path) -> Result<(Envelope, PolicyDocument), Failure> {
    let bytes =
        std::fs::read(path).with_context(|| format!("read the policy {}", path.display()))?;
    let unusable = |error: anyhow::Error| Failure::Usage(error.context(path.display().to_string()));
    let envelope = Envelope::parse(&bytes).map_err(|error| unusable(error.into()))?;
    let statement = Statement::read(&envelope).map_err(|error| unusable(error.into()))?;
    let Says::TrustPolicy(document) = statement.says else {
        let found = statement.says.predicate();
        return Err(Failure::usage(format!("{} is a {found}, not a policy", path.display())));
    };
    let faults = document.faults();
    if !faults.is_empty() {
        return Err(draft::faulty(&faults));
    }
    Ok((envelope, *document))
}
