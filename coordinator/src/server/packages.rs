//! Packages: taken in and verified whole before anything of them is kept, given out by range.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write as _};

use bytes::{Bytes, BytesMut};
use cutover_shared::digest::Digest;
use cutover_shared::package::check::{self, Checked};
use cutover_shared::package::chunk::inflate;
use cutover_shared::package::form::{Catalogue, MAX_SCHEMAS};
use cutover_shared::package::index::{Index, MAX_INDEX};
use cutover_shared::package::listing::Listing;
use cutover_shared::package::map::{MAX_MAP, PackMap};
use cutover_shared::protocol::{self, MAX_RANGE, Response};
use cutover_shared::refusal::{Code, Refusal};
use cutover_transport::{FrameReader, FrameWriter, RAW_PIECE};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::core::Core;
use super::trouble::{Trouble, chain, moving};
use crate::forms::Forms;
use crate::package::upload::{UploadError, verify_upload};
use crate::store::{Part, RANGE_LIMIT, Staged};

/// The largest pack: what an ordinary disk can hold a few of.
const MAX_PACK: u64 = 64 << 30;

/// Pieces of a pack that wait to be written: 2 MiB.
const PIECES: usize = 8;

/// Most findings that a refusal names; `cutover package check` tells all.
const FINDINGS: usize = 8;

/// How long the three parts of a package are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lengths {
    pub(super) index: u64,
    pub(super) map: u64,
    pub(super) pack: u64,
}

/// The store's name for a part.
pub(super) fn part(part: protocol::Part) -> Part {
    match part {
        protocol::Part::Index => Part::Index,
        protocol::Part::Map => Part::Map,
        protocol::Part::Pack => Part::Pack,
    }
}

/// Takes in a package, whose bytes follow on `reader`.
pub(super) async fn put(
    core: &Core,
    package: Digest,
    lengths: Lengths,
    reader: &mut FrameReader,
) -> Result<Response, Trouble> {
    if core.store.part_size(package, Part::Index).await?.is_some() {
        return Ok(Response::Stored);
    }
    bounded(&lengths)?;
    let index = read_whole(reader, lengths.index).await?;
    if Digest::of(&index) != package {
        return refuse(Code::DigestMismatch, "the index is another package's than announced");
    }
    let map = read_whole(reader, lengths.map).await?;
    let pack = read_pack(core, reader, lengths.pack).await?;
    moving(reader.expect_end()).await?;
    let forms = core.forms.clone();
    let verified = spawn_blocking(move || {
        verify(&index, &map, &pack, &catalogue(&forms)?).map(|()| (index, map, pack))
    });
    let (index, map, pack) = finished(verified.await)??;
    let index = staged(core, index).await?;
    let map = staged(core, map).await?;
    for (part, staged) in [(Part::Pack, pack), (Part::Map, map), (Part::Index, index)] {
        core.store.put_part(package, part, staged).await?;
    }
    tracing::info!(package = %package.short(), pack_bytes = lengths.pack, "package stored");
    Ok(Response::Stored)
}

fn refuse<T>(code: Code, facts: impl Into<String>) -> Result<T, Trouble> {
    Err(Refusal::new(code, facts).into())
}

fn bounded(lengths: &Lengths) -> Result<(), Refusal> {
    let limits = [
        ("index", lengths.index, MAX_INDEX as u64),
        ("map", lengths.map, MAX_MAP as u64),
        ("pack", lengths.pack, MAX_PACK),
    ];
    match limits.iter().find(|(_, length, limit)| length > limit) {
        None => Ok(()),
        Some((what, length, limit)) => Err(Refusal::new(
            Code::Malformed,
            format!("a {what} of {length} bytes: at most {limit} are possible"),
        )),
    }
}

/// Reads a part into memory, which grows with what arrives and not with what was announced.
async fn read_whole(reader: &mut FrameReader, length: u64) -> Result<Vec<u8>, Trouble> {
    let length = usize::try_from(length).expect("it was compared with a limit that fits in memory");
    let mut bytes = BytesMut::new();
    while bytes.len() < length {
        let piece = RAW_PIECE.min(length - bytes.len());
        if moving(reader.read_raw(&mut bytes, piece)).await? < piece {
            return refuse(Code::Malformed, "the package is cut short");
        }
    }
    Ok(bytes.into())
}

