//! What people ask: the log and its proofs, statements that are refused, and who may ask what.

use cutover_coordinator::store::APPEND_ENTRIES;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::log::{leaf_hash, verify_consistency, verify_inclusion};
use cutover_shared::protocol::{MAX_ENTRIES, Part, Request, Response};
use cutover_shared::refusal::Code;
use cutover_shared::statement::{
    Grant, Hold, HostChange, Phase, Review, Statement, Verdict, WindowRelease,
};
use cutover_shared::window::Window;
use cutover_transport::{CloseCode, Ended, StreamError, ended, open_stream};

use crate::world::{Server, at, booking, enrolment, key, name, names, transport, verified, within};

fn code(response: Response) -> Code {
    match response {
        Response::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_proves_that_the_statement_is_in_the_log() {
    let server = Server::start().await;
    let client = server.client("ops").await;
    let before = client.checkpoint().await.head;
    let statement = Statement::new(at(0), HostChange::Enrolled(Box::new(enrolment("p1"))));
    let envelope = statement.signed_by([&key("ops")]).to_bytes();
    let receipt = client.append(envelope.clone()).await.unwrap();
    let head = verified(&receipt.checkpoint).head;
    assert_eq!((receipt.index, head.size), (1, 2));
    verify_inclusion(&leaf_hash(&envelope), 1, &receipt.inclusion, &head).unwrap();
    let proof = match client.ask(&Request::Consistency { old: 1, new: 2 }).await {
        Response::Consistency(proof) => proof,
        other => panic!("{other:?}"),
    };
    verify_consistency(&before, &head, &proof).unwrap();

    // Said again, it is told where it is.
    let again = client.append(envelope).await.unwrap();
    assert_eq!((again.index, verified(&again.checkpoint).head), (1, head));
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_refused_by_code_and_leave_nothing_behind() {
    let server = Server::start().await;
    server.enrol(&["p1"]).await;
    let (release, package) = server.reviewed("1.0").await;
    let before = server.client("max").await.checkpoint().await.head;
    let client = server.client("max").await;
    let enrolled = || HostChange::Enrolled(Box::new(enrolment("p1")));
    let complete =
        || Review { release, environments: names(&["production"]), verdict: Verdict::Complete };
    let window = Window { start: at(1000), end: at(5000) };
    let cases = [
        (server.try_say("max", enrolled()).await, Code::NameTaken),
        (server.try_say("sue", complete()).await, Code::RoleMissing),
        (
            server.try_say("lib", Review { release: Digest::of(b"x"), ..complete() }).await,
            Code::SubjectUnknown,
        ),
        (server.try_state("lib", &Statement::new(at(3600), complete())).await, Code::ClockSkew),
        (
            server.try_say("max", booking((release, package), &[&["p2"]], window)).await,
            Code::WrongHost,
        ),
        (
            server
                .try_say(
                    "max",
                    booking((release, package), &[&["p1"]], Window { start: at(1), end: at(9) }),
                )
                .await,
            Code::WindowTooShort,
        ),
        (
            server
                .try_say(
                    "max",
                    WindowRelease {
                        booking: Digest::of(b"x"),
                        release,
                        package,
                        checkpoint: before.clone(),
                    },
                )
                .await,
            Code::SubjectUnknown,
        ),
    ];
    for (number, (result, expected)) in cases.into_iter().enumerate() {
        assert_eq!(result.unwrap_err().code, expected, "case {number}");
    }
    // Of another second: what is in the log already is told where it is, however it is wrapped.
    let mut bent = Statement::new(at(1), complete()).signed_by([&key("lib")]).to_bytes();
    let position = bent.iter().rposition(|byte| *byte == b'A').unwrap();
    bent[position] = b'B';
    let bent = client.append(bent).await.unwrap_err().code;
    assert!(matches!(bent, Code::SignatureInvalid | Code::Malformed), "{bent}");
    assert_eq!(client.append(b"nonsense".to_vec()).await.unwrap_err().code, Code::Malformed);
    assert_eq!(client.checkpoint().await.head, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_in_ranges_within_it() {
    let server = Server::start().await;
    server.enrol(&["p1", "p2"]).await;
    let client = server.client("max").await;
    for (from, to) in [(0, 4), (2, 1), (0, u64::MAX), (u64::MAX, u64::MAX), (0, MAX_ENTRIES + 1)] {
        let response = client.ask(&Request::Entries { from, to }).await;
        assert_eq!(code(response), Code::Malformed, "{from}..{to}");
    }
    let response = client.ask(&Request::Consistency { old: 2, new: 4 }).await;
    assert_eq!(code(response), Code::CheckpointStale);
    let response = client.ask(&Request::Consistency { old: 3, new: 2 }).await;
    assert_eq!(code(response), Code::Malformed);
}

#[tokio::test(flavor = "multi_thread")]
async fn following_tells_each_growth() {
    let server = Server::start().await;
    let follower = server.client("sec").await;
    let (_writer, mut reader) = follower.open(&Request::Follow).await;
    let mut sizes = Vec::new();
    for host in ["p1", "p2", "p3"] {
        match within(reader.recv::<Response>()).await.unwrap().unwrap() {
            Response::Checkpoint(note) => sizes.push(verified(&note).head.size),
            other => panic!("{other:?}"),
        }
        server.enrol(&[host]).await;
    }
    assert_eq!(sizes, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_all_logged_once() {
    let server = Server::start().await;
    let (release, _) = server.reviewed("1.0").await;
    let before = server.client("max").await.checkpoint().await.head.size;
    let count = 40;
    assert!(count < APPEND_ENTRIES);
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..count {
        let hold = Hold { release, reason: format!("reason {}", number / 2), finish: false };
        let envelope = Statement::new(at(0), hold).signed_by([&key("max")]).to_bytes();
        let client = server.client("max").await;
        waiting.spawn(async move { client.append(envelope).await.unwrap().index });
    }
    let mut indexes = waiting.join_all().await;
    indexes.sort_unstable();
    let expected: Vec<u64> = (0..count as u64).map(|number| before + number / 2).collect();
    assert_eq!(indexes, expected, "each was said twice, and is there once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_is_not_acknowledged_under_another_signature() {
    let server = Server::start().await;
    let (release, _) = server.reviewed("1.0").await;
    let client = server.client("max").await;
    let hold = Hold { release, reason: "because".to_owned(), finish: false };
    let statement = Statement::new(at(0), hold);
    let good = statement.signed_by([&key("max")]).to_bytes();
    let index = client.append(good.clone()).await.unwrap().index;
    assert_eq!(client.append(good.clone()).await.unwrap().index, index, "brought again");
    let mut bent: serde_json::Value = serde_json::from_slice(&good).unwrap();
    bent["signatures"][0]["sig"] = format!("{}==", "A".repeat(86)).into();
    let more = statement.signed_by([&key("max"), &key("stranger")]).to_bytes();
    let id = |envelope: &[u8]| Envelope::parse(envelope).unwrap().id();
    for other in [serde_json::to_vec(&bent).unwrap(), more] {
        assert_eq!(id(&other), id(&good), "the same statement");
        let refusal = client.append(other).await.unwrap_err();
        assert_eq!(refusal.code, Code::SignatureInvalid, "{refusal}");
    }
    assert_eq!(client.append(good).await.unwrap().index, index);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_may_enrol_by_grant_and_nothing_else() {
    let server = Server::start().await;
    let grant = Grant {
        grant_key: key("grant").public(),
        environment: name("production"),
        labels: std::collections::BTreeMap::new(),
        applications: names(&["shop"]),
        count: 1,
    };
    let grant = Statement::new(at(0), grant).until(at(86400));
    let grant = server.try_state("ops", &grant).await.unwrap();
    let enrol = |host: &str, transport_key: &str| {
        let mut enrolment = enrolment(host);
        enrolment.grant = Some(grant);
        enrolment.transport_key = key(transport_key).public();
        Statement::new(at(1), HostChange::Enrolled(Box::new(enrolment)))
            .signed_by([&key("grant"), &key(host)])
            .to_bytes()
    };

    let stranger = server.client(&transport("p1")).await;
    let package = Digest::of(b"x");
    let questions = [
        Request::Consistency { old: 0, new: 1 },
        Request::Entries { from: 0, to: 1 },
        Request::Follow,
        Request::Fleet,
        Request::Directives,
        Request::Outbox,
        Request::RetryDelivery { key: package },
        Request::Forms { of: vec![package] },
        Request::PackageInfo { package },
        Request::Artifact { package, part: Part::Index, offset: 0, length: 1 },
        Request::PutPackage { package, index_length: 1, map_length: 1, pack_length: 1 },
        Request::Clearance { order: package, phase: Phase::Start, nonce: package, known: 0 },
        Request::Append { envelope: enrol("p1", "somebody-else") },
    ];
    for question in questions {
        assert_eq!(code(stranger.ask(&question).await), Code::RoleMissing, "{question:?}");
    }
    assert_eq!(stranger.checkpoint().await.head.size, 2, "this much anybody may know");

    let long = Request::Append { envelope: vec![b' '; 64 * 1024] };
    let (_writer, mut reader) = stranger.open(&long).await;
    let cut = within(reader.recv::<Response>()).await.unwrap_err();
    assert_eq!(cut.code(), Some(CloseCode::Protocol), "{cut:?}");

    stranger.append(enrol("p1", &transport("p1"))).await.unwrap();
    let answer = stranger.ask(&Request::Consistency { old: 1, new: 3 }).await;
    assert!(matches!(answer, Response::Consistency(_)), "now it is a host: {answer:?}");
    let other = server.client(&transport("p2")).await;
    let refusal = other.append(enrol("p2", &transport("p2"))).await.unwrap_err();
    assert_eq!(refusal.code, Code::GrantExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_strangers_is_turned_away_and_people_are_not() {
    let server = Server::start().await;
    let mut crowd = Vec::new();
    let turned_away = loop {
        let client = server.client(&format!("stranger-{}", crowd.len())).await;
        // The answer, or the end of the connection: whichever comes is an event.
        let question = Request::Checkpoint;
        match within(cutover_transport::request::<_, Response>(&client.connection, &question)).await
        {
            Ok(_) => crowd.push(client),
            Err(StreamError::Lost(why)) => break why,
            Err(other) => panic!("{other:?}"),
        }
        assert!(crowd.len() < 1000, "there is a limit");
    };
    assert!(
        matches!(turned_away, Ended::Closed { code: CloseCode::Overloaded, .. }),
        "{turned_away:?}"
    );
    server.client("max").await.checkpoint().await;
    // When one of them goes there is room again.
    crowd.pop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_host_is_turned_out() {
    let server = Server::start().await;
    server.enrol(&["p1"]).await;
    let host = server.client(&transport("p1")).await;
    let (_writer, _reader) = host.open(&Request::Directives).await;
    let answer = host.ask(&Request::Consistency { old: 0, new: 1 }).await;
    assert!(matches!(answer, Response::Consistency(_)), "{answer:?}");
    let retired = HostChange::Retired {
        host: name("p1"),
        host_key: key("p1").public().id(),
        reason: "scrapped".to_owned(),
    };
    server.say("ops", retired).await;
    let why = ended(&within(host.connection.closed()).await);
    assert!(matches!(why, Ended::Closed { code: CloseCode::NotPermitted, .. }), "{why:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_cut_and_the_connection_goes_on() {
    let server = Server::start().await;
    let client = server.client("max").await;
    let (mut writer, mut reader) = open_stream(&client.connection).await.unwrap();
    writer.write_raw(vec![0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff].into()).await.unwrap();
    let cut = within(reader.recv::<Response>()).await.unwrap_err();
    assert_eq!(cut.code(), Some(CloseCode::Protocol), "{cut:?}");
    let (mut writer, mut reader) = open_stream(&client.connection).await.unwrap();
    writer.write_raw(vec![0xff; 4].into()).await.unwrap();
    let cut = within(reader.recv::<Response>()).await.unwrap_err();
    assert_eq!(cut.code(), Some(CloseCode::Protocol), "{cut:?}");
    client.checkpoint().await;
}
