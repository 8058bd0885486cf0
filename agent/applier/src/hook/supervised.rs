//! A hook under a supervisor: where there is no systemd.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::{Fate, HookRun, Supervisor};
use crate::child::{PATH, end_child};
use crate::supervise::{Order, Told};

/// How long a supervisor may take to end everything: longer than it tries to itself.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A supervisor that runs. When it is dropped, its hook is ended, and it is waited for.
#[derive(Debug)]
struct Supervised {
    child: Child,
    /// Closing it tells the supervisor to end the hook.
    socket: Option<UnixStream>,
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.socket.take());
        if let Err(error) = end_child(&mut self.child, END_LIMIT) {
            tracing::error!(%error, "the supervisor of a hook cannot be ended");
        }
    }
}

pub(super) async fn run(hook: &HookRun, supervisor: &Supervisor, writer: io::PipeWriter) -> Fate {
    let mut supervised = match start(supervisor, writer) {
        Ok(supervised) => supervised,
        Err(error) => return Fate::NotStarted(error),
    };
    let order = Order {
        command: hook.command.clone(),
        arguments: hook.arguments.clone(),
        directory: hook.directory.clone(),
        environment: hook.environment.clone(),
        account: hook.account.clone(),
        read_only: hook.read_only.clone(),
    };
    let told = match &mut supervised.socket {
        Some(socket) => tokio::time::timeout(hook.timeout, told(socket, &order)).await,
        None => return Fate::Remains("its supervisor has no socket".to_owned()),
    };
    let fate = match told {
        Ok(Ok(Told::Ended(ended))) => Fate::Ended(ended),
        Ok(Ok(Told::NotStarted { why })) => Fate::NotStarted(io::Error::other(why)),
        Ok(Ok(Told::Remains { why })) => Fate::Remains(why),
        Ok(Ok(Told::GivenUp)) => Fate::Remains("its supervisor gave it up".to_owned()),
        Ok(Err(error)) => Fate::Remains(format!("its supervisor is gone: {error}")),
        Err(_) => Fate::Late,
    };
    // The supervisor answers after all is ended, and has little left to do; or has to end it now.
    match tokio::task::spawn_blocking(move || drop(supervised)).await {
        Ok(()) => fate,
        Err(error) => Fate::Remains(error.to_string()),
    }
}

fn start(supervisor: &Supervisor, writer: io::PipeWriter) -> io::Result<Supervised> {
    let (ours, theirs) = Socket::pair()?;
    let child = Command::new(&supervisor.program)
        .args(&supervisor.arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(&supervisor.environment)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stderr(writer.try_clone()?)
        .stdout(writer)
        .spawn()?;
    let mut supervised = Supervised { child, socket: None };
    ours.set_nonblocking(true)?;
    supervised.socket = Some(UnixStream::from_std(ours)?);
    Ok(supervised)
}

async fn told(socket: &mut UnixStream, order: &Order) -> io::Result<Told> {
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    socket.write_all(&line).await?;
    let mut answer = String::new();
    if BufReader::new(socket).read_line(&mut answer).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&answer)?)
}