/// Reads the pack into a staged part; another thread writes it, so that the two overlap.
async fn read_pack(core: &Core, reader: &mut FrameReader, length: u64) -> Result<Staged, Trouble> {
    let mut staged = core.store.stage()?;
    let (pieces, mut arrived) = mpsc::channel::<Bytes>(PIECES);
    let writing = spawn_blocking(move || -> io::Result<Staged> {
        while let Some(piece) = arrived.blocking_recv() {
            staged.write_all(&piece)?;
        }
        Ok(staged)
    });
    let mut left = length;
    while left > 0 {
        let piece = RAW_PIECE.min(usize::try_from(left).unwrap_or(RAW_PIECE));
        let mut buffer = BytesMut::with_capacity(piece);
        if moving(reader.read_raw(&mut buffer, piece)).await? < piece {
            return refuse(Code::Malformed, "the package is cut short");
        }
        left -= piece as u64;
        if pieces.send(buffer.freeze()).await.is_err() {
            // The writer has ended early, so it has an error to tell.
            break;
        }
    }
    drop(pieces);
    finished(writing.await)?.map_err(|error| Trouble::Failed(format!("write the pack: {error}")))
}

/// What a thread that may block has given.
fn finished<T>(outcome: Result<T, tokio::task::JoinError>) -> Result<T, Trouble> {
    match outcome {
        Ok(value) => Ok(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_cancelled) => Err(Trouble::Failed("finish: the coordinator is ending".to_owned())),
    }
}

async fn staged(core: &Core, bytes: Vec<u8>) -> Result<Staged, Trouble> {
    let mut staged = core.store.stage()?;
    let written = spawn_blocking(move || staged.write_all(&bytes).map(|()| staged)).await;
    finished(written)?.map_err(|error| Trouble::Failed(format!("write a part: {error}")))
}

fn verify(index: &[u8], map: &[u8], pack: &Staged, catalogue: &Catalogue) -> Result<(), Trouble> {
    let map = PackMap::parse(map).map_err(|error| Refusal::new(Code::Malformed, chain(&error)))?;
    match verify_upload(index, &map, StagedReader { staged: pack, position: 0 }, catalogue) {
        Ok(_accepted) => Ok(()),
        Err(error) => Err(judged(&error)),
    }
}

fn judged(error: &UploadError) -> Trouble {
    let code = match error {
        UploadError::Read(..) => return Trouble::Failed(chain(error)),
        UploadError::Incomplete(findings) => {
            let told: Vec<String> = findings
                .iter()
                .take(FINDINGS)
                .map(|it| format!("{}: {}", it.file, it.problem))
                .collect();
            let facts = format!("{error}: {}", told.join("; "));
            return Refusal::new(Code::Malformed, facts).into();
        }
        UploadError::Index(_) => Code::Malformed,
        UploadError::Unmapped(_)
        | UploadError::Surplus(_)
        | UploadError::OtherPack(_)
        | UploadError::Layout(_)
        | UploadError::Chunk(..)
        | UploadError::File { .. } => Code::DigestMismatch,
    };
    Refusal::new(code, chain(error)).into()
}

/// Reads back what was staged.
struct StagedReader<'s> {
    staged: &'s Staged,
    position: u64,
}

impl Read for StagedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.staged.length().saturating_sub(self.position);
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.staged.read_exact_at(&mut buffer[..wanted], self.position)?;
        self.position += wanted as u64;
        Ok(wanted)
    }
}

impl Seek for StagedReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.staged.length().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// How long the parts of a stored package are.
pub(super) async fn lengths(core: &Core, package: Digest) -> Result<Lengths, Trouble> {
    let index = core.store.part_size(package, Part::Index).await?;
    let map = core.store.part_size(package, Part::Map).await?;
    let pack = core.store.part_size(package, Part::Pack).await?;
    match (index, map, pack) {
        (Some(index), Some(map), Some(pack)) => Ok(Lengths { index, map, pack }),
        (None, _, _) => {
            refuse(Code::SubjectUnknown, format!("package {} is not stored here", package.short()))
        }
        (Some(_), _, _) => Err(Trouble::Failed(format!(
            "find the parts of package {}: the map or the pack is gone",
            package.short()
        ))),
    }
}

/// A range of a part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) package: Digest,
    pub(super) part: Part,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Gives out a range. `permitted` is asked again before each piece: a window may end on the way.
