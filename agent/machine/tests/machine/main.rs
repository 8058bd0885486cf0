//! The machine as its driver sees it: named ways, the whole diagram, and chaos.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::unchecked_time_subtraction,
    reason = "a test that panics has failed, and only some effects matter to each"
)]

mod chaos;
mod diagram;
mod ways;
mod world;
