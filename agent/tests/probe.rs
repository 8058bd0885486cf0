//! The applier's question to the probe, as two processes: the real program answers.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cutover_applier::probe::{ProbeRequest, probe};
use cutover_applier::process::Account;

const AMPLE: Duration = Duration::from_mins(1);

/// The probe where every user may run it. Another process writes it: were it open here while a test beside
/// this one forks, executing it would fail with "text file busy".
fn program(directory: &Path) -> PathBuf {
    let program = directory.join("cutover-probe");
    let copied = Command::new("cp")
        .args([Path::new(env!("CARGO_BIN_EXE_cutover-probe")), &program])
        .status()
        .expect("cp is everywhere");
    assert!(copied.success());
    for path in [directory, &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    program
}

#[tokio::test]
async fn it_answers() {
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path());
    let account = Account::current().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let request = ProbeRequest::Tcp { address };
    let answer = probe(&program, &account, &request, AMPLE).await;
    assert!(answer.healthy, "{answer:?}");
    drop(listener);
    let answer = probe(&program, &account, &request, AMPLE).await;
    assert!(!answer.healthy);
    assert!(answer.detail.contains("refused"), "{answer:?}");
}

#[tokio::test]
async fn what_is_late_is_told_by_the_probe_itself() {
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path());
    let account = Account::current().unwrap();
    // It takes the connection, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let request = ProbeRequest::Http { url, expect_status: None, body_contains: None };
    let answer = probe(&program, &account, &request, Duration::from_millis(10)).await;
    assert!(!answer.healthy);
    assert!(answer.detail.ends_with("no answer within 10ms"), "{answer:?}");
}

#[test]
fn a_question_that_it_does_not_understand_has_no_answer() {
    let output = Command::new(env!("CARGO_BIN_EXE_cutover-probe")).output().unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8(output.stderr).unwrap().contains("failed to understand"));
}