pub(super) async fn give(
    core: &Core,
    range: Range,
    permitted: impl Fn() -> Result<(), Refusal>,
    writer: &mut FrameWriter,
) -> Result<(), Trouble> {
    permitted()?;
    let lengths = lengths(core, range.package).await?;
    let size = match range.part {
        Part::Index => lengths.index,
        Part::Map => lengths.map,
        Part::Pack => lengths.pack,
    };
    let end = range.offset.checked_add(range.length).filter(|end| *end <= size);
    let (Some(end), 1..=MAX_RANGE) = (end, range.length) else {
        return refuse(
            Code::Malformed,
            format!(
                "{} bytes from {} of a {} of {size}: a range is 1 to {MAX_RANGE} bytes within it",
                range.length, range.offset, range.part
            ),
        );
    };
    moving(writer.send(&Response::Bytes { length: range.length })).await?;
    let mut position = range.offset;
    while position < end {
        let next = end.min(position + RANGE_LIMIT);
        if let Err(refusal) = permitted() {
            tracing::info!(package = %range.package.short(), %refusal, "transfer cut short");
            writer.cut(cutover_transport::CloseCode::NotPermitted);
            return Ok(());
        }
        let mut bytes =
            Bytes::from(core.store.read_part(range.package, range.part, position..next).await?);
        while !bytes.is_empty() {
            let piece = bytes.split_to(RAW_PIECE.min(bytes.len()));
            moving(writer.write_raw(piece)).await?;
        }
        position = next;
    }
    Ok(())
}

/// What a stored package is found to be by the forms of now; `None` when there is no such package.
pub(super) async fn checked(core: &Core, package: Digest) -> Result<Option<Checked>, Trouble> {
    let Some(length) = core.store.part_size(package, Part::Index).await? else {
        return Ok(None);
    };
    let damaged = |what: &str| {
        Trouble::Failed(format!("read {what} of package {}: it is damaged here", package.short()))
    };
    let index = read_part(core, package, Part::Index, length).await?;
    let index = Index::parse(&index).map_err(|_| damaged("the index"))?;
    let length = lengths(core, package).await?.map;
    let map = read_part(core, package, Part::Map, length).await?;
    let map = PackMap::parse(&map).map_err(|_| damaged("the map"))?;
    let mut documents = BTreeMap::new();
    for (path, file) in index.documents() {
        let mut text = Vec::new();
        for chunk in &file.chunks {
            let piece = map.locate(&chunk.digest).ok_or_else(|| damaged("the map"))?;
            let range = piece.offset..piece.offset + u64::from(piece.stored);
            let stored = core.store.read_part(package, Part::Pack, range).await?;
            text.extend(inflate(&stored, chunk).map_err(|_| damaged("the pack"))?);
        }
        documents.insert(path.to_owned(), text);
    }
    let forms = core.forms.clone();
    let checked = spawn_blocking(move || {
        let listing = Listing::of_index(&index, documents);
        Ok(check::examine(&listing, &catalogue(&forms)?))
    });
    finished(checked.await)?.map(Some)
}

/// The schemas of now.
fn catalogue(forms: &Forms) -> Result<Catalogue, Trouble> {
    forms.catalogue().map_err(|error| Trouble::Failed(chain(&error)))
}

/// The texts of schemas.
pub(super) async fn forms(core: &Core, of: Vec<Digest>) -> Result<Vec<String>, Trouble> {
    if of.len() > MAX_SCHEMAS {
        return refuse(Code::Malformed, format!("at most {MAX_SCHEMAS} schemas are given at once"));
    }
    let forms = core.forms.clone();
    let texts = spawn_blocking(move || forms.texts(&of));
    finished(texts.await)?.map_err(|error| Trouble::Failed(chain(&error)))
}

/// Keeps the schemas that a release is submitted with.
pub(super) async fn keep_forms(core: &Core, checked: Checked) -> Result<(), Trouble> {
    let forms = core.forms.clone();
    let kept = spawn_blocking(move || {
        checked.forms.values().try_for_each(|form| forms.keep(form.schema()))
    });
    finished(kept.await)?.map_err(|error| Trouble::Failed(chain(&error)))
}

async fn read_part(
    core: &Core,
    package: Digest,
    part: Part,
    length: u64,
) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let from = bytes.len() as u64;
        let to = length.min(from + RANGE_LIMIT);
        bytes.extend(core.store.read_part(package, part, from..to).await?);
    }
    Ok(bytes)
}
