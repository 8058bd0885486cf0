//! `cutover key generate|show`: keys, as `openssl` writes and reads them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use cutover_shared::key::{PublicKey, SecretKey};
use serde::Serialize;
use zeroize::Zeroizing;

use super::context::{self, Context};
use super::exit::Failure;

/// Make and show keys
#[derive(Debug, Clone, Subcommand)]
pub enum KeyCommand {
    /// Make a key: FILE (only you can read it) and FILE.pub
    #[command(after_help = "\
Examples:
  cutover key generate alice.pem --passphrase
  cutover key generate log.pem")]
    Generate(GenerateArgs),
    /// Show a key's id, whether its file is encrypted, and its public half
    #[command(after_help = "\
Examples:
  cutover key show alice.pem
  cutover key show alice.pem.pub --json")]
    Show(ShowArgs),
}

/// `cutover key generate`.
#[derive(Debug, Clone, Args)]
pub struct GenerateArgs {
    /// The file to make; it must not be there yet
    pub file: PathBuf,
    /// Encrypt it with a passphrase, asked for or taken from $CUTOVER_PASSPHRASE
    #[arg(long)]
    pub passphrase: bool,
}

/// `cutover key show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// A secret or public key in PEM
    pub file: PathBuf,
}

/// The result of both, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shown {
    key_id: String,
    kind: &'static str,
    encrypted: bool,
    public_pem: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<[PathBuf; 2]>,
}

/// Carries the command out.
pub fn run(context: &Context, command: &KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Generate(args) => generate(context, args),
        KeyCommand::Show(args) => show(context, args),
    }
}

fn generate(context: &Context, args: &GenerateArgs) -> Result<(), Failure> {
    let public_file = public_file(&args.file);
    for path in [&args.file, &public_file] {
        if path.exists() {
            return Err(taken(path));
        }
    }
    if context.dry_run {
        let [file, public] = [args.file.display(), public_file.display()];
        return context.sink().result(&serde_json::json!({ "dry-run": true }), |_| {
            format!("This is a dry run: {file} and {public} were not made.")
        });
    }
    let key = SecretKey::from_seed(random()?);
    let pem = if args.passphrase { encrypted(&key)? } else { key.to_pem() };
    write_new(&args.file, pem.as_bytes(), 0o600)?;
    write_new(&public_file, key.public().to_pem().as_bytes(), 0o644)?;
    let shown = Shown {
        key_id: key.public().id().to_string(),
        kind: "secret",
        encrypted: args.passphrase,
        public_pem: key.public().to_pem(),
        files: Some([args.file.clone(), public_file.clone()]),
    };
    context.sink().result(&shown, |shown| {
        format!(
            "key id  {}\nsecret  {} (keep it; only you can read it)\npublic  {} (for the trust policy)",
            shown.key_id,
            args.file.display(),
            public_file.display()
        )
    })
}

fn show(context: &Context, args: &ShowArgs) -> Result<(), Failure> {
    let path = &args.file;
    let pem = std::fs::read_to_string(path);
    let pem = Zeroizing::new(pem.with_context(|| format!("read {}", path.display()))?);
    let encrypted = SecretKey::is_encrypted(&pem);
    let (kind, public) = match PublicKey::from_pem(&pem) {
        Ok(public) => ("public", public),
        Err(_) => ("secret", context::read_secret_key(path)?.public()),
    };
    let shown = Shown {
        key_id: public.id().to_string(),
        kind,
        encrypted,
        public_pem: public.to_pem(),
        files: None,
    };
    context.sink().result(&shown, |shown| {
        let encrypted = if shown.encrypted { "yes" } else { "no" };
        let pem = shown.public_pem.trim_end();
        format!("key id     {}\nkind       {kind}\nencrypted  {encrypted}\n{pem}", shown.key_id)
    })
}

/// Reads a public key: of its own file, or of a secret key's.
pub(super) fn read_public_key(path: &Path) -> Result<PublicKey, Failure> {
    let pem = std::fs::read_to_string(path);
    let pem = Zeroizing::new(pem.with_context(|| format!("read the key {}", path.display()))?);
    PublicKey::from_pem(&pem).map_err(|error| {
        Failure::Usage(
            anyhow::Error::new(error).context(format!("{} is not usable", path.display())),
        )
    })
}

/// Random bytes of the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::failed(format!("get random bytes: {error}")))?;
    Ok(bytes)
}

fn encrypted(key: &SecretKey) -> Result<Zeroizing<String>, Failure> {
    let from_environment = std::env::var_os(context::PASSPHRASE).is_some();
    let passphrase = context::passphrase("New passphrase: ")?;
    if passphrase.is_empty() {
        return Err(Failure::usage("an empty passphrase protects nothing"));
    }
    if !from_environment && *context::passphrase("The same again: ")? != *passphrase {
        return Err(Failure::usage("the two passphrases differ"));
    }
    let sealed = key.to_encrypted_pem(&passphrase, random()?, random()?);
    Ok(sealed.context("encrypt the key")?)
}

fn public_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

fn taken(path: &Path) -> Failure {
    Failure::usage(format!("{} is there already; nothing was made or overwritten", path.display()))
}

/// Writes a file that must not be there yet, durably.
fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
    let write = |mut file: File| {
        file.write_all(content)?;
        file.sync_all()
    };
    match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(file) => Ok(write(file).with_context(|| format!("write {}", path.display()))?),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken(path)),
        Err(error) => {
            Err(anyhow::Error::new(error).context(format!("make {}", path.display())).into())
        }
    }
}
