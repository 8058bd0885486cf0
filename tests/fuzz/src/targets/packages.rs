//! What a package is made of.

use std::collections::BTreeMap;

use cutover_shared::digest::Digest;
use cutover_shared::package::check;
use cutover_shared::package::chunk::{self, ChunkRef, MAX_CHUNK};
use cutover_shared::package::form::{self, Catalogue, Notation, Schema};
use cutover_shared::package::index::Index;
use cutover_shared::package::listing::{Item, ItemKind, ListedFile, Listing};
use cutover_shared::package::manifest::Manifest;
use cutover_shared::package::map::PackMap;

/// An index is its bytes, and every path and link of it stays inside.
pub(super) fn index(bytes: &[u8]) {
    let Ok(index) = Index::parse(bytes) else { return };
    assert_eq!(index.to_bytes(), bytes);
    assert_eq!(index.digest(), Digest::of(bytes));
    for entry in index.entries() {
        let path = entry.path.as_str();
        assert!(
            !path.starts_with('/') && entry.path.components().all(|it| it != ".." && it != ".")
        );
        assert_eq!(index.find(path), Some(entry));
    }
    let again = Index::new(index.entries().to_vec()).expect("its entries make it");
    assert_eq!(again.digest(), index.digest());
    let _ = check::check(&Listing::of_index(&index, BTreeMap::new()), &Catalogue::shipped());
}

pub(super) fn map(bytes: &[u8]) {
    let Ok(map) = PackMap::parse(bytes) else { return };
    assert_eq!(map.to_bytes(), bytes);
    for piece in map.pieces() {
        assert_eq!(map.locate(&piece.chunk), Some(piece));
    }
}

/// The first four bytes say how long the chunk should be, the next 32 what it is.
pub(super) fn chunk(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return };
    let Some((digest, stored)) = rest.split_first_chunk::<32>() else { return };
    let expected =
        ChunkRef { digest: Digest::from_bytes(*digest), length: u32::from_be_bytes(*length) };
    if let Ok(content) = chunk::inflate(stored, &expected) {
        assert_eq!(ChunkRef::of(&content), Some(expected));
    }
    if let Some(reference) = ChunkRef::of(stored) {
        assert!(reference.length <= MAX_CHUNK);
        assert_eq!(chunk::inflate(&chunk::deflate(stored), &reference).as_deref(), Ok(stored));
    }
}

pub(super) fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Manifest::parse(text) {
        Ok(manifest) => assert_eq!(Manifest::parse(text), Ok(manifest)),
        Err(findings) => assert!(!findings.is_empty(), "a refusal says why"),
    }
}

/// A whole package: documents between lines of `%%%`: manifest, notes, instructions, then forms.
pub(super) fn package(bytes: &[u8]) {
    let mut listing = Listing::new();
    let plain = |kind, mode| Item { kind, mode, privileges: Vec::new() };
    for directory in ["forms", "hooks", "payload"] {
        listing.add(directory, plain(ItemKind::Directory, 0o755));
    }
    let file = |content: &[u8]| {
        let document = Some(content.to_vec());
        let size = content.len() as u64;
        plain(ItemKind::File(ListedFile { size, digest: Digest::of(content), document }), 0o644)
    };
    listing.add("payload/a", file(b"a"));
    let names =
        ["release.toml", "NOTES.md", "INSTRUCTIONS.md", "forms/cot-f052.toml", "forms/x.json"];
    let mut rest = bytes;
    for name in names {
        let end = rest.windows(5).position(|it| it == b"\n%%%\n").unwrap_or(rest.len());
        listing.add(name, file(&rest[..end]));
        rest = rest.get(end + 5..).unwrap_or_default();
    }
    let catalogue = Catalogue::shipped();
    let findings = check::check(&listing, &catalogue);
    assert_eq!(findings, check::check(&listing, &catalogue), "the same every time");
}

/// A form, first as TOML and then as JSON, by each of the shipped schemas: a good one has an answer to
/// everything that has to be answered, and a bad one says why.
pub(super) fn form(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let catalogue = Catalogue::shipped();
    let mut listing = Listing::new();
    let content = ListedFile { size: 1, digest: Digest::of(b"a"), document: None };
    let (kind, privileges) = (ItemKind::File(content), Vec::new());
    listing.add("payload", Item { kind, mode: 0o644, privileges });
    for schema in catalogue.newest() {
        for suffix in ["toml", "json"] {
            let file = format!("forms/{}.{suffix}", schema.id());
            match form::read(&file, text, &catalogue, &listing, None).form {
                Ok(form) => {
                    for section in form.schema().sections() {
                        let needed =
                            section.fields.iter().filter_map(|field| match &field.answer {
                                form::schema::Answer::Asked { name, needed: true, .. } => {
                                    Some(name)
                                }
                                form::schema::Answer::Asked { .. }
                                | form::schema::Answer::Told(_) => None,
                            });
                        let places = form.places(section);
                        for name in needed {
                            assert!(places.iter().all(|at| form.answer(at, name).is_some()));
                        }
                    }
                }
                Err(findings) => assert!(!findings.is_empty(), "a refusal says why"),
            }
        }
    }
}

/// A schema: what is read has a form to start from, which names it.
pub(super) fn form_schema(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Schema::parse("x.toml", text) {
        Ok(schema) => {
            assert_eq!(schema.text(), text);
            let mut catalogue = Catalogue::empty();
            catalogue.add("x.toml", text).expect("it was read");
            for notation in [Notation::Toml, Notation::Json] {
                let form = form::template(&schema, notation);
                assert!(form.contains(&schema.name()), "{form}");
            }
        }
        Err(findings) => assert!(!findings.is_empty(), "a refusal says why"),
    }
}
