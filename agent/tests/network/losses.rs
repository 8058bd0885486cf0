//! What happens when either side goes away in the middle.

use cutover_shared::digest::Digest;
use cutover_shared::protocol::{FromApplier, Request, Response, ToApplier};
use cutover_shared::statement::Phase;
use cutover_transport::{CloseCode, Ended, ended};

use crate::harness::{Agent, Coordinator, patiently, receipt, report};

#[tokio::test]
async fn a_lost_coordinator_is_found_again_and_told_the_newest_report() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, mut directives) = agent.joined(&mut coordinator).await;
    applier.say(&FromApplier::Report(report(1))).await;
    assert_eq!(directives.report().await, report(1));
    for known in [2, 3] {
        coordinator.hang_up();
        applier.expect_connected(false).await;
        applier.say(&FromApplier::Report(report(known))).await;
        applier.expect_connected(true).await;
        let mut directives = coordinator.asked().await;
        assert_eq!(directives.request, Request::Directives);
        let mut newest = directives.report().await;
        if newest.known < known {
            // The stream was quicker than the report.
            newest = directives.report().await;
        }
        assert_eq!(newest, report(known));
    }
}

#[tokio::test]
async fn a_statement_is_offered_until_it_is_answered() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    let id = Digest::of(b"outcome");
    applier.say(&FromApplier::Append { id, envelope: b"outcome".to_vec(), known: 0 }).await;
    let append = Request::Append { envelope: b"outcome".to_vec() };
    for _ in 0..2 {
        assert_eq!(next_but_directives(&mut coordinator).await.request, append);
        coordinator.hang_up();
        applier.expect_connected(false).await;
        applier.expect_connected(true).await;
    }
    let asked = next_but_directives(&mut coordinator).await;
    assert_eq!(asked.request, append);
    asked.answer(&Response::Appended(receipt(0, 1))).await;
    let ToApplier::Logged { id: logged, .. } = applier.hear().await else { panic!("logged") };
    assert_eq!(logged, id);
}

#[tokio::test]
async fn a_statement_given_while_nobody_is_reached_is_offered_later() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _) = agent.greeted().await;
    let id = Digest::of(b"outcome");
    applier.say(&FromApplier::Append { id, envelope: b"outcome".to_vec(), known: 0 }).await;
    applier.say(&coordinator.welcome(0)).await;
    applier.expect_connected(true).await;
    next_but_directives(&mut coordinator).await.answer(&Response::Appended(receipt(0, 1))).await;
    assert!(matches!(applier.hear().await, ToApplier::Logged { .. }));
}

#[tokio::test]
async fn a_clearance_that_nobody_answered_stays_unanswered() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    let want = |nonce: &[u8]| FromApplier::WantClearance {
        order: Digest::of(b"order"),
        phase: Phase::Start,
        nonce: Digest::of(nonce),
        known: 0,
    };
    applier.say(&want(b"first")).await;
    let _first = coordinator.asked().await;
    coordinator.hang_up();
    applier.expect_connected(false).await;
    applier.expect_connected(true).await;
    // Only the new question is asked.
    applier.say(&want(b"second")).await;
    let asked = next_but_directives(&mut coordinator).await;
    let Request::Clearance { nonce, .. } = asked.request else { panic!("{:?}", asked.request) };
    assert_eq!(nonce, Digest::of(b"second"));
}

#[tokio::test]
async fn an_applier_that_restarts_is_greeted_again_and_the_coordinator_hears_of_it() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let mut keys = Vec::new();
    for _ in 0..3 {
        let (applier, _directives) = agent.joined(&mut coordinator).await;
        keys.push(coordinator.newcomer().await);
        let connection = coordinator.connection();
        drop(applier);
        let goodbye = ended(&patiently("the goodbye", connection.closed()).await);
        assert!(matches!(goodbye, Ended::Closed { code: CloseCode::Done, .. }), "{goodbye:?}");
    }
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[tokio::test]
async fn an_applier_that_is_away_for_a_while_is_waited_for() {
    let mut agent = Agent::start();
    agent.stop().await;
    let socket = agent.path("applier.sock");
    let aside = agent.path("aside.sock");
    std::fs::rename(&socket, &aside).unwrap();
    agent.start_again();
    std::fs::rename(&aside, &socket).unwrap();
    agent.greeted().await;
}

#[tokio::test]
async fn it_stops_in_good_order_in_every_state() {
    let mut agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    agent.stop().await;

    agent.start_again();
    let (mut applier, _) = agent.greeted().await;
    agent.stop().await;
    applier.expect_end().await;

    agent.start_again();
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    let connection = coordinator.connection();
    agent.stop().await;
    applier.expect_end().await;
    let goodbye = ended(&patiently("the goodbye", connection.closed()).await);
    assert!(matches!(goodbye, Ended::Closed { code: CloseCode::ShuttingDown, .. }), "{goodbye:?}");
}

/// The next request that is no directive stream: those are opened anew with every connection. They are
/// let go, which to the network half is a stream that ended.
async fn next_but_directives(coordinator: &mut Coordinator) -> crate::harness::Asked {
    loop {
        let asked = coordinator.asked().await;
        if asked.request != Request::Directives {
            return asked;
        }
    }
}
