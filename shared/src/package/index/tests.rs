use proptest::prelude::*;

use super::*;
use crate::package::entry::{FileEntry, Kind, Mode};

fn path(text: &str) -> EntryPath {
    EntryPath::new(text).unwrap()
}

fn directory(at: &str) -> Entry {
    Entry { path: path(at), kind: Kind::Directory { mode: Mode::DIRECTORY } }
}

fn file(at: &str, content: &[u8]) -> Entry {
    Entry {
        path: path(at),
        kind: Kind::File(FileEntry {
            mode: Mode::PLAIN,
            size: content.len() as u64,
            digest: Digest::of(content),
            chunks: ChunkRef::of(content).into_iter().collect(),
        }),
    }
}

fn link(at: &str, target: &str) -> Entry {
    Entry { path: path(at), kind: Kind::Link { target: target.to_owned() } }
}

fn with_file(change: impl FnOnce(&mut FileEntry)) -> Vec<Entry> {
    let mut entry = file("a", b"content");
    let Kind::File(file) = &mut entry.kind else { unreachable!("it was made a file") };
    change(file);
    vec![entry]
}

fn refusal(entries: Vec<Entry>) -> String {
    let refused = Index::new(entries.clone()).unwrap_err();
    // The door and the workshop agree.
    let mut sorted = entries;
    sorted.sort_by(|one, other| one.path.cmp(&other.path));
    let at_the_door = Index::parse(&encode(&sorted)).unwrap_err();
    assert_eq!(refused.to_string(), at_the_door.to_string());
    format!("{refused:?}")
}

const GOLDEN: &str = concat!(
    r#"{"schema":1,"entries":["#,
    r#"{"path":"NOTES.md","kind":{"file":{"mode":"0644","size":0,"digest":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","chunks":[]}}},"#,
    r#"{"path":"payload","kind":{"directory":{"mode":"0755"}}},"#,
    r#"{"path":"payload/größe","kind":{"file":{"mode":"0644","size":3,"digest":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","chunks":[{"digest":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","length":3}]}}},"#,
    r#"{"path":"payload/l","kind":{"link":{"target":"größe"}}}"#,
    r#"]}"#
);

fn golden_entries() -> Vec<Entry> {
    vec![
        link("payload/l", "größe"),
        file("payload/größe", b"abc"),
        file("NOTES.md", b""),
        directory("payload"),
    ]
}

#[test]
fn the_one_spelling_and_its_digest() {
    let index = Index::new(golden_entries()).unwrap();
    assert_eq!(String::from_utf8(index.to_bytes()).unwrap(), GOLDEN);
    assert_eq!(
        index.digest().to_string(),
        "fd47f2bf4608d85275fa36482920be2576c747476955732476a92662557c9ef5"
    );
    assert_eq!(Index::parse(GOLDEN.as_bytes()).unwrap(), index);
    assert_eq!(index.total_bytes(), 3);
    assert_eq!(index.chunks().len(), 1);
    let slot: Vec<&str> = index.slot_entries().map(|e| e.path.as_str()).collect();
    assert_eq!(slot, ["payload", "payload/größe", "payload/l"]);
    assert!(index.find("payload/l").is_some() && index.find("payload/m").is_none());
}

