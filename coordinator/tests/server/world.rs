//! A server with six people and a few hosts, and clients that speak to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cutover_coordinator::config::{LogFormat, Settings};
use cutover_coordinator::package::build::{self, Built};
use cutover_coordinator::package::file::PackageFile;
use cutover_coordinator::server::{Conduct, Rules, ServeError, serve_with_clock};
use cutover_shared::digest::Digest;
use cutover_shared::key::SecretKey;
use cutover_shared::log::checkpoint::{self, Checkpoint};
use cutover_shared::name::Name;
use cutover_shared::package::form::Catalogue;
use cutover_shared::policy::{
    Clock, KeyEntry, KeyStatus, LogKey, PolicyDocument, Role, Rule, Scope,
};
use cutover_shared::protocol::{Receipt, Request, Response};
use cutover_shared::refusal::Refusal;
use cutover_shared::statement::{
    Booking, ChangeType, Enrolment, HostChange, OnHalt, PlannedHost, Release, Review, RolloutPlan,
    Says, Statement, Verdict, Wave, WindowRelease,
};
use cutover_shared::time::Time;
use cutover_shared::window::Window;
use cutover_transport::{
    Connection, Endpoint, FrameReader, FrameWriter, client_endpoint, connect, open_stream, request,
};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const ORIGIN: &str = "cutover.test/log";
const MANIFEST: &str = include_str!("../../../shared/src/package/manifest/example.toml");
const PROSE: &str = "# Notes\n\nThe tax table of Ohio was wrong since March; this release brings the \
    corrected one and recomputes the orders that are still open.\n";

/// Long enough that only something that never happens takes it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn names(texts: &[&str]) -> BTreeSet<Name> {
    texts.iter().map(|text| name(text)).collect()
}

pub(crate) fn at(seconds: u64) -> Time {
    "2026-03-02T12:00:00Z".parse::<Time>().unwrap() + Duration::from_secs(seconds)
}

/// A key made from a name, so that every run has the same ones.
pub(crate) fn key(owner: &str) -> SecretKey {
    SecretKey::from_seed(*Digest::of(owner.as_bytes()).as_bytes())
}

const PEOPLE: [(&str, &[Role]); 6] = [
    ("root", &[Role::Root]),
    ("sue", &[Role::Submitter]),
    ("lib", &[Role::Librarian]),
    ("sec", &[Role::Security]),
    ("max", &[Role::ChangeManager]),
    ("ops", &[Role::Operator]),
];

pub(crate) fn document(version: u64) -> PolicyDocument {
    let keys = PEOPLE.iter().map(|(owner, roles)| KeyEntry {
        owner: name(owner),
        email: format!("{owner}@example.org"),
        key: key(owner).public(),
        roles: roles.iter().copied().collect(),
        applications: Scope::All,
        environments: Scope::All,
        status: KeyStatus::Active,
    });
    let log = LogKey { origin: ORIGIN.to_owned(), key: key("log").public() };
    let mut document = PolicyDocument::bare(log, at(365 * 86400));
    document.version = version;
    document.freshness.clock = Clock::CoordinatorBounded;
    document.keys = keys.collect();
    document.rules = vec![Rule { reviews: 1, ..Rule::lax(name("production"), ChangeType::Normal) }];
    document
}

pub(crate) fn policy_envelope(document: PolicyDocument) -> Vec<u8> {
    Statement::new(at(0), Says::TrustPolicy(Box::new(document)))
        .signed_by([&key("root")])
        .to_bytes()
}

/// A clock that stands where it is put, until it is let run.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<Mutex<(Time, Option<Instant>)>>);

impl TestClock {
    pub(crate) fn set(&self, time: Time) {
        *self.0.lock().unwrap() = (time, None);
    }

    pub(crate) fn run_from(&self, time: Time) {
        *self.0.lock().unwrap() = (time, Some(Instant::now()));
    }

    pub(crate) fn now(&self) -> Time {
        let (time, running) = *self.0.lock().unwrap();
        time + running.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

pub(crate) struct Server {
    pub(crate) directory: TempDir,
    pub(crate) clock: TestClock,
    endpoint: Endpoint,
    conduct: Arc<dyn Conduct>,
    address: String,
    running: Option<Running>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(Arc::new(Rules)).await
    }

    pub(crate) async fn start_with(conduct: Arc<dyn Conduct>) -> Self {
        let mut server = Self::prepare(conduct);
        server.run().await;
        server
    }

    /// Everything in its place, and nothing running.
    pub(crate) fn prepare(conduct: Arc<dyn Conduct>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("log.pem"), key("log").to_pem().as_bytes()).unwrap();
        fs::write(directory.path().join("policy.json"), policy_envelope(document(1))).unwrap();
        Self {
            directory,
            clock: TestClock(Arc::new(Mutex::new((at(0), None)))),
            endpoint: client_endpoint().unwrap(),
            conduct,
            address: String::new(),
            running: None,
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        let place = |name: &str| self.directory.path().join(name);
        Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_directory: place("data"),
            key: place("log.pem"),
            policy: place("policy.json"),
            forms_directory: Some(place("forms")).filter(|it| it.is_dir()),
            advertise: None,
            port_file: Some(place("port")),
            log_format: LogFormat::Text,
            log_filter: "info".parse().expect("a filter"),
            outbox: None,
        }
    }

