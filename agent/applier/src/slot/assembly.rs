//! Putting a slot together, chunk by chunk, in any order, over any number of attempts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use cutover_shared::digest::Digest;
use cutover_shared::package::chunk::{ChunkRef, MAX_CHUNK};
use cutover_shared::package::entry::{Entry, Kind};
use cutover_shared::package::index::Index;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::tree::{self, Tree};
use super::{
    Owner, SlotError, errno, index_name, io, new_index_name, partial_name, remove_tree,
    sync_directory,
};

/// Where a chunk belongs: an entry by its position in the index, and an offset.
#[derive(Debug, Clone, Copy)]
struct Place {
    entry: usize,
    offset: u64,
}

/// A slot on its way. Dropping it keeps what is there for the next attempt.
#[derive(Debug)]
pub struct Assembly {
    index: Index,
    /// What is still to come, and where it goes.
    missing: BTreeMap<ChunkRef, Vec<Place>>,
    work: Option<Work>,
}

/// What an assembly that is not finished works on.
#[derive(Debug)]
struct Work {
    releases: PathBuf,
    name: String,
    owner: Owner,
    tree: Tree,
    /// The file that was written to last, since chunks mostly come in order.
    last: Option<(usize, File)>,
}

impl Assembly {
    /// One that has nothing left to do.
    pub(super) fn finished(index: &Index) -> Self {
        Self { index: index.clone(), missing: BTreeMap::new(), work: None }
    }

    pub(super) fn begin(
        releases: &Path,
        name: &str,
        index: &Index,
        owner: Owner,
    ) -> Result<Self, SlotError> {
        let partial = releases.join(partial_name(name));
        let tree = match prepare(&partial, index) {
            Ok(tree) => tree,
            // Something is in the way that an attempt of ours would not have left.
            Err(_) => {
                remove_tree(&partial)?;
                prepare(&partial, index)?
            }
        };
        let mut assembly = Self { index: index.clone(), missing: BTreeMap::new(), work: None };
        assembly.hash_what_is_there(&tree)?;
        assembly.work = Some(Work {
            releases: releases.to_owned(),
            name: name.to_owned(),
            owner,
            tree,
            last: None,
        });
        Ok(assembly)
    }

    fn hash_what_is_there(&mut self, tree: &Tree) -> Result<(), SlotError> {
        let mut buffer = vec![0; usize::try_from(MAX_CHUNK).unwrap_or(0)];
        for (position, entry) in self.index.entries().iter().enumerate() {
            let Some(content) = entry.file().filter(|_| entry.is_in_slot()) else {
                continue;
            };
            let file = tree.open_file(&entry.path, OFlags::RDONLY)?;
            let file = File::from(file);
            let mut offset = 0;
            for chunk in &content.chunks {
                let length = usize::try_from(chunk.length).unwrap_or(0);
                let there = &mut buffer[..length];
                let whole = file.read_exact_at(there, offset).is_ok();
                if !whole || Digest::of(there) != chunk.digest {
                    let place = Place { entry: position, offset };
                    self.missing.entry(*chunk).or_default().push(place);
                }
                offset += u64::from(chunk.length);
            }
        }
        Ok(())
    }

    /// What it is to be.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The files of which something is still to come: their places among the entries, and their digests.
    pub fn missing_files(&self) -> Vec<(usize, Digest)> {
        let places = self.missing.values().flatten().map(|place| place.entry);
        let files: BTreeSet<usize> = places.collect();
        let digest = |entry: usize| Some((entry, self.index.entries()[entry].file()?.digest));
        files.into_iter().filter_map(digest).collect()
    }

    /// Takes a whole file that is elsewhere on this host: the file system shares its blocks where it can, or
    /// else the kernel copies them. What is then there is looked at, and what is no good stays missing.
    pub fn take_file(&mut self, entry: usize, source: &File) -> Result<(), SlotError> {
        let Some((work, wanted)) = self.work.as_mut().zip(self.index.entries().get(entry)) else {
            return Ok(());
        };
        let Some(content) = wanted.file() else { return Ok(()) };
        let file = File::from(work.tree.open_file(&wanted.path, OFlags::RDWR)?);
        copy_whole(source, &file, content.size).map_err(errno(
            "copy to",
            work.tree.base(),
            &wanted.path,
        ))?;
        let mut buffer = Vec::new();
        let mut offset = 0;
        for chunk in &content.chunks {
            buffer.resize(usize::try_from(chunk.length).unwrap_or(0), 0);
            let whole = file.read_exact_at(&mut buffer, offset).is_ok();
            if whole
                && Digest::of(&buffer) == chunk.digest
                && let Some(places) = self.missing.get_mut(chunk)
            {
                places.retain(|place| (place.entry, place.offset) != (entry, offset));
                if places.is_empty() {
                    self.missing.remove(chunk);
                }
            }
            offset += u64::from(chunk.length);
        }
        Ok(())
    }

    /// The chunks that are still to come, in the order in which packs hold them.
    pub fn missing(&self) -> Vec<ChunkRef> {
        let mut chunks = self.index.chunks();
        chunks.retain(|chunk| self.missing.contains_key(chunk));
        chunks
    }

