//! Finding an application's processes again, whoever started them and whether or not that was recorded.
//!
//! Every program that the applier starts carries a mark in its environment: the root of its application.
//! So an applier that was killed between starting a program and noting it down still finds it, and a stop
//! leaves nothing of it behind. Only a program that rewrites its own environment block hides from this.

use std::collections::BTreeMap;
use std::path::Path;

use cutover_applier_core::Running;

/// The environment variable that marks a program; its value is the application's root.
pub const MARK: &str = "CUTOVER_ROOT";

/// The environment variable that marks a hook.
pub const HOOK_MARK: &str = "CUTOVER_HOOK_ROOT";

/// The sessions of hooks of `root` that run now. When an applier starts, each is an orphan.
pub fn hooks(root: &Path) -> Vec<Running> {
    marked(HOOK_MARK, root)
}

/// The sessions with a marked member of `root` that run now, oldest first; each by its leader's id, which
/// may be gone while what it started goes on.
pub fn running(root: &Path) -> Vec<Running> {
    marked(MARK, root)
}

/// The processes of `root` that run now, by their ids.
pub fn processes(root: &Path) -> Vec<u32> {
    let mark = format!("{MARK}={}", root.display());
    pids().filter(|pid| member(*pid, &mark).is_some()).collect()
}

/// Every process of the host.
fn pids() -> impl Iterator<Item = u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn marked(name: &str, root: &Path) -> Vec<Running> {
    let mark = format!("{name}={}", root.display());
    let mut sessions = BTreeMap::new();
    for member in pids().filter_map(|pid| member(pid, &mark)) {
        let first = sessions.entry(member.session).or_insert(member.started_ticks);
        *first = member.started_ticks.min(*first);
    }
    let running = |(pid, started_ticks)| Running { pid, started_ticks };
    let mut found: Vec<_> = sessions.into_iter().map(running).collect();
    found.sort_by_key(|running| running.started_ticks);
    found
}

struct Member {
    session: u32,
    started_ticks: u64,
}

/// A process with the mark that has not ended.
fn member(pid: u32, mark: &str) -> Option<Member> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    if !environment.split(|byte| *byte == 0).any(|it| it == mark.as_bytes()) {
        return None;
    }
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // After the name, which may hold anything: state, parent, group, session, … start time (proc(5)).
    let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
    Some(Member {
        session: fields.get(3)?.parse().ok()?,
        started_ticks: fields.get(19)?.parse().ok()?,
    })
}
