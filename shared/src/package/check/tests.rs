use super::*;
use crate::digest::Digest;
use crate::package::chunk::ChunkRef;
use crate::package::entry::{Entry, FileEntry, Kind, Mode};
use crate::package::index::{Index, MAX_FILE};
use crate::package::listing::{Item, ListedFile, MAX_DOCUMENT, is_document};
use crate::package::path::EntryPath;

const PROSE: &str = "# Notes\n\nThe tax table of Ohio was wrong since March; this release brings the \
    corrected one and recomputes the orders that are still open.\n";

const FORM: &str = include_str!("../form/examples/cot-f052.toml");

const F052: &str = "forms/cot-f052.toml";

fn check(listing: &Listing) -> Vec<Finding> {
    super::check(listing, &Catalogue::shipped())
}

fn file(listing: &mut Listing, path: &str, mode: u32, content: &[u8]) {
    let kind = ItemKind::File(ListedFile {
        size: content.len() as u64,
        digest: Digest::of(content),
        document: is_document(path).then(|| content.to_vec()),
    });
    add(listing, path, mode, kind);
}

fn add(listing: &mut Listing, path: &str, mode: u32, kind: ItemKind) {
    let privileges = Vec::new();
    listing.add(path, Item { kind, mode, privileges });
}

fn complete() -> Listing {
    let mut listing = Listing::new();
    for directory in ["forms", "hooks", "hooks/lib", "payload", "payload/bin"] {
        add(&mut listing, directory, 0o755, ItemKind::Directory);
    }
    file(&mut listing, MANIFEST, 0o644, include_bytes!("../manifest/example.toml"));
    file(&mut listing, NOTES, 0o644, PROSE.as_bytes());
    file(&mut listing, INSTRUCTIONS, 0o644, PROSE.as_bytes());
    file(&mut listing, F052, 0o644, FORM.as_bytes());
    for hook in ["stop.sh", "migrate.sh", "back.sh", "ping.sh"] {
        file(&mut listing, &format!("hooks/{hook}"), 0o755, b"#!/bin/sh\n");
    }
    file(&mut listing, "hooks/lib/common.sh", 0o644, b"x=1\n");
    file(&mut listing, "payload/bin/shop", 0o755, b"the program");
    add(&mut listing, "payload/bin/shop-1", 0o777, ItemKind::Link("shop".to_owned()));
    listing
}

/// The findings of the complete package after `change`, as `file field rule`.
fn after(change: impl FnOnce(&mut Listing)) -> Vec<String> {
    let mut listing = complete();
    change(&mut listing);
    check(&listing).iter().map(told).collect()
}

fn told(finding: &Finding) -> String {
    assert!(!finding.problem.is_empty() && !finding.remedy.is_empty());
    let rule = serde_json::to_value(finding.rule).unwrap();
    let field = finding.field.as_deref().unwrap_or("-");
    format!("{} {field} {}", finding.file, rule.as_str().unwrap())
}

fn without(listing: &mut Listing, path: &str) {
    let kept: Vec<(String, Item)> = listing
        .items()
        .filter(|(other, _)| !is_within(other, path))
        .map(|(other, item)| (other.to_owned(), item.clone()))
        .collect();
    *listing = Listing::new();
    for (other, item) in kept {
        listing.add(&other, item);
    }
}

#[test]
fn a_complete_package_has_no_findings() {
    assert_eq!(check(&complete()), []);
}

#[test]
fn nothing_at_all_misses_everything_at_once() {
    let findings: Vec<String> = check(&Listing::new()).iter().map(told).collect();
    assert_eq!(
        findings,
        [
            "INSTRUCTIONS.md - missing",
            "NOTES.md - missing",
            "forms - missing",
            "payload - missing",
            "release.toml - missing",
        ]
    );
}

#[test]
fn documents_have_to_say_something() {
    for (content, rule) in [
        (&b""[..], "not-documentation"),
        (b"# Notes\n\nN/A\n", "not-documentation"),
        (b"It is better now.", "not-documentation"),
        (b"FILL IN: what changes", "placeholder"),
        (b"\xff\xfe", "unreadable"),
    ] {
        let findings = after(|listing| file(listing, NOTES, 0o644, content));
        assert_eq!(findings, [format!("NOTES.md - {rule}")]);
    }
    let large = after(|listing| {
        let kind = ItemKind::File(ListedFile {
            size: MAX_DOCUMENT + 1,
            digest: Digest::of(b""),
            document: None,
        });
        add(listing, NOTES, 0o644, kind);
    });
    assert_eq!(large, ["NOTES.md - unreadable"]);
    let link = after(|listing| {
        add(listing, NOTES, 0o777, ItemKind::Link("payload/bin/shop".to_owned()));
    });
    assert_eq!(link, ["NOTES.md - missing"]);
}

