use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{Cursor, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cutover_shared::digest::Digest;
use cutover_shared::package::chunk::{ChunkError, MAX_CHUNK, deflate};
use cutover_shared::package::entry::{Entry, Kind};
use cutover_shared::package::finding::Rule;
use cutover_shared::package::form::Catalogue;
use cutover_shared::package::index::Index;
use cutover_shared::package::manifest::{HookStage, Target};
use cutover_shared::package::map::{PackMap, Piece};
use tempfile::TempDir;

use super::build::{self, BuildError, Built};
use super::file::{FileError, PackageFile};
use super::scaffold::{self, ScaffoldError};
use super::upload::{UploadError, verify_upload};

const MANIFEST: &str = include_str!("../../../shared/src/package/manifest/example.toml");

const PROSE: &str = "# Notes\n\nThe tax table of Ohio was wrong since March; this release brings the \
    corrected one and recomputes the orders that are still open.\n";

const FORM: &str = include_str!("../../../shared/src/package/form/examples/cot-f052.toml");

/// Bytes that do not compress, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// What a complete package has: path, executable, content.
fn files() -> Vec<(&'static str, bool, Vec<u8>)> {
    let script = b"#!/bin/sh\nexit 0\n".to_vec();
    vec![
        ("release.toml", false, MANIFEST.into()),
        ("NOTES.md", false, PROSE.into()),
        ("INSTRUCTIONS.md", false, PROSE.into()),
        ("forms/cot-f052.toml", false, FORM.into()),
        ("hooks/stop.sh", true, script.clone()),
        ("hooks/migrate.sh", true, script.clone()),
        ("hooks/back.sh", true, script.clone()),
        ("hooks/ping.sh", true, script),
        ("hooks/lib/common.sh", false, b"set -eu\n".to_vec()),
        ("payload/bin/shop", true, noise(700_000)),
        ("payload/copy", false, noise(700_000)),
        ("payload/zeros", false, vec![0; 3 * MAX_CHUNK as usize + 1]),
        ("payload/empty", false, Vec::new()),
        ("payload/größe.txt", false, b"2 m".to_vec()),
    ]
}

fn put(root: &Path, path: &str, mode: u32, content: &[u8]) {
    let at = root.join(path);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(&at, content).unwrap();
    fs::set_permissions(&at, Permissions::from_mode(mode)).unwrap();
}

pub(crate) struct Release {
    place: TempDir,
}

impl Release {
    pub(crate) fn complete() -> Self {
        let release = Self { place: TempDir::new().unwrap() };
        for (path, executable, content) in files() {
            put(&release.root(), path, if executable { 0o755 } else { 0o644 }, &content);
        }
        symlink("shop", release.root().join("payload/bin/shop-1")).unwrap();
        release
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.place.path().join("release")
    }

    pub(crate) fn put(&self, path: &str, content: &[u8]) {
        put(&self.root(), path, 0o644, content);
    }

    pub(crate) fn build(&self) -> Built {
        build::build(&self.root(), None, &Catalogue::shipped(), &mut ()).unwrap()
    }

    fn rules(&self) -> Vec<(String, Rule)> {
        let findings = build::check(&self.root(), &Catalogue::shipped(), &mut ()).unwrap();
        findings.into_iter().map(|finding| (finding.file, finding.rule)).collect()
    }

    fn beside(&self) -> Vec<String> {
        let entries = fs::read_dir(self.place.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn the_same_directory_has_the_same_digest_wherever_it_was_made() {
    let one = Release::complete();
    let other = Release { place: TempDir::new().unwrap() };
    make_otherwise(&other);
    let [one, other] = [one, other].map(|release| release.build());
    assert_eq!(one.index, other.index);
    assert_eq!(one.index.digest(), other.index.digest());
}

/// The cut, the order and the spelling of version 1. If this changes, so does the digest of every
/// package that was approved: that needs a new schema version.
#[test]
fn golden_digest_of_version_1() {
    let place = TempDir::new().unwrap();
    put(place.path(), "payload/bin/noise", 0o755, &noise(700_000));
    put(place.path(), "payload/zeros", 0o644, &vec![0; 2 * MAX_CHUNK as usize + 1]);
    symlink("bin/noise", place.path().join("payload/link")).unwrap();
    let index = build::index(place.path(), &mut ()).unwrap();
    let lengths = |path: &str| {
        let chunks = &index.find(path).unwrap().file().unwrap().chunks;
        chunks.iter().map(|chunk| chunk.length).collect::<Vec<u32>>()
    };
    assert_eq!(lengths("payload/zeros"), [MAX_CHUNK, MAX_CHUNK, 1]);
    // Lengths and digest were computed by a second implementation of the cut and the index, in Python.
    assert_eq!(
        lengths("payload/bin/noise"),
        [125_811, 78_145, 101_666, 83_949, 47_712, 79_075, 41_827, 73_610, 68_205]
    );
    assert_eq!(
        index.digest().to_string(),
        "15120dd32f3872efcc2683d4b99ad70de1d5bd92f485a5a19e2331fb8ad4caf8"
    );
}

/// The same release, made in another order, with another umask, at another time.
fn make_otherwise(release: &Release) {
    fs::create_dir_all(release.root().join("payload/bin")).unwrap();
    symlink("shop", release.root().join("payload/bin/shop-1")).unwrap();
    for (path, executable, content) in files().into_iter().rev() {
        put(&release.root(), path, if executable { 0o700 } else { 0o664 }, &content);
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::options()
            .write(true)
            .open(release.root().join(path))
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }
    for directory in ["payload", "payload/bin", "hooks"] {
        let at = release.root().join(directory);
        fs::set_permissions(at, Permissions::from_mode(0o775)).unwrap();
    }
}

#[test]
fn a_package_file_gives_back_what_was_put_in() {
    let release = Release::complete();
    let built = release.build();
    assert_eq!(built.path.file_name().unwrap(), "shop-1.4.2.cutover");
    assert_eq!(release.beside(), ["release", "shop-1.4.2.cutover"], "nothing temporary is left");
    assert_eq!(built.manifest.hooks.at(HookStage::Start), None);

    let package = PackageFile::open(&built.path).unwrap();
    assert_eq!(package.index(), &built.index);
    assert_eq!(Digest::of(package.index_bytes()), built.index.digest());
    assert_eq!(package.map(), &built.map);
    assert_eq!(package.pack_length(), built.stored);
    let listing = package.verify(&mut ()).unwrap();
    assert_eq!(listing.manifest().unwrap(), built.manifest);
    let accepted =
        verify_upload(package.index_bytes(), package.map(), package.pack(), &Catalogue::shipped())
            .unwrap();
    assert_eq!(accepted.manifest, built.manifest);
    assert_eq!(accepted.index, built.index);
}

#[test]
fn chunks_are_stored_once_in_the_order_of_first_use() {
    let built = Release::complete().build();
    let mut offsets = Vec::new();
    for chunk in built.index.chunks() {
        offsets.push(built.map.locate(&chunk.digest).unwrap().offset);
    }
    assert!(offsets.is_sorted() && offsets[0] == 0);
    assert_eq!(built.map.pieces().len(), offsets.len());
    // Two times 700 kB of noise and 768 KiB of zeros in a little more than 700 kB.
    assert!((700_000..720_000).contains(&built.stored), "{}", built.stored);
    assert!(built.index.total_bytes() > 2_180_000);
}

#[test]
fn the_pack_is_read_from_anywhere() {
    let release = Release::complete();
    let built = release.build();
    let package = PackageFile::open(&built.path).unwrap();
    let mut whole = Vec::new();
    package.pack().read_to_end(&mut whole).unwrap();
    assert_eq!(whole.len() as u64, built.stored);
    let mut reader = package.pack();
    assert_eq!(reader.seek(SeekFrom::End(-5)).unwrap(), built.stored - 5);
    let mut end = Vec::new();
    reader.read_to_end(&mut end).unwrap();
    assert_eq!(end, whole[whole.len() - 5..], "the index behind it is not read");
    reader.seek(SeekFrom::Start(3)).unwrap();
    assert_eq!(reader.seek(SeekFrom::Current(-3)).unwrap(), 0);
    assert!(reader.seek(SeekFrom::Current(-1)).is_err());
}

#[test]
fn an_incomplete_directory_makes_no_package() {
    let release = Release::complete();
    fs::remove_file(release.root().join("NOTES.md")).unwrap();
    let error = build::build(&release.root(), None, &Catalogue::shipped(), &mut ()).unwrap_err();
    assert!(matches!(error, BuildError::Incomplete(found) if found[0].rule == Rule::Missing));
    assert_eq!(release.beside(), ["release"], "nothing is left behind");
}

#[test]
fn a_package_is_not_written_into_what_is_packaged() {
    let release = Release::complete();
    for inside in ["x.cutover", "payload/x.cutover"] {
        let output = release.root().join(inside);
        let error = build::build(&release.root(), Some(&output), &Catalogue::shipped(), &mut ())
            .unwrap_err();
        assert!(matches!(error, BuildError::Inside(_)));
        assert!(!output.exists());
    }
    let output = release.place.path().join("other.cutover");
    fs::write(&output, "what was there before").unwrap();
    let built =
        build::build(&release.root(), Some(&output), &Catalogue::shipped(), &mut ()).unwrap();
    assert_eq!(fs::canonicalize(&output).unwrap(), built.path);
    PackageFile::open(&output).unwrap().verify(&mut ()).unwrap();
}

#[test]
fn links_are_not_followed_and_special_files_not_read() {
    let release = Release::complete();
    let root = release.root();
    fs::write(release.place.path().join("secret"), "of somebody else").unwrap();
    symlink("../../secret", root.join("payload/stolen")).unwrap();
    symlink(release.place.path(), root.join("payload/elsewhere")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("payload/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("payload/socket")).unwrap();
    put(&root, "payload/privileged", 0o4755, b"#!/bin/sh\n");
    assert_eq!(
        release.rules(),
        [
            ("payload/elsewhere", Rule::Link),
            ("payload/pipe", Rule::SpecialFile),
            ("payload/privileged", Rule::Privilege),
            ("payload/socket", Rule::SpecialFile),
            ("payload/stolen", Rule::Link),
        ]
        .map(|(path, rule)| (path.to_owned(), rule))
    );
}

#[test]
fn names_that_are_not_utf_8_are_told() {
    use std::os::unix::ffi::OsStrExt as _;
    let release = Release::complete();
    let payload = release.root().join("payload");
    fs::write(payload.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
    symlink(std::ffi::OsStr::from_bytes(b"caf\xe9"), payload.join("link")).unwrap();
    let told = release.rules();
    assert_eq!(
        told,
        [("payload/caf\u{fffd}", Rule::Path), ("payload/link", Rule::Path)]
            .map(|(path, rule)| (path.to_owned(), rule))
    );
}

#[test]
fn attributes_that_give_privileges_are_told() {
    let release = Release::complete();
    let path = release.root().join("payload/bin/shop");
    let flags = rustix::fs::XattrFlags::empty();
    // Only root can set one, and only where the file system has them.
    if rustix::fs::setxattr(&path, "trusted.cutover-test", b"1", flags).is_ok() {
        assert_eq!(release.rules(), [("payload/bin/shop".to_owned(), Rule::Privilege)]);
    }
    if rustix::fs::setxattr(&path, "user.note", b"1", flags).is_ok() {
        let _ = rustix::fs::removexattr(&path, "trusted.cutover-test");
        assert_eq!(release.rules(), []);
    }
}

#[test]
fn what_no_package_has_is_not_walked() {
    let release = Release::complete();
    release.put(".git/objects/pack", b"much");
    assert_eq!(release.rules(), [(".git".to_owned(), Rule::Unexpected)]);
}

#[test]
fn zones_that_nobody_knows_are_told() {
    let release = Release::complete();
    let unknown = MANIFEST.replacen("America/New_York", "America/Atlantis", 1);
    release.put("release.toml", unknown.as_bytes());
    assert_eq!(release.rules().len(), 1);
}

/// The parts of an upload, to be tampered with.
struct Upload {
    index: Vec<u8>,
    map: PackMap,
    pack: Vec<u8>,
}

impl Upload {
    fn honest() -> Self {
        let release = Release::complete();
        let package = PackageFile::open(&release.build().path).unwrap();
        let mut pack = Vec::new();
        package.pack().read_to_end(&mut pack).unwrap();
        Self { index: package.index_bytes().to_vec(), map: package.map().clone(), pack }
    }

    /// Another index over the same content, with its map.
    fn reindexed(mut self, change: impl FnOnce(&mut Vec<Entry>)) -> Self {
        let mut entries = Index::parse(&self.index).unwrap().entries().to_vec();
        change(&mut entries);
        let index = Index::new(entries).unwrap();
        let pack = index.digest();
        self.index = index.to_bytes();
        self.remapped(|pieces| pieces.iter_mut().for_each(|piece| piece.pack = pack))
    }

    fn remapped(mut self, change: impl FnOnce(&mut Vec<Piece>)) -> Self {
        let mut pieces = self.map.pieces().to_vec();
        change(&mut pieces);
        self.map = PackMap::new(pieces).unwrap();
        self
    }

    fn verify(&self) -> Result<super::upload::Accepted, UploadError> {
        verify_upload(&self.index, &self.map, Cursor::new(&self.pack), &Catalogue::shipped())
    }
}

#[test]
fn an_honest_upload_is_accepted() {
    let accepted = Upload::honest().verify().unwrap();
    assert_eq!(accepted.manifest.version, "1.4.2");
}

#[test]
fn a_flipped_byte_of_the_pack_is_found_wherever_it_is() {
    let mut upload = Upload::honest();
    for position in (0..upload.pack.len()).step_by(upload.pack.len() / 40) {
        upload.pack[position] ^= 0x10;
        let refused = upload.verify();
        assert!(matches!(refused, Err(UploadError::Chunk(..))), "byte {position}: {refused:?}");
        upload.pack[position] ^= 0x10;
    }
    upload.verify().unwrap();
}

#[test]
fn the_pack_has_the_chunks_and_nothing_else() {
    let mut longer = Upload::honest();
    longer.pack.push(0);
    assert!(matches!(longer.verify(), Err(UploadError::Layout(_))));
    let mut shorter = Upload::honest();
    shorter.pack.pop();
    assert!(matches!(shorter.verify(), Err(UploadError::Layout(_))));

    let overlapping = Upload::honest().remapped(|pieces| pieces[0].offset = pieces[1].offset);
    assert!(matches!(overlapping.verify(), Err(UploadError::Layout(_))));
    let unmapped = Upload::honest().remapped(|pieces| {
        pieces.pop();
    });
    assert!(matches!(unmapped.verify(), Err(UploadError::Unmapped(_))));
    let surplus = Upload::honest().remapped(|pieces| {
        let chunk = Digest::of(b"not in the index");
        pieces.push(Piece { chunk, ..pieces[0] });
    });
    assert!(matches!(surplus.verify(), Err(UploadError::Surplus(_))));
    let foreign = Upload::honest().remapped(|pieces| pieces[0].pack = Digest::of(b"another"));
    assert!(matches!(foreign.verify(), Err(UploadError::OtherPack(_))));
    let swapped = Upload::honest().remapped(|pieces| {
        let (one, other) = (pieces[0], pieces[1]);
        (pieces[0].offset, pieces[0].stored) = (other.offset, other.stored);
        (pieces[1].offset, pieces[1].stored) = (one.offset, one.stored);
    });
    assert!(matches!(swapped.verify(), Err(UploadError::Chunk(..))));
}

#[test]
fn a_bomb_in_the_pack_is_stopped() {
    let honest = Upload::honest();
    let bomb = deflate(&vec![0; 64 << 20]);
    let index = Index::parse(&honest.index).unwrap();
    // In the place of the last chunk, so that the others stay where they are.
    let last = *honest.map.pieces().iter().max_by_key(|piece| piece.offset).unwrap();
    let mut upload = honest.remapped(|pieces| {
        let piece = pieces.iter_mut().find(|piece| piece.chunk == last.chunk).unwrap();
        piece.stored = u32::try_from(bomb.len()).unwrap();
    });
    upload.pack.truncate(usize::try_from(last.offset).unwrap());
    upload.pack.extend_from_slice(&bomb);
    assert_eq!(index.chunks().last().unwrap().digest, last.chunk);
    let refused = upload.verify();
    assert!(
        matches!(refused, Err(UploadError::Chunk(_, ChunkError::Inflate { .. }))),
        "{refused:?}"
    );
}

#[test]
fn a_file_is_the_sum_of_its_chunks() {
    let upload = Upload::honest().reindexed(|entries| {
        let entry = entries.iter_mut().find(|e| e.path.as_str() == "payload/copy").unwrap();
        let Kind::File(file) = &mut entry.kind else { unreachable!("it is a file") };
        assert!(file.chunks.len() > 1);
        file.digest = Digest::of(b"what the form promises");
    });
    assert!(matches!(upload.verify(), Err(UploadError::File { .. })));
}

#[test]
fn the_check_runs_on_what_was_uploaded() {
    let upload = Upload::honest().reindexed(|entries| {
        for entry in entries.iter_mut() {
            if let (Kind::File(file), "hooks/stop.sh") = (&mut entry.kind, entry.path.as_str()) {
                file.mode = cutover_shared::package::entry::Mode::PLAIN;
            }
        }
    });
    match upload.verify() {
        Err(UploadError::Incomplete(found)) => assert_eq!(found[0].rule, Rule::HookFile),
        other => panic!("{other:?}"),
    }
}

#[test]
fn damaged_package_files_are_refused() {
    let release = Release::complete();
    let built = release.build();
    let good = fs::read(&built.path).unwrap();
    let mut refusals: BTreeMap<&str, usize> = BTreeMap::new();
    let mut count = |bytes: &[u8]| {
        fs::write(&built.path, bytes).unwrap();
        let refusal = match PackageFile::open(&built.path) {
            Ok(package) => match package.verify(&mut ()) {
                Ok(_) => "none",
                Err(_) => "content",
            },
            Err(FileError::NotAPackage(_)) => "not a package",
            Err(FileError::Torn(_)) => "torn",
            Err(FileError::Index(..)) => "index",
            Err(FileError::Map(..)) => "map",
            Err(error @ (FileError::Read(..) | FileError::Write(..))) => panic!("{error}"),
        };
        *refusals.entry(refusal).or_default() += 1;
    };
    count(&[]);
    count(&good[..43]);
    count(&good[..good.len() - 1]);
    count(&[&good[..], b"x"].concat());
    for position in (0..44).chain((44..good.len()).step_by(good.len() / 20)) {
        let mut bad = good.clone();
        bad[position] ^= 0x80;
        count(&bad);
    }
    assert!(!refusals.contains_key("none"), "{refusals:?}");
    assert!(refusals["not a package"] >= 22 && refusals["torn"] >= 20, "{refusals:?}");
    assert!(refusals.contains_key("content"), "{refusals:?}");
    fs::write(&built.path, &good).unwrap();
    PackageFile::open(&built.path).unwrap().verify(&mut ()).unwrap();
}

#[test]
fn a_scaffold_is_not_complete_until_it_is_filled_in() {
    let place = TempDir::new().unwrap();
    let root = place.path().join("shop");
    scaffold::write(&root, &"shop".parse().unwrap(), &[Target::Hosts], &Catalogue::shipped())
        .unwrap();
    let findings = build::check(&root, &Catalogue::shipped(), &mut ()).unwrap();
    assert!(findings.len() > 30);
    for finding in &findings {
        let expected = [Rule::Placeholder, Rule::PayloadEmpty];
        assert!(expected.contains(&finding.rule), "{finding:?}");
    }

    put(&root, "payload/bin/shop", 0o755, b"the program");
    for file in ["release.toml", "NOTES.md", "INSTRUCTIONS.md", "forms/cot-f052.toml"] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let filled: String = text.lines().map(|line| fill_in(line) + "\n").collect();
        fs::write(root.join(file), filled).unwrap();
    }
    assert_eq!(build::check(&root, &Catalogue::shipped(), &mut ()).unwrap(), []);
    let built = build::build(&root, None, &Catalogue::shipped(), &mut ()).unwrap();
    assert_eq!(built.manifest.application.as_str(), "shop");

    let again =
        scaffold::write(&root, &"shop".parse().unwrap(), &[Target::Hosts], &Catalogue::shipped());
    assert!(matches!(again, Err(ScaffoldError::NotEmpty(_))));
}

/// What an author would do to a line of the scaffold.
fn fill_in(line: &str) -> String {
    if line.starts_with("# source = ") {
        return "source = \"payload/bin/shop\"".to_owned();
    }
    let Some(position) = line.find("FILL IN") else {
        return line.to_owned();
    };
    if line.trim_start().starts_with('#') {
        return line.to_owned();
    }
    let key = line.split(' ').next().unwrap();
    let value = match key {
        "version" => "\"1.0\"",
        "start" => "\"2026-11-20T22:00\"",
        "latest" => "2026-11-30T22:00",
        "zone" => "\"UTC\"",
        "url" => "\"http://{listen}/health\"",
        "outage-minutes" | "minutes" => "3",
        "installation-method" => "\"agent\"",
        "action" => "\"add\"",
        "component-type" => "\"binary\"",
        "data-class" => "\"public\"",
        "e-mail" => "\"ada@example.org\"",
        "phone" => "\"+1 555 0100\"",
        "test-date" => "2026-11-18",
        "systems" | "steps" => "[\"the shop's own front end\"]",
        "FILL" => {
            assert_eq!(position, 0);
            return PROSE.trim_start_matches("# Notes\n\n").to_owned();
        }
        _ => "\"Something true that explains the matter.\"",
    };
    format!("{key} = {value}")
}
