//! Making a package of a directory.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cutover_shared::package::check;
use cutover_shared::package::chunk::ChunkRef;
use cutover_shared::package::entry::{Entry, FileEntry, Kind, Mode};
use cutover_shared::package::finding::Finding;
use cutover_shared::package::form::Catalogue;
use cutover_shared::package::index::{Index, IndexError};
use cutover_shared::package::listing::{Item, ItemKind};
use cutover_shared::package::manifest::Manifest;
use cutover_shared::package::map::{MapError, PackMap};
use cutover_shared::package::path::EntryPath;
use cutover_shared::statement::FormUsed;

use super::Progress;
use super::directory::{self, Contents, DirectoryError};
use super::file::{FileError, NewFile};
use super::pack::PackWriter;

/// What a package file's name ends with.
pub const SUFFIX: &str = "cutover";

/// A package that was made.
#[derive(Debug)]
pub struct Built {
    /// The file that holds it.
    pub path: PathBuf,
    /// What it is.
    pub index: Index,
    /// What its manifest says.
    pub manifest: Manifest,
    /// Which schemas its forms keep.
    pub forms: BTreeSet<FormUsed>,
    /// Where its chunks lie.
    pub map: PackMap,
    /// Bytes of its pack.
    pub stored: u64,
}

/// A directory was not made into a package.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It is not complete: every fault.
    #[error("build an incomplete package: {} faults were found", .0.len())]
    Incomplete(Vec<Finding>),
    /// It could not be read.
    #[error("read the directory")]
    Directory(#[from] DirectoryError),
    /// It keeps every rule of the check and is no package all the same.
    #[error("make the index")]
    Index(#[from] IndexError),
    /// It has more chunks than a map holds.
    #[error("make the map")]
    Map(#[from] MapError),
    /// The package file could not be written.
    #[error("write the package")]
    File(#[from] FileError),
    /// The place for the package could not be looked at.
    #[error("find {}", .0.display())]
    Place(PathBuf, #[source] io::Error),
    /// The package would become part of the next package.
    #[error("write {} into the directory that is packaged; choose a place outside it", .0.display())]
    Inside(PathBuf),
}

/// Everything that is wrong with the directory at `root`. Empty: a package can be made of it.
pub fn check(
    root: &Path,
    catalogue: &Catalogue,
    progress: &mut dyn Progress,
) -> Result<Vec<Finding>, DirectoryError> {
    let contents = directory::read(root, &mut (), progress)?;
    Ok(check::check(&contents.listing, catalogue))
}

/// The index of the directory at `root` as it is, complete or not. What no index can hold, which the
/// check tells, is left out.
pub fn index(root: &Path, progress: &mut dyn Progress) -> Result<Index, BuildError> {
    let contents = directory::read(root, &mut (), progress)?;
    Ok(Index::new(entries(&contents))?)
}

/// Makes a package of the directory at `root`, complete by the forms of `catalogue`, and writes it to `output`, or beside the directory as
/// `<application>-<version>.cutover`. A package that was there is replaced once the new one is whole.
pub fn build(
    root: &Path,
    output: Option<&Path>,
    catalogue: &Catalogue,
    progress: &mut dyn Progress,
) -> Result<Built, BuildError> {
    let root = canonical(root)?;
    let folder = folder(&root, output)?;
    let file = NewFile::create(&folder)?;
    let mut pack = PackWriter::new(file.pack()?);
    let contents = directory::read(&root, &mut pack, progress)?;
    let checked = check::examine(&contents.listing, catalogue);
    let forms = checked.forms_used();
    let manifest = match checked.manifest {
        Some(manifest) if checked.findings.is_empty() => manifest,
        Some(_) | None => return Err(BuildError::Incomplete(checked.findings)),
    };
    let index = Index::new(entries(&contents))?;
    let (pack, stored, map) = pack.finish(index.digest())?;
    let name = match output.and_then(Path::file_name) {
        Some(name) => name.to_owned(),
        None => format!("{}-{}.{SUFFIX}", manifest.application, manifest.version).into(),
    };
    let path = folder.join(name);
    file.finish(pack, stored, &index.to_bytes(), &map.to_bytes(), &path)?;
    Ok(Built { path, index, manifest, forms, map, stored })
}

fn canonical(path: &Path) -> Result<PathBuf, BuildError> {
    fs::canonicalize(path).map_err(|error| BuildError::Place(path.to_owned(), error))
}

/// The directory that the package will be in, which is not in the one that is packaged.
fn folder(root: &Path, output: Option<&Path>) -> Result<PathBuf, BuildError> {
    let folder = match output {
        Some(output) => match output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => canonical(parent)?,
            _ => canonical(Path::new("."))?,
        },
        None => root.parent().unwrap_or(root).to_owned(),
    };
    if folder.starts_with(root) {
        return Err(BuildError::Inside(folder));
    }
    Ok(folder)
}

/// The entries of what was read. What cannot be an entry is left out: the check has refused it.
fn entries(contents: &Contents) -> Vec<Entry> {
    let items = contents.listing.items();
    items
        .filter_map(|(path, item)| {
            let chunks = contents.chunks.get(path).map_or(&[][..], Vec::as_slice);
            let path = EntryPath::new(path).ok()?;
            let kind = entry_kind(item, chunks)?;
            Some(Entry { path, kind })
        })
        .collect()
}

fn entry_kind(item: &Item, chunks: &[ChunkRef]) -> Option<Kind> {
    match &item.kind {
        ItemKind::Directory => Some(Kind::Directory { mode: Mode::DIRECTORY }),
        ItemKind::Link(target) => Some(Kind::Link { target: target.clone() }),
        ItemKind::File(file) => Some(Kind::File(FileEntry {
            // What the owner may do; group and others depend on the umask of whoever checked it out.
            mode: if item.mode & 0o100 == 0 { Mode::PLAIN } else { Mode::EXECUTABLE },
            size: file.size,
            digest: file.digest,
            chunks: chunks.to_vec(),
        })),
        ItemKind::Special(_) | ItemKind::NotUtf8 => None,
    }
}
