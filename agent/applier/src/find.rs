//! Finding an application's processes again, whoever started them and whether or not that was recorded.
//!
//! Every program that the applier starts carries a mark in its environment: the root of its application.
//! So an applier that was killed between starting a program and noting it down still finds it, and a stop
//! leaves nothing of it behind. Only a program that rewrites its own environment block hides from this.

use std::path::Path;

use crate::process::{Running, is_running};

/// The environment variable that marks a program; its value is the application's root.
pub const MARK: &str = "CUTOVER_ROOT";

/// The session leaders with the mark of `root` that run now, oldest first. A program's own children are
/// in its session and end with it.
pub fn running(root: &Path) -> Vec<Running> {
    let mark = format!("{MARK}={}", root.display());
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<Running> = pids
        .filter_map(|pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // After the name, which may hold anything: state, parent, group, session, … start time.
            let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
            let session: u32 = fields.get(3)?.parse().ok()?;
            let started_ticks = fields.get(19)?.parse().ok()?;
            if session != pid {
                return None;
            }
            let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            let marked = environment.split(|byte| *byte == 0).any(|it| it == mark.as_bytes());
            let running = Running { pid, started_ticks };
            (marked && is_running(&running)).then_some(running)
        })
        .collect();
    found.sort_by_key(|running| running.started_ticks);
    found
}
