//! What goes through when nothing goes wrong, and what is refused.

use cutover_shared::codec::MAX_FRAME;
use cutover_shared::digest::Digest;
use cutover_shared::evidence::Evidence;
use cutover_shared::key::SecretKey;
use cutover_shared::protocol::{
    ClearanceAnswer, Directive, FromApplier, Request, Response, ToApplier,
};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::Phase;
use cutover_transport::CloseCode;

use crate::harness::{Agent, Asked, Coordinator, patiently, receipt, report};

fn evidence() -> Evidence {
    Evidence {
        checkpoint: b"note".to_vec(),
        consistency: vec![Digest::of(b"a")],
        release_consistency: Vec::new(),
        entries: Vec::new(),
    }
}

fn append(name: &str, known: u64) -> FromApplier {
    FromApplier::Append { id: Digest::of(name.as_bytes()), envelope: name.into(), known }
}

fn appended(asked: &Asked) -> String {
    let Request::Append { envelope } = &asked.request else { panic!("{:?}", asked.request) };
    String::from_utf8(envelope.clone()).unwrap()
}

#[tokio::test]
async fn the_host_is_known_by_the_transport_key_of_its_file() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, key) = agent.greeted().await;
    let pem = std::fs::read_to_string(agent.path("transport.pem")).unwrap();
    assert_eq!(SecretKey::from_pem(&pem, None).unwrap().public(), key);
    applier.say(&coordinator.welcome(0)).await;
    assert_eq!(coordinator.newcomer().await, key);
}

#[tokio::test]
async fn reports_go_up_and_directives_come_down() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, mut directives) = agent.joined(&mut coordinator).await;
    for known in [4, 5] {
        applier.say(&FromApplier::Report(report(known))).await;
        assert_eq!(directives.report().await, report(known));
    }
    let order = Digest::of(b"order");
    directives.direct(&Directive::Offer { order, evidence: evidence() }).await;
    directives.direct(&Directive::Stop { order, evidence: evidence() }).await;
    let ToApplier::Directive(first) = applier.hear().await else { panic!("a directive") };
    let Directive::Offer { order: offered, evidence: shown } = *first else { panic!("an offer") };
    assert_eq!((offered, shown.consistency), (order, evidence().consistency));
    let ToApplier::Directive(second) = applier.hear().await else { panic!("a directive") };
    assert!(matches!(*second, Directive::Stop { order: stopped, .. } if stopped == order));
}

#[tokio::test]
async fn a_clearance_is_asked_for_and_answered_by_its_nonce() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    let granted = ClearanceAnswer {
        clearance: b"clearance".to_vec(),
        checkpoint: b"note".to_vec(),
        consistency: Vec::new(),
        witnesses: Vec::new(),
    };
    let refused = Refusal::new(Code::Held, "H-1 stands");
    for expected in [Ok(granted), Err(refused)] {
        let (order, nonce) = (Digest::of(b"order"), Digest::of(b"nonce"));
        let want = FromApplier::WantClearance { order, phase: Phase::Activate, nonce, known: 9 };
        applier.say(&want).await;
        let asked = coordinator.asked().await;
        assert_eq!(
            asked.request,
            Request::Clearance { order, phase: Phase::Activate, nonce, known: 9 }
        );
        asked
            .answer(&match expected.clone() {
                Ok(answer) => Response::Clearance(answer),
                Err(refusal) => Response::Refused(refusal),
            })
            .await;
        let ToApplier::Clearance { nonce: of, answer } = applier.hear().await else {
            panic!("a clearance")
        };
        assert_eq!((of, answer), (nonce, expected));
    }
}

#[tokio::test]
async fn a_logged_statement_comes_with_proof_from_the_head_that_the_applier_knows() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    applier.say(&append("outcome", 3)).await;
    let asked = coordinator.asked().await;
    assert_eq!(appended(&asked), "outcome");
    // Before the answer the applier learns of more.
    applier.say(&FromApplier::Report(report(5))).await;
    // The report is on its way to the coordinator when this is: the session has seen it.
    applier.say(&append("second", 5)).await;
    asked.answer(&Response::Appended(receipt(6, 7))).await;
    let asked = coordinator.asked().await;
    let Request::Consistency { old: old @ (3 | 5), new: 7 } = asked.request else {
        panic!("{:?}", asked.request)
    };
    let proof = vec![Digest::of(b"proof"), Digest::of(&old.to_be_bytes())];
    asked.answer(&Response::Consistency(proof.clone())).await;
    let ToApplier::Logged { id, receipt: shown, consistency } = applier.hear().await else {
        panic!("logged")
    };
    assert_eq!((id, shown), (Digest::of(b"outcome"), receipt(6, 7)));
    assert_eq!(consistency, proof);
}

#[tokio::test]
async fn no_proof_is_asked_for_where_none_is_due() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    for (name, known) in [("enrolment", 0), ("outcome", 7)] {
        applier.say(&append(name, known)).await;
        coordinator.asked().await.answer(&Response::Appended(receipt(6, 7))).await;
        let message = applier.hear().await;
        let ToApplier::Logged { consistency, .. } = message else { panic!("{message:?}") };
        assert!(consistency.is_empty());
    }
}

