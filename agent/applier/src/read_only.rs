//! What an application may not write: its slots, whoever it runs as.
//!
//! To it, to its hooks and to the commands of its checks everything below its root is read-only, but for what
//! its releases share. A unit of systemd gets that from a drop-in file ([`crate::unit`]), a hook from a
//! property of its transient unit; what the applier starts itself gets mounts of its own ([`crate::mounts`]),
//! which takes a privileged applier. Where that cannot be had, slots are as read-only as their owner makes
//! them.
//!
//! It holds against what an application does: a cache beside its program, an update by itself. It is no sandbox
//! for one that is root and means to get out: root can take a mount away.

use std::path::{Path, PathBuf};

use cutover_shared::package::outside::SHARED;
use serde::{Deserialize, Serialize};

use crate::config::{Application, Run, SlotAccess};
use crate::mounts;
use crate::process::Account;

/// What is read-only to a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOnly {
    root: PathBuf,
}

impl ReadOnly {
    /// Everything below `root`, but for what is shared there.
    pub fn below(root: PathBuf) -> Self {
        Self { root }
    }

    /// Below this everything is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// But for this.
    pub fn shared(&self) -> PathBuf {
        self.root.join(SHARED)
    }
}

/// What keeps an application from writing its slots.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Keeps {
    /// Nothing has to: so says the host's configuration.
    Declared,
    /// Mounts.
    Mounts,
    /// Only that they belong to somebody else.
    Owner,
    /// Nothing can.
    Nothing,
}

/// What is read-only to an application on this host, by mounts. Where nothing can keep it from writing its
/// slots, the log is told.
pub fn of(config: &Application, owner: &Account, user: &Account) -> Option<ReadOnly> {
    match keeps(config, owner.uid, user.uid, mounts::may_be_made) {
        Keeps::Mounts => return Some(ReadOnly::below(config.root.clone())),
        Keeps::Declared | Keeps::Owner => {}
        Keeps::Nothing => tracing::warn!(
            application = %config.name,
            owner = owner.name,
            user = user.name,
            "the application can write its own slots, and nothing keeps it from that: this applier may \
             make no mounts, and the slots belong to the application's user; let `owner` and `user` \
             differ, run the application by a unit of systemd or the applier as root, or say \
             `slots = \"writable\"`"
        ),
    }
    None
}

fn keeps(
    config: &Application,
    owner: u32,
    user: u32,
    mounts_may_be_made: impl FnOnce() -> bool,
) -> Keeps {
    let by_mounts = || match config.run {
        Run::Unit(_) => true,
        Run::Command { .. } | Run::Elsewhere => mounts_may_be_made(),
    };
    match config.slots {
        SlotAccess::Writable => Keeps::Declared,
        SlotAccess::ReadOnly if by_mounts() => Keeps::Mounts,
        SlotAccess::ReadOnly if owner != user && user != 0 => Keeps::Owner,
        SlotAccess::ReadOnly => Keeps::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(run: &str, slots: &str) -> Application {
        let text = format!(
            "host = \"web-1\"\nenvironment = \"staging\"\n[applications.web]\nroot = \"/srv/web\"\n\
             run = {run}\nslots = \"{slots}\"\n"
        );
        let settings = crate::config::parse(&text, Path::new("applier.toml")).unwrap();
        settings.applications[&"web".parse().unwrap()].clone()
    }

    #[test]
    fn what_keeps_an_application_from_writing_its_slots() {
        let unit = "{ unit = \"web.service\" }";
        let command = "{ start = [\"bin/serve\"] }";
        let read_only = "read-only";
        for (run, slots, (owner, user), may_mount, expected) in [
            (unit, read_only, (0, 0), false, Keeps::Mounts),
            (unit, "writable", (0, 0), true, Keeps::Declared),
            (command, read_only, (0, 0), true, Keeps::Mounts),
            (command, read_only, (7, 7), false, Keeps::Nothing),
            (command, read_only, (7, 8), false, Keeps::Owner),
            (command, read_only, (7, 0), false, Keeps::Nothing),
            (command, "writable", (7, 7), false, Keeps::Declared),
        ] {
            let found = keeps(&config(run, slots), owner, user, || may_mount);
            assert_eq!(found, expected, "{run} {slots} {owner} {user} {may_mount}");
        }
    }
}
