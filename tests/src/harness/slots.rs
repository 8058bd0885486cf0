//! What is on a host's disk, compared with the package directories that it came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::host::Host;

/// That `current` names a slot which is whole, file for file, the package made from `package`, and that
/// nothing else is half there.
pub fn check(host: &Host, package: &Path) -> anyhow::Result<()> {
    let current = host.current().context("`current` names nothing")?;
    ensure!(current.is_dir(), "`current` names {}", current.display());
    let (found, expected) = (files(&current)?, files(package)?);
    for part in ["payload", "hooks"] {
        let below = |files: &BTreeMap<PathBuf, Vec<u8>>| {
            let below = files.iter().filter(|(path, _)| path.starts_with(part));
            below.map(|(path, bytes)| (path.clone(), bytes.clone())).collect::<BTreeMap<_, _>>()
        };
        let (found, expected) = (below(&found), below(&expected));
        let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        ensure!(names(&found) == names(&expected), "{part}: other files: {:?}", names(&found));
        for (path, bytes) in expected {
            ensure!(found.get(&path) == Some(&bytes), "{} has other bytes", path.display());
        }
    }
    let half: Vec<_> = names(host)?.into_iter().filter(|it| it.contains(".partial")).collect();
    ensure!(half.is_empty(), "left behind: {half:?}");
    Ok(())
}

/// What there is in the directory of releases.
pub fn names(host: &Host) -> anyhow::Result<Vec<String>> {
    let entries = std::fs::read_dir(releases(host))?;
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        Ok(entry?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

/// Where a host has its releases.
pub fn releases(host: &Host) -> PathBuf {
    host.directory.join("web/releases")
}

fn files(root: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(root)?.to_owned();
                files.insert(name, std::fs::read(&path)?);
            }
        }
    }
    Ok(files)
}
