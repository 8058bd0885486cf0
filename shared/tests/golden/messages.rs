//! The messages of ALPN `cutover/1` and of the agent's socket.

use std::collections::BTreeSet;

use cutover_shared::authorise::WitnessClearance;
use cutover_shared::codec::encode;
use cutover_shared::digest::Digest;
use cutover_shared::evidence::{Evidence, ProvenEntry};
use cutover_shared::key::SecretKey;
use cutover_shared::log::TreeHead;
use cutover_shared::protocol::{
    ApplicationReport, ClearanceAnswer, DeliveryState, DeliveryView, Directive, Fleet, FromApplier,
    HostReport, HostView, Join, OutboxView, Part, Receipt, Request, Response, ToApplier,
};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::Phase;
use cutover_shared::time::Time;
use serde::Serialize;

fn line(name: &str, message: &impl Serialize) -> (String, String) {
    (name.to_owned(), hex::encode(encode(message).unwrap()))
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn time() -> Time {
    "2026-03-08T06:30:00Z".parse().unwrap()
}

fn refusal() -> Refusal {
    Refusal::new(Code::NotCleared, "later")
}

fn report() -> HostReport {
    HostReport {
        known: 7,
        policy_version: 1,
        applications: vec![ApplicationReport {
            application: "web".parse().unwrap(),
            generation: 3,
            running: Some(digest("package")),
            order: Some(digest("order")),
            step: "fetching".to_owned(),
            progress: Some((1, 2)),
            refused: Some((digest("order"), refusal())),
        }],
    }
}

fn evidence() -> Evidence {
    Evidence {
        checkpoint: b"note".to_vec(),
        consistency: vec![digest("a")],
        release_consistency: vec![digest("b")],
        entries: vec![ProvenEntry { index: 5, envelope: b"{}".to_vec(), proof: vec![digest("c")] }],
    }
}

fn receipt() -> Receipt {
    Receipt { index: 5, checkpoint: b"note".to_vec(), inclusion: vec![digest("d")] }
}

fn answer() -> ClearanceAnswer {
    ClearanceAnswer {
        clearance: b"{}".to_vec(),
        checkpoint: b"note".to_vec(),
        consistency: vec![digest("e")],
        witnesses: vec![WitnessClearance {
            clearance: b"{}".to_vec(),
            consistency: vec![digest("f")],
        }],
    }
}

fn outbox() -> OutboxView {
    let delivery = |state: DeliveryState| DeliveryView {
        key: digest("key"),
        release: digest("release"),
        statement: digest("statement"),
        index: 5,
        what: "booked".to_owned(),
        channel: "mail".to_owned(),
        recipient: "alice@example.org".to_owned(),
        state,
        attempts: 2,
        trouble: Some("busy".to_owned()),
    };
    let states = [
        DeliveryState::Waiting { milliseconds: 7 },
        DeliveryState::Sending,
        DeliveryState::Parked,
        DeliveryState::Delivered { at: time() },
    ];
    OutboxView { deliveries: states.map(delivery).to_vec(), left_out: 1 }
}

#[test]
fn requests_and_responses() {
    let (package, order, nonce) = (digest("package"), digest("order"), digest("nonce"));
    let fleet = Fleet {
        now: time(),
        since: time(),
        hosts: vec![HostView {
            host_key: SecretKey::from_seed([1; 32]).public().id(),
            connected: true,
            heard: time(),
            report: Some(report()),
            cleared: vec![(order, time())],
        }],
    };
    let put = Request::PutPackage { package, index_length: 1, map_length: 2, pack_length: 3 };
    let artifact = Request::Artifact { package, part: Part::Pack, offset: 4, length: 5 };
    let lines = [
        line("request.checkpoint", &Request::Checkpoint),
        line("request.consistency", &Request::Consistency { old: 1, new: 2 }),
        line("request.entries", &Request::Entries { from: 1, to: 2 }),
        line("request.follow", &Request::Follow),
        line("request.append", &Request::Append { envelope: b"{}".to_vec() }),
        line("request.put-package", &put),
        line("request.package-info", &Request::PackageInfo { package }),
        line("request.artifact", &artifact),
        line("request.fleet", &Request::Fleet),
        line(
            "request.clearance",
            &Request::Clearance { order, phase: Phase::Activate, nonce, known: 9 },
        ),
        line("request.directives", &Request::Directives),
        line("request.outbox", &Request::Outbox),
        line("request.retry-delivery", &Request::RetryDelivery { key: package }),
        line("response.refused", &Response::Refused(refusal())),
        line("response.failed", &Response::Failed("no".to_owned())),
        line("response.checkpoint", &Response::Checkpoint(b"note".to_vec())),
        line("response.consistency", &Response::Consistency(vec![digest("f")])),
        line("response.entry", &Response::Entry(b"{}".to_vec())),
        line("response.appended", &Response::Appended(receipt())),
        line("response.stored", &Response::Stored),
        line(
            "response.package-info",
            &Response::PackageInfo { index_length: 1, map_length: 2, pack_length: 3 },
        ),
        line("response.bytes", &Response::Bytes { length: 6 }),
        line("response.fleet", &Response::Fleet(fleet)),
        line("response.clearance", &Response::Clearance(answer())),
        line("response.outbox", &Response::Outbox(outbox())),
        line("response.retried", &Response::Retried),
        line("request.forms", &Request::Forms { of: vec![package] }),
        line("response.forms", &Response::Forms(vec!["form".to_owned()])),
        line("directive.offer", &Directive::Offer { order, evidence: evidence() }),
        line("directive.stop", &Directive::Stop { order, evidence: evidence() }),
        line("directive.steps", &Directive::Steps { order, evidence: evidence() }),
        line("report", &report()),
    ];
    crate::compare("messages.txt", &lines);
}

#[test]
fn the_agents_socket() {
    let (package, order, nonce) = (digest("package"), digest("order"), digest("nonce"));
    let key = SecretKey::from_seed([1; 32]).public();
    let (id, known, part, offset) = (digest("id"), 9, Part::Index, 4);
    let directive = Directive::Offer { order, evidence: evidence() };
    let bytes = ToApplier::Bytes { package, part, offset, bytes: b"abc".to_vec(), last: true };
    let logged = ToApplier::Logged { id, receipt: receipt(), consistency: vec![digest("g")] };
    let welcome = FromApplier::Welcome {
        coordinator: "localhost:7400".to_owned(),
        coordinator_key: key.clone(),
        known,
    };
    let join = Join {
        coordinator: "localhost:7400".to_owned(),
        coordinator_key: key.clone(),
        policy: b"{}".to_vec(),
        policy_id: digest("policy"),
        head: TreeHead { size: 3, root: digest("root") },
        grant: digest("grant"),
        environment: "staging".parse().unwrap(),
        labels: vec![("rack".parse().unwrap(), "7".to_owned())],
        applications: BTreeSet::from(["web".parse().unwrap()]),
        grant_seed: [2; 32],
    };
    let lines = [
        line("to.hello", &ToApplier::Hello { transport_key: key }),
        line("to.connected", &ToApplier::Connected(true)),
        line("to.directive", &ToApplier::Directive(Box::new(directive))),
        line("to.clearance", &ToApplier::Clearance { nonce, answer: Ok(answer()) }),
        line("to.no-clearance", &ToApplier::Clearance { nonce, answer: Err(refusal()) }),
        line("to.bytes", &bytes),
        line(
            "to.fetch-failed",
            &ToApplier::FetchFailed { package, part, offset, refusal: refusal() },
        ),
        line("to.logged", &logged),
        line("to.not-logged", &ToApplier::NotLogged { id, refusal: refusal() }),
        line("from.welcome", &welcome),
        line("from.not-joined", &FromApplier::NotJoined),
        line("from.report", &FromApplier::Report(report())),
        line(
            "from.want-clearance",
            &FromApplier::WantClearance { order, phase: Phase::Start, nonce, known },
        ),
        line("from.fetch", &FromApplier::Fetch { package, part, offset, length: 0 }),
        line("from.stop-fetching", &FromApplier::StopFetching { package }),
        line("from.append", &FromApplier::Append { id, envelope: b"{}".to_vec(), known }),
        line("join", &join),
    ];
    crate::compare("socket.txt", &lines);
}
