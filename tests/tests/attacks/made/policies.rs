//! Policies that would make the attacker somebody: another one, a chain with a link missing, a threshold
//! that is not met.

use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::policy::{KeyEntry, KeyStatus, PolicyDocument, Role};
use cutover_shared::refusal::Code;
use cutover_shared::statement::{Hold, PAYLOAD_TYPE, Statement};

use super::COORDINATOR;
use crate::entrance::{Entrance, Pin};
use crate::fixture::Attack;
use crate::world::{at, document, key, name, release};

const CHAIN: &str =
    "TUF 1.0.33, 5.3: each root version is signed by the threshold of the one before and its own";
const BELOW: &str = "TUF 1.0.33, 1.5.2: vulnerability to key compromises, below the threshold";

/// Three root owners, of whom two must sign.
fn two_of_three(version: u64) -> PolicyDocument {
    let mut document = document(version);
    document.root_threshold = 2;
    for owner in ["rita", "rolf"] {
        document.keys.push(root(owner, owner));
    }
    document
}

/// A root key of `owner`.
fn root(owner: &str, seed: &str) -> KeyEntry {
    let like = document(1).keys.into_iter().find(|it| it.roles.contains(&Role::Root)).unwrap();
    KeyEntry { owner: name(owner), key: key(seed).public(), ..like }
}

fn signed(document: PolicyDocument, by: &[&str]) -> Envelope {
    let keys: Vec<_> = by.iter().map(|owner| key(owner)).collect();
    Statement::new(at(0), document).signed_by(&keys)
}

fn pinned(name: &'static str, title: &str, offered: &Envelope, pin: &Envelope) -> Attack {
    Attack::new(name, title, Entrance::Pin)
        .file("policy.json", offered.to_bytes())
        .given(&Pin { pinned: pin.id() })
}

/// The first policy is that of two in three; `next` is offered after it.
fn after_it(name: &'static str, title: &str, next: &Envelope) -> Attack {
    Attack::new(name, title, Entrance::Log)
        .file("policy.json", signed(two_of_three(1), &["root", "rita"]).to_bytes())
        .file("entry-01.json", next.to_bytes())
}

pub(super) fn controls() -> Vec<Attack> {
    let honest = signed(two_of_three(1), &["root", "rita"]);
    let next = signed(two_of_three(2), &["rita", "rolf"]);
    vec![pinned("the policy", "", &honest, &honest), after_it("the next policy", "", &next)]
}

pub(super) fn attacks() -> Vec<Attack> {
    [first(), chained(), keys()].concat()
}

fn first() -> Vec<Attack> {
    let honest = signed(two_of_three(1), &["root", "rita"]);
    let mut own = two_of_three(1);
    for entry in own.keys.iter_mut().filter(|it| it.roles.contains(&Role::Root)) {
        entry.key = key(&format!("mallory as {}", entry.owner)).public();
    }
    let own = signed(own, &["mallory as root", "mallory as rita"]);
    let alone = signed(two_of_three(1), &["root"]);
    let mut twice = two_of_three(1);
    twice.keys.push(root("root", "root's other key"));
    let twice = signed(twice, &["root", "root's other key"]);
    let strangers = signed(two_of_three(1), &["root", "max", "sec", "bea"]);
    vec![
        pinned(
            "policy-of-somebody-else",
            "A new host is given a policy of the attacker's own, well signed by its own root.",
            &own,
            &honest,
        )
        .by(
            "the way by which a host is enrolled",
            "TUF 1.0.33, 5.2: the trusted root is shipped, not fetched",
        )
        .refused(
            Code::DigestMismatch,
            format!("the policy offered is {}, the one put in is {}", own.id(), honest.id()),
        ),
        pinned(
            "policy-by-one-root-owner",
            "One root owner of the two that must sign.",
            &alone,
            &alone,
        )
        .by("one root owner's key", BELOW)
        .refused(Code::ThresholdNotMet, "policy 1 needs 2 root owners of policy 1; 1 signed"),
        pinned(
            "policy-by-two-keys-of-one-owner",
            "One root owner signs with two keys.",
            &twice,
            &twice,
        )
        .by("one root owner's two keys", BELOW)
        .refused(Code::ThresholdNotMet, "policy 1 needs 2 root owners of policy 1; 2 signed"),
        pinned(
            "policy-by-those-without-the-role",
            "One root owner, and everybody else who is in the policy.",
            &strangers,
            &strangers,
        )
        .by("one root owner's key and those of people with other roles", BELOW)
        .refused(Code::ThresholdNotMet, "policy 1 needs 2 root owners of policy 1; 4 signed"),
    ]
}

