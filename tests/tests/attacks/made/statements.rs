//! Statements that are not what they look like: confused types, second spellings, too much of something.

use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{Hold, PAYLOAD_TYPE, Says, Statement};

use super::{COORDINATOR, NETWORK, PERSON};
use crate::entrance::Entrance;
use crate::fixture::Attack;
use crate::world::{World, at, enrolment, key, release};

const CONFUSION: &str = "DSSE 1.0, \"Background\": type confusion";
pub(super) const SPELLING: &str =
    "RFC 8259, section 4: names within an object should be unique; two readers differ";
pub(super) const ENDLESS: &str = "TUF 1.0.33, 1.5.2: endless data attack";

/// The log of one release: after the policy, the release statement.
pub(super) fn one_release() -> (Attack, Digest) {
    let envelope = release_envelope();
    let attack = Attack::new("", "", Entrance::Log).file("entry-01.json", envelope.to_bytes());
    (attack, envelope.id())
}

/// What the submitter says in it.
pub(super) fn release_envelope() -> Envelope {
    Statement::new(at(0), release("1.0", Digest::of(b"1.0"))).signed_by([&key("sue")])
}

/// An attack whose last entry is `bytes`, after a release.
pub(super) fn after_a_release(name: &'static str, title: &str, bytes: Vec<u8>) -> Attack {
    let (log, _) = one_release();
    Attack { name: name.into(), ..log }.titled(title).file("entry-02.json", bytes)
}

impl Attack {
    pub(super) fn titled(mut self, title: &str) -> Self {
        title.clone_into(&mut self.about.title);
        self
    }
}

pub(super) fn hold() -> Statement {
    let (_, release) = one_release();
    Statement::new(at(0), Hold { release, reason: "because".to_owned(), finish: false })
}

/// What `owner` would sign to say it.
pub(super) fn payload(owner: &str, says: impl Into<Says>) -> String {
    let envelope = Statement::new(at(0), says).signed_by([&key(owner)]);
    String::from_utf8(envelope.payload().to_vec()).unwrap()
}

pub(super) fn signed(owner: &str, payload: &str) -> Envelope {
    let mut envelope = Envelope::unsigned(PAYLOAD_TYPE, payload.as_bytes().to_vec());
    envelope.sign(&key(owner));
    envelope
}

/// A hold by security whose payload was changed before it was signed.
fn bent(name: &'static str, title: &str, change: impl Fn(&str) -> String) -> Attack {
    let honest = payload("sec", hold().says);
    let changed = change(&honest);
    assert_ne!(honest, changed, "{name} is another payload");
    after_a_release(name, title, signed("sec", &changed).to_bytes())
}

pub(super) fn controls() -> Vec<Attack> {
    let honest = signed("sec", &payload("sec", hold().says)).to_bytes();
    // White space and the order of fields are the writer's own.
    let spaced = payload("sec", hold().says).replace(",\"says\"", " ,\n \"says\"");
    vec![
        after_a_release("a hold", "", honest),
        after_a_release("a hold with space", "", signed("sec", &spaced).to_bytes()),
    ]
}

pub(super) fn attacks() -> Vec<Attack> {
    [types(), unknown(), spellings(), values(), sizes()].concat()
}

fn types() -> Vec<Attack> {
    let mut of_text = Envelope::unsigned("text/plain", payload("sec", hold().says).into_bytes());
    of_text.sign(&key("sec"));
    let (_, release_id) = one_release();
    let other = Digest::of(b"another release");
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let clearance = world.clearance("p1", way.booking, Digest::of(b"nonce"));
    let clearance = clearance.signed_by([&key("log")]).to_bytes();
    vec![
        after_a_release(
            "payload-of-another-type",
            "A text that somebody signed elsewhere is offered as a statement.",
            of_text.to_bytes(),
        )
        .by(COORDINATOR, CONFUSION)
        .refused(
            Code::Malformed,
            "accept the type \"text/plain\": expected \"application/vnd.in-toto+json\"",
        ),
        bent(
            "statement-of-another-version",
            "An in-toto statement of another version, with fields that mean something else there.",
            |it| it.replace("in-toto.io/Statement/v1", "in-toto.io/Statement/v0.1"),
        )
        .by(PERSON, CONFUSION)
        .refused(
            Code::Malformed,
            "accept the type \"https://in-toto.io/Statement/v0.1\": expected \
             \"https://in-toto.io/Statement/v1\"",
        ),
        bent(
            "predicate-confused",
            "What is said in a hold is offered as the resumption of one.",
            |it| it.replace("urn:cutover:hold:v1", "urn:cutover:resume:v1"),
        )
        .by(PERSON, CONFUSION)
        .refused(
            Code::Malformed,
            "read what the resume statement says: unknown field `release`, expected `hold` or \
             `reason` at line 1 column 10",
        ),
        bent(
            "subject-of-another-release",
            "Stock tools show one release as the subject, the predicate holds another.",
            |it| it.replacen(&release_id.to_string(), &other.to_string(), 1),
        )
        .by(PERSON, CONFUSION)
        .refused(Code::Malformed, "match the statement's subjects with what it says"),
        after_a_release(
            "clearance-as-an-entry",
            "A clearance, good for a minute, is put into the log to last.",
            clearance,
        )
        .by(COORDINATOR, CONFUSION)
        .refused(Code::PredicateUnknown, "the policy does not list clearance"),
    ]
}

