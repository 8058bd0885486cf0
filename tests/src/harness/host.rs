//! A host: its two real processes, its directories, and the application on it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::people::{Desk, path};
use super::process::Process;

/// How the demonstration service runs on a host.
pub const SERVES: &str = "run = { start = [\"bin/serve\"], stop-timeout = \"5s\" }";

/// That a host is the gateway to where the application runs.
pub const GATEWAY: &str = "driver = \"runbook\"";

/// A host of a stage.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub directory: PathBuf,
    /// Where its application listens.
    pub listen: String,
    binaries: PathBuf,
    applier: Option<Process>,
    agent: Option<Process>,
}

impl Host {
    /// Configures a host, joins it, and starts both halves of the agent.
    pub fn start(desk: &Desk, name: &str, environment: &str, join: &str) -> anyhow::Result<Self> {
        Self::start_as(desk, name, environment, join, SERVES)
    }

    /// The same; `runs` is what its configuration says of how the application runs.
    pub fn start_as(
        desk: &Desk,
        name: &str,
        environment: &str,
        join: &str,
        runs: &str,
    ) -> anyhow::Result<Self> {
        let directory = desk.directory.join(name);
        for part in ["inhibit", "state", "spool"] {
            std::fs::create_dir_all(directory.join(part))?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let listen = format!("127.0.0.1:{port}");
        let mut host = Self {
            name: name.to_owned(),
            directory,
            listen,
            binaries: desk.binaries.clone(),
            applier: None,
            agent: None,
        };
        host.configure(environment, runs)?;
        let status = host.command("cutover-applier").args(["join", join]).output()?;
        anyhow::ensure!(
            status.status.success(),
            "{name} does not join: {}",
            String::from_utf8_lossy(&status.stderr)
        );
        host.start_applier()?;
        host.start_agent()?;
        Ok(host)
    }

    fn configure(&self, environment: &str, runs: &str) -> anyhow::Result<()> {
        let user = user()?;
        let at = |part: &str| path(&self.directory.join(part));
        let applier = format!(
            "host = {:?}\nenvironment = {environment:?}\nstate-directory = {:?}\nsocket = {:?}\n\
             agent-user = {user:?}\nprobe-user = {user:?}\ninhibit-directory = {:?}\nprobe = {:?}\n\
             [log]\nfilter = \"info\"\n\
             [applications.web]\nroot = {:?}\nowner = {user:?}\nuser = {user:?}\nhooks = \"allowed\"\n\
             {runs}\n\
             variables = {{ listen = {:?}, node = {:?} }}\n",
            self.name,
            at("state"),
            at("applier.sock"),
            at("inhibit"),
            path(&self.binaries.join("cutover-probe")),
            at("web"),
            self.listen,
            self.name,
        );
        std::fs::write(self.directory.join("applier.toml"), applier)?;
        let agent = format!(
            "socket = {:?}\ntransport-key = {:?}\nspool = {:?}\n",
            at("applier.sock"),
            at("transport.pem"),
            at("spool"),
        );
        std::fs::write(self.directory.join("agent.toml"), agent)?;
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        let config = match program {
            "cutover-agent" => "agent.toml",
            _ => "applier.toml",
        };
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .arg("--config")
            .arg(self.directory.join(config));
        command
    }

    /// Starts the applier.
    pub fn start_applier(&mut self) -> anyhow::Result<()> {
        self.start_applier_with(&[])
    }

    /// Starts the applier with these variables in its environment.
    pub fn start_applier_with(&mut self, variables: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut command = self.command("cutover-applier");
        command.arg("run").envs(variables.iter().copied());
        self.applier =
            Some(Process::start("applier", command, &self.directory.join("applier.log"))?);
        Ok(())
    }

    /// Starts the network half.
    pub fn start_agent(&mut self) -> anyhow::Result<()> {
        self.start_agent_with(&[])
    }

    /// Starts the network half with these variables in its environment.
    pub fn start_agent_with(&mut self, variables: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut command = self.command("cutover-agent");
        command.arg("run").envs(variables.iter().copied());
        self.agent = Some(Process::start("agent", command, &self.directory.join("agent.log"))?);
        Ok(())
    }

    /// Takes the applier's process, to end it as a test likes.
    pub fn take_applier(&mut self) -> anyhow::Result<Process> {
        self.applier.take().context("the applier runs")
    }

    /// Takes the network half's process.
    pub fn take_agent(&mut self) -> anyhow::Result<Process> {
        self.agent.take().context("the network half runs")
    }

    /// What the application's front page shows now; none when it does not answer.
    pub fn page(&self) -> Option<String> {
        page(&self.listen)
    }

    /// Stops going forward on this host, with a reason.
    pub fn inhibit(&self, reason: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.directory.join("inhibit/test"), reason)?)
    }

    /// Lets it go forward again.
    pub fn uninhibit(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.directory.join("inhibit/test"))?)
    }

    /// The process of the application.
    pub fn serving(&self) -> anyhow::Result<u32> {
        let running = cutover_applier::find::running(&self.directory.join("web"));
        Ok(running.first().context("the application runs")?.pid)
    }

    /// The directory that `current` names; none when it names nothing.
    pub fn current(&self) -> Option<PathBuf> {
        std::fs::canonicalize(self.directory.join("web/current")).ok()
    }

    /// What `cutover-applier inspect --json` says.
    pub fn inspect(&self) -> anyhow::Result<Value> {
        let output = self.operate(&["inspect", "--json"])?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("read what inspect prints")
    }

    /// Starts `cutover-applier` with these arguments, beside the test.
    pub fn operator(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        let mut command = self.command("cutover-applier");
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("run cutover-applier")
    }

    /// Runs `cutover-applier` with these arguments, as an operator at the host does.
    pub fn operate(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        self.command("cutover-applier").args(arguments).output().context("run cutover-applier")
    }

    /// Ends both halves and the application at once, as a power cut would.
    pub fn cut_off(&mut self) {
        self.agent = None;
        self.applier = None;
        // The application survives its applier, as it should.
        for running in cutover_applier::find::running(&self.directory.join("web")) {
            let _ = cutover_applier::process::stop(&running, Duration::ZERO);
        }
    }

    /// The ends of both logs.
    pub fn tail(&self) -> String {
        let tail = |process: &Option<Process>| process.as_ref().map(Process::tail);
        format!(
            "{}\n{}",
            tail(&self.applier).unwrap_or_default(),
            tail(&self.agent).unwrap_or_default()
        )
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A stage leaves nothing behind.
        self.cut_off();
    }
}

/// What the front page at `listen` shows now; none when it does not answer.
pub fn page(listen: &str) -> Option<String> {
    let wait = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&listen.parse().ok()?, wait).ok()?;
    stream.set_read_timeout(Some(wait)).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.trim().to_owned())
}

/// The name of the user that runs this.
fn user() -> anyhow::Result<String> {
    let output = Command::new("id").arg("-un").output().context("run id")?;
    Ok(String::from_utf8(output.stdout).context("read a user name")?.trim().to_owned())
}
