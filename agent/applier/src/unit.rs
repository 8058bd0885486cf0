//! The application's systemd unit, over D-Bus: each job is waited for to its end.

mod drop_in;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use zbus::Connection;
use zbus::{ObjectPath, OwnedObjectPath};

use crate::read_only::ReadOnly;

/// How long a job may take when systemd does not say so itself: its own default is 90 s a step.
const JOB_LIMIT: Duration = Duration::from_mins(10);

/// A unit could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// The system bus cannot be reached.
    #[error("reach systemd over D-Bus")]
    Bus(#[source] zbus::Error),
    /// systemd refused.
    #[error("{verb} {unit}")]
    Refused {
        /// What was asked.
        verb: &'static str,
        /// Of which unit.
        unit: String,
        /// What systemd said.
        #[source]
        source: zbus::Error,
    },
    /// The job did not end well.
    #[error("{verb} {unit}: the job ended {result:?}")]
    Job {
        /// What was asked.
        verb: &'static str,
        /// Of which unit.
        unit: String,
        /// `failed`, `timeout`, `dependency`, `canceled`, …
        result: String,
    },
    /// The drop-in file of the unit cannot be written.
    #[error("write {path}")]
    DropIn {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// systemd cannot be made to read its files again.
    #[error("let systemd read its files again")]
    Reload(#[source] zbus::Error),
    /// The job did not end.
    #[error("{verb} {unit}: the job did not end")]
    Late {
        /// What was asked.
        verb: &'static str,
        /// Of which unit.
        unit: String,
    },
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn get_unit_processes(&self, name: &str) -> zbus::Result<Vec<(String, u32, String)>>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: ObjectPath<'_>,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Unit",
    default_service = "org.freedesktop.systemd1"
)]
trait Unit {
    #[zbus(property(emits_changed_signal = "false"))]
    fn active_state(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn load_state(&self) -> zbus::Result<String>;
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Service",
    default_service = "org.freedesktop.systemd1"
)]
trait Service {
    /// Set to zero by systemd when the service is started after it had ended.
    #[zbus(property(emits_changed_signal = "false"), name = "NRestarts")]
    fn restarts(&self) -> zbus::Result<u32>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn read_only_paths(&self) -> zbus::Result<Vec<String>>;
}

/// How a unit is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `active`, `inactive`, `failed`, `activating`, `deactivating`, `reloading`.
    pub active_state: String,
    /// How often systemd has restarted it by itself since it was started; none for what is no service.
    pub restarts: u32,
}

/// How `unit` is doing. One that does not exist is `inactive`.
pub async fn standing(unit: &str) -> Result<Standing, UnitError> {
    standing_on(&system().await?, unit).await
}

/// The processes of `unit`, by their ids; none when it does not run.
pub async fn processes(unit: &str) -> Result<Vec<u32>, UnitError> {
    processes_on(&system().await?, unit).await
}

/// Starts `unit`; done when systemd says that it is started (also when it was).
pub async fn start(unit: &str) -> Result<(), UnitError> {
    job(&system().await?, Verb::Start, unit).await
}

/// Stops `unit`; done when nothing of it runs, also when there is no such unit.
pub async fn stop(unit: &str) -> Result<(), UnitError> {
    job(&system().await?, Verb::Stop, unit).await
}

/// Stops `unit`, if it runs, and starts it.
pub async fn restart(unit: &str) -> Result<(), UnitError> {
    job(&system().await?, Verb::Restart, unit).await
}

/// Whether systemd has a unit of this name that it can start: `false` when there is none, when it is masked
/// and when its file is faulty.
pub async fn exists(unit: &str) -> Result<bool, UnitError> {
    exists_on(&system().await?, unit).await
}

/// Lets `unit` have what is read-only to it from its next start on, and nothing where there is nothing. Whether
/// that is new to systemd.
pub async fn keep_from_writing(
    unit: &str,
    read_only: Option<&ReadOnly>,
) -> Result<bool, UnitError> {
    let connection = system().await?;
    keep_from_writing_on(&connection, Path::new(drop_in::DIRECTORY), unit, read_only).await
}