#[test]
fn the_layout_is_fixed() {
    for (path, expected) in [
        ("README.md", "README.md - unexpected"),
        ("forms/notes.txt", "forms/notes.txt - unexpected"),
    ] {
        let findings = after(|listing| file(listing, path, 0o644, b"text"));
        assert_eq!(findings, [expected]);
    }
    let nested = after(|listing| {
        add(listing, "forms/old", 0o755, ItemKind::Directory);
        file(listing, "forms/old/cot-f052.toml", 0o644, FORM.as_bytes());
    });
    assert!(nested.contains(&"forms/old - unexpected".to_owned()), "{nested:?}");
    assert!(nested.contains(&"forms/old/cot-f052.toml - unexpected".to_owned()));
    let hidden = after(|listing| add(listing, ".git", 0o755, ItemKind::Directory));
    assert_eq!(hidden, [".git - unexpected"]);
    let replaced = after(|listing| {
        without(listing, "payload");
        file(listing, "payload", 0o644, b"one file");
    });
    assert!(replaced.contains(&"payload - missing".to_owned()), "{replaced:?}");
}

#[test]
fn faults_of_the_manifest_are_findings_of_the_package() {
    let text = include_str!("../manifest/example.toml").replacen("minutes = 5", "minutes = 0", 1);
    let findings = after(|listing| file(listing, MANIFEST, 0o644, text.as_bytes()));
    assert_eq!(findings, ["release.toml rollback.minutes field-value"]);
}

#[test]
fn hooks_are_there_and_run_and_named() {
    assert_eq!(
        after(|listing| without(listing, "hooks/stop.sh")),
        ["release.toml hooks.stop.command hook-file"]
    );
    assert_eq!(
        after(|listing| file(listing, "hooks/back.sh", 0o644, b"#!/bin/sh\n")),
        ["release.toml hooks.activate.undo.command hook-file"]
    );
    assert_eq!(
        after(|listing| add(listing, "hooks/ping.sh", 0o777, ItemKind::Link("stop.sh".to_owned()))),
        ["release.toml health[2].command[0] hook-file"]
    );
    assert_eq!(
        after(|listing| file(listing, "hooks/start.sh", 0o755, b"#!/bin/sh\n")),
        ["hooks/start.sh - hook-not-named"]
    );
    assert_eq!(
        after(|listing| without(listing, "hooks/lib")),
        ["release.toml hooks.support[0] hook-file"]
    );
}

#[test]
fn forms_and_payload_are_the_same() {
    assert_eq!(
        after(|listing| {
            without(listing, "payload");
            add(listing, "payload", 0o755, ItemKind::Directory);
        }),
        ["payload - payload-empty"]
    );
    assert_eq!(
        after(|listing| without(listing, F052)),
        [
            "forms/cot-f052.toml - form",
            "payload/bin/shop - payload-not-named",
            "payload/bin/shop-1 - payload-not-named",
        ]
    );
    let narrow = FORM.replace("source = \"payload\"", "source = \"payload/bin\"");
    assert_eq!(
        after(|listing| {
            file(listing, F052, 0o644, narrow.as_bytes());
            file(listing, "payload/other", 0o644, b"x");
        }),
        ["payload/other - payload-not-named"]
    );
}