    /// Writes a chunk to every place that it has. One that is there already is left alone.
    pub fn put(&mut self, chunk: &ChunkRef, content: &[u8]) -> Result<(), SlotError> {
        if ChunkRef::of(content) != Some(*chunk) {
            return Err(SlotError::WrongChunk(chunk.digest));
        }
        let (Some(places), Some(work)) = (self.missing.get(chunk), &mut self.work) else {
            return if self.index.chunks().contains(chunk) {
                Ok(())
            } else {
                Err(SlotError::WrongChunk(chunk.digest))
            };
        };
        for place in places {
            work.write(&self.index.entries()[place.entry], place, content)?;
        }
        self.missing.remove(chunk);
        Ok(())
    }

    /// Makes a slot of what is there: everything verified again as it is on the disk, synced, and only
    /// then under the slot's name.
    pub fn finish(self) -> Result<(), SlotError> {
        if !self.missing.is_empty() {
            return Err(SlotError::Incomplete(self.missing.len()));
        }
        let Some(work) = self.work else {
            return Ok(());
        };
        work.own_everything(&self.index)?;
        let partial = work.releases.join(partial_name(&work.name));
        tree::verify(&partial, &work.name, &self.index, work.owner)?;
        work.keep_index(&self.index)?;
        work.let_others_in()?;
        // One call for the index and all files and directories of the slot, and its errors are told.
        rustix::fs::syncfs(work.tree.root())
            .map_err(io::Error::from)
            .map_err(io("sync", &partial))?;
        let whole = work.releases.join(&work.name);
        fs::rename(&partial, &whole).map_err(io("rename", &partial))?;
        sync_directory(&work.releases)
    }
}

/// Makes the tree of a partial slot: directories, links, and files of their full length.
fn prepare(partial: &Path, index: &Index) -> Result<Tree, SlotError> {
    match fs::DirBuilder::new().mode(0o700).create(partial) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(io("create", partial)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let tree = Tree::open(partial)?;
    for entry in index.slot_entries() {
        match &entry.kind {
            Kind::Directory { .. } => tree.make_directory(&entry.path)?,
            Kind::Link { target } => tree.make_link(&entry.path, target)?,
            Kind::File(content) => {
                let file = tree.open_file(&entry.path, OFlags::WRONLY | OFlags::CREATE)?;
                rustix::fs::ftruncate(&file, content.size).map_err(errno(
                    "extend",
                    partial,
                    &entry.path,
                ))?;
            }
        }
    }
    Ok(tree)
}

/// Lets `target` have the content of `source`, `size` bytes of it, without bringing it here. Where file systems
/// do not do that, nothing happens; an error is one of the disk.
fn copy_whole(source: &File, target: &File, size: u64) -> Result<(), Errno> {
    if rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return rustix::fs::ftruncate(target, size);
    }
    let (mut from, mut to) = (0, 0);
    while to < size {
        let left = usize::try_from(size - to).unwrap_or(usize::MAX);
        let copied =
            rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), left);
        match copied {
            Ok(0) => break,
            Ok(_) => {}
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS)) => {
                return Err(error);
            }
            Err(_) => break,
        }
    }
    Ok(())
}

impl Work {
    fn write(&mut self, entry: &Entry, place: &Place, content: &[u8]) -> Result<(), SlotError> {
        let file = match self.last.take() {
            Some((position, file)) if position == place.entry => file,
            Some(_) | None => File::from(self.tree.open_file(&entry.path, OFlags::WRONLY)?),
        };
        file.write_all_at(content, place.offset).map_err(|error| SlotError::Io {
            operation: "write",
            path: self.tree.path(&entry.path),
            source: error,
        })?;
        self.last = Some((place.entry, file));
        Ok(())
    }

    /// Owners and modes, from the leaves to the root, so that nobody else can write before the end.
    fn own_everything(&self, index: &Index) -> Result<(), SlotError> {
        let entries: Vec<&Entry> = index.slot_entries().collect();
        for entry in entries.into_iter().rev() {
            let (parent, name) = self.tree.parent(&entry.path)?;
            let failed = || errno("set owner and mode of", self.tree.base(), &entry.path);
            let (uid, gid) = (Uid::from_raw(self.owner.uid), Gid::from_raw(self.owner.gid));
            match &entry.kind {
                Kind::Link { .. } => {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    rustix::fs::chownat(&parent, name, Some(uid), Some(gid), flags)
                        .map_err(failed())?;
                }
                Kind::File(content) => {
                    let file = self.tree.open_file(&entry.path, OFlags::RDONLY)?;
                    self.own(&file, content.mode.bits()).map_err(failed())?;
                }
                Kind::Directory { mode } => {
                    let directory = self.tree.open_directory(&entry.path)?;
                    self.own(&directory, mode.bits()).map_err(failed())?;
                }
            }
        }
        Ok(())
    }

    /// The slot's own directory stays the applier's, so that nothing in it can be exchanged. Until here
    /// nobody else could get into it.
    fn let_others_in(&self) -> Result<(), SlotError> {
        rustix::fs::fchmod(self.tree.root(), Mode::from_raw_mode(0o755))
            .map_err(io::Error::from)
            .map_err(io("set the mode of", self.tree.base()))
    }

    fn own(&self, file: &OwnedFd, mode: u32) -> Result<(), Errno> {
        let (uid, gid) = (Uid::from_raw(self.owner.uid), Gid::from_raw(self.owner.gid));
        rustix::fs::fchown(file, Some(uid), Some(gid))?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode))
    }

    fn keep_index(&self, index: &Index) -> Result<(), SlotError> {
        let new = self.releases.join(new_index_name(&self.name));
        let kept = self.releases.join(index_name(&self.name));
        fs::write(&new, index.to_bytes()).map_err(io("write", &new))?;
        fs::rename(&new, &kept).map_err(io("rename", &new))
    }
}
