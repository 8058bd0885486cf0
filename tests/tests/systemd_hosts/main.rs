//! Real systemd hosts: the laboratory itself, and the installation that README.md describes.

mod desk;
mod shipped;

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use cutover_tests::build;
use cutover_tests::lab::{Host, Lab};

use desk::{Desk, File};

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
            hosts[0].crash()?
        } else {
            hosts[0].stop()?
        }
        assert!(hosts[0].run("true").is_err(), "a host that is off runs nothing");
        hosts[0].boot()?;
        assert_eq!(hosts[0].run("systemctl is-active patient.service")?, "active\n");
    }

    let greet = "exec 3<>/dev/tcp/one/7000 && cat <&3";
    assert_eq!(hosts[1].run(&format!("bash -c '{greet}'"))?, "hello\n");
    let greet = greet.replace("one", &hosts[0].address());
    let desk = lab.outside("bash").args(["-c", &greet]).output()?;
    assert_eq!(String::from_utf8_lossy(&desk.stdout), "hello\n");
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

/// A small web server: says its version to whoever asks, and in the journal when it can be asked.
const SERVER: &str = r##"#!/usr/bin/perl
use strict;
use warnings;
use IO::Socket::INET;
my ($directory) = $0 =~ m{^(.*)/};
open(my $file, '<', "$directory/VERSION") or die "VERSION: $!";
chomp(my $version = <$file>);
my $listener = IO::Socket::INET->new(LocalAddr => $ARGV[0], Listen => 16, ReuseAddr => 1) or die "listen: $@";
$| = 1;
print "web $version serves\n";
while (my $peer = $listener->accept()) {
    while (defined(my $line = <$peer>)) { last if $line =~ /^\r?$/ }
    my $body = "web $version\n";
    print $peer "HTTP/1.1 200 OK\r\nContent-Length: ", length $body, "\r\nConnection: close\r\n\r\n$body";
    close $peer;
}
"##;

/// Its unit, which the host's administrator wrote.
const UNIT: &str = "[Unit]\nDescription=Web\n[Service]\n\
    ExecStart=/srv/cutover/web/current/payload/web 127.0.0.1:8080\nDynamicUser=yes\n";

/// Asks the web server of a host, as a program on it does.
const ASK: &str = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; printf \"GET / HTTP/1.1\\r\\n\\r\\n\" >&3; tail -n 1 <&3'";

/// The way that README.md describes: services are installed by its very commands, a release is deployed
/// to hosts by restarting their unit, and an applier that is killed while it deploys goes back.
#[test]
fn services_are_installed_as_the_readme_says_and_deploy() -> anyhow::Result<()> {
    let name = "services_are_installed_as_the_readme_says_and_deploy";
    let Some(mut lab) = Lab::open(name)? else { return Ok(()) };
    let systemd = build::workspace().join("systemd");
    let shown = [
        (systemd.as_path(), &*Path::new(CHECKOUT).join("systemd")),
        (build::binaries(), &*Path::new(CHECKOUT).join("target/release")),
    ];
    let hosts = lab.boot(&["coordinator", "web-1", "web-2"], &shown)?;
    // A panic while the hosts are up shows their journals.
    install_and_deploy(&lab, &hosts).expect("the services do what README.md says");
    Ok(())
}

fn install_and_deploy(lab: &Lab, hosts: &[Host]) -> anyhow::Result<()> {
    let [coordinator, agents @ ..] = hosts else { anyhow::bail!("three were booted") };
    let desk = Desk::new(lab, format!("{}:7400", coordinator.address()))?;
    for (file, mode) in [("log.pem", 0o600), ("policy.json", 0o644)] {
        coordinator.write(&format!("{CHECKOUT}/{file}"), desk.read(file)?, mode)?;
    }
    install(coordinator, "install-coordinator", "")?;
    for host in agents {
        install_agent(host, &desk.grant()?)?;
    }
    for (host, units) in [(coordinator, &EXPOSURE[..1]), (&agents[0], &EXPOSURE[1..])] {
        sandboxes_are_tight(host, units)?;
    }

    let marks = [agents[0].mark()?, agents[1].mark()?];
    desk.roll_out("R-1", "1.0", &payload("1.0\n"), "1s")?;
    for (host, mark) in agents.iter().zip(&marks) {
        let end = host.await_journal(mark, "cutover-applier", "ended application=web")?;
        assert!(end.contains("what=Committed"), "{end}");
        assert_eq!(host.run(ASK)?, "web 1.0\n");
    }

    let mark = agents[0].mark()?;
    desk.roll_out("R-2", "1.1", &payload("1.1\n"), "2m")?;
    agents[0].await_journal(&mark, "web.service", "web 1.1 serves")?;
    let mark = agents[0].mark()?;
    agents[0].run("kill -KILL $(systemctl show --property=MainPID --value cutover-applier)")?;
    let end = agents[0].await_journal(&mark, "cutover-applier", "ended application=web")?;
    assert!(end.contains("what=Returned"), "{end}");
    for host in agents {
        assert_eq!(host.run(ASK)?, "web 1.0\n", "{}", host.name());
    }
    let journal = agents[1].run("journalctl --unit=web.service --output=cat")?;
    assert!(!journal.contains("web 1.1"), "the host after the canary never saw what failed there");
    for unit in ["cutover-applier", "cutover-agent", "web"] {
        assert_eq!(agents[0].run(&format!("systemctl is-active {unit}"))?, "active\n");
    }
    Ok(())
}

fn payload(version: &str) -> [File<'_>; 2] {
    [("web", SERVER, 0o755), ("VERSION", version, 0o644)]
}

/// Runs a block of README.md in the host's checkout, after `before`.
fn install(host: &Host, block: &str, before: &str) -> anyhow::Result<()> {
    let commands = readme_block(block)?;
    host.run(&format!("cd {CHECKOUT}\n{before}\n{commands}"))
        .with_context(|| format!("follow README.md's {block}"))?;
    Ok(())
}

fn install_agent(host: &Host, join: &str) -> anyhow::Result<()> {
    host.write("/etc/systemd/system/web.service", UNIT, 0o644)?;
    let editor =
        format!("#!/bin/sh\nsed --in-place 's/^host = .*/host = \"{}\"/' \"$1\"\n", host.name());
    host.write("/root/editor", editor, 0o755)?;
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
