//! Bytes of packages: in pieces, over losses, from the spool.

use bytes::Bytes;
use cutover_shared::digest::Digest;
use cutover_shared::protocol::{FromApplier, MAX_RANGE, Part, Request, Response, ToApplier};
use cutover_shared::refusal::{Code, Refusal};
use cutover_transport::CloseCode;

use crate::harness::{Agent, Applier, Asked, Coordinator, content, is_empty, patiently};

fn package() -> Digest {
    Digest::of(b"package")
}

fn fetch(part: Part, offset: u64, length: u64) -> FromApplier {
    FromApplier::Fetch { package: package(), part, offset, length }
}

async fn next_artifact(coordinator: &mut Coordinator) -> Asked {
    loop {
        let asked = coordinator.asked().await;
        if asked.request != Request::Directives {
            return asked;
        }
    }
}

/// Bytes of the pack, `length` from `offset`.
async fn pack(applier: &mut Applier, content: &[u8], offset: usize, length: usize) {
    let fetched = applier.fetched(package(), Part::Pack, offset as u64).await;
    assert!(fetched == content[offset..offset + length], "the bytes are those of the pack");
}

#[tokio::test]
async fn a_part_is_fetched_to_its_end() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    let index = content(300_000);
    applier.say(&fetch(Part::Index, 0, 0)).await;
    let asked = coordinator.asked().await;
    assert_eq!(asked.request, Request::PackageInfo { package: package() });
    let lengths = Response::PackageInfo { index_length: 300_000, map_length: 7, pack_length: 0 };
    asked.answer(&lengths).await;
    coordinator.asked().await.serve(package(), Part::Index, &index).await;
    assert!(applier.fetched(package(), Part::Index, 0).await == index);

    // The lengths are known now, and so is an empty part.
    applier.say(&fetch(Part::Map, 0, 0)).await;
    coordinator.asked().await.serve(package(), Part::Map, b"the map").await;
    assert_eq!(applier.fetched(package(), Part::Map, 0).await, b"the map");
    applier.say(&fetch(Part::Pack, 0, 0)).await;
    assert!(applier.fetched(package(), Part::Pack, 0).await.is_empty());
}

#[tokio::test]
async fn a_long_range_is_asked_for_in_ranges_and_arrives_in_pieces() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    let length = usize::try_from(MAX_RANGE).unwrap() + 10;
    let content = content(100 + length);
    applier.say(&fetch(Part::Pack, 100, length as u64)).await;
    let serving = async {
        for expected in [100..100 + length - 10, 90 + length..100 + length] {
            let asked = coordinator.asked().await;
            assert_eq!(asked.range(package(), Part::Pack), expected);
            asked.serve(package(), Part::Pack, &content).await;
        }
    };
    tokio::join!(serving, pack(&mut applier, &content, 100, length));
}

#[tokio::test]
async fn several_ranges_are_fetched_side_by_side() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    let content = content(3000);
    for offset in [0, 1000, 2000] {
        applier.say(&fetch(Part::Pack, offset, 1000)).await;
    }
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.push(coordinator.asked().await);
    }
    // The last one is answered first.
    asked.sort_by_key(|asked| std::cmp::Reverse(asked.range(package(), Part::Pack).start));
    for asked in asked {
        let offset = asked.range(package(), Part::Pack).start;
        asked.serve(package(), Part::Pack, &content).await;
        pack(&mut applier, &content, offset, 1000).await;
    }
}

/// Sends the first `length` bytes of what is asked for, and leaves the stream open.
async fn begin(asked: &mut Asked, content: &[u8], length: usize) {
    let range = asked.range(package(), Part::Pack);
    asked.writer.send(&Response::Bytes { length: range.len() as u64 }).await.unwrap();
    let some = Bytes::copy_from_slice(&content[range.start..range.start + length]);
    asked.writer.write_raw(some).await.unwrap();
}

