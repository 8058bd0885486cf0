//! What `cutover package` prints: tables for people, JSON for programs.

use std::io::Write;
use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use cutover_shared::digest::Digest;
use cutover_shared::name::Name;
use cutover_shared::package::entry::{Entry, Kind};
use cutover_shared::package::finding::Finding;
use cutover_shared::package::index::Index;
use cutover_shared::package::manifest::Manifest;
use serde::Serialize;

use super::PackageCommandError;
use crate::package::build::Built;

/// The result of `check`, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Checked<'a> {
    complete: bool,
    findings: &'a [Finding],
}

/// Tells what is wrong with `what`, a package or a form, or that nothing is.
pub(in crate::cli) fn findings(
    found: &[Finding],
    what: &str,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), PackageCommandError> {
    let complete = found.is_empty();
    if json {
        let findings = found;
        serde_json::to_writer_pretty(&mut *out, &Checked { complete, findings })?;
        writeln!(out)?;
    } else if complete {
        writeln!(out, "{what} is complete.")?;
    } else {
        let mut table = table(&["where", "field", "what is wrong", "what to do"]);
        for finding in found {
            let file = match finding.line {
                Some(line) => format!("{}:{line}", finding.file),
                None => finding.file.clone(),
            };
            let field = finding.field.clone().unwrap_or_default();
            let row = [&file, &field, &finding.problem, &finding.remedy];
            table.add_row(row.map(|text| printable(text)));
        }
        writeln!(out, "{table}")?;
        let faults = if found.len() == 1 { "fault" } else { "faults" };
        writeln!(out, "{what} is not complete: {} {faults}.", found.len())?;
    }
    Ok(())
}

/// The result of `build`, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Packed<'a> {
    package: Digest,
    application: &'a Name,
    version: &'a str,
    file: &'a Path,
    files: usize,
    bytes: u64,
    stored_bytes: u64,
}

/// Tells which package was made.
pub(super) fn built(
    built: &Built,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), PackageCommandError> {
    let packed = Packed {
        package: built.index.digest(),
        application: &built.manifest.application,
        version: &built.manifest.version,
        file: &built.path,
        files: built.index.entries().iter().filter_map(Entry::file).count(),
        bytes: built.index.total_bytes(),
        stored_bytes: built.stored,
    };
    if json {
        serde_json::to_writer_pretty(&mut *out, &packed)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "package  {}", packed.package)?;
    writeln!(out, "release  {} {}", packed.application, packed.version)?;
    let [bytes, stored] = [packed.bytes, packed.stored_bytes].map(indicatif::HumanBytes);
    writeln!(out, "content  {} files, {bytes}, packed {stored}", packed.files)?;
    writeln!(out, "file     {}", packed.file.display())?;
    Ok(())
}

/// The result of `show`, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shown<'a> {
    package: Digest,
    application: Option<&'a Name>,
    version: Option<&'a str>,
    bytes: u64,
    entries: &'a [Entry],
}

impl<'a> Shown<'a> {
    fn of(index: &'a Index, manifest: Option<&'a Manifest>) -> Self {
        Self {
            package: index.digest(),
            application: manifest.map(|manifest| &manifest.application),
            version: manifest.map(|manifest| manifest.version.as_str()),
            bytes: index.total_bytes(),
            entries: index.entries(),
        }
    }
}

/// Tells what is in a package.
pub(super) fn index(
    index: &Index,
    manifest: Option<&Manifest>,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), PackageCommandError> {
    if json {
        serde_json::to_writer_pretty(&mut *out, &Shown::of(index, manifest))?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "package  {}", index.digest())?;
    if let Some(manifest) = manifest {
        writeln!(out, "release  {} {}", manifest.application, manifest.version)?;
    }
    let mut table = table(&["mode", "bytes", "sha-256", "path"]);
    for entry in index.entries() {
        let path = entry.path.as_str();
        table.add_row(match &entry.kind {
            Kind::File(file) => {
                [file.mode.to_string(), file.size.to_string(), file.digest.short(), path.to_owned()]
            }
            Kind::Directory { mode } => {
                [mode.to_string(), String::new(), String::new(), format!("{path}/")]
            }
            Kind::Link { target } => {
                let path = format!("{path} -> {target}");
                ["link".to_owned(), String::new(), String::new(), path]
            }
        });
    }
    writeln!(out, "{table}")?;
    let files = index.entries().iter().filter_map(Entry::file).count();
    let bytes = indicatif::HumanBytes(index.total_bytes());
    writeln!(out, "{files} files, {bytes}")?;
    Ok(())
}

/// Names in a directory may have anything in them, which a terminal must not obey.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}
