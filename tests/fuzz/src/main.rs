//! libFuzzer on one target, which `CUTOVER_FUZZ` names.
#![no_main]

#[cfg(feature = "configuration")]
mod configuration;
mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use targets::Target;

static CHOSEN: OnceLock<&Target> = OnceLock::new();

#[cfg(feature = "configuration")]
fn all() -> impl Iterator<Item = &'static Target> {
    targets::TARGETS.iter().chain(configuration::TARGETS)
}

#[cfg(not(feature = "configuration"))]
fn all() -> impl Iterator<Item = &'static Target> {
    targets::TARGETS.iter()
}

fuzz_target!(
    init: {
        let name = std::env::var("CUTOVER_FUZZ").unwrap_or_default();
        let chosen = all().find(|target| target.name == name);
        let _ = CHOSEN.set(chosen.expect("CUTOVER_FUZZ names a target"));
    },
    |bytes: &[u8]| {
        (CHOSEN.get().expect("it was chosen at the start").run)(bytes);
    }
);
