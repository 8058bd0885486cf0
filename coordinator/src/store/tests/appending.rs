//! Appends that succeed, and appends that fail half-way.

use std::fs;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::super::cache::Cache;
use super::super::commit::{Committer, Job};
use super::super::log::CHECKPOINT;
use super::super::{LogError, MAX_ENTRY, READ_LIMIT, StoreError};
use super::{
    bundle_path, entries, entry, identified, identify, known_at, log_of, new_at, open_log, read_all,
};

#[test]
fn an_append_names_the_size_that_it_expects() {
    let directory = tempfile::tempdir().unwrap();
    let (log, mut writer, _) = open_log(directory.path()).unwrap();
    writer.append_batch(0, &entries(0..2)).unwrap();
    let refused = writer.append_batch(0, &entries(2..3));
    assert!(matches!(refused, Err(LogError::SizeChanged { expected: 0, size: 2 })), "{refused:?}");
    let before = log.published();
    writer.append_batch(2, &[]).unwrap();
    assert_eq!(log.published(), before, "nothing was appended, nothing is signed");
}

#[test]
fn entries_have_a_length() {
    let directory = tempfile::tempdir().unwrap();
    let (log, mut writer, _) = open_log(directory.path()).unwrap();
    for wrong in [Vec::new(), vec![1; MAX_ENTRY + 1]] {
        let refused = writer.append_batch(0, &[entry(0), wrong]);
        assert!(matches!(refused, Err(LogError::EntryLength { .. })), "{refused:?}");
    }
    let longest: Vec<Vec<u8>> = (0..18).map(|byte| vec![byte; MAX_ENTRY]).collect();
    writer.append_batch(0, &longest).unwrap();
    let first = log.read(0..18).unwrap();
    assert!(first.len() < 18, "a read is limited");
    assert!(first.iter().map(Vec::len).sum::<usize>() as u64 <= READ_LIMIT);
    assert!(read_all(&log) == longest, "and goes on where it stopped");
}

#[test]
fn an_append_that_cannot_be_finished_is_undone() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 255);
    let (log, mut writer, _) = open_log(directory.path()).unwrap();
    let before = (log.published(), fs::read(bundle_path(directory.path(), 0)).unwrap());
    // In the way of the new checkpoint: the entries are written, and the checkpoint cannot be.
    let obstacle = directory.path().join(format!("{CHECKPOINT}.new"));
    fs::create_dir(&obstacle).unwrap();
    let failed = writer.append_batch(255, &entries(255..258));
    assert!(matches!(failed, Err(LogError::File(_))), "{failed:?}");
    let after = (log.published(), fs::read(bundle_path(directory.path(), 0)).unwrap());
    assert_eq!(before, after);
    assert!(!bundle_path(directory.path(), 1).exists());

    fs::remove_dir(&obstacle).unwrap();
    writer.append_batch(255, &entries(255..258)).unwrap();
    let (log, _, report) = open_log(directory.path()).unwrap();
    assert_eq!(report.cut, None);
    assert_eq!(read_all(&log), entries(0..258));
}

#[test]
fn a_log_that_somebody_else_writes_to_is_appended_to_no_more() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 2);
    let (log, mut writer, _) = open_log(directory.path()).unwrap();
    let mut bytes = fs::read(bundle_path(directory.path(), 0)).unwrap();
    bytes.push(0);
    fs::write(bundle_path(directory.path(), 0), &bytes).unwrap();
    let failed = writer.append_batch(2, &entries(2..3));
    assert!(matches!(failed, Err(LogError::File(_))), "{failed:?}");
    let refused = writer.append_batch(2, &entries(2..3));
    assert!(matches!(refused, Err(LogError::Stopped { .. })), "{refused:?}");
    assert_eq!(read_all(&log), entries(0..2), "reading goes on");
}

/// The committer over an empty log, and the way to send it jobs before it runs.
struct Gathered {
    directory: tempfile::TempDir,
    committer: Committer,
    jobs: mpsc::Sender<Job>,
    log: super::LogStore,
}

type Answered = oneshot::Receiver<Result<Vec<super::Appended>, StoreError>>;

