//! `cutover package new|check|build|show`: a release package, from an empty directory to one file.
//!
//! `check` and `build` end with [`Outcome::Faults`] when something is wrong with the package, which is
//! exit code 4; what could not be done at all is an error.

pub mod rehearse;
pub(super) mod tell;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use cutover_shared::name::Name;
use cutover_shared::package::check;
use cutover_shared::package::finding::Finding;
use cutover_shared::package::form::Catalogue;
use cutover_shared::package::listing::Listing;
use cutover_shared::package::manifest::{MANIFEST, Manifest, Target};
use indicatif::{ProgressBar, ProgressStyle};

use self::rehearse::RehearseArgs;
use super::schemas::SchemaArgs;
use crate::package::Progress;
use crate::package::build::{self, BuildError};
use crate::package::directory::DirectoryError;
use crate::package::file::{FileError, PackageFile};
use crate::package::scaffold::{self, ScaffoldError};
use crate::package::upload::UploadError;

/// Make, check, look at and rehearse release packages
#[derive(Debug, Clone, Subcommand)]
pub enum PackageVerb {
    /// What needs nothing but the package.
    #[command(flatten)]
    Local(PackageCommand),
    /// Apply a package and take it back in a clean sandbox without network, and sign what came of it
    ///
    /// Anybody but the submitter signs it. The times that it took count where windows are checked for room,
    /// if they are longer than what the release says. Exit code 4 if it failed; that is signed, too. With
    /// --dry-run it is rehearsed and nothing is signed.
    #[command(
        after_help = "Examples:\n  cutover package rehearse accounts-2.4.1.cutover --host-config applier.toml --earlier accounts-2.4.0.cutover\n  cutover package rehearse accounts-2.4.1.cutover --host-config applier.toml --start bin/accounts --port 8080"
    )]
    Rehearse(RehearseArgs),
}

/// What needs nothing but the package.
#[derive(Debug, Clone, Subcommand)]
pub enum PackageCommand {
    /// Write a directory to start from, with what you have to write marked FILL IN
    #[command(
        after_help = "Examples:\n  cutover package new accounts-2.4.1 --application accounts\n  cutover package new payroll-7 --application payroll --target zseries"
    )]
    New(NewArgs),
    /// Tell everything that is wrong with a directory or a package file; exit code 4 if anything is
    #[command(after_help = "Examples:\n  cutover package check accounts-2.4.1")]
    Check(CheckArgs),
    /// Make one file of a directory and print the package's digest; exit code 4 if anything is wrong
    #[command(
        after_help = "Examples:\n  cutover package build accounts-2.4.1 --output accounts-2.4.1.cutover"
    )]
    Build(BuildArgs),
    /// List what is in a package file or a directory, with its digest
    #[command(after_help = "Examples:\n  cutover package show accounts-2.4.1.cutover --json")]
    Show(ShowArgs),
}

impl PackageCommand {
    /// What it would write; `None` for those that only look.
    pub fn writes(&self) -> Option<String> {
        match self {
            Self::New(it) => Some(format!("a package to fill in, into {}", it.directory.display())),
            Self::Build(it) => {
                let file = it.output.as_ref().map(|it| format!(": {}", it.display()));
                let directory = it.directory.display();
                Some(format!("a package of {directory}{}", file.unwrap_or_default()))
            }
            Self::Check(_) | Self::Show(_) => None,
        }
    }
}

/// `cutover package new`.
#[derive(Debug, Clone, Args)]
pub struct NewArgs {
    /// The directory to make; it must not exist or be empty
    pub directory: PathBuf,
    /// The application that is released
    #[arg(long)]
    pub application: Name,
    /// A kind of target, which decides which forms are needed; several times for several
    #[arg(long = "target", value_name = "TARGET", value_parser = target, default_value = "hosts")]
    pub targets: Vec<Target>,
    /// Where the forms' schemas are from
    #[command(flatten)]
    pub schemas: SchemaArgs,
}

fn target(text: &str) -> Result<Target, String> {
    let known = Target::WORDS.iter().find(|(word, _)| *word == text);
    known.map(|(_, target)| *target).ok_or_else(|| {
        let words: Vec<&str> = Target::WORDS.iter().map(|(word, _)| *word).collect();
        format!("write one of: {}", words.join(", "))
    })
}

/// `cutover package check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The directory, or a package file
    pub path: PathBuf,
    /// Where the forms' schemas are from
    #[command(flatten)]
    pub schemas: SchemaArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `cutover package build`.
