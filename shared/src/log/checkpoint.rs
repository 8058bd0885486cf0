//! Checkpoints: signed, timestamped heads of the log.
//!
//! A checkpoint is a C2SP signed note with a `tlog-checkpoint` body:
//!
//! ```text
//! cutover.example.org/log
//! 42
//! base64 of the root
//!
//! — cutover.example.org/log base64(key id || signature)
//! — cutover.example.org/log base64(key id || time || cosignature)
//! ```
//!
//! The first line is the log's signature (C2SP `signed-note`, type 0x01), the second its own
//! `cosignature/v1` (C2SP `tlog-cosignature`, type 0x04), which says when: so a checkpoint is also a proof
//! of freshness. Witnesses add lines like the second ([`cosign`], [`cosignatures`]); lines by keys that
//! the reader does not know are passed over.
//!
//! A note's key id is short and can be forged to collide, so it only says which key to try. A line that
//! names a known key and does not verify spoils the whole note, and so does a second line of one kind by
//! one key: which of two times would hold?

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::TreeHead;
use crate::digest::Digest;
use crate::key::{KeyId, PublicKey, SecretKey};
use crate::time::Time;

/// Longest note in bytes: the body and sixteen lines of signatures are a third of it.
pub const MAX_NOTE: usize = 16 * 1024;
/// Most signature lines.
pub const MAX_LINES: usize = 16;

const NOTE_SIGNATURE: u8 = 0x01;
const COSIGNATURE: u8 = 0x04;

/// A checkpoint whose two signatures were verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Its size and root.
    pub head: TreeHead,
    /// When it was signed, to the second.
    pub time: Time,
}

