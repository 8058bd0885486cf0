//! The health checks of a release. What talks to the application, or looks at its processes, is the probe's
//! to do, without privileges; a unit is systemd's to tell; and a command of the release runs as its hooks do,
//! so that nothing of it is left when it has ended or was late.

use std::path::Path;
use std::time::{Duration, Instant};

use cutover_applier_core::Answer;
use cutover_machine::{Reading, Sample, Slot};
use cutover_shared::package::health::{HealthCheck, Limits, Probe, substitute};
use cutover_shared::package::manifest::MANIFEST;
use cutover_shared::time::span;

use crate::config::Run;
use crate::hook::{self, HookError, HookRun, Output};
use crate::probe::{self, ProbeAnswer, ProbeRequest};
use crate::work::{Site, chain};
use crate::{find, unit};

/// The most characters of a command's output that a reading keeps: the last.
const SAID: usize = 500;

impl Site {
    /// One round of every check of a release, all at once.
    pub(crate) async fn check(&self, slot: Slot) -> Answer {
        let readings = match self.manifest(&slot).await {
            Ok(manifest) => {
                let directory = self.slots.path(&slot);
                let checks = manifest.health.iter().map(|check| self.reading(check, &directory));
                futures::future::join_all(checks).await
            }
            Err(why) => vec![Reading {
                check: MANIFEST.to_owned(),
                healthy: false,
                detail: why,
                took: Duration::ZERO,
            }],
        };
        Answer::Sample(Sample { at: self.clock.now().wall, readings })
    }

    async fn reading(&self, check: &HealthCheck, directory: &Path) -> Reading {
        let began = Instant::now();
        let looked = tokio::time::timeout(check.timeout, self.look(check, directory)).await;
        let told = match looked {
            Ok(Looked::Seen(seen)) => seen,
            Ok(Looked::Running(run)) => {
                let left = check.timeout.saturating_sub(began.elapsed());
                self.ran(HookRun { timeout: left, ..*run }, check.timeout).await
            }
            // The probe keeps the time itself, and says what was late.
            Ok(Looked::Asking(request)) => {
                let left = check.timeout.saturating_sub(began.elapsed());
                return self.probed(check, &request, left).await;
            }
            Err(_) => Err("systemd did not answer in time".to_owned()),
        };
        let healthy = told.is_ok();
        let (Ok(detail) | Err(detail)) = told;
        Reading { check: check.name.to_string(), healthy, detail, took: began.elapsed() }
    }

    async fn probed(&self, check: &HealthCheck, request: &ProbeRequest, left: Duration) -> Reading {
        // Who looks at the application's processes has to be their user.
        let account = match request {
            ProbeRequest::Process { .. } | ProbeRequest::Resource { .. } => &self.account,
            ProbeRequest::Http { .. } | ProbeRequest::Tcp { .. } => &self.probe_account,
        };
        let answer = probe::probe(&self.probe, account, request, left).await;
        let ProbeAnswer { healthy, detail, took } = answer;
        Reading { check: check.name.to_string(), healthy, detail, took }
    }

    /// Runs the command of a check, for as long as `run` says, of the `timeout` that the check has. It is the
    /// application's user who runs it, and not the one who may reach the network half's files.
    async fn ran(&self, run: HookRun, timeout: Duration) -> Result<String, String> {
        let ended = hook::run(&run).await;
        if let Err(HookError::Remains { .. }) = ended {
            self.end_orphans().await;
        }
        told(&ended, &run.command, timeout)
    }

    /// What the probe has to be asked, or what needs no probe.
    async fn look(&self, check: &HealthCheck, directory: &Path) -> Looked {
        let fill = |text: &String| {
            substitute(text, &self.config.variables).map_err(|error| error.to_string())
        };
        let request = match &check.probe {
            Probe::Http { url, expect_status, body_contains } => {
                fill(url).map(|url| ProbeRequest::Http {
                    url,
                    expect_status: Some(*expect_status),
                    body_contains: body_contains.clone(),
                })
            }
            Probe::Tcp { address } => fill(address).map(|address| ProbeRequest::Tcp { address }),
            Probe::Exec { command } => {
                return match self.command(command, directory) {
                    Ok(run) => Looked::Running(Box::new(run)),
                    Err(why) => Looked::Seen(Err(why)),
                };
            }
            Probe::Unit { unit, restarts_at_most } => {
                return Looked::Seen(match unit.as_ref().map(fill).transpose() {
                    Ok(unit) => self.standing(unit.as_deref(), *restarts_at_most).await,
                    Err(error) => Err(error),
                });
            }
            Probe::Process { program, at_least, at_most } => fill(program).map(|program| {
                // As the kernel shows it: with every link on the way followed.
                let program = directory.join(program);
                let program = std::fs::canonicalize(&program).unwrap_or(program);
                ProbeRequest::Process { program, at_least: *at_least, at_most: *at_most }
            }),
            Probe::Resource(limits) => self.resources(limits).await,
        };
        match request {
            Ok(request) => Looked::Asking(request),
            Err(why) => Looked::Seen(Err(why)),
        }
    }

