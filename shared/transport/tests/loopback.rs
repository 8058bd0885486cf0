//! The transport between a real server and real clients on the loopback interface.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cutover_shared::codec::MAX_FRAME;
use cutover_shared::key::{PublicKey, SecretKey};
use cutover_transport::{
    AcceptError, CloseCode, ConnectError, Connection, Ended, Endpoint, FrameReader, FrameWriter,
    Gate, RAW_PIECE, StreamError, accept, accept_one_way, accept_stream, client_endpoint, close,
    connect, ended, open_one_way, open_stream, peer_key, request, server_endpoint,
};

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

fn server(gate: Option<Gate>) -> (Endpoint, String) {
    let endpoint = server_endpoint(LOOPBACK, &key(1), gate).unwrap();
    let address = endpoint.local_addr().unwrap().to_string();
    (endpoint, address)
}

async fn accept_one(server: &Endpoint) -> Result<(Connection, PublicKey), AcceptError> {
    let incoming = server.accept().await.expect("the endpoint is open");
    accept(server, incoming).await
}

/// Both ends of one connection, and the endpoints that keep it alive.
struct Pair {
    _server: Endpoint,
    _client: Endpoint,
    at_server: Connection,
    at_client: Connection,
}

async fn pair() -> Pair {
    let (server, address) = server(None);
    let client = client_endpoint().unwrap();
    let (at_server, at_client) = {
        let (pinned, own) = (key(1).public(), key(2));
        let (accepted, connected) =
            tokio::join!(accept_one(&server), connect(&client, &address, &pinned, &own));
        (accepted.unwrap().0, connected.unwrap())
    };
    Pair { _server: server, _client: client, at_server, at_client }
}

/// A stream in both directions: the client's half and the server's, after a first frame that opens it.
async fn stream_of(pair: &Pair) -> ((FrameWriter, FrameReader), (FrameWriter, FrameReader)) {
    let mut near = open_stream(&pair.at_client).await.unwrap();
    near.0.send("hello").await.unwrap();
    let mut far = accept_stream(&pair.at_server).await.unwrap();
    assert_eq!(far.1.recv::<String>().await.unwrap().as_deref(), Some("hello"));
    (near, far)
}

#[tokio::test]
async fn each_side_sees_the_key_of_the_other() {
    let pair = pair().await;
    assert_eq!(peer_key(&pair.at_server), Some(key(2).public()));
    assert_eq!(peer_key(&pair.at_client), Some(key(1).public()));
}

