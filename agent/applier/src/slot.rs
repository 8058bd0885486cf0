//! Slots: where releases are put together, and the link that names the one that counts.
//!
//! ```text
//! <root>/current -> releases/7-3f2a…        exchanged atomically
//! <root>/releases/7-3f2a…/                  whole: every byte verified and synced before it has this name
//! <root>/releases/7-3f2a….index             what it must be, kept for verification
//! <root>/releases/8-91bc….partial/          on its way, resumed by hashing what is there
//! <root>/releases/6-02ee….removing/         on its way out
//! <root>/shared/data/                       what a release shares with others: `payload/data` leads here
//! ```
//!
//! What is synced, in this order, and what for; whoever calls writes into the ledger only after each
//! has returned:
//!
//! 1. *Assembled*: chunks are written without syncing: until the end nothing depends on them, and what a
//!    power cut takes of them the next attempt misses and fetches again. Then everything is read back and
//!    compared, the index is put beside it, `syncfs` makes the index and every file, directory, mode and
//!    owner of the tree durable in one go (one call is cheaper than one for each of 100,000 files), and
//!    only then the directory is renamed to its name and `releases` is synced. So under its name a slot
//!    is whole.
//! 2. *Switched*: the new link is made beside the old one and renamed over it, and `root` is synced: the
//!    link names the old slot or the new one, both of which were durable before.
//! 3. *Removed*: renamed to `….removing` first and `releases` synced, so that a half removed tree never
//!    has the name of a slot; `releases` is synced again at the end.
//!
//! A test cuts the power of a real file system at random moments and compares every byte; it finds each
//! sync of 1 and 2 missing when it is taken out. Those of 3 ext4 would not need: its journal keeps the order.
//!
//! What a release shares is made before the slot is whole, and stays when slots go; it is the one thing here
//! that is the application's to write.
//!
//! `root` and `releases` belong to the applier. What is inside a slot may belong to the application's
//! user, who could put a symbolic link in the way; so everything below a slot is opened step by step and
//! no link is ever followed.

mod assembly;
mod drift;
mod shared;
mod tree;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cutover_machine::Slot;
use cutover_shared::digest::Digest;
use cutover_shared::package::index::{Index, IndexError, MAX_INDEX};
use cutover_shared::package::path::EntryPath;

pub use assembly::Assembly;

/// Who owns the files of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A slot could not be made, switched to, removed or verified.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// An operation on a file failed.
    #[error("{operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kept index is damaged, or another package's.
    #[error("read the index of {0}: it is not the package's")]
    WrongIndex(String),
    /// The index was given for another package.
    #[error("assemble package {slot}: the index is that of {index}")]
    OtherPackage {
        /// The package of the slot.
        slot: Digest,
        /// The package of the index.
        index: Digest,
    },
    /// The kept index cannot be read.
    #[error("read the index of {slot}")]
    Index {
        /// The slot.
        slot: String,
        /// What is wrong with it.
        #[source]
        source: IndexError,
    },
    /// The content is not what the chunk's digest says, or no file has this chunk.
    #[error("write chunk {}: it is not what the index names", .0.short())]
    WrongChunk(Digest),
    /// Chunks are missing.
    #[error("finish the slot: {0} chunks are missing")]
    Incomplete(usize),
    /// There is no such slot.
    #[error("switch to {0}: there is no such slot")]
    NoSuchSlot(String),
    /// The current slot is not removed.
    #[error("remove {0}: it is the current one")]
    Current(String),
    /// What is current is something that no applier made.
    #[error("read the link {path}: it names {target}, which is no slot")]
    StrangeLink {
        /// The link.
        path: PathBuf,
        /// What it names.
        target: PathBuf,
    },
    /// The slot is not what its index says.
    #[error("verify {slot}: {path} {difference}")]
    Differs {
        /// The slot.
        slot: String,
        /// Where.
        path: String,
        /// How.
        difference: Difference,
    },
}

