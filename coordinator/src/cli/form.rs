//! `cutover form list|show|new|check|print`: forms and their schemas.

mod facts;
mod page;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use cutover_shared::package::check::{self, Checked};
use cutover_shared::package::finding::Rule;
use cutover_shared::package::form::fact::{Facts, of_manifest};
use cutover_shared::package::form::schema::{Answer, Place, Schema};
use cutover_shared::package::form::{self, Catalogue, Notation, template};
use cutover_shared::package::listing::{FORMS, Listing};
use cutover_shared::package::manifest::MANIFEST;
use serde::Serialize;

use super::context::Context;
use super::exit::Failure;
use super::output::table;
use super::package::tell;
use super::schemas::{SchemaArgs, catalogue};
use super::{file, names};
use crate::package::directory;
use crate::package::file::PackageFile;

use self::page::Page;

/// List, show, start, check and print forms
#[derive(Debug, Clone, Subcommand)]
pub enum FormCommand {
    /// List the forms that are known, and which releases need them
    #[command(
        after_help = "Examples:\n  cutover form list\n  cutover form list --forms /etc/cutover/forms"
    )]
    List(ListArgs),
    /// Show what a form asks
    #[command(
        after_help = "Examples:\n  cutover form show cot-f052\n  cutover form show cot-f052 --schema > agency-x.toml"
    )]
    Show(ShowArgs),
    /// Write a form to start from, with what you have to write marked FILL IN
    #[command(
        after_help = "Examples:\n  cutover form new cot-f053\n  cutover form new cot-f053 payroll-7\n  cutover form new cot-f053 payroll-7 --json"
    )]
    New(NewArgs),
    /// Tell everything that is wrong with a form, or with all forms of a package; exit code 4 if anything is
    #[command(
        after_help = "Examples:\n  cutover form check payroll-7/forms/cot-f053.toml\n  cutover form check payroll-7"
    )]
    Check(CheckArgs),
    /// Print forms, with what the log tells of a release
    #[command(
        after_help = "Examples:\n  cutover form print payroll-7\n  cutover form print R-7\n  cutover form print R-7 --form cot-f052 --html --output R-7.html"
    )]
    Print(PrintArgs),
}

/// `cutover form list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Where the schemas are from
    #[command(flatten)]
    pub schemas: SchemaArgs,
}

/// `cutover form show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The form, as `cutover form list` calls it
    #[arg(value_name = "FORM")]
    pub form: String,
    /// Print the schema itself, to make another of it
    #[arg(long)]
    pub schema: bool,
    /// Where the schemas are from
    #[command(flatten)]
    pub schemas: SchemaArgs,
}

/// `cutover form new`.
#[derive(Debug, Clone, Args)]
pub struct NewArgs {
    /// The form, as `cutover form list` calls it
    #[arg(value_name = "FORM")]
    pub form: String,
    /// The package's directory, under whose forms/ it is written [default: to standard output]
    #[arg(value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
    /// Where the schemas are from
    #[command(flatten)]
    pub schemas: SchemaArgs,
}

/// `cutover form check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// A form, or a package's directory or file
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Where the schemas are from
    #[command(flatten)]
    pub schemas: SchemaArgs,
}

/// `cutover form print`.
#[derive(Debug, Clone, Args)]
pub struct PrintArgs {
    /// A release, as R-7, or a package's directory or file
    #[arg(value_name = "RELEASE|PATH")]
    pub what: String,
    /// This form only
    #[arg(long, value_name = "FORM")]
    pub form: Option<String>,
    /// As a page of HTML that needs nothing else
    #[arg(long)]
    pub html: bool,
    /// Write it to a file
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Where the schemas are from, of a package that is not submitted
    #[command(flatten)]
    pub schemas: SchemaArgs,
}

/// Carries the command out.
pub async fn run(context: &Context, command: &FormCommand) -> Result<(), Failure> {
    match command {
        FormCommand::List(args) => list(context, &catalogue(context, &args.schemas).await?),
        FormCommand::Show(args) => show(context, args, &catalogue(context, &args.schemas).await?),
        FormCommand::New(args) => new(context, args, &catalogue(context, &args.schemas).await?),
        FormCommand::Check(args) => check(context, args, &catalogue(context, &args.schemas).await?),
        FormCommand::Print(args) => print(context, args).await,
    }
}

/// A schema in the list.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    form: String,
    version: u32,
    title: String,
    /// Which releases need it, for people.
    needed_by: String,
    digest: String,
}

