//! Row 10: each change of a release is told to requester and teams, at least once, with a key that says when
//! something is told twice; by mail with calendar entries, and to programs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cutover_tests::build::binaries;
use cutover_tests::harness::Stage;
use cutover_tests::harness::mail::{MailServer, Mode};
use cutover_tests::harness::people::path;
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::web::{Asked, Reply, Web};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const SECRET: &[u8] = b"a secret of both sides";

pub(crate) const QUICK: &str =
    "[outbox]\nzone = \"America/New_York\"\nfirst-wait = \"50ms\"\nlongest-wait = \"200ms\"\n";

pub(crate) fn webhook(directory: &Path, web: &Web) -> anyhow::Result<String> {
    let secret = directory.join("webhook.secret");
    std::fs::write(&secret, SECRET)?;
    Ok(format!(
        "[[outbox.webhook]]\nname = \"chat\"\nurl = \"{}/in\"\ntransport = \"clear-text\"\nsecret-file = {:?}\n",
        web.url(),
        path(&secret)
    ))
}

pub(crate) fn mail(directory: &Path, server: &MailServer, security: &str) -> String {
    let more = match security {
        "clear-text" => String::new(),
        _ => format!("ca-file = {:?}\n", path(&directory.join("mail.pem"))),
    };
    format!(
        "[outbox.mail]\nserver = \"localhost:{}\"\nsecurity = {security:?}\n\
         from = \"Cutover <cutover@example.org>\"\n{more}",
        server.port()
    )
}

/// HMAC-SHA-256, from its definition (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(key).for_each(|(to, from)| *to ^= from);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

/// The event of a request, whose signature and form hold.
pub(crate) fn event(asked: &Asked) -> anyhow::Result<Value> {
    let header = |name: &str| {
        asked.headers.get(name).map(String::as_str).with_context(|| format!("{name}: {asked:?}"))
    };
    let (id, time) = (header("webhook-id")?, header("webhook-timestamp")?);
    let mut signed = format!("{id}.{time}.").into_bytes();
    signed.extend_from_slice(&asked.body);
    let signature = format!("v1,{}", STANDARD.encode(hmac(SECRET, &signed)));
    ensure!(header("webhook-signature")? == signature);
    ensure!(header("content-type")?.starts_with("application/cloudevents+json"));
    let event = asked.json();
    ensure!(event["specversion"] == "1.0" && event["id"] == id, "{event:#}");
    ensure!(event["source"] == "urn:cutover:cutover.demo/log", "{event:#}");
    ensure!(
        event["type"]
            == match event["data"]["what"].as_str().unwrap_or_default() {
                "policy-expires" => "cutover.policy.expires.v1".to_owned(),
                what => format!("cutover.release.{what}.v1"),
            }
    );
    Ok(event)
}

pub(crate) fn what(event: &Value) -> String {
    event["data"]["what"].as_str().unwrap_or_default().to_owned()
}

/// The lines of a calendar entry.
fn lines(mail: &Value) -> Option<BTreeMap<String, String>> {
    let parts = mail["parts"].as_array()?;
    let entry = parts.iter().find(|part| part["type"] == "text/calendar")?;
    let text = entry["text"].as_str()?.replace("\r\n", "\n").replace("\n ", "");
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let mut found: BTreeMap<_, _> =
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    found.insert("method".to_owned(), entry["method"].as_str()?.to_owned());
    Some(found)
}