async fn keep_from_writing_on(
    connection: &Connection,
    directory: &Path,
    unit: &str,
    read_only: Option<&ReadOnly>,
) -> Result<bool, UnitError> {
    let failed = |source| UnitError::DropIn { path: drop_in::path(directory, unit), source };
    let changed = drop_in::lay(directory, unit, read_only).map_err(failed)?;
    // Whoever wrote the file may have been killed before systemd was told.
    if !changed && (read_only.is_none() || is_read_only(connection, unit, read_only).await?) {
        return Ok(false);
    }
    let manager = ManagerProxy::new(connection).await.map_err(UnitError::Reload)?;
    manager.reload().await.map_err(UnitError::Reload)?;
    if read_only.is_some() && !is_read_only(connection, unit, read_only).await? {
        tracing::warn!(unit, "the unit's own files take back that its slots are read-only to it");
    }
    Ok(changed)
}

/// Whether systemd knows that this is read-only to `unit`.
async fn is_read_only(
    connection: &Connection,
    unit: &str,
    read_only: Option<&ReadOnly>,
) -> Result<bool, UnitError> {
    let refused = |source| cannot_look(unit, source);
    let seen = unit_on(connection, unit).await?;
    let path = seen.inner().path().to_owned();
    let service = ServiceProxy::new(connection, path).await.map_err(refused)?;
    let paths = service.read_only_paths().await.map_err(refused)?;
    Ok(read_only.is_none_or(|it| paths.iter().any(|path| Path::new(path) == it.root())))
}

async fn system() -> Result<Connection, UnitError> {
    Connection::system().await.map_err(UnitError::Bus)
}

async fn standing_on(connection: &Connection, unit: &str) -> Result<Standing, UnitError> {
    let refused = |source| cannot_look(unit, source);
    let seen = unit_on(connection, unit).await?;
    let active_state = seen.active_state().await.map_err(refused)?;
    let restarts = if unit.ends_with(".service") {
        let path = seen.inner().path().to_owned();
        let service = ServiceProxy::new(connection, path).await.map_err(refused)?;
        service.restarts().await.map_err(refused)?
    } else {
        0
    };
    Ok(Standing { active_state, restarts })
}

async fn processes_on(connection: &Connection, unit: &str) -> Result<Vec<u32>, UnitError> {
    let refused = |source| cannot_look(unit, source);
    let manager = ManagerProxy::new(connection).await.map_err(refused)?;
    match manager.get_unit_processes(unit).await {
        Ok(processes) => Ok(processes.into_iter().map(|(_, pid, _)| pid).collect()),
        // systemd forgets units that nobody uses.
        Err(error) if is_no_such_unit(&error) => Ok(Vec::new()),
        Err(error) => Err(refused(error)),
    }
}

async fn exists_on(connection: &Connection, unit: &str) -> Result<bool, UnitError> {
    let refused = |source| cannot_look(unit, source);
    let state = unit_on(connection, unit).await?.load_state().await.map_err(refused)?;
    Ok(state == "loaded")
}

async fn unit_on<'c>(connection: &'c Connection, unit: &str) -> Result<UnitProxy<'c>, UnitError> {
    let refused = |source| cannot_look(unit, source);
    let manager = ManagerProxy::new(connection).await.map_err(refused)?;
    let path = manager.load_unit(unit).await.map_err(refused)?;
    UnitProxy::new(connection, path).await.map_err(refused)
}

fn cannot_look(unit: &str, source: zbus::Error) -> UnitError {
    UnitError::Refused { verb: "look at", unit: unit.to_owned(), source }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Start,
    Stop,
    Restart,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }

    async fn ask(self, manager: &ManagerProxy<'_>, unit: &str) -> zbus::Result<OwnedObjectPath> {
        // A job that contradicts ours is replaced; one that is the same is joined.
        let mode = "replace";
        match self {
            Self::Start => manager.start_unit(unit, mode).await,
            Self::Stop => manager.stop_unit(unit, mode).await,
            Self::Restart => manager.restart_unit(unit, mode).await,
        }
    }
}

async fn job(connection: &Connection, verb: Verb, unit: &str) -> Result<(), UnitError> {
    let refused = |source| UnitError::Refused { verb: verb.name(), unit: unit.to_owned(), source };
    let manager = ManagerProxy::new(connection).await.map_err(refused)?;
    // Listened to before the job exists: a job may end before its name comes back to us.
    let mut removed = manager.receive_job_removed().await.map_err(refused)?;
    manager.subscribe().await.map_err(refused)?;
    let job = match verb.ask(&manager, unit).await {
        Ok(job) => job,
        Err(error) if verb == Verb::Stop && is_no_such_unit(&error) => return Ok(()),
        Err(error) => return Err(refused(error)),
    };
    let result = tokio::time::timeout(JOB_LIMIT, async {
        while let Some(signal) = removed.next().await {
            let ended = signal.args()?;
            if ended.job == *job {
                return Ok(Some(ended.result));
            }
        }
        Ok(None)
    });
    match result.await {
        Ok(Ok(Some(result))) if result == "done" || result == "skipped" => Ok(()),
        Ok(Ok(Some(result))) => {
            Err(UnitError::Job { verb: verb.name(), unit: unit.to_owned(), result })
        }
        Ok(Err(error)) => Err(refused(error)),
        Ok(Ok(None)) | Err(_) => Err(UnitError::Late { verb: verb.name(), unit: unit.to_owned() }),
    }
}

