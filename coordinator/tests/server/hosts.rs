//! What hosts are told and given: offers in the window and in the order of the waves, clearances, stops.

use std::sync::Arc;
use std::time::Duration;

use cutover_coordinator::server::{Conduct, Done, Rules, Situation, Turn};
use cutover_shared::authorise::{self, ClearanceFacts, Clearances, HostFacts, Order, Question};
use cutover_shared::case::Case;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::evidence::{self, Opened, Trust};
use cutover_shared::fold::State;
use cutover_shared::fold::standing::standing_holds;
use cutover_shared::key::KeyId;
use cutover_shared::log::TreeHead;
use cutover_shared::package::check::Checked;
use cutover_shared::policy::TrustPolicy;
use cutover_shared::protocol::{
    ApplicationReport, ClearanceAnswer, Directive, Fleet, HostReport, Request, Response,
};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{
    Event, Hold, HostTurn, Outcome, Phase, Release, Resume, Rollback, Statement,
};
use cutover_shared::time::Time;
use cutover_transport::{CloseCode, Ended, FrameReader, FrameWriter, ended};

use crate::world::{
    Client, Server, at, document, key, name, policy_envelope, transport, verified, within,
};

/// A host that does what the test says.
pub(crate) struct Host {
    name: String,
    pub(crate) client: Client,
    writer: FrameWriter,
    reader: FrameReader,
    trust: Trust,
    pub(crate) says: HostReport,
}

impl Host {
    /// Connected, its stream open, and silent.
    pub(crate) async fn connect(server: &Server, host: &str) -> Self {
        let client = server.client(&transport(host)).await;
        let (writer, reader) = client.open(&Request::Directives).await;
        let policy = policy_envelope(document(1));
        let envelope = Envelope::parse(&policy).unwrap();
        Self {
            name: host.to_owned(),
            client,
            writer,
            reader,
            trust: Trust {
                policy: TrustPolicy::pinned(&envelope, &envelope.id()).unwrap(),
                policy_envelope: policy,
                head: TreeHead::empty(),
            },
            says: HostReport { known: 0, policy_version: 1, applications: Vec::new() },
        }
    }

    pub(crate) async fn report(&mut self) {
        self.writer.send(&self.says).await.unwrap();
    }

    /// Reports that it is at this step of an order.
    pub(crate) async fn at_work(&mut self, order: Option<Digest>, step: &str) {
        self.says.applications = vec![ApplicationReport {
            application: name("shop"),
            generation: 1,
            running: None,
            order,
            step: step.to_owned(),
            progress: None,
            refused: None,
        }];
        self.report().await;
    }

