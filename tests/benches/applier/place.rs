//! Two releases in their slots, and the application that serves out of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use cutover_applier::clock::Clock;
use cutover_applier::config::{Application, Run, SlotAccess};
use cutover_applier::process::Account;
use cutover_applier::read_only;
use cutover_applier::slot::{Owner, Slots};
use cutover_applier::work::Site;
use cutover_applier_core::Hooks;
use cutover_machine::{HealthPolicy, Slot};
use cutover_shared::digest::Digest;
use cutover_shared::package::chunk::ChunkRef;
use cutover_shared::package::entry::{Entry, FileEntry, Kind, Mode};
use cutover_shared::package::index::Index;
use cutover_shared::package::path::EntryPath;
use cutover_tests::build::binaries;
use cutover_tests::harness::PATIENCE;
use cutover_tests::harness::host::page;
use rustix::process::{Pid, Signal, kill_process};

/// Files of a directory of the payload.
const IN_DIRECTORY: usize = 1_000;

/// A host's application with two releases, 1 and 2, on the disk.
pub(crate) struct Place {
    pub(crate) site: Site,
    pub(crate) slots: [Slot; 2],
    listen: String,
    directory: tempfile::TempDir,
}

impl Place {
    /// Releases of so many files each, beside the program.
    pub(crate) fn new(files: usize) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("cutover-bench-").tempdir()?;
        let root = directory.path().join("web");
        let account = Account::current()?;
        let owner = Owner { uid: account.uid, gid: account.gid };
        let made = Slots::open(&root, owner)?;
        let slots = [release(&made, 1, files)?, release(&made, 2, files)?];
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let config = application(&root, &account.name, &listen)?;
        let site = Site {
            read_only: read_only::of(&config, &account, &account),
            config: Arc::new(config),
            slots: made,
            account: account.clone(),
            probe_account: account,
            probe: binaries().join("cutover-probe"),
            clock: Clock::start(),
            gate: Arc::default(),
            guard: Arc::default(),
            manifests: Arc::default(),
        };
        Ok(Self { site, slots, listen, directory })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Lets the link name the one release or the other.
    pub(crate) fn switch(&self, turn: usize) -> anyhow::Result<()> {
        Ok(self.site.slots.switch(Some(&self.slots[turn % 2]))?)
    }

    /// Waits until the page of a release is there, as busily as it can be waited for.
    pub(crate) fn serves(&self, version: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        while page(&self.listen).as_deref() != Some(version) {
            ensure!(began.elapsed() < PATIENCE, "release {version} does not serve");
            std::thread::yield_now();
        }
        Ok(())
    }

    /// How long the application takes by itself, started until its page is there, and stopped: by hand, with
    /// nothing of ours.
    pub(crate) fn by_hand(&self) -> anyhow::Result<Duration> {
        let payload = self.site.slots.path(&self.slots[0]).join("payload");
        let began = Instant::now();
        let mut child = Command::new(payload.join("bin/serve"))
            .current_dir(&payload)
            .envs(&self.site.config.environment())
            .stdin(Stdio::null())
            .spawn()?;
        let served = self.serves("1").map(|()| began.elapsed());
        let began = Instant::now();
        end(&mut child)?;
        Ok(served? + began.elapsed())
    }
}

fn end(child: &mut Child) -> anyhow::Result<()> {
    kill_process(Pid::from_child(child), Signal::TERM)?;
    child.wait()?;
    Ok(())
}

fn application(root: &Path, user: &str, listen: &str) -> anyhow::Result<Application> {
    let variables = [("listen", listen), ("node", "bench")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(Application {
        name: "web".parse()?,
        root: root.to_owned(),
        owner: user.to_owned(),
        user: user.to_owned(),
        hooks: Hooks::Refused,
        slots: SlotAccess::ReadOnly,
        run: Run::Command {
            start: vec!["bin/serve".to_owned()],
            stop_timeout: Duration::from_secs(5),
            environment: BTreeMap::new(),
        },
        probes: BTreeSet::new(),
        variables: variables.into(),
        retain: 1,
    })
}

/// Puts a release into its slot: the service, its version, and many small files of the same content.
fn release(slots: &Slots, generation: u64, files: usize) -> anyhow::Result<Slot> {
    let program = fs::read(binaries().join("cutover-demo-service")).context("the service")?;
    let mut contents = BTreeMap::new();
    let mut file = |mode, content: &[u8]| {
        let pieces = content.chunks(100_000).filter_map(|it| Some((ChunkRef::of(it)?, it)));
        let pieces: Vec<_> = pieces.collect();
        contents.extend(pieces.iter().map(|(chunk, piece)| (*chunk, piece.to_vec())));
        Kind::File(FileEntry {
            mode,
            size: content.len() as u64,
            digest: Digest::of(content),
            chunks: pieces.into_iter().map(|(chunk, _)| chunk).collect(),
        })
    };
    let version = format!("{generation}\n");
    let mut entries = vec![
        ("payload/bin/serve".to_owned(), file(Mode::EXECUTABLE, &program)),
        ("payload/site/version.txt".to_owned(), file(Mode::PLAIN, version.as_bytes())),
    ];
    let small = file(Mode::PLAIN, format!("what is in a file of release {generation}").as_bytes());
    for number in 0..files {
        let path = format!("payload/many/{:03}/{number:06}", number / IN_DIRECTORY);
        entries.push((path, small.clone()));
    }
    let directories = ["payload", "payload/bin", "payload/site", "payload/many"].map(str::to_owned);
    let many = (0..files.div_ceil(IN_DIRECTORY)).map(|it| format!("payload/many/{it:03}"));
    let directory = || Kind::Directory { mode: Mode::DIRECTORY };
    entries.extend(directories.into_iter().chain(many).map(|path| (path, directory())));
    let entry = |(path, kind): (String, Kind)| Ok(Entry { path: EntryPath::new(&path)?, kind });
    let entries = entries.into_iter().map(entry).collect::<anyhow::Result<Vec<_>>>()?;
    let index = Index::new(entries)?;
    let slot = slot(generation, &index);
    let mut assembly = slots.assemble(&slot, &index)?;
    for chunk in assembly.missing() {
        assembly.put(&chunk, &contents[&chunk])?;
    }
    assembly.finish()?;
    Ok(slot)
}

/// As soon as one round of checks is lost it goes back.
fn slot(generation: u64, index: &Index) -> Slot {
    let long = Duration::from_mins(1);
    Slot {
        generation,
        package: index.digest(),
        release: Digest::of(format!("release {generation}").as_bytes()),
        health: HealthPolicy {
            start_grace: Duration::ZERO,
            interval: Duration::ZERO,
            timeout: long,
            successes: 1,
            deadline: long,
            bake: long,
            bake_tolerance: 0,
        },
    }
}

/// The peer of a switch.
pub(crate) struct Bare {
    directory: tempfile::TempDir,
}

impl Bare {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("cutover-bench-").tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        Ok(Self { directory })
    }

    /// A new file over the one before, and the directory synced.
    pub(crate) fn rename(&self) -> anyhow::Result<()> {
        let at = |name: &str| -> PathBuf { self.directory.path().join(name) };
        File::create(at("new"))?;
        fs::rename(at("new"), at("current"))?;
        Ok(File::open(self.directory.path())?.sync_all()?)
    }
}