    /// What serving comes to, when it comes to nothing.
    pub(crate) async fn fails(&self) -> ServeError {
        let clock = self.clock.clone();
        let serving = serve_with_clock(
            self.settings(),
            Arc::clone(&self.conduct),
            Arc::new(move || clock.now()),
            std::future::pending(),
        );
        within(serving).await.unwrap_err()
    }

    pub(crate) async fn run(&mut self) {
        let _ = fs::remove_file(self.directory.path().join("port"));
        let (stop, stopped) = oneshot::channel::<()>();
        let clock = self.clock.clone();
        let serving = serve_with_clock(
            self.settings(),
            Arc::clone(&self.conduct),
            Arc::new(move || clock.now()),
            async {
                let _ = stopped.await;
            },
        );
        let task = tokio::spawn(serving);
        self.find(|| task.is_finished()).await;
        self.running = Some(Running { stop, task });
    }

    /// Waits until whoever serves here has said at which port; `ended` says that nobody does.
    pub(crate) async fn find(&mut self, mut ended: impl FnMut() -> bool) {
        let port_file = self.settings().port_file.unwrap();
        // The one thing that the server does not tell by a message: that it listens.
        let port = within(async {
            loop {
                if let Ok(port) = fs::read_to_string(&port_file) {
                    break port;
                }
                assert!(!ended(), "the server did not start");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        self.address = format!("127.0.0.1:{}", port.await.trim());
    }

    pub(crate) fn begin_to_stop(&mut self) -> JoinHandle<Result<(), ServeError>> {
        let Running { stop, task } = self.running.take().unwrap();
        stop.send(()).unwrap();
        task
    }

    pub(crate) async fn stop(&mut self) {
        let task = self.begin_to_stop();
        within(task).await.unwrap().unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.run().await;
    }

    /// A client with the key of that name.
    pub(crate) async fn client(&self, owner: &str) -> Client {
        let connection =
            connect(&self.endpoint, &self.address, &key("log").public(), &key(owner)).await;
        Client { connection: connection.unwrap() }
    }

    /// Somebody says something, and it is logged.
    pub(crate) async fn say(&self, owner: &str, says: impl Into<Says>) -> Digest {
        self.try_say(owner, says).await.unwrap()
    }

    pub(crate) async fn try_say(
        &self,
        owner: &str,
        says: impl Into<Says>,
    ) -> Result<Digest, Refusal> {
        let statement = Statement::new(self.clock.now(), says);
        self.try_state(owner, &statement).await
    }

    pub(crate) async fn try_state(
        &self,
        owner: &str,
        statement: &Statement,
    ) -> Result<Digest, Refusal> {
        let envelope = statement.signed_by([&key(owner)]);
        let carrier = if PEOPLE.iter().any(|(person, _)| *person == owner) { owner } else { "ops" };
        let client = self.client(carrier).await;
        client.append(envelope.to_bytes()).await?;
        Ok(envelope.id())
    }

    /// A package of that version, built and stored.
    pub(crate) async fn stored(&self, version: &str) -> Built {
        self.stored_of(version, 3_000_000).await
    }

    pub(crate) async fn stored_of(&self, version: &str, payload: usize) -> Built {
        let built = package_of(self.directory.path(), version, payload);
        let client = self.client("sue").await;
        assert_eq!(client.put(&built.path, |_| {}).await, Response::Stored);
        built
    }

    /// A release that is stored, submitted and reviewed.
    pub(crate) async fn reviewed(&self, version: &str) -> (Digest, Digest) {
        let built = self.stored(version).await;
        self.reviewed_as(&built).await
    }

    pub(crate) async fn reviewed_as(&self, built: &Built) -> (Digest, Digest) {
        let package = built.index.digest();
        let release = self.say("sue", release(built)).await;
        let environments = names(&["production"]);
        let review = Review { release, environments, verdict: Verdict::Complete };
        self.say("lib", review).await;
        (release, package)
    }

    /// Booked on these waves between these seconds, and released.
    pub(crate) async fn booked(
        &self,
        (release, package): (Digest, Digest),
        waves: &[&[&str]],
        (start, end): (u64, u64),
    ) -> Digest {
        let window = Window { start: at(start), end: at(end) };
        let booking = self.say("max", booking((release, package), waves, window)).await;
        let checkpoint = self.client("max").await.checkpoint().await.head;
        self.say("max", WindowRelease { booking, release, package, checkpoint }).await;
        booking
    }

    pub(crate) async fn enrol(&self, hosts: &[&str]) {
        for host in hosts {
            self.say("ops", HostChange::Enrolled(Box::new(enrolment(host)))).await;
        }
    }
}

pub(crate) struct Client {
    pub(crate) connection: Connection,
}

impl Client {
    pub(crate) async fn ask(&self, question: &Request) -> Response {
        within(request(&self.connection, question)).await.unwrap()
    }

    pub(crate) async fn append(&self, envelope: Vec<u8>) -> Result<Receipt, Refusal> {
        match self.ask(&Request::Append { envelope }).await {
            Response::Appended(receipt) => Ok(receipt),
            Response::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn checkpoint(&self) -> Checkpoint {
        match self.ask(&Request::Checkpoint).await {
            Response::Checkpoint(note) => verified(&note),
            other => panic!("{other:?}"),
        }
    }

    /// Opens a stream and leaves the answers to be read.
    pub(crate) async fn open(&self, question: &Request) -> (FrameWriter, FrameReader) {
        let (mut writer, reader) = open_stream(&self.connection).await.unwrap();
        writer.send(question).await.unwrap();
        (writer, reader)
    }

    /// Sends a package, whose bytes `bend` may change.
    pub(crate) async fn put(&self, path: &Path, bend: impl FnOnce(&mut [Vec<u8>; 3])) -> Response {
        use std::io::Read as _;
        let file = PackageFile::open(path).unwrap();
        let mut pack = Vec::new();
        file.pack().read_to_end(&mut pack).unwrap();
        let mut parts = [file.index_bytes().to_vec(), file.map().to_bytes(), pack];
        bend(&mut parts);
        let question = Request::PutPackage {
            package: file.index().digest(),
            index_length: parts[0].len() as u64,
            map_length: parts[1].len() as u64,
            pack_length: parts[2].len() as u64,
        };
        let (mut writer, mut reader) = self.open(&question).await;
        for part in parts {
            // Whoever refuses does not read to the end.
            if writer.write_raw(part.into()).await.is_err() {
                break;
            }
        }
        let _ = writer.finish();
        within(reader.recv::<Response>()).await.unwrap().unwrap()
    }
}

/// What must happen, or the test fails.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it must happen")
}

pub(crate) fn verified(note: &[u8]) -> Checkpoint {
    checkpoint::verify(note, ORIGIN, &key("log").public()).unwrap()
}

pub(crate) fn transport(host: &str) -> String {
    format!("{host}-transport")
}

pub(crate) fn enrolment(host: &str) -> Enrolment {
    Enrolment {
        host: name(host),
        environment: name("production"),
        labels: BTreeMap::new(),
        applications: names(&["shop"]),
        host_key: key(host).public(),
        transport_key: key(&transport(host)).public(),
        replaces: None,
        grant: None,
    }
}

pub(crate) fn release(built: &Built) -> Release {
    Release {
        application: built.manifest.application.clone(),
        version: built.manifest.version.clone(),
        package: built.index.digest(),
        change: ChangeType::Normal,
        environments: names(&["production"]),
        summary: "a change".to_owned(),
        apply_budget: built.manifest.apply_budget,
        rollback_reserve: built.manifest.rollback_reserve,
        irreversible: false,
        requested_start: None,
        forms: built.forms.clone(),
        iteration: None,
        standard: None,
        supersedes: None,
    }
}

pub(crate) fn booking(
    (release, package): (Digest, Digest),
    waves: &[&[&str]],
    window: Window,
) -> Booking {
    let planned = |host: &&str| PlannedHost { host: name(host), host_key: key(host).public().id() };
    let waves = waves.iter().enumerate().map(|(number, hosts)| Wave {
        name: name(&format!("wave-{number}")),
        hosts: hosts.iter().map(planned).collect(),
    });
    Booking {
        release,
        package,
        application: name("shop"),
        environment: name("production"),
        window,
        derivation: None,
        plan: RolloutPlan {
            waves: waves.collect(),
            at_once: 1,
            healthy_for: Duration::ZERO,
            halt_after: 1,
            on_halt: OnHalt::Pause,
        },
    }
}

/// Bytes that do not compress, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// A complete package of that version, in a file below `place`.
pub(crate) fn package(place: &Path, version: &str) -> Built {
    package_of(place, version, 3_000_000)
}

/// One with a payload of so many bytes.
pub(crate) fn package_of(place: &Path, version: &str, payload: usize) -> Built {
    let root: PathBuf = place.join(format!("release-{version}"));
    let script = b"#!/bin/sh\nexit 0\n".to_vec();
    let manifest = MANIFEST.replace("1.4.2", version).into_bytes();
    let form = include_str!("../../../shared/src/package/form/examples/cot-f052.toml");
    let files = [
        ("release.toml", 0o644, manifest),
        ("NOTES.md", 0o644, PROSE.into()),
        ("INSTRUCTIONS.md", 0o644, PROSE.into()),
        ("forms/cot-f052.toml", 0o644, form.into()),
        ("hooks/stop.sh", 0o755, script.clone()),
        ("hooks/migrate.sh", 0o755, script.clone()),
        ("hooks/back.sh", 0o755, script.clone()),
        ("hooks/ping.sh", 0o755, script),
        ("hooks/lib/common.sh", 0o644, b"set -eu\n".to_vec()),
        ("payload/bin/shop", 0o755, noise(payload)),
    ];
    for (path, mode, content) in files {
        let file = root.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }
    build::build(&root, None, &Catalogue::shipped(), &mut ()).unwrap()
}
