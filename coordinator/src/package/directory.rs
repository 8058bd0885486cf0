//! Reading a submitter's directory.
//!
//! Links are never followed, and every file is read once, through the handle that its kind and size
//! were read from, so that a directory that changes meanwhile gives a package of what was read, never
//! of something outside it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cutover_shared::digest::{Digest, Hasher};
use cutover_shared::package::chunk::{AVERAGE_CHUNK, ChunkRef, MAX_CHUNK, MIN_CHUNK};
use cutover_shared::package::index::MAX_ENTRIES;
use cutover_shared::package::listing::{
    FORMS, HOOKS, Item, ItemKind, ListedFile, Listing, MAX_DOCUMENT, PAYLOAD, is_document,
};
use cutover_shared::package::outside;
use fastcdc::v2020::{Normalization, StreamCDC};

use super::Progress;

/// A directory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Looking at one entry, or listing one directory.
    #[error("read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// Somebody put something else in its place between two looks.
    #[error("read {}: it changed while it was read", .0.display())]
    Changed(PathBuf),
    /// What was read could not be passed on.
    #[error("write the chunks of {}", .0.display())]
    Sink(PathBuf, #[source] io::Error),
}

/// Takes each chunk of each file, in the order of the paths.
pub trait ChunkSink {
    /// Takes one.
    fn chunk(&mut self, chunk: &ChunkRef, content: &[u8]) -> io::Result<()>;
}

