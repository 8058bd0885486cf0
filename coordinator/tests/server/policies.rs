//! Beginning a log, and coming back to it: which policies and keys a coordinator comes up with.

use std::fs;
use std::sync::Arc;

use cutover_coordinator::server::{Rules, ServeError, StartError};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::log::{leaf_hash, verify_inclusion};
use cutover_shared::protocol::{Request, Response};
use cutover_shared::refusal::Code;

use crate::world::{Server, document, key, policy_envelope, verified};

fn start_error(error: ServeError) -> StartError {
    match error {
        ServeError::Start(error) => error,
        other => panic!("{other:?}"),
    }
}

fn put(server: &Server, file: &str, content: &[u8]) {
    fs::write(server.directory.path().join(file), content).unwrap();
}

fn id(envelope: &[u8]) -> Digest {
    Envelope::parse(envelope).unwrap().id()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_log_begins_with_the_configured_policy() {
    let server = Server::start().await;
    let client = server.client("max").await;
    let checkpoint = client.checkpoint().await;
    assert_eq!(checkpoint.head.size, 1);
    let policy = policy_envelope(document(1));
    // What is in the log already is not refused, and not there twice.
    let receipt = client.append(policy.clone()).await.unwrap();
    assert_eq!(receipt.index, 0);
    let head = verified(&receipt.checkpoint).head;
    verify_inclusion(&leaf_hash(&policy), 0, &receipt.inclusion, &head).unwrap();
    assert_eq!(client.checkpoint().await.head.size, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_version_of_the_policy_is_good_once_it_is_installed() {
    let mut server = Server::start().await;
    let next = policy_envelope(document(2));
    put(&server, "policy.json", &next);
    server.stop().await;
    let error = start_error(server.fails().await);
    assert!(
        matches!(&error, StartError::OtherPolicy { policy, first }
            if *policy == id(&next) && *first == id(&policy_envelope(document(1))).to_string()),
        "{error:?}"
    );

    put(&server, "policy.json", &policy_envelope(document(1)));
    server.run().await;
    server.client("max").await.append(next.clone()).await.unwrap();
    put(&server, "policy.json", &next);
    server.restart().await;
    assert_eq!(server.client("max").await.checkpoint().await.head.size, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_named() {
    let server = Server::prepare(Arc::new(Rules));
    put(&server, "log.pem", key("another").to_pem().as_bytes());
    let error = start_error(server.fails().await);
    assert!(
        matches!(error, StartError::OtherKey { found, expected, version: 1 }
            if found == key("another").public().id() && expected == key("log").public().id()),
        "{error:?}"
    );
    let encrypted = key("log").to_encrypted_pem("secret", [1; 16], [2; 16]).unwrap();
    put(&server, "log.pem", encrypted.as_bytes());
    assert!(matches!(start_error(server.fails().await), StartError::KeyEncrypted(_)));
    put(&server, "log.pem", key("log").to_pem().as_bytes());

    let mut unsigned = Envelope::parse(&policy_envelope(document(1))).unwrap();
    unsigned = Envelope::unsigned(unsigned.payload_type(), unsigned.payload().to_vec());
    unsigned.sign(&key("sue"));
    put(&server, "policy.json", &unsigned.to_bytes());
    assert!(matches!(start_error(server.fails().await), StartError::Policy { .. }));
    put(&server, "policy.json", b"{}");
    assert!(matches!(start_error(server.fails().await), StartError::PolicyEnvelope { .. }));
    fs::remove_file(server.directory.path().join("policy.json")).unwrap();
    assert!(matches!(start_error(server.fails().await), StartError::Read { .. }));
    assert!(!server.directory.path().join("data").exists(), "nothing was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything_and_the_cache_is_only_a_cache() {
    let mut server = Server::start().await;
    server.enrol(&["p1"]).await;
    let (release, package) = server.reviewed("1.0").await;
    let client = server.client("max").await;
    let before = client.checkpoint().await.head;
    let entries = entries(&client, before.size).await;

    server.stop().await;
    fs::remove_dir_all(server.directory.path().join("data/cache")).unwrap();
    server.run().await;
    let client = server.client("max").await;
    assert_eq!(client.checkpoint().await.head, before);
    let again = self::entries(&client, before.size).await;
    assert_eq!(again, entries);
    for (index, entry) in entries.into_iter().enumerate() {
        assert_eq!(client.append(entry).await.unwrap().index, index as u64, "no second one");
    }
    assert_eq!(client.checkpoint().await.head, before);
    let stored = client.ask(&Request::PackageInfo { package }).await;
    assert!(matches!(stored, Response::PackageInfo { .. }), "{stored:?}");
    // The fold is the same too: what was said before is still known.
    server.booked((release, package), &[&["p1"]], (1000, 5000)).await;
}

async fn entries(client: &crate::world::Client, size: u64) -> Vec<Vec<u8>> {
    let (mut writer, mut reader) = client.open(&Request::Entries { from: 0, to: size }).await;
    writer.finish().unwrap();
    let mut entries = Vec::new();
    while let Some(response) = reader.recv::<Response>().await.unwrap() {
        match response {
            Response::Entry(entry) => entries.push(entry),
            other => panic!("{other:?}"),
        }
    }
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_for_another_log_key_is_not_admitted() {
    let server = Server::start().await;
    let mut next = document(2);
    next.log.key = key("another").public();
    let client = server.client("max").await;
    let refusal = client.append(policy_envelope(next)).await.unwrap_err();
    assert_eq!(refusal.code, Code::Malformed);
    client.append(policy_envelope(document(2))).await.unwrap();
}
