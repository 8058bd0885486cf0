//! Asks the probe: an unprivileged child that takes one reading and forgets everything.
//!
//! The request goes in on its standard input and the answer comes out on its standard output, each a JSON
//! document. Whatever else happens (it dies, talks nonsense, takes too long) is an unhealthy answer that
//! says so.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cutover_shared::package::health::Limits;
use cutover_shared::time::span;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

use crate::child::{self, Session, Whole};
use crate::process::Account;

/// The most bytes of an answer: some lines of text.
pub const MAX_ANSWER: usize = 64 * 1024;

/// The most characters of [`ProbeAnswer::detail`] that are kept.
pub const MAX_DETAIL: usize = 1000;

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields,
    tag = "kind"
)]
pub enum ProbeRequest {
    /// A GET answers as expected. Redirections are not followed.
    Http {
        /// With scheme, host, port and path.
        url: String,
        /// The one good status; `None`: any from 200 to 299.
        expect_status: Option<u16>,
        /// A text that a good answer has.
        body_contains: Option<String>,
    },
    /// A connection is taken.
    Tcp {
        /// `host:port`.
        address: String,
    },
    /// A program runs, as the probe's own user.
    Process {
        /// The file that runs, with no link in its path.
        program: PathBuf,
        /// So many processes.
        at_least: u32,
        /// No more than so many.
        at_most: Option<u32>,
    },
    /// Processes keep to limits.
    Resource {
        /// Which processes.
        processes: Vec<u32>,
        /// Where disk space is looked at.
        disk: PathBuf,
        /// The limits.
        limits: Limits,
    },
}

/// What the probe reads: one thing to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProbeTask {
    /// What.
    pub request: ProbeRequest,
    /// How long it may take.
    #[serde(with = "span")]
    pub timeout: Duration,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProbeAnswer {
    /// Whether it was as expected.
    pub healthy: bool,
    /// For people.
    pub detail: String,
    /// How long it took.
    #[serde(with = "span")]
    pub took: Duration,
}

/// How much longer than the probe's own time it is waited for, so that it can say itself what was late.
const MARGIN: Duration = Duration::from_secs(1);

/// Takes one reading with the `program` as `account`. When this is dropped before, the probe is killed.
pub async fn probe(
    program: &Path,
    account: &Account,
    request: &ProbeRequest,
    timeout: Duration,
) -> ProbeAnswer {
    let began = Instant::now();
    let task = ProbeTask { request: request.clone(), timeout };
    let answer = tokio::time::timeout(timeout + MARGIN, ask(program, account, &task)).await;
    let detail = match answer {
        Ok(Ok(mut answer)) => {
            shorten(&mut answer.detail);
            return answer;
        }
        Ok(Err(error)) => format!("the probe failed: {error}"),
        Err(_) => "the probe did not answer in time".to_owned(),
    };
    ProbeAnswer { healthy: false, detail, took: began.elapsed() }
}

/// Keeps the beginning of what the probe said: answers go into signed outcomes.
fn shorten(detail: &mut String) {
    let end = detail.char_indices().nth(MAX_DETAIL).map_or(detail.len(), |(end, _)| end);
    detail.truncate(end);
}

async fn ask(program: &Path, account: &Account, task: &ProbeTask) -> io::Result<ProbeAnswer> {
    let question = serde_json::to_vec(task)?;
    let (their_input, our_output) = io::pipe()?;
    let (our_input, their_output) = io::pipe()?;
    let mut command = Command::new(program);
    child::prepare(&mut command, account, None);
    command.current_dir("/").stdin(their_input).stdout(their_output).stderr(Stdio::null());
    let child = command.spawn()?;
    // The command holds the child's ends of the pipes.
    drop(command);
    let whole = Whole(Session::of(&child)?);
    let mut sender = pipe::Sender::from_owned_fd(our_output.into())?;
    sender.write_all(&question).await?;
    drop(sender);
    let limit = u64::try_from(MAX_ANSWER).unwrap_or(u64::MAX);
    let mut answer = Vec::new();
    pipe::Receiver::from_owned_fd(our_input.into())?.take(limit).read_to_end(&mut answer).await?;
    tokio::task::spawn_blocking(move || drop(whole)).await?;
    Ok(serde_json::from_slice(&answer)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that answers as `script` does, in the probe's place.
    fn stand_in(directory: &Path, script: &str) -> PathBuf {
        let path = directory.join("probe");
        child::tests::write_program(&path, script);
        path
    }

    async fn asked(script: &str, timeout: Duration) -> ProbeAnswer {
        let directory = tempfile::tempdir().unwrap();
        let program = stand_in(directory.path(), script);
        let request = ProbeRequest::Tcp { address: "127.0.0.1:1".to_owned() };
        probe(&program, &Account::current().unwrap(), &request, timeout).await
    }

    #[tokio::test]
    async fn the_question_goes_in_and_the_answer_comes_out() {
        let script = r#"read -r question || :
            case $question in *'"kind":"tcp","address":"127.0.0.1:1"'*'"timeout":"10s"'*) ;; *) exit 1;; esac
            echo '{"healthy":true,"detail":"seen","took":"12ms"}'"#;
        let answer = asked(script, Duration::from_secs(10)).await;
        assert_eq!(
            answer,
            ProbeAnswer {
                healthy: true,
                detail: "seen".to_owned(),
                took: Duration::from_millis(12)
            }
        );
    }

    #[tokio::test]
    async fn it_is_whom_it_was_told_to_be_and_knows_nothing_else() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let script = r#"read -r question || :
            said="$(id -u) $(env | cut -d= -f1 | sort | tr '\n' ' ')"
            printf '{"healthy":true,"detail":"%s","took":"0s"}' "$HOME $said""#;
        let program = stand_in(directory.path(), script);
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), everybody).unwrap();
        let nobody = Account::named("nobody").unwrap();
        let us = Account::current().unwrap();
        let account = if us.uid == 0 { &nobody } else { &us };
        let request = ProbeRequest::Tcp { address: "127.0.0.1:1".to_owned() };
        let answer = probe(&program, account, &request, Duration::from_mins(1)).await;
        let (uid, home) = (account.uid, account.home.display());
        let known = "HOME LOGNAME PATH PWD SHLVL USER _ ";
        assert_eq!(answer.detail, format!("{home} {uid} {known}"));
        if us.uid != 0 {
            let answer = probe(&program, &nobody, &request, Duration::from_mins(1)).await;
            assert!(!answer.healthy, "only root can become somebody else");
        }
    }

    #[tokio::test]
    async fn an_answer_is_bounded() {
        let script =
            r#"read -r question || :; printf '{"healthy":true,"detail":"%05000d","took":"0s"}' 0"#;
        let answer = asked(script, Duration::from_mins(1)).await;
        assert!(answer.healthy, "{answer:?}");
        assert_eq!(answer.detail, "0".repeat(MAX_DETAIL));
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_unhealthy() {
        for script in ["exit 1", "echo hello", "cat /dev/zero"] {
            let answer = asked(script, Duration::from_secs(10)).await;
            assert!(!answer.healthy);
            assert!(answer.detail.starts_with("the probe failed"), "{answer:?}");
        }
        let answer = asked("sleep 1000", Duration::from_millis(1)).await;
        assert_eq!(answer.detail, "the probe did not answer in time");
    }
}
