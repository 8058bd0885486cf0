//! Reading the log back at the start: everything that the checkpoint covers must be there, everything
//! behind it is cut off.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cutover_shared::log::{Frontier, Tree, TreeHead, leaf_hash};

use super::bundle::{self, BUNDLE, Reader, Record};
use super::files::{self, FileError, failed};
use super::log::{Contents, LogError, exists};

/// What was behind the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutTail {
    /// How long the log is without it.
    pub size: u64,
    /// How many bytes were cut off.
    pub bytes: u64,
    /// How many whole entries were among them.
    pub entries: u64,
    /// The file that holds them now.
    pub kept: PathBuf,
}

/// Reads and hashes the entries that `promised` covers. Changes nothing.
pub(super) fn scan(
    directory: &Path,
    promised: &TreeHead,
) -> Result<(Contents, Frontier), LogError> {
    let mut contents = Contents { tree: Tree::default(), ends: Vec::new() };
    let mut frontier = Frontier::default();
    let mut index = 0;
    while index < promised.size {
        let path = directory.join(bundle::path(index / BUNDLE));
        if !exists(&path)? {
            return Err(shorter(directory, index, promised.size));
        }
        let file = File::open(&path).map_err(failed("open", &path))?;
        let mut reader = Reader::new(BufReader::new(file));
        let end = promised.size.min((index / BUNDLE + 1) * BUNDLE);
        while index < end {
            match reader.next().map_err(failed("read", &path))? {
                Record::Entry(entry) => {
                    let leaf = leaf_hash(&entry);
                    contents.tree.append(leaf);
                    contents.ends.push(reader.offset());
                    frontier.append(leaf);
                }
                Record::End | Record::Torn => {
                    return Err(shorter(directory, index, promised.size));
                }
                Record::Impossible(_) => {
                    return Err(LogError::Damaged {
                        path,
                        index,
                        fault: "a length that no entry has",
                    });
                }
            }
            index += 1;
        }
        let full = index.is_multiple_of(BUNDLE);
        if full && reader.next().map_err(failed("read", &path))? != Record::End {
            return Err(LogError::Damaged { path, index, fault: "more than a bundle holds" });
        }
    }
    let found = contents.tree.head().root;
    if found == promised.root {
        Ok((contents, frontier))
    } else {
        Err(LogError::RootDiffers {
            path: directory.to_owned(),
            size: promised.size,
            found,
            promised: promised.root,
        })
    }
}

fn shorter(directory: &Path, have: u64, promised: u64) -> LogError {
    LogError::Shorter { path: directory.to_owned(), have, promised }
}

/// Part of a tail: the bundle, and how much of it stays.
struct Rest {
    path: PathBuf,
    stays: u64,
}

/// Moves whatever lies behind the last good entry to `cut/`. First the copy is made durable, then the
/// bundles are shortened, the last one first, so that a crash within finds a tail again.
pub(super) fn cut_tail(directory: &Path, ends: &[u64]) -> Result<Option<CutTail>, LogError> {
    let size = ends.len() as u64;
    let rests = find_rests(directory, ends)?;
    if rests.is_empty() {
        return Ok(None);
    }
    let kept = free_name(directory, size)?;
    let mut tail = CutTail { size, bytes: 0, entries: 0, kept };
    let mut copy = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&tail.kept)
        .map_err(failed("create", &tail.kept))?;
    for rest in &rests {
        tail.bytes += copy_rest(rest, &mut copy, &tail.kept)?;
        tail.entries += count_entries(rest)?;
    }
    copy.sync_all().map_err(failed("sync", &tail.kept))?;
    files::sync_directory(&directory.join("cut"))?;
    for rest in rests.iter().rev() {
        remove_rest(rest)?;
    }
    Ok(Some(tail))
}

fn find_rests(directory: &Path, ends: &[u64]) -> Result<Vec<Rest>, LogError> {
    let size = ends.len() as u64;
    let mut number = size / BUNDLE;
    let mut stays = match ends.last() {
        Some(end) if !size.is_multiple_of(BUNDLE) => *end,
        Some(_) | None => 0,
    };
    let mut rests = Vec::new();
    loop {
        let path = directory.join(bundle::path(number));
        if !exists(&path)? {
            return Ok(rests);
        }
        let length = fs::metadata(&path).map_err(failed("measure", &path))?.len();
        // A file that begins behind the checkpoint has no business here even when it is empty.
        if length > stays || stays == 0 {
            rests.push(Rest { path, stays });
        }
        number += 1;
        stays = 0;
    }
}

/// `cut/<size>`, or with a number behind it when the log was cut at this size before.
fn free_name(directory: &Path, size: u64) -> Result<PathBuf, FileError> {
    let cut = directory.join("cut");
    files::create_directories(directory, &cut)?;
    let mut path = cut.join(format!("{size}"));
    let mut count = 1;
    while exists(&path)? {
        count += 1;
        path = cut.join(format!("{size}-{count}"));
    }
    Ok(path)
}

fn open_rest(rest: &Rest) -> Result<File, FileError> {
    let mut file = File::open(&rest.path).map_err(failed("open", &rest.path))?;
    file.seek(SeekFrom::Start(rest.stays)).map_err(failed("read", &rest.path))?;
    Ok(file)
}

fn copy_rest(rest: &Rest, copy: &mut File, copy_path: &Path) -> Result<u64, FileError> {
    let mut source = open_rest(rest)?;
    let mut piece = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        let length = source.read(&mut piece).map_err(failed("read", &rest.path))?;
        if length == 0 {
            return Ok(total);
        }
        copy.write_all(&piece[..length]).map_err(failed("write", copy_path))?;
        total += length as u64;
    }
}

fn count_entries(rest: &Rest) -> Result<u64, FileError> {
    let mut reader = Reader::new(BufReader::new(open_rest(rest)?));
    let mut count = 0;
    while let Record::Entry(_) = reader.next().map_err(failed("read", &rest.path))? {
        count += 1;
    }
    Ok(count)
}

fn remove_rest(rest: &Rest) -> Result<(), FileError> {
    let path = &rest.path;
    if rest.stays == 0 {
        fs::remove_file(path).map_err(failed("remove", path))?;
        let parent = path.parent().expect("a bundle lies in a directory");
        return files::sync_directory(parent);
    }
    let file = OpenOptions::new().write(true).open(path).map_err(failed("open", path))?;
    file.set_len(rest.stays).and_then(|()| file.sync_all()).map_err(failed("shorten", path))
}
