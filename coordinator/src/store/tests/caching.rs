//! The cache is brought to where the log is, whatever has become of it.

use std::fs;
use std::path::Path;

use cutover_shared::digest::Digest;

use super::super::cache::{Cache, CacheError, CacheReport, MARK_KEY, MARK_VALUE, wait_until_free};
use super::{LogStore, copy, copy_into, entries, entry, identify, open_log};

/// A log and its cache in one directory.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("log")).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn grow(&self, to: u64) -> LogStore {
        let (log, mut writer, _) = open_log(&self.path("log")).unwrap();
        let size = writer.size();
        writer.append_batch(size, &entries(size..to)).unwrap();
        log
    }

    /// The cache's sled, to change what is in it.
    fn sled(&self) -> sled::Db {
        wait_until_free(&self.path("cache")).unwrap();
        sled::open(self.path("cache")).unwrap()
    }

    fn cache(&self, log: &LogStore) -> (Cache, CacheReport) {
        Cache::open(&self.path("cache"), log, identify).unwrap()
    }
}

fn assert_finds(cache: &Cache, size: u64) {
    for index in 0..size {
        assert_eq!(cache.find(&Digest::of(&entry(index))).unwrap(), Some(index));
    }
    assert_eq!(cache.find(&Digest::of(&entry(size))).unwrap(), None);
}

fn why(report: &CacheReport) -> &str {
    match report {
        CacheReport::Rebuilt { why } => why,
        CacheReport::Current | CacheReport::CaughtUp { .. } => panic!("{report:?}"),
    }
}

#[test]
fn a_missing_cache_is_made_from_the_log() {
    let place = Place::new();
    let log = place.grow(250);
    let (cache, report) = place.cache(&log);
    assert_eq!(why(&report), "there was none");
    assert_finds(&cache, 250);
    drop(cache);
    let (cache, report) = place.cache(&log);
    assert_eq!(report, CacheReport::Current);
    assert_finds(&cache, 250);
}

#[test]
fn the_cache_of_an_empty_log_is_current() {
    let place = Place::new();
    let log = place.grow(0);
    drop(place.cache(&log));
    assert_eq!(place.cache(&log).1, CacheReport::Current);
}

#[test]
fn a_cache_that_is_behind_catches_up_and_keeps_its_marks() {
    let place = Place::new();
    let log = place.grow(3);
    let (cache, _) = place.cache(&log);
    cache.mark(b"sent/1", b"done").unwrap();
    drop(cache);
    let log = place.grow(310);
    let (cache, report) = place.cache(&log);
    assert_eq!(report, CacheReport::CaughtUp { entries: 307 });
    assert_finds(&cache, 310);
    assert_eq!(cache.marked(b"sent/1").unwrap().as_deref(), Some(&b"done"[..]));
}

#[test]
fn a_record_that_a_crash_interrupted_is_finished() {
    let place = Place::new();
    let log = place.grow(3);
    drop(place.cache(&log));
    let log = place.grow(5);
    let database = place.sled();
    let index = cutover_shared::codec::encode(&3_u64).unwrap();
    let tree = database.open_tree("entries").unwrap();
    tree.insert(Digest::of(&entry(3)).as_bytes(), index).unwrap();
    drop((tree, database));
    let (cache, report) = place.cache(&log);
    assert_eq!(report, CacheReport::CaughtUp { entries: 2 });
    assert_finds(&cache, 5);
}

#[test]
fn a_cache_that_is_ahead_is_made_anew_and_says_so() {
    let place = Place::new();
    let log = place.grow(3);
    let backup = copy(&place.path("log"));
    let (cache, _) = place.cache(&place.grow(9));
    cache.mark(b"sent/9", b"done").unwrap();
    drop((cache, log));
    fs::remove_dir_all(place.path("log")).unwrap();
    fs::create_dir(place.path("log")).unwrap();
    copy_into(backup.path(), &place.path("log"));
    let (cache, report) = place.cache(&place.grow(3));
    assert!(why(&report).contains("older than the cache"), "{report:?}");
    assert_finds(&cache, 3);
    assert_eq!(cache.marked(b"sent/9").unwrap(), None);
}

