//! The coordinator's store: every entry and every part of a package that was acknowledged is there, and
//! the log goes on from what was published.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use cutover_coordinator::store::{Entry, FileStore, Missing, Options, Part, Signer, Store as _};
use cutover_shared::digest::Digest;
use cutover_shared::key::SecretKey;
use cutover_shared::time::Time;
use cutover_tests::power::{Disk, formatted, is_possible};

use crate::{DISK, Promise, prove, try_cuts};

/// Appends that are acknowledged, of one to a few entries each; they fill more than one bundle.
const APPENDS: u64 = 90;

/// Every so many of them a package is put, too.
const PACKAGES: u64 = 9;

fn open(directory: &Path) -> anyhow::Result<FileStore> {
    let time = Time::from_millis(1_767_225_600_000).context("a time")?;
    let signer = Signer {
        origin: "example.org/cutover".to_owned(),
        key: SecretKey::from_seed([1; 32]),
        clock: Arc::new(move || time),
    };
    let (store, _) = FileStore::open(Options {
        directory: directory.to_owned(),
        signer: Arc::new(signer),
        missing: Missing::Create,
        identify: |bytes| Some(Digest::of(bytes)),
    })?;
    Ok(store)
}

/// The entries of an append: mostly one small one, sometimes several, some of them long.
fn entries(number: u64) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(number);
    let entry = |random: &mut fastrand::Rng, part| {
        let length = if random.u8(..8) == 0 { 30_000 } else { random.usize(20..2000) };
        let mut bytes = format!("entry {number}.{part} ").into_bytes();
        bytes.extend(std::iter::repeat_with(|| random.u8(..)).take(length));
        bytes
    };
    (0..random.u8(1..6)).map(|part| entry(&mut random, part)).collect()
}

fn pack(number: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(!number);
    std::iter::repeat_with(|| random.u8(..)).take(100_000).collect()
}

/// What has been acknowledged.
#[derive(Debug, Clone, Default)]
struct Acknowledged {
    entries: usize,
    packs: Vec<u64>,
}

#[test]
fn whatever_was_acknowledged_is_in_the_log_and_in_the_packs() -> anyhow::Result<()> {
    if !is_possible("power cuts of stores")? {
        return Ok(());
    }
    let image = formatted(DISK)?;
    let all: Vec<_> = (0..APPENDS).flat_map(entries).collect();
    prove(|directory| {
        let mount_point = directory.join("disk");
        let data = mount_point.join("data");
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let disk = Disk::attach(image.clone(), &mount_point)?;
        let store = open(&data)?;
        let mut told = Acknowledged::default();
        let mut promises = vec![Promise { moment: disk.moment(), what: told.clone() }];
        for number in 0..APPENDS {
            let entries = entries(number).into_iter();
            let entries = entries.map(|bytes| Entry { id: Digest::of(&bytes), bytes }).collect();
            let appended = runtime.block_on(store.append(None, entries))?;
            told.entries += appended.len();
            if number % PACKAGES == 0 {
                let mut staged = store.stage()?;
                staged.write_all(&pack(number))?;
                let package = Digest::of(&number.to_be_bytes());
                runtime.block_on(store.put_part(package, Part::Pack, staged))?;
                told.packs.push(number);
            }
            promises.push(Promise { moment: disk.moment(), what: told.clone() });
        }
        let trace = disk.trace();
        drop(store);
        disk.detach()?;
        try_cuts(&trace, &promises, &mount_point, |told, _| {
            runtime.block_on(check(&data, &all, told))
        })
    })
}

async fn check(data: &Path, all: &[Vec<u8>], told: &Acknowledged) -> anyhow::Result<()> {
    let store = open(data).context("open the store again")?;
    let size = usize::try_from(store.published().head.size)?;
    ensure!(size >= told.entries, "{size} entries, and {} were acknowledged", told.entries);
    let mut found: Vec<Vec<u8>> = Vec::new();
    while found.len() < size {
        found.extend(store.read(found.len() as u64..size as u64).await?);
    }
    ensure!(found == all[..size], "other entries than were appended");
    for (index, bytes) in found.iter().enumerate() {
        let there = store.find(Digest::of(bytes)).await?;
        ensure!(there == Some(index as u64), "entry {index} is found at {there:?}");
    }
    for number in &told.packs {
        let (package, pack) = (Digest::of(&number.to_be_bytes()), pack(*number));
        let there = store.read_part(package, Part::Pack, 0..pack.len() as u64).await;
        ensure!(there.with_context(|| format!("pack {number}"))? == pack, "pack {number}");
    }
    let next = b"after the cut".to_vec();
    let appended =
        store.append(Some(size as u64), vec![Entry { id: Digest::of(&next), bytes: next }]).await?;
    ensure!(appended[0].index == size as u64, "it does not go on");
    Ok(())
}
