//! The applier's question to the probe, as two processes: the real program answers.

use std::collections::BTreeMap;
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

fn exec(script: &str) -> ProbeRequest {
    ProbeRequest::Exec {
        command: ["bash", "-c", script].map(str::to_owned).to_vec(),
        directory: PathBuf::from("/"),
        environment: BTreeMap::from([("PORT".to_owned(), "8080".to_owned())]),
    }
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
async fn it_is_whom_it_was_told_to_be_and_knows_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path());
    let nobody = Account::named("nobody").unwrap();
    let us = Account::current().unwrap();
    let account = if us.uid == 0 { &nobody } else { &us };
    let request = exec("echo $(id -u) $HOME $PORT; env | sort | cut -d= -f1");
    let answer = probe(&program, account, &request, AMPLE).await;
    let (uid, home) = (account.uid, account.home.display());
    let variables = "HOME LOGNAME PATH PORT PWD SHLVL USER _";
    let expected = format!("run bash: exit status 0: {uid} {home} 8080 {variables}");
    assert_eq!(answer.detail, expected);
    if us.uid != 0 {
        let answer = probe(&program, &nobody, &request, AMPLE).await;
        assert!(!answer.healthy, "only root can become somebody else");
    }
}

#[tokio::test]
async fn what_is_late_is_told_by_the_probe_itself() {
    let directory = tempfile::tempdir().unwrap();
    let program = program(directory.path());
    let account = Account::current().unwrap();
    let answer = probe(&program, &account, &exec("sleep 1000"), Duration::from_millis(10)).await;
    assert!(!answer.healthy);
    assert_eq!(answer.detail, "run bash: no answer within 10ms");
}

#[test]
fn a_question_that_it_does_not_understand_has_no_answer() {
    let output = Command::new(env!("CARGO_BIN_EXE_cutover-probe")).output().unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8(output.stderr).unwrap().contains("failed to understand"));
}