/// Nobody wants the chunks.
impl ChunkSink for () {
    fn chunk(&mut self, _: &ChunkRef, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// What was read: the listing, and for each file its chunks.
#[derive(Debug)]
pub struct Contents {
    /// Everything that is there.
    pub listing: Listing,
    /// The chunks of each file, by path.
    pub chunks: BTreeMap<String, Vec<ChunkRef>>,
}

/// Reads the directory at `root` whole. Of entries that no package has, only the top is looked at.
pub fn read(
    root: &Path,
    sink: &mut dyn ChunkSink,
    progress: &mut dyn Progress,
) -> Result<Contents, DirectoryError> {
    let found = walk(root)?;
    progress.begin(found.values().map(|found| found.size).sum());
    let mut contents = Contents { listing: Listing::new(), chunks: BTreeMap::new() };
    for (path, found) in found {
        let mut item = found.item;
        if let ItemKind::File(listed) = &mut item.kind {
            let (mode, read) = read_file(root, &path, sink, progress)?;
            item.mode = mode;
            *listed = read.listed;
            contents.chunks.insert(path.clone(), read.chunks);
        }
        contents.listing.add(&path, item);
    }
    add_shared(&mut contents.listing);
    Ok(contents)
}

/// What the manifest shares is a link, which the directory need not have.
fn add_shared(listing: &mut Listing) {
    // Whatever is wrong with the manifest, the check says.
    let Ok(manifest) = listing.manifest() else { return };
    for place in manifest.shared.iter().map(outside::place) {
        if let (None, Some(target)) = (listing.find(&place), outside::target(&place)) {
            let kind = ItemKind::Link(target);
            listing.add(&place, Item { kind, mode: 0o777, privileges: Vec::new() });
        }
    }
}

/// What a walk finds before any content is read.
struct Found {
    item: Item,
    size: u64,
}

fn walk(root: &Path) -> Result<BTreeMap<String, Found>, DirectoryError> {
    let mut found = BTreeMap::new();
    let mut left = vec![String::new()];
    while let Some(directory) = left.pop() {
        let at = root.join(&directory);
        let failed = |error| DirectoryError::Read(at.clone(), error);
        for entry in fs::read_dir(&at).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let (path, item) = look(root, &directory, &name)?;
            let enters = item.item.kind == ItemKind::Directory
                && (!directory.is_empty() || [FORMS, HOOKS, PAYLOAD].contains(&path.as_str()));
            if enters {
                left.push(path.clone());
            }
            found.insert(path, item);
            if found.len() > MAX_ENTRIES {
                // The check says so; a directory that is no package need not be walked to its end.
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn look(root: &Path, directory: &str, name: &OsStr) -> Result<(String, Found), DirectoryError> {
    let at = root.join(directory).join(name);
    let failed = |error| DirectoryError::Read(at.clone(), error);
    let metadata = fs::symlink_metadata(&at).map_err(failed)?;
    let shown = name.to_string_lossy();
    let path =
        if directory.is_empty() { shown.into_owned() } else { format!("{directory}/{shown}") };
    let kind = match name.to_str() {
        None => ItemKind::NotUtf8,
        Some(_) if metadata.is_symlink() => {
            let target = fs::read_link(&at).map_err(failed)?;
            let text = target.to_str().map(str::to_owned);
            text.map_or(ItemKind::NotUtf8, ItemKind::Link)
        }
        Some(_) => kind(&metadata),
    };
    let size = if metadata.is_file() { metadata.len() } else { 0 };
    let item =
        Item { kind, mode: metadata.mode() & 0o7777, privileges: privileges(&at).map_err(failed)? };
    Ok((path, Found { item, size }))
}

/// Files without their content yet.
fn kind(metadata: &Metadata) -> ItemKind {
    let file_type = metadata.file_type();
    if file_type.is_file() {
        ItemKind::File(ListedFile { size: metadata.len(), digest: Digest::of(b""), document: None })
    } else if file_type.is_dir() {
        ItemKind::Directory
    } else if file_type.is_socket() {
        ItemKind::Special("a socket")
    } else if file_type.is_fifo() {
        ItemKind::Special("a pipe")
    } else {
        ItemKind::Special("a device")
    }
}

/// Labels that systems put on every file by themselves: they give nothing and are not packaged.
const LABELS: [&str; 6] = [
    "security.selinux",
    "security.SMACK64",
    "security.apparmor",
    "security.ima",
    "security.evm",
    "trusted.overlay.",
];

/// The extended attributes that give privileges, by name.
fn privileges(path: &Path) -> io::Result<Vec<String>> {
    // The kernel's own limit for a list of names (XATTR_LIST_MAX).
    let mut names = vec![0_u8; 64 * 1024];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let names = names[..length].split(|byte| *byte == 0);
    let privileged = names
        .map(|name| OsStr::from_bytes(name).to_string_lossy().into_owned())
        .filter(|name| name.starts_with("security.") || name.starts_with("trusted."))
        .filter(|name| !LABELS.iter().any(|label| name.starts_with(label)));
    Ok(privileged.collect())
}

struct FileContent {
    listed: ListedFile,
    chunks: Vec<ChunkRef>,
}

fn read_file(
    root: &Path,
    path: &str,
    sink: &mut dyn ChunkSink,
    progress: &mut dyn Progress,
) -> Result<(u32, FileContent), DirectoryError> {
    let at = root.join(path);
    let failed = |error| DirectoryError::Read(at.clone(), error);
    let (file, metadata) = open(&at).map_err(failed)?;
    if !metadata.is_file() {
        return Err(DirectoryError::Changed(at));
    }
    let mut hasher = Hasher::new();
    let mut size = 0;
    let mut chunks = Vec::new();
    let keep = is_document(path) && metadata.len() <= MAX_DOCUMENT;
    let mut document = keep.then(Vec::new);
    for cut in cut(file) {
        let content = cut.map_err(|error| failed(error.into()))?.data;
        let chunk = ChunkRef::of(&content).expect("the cut keeps the sizes that it is given");
        hasher.update(&content);
        size += u64::from(chunk.length);
        if let Some(document) = document.as_mut() {
            document.extend_from_slice(&content);
        }
        sink.chunk(&chunk, &content).map_err(|error| DirectoryError::Sink(at.clone(), error))?;
        progress.advance(u64::from(chunk.length));
        chunks.push(chunk);
    }
    let listed = ListedFile {
        size,
        digest: hasher.finish(),
        document: document.filter(|bytes| bytes.len() as u64 <= MAX_DOCUMENT),
    };
    Ok((metadata.mode() & 0o7777, FileContent { listed, chunks }))
}

/// Opens what is there now, unless it is a link; a pipe does not make it wait.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    use rustix::fs::OFlags;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).expect("the flags of open are an int");
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// The cut that schema version 1 of the index prescribes.
fn cut(source: impl Read) -> StreamCDC<Patient<impl Read>> {
    StreamCDC::with_level(
        Patient(source),
        MIN_CHUNK as usize,
        AVERAGE_CHUNK as usize,
        MAX_CHUNK as usize,
        Normalization::Level1,
    )
}

/// Reads on after a signal; the cut itself would take it for the end.
struct Patient<R>(R);

impl<R: Read> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}
