//! The rows of the process, each at the command line against a running coordinator: a test's name begins
//! with the number of the row that it is about.

mod exceptions;
mod row_01_drift;
mod row_02_rehearsal;
mod row_03_package;
mod row_04_forms;
mod row_04_runbook;
mod row_05_impact;
mod row_07_review;
mod row_08_suggest;
mod row_09_consults;
mod row_10_informed;
mod row_10_timed;
mod row_11_denied;
mod row_12_board;
mod row_13_tasks;
mod row_14_staging;
mod row_15_schedule;
mod row_16_timely;
mod row_17_unexpected;
mod row_18_emergency;
mod row_20_commands;
mod row_20_explain;
#[cfg(test)]
mod trackers;

use cutover_tests::build::binaries;
use cutover_tests::harness::Stage;

/// A stage with a coordinator and its people, and no hosts.
async fn stage() -> anyhow::Result<(Stage, tempfile::TempDir)> {
    let directory = tempfile::Builder::new().prefix("cutover-rows-").tempdir()?;
    let stage = Stage::start(directory.path(), binaries()).await?;
    Ok((stage, directory))
}
