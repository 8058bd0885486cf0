//! A package's content on its way into a slot: index, map and manifest first, then the chunks.
//!
//! The core holds index and manifest against the package digest, which the order names; here each chunk is
//! held against the index.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use cutover_applier_core::{Failure, Package, Unread};
use cutover_machine::Slot;
use cutover_shared::digest::Digest;
use cutover_shared::package::chunk::{ChunkRef, inflate};
use cutover_shared::package::index::{Index, MAX_INDEX};
use cutover_shared::package::map::{MAX_MAP, Piece};
use cutover_shared::protocol::Part;
use rustix::fs::OFlags;

use crate::fetch::{Fetcher, refused};
use crate::slot::{Assembly, Slots};
use crate::work::chain;

/// Most bytes asked for in one range: enough to keep a connection busy, little enough to ask again.
const MAX_RANGE: u64 = 4 << 20;

fn mismatch(facts: impl std::fmt::Display) -> Failure {
    format!("digest-mismatch: {facts}")
}

/// Reads index, map and manifest.
pub async fn read(package: Digest, fetcher: &Fetcher) -> Result<Package, Failure> {
    let index = fetcher.whole(Part::Index, MAX_INDEX).await?;
    let map = fetcher.whole(Part::Map, MAX_MAP).await?;
    let unread = Unread::of(package, &index, &map)?;
    let mut manifest = Vec::new();
    for (piece, _) in unread.pieces() {
        let mut stream = fetcher.stream(Part::Pack, piece.offset, u64::from(piece.stored)).await;
        let mut stored = Vec::new();
        while let Some(bytes) = stream.recv().await {
            stored.extend_from_slice(&bytes.map_err(|refusal| refused(&refusal))?);
        }
        manifest.push(stored);
    }
    unread.read(&manifest)
}

/// Fills `assembly`: first with what the host has in `local` slots, then from the pack. Tells progress in
/// bytes of content as `(done, all)`.
pub async fn fill(
    mut assembly: Assembly,
    package: &Package,
    fetcher: &Fetcher,
    local: Vec<(PathBuf, Index)>,
    progress: impl Fn(u64, u64),
) -> Result<Assembly, Failure> {
    let all: u64 = assembly.missing().iter().map(|chunk| u64::from(chunk.length)).sum();
    let mut assembly =
        tokio::task::spawn_blocking(move || take_local(&mut assembly, &local).map(|()| assembly))
            .await
            .map_err(|error| error.to_string())??;
    let missing = assembly.missing();
    let left: u64 = missing.iter().map(|chunk| u64::from(chunk.length)).sum();
    let mut done = all - left;
    progress(done, all);
    for range in ranges(package, &missing)? {
        let mut stream = fetcher.stream(Part::Pack, range.start, range.end - range.start).await;
        let mut buffer = Vec::new();
        let mut pieces = range.pieces.into_iter().peekable();
        while let Some(bytes) = stream.recv().await {
            buffer.extend_from_slice(&bytes.map_err(|refusal| refused(&refusal))?);
            let mut used = 0;
            while let Some((piece, _)) = pieces.peek()
                && buffer.len() - used >= piece.stored as usize
            {
                let Some((piece, chunk)) = pieces.next() else { break };
                let stored = &buffer[used..used + piece.stored as usize];
                let content = inflate(stored, &chunk).map_err(mismatch)?;
                assembly.put(&chunk, &content).map_err(|error| error.to_string())?;
                used += piece.stored as usize;
                done += u64::from(chunk.length);
            }
            buffer.drain(..used);
            progress(done, all);
        }
        if pieces.peek().is_some() {
            return Err(mismatch("the pack ends before its last chunk"));
        }
    }
    Ok(assembly)
}

/// Fills `assembly` from what the host has, all of it: the way of an ordered return.
pub fn fill_locally(assembly: &mut Assembly, local: &[(PathBuf, Index)]) -> Result<(), Failure> {
    take_local(assembly, local)?;
    match assembly.missing().first() {
        None => Ok(()),
        Some(chunk) => {
            Err(mismatch(format!("chunk {} is nowhere on this host", chunk.digest.short())))
        }
    }
}

/// Whole files first, then what is left chunk by chunk. What was changed on the host has other content; then it
/// is fetched.
fn take_local(assembly: &mut Assembly, local: &[(PathBuf, Index)]) -> Result<(), Failure> {
    take_files(assembly, local)?;
    let missing = assembly.missing();
    let mut wanted: BTreeSet<Digest> = missing.iter().map(|chunk| chunk.digest).collect();
    for (root, index) in local {
        for entry in index.slot_entries() {
            let Some(file) = entry.file() else { continue };
            if !file.chunks.iter().any(|chunk| wanted.contains(&chunk.digest)) {
                continue;
            }
            let Ok(mut source) = open(&root.join(entry.path.as_str())) else { continue };
            let mut offset = 0;
            for chunk in &file.chunks {
                let start = offset;
                offset += u64::from(chunk.length);
                if !wanted.contains(&chunk.digest) {
                    continue;
                }
                let mut content = vec![0; chunk.length as usize];
                let read = source
                    .seek(std::io::SeekFrom::Start(start))
                    .and_then(|_| source.read_exact(&mut content));
                if read.is_ok() && Digest::of(&content) == chunk.digest {
                    assembly.put(chunk, &content).map_err(|error| error.to_string())?;
                    wanted.remove(&chunk.digest);
                }
            }
        }
    }
    Ok(())
}

fn take_files(assembly: &mut Assembly, local: &[(PathBuf, Index)]) -> Result<(), Failure> {
    let mut sources: BTreeMap<Digest, PathBuf> = BTreeMap::new();
    for (root, index) in local {
        for entry in index.slot_entries() {
            if let Some(file) = entry.file() {
                sources.entry(file.digest).or_insert_with(|| root.join(entry.path.as_str()));
            }
        }
    }
    for (entry, digest) in assembly.missing_files() {
        if let Some(Ok(source)) = sources.get(&digest).map(|path| open(path)) {
            assembly.take_file(entry, &source).map_err(|error| chain(&error))?;
        }
    }
    Ok(())
}

/// Opens a file of a slot to read. Whoever owns it may have put something else in its place: no link is
/// followed, and nothing waited for.
fn open(path: &Path) -> std::io::Result<std::fs::File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

struct Range {
    start: u64,
    end: u64,
    pieces: Vec<(Piece, ChunkRef)>,
}

/// The missing chunks as ranges of the pack, adjacent ones joined.
fn ranges(package: &Package, missing: &[ChunkRef]) -> Result<Vec<Range>, Failure> {
    let mut by_offset = BTreeMap::new();
    for chunk in missing {
        let piece = package.piece(chunk)?;
        by_offset.insert(piece.offset, (piece, *chunk));
    }
    let mut ranges: Vec<Range> = Vec::new();
    for (start, (piece, chunk)) in by_offset {
        let end = start + u64::from(piece.stored);
        match ranges.last_mut() {
            Some(range) if range.end == start && end - range.start <= MAX_RANGE => {
                range.end = end;
                range.pieces.push((piece, chunk));
            }
            Some(_) | None => ranges.push(Range { start, end, pieces: vec![(piece, chunk)] }),
        }
    }
    Ok(ranges)
}

/// The slots that chunks can be taken from: those of `slots` that are whole.
pub fn local_sources(slots: &Slots, committed: &[Slot]) -> Vec<(PathBuf, Index)> {
    committed.iter().filter_map(|slot| Some((slots.path(slot), slots.index(slot).ok()?))).collect()
}