    /// The run of a check's command, its time still to be set.
    fn command(&self, command: &[String], directory: &Path) -> Result<HookRun, String> {
        let fill = |text: &String| substitute(text, &self.config.variables);
        let filled: Result<Vec<_>, _> = command.iter().map(fill).collect();
        let mut words = filled.map_err(|error| error.to_string())?.into_iter();
        let program = words.next().ok_or("run a command without a program")?;
        let run = self.run_of(&program, words.collect(), directory, Duration::ZERO);
        run.map_err(|error| error.to_string())
    }

    async fn resources(&self, limits: &Limits) -> Result<ProbeRequest, String> {
        let processes = match &self.config.run {
            Run::Unit(name) => unit::processes(name).await.map_err(|error| chain(&error))?,
            Run::Command { .. } | Run::Elsewhere => find::processes(&self.config.root),
        };
        Ok(ProbeRequest::Resource { processes, disk: self.config.root.clone(), limits: *limits })
    }

    /// Whether the unit is active and stayed so.
    async fn standing(&self, unit: Option<&str>, restarts_at_most: u32) -> Result<String, String> {
        let unit = match (unit, &self.config.run) {
            (Some(unit), _) => unit,
            (None, Run::Unit(unit)) => unit,
            (None, Run::Command { .. } | Run::Elsewhere) => {
                return Err("this host runs the application without a unit".to_owned());
            }
        };
        let standing = unit::standing(unit).await.map_err(|error| chain(&error))?;
        let told = match standing.restarts {
            0 => format!("{unit} is {}", standing.active_state),
            restarts => format!("{unit} is {}, restarted {restarts} times", standing.active_state),
        };
        let is_well = standing.active_state == "active" && standing.restarts <= restarts_at_most;
        if is_well { Ok(told) } else { Err(told) }
    }
}

/// How a check goes on.
enum Looked {
    /// It is over.
    Seen(Result<String, String>),
    /// The probe has to be asked.
    Asking(ProbeRequest),
    /// A command has to be run.
    Running(Box<HookRun>),
}

/// What a run of a check's command says of the release.
fn told(
    ended: &Result<Output, HookError>,
    command: &Path,
    timeout: Duration,
) -> Result<String, String> {
    let (how, output) = match ended {
        Ok(output) => ("exit status 0".to_owned(), &*output.text),
        Err(HookError::Ended { ended, output, .. }) => (ended.clone(), &**output),
        Err(HookError::Late { output, .. }) => {
            (format!("no answer within {}", span::format(timeout)), &**output)
        }
        Err(error @ (HookError::Start { .. } | HookError::Remains { .. })) => {
            (chain(error), error.output())
        }
    };
    let said = one_line(output);
    let colon = if said.is_empty() { "" } else { ": " };
    let told = format!("run {}: {how}{colon}{said}", command.display());
    if ended.is_ok() { Ok(told) } else { Err(told) }
}

/// The end of what a command said, printable and on one line.
fn one_line(output: &str) -> String {
    let words: Vec<&str> = output.split_whitespace().collect();
    let line: Vec<char> = words.join(" ").chars().filter(|it| !it.is_control()).collect();
    line[line.len().saturating_sub(SAID)..].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_says_how_it_is() {
        let command = Path::new("/slot/hooks/check");
        let told = |ended| told(&ended, command, Duration::from_secs(2));
        let said = |text: &str| Ok(Output { text: text.to_owned() });
        let run = |how: &str| format!("run /slot/hooks/check: {how}");
        assert_eq!(told(said("")), Ok(run("exit status 0")));
        let noisy = told(said("a\u{1b}[1mb\0\n\n c")).unwrap();
        assert_eq!(noisy, run("exit status 0: a[1mb c"));
        assert!(told(said(&"y\n".repeat(100_000))).unwrap().len() < SAID + 60);
        let command = command.to_owned();
        let output = "no database\n".to_owned();
        let failed = HookError::Ended {
            command: command.clone(),
            ended: "exit status 3".to_owned(),
            output: output.clone(),
        };
        assert_eq!(told(Err(failed)), Err(run("exit status 3: no database")));
        let late = HookError::Late { command: command.clone(), output };
        assert_eq!(told(Err(late)), Err(run("no answer within 2s: no database")));
        let absent = std::io::ErrorKind::NotFound.into();
        let not_started = HookError::Start { command, source: absent };
        assert!(told(Err(not_started)).unwrap_err().contains("start the hook"));
    }
}
