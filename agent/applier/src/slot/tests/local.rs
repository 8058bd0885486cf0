//! What a host has already: files of other slots, and what releases share.

use super::*;
use cutover_shared::package::outside;

#[test]
fn a_whole_file_that_is_here_is_taken_if_it_is_what_it_should_be() {
    let directory = tempfile::tempdir().unwrap();
    let slots = Slots::open(directory.path(), owner()).unwrap();
    let package = package("one");
    let (first, second) = (slot(1, &package), slot(2, &package));
    assembled(&slots, &first, &package);
    let run = package.chunks[2].0;
    let taken = |slot: &Slot| {
        let mut assembly = slots.assemble(slot, &package.index).unwrap();
        for (entry, _) in assembly.missing_files() {
            let path = &package.index.entries()[entry].path;
            let source = File::open(slots.path(&first).join(path.as_str())).unwrap();
            assembly.take_file(entry, &source).unwrap();
        }
        assembly
    };
    taken(&second).finish().unwrap();
    slots.verify(&second).unwrap();
    // One is longer now, and not what it was; it is still to come, and the others are there.
    fs::write(
        slots.path(&first).join("payload/bin/run"),
        "#!/bin/sh\nrm -r /srv/shop/everything\n",
    )
    .unwrap();
    let third = slot(3, &package);
    let mut assembly = taken(&third);
    assert_eq!(assembly.missing(), [run]);
    assembly.put(&run, &package.chunks[2].1).unwrap();
    assembly.finish().unwrap();
    slots.verify(&third).unwrap();
}

/// A package with a file, and links to what it shares.
fn sharing(paths: &[&str]) -> Index {
    let entry = |path: &str, kind| Entry { path: EntryPath::new(path).unwrap(), kind };
    let directory = |path: &str| entry(path, Kind::Directory { mode: Mode::DIRECTORY });
    let link = |path: &&str| {
        let place = outside::place(&EntryPath::new(path).unwrap());
        let target = outside::target(&place).unwrap();
        entry(&place, Kind::Link { target })
    };
    let tops = vec![directory("payload"), directory("payload/var")];
    Index::new(tops.into_iter().chain(paths.iter().map(link)).collect()).unwrap()
}

#[test]
fn what_is_shared_is_the_users_and_outlasts_its_releases() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("app");
    let slots = Slots::open(&root, owner()).unwrap();
    let user = owner();
    let index = sharing(&["data", "var/logs"]);
    let first = Slot { package: index.digest(), ..slot(1, &package("")) };
    let bring_in = |slot: &Slot| {
        let assembly = slots.assemble(slot, &index).unwrap();
        slots.make_shared(assembly.index(), user).unwrap();
        assembly.finish().unwrap();
        slots.switch(Some(slot)).unwrap();
        slots.verify(slot).unwrap();
    };
    bring_in(&first);
    let data = fs::metadata(root.join("shared/data")).unwrap();
    assert_eq!((data.uid(), data.permissions().mode() & 0o7777), (user.uid, 0o750));
    let way = fs::metadata(root.join("shared/var")).unwrap();
    assert_eq!(way.uid(), rustix::process::geteuid().as_raw());
    fs::write(root.join("current/payload/data/orders"), "1").unwrap();
    fs::write(root.join("current/payload/var/logs/today"), "2").unwrap();
    assert_eq!(slots.drift(&first, 10).unwrap(), [], "what is shared is no part of the slot");
    let second = Slot { generation: 2, ..first };
    bring_in(&second);
    slots.remove(&first).unwrap();
    slots.retain(&[second]).unwrap();
    assert_eq!(fs::read(root.join("current/payload/data/orders")).unwrap(), b"1");
    assert_eq!(fs::read(root.join("shared/var/logs/today")).unwrap(), b"2");
}

#[test]
fn a_link_in_the_place_of_what_is_shared_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let slots = Slots::open(directory.path(), owner()).unwrap();
    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir(directory.path().join("shared")).unwrap();
    symlink(&elsewhere, directory.path().join("shared/data")).unwrap();
    let before = fs::metadata(&elsewhere).unwrap();
    assert!(slots.make_shared(&sharing(&["data"]), owner()).is_err());
    assert!(slots.make_shared(&sharing(&[]), owner()).is_ok());
    let after = fs::metadata(&elsewhere).unwrap();
    assert_eq!((before.uid(), before.mode()), (after.uid(), after.mode()));
}
