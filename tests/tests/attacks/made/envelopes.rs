//! Envelopes whose signatures are another's, or are written in another way.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cutover_shared::refusal::Code;
use cutover_shared::statement::Statement;

use super::statements::{ENDLESS, SPELLING, after_a_release, hold, payload, signed};
use super::{COORDINATOR, NETWORK, PERSON};
use crate::fixture::Attack;
use crate::world::{at, key};

const ARBITRARY: &str = "TUF 1.0.33, 1.5.2: arbitrary installation attack";

pub(super) fn attacks() -> Vec<Attack> {
    [changed(), written_otherwise()].concat()
}

fn written(signature: &[u8]) -> String {
    BASE64_STANDARD.encode(signature)
}

/// The same bytes in base64 for a lax reader: the last digit before the padding has bits that say nothing.
fn with_stray_bits(encoded: &str) -> String {
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits_before = encoded.trim_end_matches('=');
    let (before, last) = digits_before.split_at(digits_before.len() - 1);
    let next = digits.find(last).unwrap() + 1;
    format!("{before}{}==", &digits[next..=next])
}

fn changed() -> Vec<Attack> {
    let honest = hold().signed_by([&key("sec")]);
    let text = String::from_utf8(honest.to_bytes()).unwrap();
    let (id, signature) = honest.signatures()[0];
    let mut flipped = signature;
    flipped[0] ^= 1;
    let another = Statement::new(at(1), hold().says).signed_by([&key("sec")]);
    let mislabelled = text.replace(&id.to_string(), &key("max").public().id().to_string());
    let by_another = payload("max", hold().says);
    vec![
        after_a_release(
            "signature-flipped",
            "One bit of a signature is another.",
            text.replace(&written(&signature), &written(&flipped)).into_bytes(),
        )
        .by(NETWORK, ARBITRARY)
        .refused(Code::SignatureInvalid, format!("verify the signature by the key {id}")),
        after_a_release(
            "signature-of-another-payload",
            "A good signature is put under another payload of the same person.",
            text.replace(&written(&signature), &written(&another.signatures()[0].1)).into_bytes(),
        )
        .by(COORDINATOR, ARBITRARY)
        .refused(Code::SignatureInvalid, format!("verify the signature by the key {id}")),
        after_a_release(
            "signature-under-anothers-name",
            "Security's signature with the change manager's key id.",
            mislabelled.into_bytes(),
        )
        .by(COORDINATOR, ARBITRARY)
        .refused(
            Code::Malformed,
            "find the speaker's signature: `by` must name a key that signed (a policy has none)",
        ),
        after_a_release(
            "signature-by-another-than-the-speaker",
            "The change manager is named as the speaker of what security signed.",
            signed("sec", &by_another).to_bytes(),
        )
        .by(PERSON, "DESIGN 4: one voice a person")
        .refused(
            Code::Malformed,
            "find the speaker's signature: `by` must name a key that signed (a policy has none)",
        ),
    ]
}

fn written_otherwise() -> Vec<Attack> {
    let honest = hold().signed_by([&key("sec")]);
    let text = String::from_utf8(honest.to_bytes()).unwrap();
    let (id, signature) = honest.signatures()[0];
    let (start, end) = text.split_once("\"signatures\":[").unwrap();
    let stray = with_stray_bits(&written(&signature));
    let many: Vec<String> = (0..33)
        .map(|number| {
            let key = key(&format!("nobody {number}")).public().id();
            format!("{{\"keyid\":\"{key}\",\"sig\":\"{}\"}}", written(&signature))
        })
        .collect();
    vec![
        after_a_release(
            "signature-twice",
            "One key's signature twice, for a reader that counts signatures.",
            format!("{start}\"signatures\":[{},{end}", end.replace("]}", "")).into_bytes(),
        )
        .by(COORDINATOR, "CVE-2020-6174 (TUF): duplicate signatures counted twice")
        .refused(Code::Malformed, format!("accept two signatures by the key {id}")),
        after_a_release(
            "signatures-without-end",
            "Thirty-three signatures by nobody, each of which costs a check.",
            format!("{start}\"signatures\":[{}]}}", many.join(",")).into_bytes(),
        )
        .by(NETWORK, ENDLESS)
        .refused(Code::Malformed, "accept 33 signatures: expected 1 to 32"),
        after_a_release(
            "signature-missing",
            "A statement that nobody signed.",
            format!("{start}\"signatures\":[]}}").into_bytes(),
        )
        .by(NETWORK, ARBITRARY)
        .refused(Code::Malformed, "accept 0 signatures: expected 1 to 32"),
        after_a_release(
            "base64-with-stray-bits",
            "A signature in a second spelling of base64.",
            text.replace(&written(&signature), &stray).into_bytes(),
        )
        .by(NETWORK, "RFC 4648, section 3.5: canonical encoding")
        .refused(Code::Malformed, "read the envelope's signature: expected padded standard base64"),
        after_a_release(
            "envelope-as-a-list",
            "An envelope written as the list of its fields' values.",
            {
                let value: serde_json::Value = serde_json::from_str(&text).unwrap();
                format!("[{},{},{}]", value["payload"], value["payloadType"], value["signatures"])
                    .into_bytes()
            },
        )
        .by(NETWORK, SPELLING)
        .refused(Code::Malformed, "read an envelope as DSSE JSON: invalid type: sequence, expected an object at line 1 column 0"),
        after_a_release(
            "envelope-with-more-behind",
            "A second envelope behind the first.",
            [text.as_bytes(), text.as_bytes()].concat(),
        )
        .by(NETWORK, SPELLING)
        .refused(Code::Malformed, "read an envelope as DSSE JSON: trailing characters at line 1 column 833"),
    ]
}