#[expect(clippy::too_many_lines, reason = "one release, looked at by all that hear of it")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_each_change_is_told_once_by_mail_and_to_programs() -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("cutover-rows-").tempdir()?;
    let name = "row_10_each_change_is_told_once_by_mail_and_to_programs";
    let Some(mut server) = MailServer::start(name, Mode::StartTls, directory.path())? else {
        return Ok(());
    };
    server.be_busy(2)?;
    // An outage, a plea for patience, and an event that is taken and not acknowledged.
    let replies = Mutex::new(VecDeque::from([
        Reply::status(503),
        Reply::Status(429, vec![("retry-after", "1".to_owned())], String::new()),
        Reply::Cut,
    ]));
    let web = Web::start(move |_| {
        replies.lock().unwrap().pop_front().unwrap_or_else(|| Reply::status(204))
    })?;
    let more = format!(
        "{QUICK}{}{}",
        mail(directory.path(), &server, "starttls"),
        webhook(directory.path(), &web)?
    );
    let mut stage = Stage::start_with(directory.path(), binaries(), &more).await?;
    stage.add_host("stg-1", "staging").await?;
    let package = release::build(&stage.desk, "1.0", &Made::default())?;
    let release = stage.submitted(&package, &["staging"])?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    stage.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;
    let window = ["--start", "+2h", "--for", "30m", "--wave", "all=stg-1"];
    let booked = stage.book(&release, "staging", &window)?;
    let why = ["--booking", &booked.booking, "--reason", "the hall is taken"];
    stage.desk.run("max", &[&["cancel", &release][..], &why].concat())?;
    let all = stage.delivered("window-cancelled").await?;

    // Programs: every event, in order, each with one id however often it came.
    let expected = ["submitted", "reviewed", "delivered", "booked", "window-cancelled"];
    let asked = web.asked();
    let events: Vec<Value> = asked.iter().map(event).collect::<Result<_, _>>()?;
    let mut distinct: Vec<(String, String)> = Vec::new();
    for event in &events {
        let pair = (event["id"].to_string(), what(event));
        if !distinct.contains(&pair) {
            distinct.push(pair);
        }
    }
    ensure!(distinct.iter().map(|(_, what)| what.as_str()).eq(expected), "{distinct:#?}");
    ensure!(events.len() == expected.len() + 3, "{} requests", events.len());
    ensure!(asked[2].at.duration_since(asked[1].at) >= Duration::from_secs(1), "it has waited");

    // People: each of them each thing once, encrypted.
    let sent: Vec<Value> = server.until("all mail", |seen| {
        let taken: Vec<Value> = seen.iter().filter(|it| it["busy"] == false).cloned().collect();
        let by_mail = all.iter().filter(|it| it["channel"] == "mail").count();
        (taken.len() >= by_mail).then_some(taken)
    })?;
    let ids: BTreeSet<_> = sent.iter().map(|it| it["headers"]["message-id"].to_string()).collect();
    ensure!(ids.len() == sent.len() && sent.iter().all(|it| it["encrypted"] == true));
    let of = |who: &str| -> Vec<&Value> {
        sent.iter().filter(|it| it["to"][0] == format!("{who}@example.org")).collect()
    };
    let subjects = |who: &str| -> Vec<String> {
        of(who)
            .iter()
            .map(|it| it["headers"]["subject"].as_str().unwrap_or("").to_owned())
            .collect()
    };
    let alice = subjects("alice");
    ensure!(alice.len() == expected.len(), "{alice:#?}");
    for (subject, part) in alice.iter().zip([
        "R-1 web 1.0 was submitted",
        "was found complete",
        "was delivered",
        "has a window: staging, ",
        "has lost its window: staging, ",
    ]) {
        ensure!(subject.contains(part), "{part} in {subject}");
    }
    // Olga looks after hosts and is on the board; Bea is on the board alone.
    ensure!(subjects("bea").len() == 1 && subjects("olga").len() == 4, "{:#?}", subjects("olga"));

    // The calendar entry, and its end.
    let entries: Vec<_> = of("olga").into_iter().filter_map(lines).collect();
    let [first, last] = entries.as_slice() else { anyhow::bail!("{entries:#?}") };
    ensure!(first["UID"] == format!("booking-{}@cutover.demo", booked.booking), "{first:#?}");
    ensure!(first["UID"] == last["UID"] && first["DTSTART"] == last["DTSTART"]);
    ensure!(
        (first["method"].as_str(), first["SEQUENCE"].as_str()) == ("REQUEST", "0"),
        "{first:#?}"
    );
    ensure!((last["method"].as_str(), last["SEQUENCE"].as_str()) == ("CANCEL", "1"), "{last:#?}");
    ensure!(last["STATUS"] == "CANCELLED", "{last:#?}");

    // Those whose role it is see all of it, others what went to them.
    let seen = stage.desk.run("alice", &["outbox", "list"])?;
    let seen = seen.as_array().context("a list")?;
    ensure!(seen.len() == expected.len() && seen.iter().all(|it| it["to"] == "alice@example.org"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_a_kill_between_append_and_delivery_loses_nothing() -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("cutover-rows-").tempdir()?;
    let down = Arc::new(AtomicBool::new(true));
    let of_server = Arc::clone(&down);
    let web = Web::start(move |_| {
        if of_server.load(Ordering::SeqCst) { Reply::status(503) } else { Reply::status(204) }
    })?;
    let more = format!("{QUICK}attempts = 1000\n{}", webhook(directory.path(), &web)?);
    let mut stage = Stage::start_with(directory.path(), binaries(), &more).await?;
    let package = release::build(&stage.desk, "1.0", &Made::default())?;
    let release = stage.submitted(&package, &["staging"])?;
    stage.take_coordinator()?.kill()?;
    ensure!(web.asked().iter().all(|it| event(it).is_ok()));
    stage.start_coordinator().await?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    web.until("an event that cannot be delivered", |asked| (asked.len() > 1).then_some(()))?;
    stage.take_coordinator()?.kill()?;
    down.store(false, Ordering::SeqCst);
    stage.start_coordinator().await?;
    stage.delivered("reviewed").await?;

    let events: Vec<Value> = web.asked().iter().map(event).collect::<Result<_, _>>()?;
    let distinct: BTreeSet<_> = events.iter().map(|it| (it["id"].to_string(), what(it))).collect();
    let told: Vec<&str> = distinct.iter().map(|(_, what)| what.as_str()).collect();
    ensure!(
        told.len() == 2 && told.contains(&"submitted") && told.contains(&"reviewed"),
        "{told:?}"
    );

    // What was delivered is not delivered again after one more kill.
    let before = web.asked().len();
    stage.take_coordinator()?.kill()?;
    stage.start_coordinator().await?;
    stage.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;
    stage.delivered("delivered").await?;
    ensure!(web.asked().len() == before + 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_what_cannot_be_delivered_is_seen_and_tried_again() -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("cutover-rows-").tempdir()?;
    let name = "row_10_what_cannot_be_delivered_is_seen_and_tried_again";
    let Some(server) = MailServer::start(name, Mode::Wrapper, directory.path())? else {
        return Ok(());
    };
    let refuses = Arc::new(AtomicBool::new(true));
    let of_server = Arc::clone(&refuses);
    let web = Web::start(move |_| {
        if of_server.load(Ordering::SeqCst) { Reply::status(410) } else { Reply::status(204) }
    })?;
    let more = format!(
        "{QUICK}{}{}",
        mail(directory.path(), &server, "wrapper"),
        webhook(directory.path(), &web)?
    );
    let mut stage = Stage::start_with(directory.path(), binaries(), &more).await?;
    let package = release::build(&stage.desk, "1.0", &Made::default())?;
    let release = stage.submitted(&package, &["staging"])?;
    web.until("the event", |asked| (!asked.is_empty()).then_some(()))?;
    // Also after a restart it is there, and not tried by itself.
    stage.take_coordinator()?.terminate()?;
    stage.start_coordinator().await?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    web.until("the next event", |asked| (asked.len() > 1).then_some(()))?;
    let undelivered = ["outbox", "list", "--undelivered", "--release", &release];
    let parked = stage.desk.run("max", &undelivered)?;
    let parked = parked.as_array().context("a list")?.clone();
    let first = parked.first().context("a parked delivery")?;
    ensure!(first["state"] == "parked" && first["told"] == "submitted", "{first:#}");
    ensure!(first["trouble"].as_str().is_some_and(|it| it.contains("status 410")), "{first:#}");
    let key = first["delivery"].as_str().context("a key")?;
    let (code, _) = stage.desk.fails("bea", &["outbox", "retry", key])?;
    ensure!(code == 5, "nobody tries again what they do not see: {code}");

    refuses.store(false, Ordering::SeqCst);
    stage.desk.run("max", &["outbox", "retry", key])?;
    stage.desk.run("max", &["outbox", "retry", "--all"])?;
    stage.delivered("reviewed").await?;
    let events: Vec<Value> = web.asked().iter().map(event).collect::<Result<_, _>>()?;
    let again = events.iter().filter(|it| it["id"] == key).count();
    ensure!(again == 2, "{again}");
    Ok(())
}
