//! Processes of this host, as `/proc` shows them to the user that asks.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Instant;

use cutover_shared::package::health::{CPU_SPAN, Limits};
use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

use super::Limit;

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// Counts the processes that run `program`. Threads are not counted, and nothing that has ended.
pub(super) fn count(program: &Path, at_least: u32, at_most: Option<u32>) -> Result<String, String> {
    let mut system = System::new().map_err(|error| format!("look at the processes: {error}"))?;
    let kind = ProcessRefreshKind::nothing().with_exe(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    let runs = |process: &&Process| process.exe() == Some(program) && lives(process);
    let count = system.processes().values().filter(runs).count();
    let seen = format!("{count} processes run {}", program.display());
    let most = at_most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    if count < usize::try_from(at_least).unwrap_or(usize::MAX) {
        return Err(format!("{seen}, at least {at_least} should"));
    }
    if count > most {
        return Err(format!("{seen}, at most {most} should"));
    }
    Ok(seen)
}

/// Looks whether `processes`, and the disk at `disk`, keep to `limits`.
pub(super) fn weigh(
    processes: &[u32],
    disk: &Path,
    limits: &Limits,
    limit: Limit,
) -> Result<String, String> {
    let mut readings = Vec::new();
    if let Some(least) = limits.disk_free_mib_at_least {
        readings.push(Measured::at_least("MiB of disk free", free_mib(disk)?, least));
    }
    let most = limits.memory_mib_at_most.or(limits.cpu_percent_at_most);
    if most.or(limits.open_files_at_most).is_some() {
        if processes.is_empty() {
            return Err("the application has no processes".to_owned());
        }
        readings.extend(taken(processes, limits, limit)?);
    }
    let told: Vec<_> = readings.iter().map(|it| it.text.as_str()).collect();
    let told = told.join(", ");
    if readings.iter().all(|it| it.is_kept) { Ok(told) } else { Err(told) }
}

/// A reading beside its limit.
struct Measured {
    text: String,
    is_kept: bool,
}

impl Measured {
    fn at_most(what: &str, found: u64, most: u32) -> Self {
        let is_kept = found <= u64::from(most);
        Self { text: format!("{found} {what} (at most {most})"), is_kept }
    }

    fn at_least(what: &str, found: u64, least: u32) -> Self {
        let is_kept = found >= u64::from(least);
        Self { text: format!("{found} {what} (at least {least})"), is_kept }
    }
}

fn taken(processes: &[u32], limits: &Limits, limit: Limit) -> Result<Vec<Measured>, String> {
    let mut system = System::new().map_err(|error| format!("look at the processes: {error}"))?;
    let pids: Vec<Pid> = processes.iter().copied().map(Pid::from_u32).collect();
    let kind = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
    let look = |system: &mut System| {
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, kind);
    };
    look(&mut system);
    let mut percent = 0;
    if limits.cpu_percent_at_most.is_some() {
        let spent = |system: &System| -> BTreeMap<Pid, u64> {
            let processes = system.processes().iter();
            processes.map(|(pid, process)| (*pid, process.accumulated_cpu_time())).collect()
        };
        let (before, began) = (spent(&system), Instant::now());
        let left = limit.left().ok_or_else(|| limit.passed("measure processor time"))?;
        thread::sleep(CPU_SPAN.min(left));
        look(&mut system);
        let millis = began.elapsed().as_millis().max(1);
        let more = |(pid, now): (Pid, u64)| Some(now.saturating_sub(*before.get(&pid)?));
        let spent: u64 = spent(&system).into_iter().filter_map(more).sum();
        percent = u64::try_from(u128::from(spent) * 100 / millis).unwrap_or(u64::MAX);
    }
    let found: Vec<&Process> = system.processes().values().filter(|it| lives(it)).collect();
    if found.is_empty() {
        return Err("the application's processes have ended".to_owned());
    }
    let mut readings = Vec::new();
    if let Some(most) = limits.memory_mib_at_most {
        let bytes: u64 = found.iter().map(|process| process.memory()).sum();
        readings.push(Measured::at_most("MiB of memory", bytes.div_ceil(MIB), most));
    }
    if let Some(most) = limits.cpu_percent_at_most {
        readings.push(Measured::at_most("% of a processor", percent, most));
    }
    if let Some(most) = limits.open_files_at_most {
        let mut largest = 0;
        for process in found {
            let cannot = || format!("process {}: its open files cannot be seen", process.pid());
            largest = largest.max(process.open_files().ok_or_else(cannot)?);
        }
        readings.push(Measured::at_most("open files", largest as u64, most));
    }
    Ok(readings)
}

fn lives(process: &Process) -> bool {
    !matches!(process.status(), sysinfo::ProcessStatus::Zombie | sysinfo::ProcessStatus::Dead)
}

fn free_mib(disk: &Path) -> Result<u64, String> {
    let system = rustix::fs::statvfs(disk)
        .map_err(|error| format!("look at the file system of {}: {error}", disk.display()))?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize) / MIB)
}
