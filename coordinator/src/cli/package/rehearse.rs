//! `cutover package rehearse`: a package is applied and taken back in a clean sandbox, and whoever did that
//! signs what came of it.
//!
//! The sandbox is bubblewrap's: namespaces of its own for everything, no network, `/usr` to read and nothing
//! else of this machine, no privilege. In it the applier's own program does what it does on a host. The key
//! stays outside.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::Args;
use cutover_shared::case::Case;
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{Rehearsal, Rehearsed, RehearsedStep, Statement};
use cutover_shared::time::span;
use serde::{Deserialize, Serialize};

use super::verified;
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::names;
use crate::cli::output::table;
use crate::package::file::PackageFile;

/// The sandbox's program.
const SANDBOX: &str = "bwrap";

/// What of `/etc` a program may need that is no secret; whatever of it is there.
const ETC: [&str; 7] = [
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/ssl/certs",
    "/etc/mime.types",
];

/// Where the system's programs and libraries are, beside `/usr`.
const SYSTEM: [&str; 5] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64"];

/// `cutover package rehearse`.
#[derive(Debug, Clone, Args)]
pub struct RehearseArgs {
    /// The package file
    pub path: PathBuf,
    /// The applier.toml of a host like those that it goes to: how it is started, its variables
    #[arg(long, value_name = "FILE")]
    pub host_config: PathBuf,
    /// The package that runs there now, to which it is taken back
    #[arg(long, value_name = "FILE")]
    pub earlier: Option<PathBuf>,
    /// How the application is started, where systemd does it on the hosts: there is none in the sandbox
    #[arg(long, num_args = 1.., allow_hyphen_values = true, value_name = "PROGRAM")]
    pub start: Vec<String>,
    /// Something else that is to be seen in the sandbox, to be read; several times for several
    #[arg(long = "also", value_name = "PATH")]
    pub also: Vec<PathBuf>,
    /// Where the transcript is written [default: the package's name with .rehearsal.log]
    #[arg(long, value_name = "FILE")]
    pub transcript: Option<PathBuf>,
}

/// What the applier's program prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Report {
    result: Rehearsed,
    steps: Vec<RehearsedStep>,
}

/// What is told of a rehearsal.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Told<'r> {
    package: Digest,
    result: &'r Rehearsed,
    steps: &'r [RehearsedStep],
    sandbox: &'r str,
    transcript: &'r Path,
    transcript_digest: Digest,
}

/// Carries the command out. With `--dry-run` it rehearses all the same, and signs nothing: so a submitter
/// can try, and nobody need have submitted anything.
pub async fn run(context: &Context, args: &RehearseArgs) -> Result<(), Failure> {
    let (package, _) = verified(&args.path).context("rehearse the package")?;
    let digest = package.index().digest();
    let earlier = args.earlier.as_deref().map(verified).transpose();
    let earlier = earlier.context("read the package that ran before")?.map(|(package, _)| package);
    let mut submitted = None;
    if !context.dry_run {
        let mut client = context.connect().await?;
        let synced = client.sync().await?;
        let release = release_to_sign(context, &synced.state, digest)?;
        submitted = Some((client, synced, release));
    }
    let path = transcript_path(args);
    context.sink().note(format!("Rehearsing; the transcript is in {}", path.display()));
    let done = {
        let (args, path) = (args.clone(), path.clone());
        let earlier_digest = earlier.as_ref().map(|it| it.index().digest());
        let rehearsed =
            tokio::task::spawn_blocking(move || rehearse(&args, &package, earlier.as_ref(), &path));
        (rehearsed.await.context("rehearse the package")??, earlier_digest)
    };
    let ((report, sandbox), earlier) = done;
    let transcript = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let transcript = Digest::of(&transcript);
    let told = Told {
        package: digest,
        result: &report.result,
        steps: &report.steps,
        sandbox: &sandbox,
        transcript: &path,
        transcript_digest: transcript,
    };
    match submitted {
        None => context.sink().result(&told, text)?,
        Some((mut client, synced, release)) => {
            context.sink().note(text(&told));
            let rehearsal = Rehearsal {
                release,
                package: digest,
                earlier,
                result: report.result.clone(),
                steps: report.steps.clone(),
                sandbox: sandbox.clone(),
                transcript,
            };
            let name = synced.state.case(&release).map(names::number).unwrap_or_default();
            let more = [
                ("release", name.into()),
                ("result", serde_json::to_value(told.result).context("write the result")?),
            ];
            let statement = Statement::new(context.now(), rehearsal);
            client.sign_and_append(context, &statement, &more).await?;
        }
    }
    if report.result.is_passed() { Ok(()) } else { Err(Failure::Faults) }
}