impl Gathered {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::create_dir(path.join("log")).unwrap();
        let (log, writer, _) = open_log(&path.join("log")).unwrap();
        let (cache, _) = Cache::open(&path.join("cache"), &log, identify).unwrap();
        let (jobs, waiting) = mpsc::channel(64);
        Self { committer: Committer::new(waiting, writer, Arc::new(cache)), directory, jobs, log }
    }

    fn send(&self, expected: Option<u64>, entries: Vec<Vec<u8>>) -> Answered {
        let (answer, answered) = oneshot::channel();
        let job = Job { expected, entries: entries.into_iter().map(identified).collect(), answer };
        self.jobs.try_send(job).unwrap_or_else(|_| panic!("the queue has room"));
        answered
    }

    fn run(self) -> (super::LogStore, tempfile::TempDir) {
        drop(self.jobs);
        self.committer.run();
        (self.log, self.directory)
    }
}

fn answer(answered: &mut Answered) -> Result<Vec<super::Appended>, StoreError> {
    answered.try_recv().expect("the committer has answered")
}

#[test]
fn what_waits_together_is_made_durable_together() {
    let gathered = Gathered::new();
    let mut answers: Vec<_> =
        (0..50).map(|number| gathered.send(None, vec![entry(number)])).collect();
    let (log, _directory) = gathered.run();
    for (index, answered) in answers.iter_mut().enumerate() {
        assert_eq!(answer(answered).unwrap(), [new_at(index as u64)]);
    }
    let published = log.published();
    assert_eq!(published.head.size, 50);
    // The clock of these tests goes on with each signature: the empty log's, and one for all fifty.
    let signer = super::signer();
    signer.sign(&log.head_at(0).unwrap());
    assert_eq!(*published.checkpoint, *signer.sign(&published.head));
}

#[test]
fn an_entry_is_appended_once_however_often_it_is_sent() {
    let gathered = Gathered::new();
    let mut first = gathered.send(None, vec![entry(0), entry(1), entry(0)]);
    let mut second = gathered.send(None, vec![entry(1), entry(2)]);
    let mut third = gathered.send(None, vec![entry(2)]);
    let (log, _directory) = gathered.run();
    assert_eq!(answer(&mut first).unwrap(), [new_at(0), new_at(1), known_at(0)]);
    assert_eq!(answer(&mut second).unwrap(), [known_at(1), new_at(2)]);
    assert_eq!(answer(&mut third).unwrap(), [known_at(2)]);
    assert_eq!(read_all(&log), entries(0..3));
}

#[test]
fn of_two_that_expect_the_same_size_one_is_told() {
    let gathered = Gathered::new();
    let mut first = gathered.send(Some(0), vec![entry(0)]);
    let mut second = gathered.send(Some(0), vec![entry(0), entry(1)]);
    let mut repeated = gathered.send(Some(0), vec![entry(0)]);
    let mut right = gathered.send(Some(1), vec![entry(2)]);
    let (log, _directory) = gathered.run();
    assert_eq!(answer(&mut first).unwrap(), [new_at(0)]);
    let refused = answer(&mut second).unwrap_err();
    assert!(refused.is_size_changed(), "{refused:?}");
    assert_eq!(answer(&mut repeated).unwrap(), [known_at(0)]);
    assert_eq!(answer(&mut right).unwrap(), [new_at(1)]);
    assert_eq!(read_all(&log), [entry(0), entry(2)]);
}

#[test]
fn a_failed_step_fails_those_who_were_in_it() {
    let gathered = Gathered::new();
    let obstacle = gathered.directory.path().join("log").join(format!("{CHECKPOINT}.new"));
    fs::create_dir(&obstacle).unwrap();
    let mut first = gathered.send(None, vec![entry(0)]);
    let mut same = gathered.send(None, vec![entry(0)]);
    let mut nothing = gathered.send(None, Vec::new());
    let (log, _directory) = gathered.run();
    for answered in [&mut first, &mut same] {
        let failed = answer(answered);
        assert!(matches!(failed, Err(StoreError::Log(_))), "{failed:?}");
    }
    assert_eq!(answer(&mut nothing).unwrap(), []);
    assert_eq!(log.published().head.size, 0);
}
