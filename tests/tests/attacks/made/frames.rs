//! Frames that claim, hide or repeat.

use cutover_shared::codec;
use cutover_shared::digest::Digest;
use cutover_shared::protocol::{Part, Request, ToApplier};

use super::NETWORK;
use crate::entrance::Entrance;
use crate::fixture::Attack;

const ENDLESS: &str = "TUF 1.0.33, 1.5.2: endless data attack";

fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

fn request() -> Vec<u8> {
    codec::encode(&Request::Append { envelope: b"{}".to_vec() }).unwrap()
}

fn bytes(payload: &[u8]) -> Vec<u8> {
    let part = Part::Pack;
    let package = Digest::of(b"1.0");
    let bytes = payload.to_vec();
    codec::encode(&ToApplier::Bytes { package, part, offset: 0, bytes, last: false }).unwrap()
}

pub(super) fn controls() -> Vec<Attack> {
    vec![
        Attack::new("a request", "", Entrance::Frame).file("frame.bin", frame(&request())),
        Attack::new("some bytes", "", Entrance::Socket).file("frame.bin", frame(&bytes(b"some"))),
    ]
}

pub(super) fn attacks() -> Vec<Attack> {
    let claim = |length: u64| {
        let mut body = codec::encode(&Request::Append { envelope: Vec::new() }).unwrap();
        *body.last_mut().unwrap() = 253;
        body.extend_from_slice(&length.to_le_bytes());
        body
    };
    // As the honest frame, with a length of 2^40 in the place of one.
    let one = bytes(&[0xaa]);
    let place = one.iter().rposition(|byte| *byte == 0xaa).unwrap();
    let mut claimed = one[..place - 1].to_vec();
    claimed.push(253);
    claimed.extend_from_slice(&(1_u64 << 40).to_le_bytes());
    claimed.extend_from_slice(&one[place..]);
    vec![
        Attack::new(
            "frame-that-claims-four-gigabytes",
            "A header that asks the reader to make room for 4 GiB.",
            Entrance::Frame,
        )
        .by(NETWORK, ENDLESS)
        .file("frame.bin", vec![0xff; 4])
        .fails("handle a frame of 4294967295 bytes: the limit is 8388608"),
        Attack::new(
            "frame-with-a-claimed-envelope",
            "A small frame that says that an envelope of 2^40 bytes is in it.",
            Entrance::Frame,
        )
        .by(NETWORK, ENDLESS)
        .file("frame.bin", frame(&claim(1 << 40)))
        .fails("decode a value: UnexpectedEnd { additional: 1 }"),
        Attack::new(
            "frame-with-claimed-bytes",
            "The network half says that a piece of a package has 2^40 bytes.",
            Entrance::Socket,
        )
        .by(NETWORK, ENDLESS)
        .file("frame.bin", frame(&claimed))
        .fails("decode a value: LimitExceeded"),
        Attack::new(
            "frame-with-more-behind",
            "A second request hides behind the first, in one frame.",
            Entrance::Frame,
        )
        .by(NETWORK, "DESIGN 2: trailing bytes are refused")
        .file("frame.bin", frame(&[request(), request()].concat()))
        .fails(format!(
            "decode a value: it ends after {} of {} bytes",
            request().len(),
            2 * request().len()
        )),
        Attack::new(
            "frame-of-a-request-unknown",
            "The number of a request that there is not.",
            Entrance::Frame,
        )
        .by(NETWORK, "DESIGN 10: a change of a type is another version")
        .file("frame.bin", frame(&[200]))
        .fails("decode a value: OtherString(\"invalid value: integer `200`, expected variant index 0 <= i < 14\")"),
        Attack::new("frame-cut-short", "A request that ends within a digest.", Entrance::Frame)
            .by(NETWORK, ENDLESS)
            .file("frame.bin", {
                let package = Digest::of(b"1.0");
                let whole = codec::encode(&Request::PackageInfo { package }).unwrap();
                frame(&whole[..20])
            })
            .fails("decode a value: UnexpectedEnd { additional: 1 }"),
    ]
}
