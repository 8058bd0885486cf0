//! A real process is killed while it appends, again and again, and nothing that it acknowledged is lost.

use std::env;
use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::super::{Store, StoreError};
use super::{entry, identified, open_store};

/// Names the directory to the process that is to be killed.
const DIRECTORY: &str = "CUTOVER_TEST_STORE";

/// What it writes before each index that was acknowledged.
const ACKNOWLEDGED: &str = "acknowledged ";

/// Times that the process is killed.
const ROUNDS: u64 = 8;

/// Not a test of its own: run by the test below in another process, it appends until it is killed.
#[test]
fn appends_until_killed() {
    let Some(directory) = env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let (store, _) = open_store(&directory).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let start = store.published().head.size;
    runtime.block_on(async {
        let tasks: Vec<_> =
            (0..4).map(|task| tokio::spawn(append_all(store.clone(), start + task))).collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
}

async fn append_all(store: super::FileStore, first: u64) -> Result<(), StoreError> {
    for number in (first..).step_by(4) {
        // Of several lengths, so that kills find records of several lengths half written.
        let bytes =
            [entry(number), vec![b'y'; 997 * usize::try_from(number % 40).unwrap()]].concat();
        let text = String::from_utf8_lossy(&bytes[..12]).into_owned();
        let appended = store.append(None, vec![identified(bytes)]).await?;
        let mut out = std::io::stdout().lock();
        let told = writeln!(out, "{ACKNOWLEDGED}{} {text}", appended[0].index);
        if told.and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost_to_kill_nine() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(u64, String)> = Vec::new();
    for round in 1..=ROUNDS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "store::tests::crashes::appends_until_killed", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let enough = acknowledged.len() as u64 + 10 * round;
        for line in lines.by_ref() {
            acknowledged.extend(parse(&line));
            if acknowledged.len() as u64 >= enough {
                break;
            }
        }
        child.kill().unwrap();
        // Those that it still told before it died count as well.
        acknowledged.extend(lines.filter_map(|line| parse(&line)));
        child.wait().unwrap();

        let (store, _) = open_store(directory.path()).unwrap();
        let log = &store;
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for (index, text) in &acknowledged {
            let read = runtime.block_on(log.read(*index..index + 1)).unwrap();
            assert!(read[0].starts_with(text.as_bytes()), "entry {index} in round {round}");
        }
    }
    assert!(acknowledged.len() as u64 > ROUNDS * 10);
}

/// The index and the beginning of the entry in a line; the test harness may have written before it.
fn parse(line: &str) -> Option<(u64, String)> {
    let (_, told) = line.split_once(ACKNOWLEDGED)?;
    let (index, text) = told.split_once(' ')?;
    Some((index.parse().ok()?, text.to_owned()))
}
