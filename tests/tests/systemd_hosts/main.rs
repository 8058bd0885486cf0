//! Real systemd hosts: the laboratory itself, and the installation that README.md describes.

mod shipped;

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;

use anyhow::Context as _;
use cutover_tests::build;
use cutover_tests::harness::people::Desk;
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::text;
use cutover_tests::lab::{Host, Lab, Mark};

/// Says hello to whoever connects.
const GREETER_SOCKET: &str =
    "[Socket]\nListenStream=7000\nAccept=yes\n[Install]\nWantedBy=sockets.target\n";
const GREETER: &str = "[Service]\nExecStart=/bin/echo hello\nStandardOutput=socket\n";

/// A service that says when it is ready, and is started again when it dies.
const PATIENT: &str = "[Service]\nType=notify\nNotifyAccess=all\nRestart=always\n\
    ExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep infinity'\n\
    [Install]\nWantedBy=multi-user.target\n";

/// A host powers off, crashes, and boots again with its files and services; its neighbour and the desk
/// reach it.
#[test]
fn a_host_comes_back_with_its_files() -> anyhow::Result<()> {
    let Some(mut lab) = Lab::open("a_host_comes_back_with_its_files")? else { return Ok(()) };
    let mut hosts = lab.boot(&["one", "two"], &[])?;
    let units = "/etc/systemd/system";
    hosts[0].write(&format!("{units}/patient.service"), PATIENT, 0o644)?;
    hosts[0].write(&format!("{units}/greeter.socket"), GREETER_SOCKET, 0o644)?;
    hosts[0].write(&format!("{units}/greeter@.service"), GREETER, 0o644)?;
    hosts[0].run("systemctl enable --now patient.service greeter.socket; sync")?;

    let mark = hosts[0].mark()?;
    hosts[0].run("kill -KILL $(systemctl show --property=MainPID --value patient.service)")?;
    hosts[0].await_journal(&mark, "patient.service", "Started patient.service")?;

    for crash in [true, false] {
        if crash {
            hosts[0].crash()?;
        } else {
            hosts[0].stop()?;
        }
        assert!(hosts[0].run("true").is_err(), "a host that is off runs nothing");
        hosts[0].boot()?;
        assert_eq!(hosts[0].run("systemctl is-active patient.service")?, "active\n");
    }

    let greet = "exec 3<>/dev/tcp/one/7000 && cat <&3";
    assert_eq!(hosts[1].run(&format!("bash -c '{greet}'"))?, "hello\n");
    let _inside = lab.enter()?;
    let mut said = String::new();
    TcpStream::connect((hosts[0].address(), 7000))?.read_to_string(&mut said)?;
    assert_eq!(said, "hello\n");
    Ok(())
}

/// What each unit's sandbox may at most be rated at by `systemd-analyze security`, times ten. The same
/// numbers stand in the units and in README.md.
const EXPOSURE: [(&str, u32); 3] = [
    ("cutover-coordinator.service", 15),
    ("cutover-agent.service", 15),
    ("cutover-applier.service", 30),
];

/// Where the checkout is on the hosts.
const CHECKOUT: &str = "/root/cutover";

/// The unit of the demonstration's service, which the host's administrator wrote.
const UNIT: &str = "[Unit]\nDescription=Web\n[Service]\nDynamicUser=yes\n\
    WorkingDirectory=/srv/cutover/web/current/payload\n\
    ExecStart=/srv/cutover/web/current/payload/bin/serve\n\
    Environment=LISTEN=127.0.0.1:8080 NODE=%H\n";

/// The same on the canary: it runs as root, whose the slots are, and tries to write its own before it starts.
const UNIT_OF_ROOT: &str = "[Unit]\nDescription=Web\n[Service]\n\
    WorkingDirectory=/srv/cutover/web/current/payload\n\
    ExecStartPre=/bin/sh -c 'echo >scribble && echo it can write its slot; echo start >>data/starts'\n\
    ExecStart=/srv/cutover/web/current/payload/bin/serve\n\
    Environment=LISTEN=127.0.0.1:8080 NODE=%H\n";

/// The releases share what the canary's service writes.
const SHARES: [(&str, &str); 1] =
    [("targets = [\"hosts\"]", "targets = [\"hosts\"]\nshared = [\"data\"]")];

/// What the administrator makes of the shipped applier.toml.
const EDITOR: &str = "#!/bin/sh\nsed --in-place --expression=\"s/^host = .*/host = \\\"$(hostname)\\\"/\" \\
    --expression='s/^#hooks = .*/hooks = \"allowed\"/' \"$1\"\n";

