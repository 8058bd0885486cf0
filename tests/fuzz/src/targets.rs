//! Every decoder of bytes from outside, and what must hold of it whatever the bytes are.
//!
//! A target panics when it does not hold. Beyond "no panic": what was read is written and read as the same;
//! where the bytes are a value's identity they are written as they were; nothing becomes larger than its
//! limit. The fuzzer runs one target for long (`tests/fuzz/run`), and `cargo test -p cutover-tests --test
//! corpora` replays `tests/fuzz/corpus/<target>/` on all of them.

#[path = "targets/calendars.rs"]
mod calendars;
#[path = "targets/documents.rs"]
mod documents;
#[path = "targets/packages.rs"]
mod packages;
#[path = "targets/snapshots.rs"]
mod snapshots;
#[path = "targets/wire.rs"]
mod wire;

/// A decoder.
pub(crate) struct Target {
    /// Its name, and that of its corpus.
    pub(crate) name: &'static str,
    /// What must hold of these bytes.
    pub(crate) run: fn(&[u8]),
}

pub(crate) const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// Those of the pure crates.
pub(crate) const TARGETS: &[Target] = &[
    target("frame", wire::frame),
    target("frame-of-the-agent", wire::frame_of_the_agent),
    target("evidence", wire::evidence),
    target("clearance", wire::clearance),
    target("join", wire::join),
    target("ledger", wire::ledger),
    target("envelope", documents::envelope),
    target("statement", documents::statement),
    target("log", documents::log),
    target("policy-json", documents::policy_json),
    target("policy-toml", documents::policy_toml),
    target("checkpoint", documents::checkpoint),
    target("key", documents::key),
    target("words", documents::words),
    target("snapshot", snapshots::snapshot),
    target("index", packages::index),
    target("map", packages::map),
    target("chunk", packages::chunk),
    target("manifest", packages::manifest),
    target("package", packages::package),
    target("form", packages::form),
    target("form-schema", packages::form_schema),
    target("calendar-file", calendars::file),
    target("calendar-window", calendars::window),
    target("calendar-rule", calendars::rule),
];
