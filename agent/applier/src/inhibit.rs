//! Local inhibitors: files whose text is the reason not to go forward.

use std::path::Path;

use notify::{RecursiveMode, Watcher};

/// Longest reason that is read of a file, in bytes.
const MAX_REASON: usize = 512;

/// The reasons in a directory, by file name; a directory that is not there has none. One that cannot be
/// read counts as a reason: when in doubt, not forward.
pub fn reasons(directory: &Path) -> Vec<String> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![format!("{}: {error}", directory.display())],
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = std::fs::read(path).unwrap_or_default();
            let text =
                String::from_utf8_lossy(&text[..text.len().min(MAX_REASON)]).trim().to_owned();
            if text.is_empty() { name } else { format!("{name}: {text}") }
        })
        .collect()
}

/// Watches a directory and tells after each change of it. Keep the watcher; dropping it ends the watch.
pub fn watch(
    directory: &Path,
    changed: impl Fn() + Send + 'static,
) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Opening a file to read it is an event too, and is ours.
        let touched = event.is_ok_and(|event| !matches!(event.kind, notify::EventKind::Access(_)));
        if touched {
            changed();
        }
    })?;
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
