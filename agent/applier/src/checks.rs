//! The health checks of a release. What talks to the application, or looks at its processes, is the probe's
//! to do, without privileges; a unit is systemd's to tell.

use std::path::Path;
use std::time::{Duration, Instant};

use cutover_applier_core::Answer;
use cutover_machine::{Reading, Sample, Slot};
use cutover_shared::package::health::{HealthCheck, Limits, Probe, substitute};
use cutover_shared::package::manifest::MANIFEST;

use crate::config::Run;
use crate::probe::{self, ProbeAnswer, ProbeRequest};
use crate::work::{Site, chain};
use crate::{find, unit};

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
        // A program of the package runs as the application does, and not as the one who may reach the
        // network half's files; and who looks at the application's processes has to be their user.
        let account = match request {
            ProbeRequest::Exec { .. }
            | ProbeRequest::Process { .. }
            | ProbeRequest::Resource { .. } => &self.account,
            ProbeRequest::Http { .. } | ProbeRequest::Tcp { .. } => &self.probe_account,
        };
        let answer = probe::probe(&self.probe, account, request, left).await;
        let ProbeAnswer { healthy, detail, took } = answer;
        Reading { check: check.name.to_string(), healthy, detail, took }
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
                command.iter().map(fill).collect::<Result<_, _>>().map(|command| {
                    let environment = self.environment();
                    ProbeRequest::Exec { command, directory: directory.to_owned(), environment }
                })
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

    async fn resources(&self, limits: &Limits) -> Result<ProbeRequest, String> {
        let processes = match &self.config.run {
            Run::Unit(name) => unit::processes(name).await.map_err(|error| chain(&error))?,
            Run::Command { .. } => find::processes(&self.config.root),
        };
        Ok(ProbeRequest::Resource { processes, disk: self.config.root.clone(), limits: *limits })
    }

    /// Whether the unit is active and stayed so.
    async fn standing(&self, unit: Option<&str>, restarts_at_most: u32) -> Result<String, String> {
        let unit = match (unit, &self.config.run) {
            (Some(unit), _) => unit,
            (None, Run::Unit(unit)) => unit,
            (None, Run::Command { .. }) => {
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
}
