//! Whether a release can be applied here, looked at before anything is fetched, and again before anything
//! is stopped for it: disk space and inodes, memory, the unit, the programs that will be started, the ports,
//! and that the release to go back to is whole. Each fault is a refusal that says what to do about it.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cutover_machine::Slot;
use cutover_shared::package::health::{Probe, substitute};
use cutover_shared::package::manifest::{HookStage, Manifest};

use crate::config::Run;
use crate::slot::{Difference, SlotError};
use crate::work::{Site, chain};
use crate::{find, ports, unit};

/// Bytes that stay free on the file system after the slot is there: for logs, and for the way back.
pub const SPARE_BYTES: u64 = 64 * 1024 * 1024;

/// Inodes that stay free beside those of the slot.
const SPARE_INODES: u64 = 1024;

/// Memory in bytes that must be available before a running application is stopped for another: a host that
/// swaps or kills while it restarts things helps nobody.
pub const SPARE_MEMORY: u64 = 32 * 1024 * 1024;

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// The longest first line of a script that the kernel reads.
const INTERPRETER_LINE: u64 = 256;

impl Site {
    /// Looks at everything that can be known beforehand of applying `slot` in the place of `back`.
    pub(crate) async fn preflight(&self, slot: Slot, back: Option<Slot>) -> Result<(), String> {
        let manifest = self.manifest(&slot).await?;
        self.unit_exists().await.map_err(|why| not_ready(&why))?;
        let listeners = match &self.config.run {
            Run::Unit(name) => unit::processes(name).await.map_err(|error| chain(&error))?,
            Run::Command { .. } | Run::Elsewhere => find::processes(&self.config.root),
        };
        let site = self.clone();
        let look = move || {
            look(&site.config.root, 0, 0)?;
            memory(u64::from(manifest.preflight.memory_mib).saturating_mul(MIB))?;
            site.programs_run(&site.slots.path(&slot), &manifest)?;
            for address in &manifest.preflight.ports {
                let address = substitute(address, &site.config.variables);
                ports::is_ours(&address.map_err(|error| error.to_string())?, &listeners)?;
            }
            back.map_or(Ok(()), |back| site.is_intact(&back))
        };
        let looked = tokio::task::spawn_blocking(look).await;
        looked.map_err(|error| error.to_string())?.map_err(|why| not_ready(&why))
    }

    async fn unit_exists(&self) -> Result<(), String> {
        let Run::Unit(name) = &self.config.run else { return Ok(()) };
        match unit::exists(name).await {
            Ok(true) => self.keep_from_writing(name).await.map_err(|error| {
                format!(
                    "{name} cannot be kept from writing its slots: {}: let the applier write there, or say \
                     `slots = \"writable\"` in this host's configuration",
                    chain(&error)
                )
            }),
            Ok(false) => Err(format!(
                "systemd cannot load {name}, which this host's configuration runs the application as: \
                 install it or unmask it, and `systemctl daemon-reload`"
            )),
            Err(error) => Err(chain(&error)),
        }
    }

    /// Every program that will be started for the release, in its own slot or on this host.
    fn programs_run(&self, slot: &Path, manifest: &Manifest) -> Result<(), String> {
        let path = self.environment().remove("PATH").unwrap_or_default();
        let mut programs = Vec::new();
        if let Run::Command { start, .. } = &self.config.run {
            let payload = slot.join("payload");
            programs.extend(start.first().map(|program| payload.join(program)));
        }
        if self.config.run == Run::Elsewhere {
            let commands = manifest.runbook_programs();
            programs.extend(commands.iter().map(|(_, command)| slot.join(command.as_str())));
        } else {
            for hook in HookStage::ALL.into_iter().filter_map(|stage| manifest.hooks.at(stage)) {
                programs.push(slot.join(hook.command.as_str()));
                programs.extend(hook.undo.as_ref().map(|undo| slot.join(undo.command.as_str())));
            }
        }
        for check in &manifest.health {
            if let Probe::Exec { command } = &check.probe
                && let Some(program) = command.first()
            {
                let program = substitute(program, &self.config.variables);
                programs.push(slot.join(program.map_err(|error| error.to_string())?));
            }
        }
        programs.iter().try_for_each(|program| runs(program, &path))
    }

    /// The release that would be gone back to is what was once approved. What the application has put
    /// beside it does no harm.
    fn is_intact(&self, back: &Slot) -> Result<(), String> {
        match self.slots.verify(back) {
            Ok(()) | Err(SlotError::Differs { difference: Difference::Extra, .. }) => Ok(()),
            Err(error) => Err(format!(
                "there is no whole release to go back to: {}; mend it from its package",
                chain(&error)
            )),
        }
    }
}

/// As a refusal's text: the code, then the facts.
fn not_ready(why: &str) -> String {
    format!("host-not-ready: {why}")
}

