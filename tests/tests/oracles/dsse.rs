//! Envelopes and statements, held against the reference implementations of DSSE and in-toto.

use std::collections::BTreeSet;
use std::fs;

use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::key::{KeyId, SecretKey};
use cutover_shared::statement::{PAYLOAD_TYPE, Predicate, Statement};
use cutover_tests::build;
use cutover_tests::oracle::Python;
use serde_json::{Value, json};

const SCRIPT: &str = "dsse.py";

fn python(test: &str) -> Option<Python> {
    Python::open(test, &["securesystemslib", "in_toto_attestation", "cryptography"]).unwrap()
}

fn seed(owner: &str) -> [u8; 32] {
    *Digest::of(owner.as_bytes()).as_bytes()
}

fn key(owner: &str) -> SecretKey {
    SecretKey::from_seed(seed(owner))
}

/// A statement of each predicate and shape: those whose bytes are golden, said by `owner`.
fn statements(owner: &str) -> Vec<Statement> {
    let golden = build::workspace().join("shared/tests/golden/statements.txt");
    let text = fs::read_to_string(golden).unwrap();
    let by = key(owner).public().id();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(_, payload)| {
            let mut value: Value = serde_json::from_str(payload).unwrap();
            if let Some(said) = value["predicate"].get_mut("by") {
                *said = json!(by);
            }
            let mut envelope =
                Envelope::unsigned(PAYLOAD_TYPE, serde_json::to_vec(&value).unwrap());
            envelope.sign(&key(owner));
            Statement::read(&envelope).unwrap()
        })
        .collect()
}

fn verify(envelope: &Envelope, by: &[&str]) -> String {
    let keys: Vec<_> = by
        .iter()
        .map(|owner| key(owner).public())
        .map(|key| json!({ "pem": key.to_pem(), "keyid": key.id() }))
        .collect();
    let envelope = String::from_utf8(envelope.to_bytes()).unwrap();
    json!({ "verify": envelope, "keys": keys }).to_string()
}

#[test]
fn they_verify_and_read_what_we_sign() {
    let Some(python) = python("they_verify_and_read_what_we_sign") else { return };
    let statements = statements("alice");
    let predicates: BTreeSet<_> = statements.iter().map(|it| it.says.predicate()).collect();
    assert_eq!(predicates.len(), Predicate::ALL.len(), "one of each");
    let (alice, bob) = (key("alice"), key("bob"));
    let envelopes: Vec<_> = statements.iter().map(|it| it.signed_by([&alice, &bob])).collect();
    let questions: Vec<_> = envelopes.iter().map(|it| verify(it, &["alice", "bob"])).collect();
    let answers = python.ask(SCRIPT, &questions).unwrap();
    for (envelope, answer) in envelopes.iter().zip(answers) {
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let ours: Value = serde_json::from_slice(envelope.payload()).unwrap();
        let ids: BTreeSet<_> = [&alice, &bob].map(|key| key.public().id().to_string()).into();
        assert_eq!(answer["signed"], json!(ids), "{answer}");
        assert_eq!(answer["type"], PAYLOAD_TYPE);
        assert_eq!(answer["predicate-type"], ours["predicateType"]);
        let subjects = ours["subject"].as_array().unwrap();
        let subjects: Vec<_> =
            subjects.iter().map(|it| json!([it["name"], it["digest"]])).collect();
        assert_eq!(answer["subjects"], json!(subjects));
        assert_eq!(whole(&answer["predicate"]), ours["predicate"]);
    }
}

/// Their numbers are floating: whole ones as we write them.
fn whole(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole and small: the statements are ours"
            )]
            Some(float) if number.is_f64() && float.fract() == 0.0 => json!(float as u64),
            _ => value.clone(),
        },
        Value::Array(values) => values.iter().map(whole).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), whole(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

#[test]
fn they_refuse_what_we_refuse() {
    let Some(python) = python("they_refuse_what_we_refuse") else { return };
    let alice = key("alice");
    let statement = &statements("alice")[1];
    let honest = statement.signed_by([&alice]);
    let text = String::from_utf8(honest.to_bytes()).unwrap();
    let payload = text.split('"').nth(3).unwrap();
    let other = statements("alice").pop().unwrap().signed_by([&alice]);
    let other = String::from_utf8(other.to_bytes()).unwrap();
    let other = other.split('"').nth(3).unwrap();
    let bent = [
        ("another payload", text.replace(payload, other)),
        ("another type", text.replace("in-toto+json", "in-toto+jsom")),
        ("another key's name", text.replace(&alice.public().id().to_string(), &"0".repeat(64))),
    ];
    let known = alice.public();
    for (what, text) in &bent {
        let envelope = Envelope::parse(text.as_bytes()).unwrap();
        let signers = envelope.valid_signers(|id| (*id == known.id()).then(|| known.clone()));
        assert!(signers.is_err() || signers.unwrap().is_empty(), "{what}");
    }
    let questions: Vec<_> = bent
        .iter()
        .map(|(_, text)| verify(&Envelope::parse(text.as_bytes()).unwrap(), &["alice"]))
        .collect();
    for (answer, (what, _)) in python.ask(SCRIPT, &questions).unwrap().iter().zip(&bent) {
        let answer: Value = serde_json::from_str(answer).unwrap();
        let refused = answer["refused"].as_str().unwrap_or_default();
        assert!(refused.contains("VerificationError"), "{what}: {answer}");
    }
}

#[test]
fn we_verify_and_read_what_they_sign() {
    let Some(python) = python("we_verify_and_read_what_they_sign") else { return };
    let (alice, statements) = (key("alice"), statements("alice"));
    let known = alice.public();
    let payload = |statement: &Statement| {
        String::from_utf8(statement.signed_by([&alice]).payload().to_vec()).unwrap()
    };
    let question = |statement: &Statement| {
        let seed = Digest::from_bytes(seed("alice"));
        json!({ "sign": payload(statement), "seed": seed, "keyid": known.id() }).to_string()
    };
    let questions: Vec<_> = statements.iter().map(question).collect();
    let (mut with_numbers, mut without) = (0, 0);
    for (statement, answer) in statements.iter().zip(python.ask(SCRIPT, &questions).unwrap()) {
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let envelopes = answer["envelopes"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let [ours, theirs] = envelopes.as_slice() else { panic!("{answer}") };
        let read = |envelope: &Value| {
            let envelope = Envelope::parse(envelope.as_str().unwrap().as_bytes()).unwrap();
            let lookup = |id: &KeyId| (*id == known.id()).then(|| known.clone());
            assert_eq!(envelope.valid_signers(lookup).unwrap(), BTreeSet::from([known.id()]));
            Statement::read(&envelope).map(|it| (it.says, it.header.issued))
        };
        let said = || (statement.says.clone(), statement.header.issued);
        assert_eq!(read(ours).unwrap(), said());
        let value: Value = serde_json::from_str(&payload(statement)).unwrap();
        if has_number(&value["predicate"]) {
            // in-toto's own library knows floating numbers only, and writes 1 as 1.0.
            let fault = read(theirs).unwrap_err().to_string();
            assert!(fault.contains("floating point"), "{fault}");
            with_numbers += 1;
        } else {
            assert_eq!(read(theirs).unwrap(), said());
            without += 1;
        }
    }
    assert!(with_numbers > 5 && without > 15, "{with_numbers} with numbers, {without} without");
}

fn has_number(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::Array(values) => values.iter().any(has_number),
        Value::Object(fields) => fields.values().any(has_number),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}
