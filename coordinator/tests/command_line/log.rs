//! What is believed of a coordinator's log, and what is not.

use cutover_shared::key::SecretKey;
use cutover_shared::statement::{Grant, Statement};

use crate::policies::{sign, signed};
use crate::program::Desk;
use crate::server::{Server, id};

/// A desk with a policy in force and a log of `size` entries, the rest of them grants by otto.
fn logged(size: u8) -> (Desk, Server, SecretKey) {
    let mut desk = signed(&[("otto", &["operator"]), ("mary", &["change-manager"])]);
    let mut entries = vec![desk.read("policy.json").into_bytes()];
    entries.extend((1..size).map(|number| grant(&desk, number)));
    let key = SecretKey::from_pem(&desk.read("log.pem"), None).unwrap();
    let server = Server::start(&key, entries);
    desk.set("CUTOVER_COORDINATOR", &server.address);
    desk.set("CUTOVER_POLICY", "policy.json");
    desk.set("CUTOVER_KEY", "otto.pem");
    (desk, server, key)
}

fn grant(desk: &Desk, number: u8) -> Vec<u8> {
    let otto = SecretKey::from_pem(&desk.read("otto.pem"), None).unwrap();
    let grant = Grant {
        grant_key: SecretKey::from_seed([number; 32]).public(),
        environment: "staging".parse().unwrap(),
        labels: std::collections::BTreeMap::new(),
        applications: std::collections::BTreeSet::new(),
        count: 1,
    };
    let issued = "2026-03-08T06:30:00Z".parse().unwrap();
    let until = "2026-03-09T06:30:00Z".parse().unwrap();
    Statement::new(issued, grant).until(until).signed_by([&otto]).to_bytes()
}

#[test]
fn an_honest_log_is_listed_and_verified_and_grows() {
    let (desk, server, _) = logged(3);
    let list = desk.json(["log", "list"]);
    let says: Vec<_> = list.as_array().unwrap().iter().map(|line| &line["predicate"]).collect();
    assert_eq!(says, ["trust-policy", "grant", "grant"]);
    assert_eq!(list[1]["signers"][0]["name"], "otto");
    server.change(|log| log.entries.push(b"not even JSON".to_vec()));
    server.change(|log| log.entries.push(grant(&desk, 9)));
    let verified = desk.json(["log", "verify"]);
    assert_eq!(verified["entries"], 5);
    assert_eq!(verified["ignored"][0][0], 3, "what is no statement changes nothing, and is told");
    assert_eq!(desk.json(["policy", "show"])["version"], 1);
    let page = desk.json(["log", "list", "--from", "4"]);
    assert_eq!(page.as_array().unwrap().len(), 1);
}

#[test]
fn stock_tools_verify_an_entry() {
    let (desk, _server, _) = logged(2);
    for (form, file) in [("--pae", "pae"), ("--signature", "sig"), ("--envelope", "envelope")] {
        desk.write(file, &desk.cutover(["log", "show", "1", form]).done().bytes);
    }
    let check = ["pkeyutl", "-verify", "-pubin", "-inkey", "otto.pem.pub", "-rawin"];
    desk.openssl(check.into_iter().chain(["-in", "pae", "-sigfile", "sig"]));
    let envelope = desk.read("envelope").into_bytes();
    let shown = desk.json(["log", "show", "1"]);
    assert_eq!(shown["entry"]["id"], id(&envelope).to_string());
    let payload = desk.cutover(["log", "show", "1", "--payload"]).done().out.clone();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&payload).unwrap(), shown["statement"]);
    desk.cutover(["log", "show", "7"]).says(5, "entry 7 of a log of 2 entries");
}

#[test]
fn a_shortened_log_is_refused() {
    let (desk, server, _) = logged(3);
    desk.cutover(["log", "verify"]).done();
    server.change(|log| drop(log.entries.pop()));
    desk.cutover(["log", "verify"]).says(3, "refused: checkpoint-stale: ");
    // Also when it has grown again since, into another one.
    server.change(|log| log.entries.extend([grant(&desk, 7), grant(&desk, 8)]));
    desk.cutover(["log", "verify"]).says(3, "refused: checkpoint-inconsistent: ");
    desk.cutover(["log", "verify"]).says(3, "next: stop and report it");
}

#[test]
fn a_forked_log_is_refused_even_when_the_copy_is_lost() {
    let (desk, server, _) = logged(3);
    desk.cutover(["log", "verify"]).done();
    let forked = grant(&desk, 42);
    server.change(|log| log.entries[1] = forked);
    desk.cutover(["log", "list"]).says(3, "refused: checkpoint-inconsistent: ");
    let cache = std::fs::read_dir(desk.path(".cache/cutover")).unwrap().next().unwrap().unwrap();
    std::fs::write(cache.path().join("entries"), b"").unwrap();
    desk.cutover(["log", "list"]).says(3, "does not contain the one that was verified here before");
}