#[test]
fn the_window_that_is_asked_for_is_one_by_the_zones_rules() {
    let with = |pairs: &[(&str, &str)]| {
        let mut text = include_str!("../manifest/example.toml").to_owned();
        for (from, to) in pairs {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        after(|listing| file(listing, MANIFEST, 0o644, text.as_bytes()))
    };
    let length = "for = \"1h\"";
    let start = "start = \"2026-11-20T22:00\"";
    let latest = "latest = 2026-11-30T22:00:00";
    assert_eq!(with(&[(length, "until = \"2026-11-20T23:00\"")]), [""; 0]);
    assert_eq!(
        with(&[(length, "for = \"6m\"")]),
        ["release.toml schedule.for contradiction"],
        "no host could start"
    );
    assert_eq!(
        with(&[(length, "until = \"2026-11-20T22:06\"")]),
        ["release.toml schedule.until contradiction"],
        "no host could start"
    );
    assert_eq!(
        with(&[(length, "until = \"2026-11-20T21:00\"")]),
        ["release.toml schedule.until contradiction"],
        "it ends before it starts"
    );
    assert_eq!(
        with(&[("America/New_York", "America/Atlantis")]),
        ["release.toml schedule.zone field-value"]
    );
    // The clocks go forward over it.
    assert_eq!(
        with(&[(start, "start = \"2026-03-08T02:30\"")]),
        ["release.toml schedule.start field-value"]
    );
    // From 01:55 until 03:05 on the wall are ten minutes of that night, not seventy.
    let spring = (start, "start = \"2026-03-08T01:55\"");
    assert_eq!(with(&[spring, (length, "until = \"2026-03-08T03:05\"")]), [""; 0]);
    assert_eq!(
        with(&[spring, (length, "until = \"2026-03-08T03:01\"")]),
        ["release.toml schedule.until contradiction"]
    );
    assert_eq!(
        with(&[(latest, "latest = 2026-11-19T22:00:00")]),
        ["release.toml schedule.latest contradiction"]
    );
}

#[test]
fn kinds_names_links_and_privileges() {
    let link = |path: &'static str, target: &'static str| {
        move |listing: &mut Listing| add(listing, path, 0o777, ItemKind::Link(target.to_owned()))
    };
    let special =
        |kind: ItemKind| move |listing: &mut Listing| add(listing, "payload/bin/x", 0o644, kind);
    for (findings, expected) in [
        (after(link("payload/bin/x", "../../../etc/passwd")), "payload/bin/x - link"),
        (after(link("payload/bin/x", "/etc/passwd")), "payload/bin/x - link"),
        (after(link("payload/bin/x", "x")), "payload/bin/x - link"),
        (after(link("payload/bin/x", "missing")), "payload/bin/x - link"),
        (after(link("payload/bin/x", "../../NOTES.md")), "payload/bin/x - link"),
        (after(special(ItemKind::Special("a socket"))), "payload/bin/x - special-file"),
        (after(special(ItemKind::NotUtf8)), "payload/bin/x - path"),
        (after(|l| file(l, "payload/bin/a\nb", 0o644, b"")), "payload/bin/a\nb - path"),
        (after(|l| file(l, "payload/bin/SHOP", 0o644, b"")), "payload/bin/shop - collision"),
        (after(|l| file(l, "payload/bin/x", 0o4755, b"")), "payload/bin/x - privilege"),
        (after(|l| file(l, "payload/bin/x", 0o2755, b"")), "payload/bin/x - privilege"),
        (
            after(|l| add(l, "payload/bin/x", 0o1777, ItemKind::Directory)),
            "payload/bin/x - privilege",
        ),
    ] {
        assert_eq!(findings, [expected]);
    }
    assert_eq!(after(link("payload/bin/x", "../..")), [""; 0], "the slot itself is inside");
    let capability = after(|listing| {
        let mut item = listing.find("payload/bin/shop").unwrap().clone();
        item.privileges.push("security.capability".to_owned());
        listing.add("payload/bin/shop", item);
    });
    assert_eq!(capability, ["payload/bin/shop - privilege"]);
}

#[test]
fn sizes_are_bounded_and_so_is_the_answer() {
    let large = after(|listing| {
        for name in ["a", "b", "c", "d", "e"] {
            let kind = ItemKind::File(ListedFile {
                size: MAX_FILE + 1,
                digest: Digest::of(b""),
                document: None,
            });
            add(listing, &format!("payload/bin/{name}"), 0o644, kind);
        }
    });
    assert_eq!(large.len(), 6);
    assert_eq!(large[0], ". - limit");

    let mut listing = complete();
    let narrow = FORM.replace("source = \"payload\"", "source = \"payload/bin\"");
    file(&mut listing, F052, 0o644, narrow.as_bytes());
    for number in 0..MAX_FINDINGS_OF_A_RULE + 3 {
        file(&mut listing, &format!("payload/{number}"), 0o644, b"x");
    }
    let many = check(&listing);
    assert_eq!(many.len(), MAX_FINDINGS_OF_A_RULE + 1);
    assert!(many.last().unwrap().problem.starts_with("3 more"));
}

#[test]
fn deep_documents_do_not_overflow() {
    let keys = format!("schema = 1\n{}a = 1\n", "a.".repeat(200_000));
    let arrays = format!("x = {}", "[".repeat(200_000));
    let tables = format!("[{}a]\n", "a.".repeat(200_000));
    for text in [keys, arrays, tables] {
        let findings = after(|listing| {
            file(listing, MANIFEST, 0o644, text.as_bytes());
            file(listing, F052, 0o644, text.as_bytes());
        });
        assert!(!findings.is_empty());
    }
}

#[test]
fn the_package_is_judged_as_the_directory_was() {
    let listing = complete();
    let entries = listing.items().map(|(path, item)| {
        let kind = match &item.kind {
            ItemKind::File(file) => Kind::File(FileEntry {
                mode: if item.mode & 0o100 == 0 { Mode::PLAIN } else { Mode::EXECUTABLE },
                size: file.size,
                digest: file.digest,
                chunks: vec![ChunkRef {
                    digest: file.digest,
                    length: u32::try_from(file.size).unwrap(),
                }],
            }),
            ItemKind::Directory => Kind::Directory { mode: Mode::DIRECTORY },
            ItemKind::Link(target) => Kind::Link { target: target.clone() },
            ItemKind::Special(_) | ItemKind::NotUtf8 => unreachable!("a complete package has none"),
        };
        let path = EntryPath::new(path).unwrap();
        Entry { path, kind }
    });
    let index = Index::new(entries.collect()).unwrap();
    let documents = listing
        .items()
        .filter_map(|(path, item)| Some((path.to_owned(), item.file()?.document.clone()?)));
    assert_eq!(check(&Listing::of_index(&index, documents.collect())), []);
}

/// The findings of a package for zSeries whose runbook has this in the place of that.
fn with_runbook(from: &str, to: &str) -> Vec<String> {
    let manifest = include_str!("../manifest/example.toml");
    let runbook = include_str!("../manifest/runbook.toml");
    assert!(runbook.contains(from), "{from}");
    let manifest = manifest.replacen("[\"hosts\"]", "[\"hosts\", \"zseries\"]", 1);
    let manifest = format!("{manifest}\n{}", runbook.replacen(from, to, 1));
    after(|listing| {
        without(listing, MANIFEST);
        file(listing, MANIFEST, 0o644, manifest.as_bytes());
        let f053 = include_bytes!("../form/examples/cot-f053.toml");
        file(listing, "forms/cot-f053.toml", 0o644, f053);
        file(listing, "hooks/move.sh", 0o755, b"#!/bin/sh\n");
    })
}

#[test]
fn a_runbooks_steps_are_about_the_forms_elements_and_run_what_is_there() {
    assert_eq!(with_runbook("hold-job", "hold-job"), Vec::<String>::new());
    assert_eq!(
        with_runbook("[\"PAYR010 ->", "[\"PAYR020 ->"),
        [
            "release.toml runbook runbook-element",
            "release.toml runbook[1].elements[0] runbook-element",
        ]
    );
    assert_eq!(
        with_runbook("hooks/move.sh", "hooks/moves.sh"),
        ["hooks/move.sh - hook-not-named", "release.toml runbook[1].command hook-file"]
    );
}

#[test]
fn what_is_shared_is_declared_and_is_a_link() {
    let link = |path: &str| ItemKind::Link(outside::target(path).unwrap());
    let shares = |listing: &mut Listing, paths: &str| {
        let text = include_str!("../manifest/example.toml");
        let text = text.replacen("\n[impact]", &format!("shared = {paths}\n\n[impact]"), 1);
        file(listing, MANIFEST, 0o644, text.as_bytes());
    };
    let with = |paths: &str, there: &[(&str, ItemKind)]| {
        after(|listing| {
            shares(listing, paths);
            for (path, kind) in there {
                add(listing, path, 0o777, kind.clone());
            }
        })
    };
    let data = ("payload/data", link("payload/data"));
    assert_eq!(with("[\"data\"]", std::slice::from_ref(&data)), Vec::<String>::new());
    for (paths, there) in [
        ("[\"data\"]", vec![]),
        ("[\"data\"]", vec![("payload/data", ItemKind::Directory)]),
        ("[\"var/data\"]", vec![("payload/var/data", link("payload/var/data"))]),
    ] {
        let found = with(paths, &there);
        assert!(found.iter().any(|it| it.contains("shared[0]")), "{paths} {there:?}: {found:?}");
    }
    let found = with("[]", std::slice::from_ref(&data));
    assert!(found.iter().any(|it| it.starts_with("payload/data")), "{found:?}");
    for paths in ["[\"data\", \"data\"]", "[\"data/x\", \"data\"]", "[\"../data\"]", "[\"/data\"]"]
    {
        let found = with(paths, std::slice::from_ref(&data));
        assert!(found.iter().any(|it| it.contains("shared[")), "{paths}: {found:?}");
    }
}