/// Whether the host has `needed` bytes of memory left, or enough to restart anything; the error is for
/// people.
fn memory(needed: u64) -> Result<(), String> {
    let mut system =
        sysinfo::System::new().map_err(|error| format!("look at the memory: {error}"))?;
    system.refresh_memory_specifics(sysinfo::MemoryRefreshKind::nothing().with_ram());
    let (available, needed) = (system.available_memory(), needed.max(SPARE_MEMORY));
    if available >= needed {
        return Ok(());
    }
    Err(format!(
        "{} MiB of memory are available, {} are needed: stop something, or add memory",
        available / MIB,
        needed / MIB
    ))
}

/// Whether a slot of so many bytes, files and directories fits below `root`; the error is for people.
pub fn look(root: &Path, needed_bytes: u64, needed_inodes: u64) -> Result<(), String> {
    let cannot = |what: &str| format!("{what} {}", root.display());
    let system = rustix::fs::statvfs(root)
        .map_err(|error| format!("{}: {error}", cannot("look at the file system of")))?;
    if system.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Err(format!("{}: mount it writable", cannot("the file system is read-only of")));
    }
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let needed = needed_bytes.saturating_add(SPARE_BYTES);
    if free < needed {
        return Err(format!(
            "{}: {free} bytes are free, {needed} are needed ({needed_bytes} for the release): make room",
            cannot("fit the release into")
        ));
    }
    let needed = needed_inodes.saturating_add(SPARE_INODES);
    // File systems that do not count inodes say that they have none at all.
    if system.f_files > 0 && system.f_favail < needed {
        return Err(format!(
            "{}: {} inodes are free, {needed} are needed: remove files",
            cannot("fit the release into"),
            system.f_favail
        ));
    }
    Ok(())
}

/// Whether the kernel can start `program`: it is there, it may be executed, and so may its interpreter.
fn runs(program: &Path, path: &str) -> Result<(), String> {
    executable(program)?;
    let mut line = Vec::new();
    std::fs::File::open(program)
        .and_then(|file| file.take(INTERPRETER_LINE).read_to_end(&mut line))
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Some(interpreter) = line.strip_prefix(b"#!") else { return Ok(()) };
    let text = String::from_utf8_lossy(interpreter);
    let mut words = text.split_ascii_whitespace();
    let interpreter = PathBuf::from(words.next().unwrap_or_default());
    let needs = |why: String| format!("{} needs an interpreter: {why}", program.display());
    executable(&interpreter).map_err(needs)?;
    // `env` looks for the real one.
    let is_env = interpreter.file_name().is_some_and(|name| name == "env");
    let named = words.find(|word| !word.starts_with('-') && !word.contains('='));
    let Some(named) = named.filter(|name| is_env && !name.contains('/')) else { return Ok(()) };
    if path.split(':').any(|directory| executable(&Path::new(directory).join(named)).is_ok()) {
        return Ok(());
    }
    Err(needs(format!("{named} is nowhere in {path}: install it")))
}

fn executable(program: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(program)
        .map_err(|error| format!("{}: {error}: install it", program.display()))?;
    if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        return Ok(());
    }
    Err(format!("{} is no file that may be executed", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_and_what_does_not() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(look(directory.path(), 1, 1), Ok(()));
        let refused = look(directory.path(), u64::MAX, 1).unwrap_err();
        assert!(refused.contains("bytes are free"), "{refused}");
        let refused = look(&directory.path().join("absent"), 1, 1).unwrap_err();
        assert!(refused.contains("absent"), "{refused}");
        let counts = rustix::fs::statvfs(directory.path()).unwrap().f_files > 0;
        let refused = look(directory.path(), 1, u64::MAX);
        assert_eq!(refused.is_err_and(|why| why.contains("inodes")), counts);
        assert_eq!(memory(1), Ok(()));
        assert!(memory(u64::MAX).unwrap_err().contains("MiB of memory"));
    }

    #[test]
    fn a_program_runs_when_its_interpreter_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = "/usr/bin:/bin";
        let program = directory.path().join("program");
        let with = |first: &str, mode| {
            std::fs::write(&program, format!("{first}\necho\n")).unwrap();
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&program, mode).unwrap();
            runs(&program, path)
        };
        for first in [
            "#!/bin/sh",
            "#! /bin/sh -e",
            "#!/usr/bin/env sh",
            "\u{7f}ELF",
            "#!/usr/bin/env -S A=b sh -e",
        ] {
            assert_eq!(with(first, 0o755), Ok(()), "{first}");
        }
        for (first, mode, why) in [
            ("#!/bin/sh", 0o644, "no file that may be executed"),
            ("#!/opt/absent/python", 0o755, "/opt/absent/python"),
            ("#!", 0o755, "needs an interpreter"),
            ("#!/usr/bin/env absent-python", 0o755, "absent-python is nowhere in"),
        ] {
            let refused = with(first, mode).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        assert!(runs(&directory.path().join("absent"), path).unwrap_err().contains("install it"));
    }
}