/// The release that is rehearsed, of which the signer must not be the author.
fn release_to_sign(context: &Context, state: &State, package: Digest) -> Result<Digest, Failure> {
    let standing = |case: &&Case| case.superseded_by.is_none() && case.cancelled.is_none();
    let case = state.cases_of_package(&package).rev().find(standing);
    let case = case.ok_or_else(|| {
        Failure::not_found(format!(
            "no release of package {}: submit it first, or try it with --dry-run, which signs nothing",
            package.short()
        ))
    })?;
    let me = context.secret_key()?.public().id();
    let keys = state.policy().into_iter().flat_map(|policy| &policy.document().keys);
    let owner = keys.into_iter().find(|entry| entry.key.id() == me).map(|entry| &entry.owner);
    if let Some(owner) = owner.filter(|owner| case.release.owners().contains(owner)) {
        let facts =
            format!("{owner} submitted {}; somebody else rehearses it", names::number(case));
        return Err(Refusal::new(Code::DutiesNotSeparate, facts).into());
    }
    Ok(case.release.id())
}

fn transcript_path(args: &RehearseArgs) -> PathBuf {
    args.transcript.clone().unwrap_or_else(|| args.path.with_extension("rehearsal.log"))
}

fn rehearse(
    args: &RehearseArgs,
    package: &PackageFile,
    earlier: Option<&PackageFile>,
    transcript: &Path,
) -> Result<(Report, String), Failure> {
    let directory = tempfile::Builder::new().prefix("cutover-rehearsal-").tempdir();
    let directory = directory.context("make a directory to rehearse in")?;
    let stage = directory.path().join("stage");
    lay_out(&stage.join("release"), package).context("lay the package out")?;
    if let Some(earlier) = earlier {
        lay_out(&stage.join("earlier"), earlier).context("lay out the package that ran before")?;
    }
    fs::copy(&args.host_config, stage.join("applier.toml"))
        .with_context(|| format!("copy {}", args.host_config.display()))?;
    let account = "rehearsal:x:1000:1000::/rehearsal:/bin/sh\n";
    let write = |name: &str, text: &str| {
        fs::write(directory.path().join(name), text).with_context(|| format!("write {name}"))
    };
    write("passwd", account)?;
    write("group", "rehearsal:x:1000:\n")?;
    write("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")?;
    write("hosts", "127.0.0.1 localhost\n")?;
    let log = File::create(transcript);
    let log = log.with_context(|| format!("write {}", transcript.display()))?;
    let version = sandbox_version()?;
    let output = Command::new(SANDBOX)
        .args(walls(args, directory.path())?)
        .args(["--", "/cutover/cutover-applier", "rehearse", "/rehearsal"])
        .args(args.start.iter().take(1).map(|_| "--start"))
        .args(&args.start)
        .stdin(Stdio::null())
        .stderr(log)
        .output();
    let output = output.with_context(|| format!("run {SANDBOX}"))?;
    if !output.status.success() {
        let text = fs::read_to_string(transcript).unwrap_or_default();
        let lines: Vec<_> = text.trim_end().lines().rev().take(5).collect();
        let end: Vec<_> = lines.into_iter().rev().collect();
        let (code, end) = (output.status, end.join("\n  "));
        return Err(Failure::failed(format!("rehearse the package ({code}):\n  {end}")));
    }
    let report = serde_json::from_slice(&output.stdout).context("read what the rehearsal says")?;
    let also: Vec<_> = args.also.iter().map(|path| path.display().to_string()).collect();
    let also = if also.is_empty() { String::new() } else { format!(", and {}", also.join(", ")) };
    Ok((report, format!("{version}: no network, /usr to be read{also}, no privilege")))
}