fn list(context: &Context, catalogue: &Catalogue) -> Result<(), Failure> {
    let rows: Vec<Row> = catalogue
        .newest()
        .map(|schema| Row {
            form: schema.id().to_owned(),
            version: schema.version(),
            title: schema.title().to_owned(),
            needed_by: schema.needed_by(),
            digest: schema.digest().to_string(),
        })
        .collect();
    context.sink().result(&rows, |rows| {
        let mut table = table(["form", "version", "title", "needed by"]);
        for row in rows {
            table.add_row([&row.form, &row.version.to_string(), &row.title, &row.needed_by]);
        }
        table
    })
}

fn find<'c>(catalogue: &'c Catalogue, form: &str) -> Result<&'c Schema, Failure> {
    catalogue.find(form).ok_or_else(|| {
        let known: Vec<&str> = catalogue.newest().map(Schema::id).collect();
        Failure::not_found(format!("no form {form:?}; known are {}", known.join(", ")))
    })
}

/// A field of a schema, as `show` tells it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Asked {
    section: String,
    field: String,
    label: String,
    kind: String,
    needed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

fn show(context: &Context, args: &ShowArgs, catalogue: &Catalogue) -> Result<(), Failure> {
    let schema = find(catalogue, &args.form)?;
    if args.schema {
        return file::give(context, "schema", schema.text(), None);
    }
    let fields: Vec<Asked> = schema.sections().iter().flat_map(fields).collect();
    context.sink().result(&fields, |fields| {
        let mut table = table(["section", "field", "what", "needed", "help"]);
        for row in fields {
            let help = row.help.as_deref().unwrap_or(&row.label);
            table.add_row([&row.section, &row.field, &row.kind, &row.needed, help]);
        }
        format!("{} ({})\n{table}", schema.title(), schema.name())
    })
}

fn fields(section: &form::schema::Section) -> Vec<Asked> {
    let prefix = match &section.place {
        Place::Form => String::new(),
        Place::Table(table) => format!("{table}."),
        Place::Each { list, .. } => format!("{list}[]."),
    };
    let fields = section.fields.iter().map(|field| {
        let (name, kind, needed) = match &field.answer {
            Answer::Told(fact) => {
                ("(not asked)".to_owned(), format!("from {}", fact.name()), String::new())
            }
            Answer::Asked { name, kind, needed, when } => {
                let kind = if let form::Kind::Choice(words) = kind {
                    words.join(", ")
                } else {
                    kind.word().to_owned()
                };
                let when = when.iter().map(|it| match it.is.as_slice() {
                    [] => format!("where {} is given", it.field),
                    is => format!("where {} is {}", it.field, is.join(" or ")),
                });
                let when = when.collect::<Vec<_>>().join("; ");
                let needed = if *needed { "yes".to_owned() } else { when };
                (format!("{prefix}{name}"), kind, needed)
            }
        };
        let (label, help) = (field.label.clone(), field.help.clone());
        Asked { section: section.title.clone(), field: name, label, kind, needed, help }
    });
    fields.collect()
}