/// How something in a slot is not as its index says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It is there and should not be.
    #[error("is not part of the release")]
    Extra,
    /// A file, directory or link where it should be another of these, or something else altogether.
    #[error("is of another type")]
    Type,
    /// Its permission bits.
    #[error("has another mode")]
    Mode,
    /// Its owner or group.
    #[error("has another owner")]
    Owner,
    /// Its length.
    #[error("has another size")]
    Size,
    /// Its bytes.
    #[error("has other content")]
    Content,
    /// Where a link leads.
    #[error("leads elsewhere")]
    Target,
}

/// The directory of the slots.
pub(crate) const RELEASES: &str = "releases";
const CURRENT: &str = "current";

/// The slots of one application.
#[derive(Debug, Clone)]
pub struct Slots {
    root: PathBuf,
    owner: Owner,
}

impl Slots {
    /// The slots below `root`, which is made if it is not there.
    pub fn open(root: &Path, owner: Owner) -> Result<Self, SlotError> {
        let releases = root.join(RELEASES);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&releases)
            .map_err(io("create", &releases))?;
        sync_directory(root)?;
        sync_directory(root.parent().unwrap_or(root))?;
        Ok(Self { root: root.to_owned(), owner })
    }

    /// The slots below `root` as they are, for whoever only looks: nothing is made.
    pub fn at(root: &Path, owner: Owner) -> Self {
        Self { root: root.to_owned(), owner }
    }

    /// The name of the slot's directory.
    pub fn name(slot: &Slot) -> String {
        name(slot)
    }

    /// Where the slot is, whole or not yet.
    pub fn path(&self, slot: &Slot) -> PathBuf {
        self.releases().join(name(slot))
    }

    /// Begins to put the slot together, or goes on where an earlier attempt stopped.
    pub fn assemble(&self, slot: &Slot, index: &Index) -> Result<Assembly, SlotError> {
        if index.digest() != slot.package {
            return Err(SlotError::OtherPackage { slot: slot.package, index: index.digest() });
        }
        let whole = self.path(slot);
        if exists(&whole)? {
            // It was finished, and then perhaps touched.
            if self.verify(slot).is_ok() {
                return Ok(Assembly::finished(index));
            }
            self.remove(slot)?;
        }
        Assembly::begin(&self.releases(), &name(slot), index, self.owner)
    }

    /// The name of the directory that the link names, if there is a link.
    pub fn current(&self) -> Result<Option<String>, SlotError> {
        let link = self.root.join(CURRENT);
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("read", &link)(error)),
        };
        let name = target
            .strip_prefix(RELEASES)
            .ok()
            .and_then(Path::to_str)
            .filter(|name| !name.is_empty() && !name.contains('/'))
            .map(str::to_owned);
        match name {
            Some(name) => Ok(Some(name)),
            None => Err(SlotError::StrangeLink { path: link, target }),
        }
    }

    /// Lets the link name `to`, or removes it; synced. Nobody ever sees neither the old nor the new.
    pub fn switch(&self, to: Option<&Slot>) -> Result<(), SlotError> {
        let link = self.root.join(CURRENT);
        if let Some(slot) = to {
            let name = name(slot);
            if !exists(&self.path(slot))? {
                return Err(SlotError::NoSuchSlot(name));
            }
            let new = self.root.join(".current.new");
            remove_file(&new)?;
            std::os::unix::fs::symlink(Path::new(RELEASES).join(&name), &new)
                .map_err(io("link", &new))?;
            fs::rename(&new, &link).map_err(io("exchange", &link))?;
        } else {
            remove_file(&link)?;
        }
        sync_directory(&self.root)
    }

    /// Removes the slot, whole or partial. One that is not there is removed; the current one never is.
    pub fn remove(&self, slot: &Slot) -> Result<(), SlotError> {
        self.remove_named(&name(slot))
    }

    /// Removes every slot but those of `keep` and the current one, and everything that was left over.
    pub fn retain(&self, keep: &[Slot]) -> Result<(), SlotError> {
        let mut keep: Vec<String> = keep.iter().map(name).collect();
        keep.extend(self.current()?);
        let releases = self.releases();
        let entries = fs::read_dir(&releases).map_err(io("list", &releases))?;
        for entry in entries {
            let entry = entry.map_err(io("list", &releases))?;
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str().and_then(slot_of) else {
                continue;
            };
            if !keep.iter().any(|kept| kept == name) {
                self.remove_named(name)?;
            }
        }
        Ok(())
    }

    /// Compares the slot with its index: every byte, mode, owner and link, and nothing more there.
    pub fn verify(&self, slot: &Slot) -> Result<(), SlotError> {
        let index = self.index(slot)?;
        tree::verify(&self.path(slot), &name(slot), &index, self.owner)
    }

    /// The index that is kept beside the slot; surely the package's.
    pub fn index(&self, slot: &Slot) -> Result<Index, SlotError> {
        let name = name(slot);
        let path = self.releases().join(index_name(&name));
        let limit = u64::try_from(MAX_INDEX).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
            .map_err(io("read", &path))?;
        if Digest::of(&bytes) != slot.package {
            return Err(SlotError::WrongIndex(name));
        }
        Index::parse(&bytes).map_err(|source| SlotError::Index { slot: name, source })
    }

    fn releases(&self) -> PathBuf {
        self.root.join(RELEASES)
    }

    /// A slot that is going has another name first, so that what is half removed is no slot.
    fn remove_named(&self, name: &str) -> Result<(), SlotError> {
        if self.current()?.as_deref() == Some(name) {
            return Err(SlotError::Current(name.to_owned()));
        }
        let releases = self.releases();
        let removing = releases.join(format!("{name}.removing"));
        remove_tree(&removing)?;
        match fs::rename(releases.join(name), &removing) {
            Ok(()) => sync_directory(&releases)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io("rename", &releases.join(name))(error)),
        }
        remove_tree(&removing)?;
        remove_tree(&releases.join(partial_name(name)))?;
        remove_file(&releases.join(index_name(name)))?;
        remove_file(&releases.join(new_index_name(name)))?;
        sync_directory(&releases)
    }
}