/// Writes the parts of a package where the applier's program looks for them.
fn lay_out(directory: &Path, package: &PackageFile) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("index"), package.index_bytes())?;
    fs::write(directory.join("map"), package.map().to_bytes())?;
    let mut pack = File::create(directory.join("pack"))?;
    io::copy(&mut package.pack(), &mut pack)?;
    Ok(())
}

fn sandbox_version() -> Result<String, Failure> {
    let output = Command::new(SANDBOX).arg("--version").output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::failed(format!(
                "find {SANDBOX}: install bubblewrap, which makes the sandbox (Debian: apt install bubblewrap)"
            )));
        }
        other => other.with_context(|| format!("run {SANDBOX} --version"))?,
    };
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The arguments that make the sandbox.
fn walls(args: &RehearseArgs, directory: &Path) -> Result<Vec<OsString>, Failure> {
    let mut walls: Vec<OsString> = [
        "--unshare-all",
        "--unshare-user",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--cap-drop",
        "ALL",
        "--uid",
        "1000",
        "--gid",
        "1000",
        "--hostname",
        "rehearsal",
        "--ro-bind",
        "/usr",
        "/usr",
    ]
    .map(OsString::from)
    .to_vec();
    let mut bind = |how: &str, from: &Path, to: &Path| {
        walls.extend([OsString::from(how), from.into(), to.into()]);
    };
    for path in SYSTEM.map(Path::new) {
        match fs::read_link(path) {
            Ok(target) => bind("--symlink", &target, path),
            Err(_) if path.is_dir() => bind("--ro-bind", path, path),
            Err(_) => {}
        }
    }
    for path in ETC.map(Path::new) {
        bind("--ro-bind-try", path, path);
    }
    for name in ["passwd", "group", "nsswitch.conf", "hosts"] {
        bind("--ro-bind", &directory.join(name), &Path::new("/etc").join(name));
    }
    for path in &args.also {
        let path = fs::canonicalize(path).with_context(|| format!("find {}", path.display()))?;
        bind("--ro-bind", &path, &path);
    }
    for name in ["cutover-applier", "cutover-probe"] {
        bind("--ro-bind", &program(name)?, &Path::new("/cutover").join(name));
    }
    bind("--bind", &directory.join("stage"), Path::new("/rehearsal"));
    let rest = [
        ["--proc", "/proc"],
        ["--dev", "/dev"],
        ["--tmpfs", "/tmp"],
        ["--tmpfs", "/var/tmp"],
        ["--tmpfs", "/run"],
        ["--chdir", "/rehearsal"],
    ];
    walls.extend(rest.as_flattened().iter().map(OsString::from));
    walls.extend(["--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin"].map(OsString::from));
    Ok(walls)
}

/// One of the agent's programs: beside this one, or where programs are looked for.
fn program(name: &str) -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().map(|me| me.with_file_name(name)).ok();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let elsewhere = std::env::split_paths(&path).map(|directory| directory.join(name));
    let found = beside.into_iter().chain(elsewhere).find(|path| path.is_file());
    found.ok_or_else(|| {
        let text = format!("find {name}: a rehearsal needs the agent's programs beside this one");
        Failure::failed(text)
    })
}

fn text(told: &Told<'_>) -> String {
    let mut steps = table(["step", "took"]);
    for step in told.steps {
        steps.add_row([step.step.clone(), span::format(step.took)]);
    }
    let result = match told.result {
        Rehearsed::Passed { applied_in, returned_in } => format!(
            "The rehearsal passed: applied in {}, taken back in {}.",
            span::format(*applied_in),
            span::format(*returned_in)
        ),
        Rehearsed::Failed { step, reason } => {
            format!("The rehearsal FAILED at {step}: {reason}")
        }
    };
    format!("{steps}\n{result}\nTranscript: {}", told.transcript.display())
}
