//! The bytes of this version, and what becomes of others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde::de::DeserializeOwned;

use super::super::{
    CalendarRecord, FreezeRecord, GrantRecord, HostRecord, Installed, RollbackCase, StandardRecord,
};
use super::*;
use crate::case::{BookingCase, Case, Reported, Verified};
use crate::key::KeyId;
use crate::name::Name;
use crate::policy::{Signer, TrustPolicy};
use crate::refusal::{Code, Refusal};
use crate::statement::{Emergency, IterationApproval, Outcome, Standard, Validity};
use crate::time::Time;

const STATEMENTS: &str = include_str!("../../../tests/golden/statements.txt");
const ORIGIN: &str = "cutover.test/log";

/// What the `number`th golden statement of a predicate says.
fn said<T: DeserializeOwned>(predicate: &str, number: usize) -> T {
    let lines = STATEMENTS.lines().filter_map(|line| line.split_once(' '));
    let mut of_kind = lines.filter(|(name, _)| *name == predicate);
    let (_, text) = of_kind.nth(number).expect("there is a golden statement");
    let statement: serde_json::Value = serde_json::from_str(text).unwrap();
    serde_json::from_value(statement["predicate"]["says"].clone()).unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn id(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn time() -> Time {
    "2026-03-08T06:30:00.5Z".parse().unwrap()
}

fn verified<T>(index: u64, says: T) -> Verified<T> {
    let signer = |owner| Signer { key: KeyId::from_digest(id(owner)), owner: name(owner) };
    let signers = if index.is_multiple_of(2) { Vec::new() } else { vec![signer("bea")] };
    Verified {
        id: Digest::of(&index.to_be_bytes()),
        index,
        header: Validity { issued: time(), not_before: None, not_after: Some(time()) },
        signers: signers.into(),
        says,
    }
}

fn outcomes(first: u64) -> Vec<Verified<Reported>> {
    let said = (0..5).map(|number| said::<Outcome>("outcome", number));
    (first..).zip(said).map(|(index, it)| verified(index, Reported::from(it))).collect()
}

fn booking() -> BookingCase {
    BookingCase {
        booking: verified(20, said("booking", 0)),
        released: Some(verified(21, said("window-release", 0))),
        cancelled: Some(Box::new(verified(22, said("cancel", 0)))),
        overrides: vec![verified(23, said("override", 0))],
        outcomes: outcomes(24),
        steps: vec![verified(29, said("step", 0))],
    }
}

fn case() -> Case {
    let Emergency::Approved(approval) = said::<Emergency>("emergency", 1) else {
        panic!("the second golden emergency statement is an approval");
    };
    let approval: IterationApproval = approval;
    let mut case = Case::new(verified(10, said("release", 0)), 1);
    case.reviews =
        (0..3).map(|it| verified(11 + it, said("review", usize::try_from(it).unwrap()))).collect();
    case.assessments = vec![verified(14, said("assessment", 0))];
    case.votes = vec![verified(15, said("vote", 0))];
    case.approvals = vec![verified(16, approval)];
    case.deliveries = vec![verified(17, said("delivery", 0))];
    case.waivers = vec![verified(18, said("waiver", 0))];
    case.bookings = BTreeMap::from([(booking().booking.id, Arc::new(booking()))]);
    case.holds = vec![verified(30, said("hold", 0))];
    case.resumes = BTreeMap::from([(id("hold"), verified(31, said("resume", 0)))]);
    case.cancelled = Some(Box::new(verified(32, said("cancel", 0))));
    case.superseded_by = Some(id("later"));
    case.rehearsals = vec![verified(33, said("rehearsal", 0))];
    case.consults = vec![verified(34, said("consult", 0))];
    case.tasks = vec![verified(35, said("task", 0))];
    case.acknowledgements = vec![verified(36, said("acknowledgement", 0))];
    case.closed = Some(Box::new(verified(37, said("closure", 0))));
    case
}

fn host() -> HostRecord {
    let installed = Installed {
        generation: 3,
        package: Some(id("package")),
        release: None,
        previous: Some(id("previous")),
        committed_by: None,
    };
    let crate::statement::HostChange::Enrolled(enrolment) = said("host", 0) else {
        panic!("the first golden host statement is an enrolment");
    };
    HostRecord {
        enrolment: verified(40, *enrolment),
        vouchers: BTreeSet::from([name("olga")]),
        retired: Some(41),
        installed: BTreeMap::from([(name("web"), installed)]),
    }
}

/// Has something of everything that a fold can have.
fn everything() -> State {
    let mut state = State::trusting(TrustPolicy::trusted(id("policy"), said("trust-policy", 1)));
    state.policy_indexes = BTreeMap::from([(1, 0), (2, 7)]);
    state.epochs = BTreeMap::from([(2, TreeHead { size: 7, root: id("root") })]);
    state.next_index = 100;
    state.hosts.insert(KeyId::from_digest(id("host")), host());
    let (web, host) = (name("web-1"), KeyId::from_digest(id("host")));
    state.host_names = Arc::new(BTreeMap::from([(web, host)]));
    state.transport_keys = Arc::new(BTreeMap::from([(KeyId::from_digest(id("other")), host)]));
    let grant = verified(42, said("grant", 0));
    state.grants.insert(grant.id, GrantRecord { grant, used: 2 });
    state.cases.insert(case().release.id, case());
    state.numbers = Arc::new(vec![case().release.id]);
    let (one, other) = (id("one"), id("other"));
    state.packages = Arc::new(BTreeMap::from([(one, vec![other, one])]));
    state.iterations = Arc::new(BTreeMap::from([(other, vec![one])]));
    state.bookings = Arc::new(BTreeMap::from([(one, other)]));
    state.window_ends = Arc::new(BTreeSet::from([(time(), one)]));
    state.holds = Arc::new(BTreeMap::from([(other, one)]));
    state.emergencies.insert(one, verified(43, said("emergency", 0)));
    state.closed_emergencies.insert(one, verified(56, said("closure", 1)));
    let Standard::Approved(template) = said::<Standard>("standard", 0) else {
        panic!("the first golden standard statement is an approval");
    };
    let approved = verified(44, *template);
    state.standards.insert(one, StandardRecord { approved, withdrawn: Some(45) });
    let declared = verified(46, said("freeze", 0));
    state.freezes.insert(one, FreezeRecord { declared, lifted: Some(verified(47, ())) });
    state.standing_freezes = Arc::new(BTreeSet::from([(time(), other)]));
    let declared = verified(48, said("calendar", 1));
    state.calendars.insert(name("production"), CalendarRecord { declared, revision: 2 });
    let rollback = verified(49, said("rollback", 0));
    let steps = vec![verified(57, said("step", 1))];
    state.rollbacks.insert(one, RollbackCase { rollback, steps, outcomes: outcomes(50) });
    state.rollbacks_from = Arc::new(BTreeMap::from([(one, vec![one])]));
    state.rollback_ends = Arc::new(BTreeSet::from([(time(), one)]));
    state.denied_packages = Arc::new(BTreeMap::from([(one, other)]));
    state.returned_packages = Arc::new(BTreeMap::from([(other, 55)]));
    state.statements = Arc::new(BTreeSet::from([one, other]));
    state.unknown_predicates = BTreeSet::from(["later".to_owned()]);
    state.ignored = vec![(60, Refusal::new(Code::Held, "it was held"))];
    state.ignored_count = 1;
    state
}

fn head() -> TreeHead {
    TreeHead { size: 100, root: id("root") }
}

fn snapshot() -> Vec<u8> {
    write(&everything(), ORIGIN, &head(), &key(1))
}

fn taken(bytes: &[u8]) -> Result<(State, TreeHead), SnapshotError> {
    read(bytes, ORIGIN, &key(1).public(), |size| (size == 100).then(|| id("root")))
}

/// Another body under a good seal: only who has the log's key can make it.
fn sealed(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u64).to_be_bytes();
    seal([MAGIC, &VERSION.to_be_bytes()[..], &length, body].concat(), &key(1))
}

#[test]
fn what_was_written_is_read_back() {
    let (state, of) = taken(&snapshot()).unwrap();
    assert_eq!(state, everything());
    assert_eq!(of, head());
    let empty = write(&State::empty(), ORIGIN, &TreeHead::empty(), &key(1));
    let root = TreeHead::empty().root;
    let (state, _) = read(&empty, ORIGIN, &key(1).public(), |_| Some(root)).unwrap();
    assert_eq!(state, State::empty());
}

/// Version 2. Other bytes are another version: programs of before must not read them, so count
/// [`VERSION`] up, and write the new digest here.
#[test]
fn golden_bytes() {
    let bytes = snapshot();
    assert_eq!(&bytes[..20], b"cutover snapshot\0\0\0\x02");
    let digest = Digest::of(&bytes).to_string();
    let golden = "1aa6a72cc52a3229dcd3db62c62aa53629acffda6fe9777a09ae3fa09154cef4";
    assert_eq!((VERSION, bytes.len(), &*digest), (2, 11_687, golden));
}

#[test]
fn what_is_no_snapshot_or_of_another_version_is_refused() {
    assert_eq!(taken(b""), Err(SnapshotError::None));
    assert_eq!(taken(&snapshot()[1..]), Err(SnapshotError::None));
    for version in [0, VERSION + 1, u32::MAX] {
        let mut bytes = snapshot();
        bytes[16..20].copy_from_slice(&version.to_be_bytes());
        // A newer one may have any form from here on, and another seal.
        assert_eq!(taken(&bytes), Err(SnapshotError::Version(version)));
    }
}

/// Each place of the header and of the seal, and some of the body.
fn is_tried(place: usize, length: usize) -> bool {
    place < HEADER + 8 || place + SEAL + 8 >= length || place.is_multiple_of(37)
}

#[test]
fn a_torn_one_is_refused_wherever_it_was_torn() {
    let bytes = snapshot();
    for end in (0..bytes.len()).filter(|end| is_tried(*end, bytes.len())) {
        let refusal = taken(&bytes[..end]).unwrap_err();
        if end < HEADER {
            assert_eq!(refusal, SnapshotError::None, "{end}");
        } else {
            assert!(matches!(refusal, SnapshotError::Torn { .. }), "{end}: {refusal}");
        }
    }
    let longer = [&*bytes, b"\0"].concat();
    assert!(matches!(taken(&longer), Err(SnapshotError::Torn { .. })));
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let bytes = snapshot();
    for place in (0..bytes.len()).filter(|place| is_tried(*place, bytes.len())) {
        let mut bent = bytes.clone();
        bent[place] ^= 1 << (place % 8);
        let refusal = taken(&bent).unwrap_err();
        let due = match place {
            0..16 => matches!(refusal, SnapshotError::None),
            16..20 => matches!(refusal, SnapshotError::Version(_)),
            20..HEADER => matches!(refusal, SnapshotError::Torn { .. }),
            _ if place >= bytes.len() - 64 => refusal == SnapshotError::Signature,
            _ => refusal == SnapshotError::Damaged,
        };
        assert!(due, "{place}: {refusal}");
    }
}

#[test]
fn one_of_another_log_or_by_another_key_is_refused() {
    let bytes = snapshot();
    let (mine, root) = (key(1).public(), |_| Some(id("root")));
    assert!(read(&bytes, ORIGIN, &mine, root).is_ok());
    assert_eq!(read(&bytes, ORIGIN, &key(2).public(), root), Err(SnapshotError::Signature));
    let other = read(&bytes, "other.test/log", &mine, root);
    assert_eq!(other, Err(SnapshotError::Origin(ORIGIN.to_owned())));
    // The log was forked, or restored from before.
    let forked = read(&bytes, ORIGIN, &mine, |_| Some(id("another root")));
    assert_eq!(forked, Err(SnapshotError::OtherLog(100)));
    let shorter = read(&bytes, ORIGIN, &mine, |_| None);
    assert_eq!(shorter, Err(SnapshotError::OtherLog(100)));
}

#[test]
fn a_good_seal_does_not_make_a_bad_body_good() {
    let bytes = snapshot();
    let body = &bytes[HEADER..bytes.len() - SEAL];
    assert!(taken(&sealed(body)).is_ok());
    assert!(matches!(taken(&sealed(&[body, b"\0"].concat())), Err(SnapshotError::Malformed(_))));
    for end in (0..body.len()).step_by(61) {
        assert!(matches!(taken(&sealed(&body[..end])), Err(SnapshotError::Malformed(_))), "{end}");
    }
    let claim = [&[0xff; 9][..], &[0x01]].concat();
    assert!(matches!(taken(&sealed(&claim)), Err(SnapshotError::Malformed(_))));
    // A fold of more than it is said to be of.
    let more = write(&everything(), ORIGIN, &TreeHead { size: 99, ..head() }, &key(1));
    let refusal = read(&more, ORIGIN, &key(1).public(), |_| Some(id("root"))).unwrap_err();
    assert!(matches!(refusal, SnapshotError::Malformed(_)), "{refusal}");
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = taken(&sealed(&body));
    }

    #[test]
    fn no_bent_body_makes_it_panic(
        bends in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let bytes = snapshot();
        let mut body = bytes[HEADER..bytes.len() - SEAL].to_vec();
        for (place, byte) in bends {
            let place = place.index(body.len());
            body[place] = byte;
        }
        if let Ok((state, of)) = taken(&sealed(&body)) {
            let again = write(&state, ORIGIN, &of, &key(1));
            prop_assert_eq!(taken(&again).unwrap().0, state);
        }
    }
}
