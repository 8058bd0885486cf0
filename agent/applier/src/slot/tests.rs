//! Real trees on a real file system.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use cutover_machine::HealthPolicy;
use cutover_shared::package::chunk::ChunkRef;
use cutover_shared::package::entry::{Entry, FileEntry, Kind, Mode};

use super::*;

mod local;

const SECOND: Duration = Duration::from_secs(1);

struct Package {
    index: Index,
    chunks: Vec<(ChunkRef, Vec<u8>)>,
}

/// A package with a file of two chunks, the same file again, an executable, an empty file, a directory
/// without files and a link.
fn package(text: &str) -> Package {
    let long: Vec<u8> = (0..40_000_u32)
        .flat_map(|number| (number ^ u32::try_from(text.len()).unwrap()).to_le_bytes())
        .collect();
    let pieces: Vec<Vec<u8>> = long.chunks(100_000).map(<[u8]>::to_vec).collect();
    let run = format!("#!/bin/sh\necho {text}\n").into_bytes();
    let file = |mode, pieces: &[Vec<u8>]| {
        let content = pieces.concat();
        Kind::File(FileEntry {
            mode,
            size: u64::try_from(content.len()).unwrap(),
            digest: Digest::of(&content),
            chunks: pieces.iter().map(|it| ChunkRef::of(it).unwrap()).collect(),
        })
    };
    let directory = || Kind::Directory { mode: Mode::DIRECTORY };
    let link = Kind::Link { target: "../bin/run".to_owned() };
    let entries = [
        ("payload", directory()),
        ("payload/bin", directory()),
        ("payload/bin/run", file(Mode::EXECUTABLE, std::slice::from_ref(&run))),
        ("payload/data", directory()),
        ("payload/data/a", file(Mode::PLAIN, &pieces)),
        ("payload/data/b", file(Mode::PLAIN, &pieces)),
        ("payload/data/empty", file(Mode::PLAIN, &[])),
        ("payload/data/link", link),
        ("payload/nothing", directory()),
        ("NOTES.md", file(Mode::PLAIN, &[b"notes".to_vec()])),
    ];
    let entries = entries.map(|(path, kind)| Entry { path: EntryPath::new(path).unwrap(), kind });
    let contents = pieces.into_iter().chain([run]);
    Package {
        index: Index::new(entries.to_vec()).unwrap(),
        chunks: contents.map(|it| (ChunkRef::of(&it).unwrap(), it)).collect(),
    }
}

fn slot(generation: u64, package: &Package) -> Slot {
    Slot {
        generation,
        package: package.index.digest(),
        release: Digest::of(b"release"),
        health: HealthPolicy {
            start_grace: SECOND,
            interval: SECOND,
            timeout: SECOND,
            successes: 1,
            deadline: SECOND,
            bake: SECOND,
            bake_tolerance: 0,
        },
    }
}

fn owner() -> Owner {
    // Root gives the files to somebody else, as it does on a real host.
    let uid = rustix::process::geteuid().as_raw();
    let other = if uid == 0 { 65534 } else { uid };
    let gid = rustix::process::getegid().as_raw();
    Owner { uid: other, gid: if uid == 0 { 65534 } else { gid } }
}

fn assembled(slots: &Slots, slot: &Slot, package: &Package) {
    let mut assembly = slots.assemble(slot, &package.index).unwrap();
    for (chunk, content) in &package.chunks {
        assembly.put(chunk, content).unwrap();
    }
    assembly.finish().unwrap();
}