fn new(context: &Context, args: &NewArgs, catalogue: &Catalogue) -> Result<(), Failure> {
    let schema = find(catalogue, &args.form)?;
    let (notation, suffix) =
        if context.json { (Notation::Json, "json") } else { (Notation::Toml, "toml") };
    let text = template(schema, notation);
    let Some(directory) = &args.directory else {
        return context.sink().bytes(text.as_bytes());
    };
    if !directory.is_dir() {
        let remedy = "`cutover package new` makes one";
        return Err(Failure::usage(format!("{} is no directory; {remedy}", directory.display())));
    }
    let forms = directory.join(FORMS);
    if context.dry_run {
        let path = forms.join(format!("{}.{suffix}", schema.id()));
        return context.sink().dry_run(&path.display().to_string());
    }
    fs::create_dir_all(&forms).with_context(|| format!("make {}", forms.display()))?;
    let path = forms.join(format!("{}.{suffix}", schema.id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("write {}", path.display()))?;
    let value = serde_json::json!({ "form": schema.name(), "file": path });
    context.sink().result(&value, |_| {
        let (path, directory) = (path.display(), directory.display());
        format!("{path}\n\nWrite what is marked FILL IN, then:\n  cutover form check {directory}")
    })
}

fn check(context: &Context, args: &CheckArgs, catalogue: &Catalogue) -> Result<(), Failure> {
    let mut findings = match single_form(&args.path) {
        None => {
            let listing = read_package(context, &args.path)?;
            let mut findings = check::examine(&listing, catalogue).findings;
            findings.retain(|it| it.file.starts_with(FORMS) || it.rule == Rule::PayloadNotNamed);
            findings
        }
        Some((name, package)) => {
            let text = fs::read_to_string(&args.path);
            let text = text.with_context(|| format!("read {}", args.path.display()))?;
            match &package {
                Some(package) => {
                    let listing = read_package(context, package)?;
                    let manifest = listing.manifest().ok();
                    let read = form::read(&name, &text, catalogue, &listing, manifest.as_ref());
                    read.form.err().unwrap_or_default()
                }
                None => {
                    context.sink().note(
                        "The form is in no package's directory: what its items name is not looked for.",
                    );
                    let read = form::read(&name, &text, catalogue, &Listing::new(), None);
                    let mut findings = read.form.err().unwrap_or_default();
                    findings.retain(|it| it.rule != Rule::FormItem);
                    findings
                }
            }
        }
    };
    findings.sort();
    let mut out = Vec::new();
    let told = tell::findings(&findings, "The form", context.json, &mut out);
    told.context("tell what is wrong")?;
    context.sink().bytes(&out)?;
    if findings.is_empty() { Ok(()) } else { Err(Failure::Faults) }
}

/// The name in a package of the form at `path`, and the package's directory if it is in one; `None` for
/// anything that is not a form by its name.
fn single_form(path: &Path) -> Option<(String, Option<PathBuf>)> {
    let suffix = path.extension()?;
    if path.is_dir() || !(suffix == "toml" || suffix == "json") {
        return None;
    }
    let name = format!("{FORMS}/{}", path.file_name()?.to_string_lossy());
    let package = path.canonicalize().ok().and_then(|path| {
        let forms = path.parent()?;
        let package = forms.parent()?;
        let inside = forms.file_name()? == FORMS && package.join(MANIFEST).is_file();
        inside.then(|| package.to_owned())
    });
    Some((name, package))
}

/// What is in a package's directory or file.
fn read_package(context: &Context, path: &Path) -> Result<Listing, Failure> {
    let mut bar = context.sink().progress("reading");
    let doing = || format!("read {}", path.display());
    if path.is_dir() {
        return Ok(directory::read(path, &mut (), &mut bar).with_context(doing)?.listing);
    }
    let file = PackageFile::open(path).with_context(doing)?;
    Ok(file.verify(&mut bar).with_context(doing)?)
}

async fn print(context: &Context, args: &PrintArgs) -> Result<(), Failure> {
    let (checked, facts, besides) = if Path::new(&args.what).exists() {
        let catalogue = catalogue(context, &args.schemas).await?;
        let listing = read_package(context, Path::new(&args.what))?;
        let checked = check::examine(&listing, &catalogue);
        (checked, Facts::new(), Vec::new())
    } else {
        let mut client = context.connect().await?;
        let synced = client.sync().await?;
        let case = names::release(&synced.state, &args.what)?;
        let release = case.release.says();
        let catalogue = client.catalogue_of(release).await?;
        let listing = client.listing(release.package).await?;
        let besides = facts::besides(&synced.state, case, context.now());
        (check::examine(&listing, &catalogue), facts::of_case(case), besides)
    };
    let pages = pages(args, &checked, &facts, &besides)?;
    if args.html {
        return file::give(context, "page", &page::html(&pages), args.output.as_deref());
    }
    if let Some(output) = &args.output {
        return file::give(context, "page", &page::text(&pages), Some(output));
    }
    context.sink().result(&pages, |pages| page::text(pages))
}

fn pages(
    args: &PrintArgs,
    checked: &Checked,
    facts: &Facts,
    besides: &[(&str, String)],
) -> Result<Vec<Page>, Failure> {
    let mut known = checked.manifest.as_ref().map(of_manifest).unwrap_or_default();
    known.extend(facts.iter().map(|(fact, text)| (*fact, text.clone())));
    let wanted = checked
        .forms
        .values()
        .filter(|it| args.form.as_deref().is_none_or(|id| it.schema().id() == id));
    let pages: Vec<Page> = wanted.map(|form| Page::of(form, &known, besides)).collect();
    if pages.is_empty() {
        let what = args.form.as_deref().unwrap_or("form");
        return Err(Failure::not_found(format!(
            "no {what} without faults in {}: `cutover form check` tells what is wrong with it",
            args.what
        )));
    }
    Ok(pages)
}
