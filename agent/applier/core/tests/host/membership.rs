//! Joining, and what the log acknowledges.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cutover_applier_core::{Input, JOIN_PREFIX, Saved, read_join};
use cutover_shared::codec;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::key::SecretKey;
use cutover_shared::protocol::{FromApplier, Join};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{Event, HostChange, Says, Statement};

use crate::bench::{Bench, HOST, settings, web};
use crate::others::{join, note_by};
use crate::world::{World, key, name, names};

/// How long after its refusal an enrolment is signed anew.
const SIGN_ANEW: Duration = Duration::from_secs(15);

fn text(join: &Join) -> String {
    format!("{JOIN_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(codec::encode(join).unwrap()))
}

fn invite(bench: &mut Bench, text: String) {
    bench.tell(Input::Looked { inhibitors: Vec::new(), join: Some(text), clock_accepted: false });
}

/// A host that nobody has invited yet.
fn stranger() -> Bench {
    Bench::on(World::new(), settings(), Saved::default())
}

/// The statement that is to be logged, which the grant and the host sign.
fn appended(said: &[FromApplier]) -> (Digest, Statement) {
    let append = |it: &FromApplier| {
        if let FromApplier::Append { id, envelope, .. } = it {
            Some((*id, envelope.clone()))
        } else {
            None
        }
    };
    let (id, envelope) = said.iter().find_map(append).unwrap();
    let envelope = Envelope::parse(&envelope).unwrap();
    assert_eq!(envelope.id(), id);
    let keys = [SecretKey::from_seed([9; 32]).public(), key(HOST).public()];
    let signers = envelope.valid_signers(|id| keys.iter().find(|it| it.id() == *id).cloned());
    assert_eq!(signers.unwrap().len(), 2);
    (id, Statement::read(&envelope).unwrap())
}

#[test]
fn a_host_that_is_invited_enrols_itself_once() {
    let mut bench = stranger();
    bench.connect();
    assert!(matches!(&bench.said()[..], [FromApplier::NotJoined]));
    assert_eq!((bench.known(), bench.reports.last().unwrap().policy_version), (0, 0));
    let invitation = join(&bench.world);
    invite(&mut bench, text(&invitation));
    let said = bench.said();
    let FromApplier::Welcome { coordinator, coordinator_key, known } = &said[0] else { panic!() };
    assert_eq!(coordinator, "coordinator.test:7400");
    assert_eq!((coordinator_key, *known), (&key("log").public(), bench.world.tree.size()));
    let (id, statement) = appended(&said);
    let Says::Host(HostChange::Enrolled(enrolment)) = statement.says else { panic!() };
    assert_eq!((&enrolment.host, &enrolment.environment), (&name(HOST), &name("staging")));
    assert_eq!((enrolment.applications, enrolment.labels.len()), (names(&["web"]), 1));
    assert_eq!((enrolment.host_key, enrolment.grant), (key(HOST).public(), Some(invitation.grant)));
    assert_eq!(enrolment.transport_key, key("s1-transport").public());
    assert_eq!(statement.header.issued, bench.world.now);

    // The same network half is told the same again; another one is another host on the wire.
    bench.connect();
    assert_eq!(appended(&bench.said()).0, id);
    bench.tell(Input::Hello { transport_key: key("another transport").public() });
    let (other, _) = appended(&bench.said());
    assert_ne!(other, id);
    assert_eq!(bench.written().enrolment.unwrap().id, other);
    assert_eq!(bench.written().join.unwrap().grant_seed, [9; 32]);

    let envelope = bench.core.saved().enrolment.clone().unwrap().envelope;
    let (index, known) = (bench.world.tree.size(), bench.known());
    let _ = bench.world.append_bytes(envelope);
    bench.logged(id, index);
    assert_eq!(bench.known(), known);
    assert!(!bench.core.saved().enrolment.as_ref().unwrap().logged, "that was the other one");
    bench.logged(other, index);
    assert!(bench.written().enrolment.unwrap().logged);
    assert_eq!(bench.written().join.unwrap().grant_seed, [0; 32], "the grant is of no use now");
    assert!(bench.noted("this host is enrolled"));
    let known = bench.known();
    bench.world.say(&["ops"], crate::world::enrolment("s9", "staging")).unwrap();
    bench.logged(other, index);
    assert_eq!(bench.known(), known, "nothing is waited for");
    bench.tell(Input::Hello { transport_key: key("a third").public() });
    assert!(matches!(&bench.said()[..], [FromApplier::Welcome { .. }]), "it is enrolled");

    // Whoever can write into the inbox cannot have it trust somebody else.
    invite(&mut bench, text(&invitation));
    assert_eq!(bench.core.saved().enrolment.as_ref().map(|it| it.id), Some(other));
    assert_eq!(bench.known(), known);
    let refused = "this host is enrolled already; retire it and clear its state to join anew";
    assert!(bench.noted(refused));
}

#[test]
fn an_enrolment_that_was_refused_for_its_time_is_signed_anew_when_that_is_due() {
    let mut bench = stranger();
    bench.connect();
    let invitation = join(&bench.world);
    invite(&mut bench, text(&invitation));
    let (first, _) = appended(&bench.said());
    bench.wait(SIGN_ANEW);
    assert!(bench.said().is_empty(), "nobody has refused it");
    let refusal = Refusal::new(Code::ClockSkew, "issued 1 h ago");
    bench.tell(Input::NotLogged { id: first, refusal });
    bench.wait(Duration::from_millis(14_999));
    assert!(bench.said().is_empty());
    // A network half that comes before it is due is told the same again.
    bench.connect();
    assert_eq!(appended(&bench.said()).0, first);
    bench.wait(Duration::from_millis(1));
    let (second, statement) = appended(&bench.said());
    assert_ne!(second, first);
    assert_eq!(statement.header.issued, bench.world.now);
    bench.wait(SIGN_ANEW);
    assert!(bench.said().is_empty(), "once for each refusal");
}

#[test]
fn until_it_is_enrolled_a_host_may_be_invited_anew() {
    let mut bench = stranger();
    let invitation = join(&bench.world);
    invite(&mut bench, text(&invitation));
    bench.connect();
    let (first, _) = appended(&bench.said());
    let other = Join { grant: Digest::of(b"another grant"), ..invitation };
    invite(&mut bench, text(&other));
    let (second, statement) = appended(&bench.said());
    assert_ne!(first, second);
    let Says::Host(HostChange::Enrolled(enrolment)) = statement.says else { panic!() };
    assert_eq!(enrolment.grant, Some(other.grant));
    assert_eq!(bench.written().join, Some(other));
}

#[test]
fn a_join_string_is_read_whole_or_refused() {
    let world = World::new();
    let good = join(&world);
    let refused = |join: &Join| read_join(&text(join), &settings()).unwrap_err();
    assert_eq!(read_join(&format!("  {}\n", text(&good)), &settings()), Ok(good.clone()));
    let damaged = |text: &str| read_join(text, &settings()).unwrap_err();
    assert!(damaged("cutover-jion:AAAA").starts_with("not a join string"));
    assert!(damaged("cutover-join:a b").contains("damaged"));
    assert!(damaged("cutover-join:AAAA").contains("damaged"));
    assert!(damaged(&text(&good)[..200]).contains("damaged"));

    let other_policy = Join { policy_id: Digest::of(b"another"), ..good.clone() };
    assert!(read_join(&text(&other_policy), &settings()).is_err());
    let elsewhere = Join { coordinator_key: key("max").public(), ..good.clone() };
    assert!(refused(&elsewhere).contains("not the one of its trust policy"));
    let production = Join { environment: name("production"), ..good.clone() };
    assert!(refused(&production).contains("for environment production"));
    let mail = Join { applications: names(&["mail"]), ..good };
    assert!(refused(&mail).contains("application web, for which"), "{}", refused(&mail));

    let mut bench = stranger();
    invite(&mut bench, text(&mail));
    assert!(bench.noted("the join string in the inbox is refused"));
    assert_eq!((bench.known(), &bench.core.saved().join), (0, &None));
}

/// A host with an outcome that waits to be logged.
fn waiting() -> (Bench, Digest, Vec<u8>) {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    bench.until_ended();
    bench.see_to_all();
    let (id, envelope) = bench.core.saved().reports[0].clone();
    (bench, id, envelope)
}

fn waits(bench: &Bench, id: Digest) -> bool {
    bench.core.saved().reports.iter().any(|(known, _)| *known == id)
}

#[test]
fn a_receipt_that_proves_nothing_is_none() {
    let (mut bench, id, envelope) = waiting();
    let known = bench.known();
    let index = bench.world.tree.size();
    bench.world.append_bytes(envelope.clone()).unwrap();
    let size = bench.world.tree.size();
    let consistency = bench.world.tree.consistency(known, size).unwrap();
    let good = bench.receipt(index);

    let mut forged = good.clone();
    forged.checkpoint = note_by(&bench.world, "max");
    bench.tell(Input::Logged { id, receipt: forged, consistency: consistency.clone() });
    assert!(waits(&bench, id) && bench.noted("a receipt does not hold"));
    let mut elsewhere = good.clone();
    elsewhere.index -= 1;
    bench.notes.clear();
    bench.tell(Input::Logged { id, receipt: elsewhere, consistency: consistency.clone() });
    assert!(waits(&bench, id) && bench.noted("a receipt does not hold"));
    assert_eq!((bench.known(), bench.said().len()), (known, 0));

    // A proof that begins elsewhere may be honest: it is asked for again.
    bench.tell(Input::Logged { id, receipt: good.clone(), consistency: Vec::new() });
    let said = bench.said();
    assert!(waits(&bench, id));
    assert!(matches!(&said[..], [FromApplier::Append { id: it, .. }] if *it == id), "{said:?}");
    bench.tell(Input::Logged { id, receipt: good, consistency });
    assert!(!waits(&bench, id));
    assert_eq!((bench.known(), bench.written().reports.len()), (size, 0));
    assert_eq!(bench.written().trust.unwrap().trust().unwrap().head.size, size);
}

#[test]
fn a_receipt_under_a_log_that_is_shorter_than_known_is_asked_for_again() {
    let (mut bench, id, envelope) = waiting();
    let index = bench.world.tree.size();
    bench.world.append_bytes(envelope.clone()).unwrap();
    let early = bench.receipt(index);
    let other = bench.order("1.1");
    bench.stop(other.booking);
    let known = bench.known();
    bench.take();
    bench.tell(Input::Logged { id, receipt: early, consistency: Vec::new() });
    let said = bench.said();
    assert!(matches!(&said[..], [FromApplier::Append { id: it, envelope: bytes, known: of }]
            if *it == id && *bytes == envelope && *of == known));
    // Under the very head that is known nothing is to be proven but that it is in there.
    let receipt = bench.receipt(index);
    bench.tell(Input::Logged { id, receipt, consistency: Vec::new() });
    assert!(!waits(&bench, id));
}

#[test]
fn what_the_coordinator_refuses_still_waits() {
    let (mut bench, id, _) = waiting();
    let refusal = Refusal::new(Code::RoleMissing, "no such host");
    bench.tell(Input::NotLogged { id, refusal });
    assert!(bench.noted("the coordinator refused a statement") && waits(&bench, id));
    let note = bench.notes.last().unwrap();
    assert_eq!((note.about, note.detail.as_str()), (Some(id), "role-missing: no such host"));
}

#[test]
fn refusals_cannot_crowd_out_the_ends_of_orders() {
    let mut bench = Bench::new();
    let way = bench.deploy("1.0");
    for number in 0..33 {
        assert_eq!(bench.core.saved().reports.len(), number.min(32));
        bench.pass(Duration::from_millis(1));
        let order = bench.order_return(7, way.package, way.package);
        bench.offer(order);
    }
    assert_eq!(bench.core.saved().reports.len(), 32);
    assert!(bench.noted("too many outcomes wait to be logged"));
    let next = bench.order("1.1");
    bench.offer(next.booking);
    bench.until(|it| matches!(it, cutover_applier_core::Output::Tidy { .. }));
    let outcomes = bench.outcomes();
    assert_eq!((outcomes.len(), &outcomes[32].event), (33, &Event::Committed));
    assert_eq!(outcomes[32].application, web());
}