#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    /// The directory
    pub directory: PathBuf,
    /// The file to write [default: APPLICATION-VERSION.cutover beside the directory]
    #[arg(long, short)]
    pub output: Option<PathBuf>,
    /// Where the forms' schemas are from
    #[command(flatten)]
    pub schemas: SchemaArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `cutover package show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The package file, which is verified, or a directory
    pub path: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How a command ended that could be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done: exit code 0.
    Done,
    /// Something is wrong with the package, and it was told: exit code 4.
    Faults,
}

/// A command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum PackageCommandError {
    /// `new`.
    #[error("make a directory to start from")]
    New(#[from] ScaffoldError),
    /// `check`.
    #[error("check the package")]
    Check(#[from] DirectoryError),
    /// `build`.
    #[error("build the package")]
    Build(#[from] BuildError),
    /// `show` of a file, or `check` of one.
    #[error("open the package")]
    Open(#[from] FileError),
    /// A file that is no package.
    #[error("verify {}", .0.display())]
    Verify(PathBuf, #[source] UploadError),
    /// The result could not be told.
    #[error("write the result")]
    Output(#[from] io::Error),
    /// The result could not be told as JSON.
    #[error("write the result as JSON")]
    Json(#[from] serde_json::Error),
}

impl PackageCommand {
    /// Where the schemas of forms are from, for what needs any.
    pub(super) fn schemas(&self) -> Option<&SchemaArgs> {
        match self {
            Self::New(args) => Some(&args.schemas),
            Self::Check(args) => Some(&args.schemas),
            Self::Build(args) => Some(&args.schemas),
            Self::Show(_) => None,
        }
    }
}

/// Carries `command` out by the forms of `catalogue`; results go to `out`, progress to the terminal if
/// there is one.
pub fn run(
    command: &PackageCommand,
    catalogue: &Catalogue,
    out: &mut dyn Write,
) -> Result<Outcome, PackageCommandError> {
    match command {
        PackageCommand::New(args) => new(args, catalogue, out),
        PackageCommand::Check(args) => check(args, catalogue, out),
        PackageCommand::Build(args) => build(args, catalogue, out),
        PackageCommand::Show(args) => show(args, out),
    }
}

fn new(
    args: &NewArgs,
    catalogue: &Catalogue,
    out: &mut dyn Write,
) -> Result<Outcome, PackageCommandError> {
    let directory = args.directory.display();
    for path in scaffold::write(&args.directory, &args.application, &args.targets, catalogue)? {
        writeln!(out, "{}", args.directory.join(path).display())?;
    }
    writeln!(
        out,
        "\nPut what is to be installed into {directory}/payload, write what is marked FILL IN, then:"
    )?;
    writeln!(out, "  cutover package check {directory}")?;
    Ok(Outcome::Done)
}

fn check(
    args: &CheckArgs,
    catalogue: &Catalogue,
    out: &mut dyn Write,
) -> Result<Outcome, PackageCommandError> {
    let found = if args.path.is_dir() {
        let mut bar = Bar::new("reading");
        build::check(&args.path, catalogue, &mut bar)?
    } else {
        check::check(&verified(&args.path)?.1, catalogue)
    };
    told(&found, args.json, out)
}

fn build(
    args: &BuildArgs,
    catalogue: &Catalogue,
    out: &mut dyn Write,
) -> Result<Outcome, PackageCommandError> {
    let mut bar = Bar::new("packing");
    let built = build::build(&args.directory, args.output.as_deref(), catalogue, &mut bar);
    drop(bar);
    match built {
        Ok(built) => {
            tell::built(&built, args.json, out)?;
            Ok(Outcome::Done)
        }
        Err(BuildError::Incomplete(found)) => told(&found, args.json, out),
        Err(error) => Err(error.into()),
    }
}

fn told(
    found: &[Finding],
    json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, PackageCommandError> {
    tell::findings(found, "The package", json, out)?;
    Ok(if found.is_empty() { Outcome::Done } else { Outcome::Faults })
}

fn show(args: &ShowArgs, out: &mut dyn Write) -> Result<Outcome, PackageCommandError> {
    let (index, manifest) = if args.path.is_dir() {
        let mut bar = Bar::new("reading");
        let index = build::index(&args.path, &mut bar)?;
        let text = std::fs::read_to_string(args.path.join(MANIFEST));
        (index, text.ok().and_then(|text| Manifest::parse(&text).ok()))
    } else {
        let (package, listing) = verified(&args.path)?;
        (package.index().clone(), listing.manifest().ok())
    };
    tell::index(&index, manifest.as_ref(), args.json, out)?;
    Ok(Outcome::Done)
}

/// The package file at `path` and what is in it, verified.
fn verified(path: &Path) -> Result<(PackageFile, Listing), PackageCommandError> {
    let package = PackageFile::open(path)?;
    let mut bar = Bar::new("verifying");
    let listing = package.verify(&mut bar);
    let listing = listing.map_err(|error| PackageCommandError::Verify(path.to_owned(), error))?;
    Ok((package, listing))
}

/// A progress bar on the terminal; nothing where there is none.
struct Bar {
    bar: ProgressBar,
    doing: &'static str,
}

impl Bar {
    fn new(doing: &'static str) -> Self {
        let bar = ProgressBar::hidden();
        Self { bar, doing }
    }
}

impl Progress for Bar {
    fn begin(&mut self, bytes: u64) {
        let style = ProgressStyle::with_template(
            "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        )
        .expect("the template has only fields that indicatif knows")
        .progress_chars("=> ");
        self.bar = ProgressBar::new(bytes).with_style(style).with_message(self.doing);
    }

    fn advance(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests;