/// `7-3f2a91bc0d4e`: unique by its generation, recognisable by its package.
fn name(slot: &Slot) -> String {
    format!("{}-{}", slot.generation, slot.package.short())
}

fn partial_name(name: &str) -> String {
    format!("{name}.partial")
}

fn index_name(name: &str) -> String {
    format!("{name}.index")
}

fn new_index_name(name: &str) -> String {
    format!("{name}.index.new")
}

/// The slot that a directory or file below `releases` belongs to.
fn slot_of(file_name: &str) -> Option<&str> {
    let name = file_name.split('.').next()?;
    let (generation, digest) = name.split_once('-')?;
    let ours = !generation.is_empty()
        && generation.bytes().all(|byte| byte.is_ascii_digit())
        && digest.len() == 12
        && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    ours.then_some(name)
}

fn exists(path: &Path) -> Result<bool, SlotError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io("look at", path)(error)),
    }
}

fn remove_file(path: &Path) -> Result<(), SlotError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Follows no link; the standard library sees to that.
fn remove_tree(path: &Path) -> Result<(), SlotError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_directory(path: &Path) -> Result<(), SlotError> {
    let directory = fs::OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(rustix::fs::OFlags::DIRECTORY.bits()).unwrap_or(0))
        .open(path);
    directory.and_then(|directory| directory.sync_all()).map_err(io("sync", path))
}

fn io<'p>(operation: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> SlotError + 'p {
    move |source| SlotError::Io { operation, path: path.to_owned(), source }
}

fn errno<'p>(
    operation: &'static str,
    base: &'p Path,
    path: &'p EntryPath,
) -> impl FnOnce(rustix::io::Errno) -> SlotError + 'p {
    move |error| SlotError::Io { operation, path: base.join(path.as_str()), source: error.into() }
}

#[cfg(test)]
mod tests;
