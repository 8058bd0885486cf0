//! The people of the process, each with a key, at a desk on the hosts' network.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use anyhow::Context as _;
use cutover_tests::build;
use cutover_tests::lab::Lab;
use tempfile::TempDir;

/// Who there is, and as what.
const PEOPLE: [(&str, &str); 5] = [
    ("ruth", "root"),
    ("sam", "submitter"),
    ("lena", "librarian"),
    ("mona", "change-manager"),
    ("otto", "operator"),
];

/// What the scaffold of a package leaves to its author, and what this author writes; the rest of its
/// marks is answered by the words of the mark itself.
const FILLED: [(&str, &str); 9] = [
    (
        "FILL IN: what is new, what is fixed",
        "The server of a laboratory says another version to whoever asks it. Nothing else is new or is fixed",
    ),
    ("FILL IN: who notices what", "whoever asks while it restarts gets no answer"),
    ("\"FILL IN: a number; how long it is down when all goes well\"", "1"),
    ("\"FILL IN: a number; how long it takes\"", "1"),
    ("FILL IN: when it should start", "2026-11-20T22:00"),
    ("FILL IN: the latest start that would still do", "2026-11-30T22:00"),
    ("FILL IN: an IANA name, as America/New_York, or UTC", "UTC"),
    ("FILL IN: as http://{listen}/health", "http://{listen}/"),
    ("FILL IN: ", ""),
];

/// How soon and how long a release is looked at: a test has less time than people.
const HEALTH: [(&str, &str); 3] = [
    ("start-grace = \"10s\"", "start-grace = \"5s\""),
    ("interval = \"2s\"", "interval = \"200ms\""),
    ("consecutive-successes = 3", "consecutive-successes = 2"),
];

/// A file of a payload: its name, content and mode.
pub type File<'a> = (&'a str, &'a str, u32);

/// A directory with everybody's files.
pub struct Desk<'a> {
    lab: &'a Lab,
    coordinator: String,
    directory: TempDir,
}

impl<'a> Desk<'a> {
    /// Makes keys and a policy that trusts them, for a coordinator at `coordinator`.
    pub fn new(lab: &'a Lab, coordinator: String) -> anyhow::Result<Self> {
        let desk = Self { lab, coordinator, directory: tempfile::tempdir()? };
        desk.cutover(None, &["key", "generate", "log.pem"])?;
        desk.cutover(
            None,
            &[
                "policy",
                "init",
                "--example",
                "--origin",
                "lab.example.org/log",
                "--log-key",
                "log.pem.pub",
                "--root-threshold",
                "1",
                "--output",
                "policy.toml",
            ],
        )?;
        // The clock of a laboratory's kernel is nobody's business to synchronise.
        desk.edit(
            "policy.toml",
            &[("clock = \"synchronised\"", "clock = \"coordinator-bounded\"")],
        )?;
        for (owner, role) in PEOPLE {
            let public = format!("{owner}.pem.pub");
            let mail = format!("{owner}@example.org");
            desk.cutover(None, &["key", "generate", &format!("{owner}.pem")])?;
            desk.cutover(
                None,
                &[
                    "policy",
                    "add-key",
                    "policy.toml",
                    "--owner",
                    owner,
                    "--email",
                    &mail,
                    "--role",
                    role,
                    "--key",
                    &public,
                ],
            )?;
        }
        desk.cutover(Some("ruth"), &["policy", "sign", "policy.toml", "--output", "policy.json"])?;
        Ok(desk)
    }

    /// Runs `cutover` as somebody and gives back what it printed.
    pub fn cutover(&self, who: Option<&str>, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.lab.outside(build::binaries().join("cutover"));
        command
            .args(arguments)
            .arg("--yes")
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path())
            .env_remove("XDG_CONFIG_HOME")
            .env("CUTOVER_COORDINATOR", &self.coordinator)
            .env("CUTOVER_POLICY", "policy.json")
            .env("CUTOVER_CACHE", "cache")
            .stdin(Stdio::null());
        if let Some(who) = who {
            command.env("CUTOVER_KEY", format!("{who}.pem"));
        }
        let output = command.output().context("run cutover")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(
            output.status.success(),
            "cutover {}: {}\n{said}{complained}",
            arguments.join(" "),
            output.status
        );
        Ok(said)
    }

    /// Content of a file of the desk.
    pub fn read(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        fs::read(self.directory.path().join(name)).with_context(|| format!("read {name}"))
    }

    /// A join string for one host.
    pub fn grant(&self) -> anyhow::Result<String> {
        let said = self.cutover(
            Some("otto"),
            &["host", "grant", "--environment", "staging", "--application", "web"],
        )?;
        let mut words = said.split_whitespace();
        let join = words.find(|word| word.starts_with("cutover-join:"));
        Ok(join.context("find the join string")?.to_owned())
    }

    /// Writes, submits, reviews, delivers and books a release of `web` with this payload, `release` in the
    /// log, and releases the window: the hosts begin. `bake` is how long each watches it.
    pub fn roll_out(
        &self,
        release: &str,
        version: &str,
        payload: &[File],
        bake: &str,
    ) -> anyhow::Result<()> {
        let directory = format!("web-{version}");
        self.cutover(None, &["package", "new", &directory, "--application", "web"])?;
        for file in ["NOTES.md", "INSTRUCTIONS.md", "forms/cot-f052.toml"] {
            self.edit(&format!("{directory}/{file}"), &FILLED)?;
        }
        let manifest = format!("{directory}/release.toml");
        let named = ("FILL IN: your name for this release, as 1.4.2", version);
        let baked = ("bake = \"2m\"", format!("bake = \"{bake}\""));
        self.edit(&manifest, &[named, (baked.0, &baked.1)])?;
        self.edit(&manifest, &HEALTH)?;
        self.edit(&manifest, &FILLED)?;
        for (name, content, mode) in payload {
            let path = self.directory.path().join(&directory).join("payload").join(name);
            fs::write(&path, content).with_context(|| format!("write {name}"))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
        }
        let package = format!("web-{version}.cutover");
        self.cutover(None, &["package", "build", &directory, "--output", &package])?;
        let staging = ["--environment", "staging"];
        self.cutover(Some("sam"), &[&["submit", &package], &staging[..]].concat())?;
        self.cutover(Some("lena"), &["review", release, "--complete"])?;
        self.cutover(Some("lena"), &["deliver", release, "--location", "staging area"])?;
        let window = ["--start", "now", "--for", "30m"];
        self.cutover(Some("mona"), &[&["book", release], &staging[..], &window].concat())?;
        self.cutover(Some("mona"), &[&["window", "release", release], &staging[..]].concat())?;
        Ok(())
    }

    fn edit(&self, name: &str, replacements: &[(&str, &str)]) -> anyhow::Result<()> {
        let path = self.directory.path().join(name);
        let mut text = fs::read_to_string(&path).with_context(|| format!("read {name}"))?;
        for (old, new) in replacements {
            text = text.replace(old, new);
        }
        fs::write(&path, text).with_context(|| format!("write {name}"))
    }
}