#[test]
fn a_slot_is_assembled_verified_and_switched_to() {
    let directory = tempfile::tempdir().unwrap();
    let slots = Slots::open(&directory.path().join("app"), owner()).unwrap();
    let package = package("one");
    let slot = slot(1, &package);
    let mut assembly = slots.assemble(&slot, &package.index).unwrap();
    assert_eq!(assembly.missing().len(), 3, "what people read is not fetched");
    assert!(matches!(slots.switch(Some(&slot)), Err(SlotError::NoSuchSlot(_))));
    // In any order.
    for (chunk, content) in package.chunks.iter().rev() {
        assembly.put(chunk, content).unwrap();
    }
    assembly.put(&package.chunks[0].0, &package.chunks[0].1).unwrap();
    assembly.finish().unwrap();
    slots.verify(&slot).unwrap();
    slots.switch(Some(&slot)).unwrap();
    let name = format!("1-{}", slot.package.short());
    assert_eq!(slots.current().unwrap(), Some(name));
    let payload = directory.path().join("app/current/payload");
    let run = fs::metadata(payload.join("bin/run")).unwrap();
    assert_eq!(run.permissions().mode() & 0o7777, 0o755);
    assert_eq!(run.uid(), owner().uid);
    assert_eq!(
        fs::read(payload.join("data/a")).unwrap(),
        fs::read(payload.join("data/b")).unwrap()
    );
    assert!(payload.join("nothing").is_dir());
    assert!(!payload.join("../NOTES.md").exists());
    let again = slots.assemble(&slot, &package.index).unwrap();
    assert_eq!(again.missing(), []);
    again.finish().expect("what is whole is whole");
}

#[test]
fn an_interrupted_assembly_goes_on_where_it_stopped_and_trusts_only_what_it_hashes() {
    let directory = tempfile::tempdir().unwrap();
    let slots = Slots::open(directory.path(), owner()).unwrap();
    let package = package("one");
    let slot = slot(1, &package);
    let mut assembly = slots.assemble(&slot, &package.index).unwrap();
    assembly.put(&package.chunks[0].0, &package.chunks[0].1).unwrap();
    assembly.put(&package.chunks[2].0, &package.chunks[2].1).unwrap();
    drop(assembly);
    // One of them was not written to the end.
    let partial = directory.path().join(format!("releases/1-{}.partial", slot.package.short()));
    fs::write(partial.join("payload/bin/run"), "#!/bin/sh\n").unwrap();
    let mut assembly = slots.assemble(&slot, &package.index).unwrap();
    let missing = assembly.missing();
    assert_eq!(missing, [package.chunks[2].0, package.chunks[1].0]);
    assert!(matches!(
        assembly.put(&missing[0], &package.chunks[1].1),
        Err(SlotError::WrongChunk(_))
    ));
    assembly.put(&package.chunks[1].0, &package.chunks[1].1).unwrap();
    drop(assembly);
    let assembly = slots.assemble(&slot, &package.index).unwrap();
    assert!(matches!(assembly.finish(), Err(SlotError::Incomplete(1))));
    assert_eq!(slots.current().unwrap(), None);
    assembled(&slots, &slot, &package);
    slots.verify(&slot).unwrap();
}

/// Where, what it is found to be, and how it comes about.
type Change<'f> = (&'static str, Difference, &'f dyn Fn(&Path));

#[test]
fn every_change_in_a_slot_is_found() {
    let package = package("one");
    let slot = slot(1, &package);
    let changes: [Change<'_>; 10] = [
        ("payload/data/a", Difference::Content, &|path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[120_000] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("payload/data/b", Difference::Size, &|path| {
            fs::write(path, b"short").unwrap();
        }),
        ("payload/bin/run", Difference::Mode, &|path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o4755)).unwrap();
        }),
        ("payload/nothing", Difference::Mode, &|path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        }),
        ("payload/nothing", Difference::Missing, &|path| {
            fs::remove_dir(path).unwrap();
        }),
        ("payload/data/extra", Difference::Extra, &|path| {
            fs::write(path, b"more").unwrap();
        }),
        ("extra", Difference::Extra, &|path| {
            fs::write(path, b"more").unwrap();
        }),
        ("payload/data/empty", Difference::Type, &|path| {
            fs::remove_file(path).unwrap();
            symlink("/etc/passwd", path).unwrap();
        }),
        ("payload/data/empty", Difference::Type, &|path| {
            fs::remove_file(path).unwrap();
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        ("payload/data/link", Difference::Target, &|path| {
            fs::remove_file(path).unwrap();
            symlink("/etc/passwd", path).unwrap();
            let owner = owner();
            std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid)).unwrap();
        }),
    ];
    for (changed, expected, change) in changes {
        let directory = tempfile::tempdir().unwrap();
        let slots = Slots::open(directory.path(), owner()).unwrap();
        assembled(&slots, &slot, &package);
        change(&slots.path(&slot).join(changed));
        match slots.verify(&slot) {
            Err(SlotError::Differs { path, difference, .. }) => {
                assert_eq!((path.as_str(), difference), (changed, expected));
            }
            other => panic!("{changed}: {other:?}"),
        }
        // Putting it together again repairs it, byte for byte from verified chunks.
        assembled(&slots, &slot, &package);
        slots.verify(&slot).unwrap();
    }
}

