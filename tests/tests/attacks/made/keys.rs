//! Keys and signatures that lax implementations of ed25519 accept.
//!
//! The numbers are those of RFC 8032: p = 2^255 - 19, L = 2^252 + 27742317777372353535851937790883648493.

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use curve25519_dalek::traits::Identity as _;
use cutover_shared::digest::Digest;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{Hold, Statement};
use sha2::{Digest as _, Sha512};

use super::NETWORK;
use crate::entrance::Entrance;
use crate::fixture::Attack;
use crate::world::{at, key, release};

const SMALL_ORDER: &str =
    "\"Taming the many EdDSAs\" (Chalkias, Garillot, Nikolaenko), small-order points";
const CANONICAL: &str = "RFC 8032, 5.1.3 and 5.1.7: encodings must be decoded as canonical";

/// The canonical encodings of the eight points of small order.
const EIGHT: [&str; 8] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

/// L, little-endian.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

pub(super) fn controls() -> Vec<Attack> {
    let good = hex(&key("sec").public().raw());
    vec![Attack::new("a key", "", Entrance::Keys).file("keys.txt", format!("{good}\n"))]
}

pub(super) fn attacks() -> Vec<Attack> {
    let point = "read a public key: it is not a valid ed25519 point";
    // y + p for every y that still fits in 255 bits, with either sign of x.
    let mut second = String::new();
    for y in 0_u8..19 {
        let mut raw = [0xff; 32];
        raw[0] = 0xed + y;
        for top in [0x7f, 0xff] {
            raw[31] = top;
            second.push_str(&hex(&raw));
            second.push('\n');
        }
    }
    vec![
        Attack::new(
            "keys-of-small-order",
            "Public keys under which anybody can sign anything, or one signature is good for many texts.",
            Entrance::Keys,
        )
        .by("the way by which a key gets into a policy", SMALL_ORDER)
        .file("keys.txt", EIGHT.map(|it| format!("{it}\n")).concat())
        .fails(point),
        Attack::new(
            "keys-in-a-second-spelling",
            "One key under two ids, of which a threshold would count two.",
            Entrance::Keys,
        )
        .by("the way by which a key gets into a policy", CANONICAL)
        .file("keys.txt", second)
        .fails(point),
        scalar_not_reduced(),
        commitment_of_small_order(),
    ]
}

fn hold_by_security() -> (Attack, cutover_shared::dsse::Envelope) {
    let release = Statement::new(at(0), release("1.0", Digest::of(b"1.0")));
    let release = release.signed_by([&key("sue")]);
    let hold = Hold { release: release.id(), reason: "because".to_owned(), finish: false };
    let hold = Statement::new(at(0), hold).signed_by([&key("sec")]);
    let log = Attack::new("", "", Entrance::Log).file("entry-01.json", release.to_bytes());
    (log, hold)
}

/// The same statement under another signature.
fn under(name: &'static str, title: &str, signature: [u8; 64]) -> Attack {
    use base64::Engine as _;
    let (log, hold) = hold_by_security();
    let (id, honest) = hold.signatures()[0];
    let encode = |bytes: &[u8]| base64::prelude::BASE64_STANDARD.encode(bytes);
    let text = String::from_utf8(hold.to_bytes()).unwrap();
    let bytes = text.replace(&encode(&honest), &encode(&signature));
    let mut attack = Attack { name: name.into(), ..log };
    title.clone_into(&mut attack.about.title);
    attack
        .file("entry-02.json", bytes)
        .refused(Code::SignatureInvalid, format!("verify the signature by the key {id}"))
}

/// S + L in the place of S: a second signature, made by somebody without the key.
fn scalar_not_reduced() -> Attack {
    let (_, hold) = hold_by_security();
    let mut signature = hold.signatures()[0].1;
    let order: Digest = ORDER.parse().unwrap();
    let mut carry = 0_u16;
    for (byte, add) in signature[32..].iter_mut().zip(order.as_bytes()) {
        let sum = u16::from(*byte) + u16::from(*add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0, "S + L fits");
    under(
        "signature-made-out-of-another",
        "S + L in the place of S: a second good signature for a lax reader, made without the key.",
        signature,
    )
    .by(NETWORK, "RFC 8032, 5.1.7 and 8.4: signature malleability")
}

/// R is the identity, and S fits: good for everybody who multiplies and compares only.
fn commitment_of_small_order() -> Attack {
    let (_, hold) = hold_by_security();
    let seed = Digest::of(b"sec");
    let expanded = Sha512::digest(seed.as_bytes());
    let secret = clamp_integer(expanded[..32].try_into().unwrap());
    let secret = Scalar::from_bytes_mod_order(secret);
    let public = key("sec").public().raw();
    let commitment = EdwardsPoint::identity().compress();
    let hash = Sha512::new()
        .chain_update(commitment.as_bytes())
        .chain_update(public)
        .chain_update(hold.pae())
        .finalize();
    let challenge = Scalar::from_bytes_mod_order_wide(&hash.into());
    let response = challenge * secret;
    // It is what RFC 8032 asks for: [S]B = R + [k]A.
    let key = CompressedEdwardsY(public).decompress().unwrap();
    assert_eq!(ED25519_BASEPOINT_POINT * response, key * challenge);
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(commitment.as_bytes());
    signature[32..].copy_from_slice(response.as_bytes());
    under(
        "signature-with-a-small-order-commitment",
        "R is the identity: the equation holds, and the signer can say later that it was not this text.",
        signature,
    )
    .by("one person's key, whose owner means to deny it", SMALL_ORDER)
}

fn hex(bytes: &[u8; 32]) -> String {
    Digest::from_bytes(*bytes).to_string()
}
