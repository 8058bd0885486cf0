//! README.md is right: its tutorial does what it says, command by command, and its tables say what the
//! product says.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cutover_shared::refusal::Code;
use cutover_tests::build;
use rustix::process::{Pid, Signal, kill_process_group};

/// The tutorial promises fewer commands than this.
const COMMANDS: usize = 15;

/// What stands before a block of the tutorial.
const MARK: &str = "<!-- tutorial -->";

/// Where the tutorial's hosts answer.
const ADDRESSES: [(&str, &str); 2] = [("web-1", "127.0.0.11"), ("web-2", "127.0.0.12")];

/// The reader's own directory, deployed to two agents by the very blocks of the tutorial, in one shell, in
/// the checkout. What the test adds stands between the last block but one and the last, which ends it all.
#[test]
fn the_tutorial_deploys_the_readers_own_directory() -> anyhow::Result<()> {
    let blocks = tutorial()?;
    let (end, steps) = blocks.split_last().context("the tutorial has blocks")?;
    let directory = tempfile::tempdir()?;
    let site = directory.path().join("my site");
    write_site(&site)?;
    let answers = directory.path().join("answers");
    let script = format!(
        "{}\n{}\n{end}\n",
        steps.join("\n"),
        look(&answers, &directory.path().join("work"))
    );

    let mut shell = Shell::start(&script, &site, directory.path())?;
    let status = shell.child.wait()?;
    ensure!(status.success(), "the tutorial ended with {status}:\n{}", shell.said());

    let work = fs::read_to_string(directory.path().join("work"))?;
    let expected = tree(&site)?;
    for (host, address) in ADDRESSES {
        let deployed = Path::new(work.trim_end()).join(host).join("site/current/payload");
        assert_eq!(tree(&deployed)?, expected, "what {host} has is what the reader had");
        let answer = fs::read_to_string(answers.join(address))?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer over HTTP")?;
        assert!(head.contains(" 200 "), "{host} answered {head}");
        assert_eq!(body, GREETING, "what {host} serves is what the reader wrote");
        let left =
            cutover_applier::find::running(&Path::new(work.trim_end()).join(host).join("site"));
        assert!(left.is_empty(), "the last block ends the application on {host}");
    }
    assert!(shell.is_alone(), "the last block ends everything that the tutorial started");
    Ok(())
}

/// As many commands as the reader has to give, as the shell counts them: a loop is one.
#[test]
fn the_tutorial_is_short() -> anyhow::Result<()> {
    let commands = commands(&tutorial()?.join("\n"))?;
    assert!(
        commands.len() < COMMANDS,
        "{} commands:\n{}",
        commands.len(),
        commands.join("\n---\n")
    );
    assert!(commands.len() > 5, "they are told apart:\n{}", commands.join("\n---\n"));
    Ok(())
}

/// The table of refusals has every code, each with the remedy that the product tells.
#[test]
fn every_refusal_is_documented_with_its_remedy() -> anyhow::Result<()> {
    let readme = readme()?;
    let rows = table(&readme, "<!-- refusals -->")?;
    let documented: BTreeMap<_, _> =
        rows.iter().map(|row| (row[0].trim_matches('`'), row[1].as_str())).collect();
    let expected: BTreeMap<_, _> =
        Code::ALL.iter().map(|code| (code.name(), code.remedy())).collect();
    assert_eq!(documented, expected);
    Ok(())
}

/// What the workspace's map names is there, and every package of the workspace is on it.
#[test]
fn the_map_is_of_this_workspace() -> anyhow::Result<()> {
    let manifest: toml::Table =
        fs::read_to_string(build::workspace().join("Cargo.toml"))?.parse()?;
    let members = manifest["workspace"]["members"].as_array().context("the workspace's members")?;
    let readme = readme()?;
    let rows = table(&readme, "<!-- packages -->")?;
    let mapped: Vec<_> =
        rows.iter().map(|row| row[1].trim_matches('`').trim_end_matches('/')).collect();
    let members: Vec<_> = members.iter().filter_map(toml::Value::as_str).collect();
    assert_eq!(mapped, members);
    Ok(())
}

/// What is in the reader's file.
const GREETING: &str = "Hello from a directory that nobody else has.\n";

/// Nested, with a program, an empty file, a link and a name with a space.
fn write_site(site: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(site.join("deep/deeper"))?;
    fs::write(site.join("hello.txt"), GREETING)?;
    fs::write(site.join("deep/deeper/empty"), "")?;
    fs::write(site.join("deep/two words.css"), "body { color: navy }\n".repeat(9_000))?;
    fs::write(site.join("deep/program"), "#!/bin/sh\necho hello\n")?;
    fs::set_permissions(site.join("deep/program"), fs::Permissions::from_mode(0o755))?;
    symlink("deep/program", site.join("shortcut"))?;
    Ok(())
}

/// Every path below `root` with what is there: content and whether it can be run, or where a link goes.
fn tree(root: &Path) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            let kind = fs::symlink_metadata(&path)?;
            let content = if kind.is_dir() {
                open.push(path.clone());
                "a directory".to_owned()
            } else if kind.is_symlink() {
                format!("a link to {}", fs::read_link(&path)?.display())
            } else {
                let runs = kind.permissions().mode() & 0o100 != 0;
                format!("runs: {runs}\n{}", fs::read_to_string(&path)?)
            };
            found.insert(path.strip_prefix(root)?.to_owned(), content);
        }
    }
    Ok(found)
}

