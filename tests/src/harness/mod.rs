//! The harness: the product's real processes on free ports, in one directory, ended when it is dropped.
//!
//! A [`Stage`] has a coordinator, hosts (each its two real processes and an application), and the people at
//! their command lines. It waits on events: on the log, which tells of everything that counts. Only what is
//! never logged (what an idle host waits for) is asked for again and again, within a bound.

pub mod gate;
pub mod host;
pub mod mail;
pub mod notice;
pub mod people;
pub mod process;
pub mod release;
pub mod slots;
pub mod status;
pub mod watch;
pub mod web;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use cutover_shared::case::{Reported, Verified};
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::log::TreeHead;
use cutover_shared::statement::{Event, Reading, Says};
use serde_json::Value;

use self::host::Host;
use self::people::{Desk, path};
use self::process::Process;
use self::watch::Watch;

/// The longest that anything here takes on a machine that is very busy with other things.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// How often something that is never logged is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Everything that runs.
#[derive(Debug)]
pub struct Stage {
    /// The people.
    pub desk: Desk,
    /// The hosts by name.
    pub hosts: BTreeMap<String, Host>,
    coordinator: Option<Process>,
    watch: Option<Watch>,
    /// What the coordinator's configuration has besides what every one has.
    more: String,
}

/// A booking as its people made it.
#[derive(Debug, Clone)]
pub struct Booked {
    /// The release's name: `R-1`.
    pub release: String,
    /// The `booking` statement.
    pub booking: String,
}

impl Stage {
    /// Keys, policy and a running coordinator in `directory`.
    pub async fn start(directory: &Path, binaries: &Path) -> anyhow::Result<Self> {
        Self::start_with(directory, binaries, "").await
    }

    /// The same, with `more` at the end of the coordinator's configuration.
    pub async fn start_with(directory: &Path, binaries: &Path, more: &str) -> anyhow::Result<Self> {
        let desk = Desk {
            binaries: binaries.to_owned(),
            directory: directory.to_owned(),
            coordinator: None,
        };
        desk.prepare().context("make keys and policy")?;
        let (hosts, more) = (BTreeMap::new(), more.to_owned());
        let mut stage = Self { desk, hosts, coordinator: None, watch: None, more };
        stage.write_configuration("127.0.0.1:0")?;
        stage.start_coordinator().await?;
        Ok(stage)
    }