/// What systemd says of the service, and what it takes.
const CHECKS: &str = r#"
[preflight]
ports = ["{listen}"]

[[health]]
name = "service"
kind = "unit"
timeout = "2s"

[[health]]
name = "footprint"
kind = "resource"
memory-mib-at-most = 64
disk-free-mib-at-least = 1
timeout = "2s"
"#;

/// A hook that is still at work when its applier is killed, and ends by itself should that fail.
const HOOK: &str = "#!/bin/sh\nexec sleep 5\n";
const HOOKS: &str = "[hooks]\npost-start = { command = \"hooks/wait.sh\", timeout = \"6s\" }\n";

/// Takes the host's network down, and leaves a program running that has forked twice, leads a session of
/// its own, does not hear SIGTERM, and has forgotten its environment. Its undo mends the network.
const CUT: &str = "#!/bin/sh\nip link set eth0 down || exit 1\n\
    (setsid env -i sh -c \"trap '' TERM; exec sleep 31415926\" >/dev/null 2>&1 &)\n";
const MEND: &str = "#!/bin/sh\nip link set eth0 up\n";
const CUTS: &str = "[hooks.activate]\ncommand = \"hooks/cut\"\ntimeout = \"5s\"\n\
    undo = { command = \"hooks/mend\", timeout = \"5s\" }\n";

/// Asks the service for its version, as a program on its host does.
const ASK: &str = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; printf \"GET / HTTP/1.1\\r\\n\\r\\n\" >&3; tail -n 1 <&3'";

/// The way that README.md describes: services are installed by its very commands, a release is deployed
/// to hosts by restarting their unit, and neither an applier that is killed while it deploys nor a host
/// that crashes leaves anything else running than what was committed.
#[test]
fn services_are_installed_as_the_readme_says_and_deploy() -> anyhow::Result<()> {
    let name = "services_are_installed_as_the_readme_says_and_deploy";
    let Some(mut lab) = Lab::open(name)? else { return Ok(()) };
    let systemd = build::workspace().join("systemd");
    let shown = [
        (systemd.as_path(), &*Path::new(CHECKOUT).join("systemd")),
        (build::binaries(), &*Path::new(CHECKOUT).join("target/release")),
    ];
    let mut hosts = lab.boot(&["coordinator", "web-1", "web-2"], &shown)?;
    // A panic while the hosts are up shows their journals.
    install_and_deploy(&lab, &mut hosts).expect("the services do what README.md says");
    Ok(())
}

fn install_and_deploy(lab: &Lab, hosts: &mut [Host]) -> anyhow::Result<()> {
    let [coordinator, agents @ ..] = hosts else { anyhow::bail!("three were booted") };
    let directory = tempfile::tempdir()?;
    let _inside = lab.enter()?;
    let desk = Desk {
        binaries: build::binaries().to_owned(),
        directory: directory.path().to_owned(),
        coordinator: Some(format!("{}:7400", coordinator.address())),
    };
    desk.prepare()?;
    for (file, mode) in [(desk.key("log"), 0o600), (desk.policy(), 0o644)] {
        let name = file.file_name().context("a file has a name")?.to_string_lossy();
        coordinator.write(&format!("{CHECKOUT}/{name}"), fs::read(&file)?, mode)?;
    }
    install(coordinator, "install-coordinator", "")?;
    sandboxes_are_tight(coordinator, &EXPOSURE[..1])?;
    for (number, host) in agents.iter().enumerate() {
        install_agent(host, &desk, if number == 0 { UNIT_OF_ROOT } else { UNIT })?;
        sandboxes_are_tight(host, &EXPOSURE[1..])?;
    }
    secrets_are_kept(coordinator, &agents[0])?;
    a_release_is_deployed(&desk, agents)?;
    a_killed_applier_goes_back(&desk, agents)?;
    a_release_that_breaks_the_network_is_taken_back(&desk, &agents[0])?;
    a_crashed_host_runs_what_was_committed(&mut agents[1])
}

fn a_release_is_deployed(desk: &Desk, agents: &[Host]) -> anyhow::Result<()> {
    let marks: Vec<_> = agents.iter().map(Host::mark).collect::<Result<_, _>>()?;
    roll_out(desk, "1.0", &Made { manifest: CHECKS, ..shared() })?;
    for (host, mark) in agents.iter().zip(&marks) {
        ended(host, mark, "Committed")?;
        assert_eq!(host.run(ASK)?, "1.0\n", "{}", host.name());
    }
    slots_are_read_only(&agents[0], 1)
}