#[tokio::test]
async fn a_fetch_goes_on_where_the_connection_was_lost() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    let content = content(700_000);
    applier.say(&fetch(Part::Pack, 0, 700_000)).await;
    let mut asked = coordinator.asked().await;
    begin(&mut asked, &content, 300_000).await;
    // A whole piece is with the applier; what is more may have arrived or not.
    let (first, last) = applier.piece(package(), Part::Pack, 0).await;
    assert!(!last && content.starts_with(&first));
    coordinator.hang_up();

    let asked = next_artifact(&mut coordinator).await;
    let range = asked.range(package(), Part::Pack);
    assert!(first.len() <= range.start && range.start <= 300_000, "{range:?}");
    assert_eq!(range.end, 700_000);
    asked.serve(package(), Part::Pack, &content).await;

    let mut whole = first;
    while whole.len() < content.len() {
        let message = applier.hear().await;
        if let ToApplier::Bytes { offset, bytes, last, .. } = message {
            assert_eq!(offset, whole.len() as u64);
            whole.extend_from_slice(&bytes);
            assert_eq!(last, whole.len() == content.len());
        } else {
            assert!(matches!(message, ToApplier::Connected(_)), "{message:?}");
        }
    }
    assert!(whole == content);
}

#[tokio::test]
async fn what_was_fetched_is_not_fetched_again_after_a_restart_of_either_half() {
    let mut agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let content = content(1_000_000);
    let (mut applier, directives) = agent.joined(&mut coordinator).await;
    applier.say(&fetch(Part::Pack, 200_000, 500_000)).await;
    coordinator.asked().await.serve(package(), Part::Pack, &content).await;
    pack(&mut applier, &content, 200_000, 500_000).await;
    drop((applier, directives));

    for restart in [false, true] {
        if restart {
            agent.stop().await;
            agent.start_again();
        }
        // The applier comes back and asks before anybody can be asked.
        let (mut applier, _) = agent.greeted().await;
        applier.say(&fetch(Part::Pack, 200_000, 500_000)).await;
        pack(&mut applier, &content, 200_000, 500_000).await;
        applier.say(&fetch(Part::Pack, 450_000, 100_000)).await;
        pack(&mut applier, &content, 450_000, 100_000).await;
        assert!(!coordinator.was_asked());
    }

    // Of more than is there only the gaps are asked for.
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    applier.say(&fetch(Part::Pack, 0, 1_000_000)).await;
    let serving = async {
        for gap in [0..200_000, 700_000..1_000_000] {
            let asked = coordinator.asked().await;
            assert_eq!(asked.range(package(), Part::Pack), gap);
            asked.serve(package(), Part::Pack, &content).await;
        }
    };
    tokio::join!(serving, pack(&mut applier, &content, 0, 1_000_000));
}

#[tokio::test]
async fn a_package_that_is_no_longer_wanted_leaves_the_spool() {
    let mut agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    let bad = vec![0; 1000];
    applier.say(&fetch(Part::Pack, 0, 1000)).await;
    coordinator.asked().await.serve(package(), Part::Pack, &bad).await;
    pack(&mut applier, &bad, 0, 1000).await;
    assert!(!is_empty(&agent.path("spool")));

    // Another fetch right behind it does not get the old bytes.
    applier.say(&FromApplier::StopFetching { package: package() }).await;
    applier.say(&fetch(Part::Pack, 0, 1000)).await;
    let good = content(1000);
    coordinator.asked().await.serve(package(), Part::Pack, &good).await;
    pack(&mut applier, &good, 0, 1000).await;

    applier.say(&FromApplier::StopFetching { package: package() }).await;
    // The answer to something said later: by then the removal has been noted, and stopping waits for it.
    applier.say(&fetch(Part::Pack, 0, 1)).await;
    let _unanswered = coordinator.asked().await;
    agent.stop().await;
    assert!(is_empty(&agent.path("spool")));
}