    /// The coordinator's configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.desk.directory.join("coordinator.toml")
    }

    /// The coordinator's data.
    pub fn data(&self) -> PathBuf {
        self.desk.directory.join("coordinator")
    }

    fn write_configuration(&self, listen: &str) -> anyhow::Result<()> {
        let directory = &self.desk.directory;
        let text = format!(
            "listen = {listen:?}\ndata-directory = {:?}\nkey = {:?}\npolicy = {:?}\nport-file = {:?}\n{}",
            path(&self.data()),
            path(&self.desk.key("log")),
            path(&self.desk.policy()),
            path(&directory.join("port")),
            self.more,
        );
        std::fs::write(self.configuration(), text).context("write coordinator.toml")
    }

    /// Starts the coordinator, at the same address as before if it ran before.
    pub async fn start_coordinator(&mut self) -> anyhow::Result<()> {
        let mut command = self.desk.command("log");
        command.args(["serve", "--config", &path(&self.configuration())]);
        self.start_as_coordinator(command).await
    }

    /// Starts a program in the coordinator's place: the product's, or one that somebody else owns.
    pub async fn start_as_coordinator(&mut self, command: Command) -> anyhow::Result<()> {
        let port_file = self.desk.directory.join("port");
        let _ = std::fs::remove_file(&port_file);
        let log = self.desk.directory.join("coordinator.log");
        let mut process = Process::start("coordinator", command, &log)?;
        let began = Instant::now();
        let port = loop {
            match std::fs::read_to_string(&port_file) {
                Ok(port) if !port.trim().is_empty() => break port.trim().to_owned(),
                Ok(_) | Err(_) => {}
            }
            process.check()?;
            if began.elapsed() > PATIENCE {
                bail!("the coordinator does not serve:\n{}", process.tail());
            }
            tokio::time::sleep(ASK_AGAIN).await;
        };
        let address = format!("127.0.0.1:{}", port.rsplit(':').next().unwrap_or(&port));
        self.write_configuration(&address)?;
        self.desk.coordinator = Some(address);
        self.coordinator = Some(process);
        self.watch = Some(Watch::start(&self.desk).await?);
        Ok(())
    }

    /// Puts a coordinator that somebody else owns in the place of the one that runs: it admits anything, and
    /// offers these orders to these hosts, each a host's name and a `booking` statement.
    pub async fn cheat(&mut self, offers: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut command = Command::new(self.desk.binaries.join("cutover-cheat"));
        command.args(["--config", &path(&self.configuration())]);
        for (host, order) in offers {
            let name = host.parse()?;
            let key = self
                .until("the host's key", |state| {
                    state.host_named(&name).map(|it| it.enrolment.says().host_key.id())
                })
                .await?;
            command.arg("--offer").arg(format!("{key}={order}"));
        }
        self.take_coordinator()?.terminate()?;
        self.start_as_coordinator(command).await
    }

    /// Takes the coordinator's process, to end it as a test likes.
    pub fn take_coordinator(&mut self) -> anyhow::Result<Process> {
        self.watch = None;
        self.coordinator.take().context("the coordinator runs")
    }

    /// Adds a host by grant and join string, and waits until the log knows it.
    pub async fn add_host(&mut self, name: &str, environment: &str) -> anyhow::Result<()> {
        self.add(name, environment, host::SERVES).await
    }

    /// The same with a host that carries out runbooks.
    pub async fn add_gateway(&mut self, name: &str, environment: &str) -> anyhow::Result<()> {
        self.add(name, environment, host::GATEWAY).await
    }

    async fn add(&mut self, name: &str, environment: &str, runs: &str) -> anyhow::Result<()> {
        let granted = self.desk.run(
            "olga",
            &["host", "grant", "--environment", environment, "--application", "web", "--for", "1h"],
        )?;
        let join = text(&granted, "join")?;
        let host = Host::start_as(&self.desk, name, environment, &join, runs)?;
        self.hosts.insert(name.to_owned(), host);
        let name = name.parse()?;
        self.until("the host is enrolled", |state| state.host_named(&name).map(|_| ())).await
    }

    /// Waits until the log says what `found` looks for.
    pub async fn until<T>(
        &mut self,
        what: &str,
        found: impl FnMut(&State) -> Option<T>,
    ) -> anyhow::Result<T> {
        let watch = self.watch.as_mut().context("the coordinator runs")?;
        let waited = tokio::time::timeout(PATIENCE, watch.until(found)).await;
        match waited {
            Ok(result) => result,
            Err(_) => bail!("in {} s not seen: {what}\n{}", PATIENCE.as_secs(), self.logs()),
        }
    }

    /// The log as it is now: what who signs a window's release names.
    pub async fn head(&mut self) -> anyhow::Result<TreeHead> {
        self.watch.as_mut().context("the coordinator runs")?.head().await
    }

    /// The ends of every log, for a failure's report.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        if let Some(coordinator) = &self.coordinator {
            let _ = writeln!(text, "--- coordinator\n{}", coordinator.tail());
        }
        for (name, host) in &self.hosts {
            let _ = writeln!(text, "--- {name}\n{}", host.tail());
        }
        text
    }

    /// Builds, submits, and gets everybody's word for a release.
    pub fn approved(&self, package: &Path) -> anyhow::Result<String> {
        let release = self.submitted(package, &["staging", "production"])?;
        self.desk.run("lena", &["review", &release, "--complete"])?;
        self.desk.run("sam", &["assess", &release, "--accept"])?;
        self.desk.run("bea", &["vote", &release, "--approve"])?;
        self.desk.run("olga", &["vote", &release, "--approve"])?;
        self.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;
        Ok(release)
    }

    /// Submits a package; the release's name.
    pub fn submitted(&self, package: &Path, environments: &[&str]) -> anyhow::Result<String> {
        let file = path(package);
        let mut arguments = vec!["submit", &file];
        for environment in environments {
            arguments.extend(["--environment", environment]);
        }
        text(&self.desk.run("alice", &arguments)?, "release")
    }

    /// Books a window that is open from now on, and releases it.
    pub fn open_window(
        &self,
        release: &str,
        environment: &str,
        more: &[&str],
    ) -> anyhow::Result<Booked> {
        let booked =
            self.book(release, environment, &[&["--start", "now", "--for", "30m"], more].concat())?;
        self.desk.run("max", &["window", "release", &booked.booking])?;
        Ok(booked)
    }

    /// Books a window.
    pub fn book(&self, release: &str, environment: &str, more: &[&str]) -> anyhow::Result<Booked> {
        let arguments = [&["book", release, "--environment", environment], more].concat();
        let booking = text(&self.desk.run("max", &arguments)?, "id")?;
        Ok(Booked { release: release.to_owned(), booking })
    }

    /// Waits for a host's outcome of an order that is not a refusal.
    pub async fn outcome(&mut self, host: &str, order: &str) -> anyhow::Result<Reported> {
        Ok(self.ended(host, order).await?.says().clone())
    }

    /// Waits for the same, and reads from the log with what readings the host proved it.
    pub async fn readings(&mut self, host: &str, order: &str) -> anyhow::Result<Vec<Reading>> {
        let index = self.ended(host, order).await?.index();
        let watch = self.watch.as_mut().context("the coordinator runs")?;
        let Says::Outcome(outcome) = watch.statement(index).await?.says else {
            bail!("entry {index} is no outcome");
        };
        Ok(outcome.readings)
    }

    async fn ended(&mut self, host: &str, order: &str) -> anyhow::Result<Verified<Reported>> {
        let order: Digest = order.parse()?;
        let name = host.parse::<cutover_shared::name::Name>()?;
        let ends = |it: &&Verified<Reported>| {
            it.says().host == name
                && !matches!(it.says().event, Event::Refused { .. } | Event::Drifted { .. })
        };
        self.until(&format!("{host} has ended order {}", order.short()), |state| {
            reported(state, &order).iter().find(ends).cloned()
        })
        .await
    }

    /// Waits until a host has signed a refusal of an order with this code.
    pub async fn refusal(&mut self, host: &str, order: &str, code: &str) -> anyhow::Result<String> {
        self.refusal_facts(host, order, code).await.map(|_facts| code.to_owned())
    }

    /// As [`Stage::refusal`]: the facts of the refusal.
    pub async fn refusal_facts(
        &mut self,
        host: &str,
        order: &str,
        code: &str,
    ) -> anyhow::Result<String> {
        let order: Digest = order.parse()?;
        let name = host.parse::<cutover_shared::name::Name>()?;
        self.until(&format!("{host} has refused order {} as {code}", order.short()), |state| {
            outcomes(state, &order).into_iter().find_map(|it| {
                let Event::Refused { code: found, detail } = it.event else { return None };
                (it.host == name && found == code).then_some(detail)
            })
        })
        .await
    }

    /// Takes a release onto hosts through an open window, and waits until all of them have committed.
    pub async fn deploy(
        &mut self,
        release: &str,
        environment: &str,
        hosts: &[&str],
        more: &[&str],
    ) -> anyhow::Result<Booked> {
        let booked = self.open_window(release, environment, more)?;
        for host in hosts {
            let outcome = self.outcome(host, &booked.booking).await?;
            if outcome.event != Event::Committed {
                bail!("{host} did not commit {release}: {:?}\n{}", outcome.event, self.logs());
            }
        }
        Ok(booked)
    }

    /// Asks for `status R` until it shows what `found` looks for: what is waited for is in no log.
    pub async fn status_until<T>(
        &self,
        release: &str,
        what: &str,
        found: impl Fn(&Value) -> Option<T>,
    ) -> anyhow::Result<T> {
        let began = Instant::now();
        loop {
            let status = self.desk.run("max", &["status", release])?;
            if let Some(found) = found(&status) {
                return Ok(found);
            }
            if began.elapsed() > PATIENCE {
                bail!("not seen in the status of {release}: {what}\n{status:#}\n{}", self.logs());
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

impl Stage {
    /// Waits until something was told (a word of `cutover outbox list`) and everything else that was to be
    /// told is, too; all deliveries.
    pub async fn delivered(&self, told: &str) -> anyhow::Result<Vec<Value>> {
        let began = Instant::now();
        loop {
            let all = self.desk.run("max", &["outbox", "list"])?;
            let all = all.as_array().cloned().unwrap_or_default();
            let is_there = all.iter().any(|it| it["told"] == told);
            if is_there && all.iter().all(|it| it["state"] == "delivered") {
                return Ok(all);
            }
            if began.elapsed() > PATIENCE {
                bail!("not delivered: {told}\n{all:#?}\n{}", self.logs());
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

/// What hosts said of an order, in log order.
pub fn outcomes(state: &State, order: &Digest) -> Vec<Reported> {
    reported(state, order).iter().map(|outcome| outcome.says().clone()).collect()
}

fn reported<'a>(state: &'a State, order: &Digest) -> &'a [Verified<Reported>] {
    let of_booking = state.booking(order).map(|(_, booking)| booking.outcomes.as_slice());
    let of_rollback = state.rollback(order).map(|rollback| rollback.outcomes.as_slice());
    of_booking.or(of_rollback).unwrap_or_default()
}

/// A text in what a command printed.
pub fn text(value: &Value, key: &str) -> anyhow::Result<String> {
    let text = value.get(key).and_then(Value::as_str);
    text.map(str::to_owned).with_context(|| format!("{key} in {value}"))
}