/// Why bytes are not a good checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a signed note with a checkpoint in it.
    #[error("read a checkpoint: {0}")]
    Malformed(&'static str),
    /// Of another log.
    #[error("accept a checkpoint of {found:?}: expected {expected:?}")]
    Origin {
        /// In the note.
        found: String,
        /// By the policy.
        expected: String,
    },
    /// The log's signature, or its timestamped cosignature, is missing or wrong.
    #[error("find the log's {0} on the checkpoint")]
    Signature(&'static str),
    /// A witness's cosignature is there and does not verify.
    #[error("verify the cosignature of the witness {0:?}")]
    Witness(String),
    /// Two lines of one kind by one key.
    #[error("accept two signatures of one kind by {0:?}")]
    Repeated(String),
    /// No line can be added: there are too many, the note is too long, or the name is not a name.
    #[error("cosign a checkpoint: {0}")]
    Cosign(&'static str),
}

const NO_SIGNATURE: CheckpointError = CheckpointError::Signature("signature");
const NO_COSIGNATURE: CheckpointError = CheckpointError::Signature("timestamped cosignature");

/// Whether `name` can be the origin of a log or the name of a witness: the rule of C2SP `signed-note`
/// (not empty, no white space, no plus sign), and no control characters.
pub fn is_name(name: &str) -> bool {
    let outside = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    !name.is_empty() && !name.contains(outside)
}

/// A signed checkpoint. The time is cut to whole seconds; one before 1970 becomes 1970. The origin must be
/// a name ([`is_name`]), or nothing verifies the note.
pub fn sign(origin: &str, head: &TreeHead, time: Time, key: &SecretKey) -> Vec<u8> {
    let body =
        format!("{origin}\n{}\n{}\n", head.size, BASE64_STANDARD.encode(head.root.as_bytes()));
    let mut first = key_hint(origin, NOTE_SIGNATURE, &key.public()).to_vec();
    first.extend_from_slice(&key.sign(body.as_bytes()));
    let first = BASE64_STANDARD.encode(first);
    let second = cosignature_line(origin, &body, time, key);
    format!("{body}\n— {origin} {first}\n{second}").into_bytes()
}

/// Verifies a checkpoint of the log `origin` by its key: both lines must be there and good.
pub fn verify(note: &[u8], origin: &str, key: &PublicKey) -> Result<Checkpoint, CheckpointError> {
    let note = Note::read(note)?;
    let (found, head) = read_body(note.body)?;
    if found != origin {
        let found = found.chars().take(120).collect();
        return Err(CheckpointError::Origin { found, expected: origin.to_owned() });
    }
    let signature = note.line(origin, NOTE_SIGNATURE, key)?.ok_or(NO_SIGNATURE)?;
    let good = signature.try_into().is_ok_and(|it| key.verify(note.body.as_bytes(), it));
    if !good {
        return Err(NO_SIGNATURE);
    }
    let cosignature = note.line(origin, COSIGNATURE, key)?.ok_or(NO_COSIGNATURE)?;
    let time = cosignature_time(cosignature, note.body, key).ok_or(NO_COSIGNATURE)?;
    Ok(Checkpoint { origin: origin.to_owned(), head, time })
}

/// The checkpoint with a witness's `cosignature/v1` line added, which says that the witness saw this head
/// at this time and none that it is inconsistent with. The other lines are kept and not looked at:
/// verifying and comparing come first and are the caller's.
pub fn cosign(
    note: &[u8],
    name: &str,
    time: Time,
    key: &SecretKey,
) -> Result<Vec<u8>, CheckpointError> {
    let read = Note::read(note)?;
    read_body(read.body)?;
    if !is_name(name) {
        return Err(CheckpointError::Cosign("the witness's name is not one that a note can hold"));
    }
    if read.line(name, COSIGNATURE, &key.public())?.is_some() {
        return Err(CheckpointError::Repeated(name.to_owned()));
    }
    if read.lines.len() == MAX_LINES {
        return Err(CheckpointError::Cosign("it has 16 signature lines already"));
    }
    let line = cosignature_line(name, read.body, time, key);
    if note.len() + line.len() > MAX_NOTE {
        return Err(CheckpointError::Cosign("it would be longer than 16 KiB"));
    }
    Ok([note, line.as_bytes()].concat())
}

/// When which of these witnesses, by name and key, cosigned the checkpoint. One that did not is not in the
/// answer; a line of one of them that does not verify is an error.
pub fn cosignatures(
    note: &[u8],
    witnesses: &[(&str, &PublicKey)],
) -> Result<BTreeMap<KeyId, Time>, CheckpointError> {
    let note = Note::read(note)?;
    read_body(note.body)?;
    let mut times = BTreeMap::new();
    for (name, key) in witnesses {
        if let Some(cosignature) = note.line(name, COSIGNATURE, key)? {
            let time = cosignature_time(cosignature, note.body, key)
                .ok_or_else(|| CheckpointError::Witness((*name).to_owned()))?;
            times.insert(key.id(), time);
        }
    }
    Ok(times)
}

/// A signed note, taken apart; nothing in it is verified.
struct Note<'a> {
    /// What is signed: whole lines, the last one's end included.
    body: &'a str,
    lines: Vec<Line<'a>>,
}

struct Line<'a> {
    name: &'a str,
    hint: [u8; 4],
    signature: Vec<u8>,
}

