//! The program: its configuration, its signals, what it tells the service manager, and `kill -9`.

use std::path::Path;
use std::process::Stdio;

use cutover_shared::codec;
use cutover_shared::digest::Digest;
use cutover_shared::protocol::{FromApplier, Part, ToApplier};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::{UnixDatagram, UnixListener};
use tokio::process::{Child, Command};

use crate::harness::{Applier, Coordinator, content, patiently};

const CONFIG: &str = "socket = 'applier.sock'\ntransport-key = 'transport.pem'\nspool = 'spool'";

fn command(directory: &Path, config: &str) -> Command {
    std::fs::write(directory.join("agent.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cutover-agent"));
    command.arg("run").arg("--config").arg(directory.join("agent.toml")).kill_on_drop(true);
    command
}

fn terminate(child: &Child) {
    let pid = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
}

/// What the service manager is told until a line that begins with `awaited`.
async fn told(manager: &UnixDatagram, awaited: &str) {
    let mut buffer = [0; 4096];
    loop {
        let length = patiently(awaited, manager.recv(&mut buffer)).await.unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        if text.lines().any(|line| line.starts_with(awaited)) {
            return;
        }
    }
}

#[tokio::test]
async fn the_service_manager_is_told_and_sigterm_is_heard() {
    let directory = tempfile::tempdir().unwrap();
    let notify = directory.path().join("notify.sock");
    let manager = UnixDatagram::bind(&notify).unwrap();
    let mut child = command(directory.path(), CONFIG)
        .env("NOTIFY_SOCKET", &notify)
        .env("WATCHDOG_USEC", "400000")
        .spawn()
        .unwrap();
    told(&manager, "READY=1").await;
    told(&manager, "STATUS=waiting for the applier at ").await;
    told(&manager, "WATCHDOG=1").await;
    let listener = UnixListener::bind(directory.path().join("applier.sock")).unwrap();
    let (stream, _) = patiently("a connection", listener.accept()).await.unwrap();
    let mut applier = Applier::of(stream);
    assert!(matches!(applier.hear().await, ToApplier::Hello { .. }));
    applier.say(&FromApplier::NotJoined).await;
    told(&manager, "STATUS=the host has not joined").await;
    told(&manager, "WATCHDOG=1").await;
    terminate(&child);
    told(&manager, "STOPPING=1").await;
    assert!(patiently("the end", child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn a_wrong_configuration_is_told_whole() {
    let directory = tempfile::tempdir().unwrap();
    let config = "socket = 1\nsokcet = 'x'\n[log]\nformat = 'xml'";
    let output = command(directory.path(), config).stderr(Stdio::piped()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    for fault in ["socket: ", "sokcet: there is no such setting", "log.format: "] {
        assert!(text.contains(fault), "{fault} in {text}");
    }
}

async fn greeted(listener: &UnixListener) -> (Applier, ToApplier) {
    let (stream, _) = patiently("a connection", listener.accept()).await.unwrap();
    let mut applier = Applier::of(stream);
    let hello = applier.hear().await;
    (applier, hello)
}

#[tokio::test]
async fn kill_9_loses_neither_the_key_nor_the_spool() {
    let directory: TempDir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("applier.sock")).unwrap();
    let mut coordinator = Coordinator::start(1);
    let package = Digest::of(b"package");
    let content = content(600_000);
    let fetch = FromApplier::Fetch { package, part: Part::Pack, offset: 0, length: 600_000 };

    let mut child = command(directory.path(), CONFIG).spawn().unwrap();
    let (mut applier, first_hello) = greeted(&listener).await;
    applier.say(&coordinator.welcome(0)).await;
    applier.expect_connected(true).await;
    let _directives = coordinator.asked().await;
    applier.say(&fetch).await;
    coordinator.asked().await.serve(package, Part::Pack, &content).await;
    assert!(applier.fetched(package, Part::Pack, 0).await == content);
    patiently("the kill", child.kill()).await.unwrap();

    let _child = command(directory.path(), CONFIG).spawn().unwrap();
    let (mut applier, second_hello) = greeted(&listener).await;
    assert_eq!(codec::encode(&first_hello).unwrap(), codec::encode(&second_hello).unwrap());
    applier.say(&fetch).await;
    assert!(applier.fetched(package, Part::Pack, 0).await == content);
    assert!(!coordinator.was_asked());
}
