//! The attacks. What counts is what the *host* says, signed with its own key: a coordinator that somebody
//! else owns can offer what it likes.

use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cutover_shared::digest::Digest;
use cutover_shared::statement::{Judgement, Vote};
use cutover_tests::harness::host::Host;
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::watch::append_unasked;
use cutover_tests::harness::{Booked, Stage, status};

use crate::story::{Cast, STAGING, WAVES};
use crate::table::Table;

/// Attacks `stage` in every way that the table names.
pub(crate) async fn attack(
    stage: &mut Stage,
    table: &mut Table,
    cast: &Cast,
) -> anyhow::Result<()> {
    flipped_byte(stage, table).await?;
    table.chapter("1.3 is approved and proven on staging; its canary is inhibited by its host");
    let release = stage.approved(&release::build(&stage.desk, "1.3", &Made::default())?)?;
    stage
        .deploy(&release, "staging", &STAGING, &["--at-once", "2", "--wave", "all=stg-1,stg-2"])
        .await?;
    stage.hosts.get("prd-1").context("the canary")?.inhibit("a backup runs")?;
    let soon_over = window(stage, &release, &["--start", "now", "--for", "19s"])?;
    let refused = stage.desk.refused("alice", &["vote", &release, "--approve"])?;
    table.row("the submitter's own vote, at the command line", "duties-not-separate", refused.code);
    let later = window(stage, &release, &["--start", "+6h", "--for", "30m"])?;
    let now = window(stage, &release, &["--start", "now", "--for", "30m"])?;
    let reason = stage
        .status_until(&release, "that the host inhibits it", |status| {
            status::text(status::host(status, "production", "prd-1")?, "/refused/code")
        })
        .await?;
    table.row("why the canary does nothing", "inhibited", reason);

    table.chapter(
        "somebody else takes the coordinator over, with its log, its packages and its key",
    );
    let attacks = [
        ("a window that is not open yet", "prd-2", &later.booking, "window-not-open"),
        ("the second wave before the canary", "prd-2", &now.booking, "wave-not-proven"),
        ("a booking for another host", "prd-3", &cast.first_iteration.booking, "wrong-host"),
        ("a rollback that was carried out before", "prd-1", &cast.rollback, "generation-passed"),
        ("a window that is over", "prd-3", &soon_over.booking, "window-closed"),
    ];
    let offers: Vec<_> =
        attacks.iter().map(|(_, host, order, _)| (*host, (*order).as_str())).collect();
    stage.cheat(&offers).await?;
    stage.hosts.get("prd-1").context("the canary")?.uninhibit()?;
    for (what, host, order, code) in attacks {
        let observed = stage.refusal(host, order, code).await?;
        table.row(what, code, observed);
    }
    table.chapter("it admits the submitter's vote on her own release");
    let number: u64 = release.trim_start_matches("R-").parse()?;
    let id = stage
        .until("the release", |state| {
            state.cases().find(|case| case.number == number).map(|case| case.release.id())
        })
        .await?;
    let vote = Vote {
        release: id,
        environments: ["production".parse()?].into(),
        judgement: Judgement::Accepted { reason: "mine".to_owned() },
        conditions: Vec::new(),
    };
    append_unasked(&stage.desk, "alice", vote.into()).await?;
    stage.cheat(&[("prd-1", &now.booking)]).await?;
    let observed = stage.refusal("prd-1", &now.booking, "duties-not-separate").await?;
    table.row("a vote by the submitter, on the host", "duties-not-separate", observed);
    let pages: Vec<_> = ["prd-1", "prd-2", "prd-3"]
        .iter()
        .filter_map(|host| stage.hosts.get(*host).and_then(Host::page))
        .collect();
    table.row("after all that production serves", "1.1.1 1.1 1.1", pages.join(" "));
    Ok(())
}

fn window(stage: &Stage, release: &str, when: &[&str]) -> anyhow::Result<Booked> {
    let booked = stage.book(release, "production", &[when, &WAVES[..]].concat())?;
    stage.desk.run("max", &["window", "release", &booked.booking])?;
    Ok(booked)
}

/// A byte of a stored pack is flipped after everybody has approved it.
async fn flipped_byte(stage: &mut Stage, table: &mut Table) -> anyhow::Result<()> {
    table.chapter("a byte of an approved package is flipped in the coordinator's store");
    let made = Made { ballast: 300_000, ..Made::default() };
    let file = release::build(&stage.desk, "1.4", &made)?;
    let release = stage.approved(&file)?;
    let name = release.clone();
    let number: u64 = name.trim_start_matches("R-").parse()?;
    let package = stage
        .until("the package of the release", |state| {
            state.cases().find(|case| case.number == number).map(|case| case.release.says().package)
        })
        .await?;
    flip(&pack(&stage.data(), &package)?)?;
    let booked = stage.open_window(&release, "staging", &["--wave", "all=stg-1"])?;
    let observed = stage.refusal("stg-1", &booked.booking, "digest-mismatch").await?;
    table.row("a flipped byte in a pack", "digest-mismatch", observed);
    let host = stage.hosts.get("stg-1").context("stg-1")?;
    table.row("and the host serves what it served", "1.2", host.page().unwrap_or_default());
    // What is not to be had gives its window up to others.
    let cancel = ["cancel", &release, "--booking", &booked.booking, "--reason", "damaged"];
    stage.desk.run("max", &cancel)?;
    Ok(())
}

/// Where the coordinator keeps the pack of a package.
fn pack(data: &Path, package: &Digest) -> anyhow::Result<PathBuf> {
    let name = format!("{package}.pack");
    let mut directories = vec![data.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.file_name().is_some_and(|found| found == name.as_str()) {
                return Ok(path);
            }
        }
    }
    anyhow::bail!("no {name} below {}", data.display())
}

/// Flips a bit in the middle of the ballast, which does not compress and is nearly at the end.
fn flip(file: &Path) -> anyhow::Result<()> {
    let mut file = std::fs::File::options().read(true).write(true).open(file)?;
    file.seek(std::io::SeekFrom::End(-150_000))?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    byte[0] ^= 1;
    file.seek(std::io::SeekFrom::End(-150_000))?;
    file.write_all(&byte)?;
    Ok(())
}