#[test]
fn other_spellings_and_other_versions_are_refused() {
    for (from, to, refusal) in [
        (r#"{"schema":1,"#, r#"{ "schema":1,"#, "NotCanonical"),
        (r#"{"schema":1,"#, r#"{"schema":1,"#, ""),
        (r#""größe","#, r#""gr\u00f6\u00dfe","#, ""),
        (r#""target":"größe""#, r#""target":"gr\u00f6\u00dfe""#, "NotCanonical"),
        (r#""mode":"0644","size":0"#, r#""size":0,"mode":"0644""#, "NotCanonical"),
        (r#"{"schema":1"#, r#"{"schema":2"#, "Schema(2)"),
        (r#"{"schema":1"#, r#"{"schema":1,"schema":1"#, "Json"),
        (r#""size":0"#, r#""size":0,"holes":[]"#, "Json"),
        (r#""size":0"#, r#""size":0.0"#, "Json"),
        (r#""mode":"0755""#, r#""mode":"755""#, "Json"),
        (r#""mode":"0755""#, r#""mode":"4755""#, "Json"),
        (r#""mode":"0755""#, r#""mode":"0777""#, "Mode"),
        (r#""payload/l""#, r#""payload/../l""#, "Json"),
        (r#""payload/l""#, r#""payload/größe""#, "Order"),
        (r#""payload/l""#, r#""payload/a""#, "Order"),
    ] {
        let text = GOLDEN.replacen(from, to, 1);
        match Index::parse(text.as_bytes()) {
            Ok(_) => assert_eq!(refusal, "", "{to}"),
            Err(error) => assert!(
                !refusal.is_empty() && format!("{error:?}").starts_with(refusal),
                "{to}: {error:?}"
            ),
        }
    }
    assert!(matches!(Index::parse(&vec![b' '; MAX_INDEX + 1]), Err(IndexError::TooLarge(_))));
    assert!(matches!(
        Index::parse(format!("{GOLDEN}\n").as_bytes()),
        Err(IndexError::NotCanonical)
    ));
}

#[test]
fn every_rule_has_its_refusal() {
    let empty = Digest::of(b"");
    for (entries, expected) in [
        (vec![file("a", b""), file("a", b"x")], "Order"),
        (vec![file("d/a", b"")], "Parent"),
        (vec![file("d", b""), file("d/a", b"")], "Parent"),
        (vec![directory("e"), link("d", "e"), file("d/a", b"")], "Parent"),
        (vec![file("a", b""), file("A", b"")], "Collision"),
        (vec![directory("a"), file("A", b"")], "Collision"),
        (vec![file("\u{e9}", b""), file("e\u{301}", b"")], "Collision"),
        (with_file(|f| f.mode = Mode(0o600)), "Mode"),
        (with_file(|f| f.mode = Mode(0o777)), "Mode"),
        (with_file(|f| f.size = MAX_FILE + 1), "FileTooLarge"),
        (with_file(|f| f.size = 8), "Sum"),
        (with_file(|f| f.chunks.clear()), "Sum"),
        (with_file(|f| f.digest = empty), "Sum"),
        (with_file(|f| f.chunks[0].length = 0), "ChunkLength"),
        (with_file(|f| f.chunks[0].length = MAX_CHUNK + 1), "ChunkLength"),
        (with_file(|f| f.chunks.push(f.chunks[0])), "ChunkLength"),
        (vec![link("a", "/etc/shadow")], "Link"),
        (vec![link("a", "../b")], "Link"),
        (vec![link("a", "")], "Link"),
        (vec![directory("d"), link("d/up", ".."), link("d/x", "up/../y")], "Link"),
        (vec![link("a", "b"), link("b", "a")], "Link"),
    ] {
        let refused = refusal(entries);
        assert!(refused.starts_with(expected), "{refused} instead of {expected}");
    }
}

#[test]
fn one_chunk_has_one_length() {
    let content = vec![7_u8; MIN_CHUNK as usize];
    let mut two = file("b", &content);
    if let Kind::File(file) = &mut two.kind {
        file.chunks[0].length += 1;
        file.size += 1;
    }
    let refused = refusal(vec![file("a", &content), two]);
    assert!(refused.starts_with("ChunkLength"), "{refused}");
}

#[test]
fn too_many_and_too_much() {
    let many = (0..=MAX_ENTRIES).map(|n| file(&format!("{n:07}"), b""));
    assert!(matches!(Index::new(many.collect()), Err(IndexError::TooManyEntries(_))));

    let chunk = ChunkRef { digest: Digest::of(b"one of many"), length: MAX_CHUNK };
    let big = |name: &str| {
        let chunks = vec![chunk; 3 * 4096 * 16];
        Entry {
            path: path(name),
            kind: Kind::File(FileEntry {
                mode: Mode::PLAIN,
                size: chunks.len() as u64 * u64::from(MAX_CHUNK),
                digest: Digest::of(name.as_bytes()),
                chunks,
            }),
        }
    };
    // 48 GiB each.
    let entries: Vec<Entry> = ["a", "b", "c", "d", "e", "f"].map(big).into();
    assert!(matches!(Index::new(entries), Err(IndexError::TooMuch)));
}

proptest! {
    #[test]
    fn indexes_come_back(names in proptest::collection::btree_set("[a-z]{1,6}(/[a-z]{1,4})?", 0..30)) {
        let mut entries: BTreeMap<EntryPath, Entry> = BTreeMap::new();
        for name in &names {
            let at = path(name);
            if let Some(parent) = at.parent() {
                entries.insert(path(parent), directory(parent));
            }
            entries.entry(at).or_insert_with(|| file(name, name.as_bytes()));
        }
        let index = Index::new(entries.into_values().rev().collect()).unwrap();
        let again = Index::parse(&index.to_bytes()).unwrap();
        prop_assert_eq!(&again, &index);
        prop_assert_eq!(again.digest(), Digest::of(&index.to_bytes()));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Index::parse(&bytes).is_err());
    }

    #[test]
    fn a_changed_byte_is_another_package_or_none(position: prop::sample::Index, byte: u8) {
        let mut bytes = GOLDEN.as_bytes().to_vec();
        let at = position.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        if let Ok(index) = Index::parse(&bytes) {
            prop_assert_ne!(index.digest(), Digest::of(GOLDEN.as_bytes()));
        }
    }
}
