//! The whole store behind its trait.

use std::io::Write as _;
use std::sync::Arc;

use cutover_shared::digest::Digest;

use super::super::{
    APPEND_ENTRIES, CacheReport, FileStore, LogError, Missing, Part, Put, Store, StoreError,
};
use super::{entries, entry, identified, known_at, new_at, open_store, options};

#[test]
fn nothing_is_made_where_a_store_should_have_been() {
    let directory = tempfile::tempdir().unwrap();
    let refused = FileStore::open(options(directory.path(), Missing::Refuse)).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Log(error) if matches!(**error, LogError::NoLog { .. })),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let below = directory.path().join("made/for/it");
    assert!(open_store(&below).unwrap().1.log.created);
}

#[test]
fn one_store_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = open_store(directory.path()).unwrap();
    let second_handle = first.clone();
    drop(first);
    let refused = open_store(directory.path()).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused:?}");
    drop(second_handle);
    let (_, report) = open_store(directory.path()).unwrap();
    assert_eq!(report.cache, CacheReport::Current);
    assert_eq!(report.log, super::LogReport::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_append_at_once_and_each_entry_is_there_once() {
    const TASKS: u64 = 40;
    const EACH: u64 = 25;
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open_store(directory.path()).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut appended = Vec::new();
                for step in 0..EACH {
                    // Each entry is sent by two tasks.
                    let number = (task / 2) * EACH + step;
                    let answer = store.append(None, vec![identified(entry(number))]).await.unwrap();
                    assert!(
                        store.published().head.size > answer[0].index,
                        "acknowledged and not published"
                    );
                    appended.push((number, answer[0]));
                }
                appended
            })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        for (number, appended) in task.await.unwrap() {
            new += u64::from(appended.new);
            let found = store.find(Digest::of(&entry(number))).await.unwrap();
            assert_eq!(found, Some(appended.index));
            let read = store.read(appended.index..appended.index + 1).await.unwrap();
            assert_eq!(read, [entry(number)]);
        }
    }
    assert_eq!(new, TASKS / 2 * EACH);
    let before = store.published();
    assert_eq!(before.head.size, new);
    drop(store);
    let (store, report) = open_store(directory.path()).unwrap();
    assert_eq!(report.log.cut, None);
    assert_eq!(store.published(), before);
}

#[tokio::test]
async fn a_deleted_cache_costs_nothing_but_time() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open_store(directory.path()).unwrap();
    let all: Vec<_> = entries(0..10).into_iter().map(identified).collect();
    store.append(Some(0), all.clone()).await.unwrap();
    drop(store);
    std::fs::remove_dir_all(directory.path().join("cache")).unwrap();
    let (store, report) = open_store(directory.path()).unwrap();
    assert!(matches!(report.cache, CacheReport::Rebuilt { .. }));
    let again = store.append(Some(0), all).await.unwrap();
    assert_eq!(again, (0..10).map(known_at).collect::<Vec<_>>());
    assert_eq!(store.published().head.size, 10);
}

#[tokio::test]
async fn followers_are_woken_when_entries_are_durable() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open_store(directory.path()).unwrap();
    let mut watch = store.watch();
    let appended = store.append(None, vec![identified(entry(0))]).await.unwrap();
    assert_eq!(appended, [new_at(0)]);
    watch.changed().await.unwrap();
    assert_eq!(watch.borrow_and_update().head.size, 1);
    assert_eq!(store.inclusion(0, 1).unwrap(), []);
    assert_eq!(store.consistency(0, 1).unwrap(), []);
    drop(store);
    assert!(watch.changed().await.is_err(), "the end is told, too");
}

#[tokio::test]
async fn what_is_no_such_entry_is_refused_at_the_door() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open_store(directory.path()).unwrap();
    let mut renamed = identified(entry(1));
    renamed.id = Digest::of(b"another");
    for wrong in [renamed, identified(b"!".to_vec())] {
        let refused = store.append(None, vec![identified(entry(0)), wrong]).await;
        assert!(matches!(refused, Err(StoreError::WrongIdentity { .. })), "{refused:?}");
    }
    let too_many = (0..=APPEND_ENTRIES as u64).map(|number| identified(entry(number)));
    let refused = store.append(None, too_many.collect()).await;
    assert!(matches!(refused, Err(StoreError::TooMuch { .. })), "{refused:?}");
    assert_eq!(store.published().head.size, 0);
}

#[tokio::test]
async fn packages_and_marks_behind_the_trait() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open_store(directory.path()).unwrap();
    let package = Digest::of(b"index");
    for (part, bytes) in [(Part::Pack, &b"pack"[..]), (Part::Map, b"map"), (Part::Index, b"index")]
    {
        let mut staged = store.stage().unwrap();
        staged.write_all(bytes).unwrap();
        assert_eq!(store.put_part(package, part, staged).await.unwrap(), Put::New);
        assert_eq!(store.part_size(package, part).await.unwrap(), Some(bytes.len() as u64));
    }
    assert_eq!(store.read_part(package, Part::Pack, 1..3).await.unwrap(), b"ac");
    assert_eq!(store.packages().await.unwrap(), [package]);
    store.mark(b"key".to_vec(), b"value".to_vec()).await.unwrap();
    assert_eq!(store.marked(b"key".to_vec()).await.unwrap().as_deref(), Some(&b"value"[..]));
    assert_eq!(store.marks(Vec::new()).await.unwrap().len(), 1);
    store.unmark(b"key".to_vec()).await.unwrap();
    assert_eq!(store.marked(b"key".to_vec()).await.unwrap(), None);
}
