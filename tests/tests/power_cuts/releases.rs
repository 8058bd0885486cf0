//! The applier's slots: whole or not there under their names, and the link names the one or the other.

use std::path::Path;

use anyhow::{Context as _, ensure};
use cutover_applier::slot::{Owner, Slots};
use cutover_machine::{HealthPolicy, Slot};
use cutover_shared::digest::Digest;
use cutover_shared::package::chunk::ChunkRef;
use cutover_shared::package::entry::{Entry, FileEntry, Kind, Mode};
use cutover_shared::package::index::Index;
use cutover_shared::package::path::EntryPath;
use cutover_tests::power::{Disk, formatted, is_possible};

use crate::{DISK, Promise, prove, try_cuts};

/// Releases that are put together one after the other, the last but one of which is kept.
const RELEASES: u64 = 6;

/// Root gives the files to somebody else, as on a real host.
const OWNER: Owner = Owner { uid: 65534, gid: 65534 };

struct Release {
    slot: Slot,
    index: Index,
    contents: Vec<Vec<u8>>,
}

/// A release of many small files, a few large ones, and links.
fn release(number: u64) -> anyhow::Result<Release> {
    let mut random = fastrand::Rng::with_seed(number);
    let mut entries = vec![("payload".to_owned(), Kind::Directory { mode: Mode::DIRECTORY })];
    let mut contents = Vec::new();
    for directory in 0..4 {
        let base = format!("payload/{directory}");
        entries.push((base.clone(), Kind::Directory { mode: Mode::DIRECTORY }));
        for file in 0..12 {
            let length = if file == 0 { 300_000 } else { random.usize(1..9000) };
            let content: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
            let chunks: Vec<_> = content.chunks(65_000).map(<[u8]>::to_vec).collect();
            let kind = Kind::File(FileEntry {
                mode: if file % 2 == 0 { Mode::PLAIN } else { Mode::EXECUTABLE },
                size: content.len() as u64,
                digest: Digest::of(&content),
                chunks: chunks.iter().filter_map(|it| ChunkRef::of(it)).collect(),
            });
            entries.push((format!("{base}/{file}"), kind));
            contents.extend(chunks);
        }
        entries.push((format!("{base}/link"), Kind::Link { target: "1".to_owned() }));
    }
    let entries = entries
        .into_iter()
        .map(|(path, kind)| Ok(Entry { path: EntryPath::new(&path).context("a path")?, kind }));
    let index = Index::new(entries.collect::<anyhow::Result<_>>()?)?;
    let second = std::time::Duration::from_secs(1);
    let health = HealthPolicy {
        start_grace: second,
        interval: second,
        timeout: second,
        successes: 1,
        deadline: second,
        bake: second,
        bake_tolerance: 0,
    };
    let release = Digest::of(&number.to_be_bytes());
    let slot = Slot { generation: number, package: index.digest(), release, health };
    Ok(Release { slot, index, contents })
}

impl Release {
    fn assemble(&self, slots: &Slots) -> anyhow::Result<()> {
        let mut assembly = slots.assemble(&self.slot, &self.index)?;
        for content in &self.contents {
            assembly.put(&ChunkRef::of(content).context("a chunk")?, content)?;
        }
        Ok(assembly.finish()?)
    }
}

/// What the applier's journal could have said, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    /// The slot of this number is whole.
    Assembled(u64),
    /// The link names it.
    Switched(u64),
    /// Older ones than the one before are gone.
    Tidied(u64),
}

impl Said {
    fn number(self) -> u64 {
        match self {
            Self::Assembled(number) | Self::Switched(number) | Self::Tidied(number) => number,
        }
    }

    /// Which slot the link names then.
    fn current(self) -> u64 {
        match self {
            Self::Assembled(number) => number - 1,
            Self::Switched(number) | Self::Tidied(number) => number,
        }
    }
}

#[test]
fn a_slot_is_whole_or_not_there_and_the_link_names_the_old_one_or_the_new() -> anyhow::Result<()> {
    if !is_possible("power cuts of slots")? {
        return Ok(());
    }
    let image = formatted(DISK)?;
    let releases = (1..=RELEASES).map(release).collect::<anyhow::Result<Vec<_>>>()?;
    prove(|directory| {
        let mount_point = directory.join("disk");
        let disk = Disk::attach(image.clone(), &mount_point)?;
        let slots = Slots::open(&mount_point.join("web"), OWNER)?;
        let mut promises = Vec::new();
        let mut promise = |what| promises.push(Promise { moment: disk.moment(), what });
        for (before, release) in releases.iter().enumerate() {
            let number = release.slot.generation;
            release.assemble(&slots)?;
            promise(Said::Assembled(number));
            slots.switch(Some(&release.slot))?;
            promise(Said::Switched(number));
            slots.retain(&[releases[before.saturating_sub(1)].slot])?;
            promise(Said::Tidied(number));
        }
        let trace = disk.trace();
        disk.detach()?;
        // The first release is where it starts from.
        try_cuts(&trace, &promises[2..], &mount_point, |said, next| {
            let slots = Slots::open(&mount_point.join("web"), OWNER)?;
            check(&slots, &releases, *said, next.copied())
        })
    })
}

fn check(
    slots: &Slots,
    releases: &[Release],
    said: Said,
    next: Option<Said>,
) -> anyhow::Result<()> {
    let of = |number: u64| {
        let position = usize::try_from(number).expect("a few releases");
        &releases[position - 1]
    };
    let current = slots.current()?.context("the link is gone")?;
    let named = |number: u64| current.split('-').next() == Some(&number.to_string());
    let (before, after) = (said.current(), next.map_or(said.current(), Said::current));
    ensure!(named(before) || named(after), "after {said:?} the link names {current}");
    let may_be_gone = said.current().min(after).saturating_sub(1);
    for release in releases {
        let number = release.slot.generation;
        let path = slots.path(&release.slot);
        if path.exists() {
            slots.verify(&release.slot).with_context(|| format!("after {said:?}: {number}"))?;
            same_bytes(&path, release).with_context(|| format!("after {said:?}: {number}"))?;
        } else {
            let kept = number <= said.number() && number >= may_be_gone.max(1);
            ensure!(!kept, "after {said:?} there is no slot {number}");
        }
    }
    // A repeat finds little to do, whatever state the attempt before was in.
    let goal = of(next.map_or(said.number(), Said::number));
    goal.assemble(slots).context("assemble again")?;
    slots.verify(&goal.slot).context("verify what was assembled again")?;
    slots.switch(Some(&goal.slot)).context("switch again")?;
    slots.retain(&[]).context("tidy again")?;
    ensure!(
        slots.current()?.is_some_and(|it| it.starts_with(&format!("{}-", goal.slot.generation)))
    );
    Ok(())
}

/// The same comparison by other means than the slots' own.
fn same_bytes(path: &Path, release: &Release) -> anyhow::Result<()> {
    for entry in release.index.slot_entries() {
        let at = path.join(entry.path.as_str());
        match &entry.kind {
            Kind::File(file) => {
                let found = std::fs::read(&at).with_context(|| format!("read {}", at.display()))?;
                ensure!(Digest::of(&found) == file.digest, "{} has other bytes", at.display());
            }
            Kind::Directory { .. } => ensure!(at.is_dir(), "{} is no directory", at.display()),
            Kind::Link { target } => {
                ensure!(std::fs::read_link(&at)?.to_str() == Some(target), "{}", at.display());
            }
        }
    }
    Ok(())
}
