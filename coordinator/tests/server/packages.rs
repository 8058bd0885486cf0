//! Packages: verified whole on the way in, and given out to whom and when they may be.

use bytes::BytesMut;
use cutover_shared::protocol::{MAX_RANGE, Part, Request, Response};
use cutover_shared::refusal::Code;
use cutover_shared::statement::Release;
use cutover_transport::{CloseCode, FrameReader};

use crate::hosts::Host;
use crate::world::{Client, Server, at, package, release, transport, within};

fn code(response: Response) -> Code {
    match response {
        Response::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    }
}

async fn raw(reader: &mut FrameReader, length: u64) -> Vec<u8> {
    let length = usize::try_from(length).unwrap();
    let mut bytes = BytesMut::new();
    while bytes.len() < length {
        let missing = length - bytes.len();
        assert!(within(reader.read_raw(&mut bytes, missing)).await.unwrap() > 0);
    }
    reader.expect_end().await.unwrap();
    bytes.to_vec()
}

async fn artifact(
    client: &Client,
    package: cutover_shared::digest::Digest,
    part: Part,
    (offset, length): (u64, u64),
) -> Result<Vec<u8>, Code> {
    let question = Request::Artifact { package, part, offset, length };
    let (mut writer, mut reader) = client.open(&question).await;
    writer.finish().unwrap();
    match within(reader.recv::<Response>()).await.unwrap().unwrap() {
        Response::Bytes { length } => Ok(raw(&mut reader, length).await),
        Response::Refused(refusal) => Err(refusal.code),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_verified_whole_and_read_back() {
    let server = Server::start().await;
    let built = package(server.directory.path(), "1.0");
    let digest = built.index.digest();
    let sue = server.client("sue").await;
    for part in 0..3 {
        let flipped = sue.put(&built.path, |parts| {
            let middle = parts[part].len() / 2;
            parts[part][middle] ^= 1;
        });
        let code = code(flipped.await);
        assert!(matches!(code, Code::DigestMismatch | Code::Malformed), "part {part}: {code}");
    }
    let shorter = sue.put(&built.path, |parts| parts[2].truncate(1000)).await;
    assert_eq!(code(shorter), Code::DigestMismatch);
    let unknown = sue.ask(&Request::PackageInfo { package: digest }).await;
    assert_eq!(code(unknown), Code::SubjectUnknown, "nothing of it was kept");
    let staged = server.directory.path().join("data/packs/staged");
    assert_eq!(std::fs::read_dir(staged).unwrap().count(), 0, "nor lies about");

    assert_eq!(sue.put(&built.path, |_| {}).await, Response::Stored);
    assert_eq!(sue.put(&built.path, |_| {}).await, Response::Stored, "once more does no harm");
    let lib = server.client("lib").await;
    let lengths = lib.ask(&Request::PackageInfo { package: digest }).await;
    let Response::PackageInfo { index_length, map_length, pack_length } = lengths else {
        panic!("{lengths:?}");
    };
    let index = artifact(&lib, digest, Part::Index, (0, index_length)).await.unwrap();
    assert_eq!(index, built.index.to_bytes());
    let map = artifact(&lib, digest, Part::Map, (0, map_length)).await.unwrap();
    assert_eq!(map, built.map.to_bytes());
    assert!(pack_length > 2 << 20, "more than a piece or two");
    let pack = artifact(&lib, digest, Part::Pack, (0, pack_length)).await.unwrap();
    let middle = artifact(&lib, digest, Part::Pack, (1_000_000, 1_500_000)).await.unwrap();
    assert_eq!(middle, pack[1_000_000..2_500_000]);
    for range in [(0, 0), (0, pack_length + 1), (u64::MAX, 2), (0, MAX_RANGE + 1)] {
        let refused = artifact(&lib, digest, Part::Pack, range).await;
        assert_eq!(refused, Err(Code::Malformed), "{range:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_that_no_package_has_are_refused_before_a_byte_is_read() {
    let server = Server::start().await;
    let sue = server.client("sue").await;
    let question = Request::PutPackage {
        package: cutover_shared::digest::Digest::of(b"x"),
        index_length: 1,
        map_length: 1,
        pack_length: u64::MAX,
    };
    let (_writer, mut reader) = sue.open(&question).await;
    let answer = within(reader.recv::<Response>()).await.unwrap().unwrap();
    assert_eq!(code(answer), Code::Malformed);
    let lib = server.client("lib").await;
    assert_eq!(code(lib.ask(&question).await), Code::RoleMissing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_says_what_its_stored_package_says() {
    let server = Server::start().await;
    let built = package(server.directory.path(), "1.0");
    let missing = server.try_say("sue", release(&built)).await.unwrap_err();
    assert_eq!(missing.code, Code::SubjectUnknown);
    server.stored("1.0").await;
    let good = release(&built);
    let bent = [
        Release { version: "2.0".to_owned(), ..good.clone() },
        Release { application: "other".parse().unwrap(), ..good.clone() },
        Release { irreversible: true, ..good.clone() },
        Release { apply_budget: std::time::Duration::from_secs(1), ..good.clone() },
        Release { rollback_reserve: std::time::Duration::from_secs(1), ..good.clone() },
    ];
    for bent in bent {
        let refusal = server.try_say("sue", bent.clone()).await.unwrap_err();
        assert_eq!(refusal.code, Code::DigestMismatch, "{bent:?}");
    }
    server.say("sue", good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_gets_bytes_inside_its_window_and_in_its_turn_only() {
    let server = Server::start().await;
    server.enrol(&["p1", "p2", "p3"]).await;
    let (release, digest) = server.reviewed("1.0").await;
    let client = server.client(&transport("p1")).await;
    let fetch = async |client: &Client| artifact(client, digest, Part::Index, (0, 10)).await;
    assert_eq!(fetch(&client).await, Err(Code::NotReleased));
    server.booked((release, digest), &[&["p1"], &["p2"]], (1000, 5000)).await;
    assert_eq!(fetch(&client).await, Err(Code::WindowNotOpen));

    server.clock.set(at(1000));
    assert_eq!(fetch(&client).await, Err(Code::NotCleared), "it has not reported");
    let mut host = Host::connect(&server, "p1").await;
    host.report().await;
    host.offered().await;
    assert_eq!(fetch(&client).await.map(|bytes| bytes.len()), Ok(10));
    let second = server.client(&transport("p2")).await;
    let mut other = Host::connect(&server, "p2").await;
    other.report().await;
    other.settled(&server).await;
    assert_eq!(fetch(&second).await, Err(Code::WaveNotProven));
    let third = server.client(&transport("p3")).await;
    assert_eq!(fetch(&third).await, Err(Code::NotReleased), "it is in no plan");
    let root = server.client("root").await;
    assert_eq!(fetch(&root).await, Err(Code::RoleMissing));

    server.clock.set(at(5000));
    assert_eq!(fetch(&client).await, Err(Code::WindowClosed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_cut_short_when_the_window_ends() {
    let server = Server::start().await;
    server.enrol(&["p1"]).await;
    let length = 14 << 20;
    let built = server.stored_of("1.0", length).await;
    let (release, digest) = server.reviewed_as(&built).await;
    server.booked((release, digest), &[&["p1"]], (1000, 5000)).await;
    server.clock.set(at(1000));
    let mut host = Host::connect(&server, "p1").await;
    host.report().await;
    host.offered().await;
    let length = length as u64;
    let question = Request::Artifact { package: digest, part: Part::Pack, offset: 0, length };
    let (_writer, mut reader) = host.client.open(&question).await;
    let answer = within(reader.recv::<Response>()).await.unwrap().unwrap();
    assert_eq!(answer, Response::Bytes { length });
    // More is still to come than both sides together can have on the way.
    server.clock.set(at(5000));
    let mut bytes = BytesMut::new();
    let cut = loop {
        match within(reader.read_raw(&mut bytes, 1 << 20)).await {
            Ok(read) => assert!(read > 0, "an end, where a cut was due"),
            Err(error) => break error,
        }
    };
    assert_eq!(cut.code(), Some(CloseCode::NotPermitted), "{cut:?}");
    assert!((bytes.len() as u64) < length);
}