/// Commands of the test's own: notes where the tutorial works, and reads the reader's file as a browser
/// does.
fn look(answers: &Path, work: &Path) -> String {
    let ask = |(_, address): &(&str, &str)| {
        format!(
            "exec 3<>/dev/tcp/{address}/8080\nprintf 'GET /hello.txt HTTP/1.0\\r\\n\\r\\n' >&3\n\
             cat <&3 > '{}'\nexec 3>&-\n",
            answers.join(address).display()
        )
    };
    let asked: String = ADDRESSES.iter().map(ask).collect();
    format!("pwd > '{}'\nmkdir '{}'\n{asked}", work.display(), answers.display())
}

/// The shell that runs the tutorial, and everything that it starts.
struct Shell {
    child: Child,
    directory: PathBuf,
}

impl Shell {
    /// Runs `script` in the checkout, as a reader does who has `site`.
    ///
    /// The tutorial's addresses are fixed, as they have to be in a text. Where this process may, it gives
    /// the shell a network of its own, in which nobody else can have them.
    fn start(script: &str, site: &Path, directory: &Path) -> anyhow::Result<Self> {
        // Built by now, so that the tutorial's first command finds nothing to do.
        build::binaries();
        let file = directory.join("tutorial.sh");
        fs::write(&file, script)?;
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("unshare");
            let own = "ip link set lo up && exec \"$@\"";
            command.args(["--net", "sh", "-euc", own, "sh", "bash"]);
            command
        } else {
            Command::new("bash")
        };
        for name in build::variables_of_this_package() {
            command.env_remove(name);
        }
        let output = fs::File::create(directory.join("output"))?;
        let child = command
            .args(["-euo", "pipefail"])
            .arg(&file)
            .current_dir(build::workspace())
            .env("CARGO_TARGET_DIR", build::target_directory()?)
            .env("SITE", site)
            .env("TMPDIR", directory)
            .env("HOME", directory)
            // Where cargo and its compiler are is found by way of the home directory.
            .envs(toolchain())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .context("run the tutorial")?;
        Ok(Self { child, directory: directory.to_owned() })
    }

    /// Everything that it printed, and the logs beside it.
    fn said(&self) -> String {
        let mut text = fs::read_to_string(self.directory.join("output")).unwrap_or_default();
        for work in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            for log in
                ["coordinator.log", "web-1/applier.log", "web-2/applier.log", "web-1/agent.log"]
            {
                if let Ok(log) = fs::read_to_string(work.path().join(log)) {
                    text.push_str(&log);
                }
            }
        }
        text
    }

    /// Whether nothing runs any more of what it started in its group.
    fn is_alone(&self) -> bool {
        self.group().is_none_or(|group| rustix::process::test_kill_process_group(group).is_err())
    }

    fn group(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()).ok()?)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // All of this finds nothing when the tutorial has come to its end.
        if let Some(group) = self.group() {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
        for work in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            for (host, _) in ADDRESSES {
                for running in cutover_applier::find::running(&work.path().join(host).join("site"))
                {
                    let _ = cutover_applier::process::stop(&running, Duration::from_secs(5));
                }
            }
        }
    }
}

/// Where cargo's and rustup's own files are.
fn toolchain() -> Vec<(&'static str, PathBuf)> {
    let home = std::env::home_dir().unwrap_or_default();
    [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")]
        .map(|(name, below)| {
            (name, std::env::var_os(name).map_or_else(|| home.join(below), PathBuf::from))
        })
        .to_vec()
}

fn readme() -> anyhow::Result<String> {
    fs::read_to_string(build::workspace().join("README.md")).context("read README.md")
}

/// The blocks of the tutorial, in order.
fn tutorial() -> anyhow::Result<Vec<String>> {
    let readme = readme()?;
    let mut blocks = Vec::new();
    for after in readme.split(&format!("\n{MARK}\n")).skip(1) {
        let block = after.strip_prefix("```sh\n").context("a block stands right after its mark")?;
        let (block, _) = block.split_once("\n```\n").context("a block has an end")?;
        blocks.push(block.to_owned());
    }
    Ok(blocks)
}

/// The complete commands of a script, as the shell's own grammar has them.
fn commands(script: &str) -> anyhow::Result<Vec<String>> {
    let mut commands = Vec::new();
    let mut command = String::new();
    for line in script.lines() {
        command.push_str(line);
        if !command.ends_with('\\') && is_complete(&command)? {
            commands.push(std::mem::take(&mut command));
        } else {
            command.push('\n');
        }
    }
    if !command.trim().is_empty() {
        bail!("this command has no end:\n{command}");
    }
    commands.retain(|command| !command.trim().is_empty() && !command.starts_with('#'));
    Ok(commands)
}

/// Whether the shell would wait for no further line. It warns of a here-document without an end.
fn is_complete(command: &str) -> anyhow::Result<bool> {
    let read = Command::new("bash").args(["-n", "-c", command]).output().context("run bash")?;
    Ok(read.status.success() && read.stderr.is_empty())
}

/// The rows of the table after a mark, without its head, by cell.
fn table(readme: &str, mark: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let (_, after) = readme.split_once(&format!("\n{mark}\n")).with_context(|| mark.to_owned())?;
    let lines = after.lines().take_while(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| {
        let inner = line.trim_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    Ok(lines.map(cells).collect())
}