/// The canary's service could not write its slot, as often as it was started, and what is shared it could.
fn slots_are_read_only(canary: &Host, starts: usize) -> anyhow::Result<()> {
    let journal = canary.run("journalctl --unit=web.service --output=cat")?;
    let refused = journal.matches("scribble: Read-only file system").count();
    assert_eq!(refused, starts, "{journal}");
    assert!(!journal.contains("it can write its slot"), "{journal}");
    let written = canary.run("cat /srv/cutover/web/shared/data/starts")?;
    assert_eq!(written, "start\n".repeat(starts));
    // It sees the releases that are made while it runs.
    let releases = "/srv/cutover/web/releases";
    let seen = canary.run(&format!(
        "ls /proc/$(systemctl show --property=MainPID --value web.service)/root{releases}"
    ))?;
    assert_eq!(seen, canary.run(&format!("ls {releases}"))?);
    Ok(())
}

/// The applier of the canary is killed while the new release runs already and a hook is at work: started
/// again by systemd, it goes back, and the rollout goes no further.
fn a_killed_applier_goes_back(desk: &Desk, agents: &[Host]) -> anyhow::Result<()> {
    let [canary, rest] = agents else { anyhow::bail!("two have an agent") };
    let mark = canary.mark()?;
    let hooks = [("wait.sh", HOOK)];
    roll_out(desk, "1.1", &Made { manifest: HOOKS, hooks: &hooks, ..shared() })?;
    canary.await_journal(&mark, "web.service", "Started web.service")?;
    assert_eq!(canary.run(ASK)?, "1.1\n");
    let mark = canary.mark()?;
    canary.run("kill -KILL $(systemctl show --property=MainPID --value cutover-applier)")?;
    ended(canary, &mark, "Returned")?;
    for host in agents {
        assert_eq!(host.run(ASK)?, "1.0\n", "{}", host.name());
    }
    let journal = rest.run("journalctl --unit=web.service --output=cat")?;
    let starts = journal.lines().filter(|line| line.starts_with("Started")).count();
    assert_eq!(starts, 1, "the host after the canary never saw what failed there:\n{journal}");
    // Of 1.0, of 1.1, and of 1.0 again.
    slots_are_read_only(canary, 3)?;
    sandboxes_are_tight(canary, &EXPOSURE[1..])
}

/// A hook runs in a unit of its own, outside of the applier's sandbox, and takes the network down; the
/// release is no good. The host goes back all the same, and nothing of the hook is left.
fn a_release_that_breaks_the_network_is_taken_back(
    desk: &Desk,
    canary: &Host,
) -> anyhow::Result<()> {
    let mark = canary.mark()?;
    let hooks = [("cut", CUT), ("mend", MEND)];
    let made = Made { manifest: CUTS, hooks: &hooks, unhealthy_on: &[canary.name()], ..shared() };
    roll_out(desk, "1.2", &made)?;
    canary.await_journal(&mark, "cutover-applier", "the hook ended well")?;
    ended(canary, &mark, "Returned")?;
    let said = canary.run("journalctl --output=cat --unit='cutover-hook-web-*'")?;
    assert!(said.contains("/hooks/cut"), "{said}");
    assert_eq!(canary.run(ASK)?, "1.0\n");
    let left = canary
        .run("for it in /proc/[0-9]*; do tr '\\0' ' ' <$it/cmdline; echo; done 2>/dev/null")?;
    assert!(!left.contains("sleep 31415926"), "left running:\n{left}");
    Ok(())
}

/// A package that shares its data with the others.
fn shared<'a>() -> Made<'a> {
    Made { instead: &SHARES, ..Made::default() }
}

/// From a directory to a window that is open for every host of staging.
fn roll_out(desk: &Desk, version: &str, made: &Made<'_>) -> anyhow::Result<()> {
    let package = release::build(desk, version, made)?;
    let package = package.to_string_lossy();
    let staging = ["--environment", "staging"];
    let submitted = desk.run("alice", &[&["submit", &package], &staging[..]].concat())?;
    let release = text(&submitted, "release")?;
    desk.run("lena", &["review", &release, "--complete"])?;
    desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;
    let window = ["--start", "now", "--for", "30m"];
    desk.run("max", &[&["book", &release], &staging[..], &window].concat())?;
    desk.run("max", &["window", "release", &release])?;
    Ok(())
}