#[tokio::test]
async fn a_receipt_older_than_what_the_applier_knows_is_asked_for_again_once() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    applier.say(&append("outcome", 9)).await;
    coordinator.asked().await.answer(&Response::Appended(receipt(6, 7))).await;
    let again = coordinator.asked().await;
    assert_eq!(appended(&again), "outcome");
    again.answer(&Response::Appended(receipt(6, 8))).await;
    let ToApplier::Logged { receipt: shown, consistency, .. } = applier.hear().await else {
        panic!("logged")
    };
    assert_eq!((shown, consistency), (receipt(6, 8), Vec::new()));
}

#[tokio::test]
async fn statements_go_in_order_and_a_refusal_ends_one() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    for name in ["enrolment", "first", "second", "first"] {
        applier.say(&append(name, 0)).await;
    }
    let asked = coordinator.asked().await;
    assert_eq!(appended(&asked), "enrolment");
    asked.answer(&Response::Appended(receipt(0, 1))).await;
    assert!(matches!(applier.hear().await, ToApplier::Logged { .. }));
    let asked = coordinator.asked().await;
    assert_eq!(appended(&asked), "first");
    let refusal = Refusal::new(Code::SubjectUnknown, "no such order");
    asked.answer(&Response::Refused(refusal.clone())).await;
    let ToApplier::NotLogged { id, refusal: shown } = applier.hear().await else {
        panic!("not logged")
    };
    assert_eq!((id, shown), (Digest::of(b"first"), refusal));
    assert_eq!(appended(&coordinator.asked().await), "second");
}

#[tokio::test]
async fn a_statement_that_the_coordinator_fails_on_is_offered_again_after_the_others() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    applier.say(&append("first", 0)).await;
    applier.say(&append("second", 0)).await;
    let asked = coordinator.asked().await;
    assert_eq!(appended(&asked), "first");
    asked.answer(&Response::Failed("the disk is full".to_owned())).await;
    for (place, name) in ["second", "first"].into_iter().enumerate() {
        let asked = coordinator.asked().await;
        assert_eq!(appended(&asked), name);
        let index = place as u64;
        asked.answer(&Response::Appended(receipt(index, index + 1))).await;
        let ToApplier::Logged { id, .. } = applier.hear().await else { panic!("logged") };
        assert_eq!(id, Digest::of(name.as_bytes()));
    }
}

#[tokio::test]
async fn a_host_that_enrols_gets_its_directive_stream_then() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, mut directives) = agent.joined(&mut coordinator).await;
    applier.say(&append("enrolment", 0)).await;
    let enrolment = coordinator.asked().await;
    directives.writer.cut(CloseCode::NotPermitted);
    directives.reader.stop(CloseCode::NotPermitted);
    enrolment.answer(&Response::Appended(receipt(0, 1))).await;
    assert!(matches!(applier.hear().await, ToApplier::Logged { .. }));
    assert_eq!(coordinator.asked().await.request, Request::Directives);
}

#[tokio::test]
async fn a_host_that_has_not_joined_waits_until_it_has() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, key) = agent.greeted().await;
    applier.say(&FromApplier::NotJoined).await;
    applier.say(&coordinator.welcome(0)).await;
    applier.expect_connected(true).await;
    assert_eq!(coordinator.newcomer().await, key);
}

#[tokio::test]
async fn another_coordinator_begins_another_session() {
    let agent = Agent::start();
    let (mut first, mut second) = (Coordinator::start(1), Coordinator::start(2));
    let (mut applier, _directives) = agent.joined(&mut first).await;
    applier.say(&first.welcome(3)).await;
    applier.say(&second.welcome(3)).await;
    applier.expect_end().await;
    patiently("the goodbye", first.connection().closed()).await;
    agent.joined(&mut second).await;
}

#[tokio::test]
async fn a_frame_too_long_for_the_coordinator_s_side_ends_that_stream_only() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, mut directives) = agent.joined(&mut coordinator).await;
    let length = u32::try_from(MAX_FRAME).unwrap() + 1;
    let header = bytes::Bytes::copy_from_slice(&length.to_be_bytes());
    directives.writer.write_raw(header).await.unwrap();
    let mut again = coordinator.asked().await;
    assert_eq!(again.request, Request::Directives);
    applier.say(&FromApplier::Report(report(1))).await;
    assert_eq!(again.report().await, report(1));
}

#[tokio::test]
async fn a_directive_that_fits_one_frame_and_not_the_other_is_dropped() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, mut directives) = agent.joined(&mut coordinator).await;
    let order = Digest::of(b"order");
    // Filled to the last byte: 1 for the variant, 32 for the order, 5 for the length of the note, 3 for
    // those of the other lists. Towards the applier one more names the message.
    let checkpoint = vec![7; MAX_FRAME - 41];
    let brim = Evidence { checkpoint, ..evidence() };
    let brim = Evidence { consistency: Vec::new(), ..brim };
    directives.direct(&Directive::Offer { order, evidence: brim }).await;
    directives.direct(&Directive::Stop { order, evidence: evidence() }).await;
    let ToApplier::Directive(directive) = applier.hear().await else { panic!("a directive") };
    assert!(matches!(*directive, Directive::Stop { .. }));
}

#[tokio::test]
async fn nonsense_from_the_applier_ends_the_session_and_begins_another() {
    let agent = Agent::start();
    let mut too_long = (u32::try_from(MAX_FRAME).unwrap() + 1).to_be_bytes().to_vec();
    too_long.extend_from_slice(b"and more");
    for nonsense in [&too_long[..], &[0, 0, 0, 2, 99, 99], &[0, 0, 0, 0]] {
        let (mut applier, _) = agent.greeted().await;
        applier.say_raw(nonsense).await;
        applier.expect_end().await;
    }
    agent.greeted().await;
}