fn chained() -> Vec<Attack> {
    let by_old_only = {
        let mut next = two_of_three(2);
        for entry in next.keys.iter_mut().filter(|it| it.roles.contains(&Role::Root)) {
            entry.key = key(&format!("new {}", entry.owner)).public();
        }
        next
    };
    let by_new_only = signed(by_old_only.clone(), &["new root", "new rita"]);
    let by_old_only = signed(by_old_only, &["root", "rita"]);
    let skipping = signed(two_of_three(3), &["root", "rita"]);
    let same = {
        let mut other = two_of_three(1);
        other.root_threshold = 1;
        signed(other, &["root", "rita"])
    };
    let lowering = {
        let mut lower = two_of_three(2);
        lower.root_threshold = 1;
        signed(lower, &["root"])
    };
    vec![
        after_it(
            "policy-by-the-old-root-only",
            "The next policy names root keys of which none has signed: nobody shows that they exist.",
            &by_old_only,
        )
        .by("the root threshold of the policy before", CHAIN)
        .refused(Code::ThresholdNotMet, "policy 2 needs 2 root owners of policy 2; 0 signed"),
        after_it(
            "policy-by-the-new-root-only",
            "The next policy is signed by the root keys that it names itself, and by none of those before.",
            &by_new_only,
        )
        .by(COORDINATOR, CHAIN)
        .refused(Code::ThresholdNotMet, "policy 2 needs 2 root owners of policy 1; 0 signed"),
        after_it(
            "policy-that-lowers-the-threshold",
            "One root owner signs that one root owner is enough.",
            &lowering,
        )
        .by("one root owner's key", BELOW)
        .refused(Code::ThresholdNotMet, "policy 2 needs 2 root owners of policy 1; 1 signed"),
        after_it(
            "policy-version-skipped",
            "A well-signed policy, with the version left out in which a key was revoked.",
            &skipping,
        )
        .by(COORDINATOR, CHAIN)
        .refused(Code::PolicyRollback, "version 3 after version 1"),
        after_it(
            "policy-version-again",
            "A second policy of the version in force.",
            &same,
        )
        .by("the root threshold", CHAIN)
        .refused(Code::PolicyRollback, "version 1 after version 1"),
    ]
}

/// What is said with the keys of a policy, and keys that cannot be in one.
fn keys() -> Vec<Attack> {
    let twice = {
        let mut document = two_of_three(1);
        document.keys.push(root("rosa", "root"));
        let place = document.keys.len() - 1;
        (signed(document, &["root"]), place)
    };
    let log_key = {
        let mut document = two_of_three(1);
        document.keys.push(root("rosa", "log"));
        let place = document.keys.len() - 1;
        (signed(document, &["root", "rita"]), place)
    };
    let honest = key("rita").public().to_string();
    // The SubjectPublicKeyInfo of the identity.
    let identity = "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(honest.len(), identity.len());
    let payload = signed(two_of_three(1), &[]).payload().to_vec();
    let payload = String::from_utf8(payload).unwrap().replace(&honest, identity);
    let says = payload.split_once("\"says\":").unwrap().1;
    let column = says.find(identity).unwrap() + identity.len() + 1;
    let mut weak = Envelope::unsigned(PAYLOAD_TYPE, payload.into_bytes());
    weak.sign(&key("root"));
    let pin =
        |(envelope, _): &(Envelope, usize), name, title| pinned(name, title, envelope, envelope);
    vec![
        pin(
            &twice,
            "policy-with-one-key-under-two-owners",
            "One key under two owners, to be two voices.",
        )
        .by("one root owner's key", "TUF 1.0.33, 5.3.4: a threshold counts keys, not entries")
        .refused(Code::Malformed, format!("keys[{}].key: the same key as keys[0]", twice.1)),
        pin(
            &log_key,
            "policy-with-the-logs-key-as-a-persons",
            "The coordinator is made a root owner.",
        )
        .by(COORDINATOR, "DESIGN 4: the log's key is nobody's")
        .refused(
            Code::Malformed,
            format!("keys[{}].key: the log's key cannot be a person's", log_key.1),
        ),
        pinned(
            "policy-with-a-key-of-small-order",
            "A root owner's key is of small order: anybody can sign with it.",
            &weak,
            &weak,
        )
        .by("one root owner's key", "\"Taming the many EdDSAs\": small-order points")
        .refused(
            Code::Malformed,
            format!(
"read what the trust-policy statement says: read a public key: it is not a valid ed25519 point at line 1 column {column}"),
        ),
        stolen(),
        rotated(),
    ]
}

fn hold(package: &str) -> (Envelope, Envelope) {
    let release = Statement::new(at(0), release(package, Digest::of(package.as_bytes())));
    let release = release.signed_by([&key("sue")]);
    let hold = Hold { release: release.id(), reason: "because".to_owned(), finish: false };
    (release, Statement::new(at(0), hold).signed_by([&key("sec")]))
}

fn with_status(status: KeyStatus) -> Envelope {
    let mut next = document(2);
    next.keys.iter_mut().find(|it| it.owner == name("sec")).unwrap().status = status;
    signed(next, &["root"])
}

fn stolen() -> Attack {
    let (release, hold) = hold("1.0");
    Attack::new(
        "key-that-was-stolen",
        "A key that a policy calls compromised goes on signing.",
        Entrance::Log,
    )
    .file("entry-01.json", release.to_bytes())
    .file("entry-02.json", with_status(KeyStatus::Compromised).to_bytes())
    .file("entry-03.json", hold.to_bytes())
    .by("one person's stolen key", "TUF 1.0.33, 1.5.2: vulnerability to key compromises")
    .refused(
        Code::RoleMissing,
        "a hold must be signed by change-manager or security for web; signed by no known key",
    )
}

fn rotated() -> Attack {
    let (release, hold) = hold("1.0");
    Attack::new(
        "key-that-was-rotated",
        "A key that was rotated away goes on signing, with a date from before.",
        Entrance::Log,
    )
    .file("entry-01.json", release.to_bytes())
    .file("entry-02.json", with_status(KeyStatus::Rotated { logged_below: 2 }).to_bytes())
    .file("entry-03.json", hold.to_bytes())
    .by(
        "one person's old key, and the coordinator",
        "DESIGN 4: a rotation keeps what was logged before it",
    )
    .refused(
        Code::RoleMissing,
        "a hold must be signed by change-manager or security for web; signed by no known key",
    )
}
