//! Packages: what is read of them, what the host allows, and what the machine is told to do with one.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_applier_core::{
    ApplicationSettings, Driver, Hooks, ProbeKind, Terms, Unread, allow, forward_assignment,
    parse_manifest,
};
use cutover_machine::{HookPhase, Kind, Reversibility};
use cutover_shared::digest::Digest;
use cutover_shared::package::chunk::{ChunkRef, deflate};
use cutover_shared::package::entry::{Entry, FileEntry, Kind as EntryKind, Mode};
use cutover_shared::package::index::Index;
use cutover_shared::package::manifest::Manifest;
use cutover_shared::package::map::{PackMap, Piece};
use cutover_shared::refusal::Code;
use cutover_shared::window::Window;

use crate::bench::{HOLD, MOVE, TIMING, parcel, read, seconds, web};
use crate::parcel::Parcel;
use crate::world::at;

fn read_manifest(extra: &str) -> Manifest {
    parse_manifest(&Parcel::release_toml("web", "1.0", TIMING, extra)).unwrap()
}

fn for_zseries(runbook: &str) -> Manifest {
    let text = Parcel::release_toml("web", "1.0", TIMING, runbook);
    parse_manifest(&text.replace(r#"["hosts"]"#, r#"["zseries"]"#)).unwrap()
}

fn own(driver: Driver, hooks: Hooks, probes: &[ProbeKind]) -> ApplicationSettings {
    ApplicationSettings { driver, hooks, probes: probes.iter().copied().collect(), retain: 1 }
}

#[test]
fn a_host_allows_what_its_configuration_says() {
    let tcp = [ProbeKind::Tcp];
    let plain = read_manifest("");
    let check = |kind: &str| read_manifest(&format!("[[health]]\nname = \"other\"\n{kind}"));
    let hook = "[hooks]\nstart = { command = \"hooks/start.sh\", timeout = \"1s\" }";
    let http = "kind = \"http\"\nurl = \"http://127.0.0.1/\"\ntimeout = \"1s\"";
    let unit = "kind = \"unit\"\ntimeout = \"1s\"";
    let process = "kind = \"process\"\nprogram = \"payload/program\"\ntimeout = \"1s\"";
    let resource = "kind = \"resource\"\nmemory-mib-at-most = 5\ntimeout = \"1s\"";
    let packaged = "kind = \"exec\"\ncommand = [\"hooks/ping.sh\"]\ntimeout = \"1s\"";
    let of_the_host = "kind = \"exec\"\ncommand = [\"/bin/true\"]\ntimeout = \"1s\"";
    let (slot, runbook) = (Driver::Slot, Driver::Runbook);
    let (yes, no) = (Hooks::Allowed, Hooks::Refused);
    let exec = [ProbeKind::Tcp, ProbeKind::Exec];
    let cases: Vec<(&Manifest, ApplicationSettings, Option<&str>)> = vec![
        (&plain, own(slot, no, &tcp), None),
        (&plain, own(slot, no, &[]), Some("refuses Tcp checks (answers)")),
        (&plain, own(runbook, yes, &tcp), Some("has no runbook")),
    ];
    let others: Vec<(Manifest, ApplicationSettings, Option<&str>)> = vec![
        (read_manifest(hook), own(slot, yes, &tcp), None),
        (read_manifest(hook), own(slot, no, &tcp), Some("refuses hooks")),
        (for_zseries(MOVE), own(slot, yes, &tcp), Some("no gateway")),
        (for_zseries(MOVE), own(runbook, yes, &tcp), None),
        (for_zseries(MOVE), own(runbook, no, &tcp), Some("refuses hooks")),
        (for_zseries(HOLD), own(runbook, no, &tcp), None),
        (check(http), own(slot, no, &tcp), Some("refuses Http checks (other)")),
        (check(http), own(slot, no, &[ProbeKind::Tcp, ProbeKind::Http]), None),
        (check(unit), own(slot, no, &exec), Some("refuses Unit checks")),
        (check(process), own(slot, no, &exec), Some("refuses Process checks")),
        (check(resource), own(slot, no, &exec), Some("refuses Resource checks")),
        (check(packaged), own(slot, yes, &exec), None),
        (check(packaged), own(slot, no, &exec), Some("the package's programs (other)")),
        (check(of_the_host), own(slot, no, &exec), None),
        (check(of_the_host), own(slot, yes, &tcp), Some("refuses Exec checks")),
    ];
    let others = others.iter().map(|(manifest, own, expected)| (manifest, own.clone(), *expected));
    for (manifest, own, expected) in cases.into_iter().chain(others) {
        match (allow(manifest, &own), expected) {
            (Ok(()), None) => {}
            (Err(refusal), Some(expected)) => {
                assert_eq!(refusal.code, Code::Inhibited);
                assert!(refusal.facts.contains(expected), "{expected}: {refusal}");
            }
            (answer, expected) => panic!("{answer:?}, not {expected:?}: {own:?}"),
        }
    }
}

fn terms() -> Terms {
    Terms {
        package: Digest::of(b"package"),
        release: Digest::of(b"release"),
        order: Digest::of(b"order"),
        generation: 4,
        window: Window { start: at(100), end: at(900) },
        apply_budget: seconds(120),
        rollback_reserve: seconds(60),
    }
}

#[test]
fn the_machine_is_told_what_the_order_and_the_manifest_say() {
    let text = "[[health]]\nname = \"slow\"\nkind = \"tcp\"\naddress = \"127.0.0.1:81\"\ntimeout = \"9s\"\n\n\
        [hooks]\nstop = { command = \"hooks/stop.sh\", timeout = \"1s\" }\n\
        pre-stop = { command = \"hooks/p.sh\", timeout = \"1s\", undo = { command = \"hooks/u.sh\", timeout = \"1s\" } }";
    let told = forward_assignment(&read_manifest(text), &web(), &terms(), Driver::Slot);
    assert_eq!((told.application.as_str(), told.generation, told.kind), ("web", 4, Kind::Forward));
    assert_eq!(
        (told.package, told.release, told.booking),
        (Digest::of(b"package"), Digest::of(b"release"), Digest::of(b"order"))
    );
    assert_eq!((told.window_start, told.window_end), (at(100), at(900)));
    assert_eq!((told.apply_budget, told.rollback_reserve), (seconds(120), seconds(60)));
    assert_eq!(told.hooks.forward, BTreeSet::from([HookPhase::PreStop, HookPhase::Stop]));
    assert_eq!(told.hooks.undo, BTreeSet::from([HookPhase::PreStop]));
    let health = told.health;
    assert_eq!((health.interval, health.successes), (seconds(TIMING.interval), 2));
    assert_eq!((health.deadline, health.bake), (seconds(TIMING.deadline), seconds(TIMING.bake)));
    assert_eq!((health.start_grace, health.bake_tolerance), (Duration::ZERO, 0));
    assert!(health.timeout > seconds(9), "the slowest check is cut off by itself first");
    assert_eq!(told.reversibility, Reversibility::Reversible);

    let text = Parcel::release_toml("web", "1.0", TIMING, "");
    let text = text.replace("data-loss =", "irreversible = true\ndata-loss =");
    let irreversible = parse_manifest(&text).unwrap();
    let told = forward_assignment(&irreversible, &web(), &terms(), Driver::Slot);
    assert_eq!(told.reversibility, Reversibility::Irreversible);
    assert_eq!(told.hooks, cutover_machine::Hooks::default());
}

#[test]
fn each_hook_has_its_place_and_a_runbook_is_the_activate_hook() {
    let places = [
        ("pre-stop", HookPhase::PreStop),
        ("stop", HookPhase::Stop),
        ("activate", HookPhase::Activate),
        ("start", HookPhase::Start),
        ("post-start", HookPhase::PostStart),
    ];
    for (word, phase) in places {
        let text = format!("[hooks]\n{word} = {{ command = \"hooks/x.sh\", timeout = \"1s\" }}");
        let told = forward_assignment(&read_manifest(&text), &web(), &terms(), Driver::Slot);
        assert_eq!(
            (told.hooks.forward, told.hooks.undo),
            (BTreeSet::from([phase]), BTreeSet::new())
        );
    }
    let told = forward_assignment(&for_zseries(MOVE), &web(), &terms(), Driver::Runbook);
    let runbook = BTreeSet::from([HookPhase::Activate]);
    assert_eq!((&told.hooks.forward, &told.hooks.undo), (&runbook, &runbook));
}

/// A package of these files, whose map says where each chunk is unless `hide` does.
fn package(files: &[(&str, &[u8])], hide: bool) -> (Index, PackMap, Vec<Vec<u8>>) {
    let mut stored = Vec::new();
    let mut pieces = Vec::new();
    let mut entries = Vec::new();
    let mut offset = 0;
    for (path, content) in files {
        let chunk = ChunkRef::of(content).unwrap();
        let bytes = deflate(content);
        pieces.push((chunk.digest, offset, bytes.len()));
        offset += bytes.len() as u64;
        stored.push(bytes);
        let file = FileEntry {
            mode: Mode::PLAIN,
            size: content.len() as u64,
            digest: Digest::of(content),
            chunks: vec![chunk],
        };
        entries.push(Entry { path: path.parse().unwrap(), kind: EntryKind::File(file) });
    }
    let index = Index::new(entries).unwrap();
    let pack = if hide { Digest::of(b"another pack") } else { index.digest() };
    let pieces = pieces.into_iter().map(|(chunk, offset, stored)| Piece {
        chunk,
        pack,
        offset,
        stored: u32::try_from(stored).unwrap(),
    });
    let map = PackMap::new(pieces.collect()).unwrap();
    (index, map, stored)
}

#[test]
fn a_package_is_what_its_digest_says() {
    let whole = parcel("1.0", "");
    let package = read(&whole);
    assert_eq!(package.manifest(), &whole.manifest);
    assert_eq!(package.index().digest(), whole.digest);
    let chunks = package.index().chunks();
    for chunk in &chunks {
        let stored = whole.piece(&package.piece(chunk).unwrap()).unwrap();
        cutover_shared::package::chunk::inflate(&stored, chunk).unwrap();
    }
    let unknown = ChunkRef::of(b"nowhere").unwrap();
    assert!(package.piece(&unknown).unwrap_err().starts_with("digest-mismatch: "));

    let of =
        |digest, index: &[u8], map: &[u8]| Unread::of(digest, index, map).map(|_| ()).unwrap_err();
    let other = parcel("1.1", "");
    assert!(of(whole.digest, &other.index, &other.map).starts_with("digest-mismatch: "));
    let garbage = b"garbage".as_slice();
    assert!(of(Digest::of(garbage), garbage, &whole.map).starts_with("malformed: index"));
    assert!(of(whole.digest, &whole.index, garbage).starts_with("malformed: map"));
    assert!(of(whole.digest, &whole.index, &other.map).starts_with("digest-mismatch: chunk"));

    let unread = || Unread::of(whole.digest, &whole.index, &whole.map).unwrap();
    let stored =
        unread().pieces().iter().map(|(it, _)| whole.piece(it).unwrap()).collect::<Vec<_>>();
    assert!(unread().read(&[]).unwrap_err().starts_with("digest-mismatch: "));
    assert!(unread().read(&[deflate(b"other")]).unwrap_err().starts_with("digest-mismatch: "));
    assert!(unread().read(&stored).is_ok());
}

#[test]
fn a_package_whose_parts_do_not_agree_is_malformed() {
    type Files<'a> = &'a [(&'a str, &'a [u8])];

    let good = Parcel::release_toml("web", "1.0", TIMING, "");
    let shares = good.replace("rollback-reserve", "shared = [\"data\"]\nrollback-reserve");
    let cases: [(Files<'_>, bool, &str); 6] = [
        (&[("release.toml", good.as_bytes())], false, ""),
        (&[("release.toml", good.as_bytes())], true, "digest-mismatch: chunk"),
        (&[("NOTES.md", b"x")], false, "malformed: no release.toml"),
        (&[("release.toml", b"\xff\xfe")], false, "malformed: release.toml is not UTF-8"),
        (&[("release.toml", b"schema = 1")], false, "malformed: release.toml: "),
        (&[("release.toml", shares.as_bytes())], false, "malformed: the links"),
    ];
    for (files, hide, expected) in cases {
        let (index, map, stored) = package(files, hide);
        let result = Unread::of(index.digest(), &index.to_bytes(), &map.to_bytes())
            .and_then(|unread| unread.read(&stored));
        match result {
            Ok(package) => assert_eq!((expected, package.index().entries().len()), ("", 1)),
            Err(why) => assert!(!expected.is_empty() && why.starts_with(expected), "{why}"),
        }
    }
}