impl<'a> Note<'a> {
    fn read(note: &'a [u8]) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::Malformed;
        if note.len() > MAX_NOTE {
            return Err(malformed("longer than 16 KiB"));
        }
        let text = std::str::from_utf8(note).map_err(|_| malformed("not UTF-8"))?;
        let blank = text.find("\n\n").ok_or(malformed("no blank line after the body"))?;
        let (body, lines) = (&text[..=blank], &text[blank + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(malformed("the last line does not end"))?;
        if lines.split('\n').count() > MAX_LINES {
            return Err(malformed("more than 16 signature lines"));
        }
        let lines = lines.split('\n').map(Line::read).collect::<Result<_, _>>()?;
        Ok(Self { body, lines })
    }

    /// The bytes of the one line of this kind by this key, if there is one.
    fn line(
        &self,
        name: &str,
        kind: u8,
        key: &PublicKey,
    ) -> Result<Option<&[u8]>, CheckpointError> {
        let hint = key_hint(name, kind, key);
        let mut lines = self.lines.iter().filter(|line| line.name == name && line.hint == hint);
        let first = lines.next().map(|line| line.signature.as_slice());
        match lines.next() {
            Some(_) => Err(CheckpointError::Repeated(name.to_owned())),
            None => Ok(first),
        }
    }
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::Malformed;
        let line = line.strip_prefix("— ").ok_or(malformed("a signature line without its dash"))?;
        let (name, encoded) =
            line.split_once(' ').ok_or(malformed("a signature line without a key"))?;
        if !is_name(name) {
            return Err(malformed("a signature line whose key has no proper name"));
        }
        let bytes =
            BASE64_STANDARD.decode(encoded).map_err(|_| malformed("a signature not in base64"))?;
        let (hint, signature) =
            bytes.split_first_chunk::<4>().ok_or(malformed("a signature that is too short"))?;
        Ok(Self { name, hint: *hint, signature: signature.to_vec() })
    }
}

/// The origin and the head that a body names. The body ends with a line's end, as [`Note`] cuts it.
fn read_body(body: &str) -> Result<(&str, TreeHead), CheckpointError> {
    let malformed = CheckpointError::Malformed;
    let mut lines = body.split('\n');
    let origin = lines.next().unwrap_or_default();
    let size_text = lines.next().ok_or(malformed("no size"))?;
    let size: u64 = size_text.parse().map_err(|_| malformed("the size is not a number"))?;
    if size.to_string() != size_text {
        return Err(malformed("the size has leading zeros or a sign"));
    }
    let root = lines.next().and_then(|line| BASE64_STANDARD.decode(line).ok());
    let root: [u8; 32] =
        root.and_then(|root| root.try_into().ok()).ok_or(malformed("the root is not a hash"))?;
    if lines.next() != Some("") {
        return Err(malformed("extension lines are not used in this log"));
    }
    Ok((origin, TreeHead { size, root: Digest::from_bytes(root) }))
}

/// What C2SP `signed-note` calls the key id.
fn key_hint(name: &str, kind: u8, key: &PublicKey) -> [u8; 4] {
    let hash = Digest::of_parts([name.as_bytes(), b"\n", &[kind], &key.raw()]);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

/// What a cosignature is over.
fn cosigned(seconds: u64, body: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {seconds}\n{body}").into_bytes()
}

fn cosignature_line(name: &str, body: &str, time: Time, key: &SecretKey) -> String {
    let seconds = u64::try_from(time.as_millis().div_euclid(1000)).unwrap_or(0);
    let mut bytes = key_hint(name, COSIGNATURE, &key.public()).to_vec();
    bytes.extend_from_slice(&seconds.to_be_bytes());
    bytes.extend_from_slice(&key.sign(&cosigned(seconds, body)));
    format!("— {name} {}\n", BASE64_STANDARD.encode(bytes))
}

/// The time of a cosignature that verifies.
fn cosignature_time(bytes: &[u8], body: &str, key: &PublicKey) -> Option<Time> {
    let (seconds, signature) = bytes.split_first_chunk::<8>()?;
    let seconds = u64::from_be_bytes(*seconds);
    if !key.verify(&cosigned(seconds, body), signature.try_into().ok()?) {
        return None;
    }
    let millis = i64::try_from(Duration::from_secs(seconds).as_millis()).ok()?;
    Time::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORIGIN: &str = "cutover.example.org/log";
    const WITNESS: &str = "witness.example.org";

    /// Made with `openssl` and a script from the texts of C2SP: the log's key is the seed of 32 sevens,
    /// the witness's that of 32 eights.
    const GOLDEN: &str = "\
cutover.example.org/log
42
SBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=

— cutover.example.org/log unAJpISMkpfSIyMuJzz7jjUXRfjRjqt6+Urmy4Z8YCHz2bzCaR12sECkFYJ3BLV4JYyu/cTGjUzse3wHEd6xbahx/QY=
— cutover.example.org/log 2BF7tQAAAABprRdoL9jhr35gz56rl1zlco7gvBcu6P9BFT8XsD2/PLBUPZG45iAM+L/6L+O5tPVyIxnQwlks4xw5pdudHtXb0niwAA==
";
    const GOLDEN_WITNESS: &str = "\
— witness.example.org n+WkPgAAAABprRdo7AGXd/lL130HhVLt8N6HR5Y9gmfweExwSdLzEfQ4g8Ev4QXCNyrEWKgtNazmnp5ddbOVpCrSPwc9SBuvopYDDA==
";

    fn secret(seed: u8) -> SecretKey {
        SecretKey::from_seed([seed; 32])
    }

    fn checkpoint() -> Checkpoint {
        let head = TreeHead { size: 42, root: Digest::of(b"root") };
        let time = "2026-03-08T06:30:00Z".parse().unwrap();
        Checkpoint { origin: ORIGIN.to_owned(), head, time }
    }

    fn note() -> (Vec<u8>, SecretKey, Checkpoint) {
        let (key, checkpoint) = (secret(7), checkpoint());
        let note = sign(ORIGIN, &checkpoint.head, checkpoint.time, &key);
        (note, key, checkpoint)
    }

    #[test]
    fn golden_note() {
        let (note, key, checkpoint) = note();
        assert_eq!(String::from_utf8(note.clone()).unwrap(), GOLDEN);
        assert_eq!(verify(GOLDEN.as_bytes(), ORIGIN, &key.public()), Ok(checkpoint.clone()));
        let cosigned = cosign(&note, WITNESS, checkpoint.time, &secret(8)).unwrap();
        assert_eq!(String::from_utf8(cosigned).unwrap(), format!("{GOLDEN}{GOLDEN_WITNESS}"));
    }

    #[test]
    fn a_note_may_be_as_long_as_the_limit_and_no_longer() {
        let (note, key, checkpoint) = note();
        let padded = |length: usize| {
            let rest = length - note.len() - "—  \n".len();
            let (groups, name) = ((rest - 1) / 4, (rest - 1) % 4 + 1);
            let line = format!("— {} {}\n", "x".repeat(name), "AAAA".repeat(groups));
            let padded = [note.as_slice(), line.as_bytes()].concat();
            assert_eq!(padded.len(), length);
            padded
        };
        let read = |note: &[u8]| verify(note, ORIGIN, &key.public());
        assert_eq!(read(&padded(MAX_NOTE)), Ok(checkpoint.clone()));
        assert!(read(&padded(MAX_NOTE + 1)).is_err());
        let lines = |count: usize| {
            let here = String::from_utf8(note.clone()).unwrap().lines().count() - 4;
            [note.clone(), "— x AAAAAAAA\n".repeat(count - here).into_bytes()].concat()
        };
        assert_eq!(read(&lines(MAX_LINES)), Ok(checkpoint));
        assert!(read(&lines(MAX_LINES + 1)).is_err());
    }

    #[test]
    fn key_hint_of_the_first_signed_notes() {
        // Go's checksum database, whose notes C2SP wrote down: PeterNeumann+c74f20a3+ARpc2Qc….
        let encoded = "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let bytes = BASE64_STANDARD.decode(encoded).unwrap();
        let (kind, raw) = bytes.split_first().unwrap();
        let key = PublicKey::from_raw(raw.try_into().unwrap()).unwrap();
        assert_eq!(hex::encode(key_hint("PeterNeumann", *kind, &key)), "c74f20a3");
        let text = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n\n\
            — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let note = Note::read(text.as_bytes()).unwrap();
        let signature = note.line("PeterNeumann", NOTE_SIGNATURE, &key).unwrap().unwrap();
        assert!(key.verify(note.body.as_bytes(), signature.try_into().unwrap()));
    }

    #[test]
    fn other_lines_are_passed_over() {
        let (mut note, key, checkpoint) = note();
        // Another's, another's under the log's name, and one of a kind yet to be invented.
        note.extend_from_slice("— witness.example.org AAAAAAAA\n".as_bytes());
        note.extend_from_slice(format!("— {ORIGIN} AAAAAAAA\n— {ORIGIN} AAAAAAAA\n").as_bytes());
        assert_eq!(verify(&note, ORIGIN, &key.public()), Ok(checkpoint));
    }

    #[test]
    fn no_bent_byte_is_accepted() {
        let (note, key, _) = note();
        for position in 0..note.len() {
            for bit in 0..8 {
                let mut bent = note.clone();
                bent[position] ^= 1 << bit;
                let result = verify(&bent, ORIGIN, &key.public());
                assert!(result.is_err(), "byte {position}, bit {bit}");
            }
        }
        for length in 0..note.len() {
            assert!(verify(&note[..length], ORIGIN, &key.public()).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn both_lines_are_demanded_and_the_key_counts() {
        let (note, key, _) = note();
        let text = String::from_utf8(note.clone()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        for (missing, error) in [(4, NO_SIGNATURE), (5, NO_COSIGNATURE)] {
            let mut fewer = lines.clone();
            fewer.remove(missing);
            let note = format!("{}\n", fewer.join("\n"));
            assert_eq!(verify(note.as_bytes(), ORIGIN, &key.public()), Err(error));
        }
        let swapped = [&lines[..4], &[lines[5], lines[4]]].concat().join("\n") + "\n";
        assert!(verify(swapped.as_bytes(), ORIGIN, &key.public()).is_ok(), "their order is free");
        assert_eq!(verify(&note, ORIGIN, &secret(8).public()), Err(NO_SIGNATURE));
        let other = verify(&note, "another/log", &key.public());
        assert!(matches!(other, Err(CheckpointError::Origin { .. })));
    }

    #[test]
    fn a_second_time_is_refused() {
        let (note, key, checkpoint) = note();
        let later = checkpoint.time + Duration::from_hours(1);
        let newer = sign(ORIGIN, &checkpoint.head, later, &key);
        let line = String::from_utf8(newer).unwrap().lines().last().unwrap().to_owned();
        let both = [&note[..], line.as_bytes(), b"\n"].concat();
        let repeated = CheckpointError::Repeated(ORIGIN.to_owned());
        assert_eq!(verify(&both, ORIGIN, &key.public()), Err(repeated.clone()));
        assert_eq!(cosign(&note, ORIGIN, later, &key), Err(repeated));
    }

    #[test]
    fn times_are_whole_seconds_within_what_can_be_written() {
        let key = secret(7);
        let head = checkpoint().head;
        let signed = |time: &str| {
            let note = sign(ORIGIN, &head, time.parse().unwrap(), &key);
            verify(&note, ORIGIN, &key.public()).map(|read| read.time.to_string())
        };
        assert_eq!(signed("2026-03-08T06:30:00.999Z").unwrap(), "2026-03-08T06:30:00Z");
        assert_eq!(signed("1970-01-01T00:00:00Z").unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(signed("1969-12-31T23:59:59.500Z").unwrap(), "1970-01-01T00:00:00Z");

        // A cosignature that verifies and names a time beyond the calendar.
        let note = sign(ORIGIN, &head, checkpoint().time, &key);
        let note = String::from_utf8(note).unwrap();
        let body = note.split_inclusive('\n').take(3).collect::<String>();
        for seconds in [1 << 40, 1 << 63, u64::MAX] {
            let mut bytes = key_hint(ORIGIN, COSIGNATURE, &key.public()).to_vec();
            bytes.extend_from_slice(&seconds.to_be_bytes());
            bytes.extend_from_slice(&key.sign(&cosigned(seconds, &body)));
            let old = note.lines().last().unwrap().rsplit(' ').next().unwrap();
            let note = note.replace(old, &BASE64_STANDARD.encode(bytes));
            assert_eq!(verify(note.as_bytes(), ORIGIN, &key.public()), Err(NO_COSIGNATURE));
        }
    }

    #[test]
    fn malformed_notes_are_refused() {
        let (note, key, _) = note();
        let good = String::from_utf8(note).unwrap();
        let line = good.lines().last().unwrap().to_owned() + "\n";
        let bad = [
            good.replace("\n42\n", "\n042\n"),
            good.replace("\n42\n", "\n+42\n"),
            good.replace("\n42\n", "\n-42\n"),
            good.replace("\n42\n", "\n\n"),
            good.replace("\n42\n", "\n18446744073709551616\n"),
            good.replace("=\n\n", "\n\n"),
            good.replace("=\n\n", "=\nextension\n\n"),
            good.replace("\n\n", "\n"),
            good.replace("\n\n", "\n\n\n"),
            good.replace("\n\n— ", "\n\n- "),
            good.replace('\n', "\r\n"),
            good.trim_end().to_owned(),
            format!("{good}\n"),
            format!("{good}— name\n"),
            format!("{good}— name AAAA\n"),
            format!("{good}— name AAAAAAAA AAAA\n"),
            format!("{good}— na+me AAAAAAAA\n"),
            format!("{good}—  AAAAAAAA\n"),
            format!("{good}{}", "— name AAAAAAAA\n".repeat(15)),
            format!("{good}— name {}\n", "A".repeat(MAX_NOTE)),
            line,
        ];
        for text in bad {
            let result = verify(text.as_bytes(), ORIGIN, &key.public());
            assert!(matches!(result, Err(CheckpointError::Malformed(_))), "{text}: {result:?}");
        }
        let most = format!("{good}{}", "— name AAAAAAAA\n".repeat(14));
        assert!(verify(most.as_bytes(), ORIGIN, &key.public()).is_ok());
        let utf_16 = verify(&[0xff, 0xfe], ORIGIN, &key.public());
        assert!(matches!(utf_16, Err(CheckpointError::Malformed(_))));
    }

    #[test]
    fn witnesses_are_found_by_name_and_key() {
        let (note, key, checkpoint) = note();
        let later = checkpoint.time + Duration::from_secs(90);
        let cosigned = cosign(&note, WITNESS, checkpoint.time, &secret(8)).unwrap();
        let cosigned = cosign(&cosigned, "other.example.org", later, &secret(9)).unwrap();
        assert_eq!(verify(&cosigned, ORIGIN, &key.public()), Ok(checkpoint.clone()));

        let (one, two) = (secret(8).public(), secret(9).public());
        let both = [(WITNESS, &one), ("other.example.org", &two)];
        let times = BTreeMap::from([(one.id(), checkpoint.time), (two.id(), later)]);
        assert_eq!(cosignatures(&cosigned, &both), Ok(times));
        assert_eq!(cosignatures(&note, &both), Ok(BTreeMap::new()));
        let crossed = [(WITNESS, &two), ("other.example.org", &one)];
        assert_eq!(cosignatures(&cosigned, &crossed), Ok(BTreeMap::new()));

        // The same lines on another head are wrong, not absent.
        let text = String::from_utf8(cosigned).unwrap();
        let other = text.replace("\n42\n", "\n43\n");
        let wrong = Err(CheckpointError::Witness(WITNESS.to_owned()));
        assert_eq!(cosignatures(other.as_bytes(), &both), wrong);
    }

    #[test]
    fn cosigning_keeps_the_bounds() {
        let (mut note, _, checkpoint) = note();
        for name in ["", "two words", "a+b", "line\nend", "\u{2003}"] {
            assert!(!is_name(name));
            let result = cosign(&note, name, checkpoint.time, &secret(8));
            assert!(matches!(result, Err(CheckpointError::Cosign(_))), "{name:?}");
        }
        let long = "w".repeat(MAX_NOTE);
        let result = cosign(&note, &long, checkpoint.time, &secret(8));
        assert!(matches!(result, Err(CheckpointError::Cosign(_))));
        let more = cosign(&note, "w", checkpoint.time, &secret(8)).unwrap().len() - 1;
        let fits = |length: usize| cosign(&note, &"w".repeat(length), checkpoint.time, &secret(8));
        assert_eq!(fits(MAX_NOTE - more).unwrap().len(), MAX_NOTE);
        assert!(matches!(fits(MAX_NOTE - more + 1), Err(CheckpointError::Cosign(_))));
        for seed in 1..=14 {
            note = cosign(&note, WITNESS, checkpoint.time, &secret(100 + seed)).unwrap();
        }
        let result = cosign(&note, WITNESS, checkpoint.time, &secret(8));
        assert!(matches!(result, Err(CheckpointError::Cosign(_))));
        assert!(cosign(b"text\n\n", WITNESS, checkpoint.time, &secret(8)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(a\n1\n)?[ -~\n—é]{0,80}(\n\n— a [A-Za-z0-9+/=]{0,20}\n)?") {
            let key = secret(7).public();
            prop_assert!(verify(text.as_bytes(), "a", &key).is_err());
            let _ = cosign(text.as_bytes(), "a", checkpoint().time, &secret(8));
            let _ = cosignatures(text.as_bytes(), &[("a", &key)]);
        }
    }
}