#[test]
fn a_damaged_copy_is_fetched_anew() {
    let (desk, _server, _) = logged(3);
    desk.cutover(["log", "verify"]).done();
    let cache = std::fs::read_dir(desk.path(".cache/cutover")).unwrap().next().unwrap().unwrap();
    let path = cache.path().join("entries");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(desk.json(["log", "verify"])["entries"], 3);
}

#[test]
fn a_log_without_the_pinned_policy_is_refused() {
    let (desk, _server, _) = logged(2);
    let next = desk.read("policy.toml").replace("version = 1", "version = 2");
    desk.write("policy.toml", next);
    sign(&desk, "policy.toml", "ruth", "next.json");
    sign(&desk, "next.json", "rob", "next.json");
    let pinned = ["log", "list", "--policy", "next.json"];
    desk.cutover(pinned).says(3, "refused: not-logged: the pinned policy");
    // Once it is installed, it may be pinned.
    let installed = desk.json(["policy", "install", "next.json", "--yes"]);
    assert_eq!(installed["index"], 2);
    desk.cutover(pinned).done();
    let again = desk.json(["policy", "install", "next.json", "--yes"]);
    assert_eq!((&again["index"], &again["installed"]), (&2.into(), &"before".into()));
}

#[test]
fn another_servers_key_and_another_logs_checkpoint_are_refused() {
    let (mut desk, server, _) = logged(2);
    server.change(|log| log.signer = SecretKey::from_seed([66; 32]));
    desk.cutover(["log", "list"]).says(3, "checkpoint-inconsistent");
    let other = Server::start(&SecretKey::from_seed([66; 32]), Vec::new());
    desk.set("CUTOVER_COORDINATOR", &other.address);
    desk.cutover(["log", "list"]).says(1, "showed the key");
}

#[test]
fn a_receipt_for_something_else_is_no_receipt() {
    let (desk, server, _) = logged(2);
    let next = desk.read("policy.toml").replace("version = 1", "version = 2");
    desk.write("policy.toml", next);
    sign(&desk, "policy.toml", "ruth", "next.json");
    sign(&desk, "next.json", "rob", "next.json");
    server.change(|log| log.forgets = true);
    let ended = desk.cutover(["policy", "install", "next.json", "--yes"]);
    ended.says(3, "refused: not-logged: the coordinator's receipt is no proof");
}

#[test]
fn another_log_key_needs_another_pin() {
    let (mut desk, server, _) = logged(2);
    desk.cutover(["key", "generate", "new-log.pem"]).done();
    let new = SecretKey::from_pem(&desk.read("new-log.pem"), None).unwrap();
    let old = desk.json(["key", "show", "log.pem.pub"])["public-pem"].as_str().map(body).unwrap();
    let next = desk.read("policy.toml").replace("version = 1", "version = 2");
    desk.write("policy.toml", next.replace(&old, &body(&new.public().to_pem())));
    sign(&desk, "policy.toml", "ruth", "next.json");
    sign(&desk, "next.json", "rob", "next.json");
    let installed = desk.cutover(["policy", "install", "next.json", "--yes"]);
    assert!(installed.done().error.contains("start the coordinator anew"), "{}", installed.error);
    desk.cutover(["log", "list"]).says(3, "policy 2 in force names the log key");

    let mut entries = Vec::new();
    server.change(|log| entries.clone_from(&log.entries));
    let renewed = Server::start(&new, entries);
    desk.set("CUTOVER_COORDINATOR", &renewed.address);
    desk.cutover(["log", "list"]).says(1, "showed the key");
    desk.set("CUTOVER_POLICY", "next.json");
    assert_eq!(desk.json(["log", "verify"])["entries"], 3);
}

/// A public key as policies have it.
fn body(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).collect()
}

#[test]
fn a_policy_that_does_not_follow_is_refused_before_it_is_sent() {
    let (desk, server, _) = logged(1);
    let next = desk.read("policy.toml").replace("version = 1", "version = 3");
    desk.write("policy.toml", next);
    sign(&desk, "policy.toml", "ruth", "next.json");
    sign(&desk, "next.json", "rob", "next.json");
    let ended = desk.cutover(["policy", "install", "next.json", "--yes"]);
    ended.says(3, "refused: policy-rollback: version 3 after version 1");
    server.change(|log| assert_eq!(log.entries.len(), 1));
}