    /// Returns when the server has taken note of what was reported last.
    pub(crate) async fn settled(&self, server: &Server) {
        let person = server.client("max").await;
        within(async {
            loop {
                let fleet = fleet(&person).await;
                let view = fleet.hosts.iter().find(|it| it.host_key == self.id());
                if view.is_some_and(|it| it.connected && it.report.as_ref() == Some(&self.says)) {
                    return;
                }
                // A report has no answer: all that one can do is look.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    fn id(&self) -> KeyId {
        key(&self.name).public().id()
    }

    async fn told(&mut self) -> Directive {
        within(self.reader.recv::<Directive>()).await.unwrap().expect("a directive")
    }

    /// The next offer, opened as a host opens it.
    pub(crate) async fn offered(&mut self) -> (Digest, Opened) {
        match self.told().await {
            Directive::Offer { order, evidence } => {
                (order, evidence::open(&evidence, &order, &self.trust).unwrap())
            }
            Directive::Stop { order, .. } => panic!("told to stop {}", order.short()),
            Directive::Steps { order, .. } => panic!("told of steps of {}", order.short()),
        }
    }

    /// What stands against the order, from the next message that tells it to stop.
    async fn stopped(&mut self) -> (Digest, Opened) {
        loop {
            if let Directive::Stop { order, evidence } = self.told().await {
                return (order, evidence::open(&evidence, &order, &self.trust).unwrap());
            }
        }
    }

    async fn clear(&self, order: Digest, phase: Phase) -> Result<ClearanceAnswer, Refusal> {
        let question = Request::Clearance { order, phase, nonce: nonce(), known: 0 };
        match self.client.ask(&question).await {
            Response::Clearance(answer) => Ok(answer),
            Response::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    /// What the host itself makes of evidence and clearance.
    fn judge(
        &self,
        opened: &Opened,
        order: Digest,
        (phase, answer): (Phase, &ClearanceAnswer),
        now: Time,
    ) -> Result<Order, Refusal> {
        let record = opened.state().host(&self.id()).unwrap();
        let host = HostFacts::from_log(record, &name("shop"));
        let question = Question { state: opened.state(), host: &host, order, phase, now };
        let head = verified(&answer.checkpoint).head;
        evidence::extends(&opened.checkpoint().head, &head, &[]).unwrap();
        let facts = ClearanceFacts { nonce: nonce(), round_trip: Duration::from_millis(1), head };
        let clearances =
            Clearances { coordinator: &answer.clearance, witnesses: &answer.witnesses };
        authorise::authorise(&question, &clearances, &facts)
    }

    async fn outcome(&self, server: &Server, (order, package): (Digest, Digest), event: Event) {
        let release = self.release_of(server, &package).await;
        let running = matches!(event, Event::Committed).then_some(package);
        let outcome = Outcome {
            host: name(&self.name),
            host_key: self.id(),
            application: name("shop"),
            generation: 1,
            order,
            release,
            package,
            event,
            running,
            started: server.clock.now(),
            ended: server.clock.now(),
            readings: Vec::new(),
            clearances: Vec::new(),
        };
        let envelope = Statement::new(server.clock.now(), outcome).signed_by([&key(&self.name)]);
        self.client.append(envelope.to_bytes()).await.unwrap();
    }

    async fn release_of(&self, server: &Server, package: &Digest) -> Digest {
        let state = folded(server).await;
        state.cases().find(|it| it.release.says().package == *package).unwrap().release.id()
    }
}

fn nonce() -> Digest {
    Digest::of(b"nonce")
}

async fn fleet(person: &Client) -> Fleet {
    match person.ask(&Request::Fleet).await {
        Response::Fleet(fleet) => fleet,
        other => panic!("{other:?}"),
    }
}

/// The fold of the log as a person makes it.
async fn folded(server: &Server) -> State {
    let person = server.client("max").await;
    let size = person.checkpoint().await.head.size;
    let (mut writer, mut reader) = person.open(&Request::Entries { from: 0, to: size }).await;
    writer.finish().unwrap();
    let mut state = State::empty();
    for index in 0..size {
        match reader.recv::<Response>().await.unwrap().unwrap() {
            Response::Entry(entry) => state.apply(index, &entry).unwrap(),
            other => panic!("{other:?}"),
        };
    }
    state
}

/// Three hosts in two waves, a window from 1000 to 5000.
async fn scene(server: &Server) -> (Digest, Digest) {
    server.enrol(&["p1", "p2", "p3"]).await;
    let (release, package) = server.reviewed("1.0").await;
    let order = server.booked((release, package), &[&["p1"], &["p2", "p3"]], (1000, 5000)).await;
    (order, package)
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_come_in_the_window_in_the_order_of_the_waves_and_one_at_a_time() {
    let server = Server::start().await;
    let (order, package) = scene(&server).await;
    let mut hosts = Vec::new();
    for host in ["p1", "p2", "p3"] {
        let mut host = Host::connect(&server, host).await;
        host.report().await;
        host.settled(&server).await;
        hosts.push(host);
    }
    let [mut p1, mut p2, mut p3] = <[Host; 3]>::try_from(hosts).ok().unwrap();
    for host in [&p1, &p2] {
        let refusal = host.clear(order, Phase::Start).await.unwrap_err();
        assert_eq!(refusal.code, Code::WindowNotOpen);
    }

    server.clock.set(at(1000));
    p1.says.known = 1;
    p1.report().await;
    let (offered, opened) = p1.offered().await;
    assert_eq!(offered, order);
    assert_eq!(opened.checkpoint().time, at(1000), "not before the window");
    let answer = p1.clear(order, Phase::Start).await.unwrap();
    let good = p1.judge(&opened, order, (Phase::Start, &answer), at(1000)).unwrap();
    assert_eq!(good.candidate().package(), package);
    assert_eq!(good.cleared().not_after(), at(1060));
    assert_eq!(p2.clear(order, Phase::Start).await.unwrap_err().code, Code::WaveNotProven);

    p1.at_work(Some(order), "assembled").await;
    p1.settled(&server).await;
    server.clock.set(at(1100));
    let answer = p1.clear(order, Phase::Activate).await.unwrap();
    p1.judge(&opened, order, (Phase::Activate, &answer), at(1100)).unwrap();
    p1.outcome(&server, (order, package), Event::Committed).await;
    p1.at_work(None, "idle").await;

    let (_, opened) = p2.offered().await;
    let answer = p2.clear(order, Phase::Start).await.unwrap();
    p2.judge(&opened, order, (Phase::Start, &answer), at(1100)).unwrap();
    let refusal = p3.clear(order, Phase::Start).await.unwrap_err();
    assert_eq!(refusal.code, Code::NotCleared, "one at a time");
    p2.at_work(Some(order), "baking").await;
    p2.outcome(&server, (order, package), Event::Committed).await;
    let (_, opened) = p3.offered().await;
    let committed = opened.state().booking(&order).unwrap().1.outcomes.len();
    assert_eq!(committed, 2, "it was its turn only after both");
    assert_eq!(p1.clear(order, Phase::Start).await.unwrap_err().code, Code::NotCleared);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_opens_by_itself() {
    let server = Server::start().await;
    let (order, _) = scene(&server).await;
    server.clock.run_from(at(999));
    let mut p1 = Host::connect(&server, "p1").await;
    // The last thing that happens before the window; after it there is only time.
    p1.report().await;
    let (offered, opened) = p1.offered().await;
    assert_eq!(offered, order);
    assert!(opened.checkpoint().time >= at(1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_ask_at_the_same_time_one_is_cleared() {
    let server = Server::start().await;
    server.enrol(&["p1", "p2"]).await;
    let (release, package) = server.reviewed("1.0").await;
    let order = server.booked((release, package), &[&["p1", "p2"]], (1000, 5000)).await;
    server.clock.set(at(1000));
    let mut p1 = Host::connect(&server, "p1").await;
    let mut p2 = Host::connect(&server, "p2").await;
    p1.report().await;
    p2.report().await;
    p1.settled(&server).await;
    p2.settled(&server).await;
    let (one, other) = tokio::join!(p1.clear(order, Phase::Start), p2.clear(order, Phase::Start));
    assert!(one.is_ok());
    assert_eq!(other.unwrap_err().code, Code::NotCleared);
}

/// Two hosts of which one may be down at once; the first is cleared to activate.
async fn one_of_two_activates(server: &Server) -> (Digest, Digest) {
    server.enrol(&["p1", "p2"]).await;
    let (release, package) = server.reviewed("1.0").await;
    let order = server.booked((release, package), &[&["p1", "p2"]], (1000, 5000)).await;
    server.clock.set(at(1000));
    let mut p1 = Host::connect(server, "p1").await;
    p1.at_work(None, "idle").await;
    p1.settled(server).await;
    p1.clear(order, Phase::Start).await.unwrap();
    p1.clear(order, Phase::Activate).await.unwrap();
    server.clock.set(at(1020));
    (order, package)
}

/// The network half of each host, which is anybody's, says of the first that it is idle, and of the other that it
/// is at work.
async fn the_other_has_to_wait(server: &Server, (order, package): (Digest, Digest)) {
    let mut p1 = Host::connect(server, "p1").await;
    let mut p2 = Host::connect(server, "p2").await;
    p1.at_work(None, "idle").await;
    p1.settled(server).await;
    p2.at_work(Some(order), "looking").await;
    p2.settled(server).await;
    p2.clear(order, Phase::Start).await.unwrap();
    let refusal = p2.clear(order, Phase::Activate).await.unwrap_err();
    assert_eq!(refusal.code, Code::NotCleared);
    p1.outcome(server, (order, package), Event::Committed).await;
    p2.clear(order, Phase::Activate).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_cleared_to_activate_keeps_its_place_until_it_signs_what_came_of_it() {
    let server = Server::start().await;
    let what = one_of_two_activates(&server).await;
    the_other_has_to_wait(&server, what).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_coordinator_does_not_give_the_place_away() {
    let mut server = Server::start().await;
    let what = one_of_two_activates(&server).await;
    server.restart().await;
    the_other_has_to_wait(&server, what).await;

    let file = server.directory.path().join("data/activations.json");
    std::fs::write(&file, "[{").unwrap();
    server.restart().await;
    let kept = server.directory.path().join("data/activations.json.damaged");
    assert_eq!(std::fs::read(kept).unwrap(), b"[{", "put aside, and the coordinator serves");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_at_an_offer_while_another_has_begun_is_not_cleared_beside_it() {
    let server = Server::start().await;
    server.enrol(&["p1", "p2"]).await;
    let (release, package) = server.reviewed("1.0").await;
    let order = server.booked((release, package), &[&["p1", "p2"]], (1000, 5000)).await;
    server.clock.set(at(1000));
    let mut p1 = Host::connect(&server, "p1").await;
    let mut p2 = Host::connect(&server, "p2").await;
    p1.at_work(None, "idle").await;
    p1.settled(&server).await;
    p1.clear(order, Phase::Start).await.unwrap();
    p1.at_work(Some(order), "fetching").await;
    // The offer was made before it was the other's turn, and comes late.
    p2.at_work(Some(order), "looking").await;
    p2.settled(&server).await;
    let refusal = p2.clear(order, Phase::Start).await.unwrap_err();
    assert_eq!(refusal.code, Code::NotCleared);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_has_not_reported_is_not_cleared_and_another_key_not_at_all() {
    let server = Server::start().await;
    let (order, _) = scene(&server).await;
    server.clock.set(at(1000));
    let silent = Host::connect(&server, "p1").await;
    assert_eq!(silent.clear(order, Phase::Start).await.unwrap_err().code, Code::NotCleared);
    let question = Request::Clearance { order, phase: Phase::Start, nonce: nonce(), known: 0 };
    let person = server.client("max").await;
    let Response::Refused(refusal) = person.ask(&question).await else { panic!("a person") };
    assert_eq!(refusal.code, Code::RoleMissing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_stops_what_is_under_way_and_a_resume_lets_it_go_on() {
    let server = Server::start().await;
    let (order, package) = scene(&server).await;
    server.clock.set(at(1000));
    let mut p1 = Host::connect(&server, "p1").await;
    p1.report().await;
    p1.offered().await;
    p1.clear(order, Phase::Start).await.unwrap();
    p1.at_work(Some(order), "fetching").await;
    let release = p1.release_of(&server, &package).await;
    let hold = Hold { release, reason: "the tax office called".to_owned(), finish: false };
    let hold = server.say("sec", hold).await;
    let (stopped, opened) = p1.stopped().await;
    assert_eq!(stopped, order);
    let (case, _) = opened.state().booking(&order).unwrap();
    assert_eq!(
        standing_holds(opened.state(), case, server.clock.now()).len(),
        1,
        "it is shown what stands against it"
    );
    assert_eq!(p1.clear(order, Phase::Activate).await.unwrap_err().code, Code::Held);
    server.say("sec", Resume { hold, reason: "a mistake".to_owned() }).await;
    p1.clear(order, Phase::Activate).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_return_is_offered_to_the_hosts_that_it_names() {
    let server = Server::start().await;
    server.enrol(&["p1"]).await;
    server.clock.set(at(0));
    let mut p1 = Host::connect(&server, "p1").await;
    let mut packages = Vec::new();
    for version in ["1.0", "2.0"] {
        let (release, package) = server.reviewed(version).await;
        let order = server.booked((release, package), &[&["p1"]], (0, 4000)).await;
        p1.outcome(&server, (order, package), Event::Committed).await;
        packages.push(package);
    }
    let rollback = Rollback {
        application: name("shop"),
        environment: name("production"),
        hosts: vec![HostTurn { host: name("p1"), host_key: p1.id(), generation: 1 }],
        from: packages[1],
        to: packages[0],
        reason: "the tax is wrong after all".to_owned(),
    };
    let rollback = Statement::new(at(0), rollback).until(at(600));
    let rollback = server.try_state("max", &rollback).await.unwrap();
    p1.report().await;
    let (order, opened) = p1.offered().await;
    assert_eq!(order, rollback);
    assert!(opened.state().rollback(&rollback).is_some());
    p1.outcome(&server, (rollback, packages[1]), Event::RolledBack).await;
    let refused = p1.clear(rollback, Phase::Start).await.unwrap_err();
    assert_eq!(refused.code, Code::NotBooked, "a return needs no clearance");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_comes_back_is_offered_its_order_again_and_takes_its_own_place() {
    let server = Server::start().await;
    let (order, _) = scene(&server).await;
    server.clock.set(at(1000));
    let mut first = Host::connect(&server, "p1").await;
    first.report().await;
    assert_eq!(first.offered().await.0, order);
    let mut second = Host::connect(&server, "p1").await;
    second.report().await;
    assert_eq!(second.offered().await.0, order);
    let why = ended(&within(first.client.connection.closed()).await);
    assert!(matches!(why, Ended::Closed { code: CloseCode::Superseded, .. }), "{why:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_has_seen_a_longer_log_is_offered_and_cleared_nothing() {
    let server = Server::start().await;
    let (order, _) = scene(&server).await;
    server.clock.set(at(1000));
    let mut p1 = Host::connect(&server, "p1").await;
    p1.says.known = 1000;
    p1.report().await;
    p1.settled(&server).await;
    let question = Request::Clearance { order, phase: Phase::Start, nonce: nonce(), known: 1000 };
    let Response::Refused(refusal) = p1.client.ask(&question).await else { panic!("cleared") };
    assert_eq!(refusal.code, Code::CheckpointInconsistent);
    // The first offer that arrives is one that was made for what it says then.
    p1.says.known = 1;
    p1.report().await;
    p1.trust.head = TreeHead::empty();
    assert_eq!(p1.offered().await.0, order);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_coordinator_takes_unheard_hosts_for_busy() {
    let mut server = Server::start().await;
    server.enrol(&["p1", "p2"]).await;
    let (release, package) = server.reviewed("1.0").await;
    let order = server.booked((release, package), &[&["p1", "p2"]], (1000, 5000)).await;
    server.clock.set(at(1000));
    server.restart().await;
    let mut p2 = Host::connect(&server, "p2").await;
    p2.report().await;
    p2.settled(&server).await;
    let refusal = p2.clear(order, Phase::Start).await.unwrap_err();
    assert_eq!(refusal.code, Code::NotCleared, "p1 may be at work");
    let mut p1 = Host::connect(&server, "p1").await;
    p1.at_work(Some(order), "baking").await;
    p1.settled(&server).await;
    p1.clear(order, Phase::Activate).await.unwrap();
    p1.outcome(&server, (order, package), Event::Committed).await;
    p1.at_work(None, "idle").await;
    assert_eq!(p2.offered().await.0, order);
}

/// Offers everything to everybody, and clears whoever asks.
struct Hasty(Rules);

impl Conduct for Hasty {
    fn admit(&self, state: &State, envelope: &[u8], now: Time) -> Result<(), Refusal> {
        self.0.admit(state, envelope, now)
    }

    fn accept_release(&self, release: &Release, stored: Option<&Checked>) -> Result<(), Refusal> {
        self.0.accept_release(release, stored)
    }

    fn offers(&self, situation: &Situation<'_>) -> Vec<Turn> {
        let bookings = situation.state.cases().flat_map(Case::booked);
        let hosts = bookings.flat_map(|it| {
            let order = it.booking.id();
            it.booking.says().plan.hosts().map(move |host| Turn { host: host.host_key, order })
        });
        hosts.collect()
    }

    fn stops(&self, _: &Situation<'_>) -> Vec<Turn> {
        Vec::new()
    }

    fn steps(&self, _: &Situation<'_>) -> Vec<Done> {
        Vec::new()
    }

    fn evidence(
        &self,
        state: &State,
        turn: &Turn,
        policy_version: u64,
    ) -> std::collections::BTreeSet<u64> {
        self.0.evidence(state, turn, policy_version)
    }

    fn clear(&self, _: &Situation<'_>, _: &Turn, _: Phase) -> Result<(), Refusal> {
        Ok(())
    }

    fn may_fetch(&self, _: &Situation<'_>, _: &KeyId, _: &Digest) -> Result<(), Refusal> {
        Ok(())
    }

    fn may_read(&self, state: &State, person: &KeyId) -> Result<(), Refusal> {
        self.0.may_read(state, person)
    }

    fn may_store(&self, state: &State, person: &KeyId) -> Result<(), Refusal> {
        self.0.may_store(state, person)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hasty_coordinator_is_refused_by_the_host() {
    let server = Server::start_with(Arc::new(Hasty(Rules))).await;
    let (order, _) = scene(&server).await;
    let mut p2 = Host::connect(&server, "p2").await;
    p2.report().await;
    let (offered, opened) = p2.offered().await;
    assert_eq!(offered, order);
    let answer = p2.clear(order, Phase::Start).await.unwrap();
    let early = p2.judge(&opened, order, (Phase::Start, &answer), at(0)).unwrap_err();
    assert_eq!(early.code, Code::WindowNotOpen);
    server.clock.set(at(1000));
    let answer = p2.clear(order, Phase::Start).await.unwrap();
    let skipped = p2.judge(&opened, order, (Phase::Start, &answer), at(1000)).unwrap_err();
    assert_eq!(skipped.code, Code::WaveNotProven);
}
