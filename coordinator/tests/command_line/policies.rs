//! A policy from its first line to its second version, passed from one root holder to the other.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::program::Desk;

const ROOTS: [&str; 2] = ["ruth", "rob"];

/// A desk with a log key, the keys of `people`, and policy.toml with all of them.
pub(crate) fn drafted(people: &[(&str, &[&str])]) -> Desk {
    let desk = Desk::new();
    desk.cutover(["key", "generate", "log.pem"]).done();
    let init = ["policy", "init", "--example", "--origin", "cutover.example.org/log"];
    let rest = ["--log-key", "log.pem.pub", "--output", "policy.toml"];
    desk.cutover(init.into_iter().chain(rest)).done();
    for (name, roles) in people {
        desk.cutover(["key", "generate", &format!("{name}.pem")]).done();
        add(&desk, name, roles);
    }
    desk
}

fn add(desk: &Desk, name: &str, roles: &[&str]) {
    let (email, key) = (format!("{name}@example.org"), format!("{name}.pem.pub"));
    let mut args = vec!["policy", "add-key", "policy.toml", "--owner", name, "--email", &email];
    args.extend(["--key", &key]);
    args.extend(roles.iter().flat_map(|role| ["--role", role]));
    desk.cutover(args).done();
}

pub(crate) fn sign(desk: &Desk, file: &str, name: &str, output: &str) -> Value {
    let key = format!("{name}.pem");
    desk.json(["policy", "sign", file, "--key", &key, "--output", output, "--yes"])
}

/// The same with both roots' signatures on policy.json.
pub(crate) fn signed(people: &[(&str, &[&str])]) -> Desk {
    let roots = ROOTS.map(|name| (name, &["root"][..]));
    let desk = drafted(&[&roots, people].concat());
    sign(&desk, "policy.toml", ROOTS[0], "policy.json");
    sign(&desk, "policy.json", ROOTS[1], "policy.json");
    desk
}

#[test]
fn two_root_holders_pass_a_file() {
    let desk = drafted(&[("ruth", &["root"]), ("rob", &["root", "operator"])]);
    let first = sign(&desk, "policy.toml", "ruth", "half.json");
    assert_eq!(first["signed-by"], serde_json::json!(["ruth"]));
    desk.cutover(["policy", "verify", "half.json"]).says(3, "refused: threshold-not-met: ");
    desk.cutover(["policy", "verify", "half.json"]).says(3, "next: let further holders sign");
    let second = sign(&desk, "half.json", "rob", "policy.json");
    assert_eq!(second["id"], first["id"], "a further signature does not make another statement");
    let verified = desk.json(["policy", "verify", "policy.json"]);
    assert_eq!(verified["signed-by"], serde_json::json!(["rob", "ruth"]));

    // The next version names the one before by following it.
    let next = desk.read("policy.toml").replace("version = 1", "version = 2");
    desk.write("policy.toml", next);
    sign(&desk, "policy.toml", "ruth", "next.json");
    let early = desk.cutover(["policy", "verify", "next.json", "--after", "policy.json"]);
    early.says(3, "threshold-not-met");
    sign(&desk, "next.json", "rob", "next.json");
    desk.cutover(["policy", "verify", "next.json", "--after", "policy.json"]).done();
    desk.cutover(["policy", "verify", "policy.json", "--after", "next.json"])
        .says(3, "policy-rollback");
}

#[test]
fn a_bent_payload_is_refused() {
    let desk = signed(&[]);
    let mut envelope: Value = serde_json::from_str(&desk.read("policy.json")).unwrap();
    let payload = BASE64_STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let payload = String::from_utf8(payload).unwrap();
    let bent = payload.replace("\"root_threshold\":2", "\"root_threshold\":1");
    assert_ne!(bent, payload);
    envelope["payload"] = BASE64_STANDARD.encode(bent).into();
    desk.write("bent.json", envelope.to_string());
    desk.cutover(["policy", "verify", "bent.json"]).says(3, "refused: signature-invalid: ");
}

#[test]
fn a_fault_is_told_before_anybody_signs() {
    let desk = drafted(&[("ruth", &["root"])]);
    let sign = ["policy", "sign", "policy.toml", "--key", "ruth.pem", "--yes"];
    desk.cutover(sign).says(2, "root_threshold: 2 cannot be met by 1");
    assert!(!desk.path("policy.json").exists());
}

#[test]
fn nothing_is_signed_unasked() {
    let desk = drafted(&[("ruth", &["root"]), ("rob", &["root"])]);
    let sign = ["policy", "sign", "policy.toml", "--key", "ruth.pem"];
    desk.cutover(sign).says(2, "say --yes");
    let dry = desk.cutover(sign.into_iter().chain(["--dry-run"]));
    assert!(dry.done().out.contains("ruth"), "{}", dry.out);
    assert!(!desk.path("policy.json").exists());
}

#[test]
fn comments_survive_editing_and_a_key_is_not_added_twice() {
    let desk = drafted(&[("ruth", &["root"])]);
    let text = desk.read("policy.toml");
    assert!(text.contains("# Production: reviewed, assessed by security"), "{text}");
    let again = ["policy", "add-key", "policy.toml", "--owner", "eve", "--email", "e@example.org"];
    let again = again.into_iter().chain(["--key", "ruth.pem.pub", "--role", "board"]);
    desk.cutover(again).says(2, "as ruth's");
    assert_eq!(desk.read("policy.toml"), text);
}

#[test]
fn a_signed_policy_is_not_begun_anew_over_its_signatures() {
    let desk = signed(&[]);
    let before = desk.read("policy.json");
    let sign = ["policy", "sign", "policy.toml", "--key", "ruth.pem", "--yes"];
    desk.cutover(sign).says(2, "there already");
    assert_eq!(desk.read("policy.json"), before);
}
