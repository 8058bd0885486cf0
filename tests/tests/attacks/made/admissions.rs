//! Statements that would stand if they came at another time.

use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::refusal::Code;
use cutover_shared::statement::Statement;

use super::{NETWORK, PERSON};
use crate::entrance::{Arrival, Entrance};
use crate::fixture::Attack;
use crate::world::{at, key, release};

fn arriving(name: &'static str, title: &str, seconds: u64) -> Attack {
    let statement = Statement::new(at(1000), release("1.0", Digest::of(b"1.0")));
    let statement = statement.until(at(1300));
    Attack::new(name, title, Entrance::Admission)
        .file("entry-01.json", statement.signed_by([&key("sue")]).to_bytes())
        .given(&Arrival { now: at(0) + Duration::from_secs(seconds) })
}

pub(super) fn controls() -> Vec<Attack> {
    vec![arriving("in time", "", 1000)]
}

pub(super) fn attacks() -> Vec<Attack> {
    vec![
        arriving(
            "statement-kept-back",
            "A statement that somebody regretted and did not send comes a quarter of an hour later.",
            1900,
        )
        .by(NETWORK, "TUF 1.0.33, 1.5.2: replay")
        .refused(
            Code::ClockSkew,
            format!("signed at {} by the signer's clock, {} by this one", at(1000), at(1900)),
        ),
        arriving(
            "statement-from-the-future",
            "A statement dated ahead, to be there when its signer has no role any more.",
            600,
        )
        .by(PERSON, "DESIGN 3: a statement carries when it was issued")
        .refused(
            Code::ClockSkew,
            format!("signed at {} by the signer's clock, {} by this one", at(1000), at(600)),
        ),
        arriving(
            "statement-that-ran-out",
            "A statement is brought when its validity is over.",
            1300,
        )
        .by(NETWORK, "TUF 1.0.33, 1.5.2: replay")
        .refused(Code::WindowClosed, "the statement has run out already"),
    ]
}
