//! A directory to start from: everything that a package has, with what the author has to write marked.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use cutover_shared::name::Name;
use cutover_shared::package::form::{Catalogue, Notation, template};
use cutover_shared::package::listing::{FORMS, HOOKS, INSTRUCTIONS, NOTES, PAYLOAD};
use cutover_shared::package::manifest::{MANIFEST, Target};
use cutover_shared::statement::ChangeType;

/// The files of the scaffold and their texts.
const FILES: [(&str, &str); 3] = [
    (MANIFEST, include_str!("scaffold/release.toml")),
    (NOTES, include_str!("scaffold/NOTES.md")),
    (INSTRUCTIONS, include_str!("scaffold/INSTRUCTIONS.md")),
];

/// The end of the manifest for targets without an agent.
const RUNBOOK: &str = include_str!("scaffold/runbook.toml");

/// What stands for the application's name in the texts.
const APPLICATION: &str = "@APPLICATION@";

/// What stands for the targets in the manifest.
const TARGETS: &str = "@TARGETS@";

/// A directory could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    /// Something is there already, which is never written over.
    #[error("write into {}: it is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// One of its files or directories could not be written.
    #[error("write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
}

/// Makes the directory `root`, which must not exist or be empty, and writes into it what a package of
/// `application` for `targets` needs, with the forms of `catalogue`. Returns the paths that were written,
/// relative to `root`.
pub fn write(
    root: &Path,
    application: &Name,
    targets: &[Target],
    catalogue: &Catalogue,
) -> Result<Vec<PathBuf>, ScaffoldError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| ScaffoldError::Write(path, error)
    };
    fs::create_dir_all(root).map_err(failed(root))?;
    if fs::read_dir(root).map_err(failed(root))?.next().is_some() {
        return Err(ScaffoldError::NotEmpty(root.to_owned()));
    }
    let mut written = Vec::new();
    for directory in [FORMS, HOOKS, PAYLOAD] {
        let path = root.join(directory);
        fs::create_dir(&path).map_err(failed(&path))?;
        written.push(PathBuf::from(directory));
    }
    let words: Vec<String> = targets.iter().map(|target| format!("{:?}", target.name())).collect();
    let needed = catalogue
        .newest()
        .filter(|schema| schema.is_needed_for(targets, application, ChangeType::Normal))
        .map(|schema| (format!("{FORMS}/{}.toml", schema.id()), template(schema, Notation::Toml)));
    let files = FILES.map(|(name, text)| (name.to_owned(), text.to_owned()));
    for (name, text) in files.into_iter().chain(needed) {
        let path = root.join(&name);
        let is_walked = name == MANIFEST && targets.contains(&Target::Zseries);
        let text = if is_walked { text + RUNBOOK } else { text };
        let text =
            text.replace(APPLICATION, application.as_str()).replace(TARGETS, &words.join(", "));
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let filled = file.and_then(|mut file| file.write_all(text.as_bytes()));
        filled.map_err(failed(&path))?;
        written.push(PathBuf::from(name));
    }
    Ok(written)
}
