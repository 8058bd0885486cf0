//! The tree of one slot, walked step by step from its directory without ever following a link.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cutover_shared::digest::{Digest, Hasher};
use cutover_shared::package::entry::{Entry, FileEntry, Kind};
use cutover_shared::package::index::Index;
use cutover_shared::package::path::EntryPath;
use cutover_shared::statement::{Managed, ManagedKind};
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

    /// Whether something is there, whatever it is.
    pub(super) fn has(&self, path: &EntryPath) -> Result<bool, SlotError> {
        Ok(self.stat(path)?.is_some())
    }

    fn stat(&self, path: &EntryPath) -> Result<Option<Stat>, SlotError> {
        let (parent, name) = match self.parent(path) {
            Ok(found) => found,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(errno("look at", &self.base, path)(error)),
        }
    }
}

/// Where a tree and its index differ.
#[derive(Debug)]
pub(super) struct Deviation<'i> {
    /// The path in the slot.
    pub(super) path: String,
    /// How.
    pub(super) difference: Difference,
    /// What the index has there; none for what is not part of the release.
    pub(super) entry: Option<&'i Entry>,
    /// What is there.
    pub(super) found: Option<Managed>,
}

/// Compares the tree at `base` with `index`: every byte, mode, owner and link, and nothing more there.
/// Tells each deviation until `tell` breaks off.
pub(super) fn survey<'i>(
    tree: &Tree,
    index: &'i Index,
    owner: Owner,
    mut tell: impl FnMut(Deviation<'i>) -> Result<ControlFlow<()>, SlotError>,
) -> Result<(), SlotError> {
    let mut children: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::from([("", BTreeSet::new())]);
    for entry in index.slot_entries() {
        let path = entry.path.as_str();
        let parent = entry.path.parent().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        children.entry(parent).or_default().insert(name);
        if let Kind::Directory { .. } = entry.kind {
            children.entry(path).or_default();
        }
        if let Some(difference) = compare(tree, entry, owner)? {
            let found = found(tree, &entry.path)?;
            let path = path.to_owned();
            let deviation = Deviation { path, difference, entry: Some(entry), found };
            if tell(deviation)?.is_break() {
                return Ok(());
            }
        }
    }
    for (directory, expected) in children {
        for (path, found) in extra(tree, directory, &expected)? {
            let difference = Difference::Extra;
            let deviation = Deviation { path, difference, entry: None, found };
            if tell(deviation)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// That the tree at `base` is what `index` says.
pub(super) fn verify(
    base: &Path,
    slot: &str,
    index: &Index,
    owner: Owner,
) -> Result<(), SlotError> {
    survey(&Tree::open(base)?, index, owner, |Deviation { path, difference, .. }| {
        Err(SlotError::Differs { slot: slot.to_owned(), path, difference })
    })
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
    // One byte more than it should have, in case it grows while it is read.
    let digest = digest(tree, &entry.path, content.size.saturating_add(1))?;
    Ok((digest != content.digest).then_some(Difference::Content))
}

/// The digest of a regular file's first bytes, `limit` at most.
fn digest(tree: &Tree, path: &EntryPath, limit: u64) -> Result<Digest, SlotError> {
    let file = tree.open_file(path, OFlags::RDONLY)?;
    hash(std::fs::File::from(file).take(limit)).map_err(io("read", &tree.path(path)))
}

fn hash(mut content: impl Read) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// What is in `directory` (the slot itself when empty) and not `expected` there.
fn extra(
    tree: &Tree,
    directory: &str,
    expected: &BTreeSet<&str>,
) -> Result<Vec<(String, Option<Managed>)>, SlotError> {
    let path = tree.base.join(directory);
    let failed = |error: Errno| io("list", &path)(error.into());
    let opened = match EntryPath::new(directory) {
        Ok(entry) => match tree.open_directory(&entry) {
            Ok(opened) => opened,
            // That it is gone, or none any longer, was told before.
            Err(error) if is_absence(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        },
        Err(_) => tree.root.try_clone().map_err(io("open", &tree.base))?,
    };
    let mut extra = Vec::new();
    for found in Dir::read_from(&opened).map_err(failed)? {
        let found = found.map_err(failed)?;
        let name = found.file_name().to_bytes();
        let known = name == b"." || name == b"..";
        if !known && !expected.iter().any(|it| it.as_bytes() == name) {
            let managed = managed(opened.as_fd(), found.file_name()).map_err(failed)?;
            let name = String::from_utf8_lossy(name);
            let separator = if directory.is_empty() { "" } else { "/" };
            extra.push((format!("{directory}{separator}{name}"), managed));
        }
    }
    extra.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(extra)
}

/// What there is at a path of the tree; none when nothing is.
fn found(tree: &Tree, path: &EntryPath) -> Result<Option<Managed>, SlotError> {
    let (parent, name) = match tree.parent(path) {
        Ok(found) => found,
        Err(error) if is_absence(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    managed(parent.as_fd(), name).map_err(errno("look at", &tree.base, path))
}

/// What `name` is in `directory`, a link itself and not what it leads to; none when it is not there.
pub(super) fn managed(
    directory: BorrowedFd<'_>,
    name: impl rustix::path::Arg + Copy,
) -> Result<Option<Managed>, Errno> {
    let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let file = rustix::fs::openat(directory, name, flags, Mode::empty())?;
            let hashed = hash(std::fs::File::from(file));
            ManagedKind::File(
                hashed.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?,
            )
        }
        FileType::Directory => ManagedKind::Directory,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
            ManagedKind::Link(target.to_string_lossy().into_owned())
        }
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => ManagedKind::Other,
    };
    let is_link = matches!(kind, ManagedKind::Link(_));
    let mode = (!is_link).then(|| format!("{:04o}", stat.st_mode & 0o7777));
    Ok(Some(Managed { kind, mode, owner: format!("{}:{}", stat.st_uid, stat.st_gid) }))
}

/// What the index has, as [`managed`] would find it.
pub(super) fn expected(entry: &Entry, owner: Owner) -> Managed {
    let (kind, mode) = match &entry.kind {
        Kind::File(content) => (ManagedKind::File(content.digest), Some(content.mode)),
        Kind::Directory { mode } => (ManagedKind::Directory, Some(*mode)),
        Kind::Link { target } => (ManagedKind::Link(target.clone()), None),
    };
    let mode = mode.map(|mode| mode.to_string());
    Managed { kind, mode, owner: format!("{}:{}", owner.uid, owner.gid) }
}

/// Whether what was to be opened is not there, or below something that is no directory.
fn is_absence(error: &SlotError) -> bool {
    let SlotError::Io { source, .. } = error else { return false };
    matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