#[test]
fn a_link_in_the_way_is_never_followed() {
    let directory = tempfile::tempdir().unwrap();
    let victim = directory.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("run"), b"precious").unwrap();
    let slots = Slots::open(&directory.path().join("app"), owner()).unwrap();
    let package = package("one");
    let slot = slot(1, &package);
    drop(slots.assemble(&slot, &package.index).unwrap());
    let partial = slots.path(&slot).with_extension("partial");
    for (name, target) in [("payload/bin", victim.clone()), ("payload/data/a", victim.join("run"))]
    {
        let way = partial.join(name);
        let _a_directory = fs::remove_dir_all(&way);
        let _a_file = fs::remove_file(&way);
        symlink(&target, &way).unwrap();
    }
    assembled(&slots, &slot, &package);
    slots.verify(&slot).unwrap();
    assert_eq!(fs::read(victim.join("run")).unwrap(), b"precious");
    // Nor when it gets there between two chunks.
    slots.remove(&slot).unwrap();
    let mut assembly = slots.assemble(&slot, &package.index).unwrap();
    fs::remove_dir_all(partial.join("payload/bin")).unwrap();
    symlink(&victim, partial.join("payload/bin")).unwrap();
    let (chunk, content) = &package.chunks[2];
    assert!(matches!(assembly.put(chunk, content), Err(SlotError::Io { .. })));
    assert_eq!(fs::read(victim.join("run")).unwrap(), b"precious");
}

