//! What is in a package or in the directory that one is to be made of, good or bad: what
//! [`check`](super::check::check) looks at. The same listing comes out of a submitter's directory and
//! out of an uploaded package, so that both are judged by the same rules.

use std::collections::BTreeMap;

use super::entry::Kind;
use super::finding::{Finding, Rule};
use super::form::MAX_SCHEMAS;
use super::index::Index;
use super::manifest::{MANIFEST, Manifest};
use crate::digest::Digest;

/// The release notes.
pub const NOTES: &str = "NOTES.md";

/// How to deploy it and how to come back, for somebody who was not involved.
pub const INSTRUCTIONS: &str = "INSTRUCTIONS.md";

/// The directory of the forms.
pub const FORMS: &str = "forms";

/// The directory of what is installed.
pub const PAYLOAD: &str = "payload";

/// The directory of the programs that the manifest names.
pub const HOOKS: &str = "hooks";

/// The largest document or form in bytes: they are read as a whole, by programs and by people.
pub const MAX_DOCUMENT: u64 = 1024 * 1024;

/// The most documents of a package that are read: a form of each schema, and what every package has.
pub const MAX_DOCUMENTS: usize = MAX_SCHEMAS + 3;

/// Whether the content of the file at `path` is looked at by the check.
pub fn is_document(path: &str) -> bool {
    let form = path.strip_prefix(FORMS).is_some_and(|rest| rest.starts_with('/'));
    [MANIFEST, NOTES, INSTRUCTIONS].contains(&path) || (form && is_form(path))
}

/// Whether a file of this name is a form: TOML or JSON.
pub fn is_form(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, suffix)| ["toml", "json"].contains(&suffix))
}

/// Everything in a directory, by path: relative, components joined by `/`, without the top itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    items: BTreeMap<String, Item>,
}

/// One thing in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its kind.
    pub kind: ItemKind,
    /// Permission bits with set-user-id, set-group-id and sticky, as `chmod` counts them.
    pub mode: u32,
    /// Extended attributes that give privileges, by name.
    pub privileges: Vec<String>,
}

/// The kind of a thing in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind {
    /// A regular file.
    File(ListedFile),
    /// A directory.
    Directory,
    /// A symbolic link and its text.
    Link(String),
    /// A device, a socket or a pipe.
    Special(&'static str),
    /// Anything whose name, or the text of the link that it is, is not UTF-8; its path here is for
    /// showing only.
    NotUtf8,
}

/// A regular file in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content.
    pub digest: Digest,
    /// The content, if [`is_document`] and not larger than [`MAX_DOCUMENT`].
    pub document: Option<Vec<u8>>,
}

impl Item {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&ListedFile> {
        match &self.kind {
            ItemKind::File(file) => Some(file),
            ItemKind::Directory | ItemKind::Link(_) | ItemKind::Special(_) | ItemKind::NotUtf8 => {
                None
            }
        }
    }

    /// Its kind, for people.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            ItemKind::File(_) => "a file",
            ItemKind::Directory => "a directory",
            ItemKind::Link(_) => "a link",
            ItemKind::Special(what) => what,
            ItemKind::NotUtf8 => "something with a name that is not UTF-8",
        }
    }
}

impl Listing {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The listing of a package; `documents` has the content of each entry that [`is_document`].
    pub fn of_index(index: &Index, mut documents: BTreeMap<String, Vec<u8>>) -> Self {
        let mut listing = Self::new();
        for entry in index.entries() {
            let path = entry.path.as_str();
            let (kind, mode) = match &entry.kind {
                Kind::Directory { mode } => (ItemKind::Directory, mode.bits()),
                Kind::Link { target } => (ItemKind::Link(target.clone()), 0o777),
                Kind::File(file) => {
                    let listed = ListedFile {
                        size: file.size,
                        digest: file.digest,
                        document: documents.remove(path),
                    };
                    (ItemKind::File(listed), file.mode.bits())
                }
            };
            let privileges = Vec::new();
            listing.add(path, Item { kind, mode, privileges });
        }
        listing
    }

    /// Adds what is at `path`.
    pub fn add(&mut self, path: &str, item: Item) {
        self.items.insert(path.to_owned(), item);
    }

    /// What is at `path`.
    pub fn find(&self, path: &str) -> Option<&Item> {
        self.items.get(path)
    }

    /// Everything, each directory before what is in it.
    pub fn items(&self) -> impl Iterator<Item = (&str, &Item)> {
        self.items.iter().map(|(path, item)| (path.as_str(), item))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Reads the manifest, or tells everything that is wrong with it.
    pub fn manifest(&self) -> Result<Manifest, Vec<Finding>> {
        let text = self.text(MANIFEST).map_err(|finding| vec![finding])?;
        Manifest::parse(text)
    }

    /// The text of the document at `path`.
    pub fn text(&self, path: &str) -> Result<&str, Finding> {
        let Some(item) = self.find(path) else {
            let remedy = "add it; `cutover package new` writes one to start from";
            return Err(Finding::of_file(path, Rule::Missing, "it is missing", remedy));
        };
        let Some(file) = item.file() else {
            let problem = format!("it is {}, not a file", item.kind_name());
            return Err(Finding::of_file(path, Rule::Missing, problem, "make it a file"));
        };
        let unreadable = |problem: String, remedy| {
            let rule = Rule::Unreadable;
            Err(Finding::of_file(path, rule, problem, remedy))
        };
        let Some(bytes) = &file.document else {
            let problem = format!("it has {} bytes, at most {MAX_DOCUMENT} are read", file.size);
            return unreadable(problem, "shorten it; data belongs under payload/");
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(error) => {
                let problem = format!("it is not UTF-8 from byte {} on", error.valid_up_to());
                unreadable(problem, "save it as UTF-8")
            }
        }
    }
}
