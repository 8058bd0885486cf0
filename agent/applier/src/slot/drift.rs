//! What in a slot is not as it was deployed, and what watches for it.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::path::Path;

use cutover_machine::Slot;
use cutover_shared::statement::{Drift, Managed, ManagedKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::tree::{self, Deviation, Tree};
use super::{CURRENT, RELEASES, SlotError, Slots, io, name};

impl Slots {
    /// Every way in which the link and the slot that it should name differ from what was deployed, the first
    /// `limit` of them.
    pub fn drift(&self, slot: &Slot, limit: usize) -> Result<Vec<Drift>, SlotError> {
        let mut drifts: Vec<Drift> = self.link_drift(slot)?.into_iter().collect();
        let index = self.index(slot)?;
        let tree = Tree::open(&self.path(slot))?;
        tree::survey(&tree, &index, self.owner, |Deviation { path, entry, found, .. }| {
            if drifts.len() >= limit {
                return Ok(ControlFlow::Break(()));
            }
            let expected = entry.map(|entry| tree::expected(entry, self.owner));
            // It can be put right between the comparison and the second look.
            if expected != found {
                drifts.push(Drift { path, expected, found });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(drifts)
    }

    /// How the link differs, if it does not name `slot`.
    pub fn link_drift(&self, slot: &Slot) -> Result<Option<Drift>, SlotError> {
        let failed = || io("look at", &self.root);
        let root = File::open(&self.root).map_err(failed())?;
        let found = tree::managed(root.as_fd(), CURRENT).map_err(|error| failed()(error.into()))?;
        let target = format!("{RELEASES}/{}", name(slot));
        if found.as_ref().is_some_and(|it| it.kind == ManagedKind::Link(target.clone())) {
            return Ok(None);
        }
        // Whoever may replace a link owns its directory; who owns the link itself says nothing.
        let owner = |it: &Managed| it.owner.clone();
        let expected = Managed {
            kind: ManagedKind::Link(target),
            mode: None,
            owner: found.as_ref().map_or_else(|| "0:0".to_owned(), owner),
        };
        Ok(Some(Drift { path: CURRENT.to_owned(), expected: Some(expected), found }))
    }

    /// Watches the slot and the link, and tells after each change of either. Dropping the watcher ends it.
    pub fn guard(
        &self,
        slot: &Slot,
        changed: impl Fn() + Send + 'static,
    ) -> notify::Result<RecommendedWatcher> {
        let (slot, link) = (self.path(slot), self.root.join(CURRENT));
        let managed = {
            let (slot, link) = (slot.clone(), link.clone());
            move |path: &Path| path.starts_with(&slot) || path == link
        };
        let handler = move |event: notify::Result<notify::Event>| {
            let changes = match event {
                // Reading is an event, too, and mostly ours.
                Ok(event) => {
                    let read = matches!(event.kind, notify::EventKind::Access(_));
                    !read && (event.need_rescan() || event.paths.iter().any(|it| managed(it)))
                }
                // Something was missed.
                Err(_) => true,
            };
            if changes {
                changed();
            }
        };
        // What a release shares is written all the time, and is no part of the slot.
        let config = notify::Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(handler, config)?;
        watcher.watch(&slot, RecursiveMode::Recursive)?;
        watcher.watch(&self.root, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}
