//! What releases share: directories beside the slots, which outlast them. The slot has a link to each.

use cutover_shared::package::index::Index;
use cutover_shared::package::outside::{self, SHARED};
use cutover_shared::package::path::EntryPath;
use rustix::fs::{Gid, Mode, Uid};

use super::tree::Tree;
use super::{Owner, SlotError, Slots, errno, io, sync_directory};

/// A directory on the way to what is shared, which stays the applier's.
const WAY: u32 = 0o755;
/// What is shared itself: the application's user may write there, and others may not look.
const OWN: u32 = 0o750;

impl Slots {
    /// Makes what a release shares where it is not there yet, as `user`'s, and syncs it. What is there stays
    /// as it is, whatever is in it; a link in its place is an error.
    pub fn make_shared(&self, index: &Index, user: Owner) -> Result<(), SlotError> {
        let paths = outside::of_index(index);
        if paths.is_empty() {
            return Ok(());
        }
        let base = self.root.join(SHARED);
        match std::fs::create_dir(&base) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io("create", &base)(error));
            }
            Ok(()) | Err(_) => {}
        }
        let tree = Tree::open(&base)?;
        for path in paths {
            let whole = path.as_str();
            let ends = whole.match_indices('/').map(|(end, _)| &whole[..end]);
            for way in ends.filter_map(|way| EntryPath::new(way).ok()) {
                make(&tree, &way, WAY, None)?;
            }
            make(&tree, &path, OWN, Some(user))?;
        }
        sync_directory(&self.root)
    }
}

/// Makes a directory that is not there; synced, and so is its name.
fn make(tree: &Tree, path: &EntryPath, mode: u32, user: Option<Owner>) -> Result<(), SlotError> {
    if tree.has(path)? {
        return tree.open_directory(path).map(drop);
    }
    tree.make_directory(path)?;
    let made = tree.open_directory(path)?;
    let failed = || errno("set owner and mode of", tree.base(), path);
    if let Some(Owner { uid, gid }) = user {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::fchown(&made, Some(uid), Some(gid)).map_err(failed())?;
    }
    rustix::fs::fchmod(&made, Mode::from_raw_mode(mode)).map_err(failed())?;
    let (parent, _) = tree.parent(path)?;
    rustix::fs::fsync(&made).and_then(|()| rustix::fs::fsync(&parent)).map_err(errno(
        "sync",
        tree.base(),
        path,
    ))
}
