//! Rows 15 and 17: who, when and where is told before a window; and when a host goes back, where and why.

use anyhow::{Context as _, ensure};
use cutover_shared::statement::Event;
use cutover_tests::build::binaries;
use cutover_tests::harness::Stage;
use cutover_tests::harness::mail::{MailServer, Mode};
use cutover_tests::harness::release::{self, Made};
use serde_json::Value;

use super::row_10_informed::mail;

const TEAM: &str = "[[outbox.team]]\nname = \"web-operations\"\ne-mail = \"web@example.org\"\n\
                    environments = [\"staging\"]\nevents = [\"released\", \"went-back\"]\n";

/// The text of the mail to somebody with this in its subject.
fn text(server: &mut MailServer, to: &str, subject: &str) -> anyhow::Result<String> {
    server.until(&format!("mail to {to}: {subject}"), |seen| {
        let is = |it: &&Value| {
            let told = it["headers"]["subject"].as_str().unwrap_or_default();
            it["to"][0] == format!("{to}@example.org") && told.contains(subject)
        };
        let mail = seen.iter().find(is)?;
        Some(mail["parts"][0]["text"].as_str()?.to_owned())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_15_teams_hear_schedule_and_location_and_row_17_step_host_and_output()
-> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("cutover-rows-").tempdir()?;
    let name = "row_15_teams_hear_schedule_and_location_and_row_17_step_host_and_output";
    let Some(mut server) = MailServer::start(name, Mode::ClearText, directory.path())? else {
        return Ok(());
    };
    let more = format!("{}{TEAM}", mail(directory.path(), &server, "clear-text"));
    let mut stage = Stage::start_with(directory.path(), binaries(), &more).await?;
    stage.add_host("stg-1", "staging").await?;
    let script = "#!/bin/sh\necho 'moving tables'\necho 'no space left on /data' >&2\nexit 7\n";
    let made = Made {
        manifest: "[hooks.activate]\ncommand = \"hooks/activate\"\ntimeout = \"10s\"\n",
        hooks: &[("activate", script)],
        ..Made::default()
    };
    let package = release::build(&stage.desk, "1.0", &made)?;
    let release = stage.submitted(&package, &["staging"])?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    stage.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;
    let booked = stage.open_window(&release, "staging", &["--wave", "canary=stg-1"])?;

    let order: cutover_shared::digest::Digest = booked.booking.parse()?;
    let (window, digest) = stage
        .until("the booking", |state| {
            let (case, booking) = state.booking(&order)?;
            Some((booking.booking.says().window, case.release.says().package))
        })
        .await?;
    for to in ["olga", "alice", "web"] {
        let told = text(&mut server, to, "may go to its hosts")?;
        for part in [
            format!("{} to {} (UTC)", window.start, window.end),
            "wave canary: stg-1".to_owned(),
            format!("releases/<generation>-{}/", digest.short()),
            format!("sha256:{digest}"),
            "shelf 1".to_owned(),
            "requester: alice <alice@example.org>".to_owned(),
            "booked by: max <max@example.org>".to_owned(),
        ] {
            ensure!(told.contains(&part), "{part} in the mail to {to}:\n{told}");
        }
    }

    // Whoever has seen it says so, and is not among those who have not any more.
    let unseen = |stage: &Stage| -> anyhow::Result<Vec<String>> {
        let list = ["outbox", "list", "--release", &release, "--unacknowledged"];
        let all = stage.desk.run("max", &list)?;
        let booked = all.as_array().context("a list")?.iter().filter(|it| it["told"] == "booked");
        Ok(booked.map(|it| it["to"].as_str().unwrap_or_default().to_owned()).collect())
    };
    ensure!(unseen(&stage)?.contains(&"olga@example.org".to_owned()));
    stage.desk.run("olga", &["acknowledge", &release, "--statement", &booked.booking])?;
    let left = unseen(&stage)?;
    ensure!(!left.contains(&"olga@example.org".to_owned()), "{left:?}");
    ensure!(left.contains(&"alice@example.org".to_owned()), "{left:?}");

    let outcome = stage.outcome("stg-1", &booked.booking).await?;
    let Event::Returned { step, .. } = &outcome.event else {
        anyhow::bail!("{:?}", outcome.event);
    };
    for to in ["alice", "olga", "max", "web"] {
        let told = text(&mut server, to, "was taken back by a host (stg-1)")?;
        for part in
            ["Host         stg-1", &format!("Step         {step}"), "no space left on /data"]
        {
            ensure!(told.contains(part), "{part} in the mail to {to}:\n{told}");
        }
    }
    stage.delivered("went-back").await.context("all of it")?;
    Ok(())
}