fn unknown() -> Vec<Attack> {
    vec![
        bent(
            "predicate-unknown",
            "A predicate that this program does not know, and so cannot judge.",
            |it| it.replace("urn:cutover:hold:v1", "urn:cutover:install:v1"),
        )
        .by(COORDINATOR, "DESIGN 3: an unknown predicate refuses")
        .refused(
            Code::PredicateUnknown,
            "know the predicate type \"urn:cutover:install:v1\": a newer Cutover may",
        ),
        bent(
            "predicate-of-another-version",
            "A known predicate in a version that means something else.",
            |it| it.replace("urn:cutover:hold:v1", "urn:cutover:hold:v2"),
        )
        .by(COORDINATOR, "DESIGN 3: an unknown predicate refuses")
        .refused(
            Code::PredicateUnknown,
            "know the predicate type \"urn:cutover:hold:v2\": a newer Cutover may",
        ),
    ]
}

fn spellings() -> Vec<Attack> {
    let enrolled = payload("ops", enrolment("s1", "staging"));
    let labels = |labels: &str| {
        let changed = enrolled.replace("\"labels\":{}", &format!("\"labels\":{labels}"));
        assert_ne!(changed, enrolled);
        signed("ops", &changed).to_bytes()
    };
    let spelling = "accept a second spelling: each thing is written once, as Cutover writes it";
    vec![
        bent(
            "field-unknown",
            "A field that this program would pass over and another would obey.",
            |it| it.replace("\"finish\":", "\"force\":true,\"finish\":"),
        )
        .by(PERSON, "DESIGN 3: unknown fields are an error")
        .refused(
            Code::Malformed,
            "read what the hold statement says: unknown field `force`, expected one of `release`, \
             `reason`, `finish` at line 1 column 104",
        ),
        bent(
            "field-twice",
            "A field that is there twice: the first reader takes one, the second the other.",
            |it| it.replace("\"finish\":", "\"finish\":true,\"finish\":"),
        )
        .by(PERSON, SPELLING)
        .refused(Code::Malformed, "read what the hold statement says: duplicate field `finish` at line 1 column 119"),
        bent(
            "predicate-twice",
            "Two predicates in one statement, of which each reader sees another.",
            |it| it.replace("\"predicate\":{", "\"predicate\":{},\"predicate\":{"),
        )
        .by(PERSON, SPELLING)
        .refused(Code::Malformed, "read the statement as JSON: duplicate field `predicate` at line 1 column 225"),
        Attack::new(
            "label-twice",
            "An enrolment with one label twice: which wave is the host in?",
            Entrance::Log,
        )
        .file("entry-01.json", labels(r#"{"ring":"canary","ring":"last"}"#))
        .by(PERSON, SPELLING)
        .refused(Code::Malformed, spelling),
        bent(
            "statement-as-a-list",
            "A statement written as the list of its fields' values, which no other reader understands.",
            |it| {
                let value: serde_json::Value = serde_json::from_str(it).unwrap();
                let predicate = it.split_once("\"predicate\":").unwrap().1;
                let predicate = predicate.strip_suffix('}').unwrap();
                format!(
                    "[{},{},{},{predicate}]",
                    value["_type"], value["subject"], value["predicateType"]
                )
            },
        )
        .by(PERSON, SPELLING)
        .refused(Code::Malformed, spelling),
    ]
}

fn values() -> Vec<Attack> {
    vec![
        bent(
            "digest-in-capitals",
            "A digest in another spelling, under which a search of the log does not find it.",
            |it| {
                let (_, release) = one_release();
                it.replace(&release.to_string(), &release.to_string().to_uppercase())
            },
        )
        .by(PERSON, "DESIGN 3: a statement has one identity")
        .refused(Code::Malformed, "read the statement as JSON: \"F90CEFB5AEAC0802EC9CF632B1682A76ACFCF298586DFB1B94AFB6EA4233B203\" is not a SHA-256 digest: expected 64 lower-case hexadecimal digits at line 1 column 157"),
        bent(
            "validity-empty",
            "A validity that ends before it begins, for readers who look at one end only.",
            |it| {
                it.replace(
                    "\"says\":",
                    "\"not_before\":\"2026-03-03T00:00:00Z\",\"not_after\":\"2026-03-02T00:00:00Z\",\
                     \"says\":",
                )
            },
        )
        .by(PERSON, "DESIGN 3: not_before and not_after")
        .refused(
            Code::Malformed,
            "use an empty validity: not_before must be before not_after",
        ),
    ]
}

fn sizes() -> Vec<Attack> {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let (log, _) = one_release();
    let honest = String::from_utf8(hold().signed_by([&key("sec")]).to_bytes()).unwrap();
    vec![
        bent(
            "json-nested-deeply",
            "Lists in lists, three thousand deep: a reader that calls itself runs out of stack.",
            |it| it.replace("\"because\"", &nested(3000)),
        )
        .by(NETWORK, ENDLESS)
        .refused(Code::Malformed, "read what the hold statement says: invalid type: sequence, expected a string at line 1 column 87"),
        bent("json-nested-in-an-unknown-field", "The same in a field that is skipped.", |it| {
            it.replace("\"finish\":", &format!("\"force\":{},\"finish\":", nested(3000)))
        })
        .by(NETWORK, ENDLESS)
        .refused(Code::Malformed, "read what the hold statement says: unknown field `force`, expected one of `release`, `reason`, `finish` at line 1 column 104"),
        Attack { name: "envelope-too-long".into(), ..log }
            .titled("An envelope that does not end: three million spaces behind it.")
            .file("entry-02.json", honest.clone())
            .padded("entry-02.json", "    ", 750_000)
            .by(NETWORK, ENDLESS)
            .refused(Code::Malformed, "read an envelope of 3000832 bytes: the limit is 2097152"),
    ]
}