#[test]
fn retention_keeps_what_it_is_told_and_always_what_is_current() {
    let directory = tempfile::tempdir().unwrap();
    let slots = Slots::open(directory.path(), owner()).unwrap();
    let packages: Vec<Package> = ["one", "three", "fiiiive", "sevennnnn"].map(package).into();
    let all: Vec<Slot> =
        (1..).zip(&packages).map(|(generation, it)| slot(generation, it)).collect();
    for (slot, package) in all.iter().zip(&packages).take(3) {
        assembled(&slots, slot, package);
    }
    drop(slots.assemble(&all[3], &packages[3].index).unwrap());
    fs::write(directory.path().join("releases/README"), "kept").unwrap();
    slots.switch(Some(&all[0])).unwrap();
    assert!(matches!(slots.remove(&all[0]), Err(SlotError::Current(_))));
    slots.retain(&[all[2]]).unwrap();
    let mut left: Vec<String> = fs::read_dir(directory.path().join("releases"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let expected = [
        name(&all[0]),
        index_name(&name(&all[0])),
        name(&all[2]),
        index_name(&name(&all[2])),
        "README".to_owned(),
    ];
    assert_eq!(left, expected);
    slots.verify(&all[2]).unwrap();
    slots.switch(None).unwrap();
    slots.switch(None).expect("what is gone is gone");
    slots.remove(&all[0]).unwrap();
    slots.remove(&all[0]).expect("what is gone is gone");
}

#[test]
fn another_packages_index_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let slots = Slots::open(directory.path(), owner()).unwrap();
    let (one, other) = (package("one"), package("three"));
    let slot = slot(1, &one);
    assert!(matches!(slots.assemble(&slot, &other.index), Err(SlotError::OtherPackage { .. })));
    assembled(&slots, &slot, &one);
    let kept = directory.path().join("releases").join(index_name(&name(&slot)));
    fs::write(kept, other.index.to_bytes()).unwrap();
    assert!(matches!(slots.index(&slot), Err(SlotError::WrongIndex(_))));
}

/// The path and what is found there, for people.
fn found(slots: &Slots, slot: &Slot) -> Vec<(String, String)> {
    let drifts = slots.drift(slot, 100).unwrap();
    let told = |it: &cutover_shared::statement::Drift| {
        it.found.as_ref().map_or("nothing".to_owned(), ToString::to_string)
    };
    drifts.iter().map(|it| (it.path.clone(), told(it))).collect()
}

#[test]
fn every_way_to_differ_is_a_drift_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let slots = Slots::open(&directory.path().join("app"), owner()).unwrap();
    let package = package("one");
    let slot = slot(1, &package);
    assembled(&slots, &slot, &package);
    slots.switch(Some(&slot)).unwrap();
    assert_eq!(found(&slots, &slot), []);

    let base = slots.path(&slot);
    let data = base.join("payload/data");
    let edited = b"edited, and of another length";
    fs::write(data.join("a"), edited).unwrap();
    fs::set_permissions(base.join("payload/bin/run"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::remove_file(data.join("empty")).unwrap();
    fs::remove_file(data.join("link")).unwrap();
    symlink("../nothing", data.join("link")).unwrap();
    fs::write(data.join("new"), b"new").unwrap();
    fs::create_dir(data.join("more")).unwrap();
    fs::write(data.join("more/below"), b"told with its directory").unwrap();
    fs::remove_dir(base.join("payload/nothing")).unwrap();
    symlink("/etc", base.join("payload/nothing")).unwrap();
    let link = directory.path().join("app/current");
    fs::remove_file(&link).unwrap();
    symlink("/elsewhere", &link).unwrap();

    let drifts = found(&slots, &slot);
    let at = |path: &str| {
        let found = drifts.iter().find(|(other, _)| other == path);
        found.map_or_else(|| panic!("{path} in {drifts:?}"), |(_, found)| found.clone())
    };
    assert!(at("current").starts_with("link to \"/elsewhere\""), "{}", at("current"));
    let digest = Digest::of(edited).short();
    assert!(at("payload/data/a").starts_with(&format!("file {digest} 0644")), "{drifts:?}");
    assert!(at("payload/bin/run").contains(" 4755 "), "{drifts:?}");
    assert_eq!(at("payload/data/empty"), "nothing");
    assert!(at("payload/data/link").starts_with("link to \"../nothing\""));
    assert!(at("payload/data/new").starts_with("file "));
    assert!(at("payload/data/more").starts_with("directory "));
    assert!(
        at("payload/nothing").starts_with("link to \"/etc\""),
        "nothing is looked at behind it"
    );
    assert_eq!(drifts.len(), 8, "{drifts:?}");
    assert_eq!(slots.drift(&slot, 3).unwrap().len(), 3);
}

#[test]
fn a_directory_that_is_gone_takes_what_was_in_it_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let slots = Slots::open(&directory.path().join("app"), owner()).unwrap();
    let package = package("one");
    let slot = slot(1, &package);
    assembled(&slots, &slot, &package);
    slots.switch(Some(&slot)).unwrap();
    fs::remove_dir_all(slots.path(&slot).join("payload/bin")).unwrap();
    fs::write(slots.path(&slot).join("payload/bin"), b"a file now").unwrap();
    let drifts = found(&slots, &slot);
    let paths: Vec<_> = drifts.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["payload/bin", "payload/bin/run"]);
    assert_eq!(drifts[1].1, "nothing");
}

#[test]
fn the_guard_tells_of_changes_and_not_of_reading() {
    let directory = tempfile::tempdir().unwrap();
    let slots = Slots::open(&directory.path().join("app"), owner()).unwrap();
    let package = package("one");
    let slot = slot(1, &package);
    assembled(&slots, &slot, &package);
    slots.switch(Some(&slot)).unwrap();
    let (changed, changes) = std::sync::mpsc::channel();
    let _guard = slots
        .guard(&slot, move || {
            let _ = changed.send(());
        })
        .unwrap();
    let next = || changes.recv_timeout(Duration::from_secs(30)).is_ok();
    let drain = || while changes.try_recv().is_ok() {};
    assert_eq!(slots.drift(&slot, 10).unwrap(), []);
    // Not managed: the application's own log beside its slots.
    fs::write(directory.path().join("app/application.log"), b"a line").unwrap();
    let run = slots.path(&slot).join("payload/bin/run");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(next(), "a mode");
    assert!(changes.recv_timeout(Duration::from_millis(1)).is_err(), "one change, told once");
    slots.switch(None).unwrap();
    assert!(next(), "the link");
    drain();
    fs::write(slots.path(&slot).join("payload/data/new"), b"").unwrap();
    assert!(next(), "a new file");
}
