//! A hook in a transient unit of systemd: its own control group, ended whole.

use std::io;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use zbus::{Connection, Fd, OwnedObjectPath, Variant};

use super::{Fate, HookRun};
use crate::child::Ended;
use crate::unit;

/// What the names of such units begin with.
const PREFIX: &str = "cutover-hook-";

/// How long after its time systemd itself ends a hook that its applier did not: one that was killed.
const GRACE: Duration = Duration::from_secs(5);

/// How a child ended, as systemd has it from waitid(2).
const CLD_EXITED: i32 = 1;

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[(&str, Variant<'_>)],
        auxiliary: &[(&str, &[(&str, Variant<'_>)])],
    ) -> zbus::Result<OwnedObjectPath>;
    fn get_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn list_units_by_patterns(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> zbus::Result<Vec<Listed>>;
}

/// A unit as systemd lists it.
type Listed =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Unit",
    default_service = "org.freedesktop.systemd1"
)]
trait Unit {
    #[zbus(property(emits_changed_signal = "false"))]
    fn active_state(&self) -> zbus::Result<String>;
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Service",
    default_service = "org.freedesktop.systemd1"
)]
trait Service {
    #[zbus(property(emits_changed_signal = "false"))]
    fn exec_main_code(&self) -> zbus::Result<i32>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn exec_main_status(&self) -> zbus::Result<i32>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn result(&self) -> zbus::Result<String>;
}

/// The name of the unit of an application's hook; no two are the same.
pub fn name(application: &str) -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let number = u64::from_be_bytes(random);
    Ok(format!("{PREFIX}{application}-{number:016x}.service"))
}

/// Ends the hooks of an application that an applier before this one has left behind.
pub async fn end_orphans(application: &str) -> Result<(), unit::UnitError> {
    let connection = Connection::system().await.map_err(unit::UnitError::Bus)?;
    let manager = ManagerProxy::new(&connection).await.map_err(unit::UnitError::Bus)?;
    let pattern = format!("{PREFIX}{application}-????????????????.service");
    let listed = manager.list_units_by_patterns(&[], &[&pattern]).await;
    for (name, ..) in listed.map_err(unit::UnitError::Bus)? {
        tracing::warn!(unit = name, "a hook of before is ended");
        unit::stop(&name).await?;
    }
    Ok(())
}

/// A unit that may run. When it is dropped, it is ended, and that is waited for.
#[derive(Debug)]
struct Running(Option<String>);

impl Drop for Running {
    fn drop(&mut self) {
        let Some(name) = self.0.take() else { return };
        // A runtime of its own: the one that drops this may be about to end, or have one thread only.
        let ended = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(unit::stop(&name)).map_err(io::Error::other)
        });
        match ended.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "a hook cannot be ended"),
            Err(_) => tracing::error!("a hook cannot be ended"),
        }
    }
}

pub(super) async fn run(hook: &HookRun, name: &str, writer: io::PipeWriter) -> Fate {
    let mut running = Running(None);
    let began = Instant::now();
    let ran = tokio::time::timeout(hook.timeout, start_and_wait(hook, name, writer, &mut running));
    let fate = match ran.await {
        // systemd's own limit comes later, but the clock may have stood still here.
        Ok(Ok(Fate::Ended(ended)))
            if began.elapsed() >= hook.timeout && ended != Ended::Status(0) =>
        {
            Fate::Late
        }
        Ok(Ok(fate)) => fate,
        Ok(Err(error)) if running.0.is_none() => Fate::NotStarted(io::Error::other(error)),
        Ok(Err(error)) => Fate::Remains(error.to_string()),
        Err(_) => Fate::Late,
    };
    match tokio::task::spawn_blocking(move || drop(running)).await {
        Ok(()) => fate,
        Err(error) => Fate::Remains(error.to_string()),
    }
}

async fn start_and_wait(
    hook: &HookRun,
    name: &str,
    writer: io::PipeWriter,
    running: &mut Running,
) -> zbus::Result<Fate> {
    // Its own connection: as long as it is there, systemd remembers how the unit ended (AddRef).
    let connection = Connection::system().await?;
    let manager = ManagerProxy::new(&connection).await?;
    manager.subscribe().await?;
    running.0 = Some(name.to_owned());
    let started = manager.start_transient_unit(name, "fail", &properties(hook, &writer), &[]).await;
    // Otherwise the end of the output would never be seen.
    drop(writer);
    if let Err(error) = started {
        running.0 = None;
        return Err(error);
    }
    let path = manager.get_unit(name).await?;
    let unit = UnitProxy::new(&connection, path.clone()).await?;
    let changes = zbus::fdo::PropertiesProxy::new(&connection, unit.inner().destination(), &path);
    let mut changes = changes.await?.receive_properties_changed().await?;
    loop {
        let state = unit.active_state().await?;
        if state == "inactive" || state == "failed" {
            break;
        }
        if changes.next().await.is_none() {
            return Ok(Fate::Remains("the bus is gone".to_owned()));
        }
    }
    let service = ServiceProxy::new(&connection, path).await?;
    let (code, status) = (service.exec_main_code().await?, service.exec_main_status().await?);
    let result = service.result().await?;
    running.0 = None;
    Ok(match (code, status) {
        (0, _) => Fate::NotStarted(io::Error::other(format!("systemd says {result}"))),
        (CLD_EXITED, status) => Fate::Ended(Ended::Status(status)),
        (_, _) if result == "timeout" => Fate::Late,
        (_, signal) => Fate::Ended(Ended::Signal(signal)),
    })
}

fn properties<'v>(
    hook: &'v HookRun,
    writer: &'v io::PipeWriter,
) -> Vec<(&'static str, Variant<'v>)> {
    use std::os::fd::AsFd as _;
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let command = text(&hook.command);
    // systemd puts variables into arguments where there is a dollar sign, and one sign for two.
    let arguments = hook.arguments.iter().map(|it| it.replace('$', "$$"));
    let whole: Vec<String> = std::iter::once(command.clone()).chain(arguments).collect();
    let environment: Vec<String> =
        hook.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let output = || Variant::Fd(Fd::from(writer.as_fd()));
    let limit = u64::try_from((hook.timeout + GRACE).as_micros()).unwrap_or(u64::MAX);
    let read_only = hook.read_only.iter();
    let read_only: Vec<String> = read_only.map(|it| text(it.root())).collect();
    // What is not there is passed over.
    let shared = hook.read_only.iter().map(|it| format!("-{}", it.shared().display()));
    let shared: Vec<String> = shared.collect();
    vec![
        ("ReadOnlyPaths", Variant::new(read_only)),
        ("ReadWritePaths", Variant::new(shared)),
        ("Description", Variant::from(format!("Hook of a release: {command}"))),
        ("Type", Variant::from("oneshot")),
        ("ExecStart", Variant::new(vec![(command, whole, false)])),
        ("User", Variant::from(hook.account.name.clone())),
        ("WorkingDirectory", Variant::from(text(&hook.directory))),
        ("Environment", Variant::new(environment)),
        ("StandardInput", Variant::from("null")),
        ("StandardOutputFileDescriptor", output()),
        ("StandardErrorFileDescriptor", output()),
        ("TimeoutStartUSec", Variant::from(limit)),
        // What the hook leaves running is no part of the release, and is not asked.
        ("KillMode", Variant::from("control-group")),
        ("KillSignal", Variant::from(9_i32)),
        ("NoNewPrivileges", Variant::from(true)),
        ("AddRef", Variant::from(true)),
        ("CollectMode", Variant::from("inactive-or-failed")),
    ]
}
