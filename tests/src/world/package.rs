//! Small packages, whole: index, map and pack.

use std::fmt::Write as _;

use cutover_shared::digest::Digest;
use cutover_shared::package::chunk::{ChunkRef, deflate};
use cutover_shared::package::entry::{Entry, FileEntry, Kind, Mode};
use cutover_shared::package::index::Index;
use cutover_shared::package::manifest::Manifest;
use cutover_shared::package::map::{PackMap, Piece};

/// How long things take, as the manifest says it, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// What applying is planned to take.
    pub apply_budget: u64,
    /// What going back is.
    pub rollback_reserve: u64,
    /// From one round of checks to the next.
    pub interval: u64,
    /// Not healthy by then: it goes back.
    pub deadline: u64,
    /// Watched for so long before it is committed.
    pub bake: u64,
}

/// A package as a submitter makes it and a coordinator stores it.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// SHA-256 of the index: the package's identity.
    pub digest: Digest,
    /// The index.
    pub index: Vec<u8>,
    /// Where the chunks are in the pack.
    pub map: Vec<u8>,
    /// The chunks.
    pub pack: Vec<u8>,
    /// What `release.toml` says.
    pub manifest: Manifest,
}

impl Parcel {
    /// A package of one file with `content`. `extra` is added to its manifest.
    ///
    /// # Panics
    ///
    /// When `extra` makes no good manifest.
    pub fn new(
        application: &str,
        version: &str,
        content: &[u8],
        timing: Timing,
        extra: &str,
    ) -> Self {
        Self::of_manifest(&Self::release_toml(application, version, timing, extra), content)
    }

    /// A package of one file with `content`, and this `release.toml`.
    ///
    /// # Panics
    ///
    /// When it is no good manifest.
    pub fn of_manifest(text: &str, content: &[u8]) -> Self {
        let manifest = Manifest::parse(text).expect("the test's manifest is good");
        let directory = |path: &str| Entry {
            path: path.parse().expect("the test's paths are good"),
            kind: Kind::Directory { mode: Mode::DIRECTORY },
        };
        let mut pack = Vec::new();
        let mut places = Vec::new();
        let mut file = |path: &str, content: &[u8]| {
            let chunk = ChunkRef::of(content).expect("the test's files are small and not empty");
            let stored = deflate(content);
            let place = (chunk.digest, pack.len() as u64, stored.len());
            if places.iter().all(|(digest, _, _)| *digest != chunk.digest) {
                places.push(place);
                pack.extend(stored);
            }
            Entry {
                path: path.parse().expect("the test's paths are good"),
                kind: Kind::File(FileEntry {
                    mode: Mode::PLAIN,
                    size: content.len() as u64,
                    digest: Digest::of(content),
                    chunks: vec![chunk],
                }),
            }
        };
        let entries = vec![
            directory("payload"),
            file("payload/program", content),
            file("release.toml", text.as_bytes()),
        ];
        let index = Index::new(entries).expect("the test's index is good");
        let pieces = places.into_iter().map(|(chunk, offset, stored)| Piece {
            chunk,
            pack: index.digest(),
            offset,
            stored: u32::try_from(stored).expect("the test's chunks are small"),
        });
        let map = PackMap::new(pieces.collect()).expect("the test's map is good");
        Self {
            digest: index.digest(),
            index: index.to_bytes(),
            map: map.to_bytes(),
            pack,
            manifest,
        }
    }

    /// A `release.toml` for hosts, with `extra` at its end.
    pub fn release_toml(application: &str, version: &str, timing: Timing, extra: &str) -> String {
        let mut text = format!(
            r#"schema = 1
application = "{application}"
version = "{version}"
summary = "A change that is made in a test."
change-type = "normal"
targets = ["hosts"]
apply-budget = "{}s"
rollback-reserve = "{}s"

[impact]
systems = ["the application under test"]
users = "Nobody notices anything while this test runs."
outage-minutes = 1
worst-case = "The application does not run until the host has gone back."
not-doing = "The release before goes on to run."

[rollback]
strategy = "Each host goes back to the release before by itself."
steps = ["cutover rollback"]
trigger = "The checks of the new release do not answer."
minutes = 1
owner = "Sue, sue@example.org"
data-loss = "Nothing is lost, because the application stores nothing."

[schedule]
start = "2026-03-02T22:00"
for = "30m"
zone = "America/New_York"
latest = "2027-03-02T22:00"

[[health]]
name = "answers"
kind = "tcp"
address = "127.0.0.1:80"
timeout = "1s"

[health-policy]
start-grace = "0s"
interval = "{}s"
consecutive-successes = 2
deadline = "{}s"
bake = "{}s"
bake-tolerance = 0
"#,
            timing.apply_budget,
            timing.rollback_reserve,
            timing.interval,
            timing.deadline,
            timing.bake
        );
        let _ = writeln!(text, "{extra}");
        text
    }

    /// The stored bytes of a piece.
    pub fn piece(&self, piece: &Piece) -> Option<Vec<u8>> {
        let from = usize::try_from(piece.offset).ok()?;
        self.pack.get(from..from + piece.stored as usize).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parcel_is_a_whole_package() {
        let timing =
            Timing { apply_budget: 20, rollback_reserve: 10, interval: 1, deadline: 5, bake: 2 };
        let parcel = Parcel::new("web", "1", b"one", timing, "");
        let index = Index::parse(&parcel.index).unwrap();
        let map = PackMap::parse(&parcel.map).unwrap();
        for chunk in index.chunks() {
            let stored = parcel.piece(map.locate(&chunk.digest).unwrap()).unwrap();
            cutover_shared::package::chunk::inflate(&stored, &chunk).unwrap();
        }
        assert_eq!(index.digest(), parcel.digest);
        let other = Parcel::new("web", "1", b"two", timing, "");
        assert_ne!(other.digest, parcel.digest);
    }
}
