//! The people of a stage, and what they do at the command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Six people and an offline root key: owner, and the roles of the owner's key.
///
/// Alice submits, and is on the board as well: she must not vote on what she has submitted.
pub const PEOPLE: [(&str, &[&str]); 7] = [
    ("root", &["root"]),
    ("alice", &["submitter", "board"]),
    ("lena", &["librarian"]),
    ("sam", &["security"]),
    ("bea", &["board"]),
    ("olga", &["board", "operator"]),
    ("max", &["change-manager"]),
];

/// How to call `cutover` as somebody.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The directory of the product's binaries.
    pub binaries: PathBuf,
    /// Where keys, policy and caches are.
    pub directory: PathBuf,
    /// Where the coordinator is, once it is.
    pub coordinator: Option<String>,
}

/// What a refused command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The stable code.
    pub code: String,
    /// Everything it said.
    pub text: String,
}

impl Desk {
    /// The secret key of somebody.
    pub fn key(&self, who: &str) -> PathBuf {
        self.directory.join(format!("{who}.pem"))
    }

    /// The signed policy that everybody pins.
    pub fn policy(&self) -> PathBuf {
        self.directory.join("policy.json")
    }

    /// `cutover` as `who`, ready for more arguments. No environment of the caller's gets in.
    pub fn command(&self, who: &str) -> Command {
        let mut command = Command::new(self.binaries.join("cutover"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.directory)
            .env("CUTOVER_KEY", self.key(who))
            .env("CUTOVER_POLICY", self.policy())
            .env("CUTOVER_CACHE", self.directory.join(format!("{who}.cache")))
            .current_dir(&self.directory);
        if let Some(coordinator) = &self.coordinator {
            command.env("CUTOVER_COORDINATOR", coordinator);
        }
        command
    }

    /// Runs a command that must succeed, and gives what it printed as JSON.
    pub fn run(&self, who: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let (code, stdout, stderr) = self.output(who, arguments)?;
        if code != 0 {
            bail!("{who}: cutover {}: exit {code}\n{stdout}{stderr}", arguments.join(" "));
        }
        if stdout.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&stdout)
            .with_context(|| format!("cutover {}: not JSON: {stdout}", arguments.join(" ")))
    }

    /// Runs a command that a rule must refuse.
    pub fn refused(&self, who: &str, arguments: &[&str]) -> anyhow::Result<Refused> {
        let (code, stdout, stderr) = self.output(who, arguments)?;
        if code != 3 {
            bail!("{who}: cutover {}: exit {code}, not 3\n{stdout}{stderr}", arguments.join(" "));
        }
        let line = stderr.lines().find_map(|line| line.strip_prefix("refused: "));
        let code =
            line.and_then(|line| line.split(':').next()).context("no refusal was printed")?;
        Ok(Refused { code: code.to_owned(), text: stderr.clone() })
    }

    /// Runs a command that must fail: its exit code, and what it said.
    pub fn fails(&self, who: &str, arguments: &[&str]) -> anyhow::Result<(i32, String)> {
        let (code, _, stderr) = self.output(who, arguments)?;
        if code == 0 {
            bail!("{who}: cutover {}: did not fail\n{stderr}", arguments.join(" "));
        }
        Ok((code, stderr))
    }

    fn output(&self, who: &str, arguments: &[&str]) -> anyhow::Result<(i32, String, String)> {
        let output = self
            .command(who)
            .args(["--yes", "--json"])
            .args(arguments)
            .output()
            .context("run cutover; is it built?")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
    }

    /// Makes everybody's key, the log's, and the policy, signed by the root. Clocks are bounded by the
    /// coordinator's, since test machines rarely have a synchronised one.
    pub fn prepare(&self) -> anyhow::Result<()> {
        for who in PEOPLE.iter().map(|(who, _)| *who).chain(["log"]) {
            self.run(who, &["key", "generate", &path(&self.key(who))])?;
        }
        let toml = path(&self.directory.join("policy.toml"));
        let log_key = path(&public(&self.key("log")));
        let init = [
            "policy",
            "init",
            "--example",
            "--root-threshold",
            "1",
            "--origin",
            "cutover.demo/log",
        ];
        self.run("root", &[&init[..], &["--log-key", &log_key, "--output", &toml]].concat())?;
        for (who, roles) in PEOPLE {
            let (email, key) = (format!("{who}@example.org"), path(&public(&self.key(who))));
            let mut arguments =
                vec!["policy", "add-key", &toml, "--owner", who, "--email", &email, "--key", &key];
            for role in roles {
                arguments.extend(["--role", role]);
            }
            self.run("root", &arguments)?;
        }
        let text = std::fs::read_to_string(&toml)?;
        let bounded = text.replace("\"synchronised\"", "\"coordinator-bounded\"");
        if bounded == text {
            bail!("the example policy does not say how clocks are judged");
        }
        std::fs::write(&toml, bounded)?;
        let (key, output) = (path(&self.key("root")), path(&self.policy()));
        self.run("root", &["policy", "sign", &toml, "--key", &key, "--output", &output])?;
        Ok(())
    }

    /// Puts the next version of the policy in force: `amend` changes its text, the root signs and installs
    /// it.
    pub fn amend_policy(&self, amend: impl FnOnce(&str) -> String) -> anyhow::Result<()> {
        let toml = self.directory.join("policy.toml");
        let text = std::fs::read_to_string(&toml)?;
        let version = text.lines().find_map(|line| line.strip_prefix("version = "));
        let version: u64 = version.context("the policy has a version")?.parse()?;
        let amended = amend(&text);
        if amended == text {
            bail!("the amendment of the policy changes nothing");
        }
        let next = version + 1;
        let amended =
            amended.replacen(&format!("version = {version}"), &format!("version = {next}"), 1);
        std::fs::write(&toml, amended)?;
        let output = path(&self.directory.join(format!("policy-{next}.json")));
        self.run("root", &["policy", "sign", &path(&toml), "--output", &output])?;
        self.run("root", &["policy", "install", &output])?;
        Ok(())
    }

    /// Adds lines to the policy's rule for a kind of change in an environment.
    pub fn amend_rule(&self, environment: &str, change: &str, lines: &str) -> anyhow::Result<()> {
        let head = format!("environment = \"{environment}\"\nchange = \"{change}\"\n");
        self.amend_policy(|text| text.replacen(&head, &format!("{head}{lines}\n"), 1))
    }
}

/// The public half beside a secret key's file.
pub fn public(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

/// A path as an argument.
pub fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