fn is_no_such_unit(error: &zbus::Error) -> bool {
    matches!(
        error,
        zbus::Error::MethodError(name, _, _)
            if name.as_str() == "org.freedesktop.systemd1.NoSuchUnit"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use zbus::object_server::SignalEmitter;

    /// A systemd of one unit, on the other end of a socket.
    #[derive(Default)]
    struct FakeManager {
        states: Mutex<BTreeMap<String, &'static str>>,
        jobs: Mutex<u32>,
        reloads: Mutex<u32>,
    }

    const KNOWN: [&str; 2] = ["shop.service", "broken.service"];

    impl FakeManager {
        async fn job(
            &self,
            emitter: &SignalEmitter<'_>,
            unit: &str,
            state: &'static str,
        ) -> zbus::fdo::Result<OwnedObjectPath> {
            if !KNOWN.contains(&unit) {
                return Err(zbus::fdo::Error::UnknownObject(unit.to_owned()));
            }
            let id = {
                let mut jobs = self.jobs.lock().unwrap();
                *jobs += 2;
                *jobs
            };
            let path = |id: u32| {
                let path = format!("/org/freedesktop/systemd1/job/{id}");
                OwnedObjectPath::try_from(path).unwrap()
            };
            let result = if unit == "broken.service" && state == "active" {
                "failed"
            } else {
                self.states.lock().unwrap().insert(unit.to_owned(), state);
                "done"
            };
            // Somebody else's job ends first, and ours before its path has come back.
            let other = (id - 1, path(id - 1), "other.service", "failed");
            for (id, job, unit, result) in [other, (id, path(id), unit, result)] {
                Self::job_removed(emitter, id, job.as_ref(), unit.into(), result.into()).await?;
            }
            Ok(path(id))
        }
    }

    #[expect(clippy::unused_self, reason = "the interface is systemd's")]
    #[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
    impl FakeManager {
        fn subscribe(&self) {}

        fn reload(&self) {
            *self.reloads.lock().unwrap() += 1;
        }

        async fn start_unit(
            &self,
            #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
            name: &str,
            mode: &str,
        ) -> zbus::fdo::Result<OwnedObjectPath> {
            assert_eq!(mode, "replace");
            self.job(&emitter, name, "active").await
        }

        async fn stop_unit(
            &self,
            #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
            name: &str,
            mode: &str,
        ) -> zbus::fdo::Result<OwnedObjectPath> {
            assert_eq!(mode, "replace");
            self.job(&emitter, name, "inactive").await
        }

        async fn restart_unit(
            &self,
            #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
            name: &str,
            mode: &str,
        ) -> zbus::fdo::Result<OwnedObjectPath> {
            assert_eq!(mode, "replace");
            self.job(&emitter, name, "active").await
        }

        fn get_unit_processes(&self, name: &str) -> Vec<(String, u32, String)> {
            [11, 12].map(|pid| (format!("/system.slice/{name}"), pid, "shop".to_owned())).to_vec()
        }

        fn load_unit(&self, name: &str) -> OwnedObjectPath {
            let active = self.states.lock().unwrap().get(name) == Some(&"active");
            let path = match (KNOWN.contains(&name), active) {
                (false, _) => "/absent",
                (true, true) => "/active",
                (true, false) => "/inactive",
            };
            OwnedObjectPath::try_from(path).unwrap()
        }

        #[zbus(signal)]
        async fn job_removed(
            emitter: &SignalEmitter<'_>,
            id: u32,
            job: ObjectPath<'_>,
            unit: String,
            result: String,
        ) -> zbus::Result<()>;
    }

    struct FakeUnit(&'static str, &'static str);

    #[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
    impl FakeUnit {
        #[zbus(property)]
        fn active_state(&self) -> String {
            self.0.to_owned()
        }

        #[zbus(property)]
        fn load_state(&self) -> String {
            self.1.to_owned()
        }
    }

    struct FakeService(u32);

    #[expect(clippy::unused_self, reason = "the interface is systemd's")]
    #[zbus::interface(name = "org.freedesktop.systemd1.Service")]
    impl FakeService {
        #[zbus(property, name = "NRestarts")]
        fn restarts(&self) -> u32 {
            self.0
        }

        #[zbus(property)]
        fn read_only_paths(&self) -> Vec<String> {
            vec!["/srv/web/".to_owned()]
        }
    }

    async fn connected() -> (Connection, Connection) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let server = zbus::connection::Builder::unix_stream(theirs)
            .server(zbus::Guid::generate())
            .p2p()
            .serve_at("/org/freedesktop/systemd1", FakeManager::default())
            .serve_at("/active", FakeUnit("active", "loaded"))
            .serve_at("/active", FakeService(3))
            .serve_at("/inactive", FakeUnit("inactive", "loaded"))
            .serve_at("/inactive", FakeService(0))
            .serve_at("/absent", FakeUnit("inactive", "not-found"))
            .serve_at("/absent", FakeService(0))
            .build();
        let client = zbus::connection::Builder::unix_stream(ours).p2p().build();
        let (server, client) = tokio::join!(server, client);
        (server.unwrap(), client.unwrap())
    }

    async fn state(bus: &Connection, unit: &str) -> String {
        standing_on(bus, unit).await.unwrap().active_state
    }

    #[tokio::test]
    async fn restarts_and_processes_are_told() {
        let (_server, bus) = connected().await;
        job(&bus, Verb::Start, "shop.service").await.unwrap();
        let standing = standing_on(&bus, "shop.service").await.unwrap();
        assert_eq!(standing, Standing { active_state: "active".to_owned(), restarts: 3 });
        assert_eq!(processes_on(&bus, "shop.service").await.unwrap(), [11, 12]);
    }

    #[tokio::test]
    async fn a_job_is_waited_for_to_its_own_end() {
        let (_server, bus) = connected().await;
        assert!(exists_on(&bus, "shop.service").await.unwrap());
        assert!(!exists_on(&bus, "absent.service").await.unwrap());
        assert_eq!(state(&bus, "absent.service").await, "inactive");
        assert_eq!(state(&bus, "shop.service").await, "inactive");
        job(&bus, Verb::Start, "shop.service").await.unwrap();
        assert_eq!(state(&bus, "shop.service").await, "active");
        job(&bus, Verb::Restart, "shop.service").await.unwrap();
        job(&bus, Verb::Stop, "shop.service").await.unwrap();
        assert_eq!(state(&bus, "shop.service").await, "inactive");
    }

    #[tokio::test]
    async fn systemd_reads_its_files_again_when_it_does_not_know_what_is_read_only() {
        let (server, bus) = connected().await;
        let directory = tempfile::tempdir().unwrap();
        let keep = async |root: Option<&str>| {
            let read_only = root.map(|root| ReadOnly::below(PathBuf::from(root)));
            let kept =
                keep_from_writing_on(&bus, directory.path(), "shop.service", read_only.as_ref());
            let is_new = kept.await.unwrap();
            let manager = server.object_server();
            let manager = manager.interface::<_, FakeManager>("/org/freedesktop/systemd1").await;
            let reloads = *manager.unwrap().get().await.reloads.lock().unwrap();
            (is_new, reloads)
        };
        assert_eq!(keep(None).await, (false, 0), "there is nothing to be taken away");
        assert_eq!(keep(Some("/srv/web")).await, (true, 1));
        assert_eq!(keep(Some("/srv/web")).await, (false, 1), "it is known");
        assert_eq!(keep(Some("/srv/shop")).await, (true, 2));
        assert_eq!(
            keep(Some("/srv/shop")).await,
            (false, 3),
            "it was written, and systemd not told"
        );
        assert_eq!(keep(None).await, (true, 4));
    }

    #[tokio::test]
    async fn a_job_that_fails_says_how() {
        let (_server, bus) = connected().await;
        match job(&bus, Verb::Start, "broken.service").await {
            Err(UnitError::Job { result, .. }) => assert_eq!(result, "failed"),
            other => panic!("{other:?}"),
        }
        let refused = job(&bus, Verb::Start, "absent.service").await;
        assert!(matches!(refused, Err(UnitError::Refused { .. })));
    }
}