/// Nobody enabled the application's unit: that it runs after a boot is the applier's doing.
fn a_crashed_host_runs_what_was_committed(host: &mut Host) -> anyhow::Result<()> {
    let mark = host.mark()?;
    host.crash()?;
    host.boot()?;
    host.await_journal(&mark, "web.service", "Started web.service")?;
    assert_eq!(host.run(ASK)?, "1.0\n");
    let read_only = host.run("systemctl show --property=ReadOnlyPaths --value web.service")?;
    assert_eq!(read_only, "/srv/cutover/web\n", "it was before the crash");
    sandboxes_are_tight(host, &EXPOSURE[1..])
}

/// Waits until an order for the application has ended on the host, and holds it to how.
fn ended(host: &Host, mark: &Mark, how: &str) -> anyhow::Result<()> {
    let line = host.await_journal(mark, "cutover-applier", "ended application=web")?;
    assert!(line.contains(&format!("detail=\"{how}")), "{line}");
    Ok(())
}

/// What is secret is out of reach of the services' own users, and the socket of everybody else.
fn secrets_are_kept(coordinator: &Host, agent: &Host) -> anyhow::Result<()> {
    // What all may read shows that a refusal is not the attempt's own failure.
    let shut = "runuser -u $user -- test -r /etc/passwd; ! runuser -u $user -- test -r $path";
    coordinator.run(&format!("user=cutover-coordinator path=/etc/cutover/log.pem; {shut}"))?;
    for file in ["ledger", "host-key.pem", "inbox"] {
        let path = format!("/var/lib/cutover-applier/{file}");
        agent.run(&format!("user=cutover-agent path={path}; {shut}"))?;
    }
    for place in ["/srv/cutover", "/srv/cutover/web", "/srv/cutover/web/releases"] {
        let written = format!("runuser -u cutover-agent -- test -w {place}");
        agent.run(&format!("test -d {place} && ! {written}"))?;
    }
    agent.run(&format!("user=nobody path=/var/lib/cutover-agent/transport.pem; {shut}"))?;
    let socket = agent.run("stat --format='%a %U %G' /run/cutover/applier.sock")?;
    assert_eq!(socket, "660 root cutover-agent\n");
    Ok(())
}

/// Runs a block of README.md in the host's checkout, after `before`.
fn install(host: &Host, block: &str, before: &str) -> anyhow::Result<()> {
    let commands = readme_block(block)?;
    host.run(&format!("cd {CHECKOUT}\n{before}\n{commands}"))
        .with_context(|| format!("follow README.md's {block}"))?;
    Ok(())
}

fn install_agent(host: &Host, desk: &Desk, unit: &str) -> anyhow::Result<()> {
    let staging = ["--environment", "staging", "--application", "web"];
    let granted = desk.run("olga", &[&["host", "grant"], &staging[..]].concat())?;
    let join = text(&granted, "join")?;
    host.write("/etc/systemd/system/web.service", unit, 0o644)?;
    host.write("/root/editor", EDITOR, 0o755)?;
    let mark = host.mark()?;
    install(host, "install-agent", &format!("export EDITOR=/root/editor JOIN={join}"))?;
    host.await_journal(&mark, "cutover-applier", "this host is enrolled")?;
    Ok(())
}

/// The units are clean for systemd, run, and are rated at most as documented.
fn sandboxes_are_tight(host: &Host, units: &[(&str, u32)]) -> anyhow::Result<()> {
    for (unit, limit) in units {
        assert_eq!(host.run(&format!("systemctl is-active {unit}"))?, "active\n");
        assert_eq!(host.run(&format!("systemd-analyze verify {unit} 2>&1"))?, "");
        host.run(&format!("systemd-analyze security --no-pager --threshold={limit} {unit}"))?;
    }
    Ok(())
}

/// The shell block that follows `<!-- name -->` in README.md.
fn readme_block(name: &str) -> anyhow::Result<String> {
    let readme =
        fs::read_to_string(build::workspace().join("README.md")).context("read README.md")?;
    let (_, after) = readme
        .split_once(&format!("<!-- {name} -->"))
        .with_context(|| format!("find the mark {name} in README.md"))?;
    let block =
        after.trim_start().strip_prefix("```sh\n").context("find the block after the mark")?;
    let (block, _) = block.split_once("\n```").context("find the end of the block")?;
    Ok(block.to_owned())
}