#[tokio::test]
async fn another_server_key_than_the_pinned_one_is_named() {
    let (server, address) = server(None);
    let client = client_endpoint().unwrap();
    let (pinned, own) = (key(9).public(), key(2));
    let (accepted, connected) =
        tokio::join!(accept_one(&server), connect(&client, &address, &pinned, &own));
    accepted.unwrap_err();
    let error = connected.unwrap_err();
    let ConnectError::WrongServerKey { expected, shown, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!((expected, shown), (key(9).public().id(), key(1).public().id()));
}

#[tokio::test]
async fn the_gate_decides_by_key() {
    let admitted = key(2).public();
    let (server, address) = server(Some(Arc::new(move |key| *key == admitted)));
    let client = client_endpoint().unwrap();
    let (pinned, good, bad) = (key(1).public(), key(2), key(3));

    let (accepted, connected) =
        tokio::join!(accept_one(&server), connect(&client, &address, &pinned, &bad));
    assert!(
        matches!(accepted, Err(AcceptError::Handshake { ref ended, .. }) if *ended == Ended::KeyRefused),
        "{accepted:?}"
    );
    match connected {
        Ok(connection) => assert_eq!(ended(&connection.closed().await), Ended::KeyRefused),
        Err(error) => panic!("the client's side of the handshake comes first: {error:?}"),
    }

    let (accepted, connected) =
        tokio::join!(accept_one(&server), connect(&client, &address, &pinned, &good));
    connected.unwrap();
    assert_eq!(accepted.unwrap().1, key(2).public());
}

#[tokio::test]
async fn nobody_at_the_address_is_an_answer_too() {
    let client = client_endpoint().unwrap();
    let (pinned, own) = (key(1).public(), key(2));
    for address in ["no-port", "host.invalid:1"] {
        let error = connect(&client, address, &pinned, &own).await.unwrap_err();
        assert!(matches!(error, ConnectError::Resolve { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn an_unspecified_ipv6_server_serves_both_families() {
    let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
    let Ok(server) = server_endpoint(any, &key(1), None) else {
        // A machine without IPv6 has nothing to show here.
        return;
    };
    let port = server.local_addr().unwrap().port();
    let client = client_endpoint().unwrap();
    let (pinned, own) = (key(1).public(), key(2));
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let (accepted, connected) =
            tokio::join!(accept_one(&server), connect(&client, &address, &pinned, &own));
        accepted.unwrap();
        connected.unwrap();
    }
}

#[tokio::test]
async fn requests_are_answered_on_their_own_streams() {
    let pair = pair().await;
    let at_server = pair.at_server.clone();
    let serving = tokio::spawn(async move {
        while let Ok((mut writer, mut reader)) = accept_stream(&at_server).await {
            let question: u64 = reader.recv().await.unwrap().unwrap();
            reader.expect_end().await.unwrap();
            writer.send(&(question * 2)).await.unwrap();
            writer.finish().unwrap();
            writer.delivered().await.unwrap();
        }
    });
    let (first, second): (Result<u64, _>, Result<u64, _>) =
        tokio::join!(request(&pair.at_client, &4_u64), request(&pair.at_client, &5_u64));
    assert_eq!((first.unwrap(), second.unwrap()), (8, 10));
    close(&pair.at_client, CloseCode::Done, "");
    serving.await.unwrap();
}

#[tokio::test]
async fn a_frame_as_long_as_allowed_arrives() {
    let pair = pair().await;
    let ((mut writer, _), (_, mut reader)) = stream_of(&pair).await;
    // bincode counts eight for the length before the bytes.
    let longest = vec![7_u8; MAX_FRAME - 8];
    let (sent, received) = tokio::join!(writer.send(&longest), reader.recv::<Vec<u8>>());
    sent.unwrap();
    assert_eq!(received.unwrap().unwrap(), longest);
    let too_long = vec![7_u8; MAX_FRAME - 4];
    let error = writer.send(&too_long).await.unwrap_err();
    assert!(matches!(error, StreamError::Codec(_)), "{error:?}");
}

#[tokio::test]
async fn a_length_beyond_the_limit_is_refused_unread() {
    let pair = pair().await;
    for header in [u32::MAX, u32::try_from(MAX_FRAME).unwrap() + 1] {
        let ((mut writer, _), (_, mut reader)) = stream_of(&pair).await;
        writer.write_raw(Bytes::copy_from_slice(&header.to_be_bytes())).await.unwrap();
        let error = reader.recv::<String>().await.unwrap_err();
        assert!(matches!(error, StreamError::Codec(_)), "{error:?}");
        let error = writer.delivered().await.unwrap_err();
        assert_eq!(error.code(), Some(CloseCode::Protocol), "{error:?}");
    }
}

#[tokio::test]
async fn a_reader_for_strangers_takes_short_frames_only() {
    let pair = pair().await;
    let mut writer = open_one_way(&pair.at_client).await.unwrap();
    writer.send(&vec![1_u8; 99]).await.unwrap();
    writer.send(&vec![1_u8; 100]).await.unwrap();
    let mut reader = accept_one_way(&pair.at_server).await.unwrap().with_limit(100);
    assert_eq!(reader.recv::<Vec<u8>>().await.unwrap().unwrap().len(), 99);
    let error = reader.recv::<Vec<u8>>().await.unwrap_err();
    assert!(matches!(error, StreamError::TooLong { length: 101, limit: 100 }), "{error:?}");
}

#[tokio::test]
async fn a_frame_that_is_no_such_message_is_refused() {
    let pair = pair().await;
    let ((mut writer, _), (_, mut reader)) = stream_of(&pair).await;
    writer.send(&(1_u64, 2_u64)).await.unwrap();
    let error = reader.recv::<u64>().await.unwrap_err();
    assert!(matches!(error, StreamError::Codec(_)), "{error:?}");
}

#[tokio::test]
async fn one_direction_ends_and_the_other_goes_on() {
    let pair = pair().await;
    let ((mut near_out, mut near_in), (mut far_out, mut far_in)) = stream_of(&pair).await;
    near_out.finish().unwrap();
    assert_eq!(far_in.recv::<u64>().await.unwrap(), None);
    far_in.expect_end().await.unwrap();
    for number in 0..3_u64 {
        far_out.send(&number).await.unwrap();
        assert_eq!(near_in.recv::<u64>().await.unwrap(), Some(number));
    }
    far_out.finish().unwrap();
    assert_eq!(near_in.recv::<u64>().await.unwrap(), None);
    assert!(matches!(near_out.send(&1_u64).await, Err(StreamError::Closed)));
}

#[tokio::test]
async fn an_end_in_the_middle_of_a_frame_is_not_an_end() {
    let pair = pair().await;
    for bytes in [&[0, 0][..], &[0, 0, 0, 9, 1, 2]] {
        let ((mut writer, _), (_, mut reader)) = stream_of(&pair).await;
        writer.write_raw(Bytes::copy_from_slice(bytes)).await.unwrap();
        writer.finish().unwrap();
        let error = reader.recv::<u64>().await.unwrap_err();
        assert!(matches!(error, StreamError::Truncated { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_writer_that_vanishes_does_not_look_like_an_end() {
    let pair = pair().await;
    let ((writer, _), (_, mut reader)) = stream_of(&pair).await;
    drop(writer);
    let error = reader.recv::<u64>().await.unwrap_err();
    assert_eq!(error.code(), Some(CloseCode::Cancelled), "{error:?}");
}

#[tokio::test]
async fn a_reader_keeps_half_a_frame_when_its_call_is_dropped() {
    let pair = pair().await;
    let ((mut writer, _), (_, mut reader)) = stream_of(&pair).await;
    let frame = cutover_shared::codec::frame("in two pieces").unwrap();
    let (first, second) = frame.split_at(6);
    writer.write_raw(Bytes::copy_from_slice(first)).await.unwrap();
    // A frame on another stream that is sent later: when it is here, so is the first piece.
    let ((mut marker, _), (_, mut marked)) = stream_of(&pair).await;
    marker.send(&1_u64).await.unwrap();
    tokio::select! {
        biased;
        early = reader.recv::<String>() => panic!("only half of it was sent: {early:?}"),
        arrived = marked.recv::<u64>() => assert_eq!(arrived.unwrap(), Some(1)),
    }
    writer.write_raw(Bytes::copy_from_slice(second)).await.unwrap();
    assert_eq!(reader.recv::<String>().await.unwrap().as_deref(), Some("in two pieces"));
}

#[tokio::test]
async fn raw_ranges_follow_frames_on_one_stream() {
    let pair = pair().await;
    let length = 2 * RAW_PIECE + 12_345;
    let range: Vec<u8> = (0..251).cycle().take(length).collect();
    let mut writer = open_one_way(&pair.at_server).await.unwrap();
    let sent = range.clone();
    let sending = tokio::spawn(async move {
        writer.send(&(sent.len() as u64)).await.unwrap();
        for piece in sent.chunks(RAW_PIECE) {
            writer.write_raw(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        writer.send("after it").await.unwrap();
        writer.finish().unwrap();
        writer.delivered().await.unwrap();
    });
    let mut reader = accept_one_way(&pair.at_client).await.unwrap();
    let mut missing = usize::try_from(reader.recv::<u64>().await.unwrap().unwrap()).unwrap();
    let mut received = Vec::new();
    let mut buffer = BytesMut::new();
    while missing > 0 {
        let wanted = missing.min(RAW_PIECE);
        assert_eq!(reader.read_raw(&mut buffer, wanted).await.unwrap(), wanted);
        missing -= wanted;
        received.extend_from_slice(&buffer.split());
    }
    assert!(received == range, "the range arrived as it was sent");
    assert_eq!(reader.recv::<String>().await.unwrap().as_deref(), Some("after it"));
    reader.expect_end().await.unwrap();
    sending.await.unwrap();
}

#[tokio::test]
async fn a_close_carries_its_reason() {
    let pair = pair().await;
    close(&pair.at_server, CloseCode::Superseded, "another connection of host-1\n");
    assert_eq!(
        ended(&pair.at_client.closed().await),
        Ended::Closed {
            code: CloseCode::Superseded,
            reason: "another connection of host-1".to_owned(),
        }
    );
    let error = request::<u64, u64>(&pair.at_client, &1).await.unwrap_err();
    assert!(matches!(error, StreamError::Lost(Ended::Closed { .. })), "{error:?}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A server in a runtime of its own that can be killed: dropping the runtime stops its tasks where they
/// are and closes its socket, without a word to anybody.
fn mortal_server(address: SocketAddr) -> (tokio::runtime::Runtime, SocketAddr) {
    let runtime = runtime();
    let address = runtime.block_on(async {
        let endpoint = server_endpoint(address, &key(1), None).unwrap();
        let address = endpoint.local_addr().unwrap();
        tokio::spawn(async move {
            let mut connections = Vec::new();
            while let Some(incoming) = endpoint.accept().await {
                connections.extend(accept(&endpoint, incoming).await.ok());
            }
        });
        address
    });
    (runtime, address)
}

#[test]
fn a_killed_and_restarted_server_is_noticed_and_connected_to_again() {
    let (pinned, own) = (key(1).public(), key(2));
    let (first, address) = mortal_server(LOOPBACK);
    let name = address.to_string();
    let near = runtime();
    let client = near.block_on(async { client_endpoint().unwrap() });
    let connection = near.block_on(connect(&client, &name, &pinned, &own)).unwrap();
    drop(first);

    let (_second, _) = mortal_server(address);
    near.block_on(async {
        // The client's next packet is answered with a reset: no idle timeout to wait for.
        let mut writer = open_one_way(&connection).await.unwrap();
        writer.send("still there?").await.unwrap();
        assert_eq!(ended(&connection.closed().await), Ended::Forgotten);
        connect(&client, &name, &pinned, &own).await.unwrap();
    });
}
