//! The tree of one slot, walked step by step from its directory without ever following a link.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cutover_shared::digest::Hasher;
use cutover_shared::package::entry::{Entry, FileEntry, Kind};
use cutover_shared::package::index::Index;
use cutover_shared::package::path::EntryPath;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{Difference, Owner, SlotError, errno, io};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directory of a slot.
#[derive(Debug)]
pub(super) struct Tree {
    base: PathBuf,
    root: OwnedFd,
}

impl Tree {
    pub(super) fn open(base: &Path) -> Result<Self, SlotError> {
        let root = rustix::fs::open(base, DIRECTORY, Mode::empty())
            .map_err(io::Error::from)
            .map_err(io("open", base))?;
        Ok(Self { base: base.to_owned(), root })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    pub(super) fn path(&self, path: &EntryPath) -> PathBuf {
        self.base.join(path.as_str())
    }

    /// The directory that `path` is in, and its name there.
    pub(super) fn parent<'p>(&self, path: &'p EntryPath) -> Result<(OwnedFd, &'p str), SlotError> {
        let failed = || errno("open the directory of", &self.base, path);
        let mut directory = self.root.try_clone().map_err(io("open", &self.base))?;
        let mut components = path.components();
        let mut name = components.next().unwrap_or_default();
        for next in components {
            directory =
                rustix::fs::openat(&directory, name, DIRECTORY, Mode::empty()).map_err(failed())?;
            name = next;
        }
        Ok((directory, name))
    }

    pub(super) fn open_directory(&self, path: &EntryPath) -> Result<OwnedFd, SlotError> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty())
            .map_err(errno("open", &self.base, path))
    }

    /// Opens a regular file, or makes it with `CREATE`; readable and writable by us only, until its mode
    /// is set.
    pub(super) fn open_file(&self, path: &EntryPath, flags: OFlags) -> Result<OwnedFd, SlotError> {
        let (parent, name) = self.parent(path)?;
        // A FIFO in the way must not make us wait.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600))
            .map_err(errno("open", &self.base, path))
    }

    pub(super) fn make_directory(&self, path: &EntryPath) -> Result<(), SlotError> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => Ok(()),
            // Opening it tells whether it is a directory.
            Err(Errno::EXIST) => self.open_directory(path).map(drop),
            Err(error) => Err(errno("create", &self.base, path)(error)),
        }
    }

    pub(super) fn make_link(&self, path: &EntryPath, target: &str) -> Result<(), SlotError> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::symlinkat(target, &parent, name) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let there = rustix::fs::readlinkat(&parent, name, Vec::new());
                match there {
                    Ok(there) if there.to_bytes() == target.as_bytes() => Ok(()),
                    Ok(_) | Err(_) => Err(errno("link", &self.base, path)(Errno::EXIST)),
                }
            }
            Err(error) => Err(errno("link", &self.base, path)(error)),
        }
    }

    fn stat(&self, path: &EntryPath) -> Result<Option<Stat>, SlotError> {
        let (parent, name) = match self.parent(path) {
            Ok(found) => found,
            Err(SlotError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(errno("look at", &self.base, path)(error)),
        }
    }
}

/// Compares the tree at `base` with `index`.
pub(super) fn verify(
    base: &Path,
    slot: &str,
    index: &Index,
    owner: Owner,
) -> Result<(), SlotError> {
    let tree = Tree::open(base)?;
    let mut children: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::from([("", BTreeSet::new())]);
    for entry in index.slot_entries() {
        let path = entry.path.as_str();
        let parent = entry.path.parent().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        children.entry(parent).or_default().insert(name);
        if let Kind::Directory { .. } = entry.kind {
            children.entry(path).or_default();
        }
        if let Some(difference) = compare(&tree, entry, owner)? {
            return Err(SlotError::Differs {
                slot: slot.to_owned(),
                path: path.to_owned(),
                difference,
            });
        }
    }
    for (directory, expected) in children {
        if let Some(extra) = extra(&tree, directory, &expected)? {
            return Err(SlotError::Differs {
                slot: slot.to_owned(),
                path: extra,
                difference: Difference::Extra,
            });
        }
    }
    Ok(())
}

fn compare(tree: &Tree, entry: &Entry, owner: Owner) -> Result<Option<Difference>, SlotError> {
    let Some(stat) = tree.stat(&entry.path)? else {
        return Ok(Some(Difference::Missing));
    };
    let (file_type, mode) = match &entry.kind {
        Kind::File(content) => (FileType::RegularFile, Some(content.mode)),
        Kind::Directory { mode } => (FileType::Directory, Some(*mode)),
        Kind::Link { .. } => (FileType::Symlink, None),
    };
    if FileType::from_raw_mode(stat.st_mode) != file_type {
        return Ok(Some(Difference::Type));
    }
    if (stat.st_uid, stat.st_gid) != (owner.uid, owner.gid) {
        return Ok(Some(Difference::Owner));
    }
    if mode.is_some_and(|mode| stat.st_mode & 0o7777 != mode.bits()) {
        return Ok(Some(Difference::Mode));
    }
    match &entry.kind {
        Kind::Directory { .. } => Ok(None),
        Kind::File(content) => compare_content(tree, entry, content, &stat),
        Kind::Link { target } => {
            let (parent, name) = tree.parent(&entry.path)?;
            let there = rustix::fs::readlinkat(&parent, name, Vec::new()).map_err(errno(
                "read",
                &tree.base,
                &entry.path,
            ))?;
            Ok((there.to_bytes() != target.as_bytes()).then_some(Difference::Target))
        }
    }
}

fn compare_content(
    tree: &Tree,
    entry: &Entry,
    content: &FileEntry,
    stat: &Stat,
) -> Result<Option<Difference>, SlotError> {
    if u64::try_from(stat.st_size) != Ok(content.size) {
        return Ok(Some(Difference::Size));
    }
    let path = tree.path(&entry.path);
    let file = tree.open_file(&entry.path, OFlags::RDONLY)?;
    // One byte more than it should have, in case it grows while it is read.
    let mut file = std::fs::File::from(file).take(content.size.saturating_add(1));
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).map_err(io("read", &path))? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok((hasher.finish() != content.digest).then_some(Difference::Content))
}

/// Something in `directory` (the slot itself when empty) that is not `expected`.
fn extra(
    tree: &Tree,
    directory: &str,
    expected: &BTreeSet<&str>,
) -> Result<Option<String>, SlotError> {
    let path = tree.base.join(directory);
    let failed = |error: Errno| io("list", &path)(error.into());
    let opened = match EntryPath::new(directory) {
        Ok(entry) => tree.open_directory(&entry)?,
        Err(_) => tree.root.try_clone().map_err(io("open", &tree.base))?,
    };
    for found in Dir::read_from(&opened).map_err(failed)? {
        let found = found.map_err(failed)?;
        let name = found.file_name().to_bytes();
        let known = name == b"." || name == b"..";
        if !known && !expected.iter().any(|it| it.as_bytes() == name) {
            let name = String::from_utf8_lossy(name);
            let separator = if directory.is_empty() { "" } else { "/" };
            return Ok(Some(format!("{directory}{separator}{name}")));
        }
    }
    Ok(None)
}
