//! The programs' configuration files.

use std::path::Path;

use crate::targets::{Target, target};

/// Those that take the programs to build.
pub(crate) const TARGETS: &[Target] = &[
    target("configuration-agent", agent),
    target("configuration-applier", applier),
    target("configuration-coordinator", coordinator),
];

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn agent(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let _ = cutover_agent::network::Settings::parse(text, Path::new("/etc/cutover"));
}

fn applier(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let path = Path::new("/etc/cutover/applier.toml");
    if let Ok(settings) = cutover_applier::config::parse(text, path) {
        let host = settings.host_settings();
        assert_eq!(host.applications.len(), settings.applications.len());
    }
}

fn coordinator(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let _ = cutover_coordinator::config::parse(text, Path::new("/etc/cutover"));
}
