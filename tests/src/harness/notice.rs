//! Notices of what happens below a directory, as the kernel gives them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::PATIENCE;

/// Watches a directory and everything below it.
#[derive(Debug)]
pub struct Notice {
    _watcher: RecommendedWatcher,
    paths: mpsc::UnboundedReceiver<PathBuf>,
}

impl Notice {
    /// Watches from now on.
    pub fn of(directory: &Path) -> anyhow::Result<Self> {
        let (sender, paths) = mpsc::unbounded_channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<_>| {
            let event: notify::Event = match event {
                Ok(event) => event,
                Err(_) => return,
            };
            if event.kind.is_create() || event.kind.is_modify() {
                for path in event.paths {
                    // The test that no longer listens needs no notice.
                    let _ = sender.send(path);
                }
            }
        })?;
        watcher.watch(directory, RecursiveMode::Recursive)?;
        Ok(Self { _watcher: watcher, paths })
    }

    /// Waits until something is made or written for which `wanted` holds.
    pub async fn until(&mut self, wanted: impl Fn(&Path) -> bool) -> anyhow::Result<PathBuf> {
        let seen = async {
            loop {
                let path = self.paths.recv().await.context("the watching ended")?;
                if wanted(&path) {
                    return Ok(path);
                }
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.context("nothing was seen in time")?
    }
}