#[test]
fn the_cache_of_another_log_is_made_anew() {
    let place = Place::new();
    drop(place.cache(&place.grow(3)));
    fs::remove_dir_all(place.path("log")).unwrap();
    fs::create_dir(place.path("log")).unwrap();
    let (log, mut writer, _) = open_log(&place.path("log")).unwrap();
    writer.append_batch(0, &entries(5..10)).unwrap();
    let (cache, report) = place.cache(&log);
    assert_eq!(why(&report), "it is the cache of another log");
    assert_eq!(cache.find(&Digest::of(&entry(7))).unwrap(), Some(2));
    assert_eq!(cache.find(&Digest::of(&entry(0))).unwrap(), None);
}

/// Opens the cache's sled, lets `change` change it, and says why the cache was made anew then.
fn why_after(change: impl FnOnce(&sled::Tree)) -> String {
    let place = Place::new();
    let log = place.grow(4);
    drop(place.cache(&log));
    let database = place.sled();
    let tree = database.open_tree("entries").unwrap();
    change(&tree);
    drop((tree, database));
    let (cache, report) = place.cache(&log);
    assert_finds(&cache, 4);
    why(&report).to_owned()
}

#[test]
fn a_cache_with_a_record_lost_or_wrong_is_made_anew() {
    let lost = why_after(|tree| {
        tree.remove(Digest::of(&entry(2)).as_bytes()).unwrap();
    });
    assert_eq!(lost, "it has 3 of the 4 identities that it should");
    let twice = why_after(|tree| {
        tree.insert(Digest::of(b"another").as_bytes(), &[2]).unwrap();
    });
    assert_eq!(twice, "two identities are one entry to it");
    let headless = why_after(|tree| {
        tree.remove(b"head").unwrap();
    });
    assert_eq!(headless, "it does not say how far it goes");
    let unreadable = why_after(|tree| {
        tree.insert(b"head", b"\xff\xff").unwrap();
    });
    assert!(unreadable.starts_with("translate a record"), "{unreadable}");
}

fn files_below(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn a_damaged_cache_never_keeps_the_store_from_opening() {
    let place = Place::new();
    let log = place.grow(300);
    drop(place.cache(&log));
    let mut files = Vec::new();
    files_below(&place.path("cache"), &mut files);
    assert!(!files.is_empty());
    for file in files {
        let good = fs::read(&file).unwrap();
        let middle = good.len() / 2;
        for broken in [
            vec![0; good.len()],
            vec![0xa5; good.len()],
            good[..middle].to_vec(),
            [&good[..middle], &vec![0xff; good.len() - middle][..]].concat(),
        ] {
            let damaged = copy(&place.path("cache"));
            let name = file.strip_prefix(place.path("cache")).unwrap();
            fs::write(damaged.path().join(name), &broken).unwrap();
            let (cache, _) = Cache::open(damaged.path(), &log, identify).unwrap();
            assert_finds(&cache, 300);
        }
    }
}

#[test]
fn an_entry_that_cannot_be_identified_is_named() {
    let place = Place::new();
    let (log, mut writer, _) = open_log(&place.path("log")).unwrap();
    writer.append_batch(0, &[entry(0), b"!".to_vec()]).unwrap();
    let refused = Cache::open(&place.path("cache"), &log, identify);
    assert!(matches!(refused, Err(CacheError::Unidentified { index: 1 })), "{refused:?}");
}

#[test]
fn marks_are_small_and_listed_by_prefix() {
    let place = Place::new();
    let (cache, _) = place.cache(&place.grow(0));
    for (key, value) in [("a/2", "two"), ("a/1", "one"), ("b/1", "other")] {
        cache.mark(key.as_bytes(), value.as_bytes()).unwrap();
    }
    cache.mark(b"a/1", b"uno").unwrap();
    assert_eq!(
        cache.marks(b"a/").unwrap(),
        [(b"a/1".to_vec(), b"uno".to_vec()), (b"a/2".to_vec(), b"two".to_vec())]
    );
    cache.unmark(b"a/1").unwrap();
    assert_eq!(cache.marked(b"a/1").unwrap(), None);
    assert_eq!(cache.marks(b"").unwrap().len(), 2);
    cache.mark(&[1; MARK_KEY], &[1; MARK_VALUE]).unwrap();
    for (key, value) in [(MARK_KEY + 1, 0), (1, MARK_VALUE + 1)] {
        let refused = cache.mark(&vec![1; key], &vec![1; value]);
        assert!(matches!(refused, Err(CacheError::MarkLength { .. })), "{refused:?}");
    }
}