#[tokio::test]
async fn a_fetch_that_is_stopped_ends_at_the_coordinator_too() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    applier.say(&fetch(Part::Pack, 0, 1000)).await;
    let mut asked = coordinator.asked().await;
    asked.writer.send(&Response::Bytes { length: 1000 }).await.unwrap();
    applier.say(&FromApplier::StopFetching { package: package() }).await;
    patiently("the end of the stream", asked.writer.delivered()).await.unwrap_err();
}

#[tokio::test]
async fn a_refused_fetch_is_told_to_the_applier() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    let refusal = Refusal::new(Code::WindowNotOpen, "it opens at 22:00");
    for (part, length) in [(Part::Index, 0), (Part::Pack, 77)] {
        applier.say(&fetch(part, 5, length)).await;
        coordinator.asked().await.answer(&Response::Refused(refusal.clone())).await;
        let message = applier.hear().await;
        let ToApplier::FetchFailed { package: of, part: of_part, offset, refusal: shown } = message
        else {
            panic!("{message:?}")
        };
        assert_eq!((of, of_part, offset), (package(), part, 5));
        assert_eq!(shown, refusal);
    }
}

#[tokio::test]
async fn a_part_that_ends_before_the_range_is_a_refusal() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    applier.say(&fetch(Part::Pack, 100, 50)).await;
    coordinator.asked().await.answer(&Response::Bytes { length: 0 }).await;
    let message = applier.hear().await;
    assert!(
        matches!(&message, ToApplier::FetchFailed { refusal, .. } if refusal.code == Code::Malformed),
        "{message:?}"
    );
}

#[tokio::test]
async fn a_failure_or_a_wrong_answer_is_asked_again() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    let content = content(10);
    applier.say(&fetch(Part::Pack, 0, 10)).await;
    // Cut short, and ended short.
    coordinator.asked().await.writer.cut(CloseCode::Overloaded);
    let mut short = coordinator.asked().await;
    begin(&mut short, &content, 0).await;
    short.writer.finish().unwrap();
    for wrong in [
        Response::Failed("the disk is slow".to_owned()),
        Response::Stored,
        Response::Bytes { length: 11 },
    ] {
        coordinator.asked().await.answer(&wrong).await;
    }
    coordinator.asked().await.serve(package(), Part::Pack, &content).await;
    pack(&mut applier, &content, 0, 10).await;
}

#[tokio::test]
async fn an_applier_that_does_not_read_slows_the_coordinator_and_delays_no_clearance() {
    let agent = Agent::start();
    let mut coordinator = Coordinator::start(1);
    let (mut applier, _directives) = agent.joined(&mut coordinator).await;
    let content = content(8 << 20);
    applier.say(&fetch(Part::Pack, 0, 8 << 20)).await;
    let asked = coordinator.asked().await;
    let serving = tokio::spawn({
        let content = content.clone();
        async move { asked.serve(package(), Part::Pack, &content).await }
    });
    applier.say(&FromApplier::Append { id: package(), envelope: Vec::new(), known: 0 }).await;
    let refusal = Refusal::new(Code::Malformed, "no envelope");
    coordinator.asked().await.answer(&Response::Refused(refusal)).await;
    let mut arrived = 0;
    let before_the_answer = loop {
        let message = applier.hear().await;
        if let ToApplier::Bytes { bytes, .. } = message {
            arrived += bytes.len();
        } else {
            assert!(matches!(message, ToApplier::NotLogged { .. }), "{message:?}");
            break arrived;
        }
    };
    // What lies between the two sockets is bounded: QUIC's window, the queue, the socket's buffer.
    assert!(before_the_answer < content.len(), "{before_the_answer} bytes came first");
    while arrived < content.len() {
        let (bytes, _) = applier.piece(package(), Part::Pack, arrived as u64).await;
        arrived += bytes.len();
    }
    serving.await.unwrap();
}
