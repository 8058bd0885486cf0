//! Whose turn it is, and who is told so: the planner, the register and the rules on one log.

#[cfg(test)]
mod notices;
#[cfg(test)]
mod peers;
#[cfg(test)]
#[path = "../../../../shared/tests/standing/scene.rs"]
#[expect(dead_code, reason = "other tests use more of the scene")]
mod scene;
#[cfg(test)]
mod tasks;

use std::time::Duration;

use cutover_coordinator_core::{Activations, Command, Folded, Planner, Register, Round, Rules};
use cutover_shared::digest::Digest;
use cutover_shared::key::KeyId;
use cutover_shared::log::TreeHead;
use cutover_shared::protocol::{ApplicationReport, HostReport};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{Cancel, Direction, Event, Step, StepResult};

use scene::{SHOP, Scene, key, minutes, name};

const STAGE: [&str; 2] = ["stage-1", "stage-2"];

fn host(host: &str) -> KeyId {
    key(host).public().id()
}

/// A coordinator that has the scene's log and hears of its hosts.
struct Desk {
    scene: Scene,
    register: Register,
    planner: Planner,
}

impl Desk {
    fn new() -> Self {
        let scene = Scene::new();
        let register = Register::new(scene.now, Activations::default());
        Self { scene, register, planner: Planner::default() }
    }

    /// A host opens a stream and reports that it does nothing; the stream's number.
    fn connect(&mut self, of: &str) -> u64 {
        self.connect_with(of, None)
    }

    /// The same, and what it refused last.
    fn connect_with(&mut self, of: &str, refused: Option<(Digest, Code)>) -> u64 {
        let (number, _) = self.register.open(host(of));
        let application = ApplicationReport {
            application: name(SHOP),
            generation: 0,
            running: None,
            order: None,
            step: "idle".to_owned(),
            progress: None,
            refused: refused.map(|(order, code)| (order, Refusal::new(code, "facts"))),
        };
        let report = HostReport { known: 0, policy_version: 1, applications: vec![application] };
        assert!(self.register.report(host(of), number, report, self.scene.now));
        number
    }

    fn folded(&self) -> Folded {
        let state = self.scene.state.clone();
        let head = TreeHead { size: state.next_index(), root: Digest::of(b"root") };
        Folded { state, head }
    }

    fn round(&mut self, monotonic: u64) -> Round {
        let (folded, now) = (self.folded(), self.scene.now);
        let monotonic = Duration::from_secs(monotonic);
        self.planner.round(&Rules, &folded, &mut self.register, now, monotonic)
    }

    /// Whom a round offers what.
    fn offered(&mut self, monotonic: u64) -> Vec<(KeyId, u64, Digest)> {
        let offer = |tell: cutover_coordinator_core::Tell| match tell.command {
            Command::Offer(order) => (tell.host, tell.stream, order),
            Command::Stop(_) | Command::Steps(_) => panic!("{:?}", tell.command),
        };
        self.round(monotonic).tell.into_iter().map(offer).collect()
    }

    /// Both staging hosts are to go back from the second release to the first.
    fn ordered_return(&mut self) -> Digest {
        for version in ["1.0", "1.1"] {
            let release = self.scene.submit(version);
            self.scene.approve(release);
            self.scene.deploy(release, "staging", &STAGE);
            self.scene.wait(minutes(60));
        }
        let (from, to) = (Digest::of(b"1.1"), Digest::of(b"1.0"));
        self.scene.roll_back("staging", &STAGE, from, to)
    }

    fn booked(&mut self, hosts: &[&str]) -> Digest {
        let release = self.scene.submit("1.0");
        self.scene.approve(release);
        self.scene.book(release, "staging", &[hosts])
    }
}

#[test]
fn a_host_is_told_now_and_then_and_anew_on_a_new_stream() {
    let mut desk = Desk::new();
    let booking = desk.booked(&STAGE[..1]);
    desk.scene.arm(booking);
    desk.scene.wait(minutes(10));
    assert!(desk.offered(0).is_empty(), "nobody is there");
    let first = desk.connect("stage-1");
    assert_eq!(desk.offered(10), [(host("stage-1"), first, booking)]);
    assert!(desk.offered(11).is_empty(), "it was told a moment ago");
    let second = desk.connect("stage-1");
    assert_eq!(desk.offered(11), [(host("stage-1"), second, booking)]);
    assert!(desk.offered(12).is_empty());
    assert_eq!(desk.offered(14), [(host("stage-1"), second, booking)], "it may have been lost");
}

#[test]
fn time_alone_matters_where_a_window_was_released_and_not_cancelled() {
    let mut desk = Desk::new();
    let booking = desk.booked(&STAGE[..1]);
    assert_eq!(desk.round(0).next, None, "not released");
    desk.scene.arm(booking);
    assert!(desk.round(0).next.is_some(), "it will open");
    let release = desk.scene.state.booking(&booking).unwrap().0.release.id();
    let reason = "Not now.".to_owned();
    desk.scene.say("max", Cancel { release, booking: Some(booking), reason });
    assert_eq!(desk.round(0).next, None, "cancelled");
}

#[test]
fn an_ordered_return_is_offered_to_those_who_are_there_idle_and_have_not_refused_it() {
    let mut desk = Desk::new();
    let order = desk.ordered_return();
    let offered = |desk: &mut Desk, at: u64| -> Vec<KeyId> {
        desk.offered(at).into_iter().map(|(host, ..)| host).collect()
    };
    let both = || vec![host("stage-1"), host("stage-2")];
    desk.connect("stage-2");
    assert_eq!(offered(&mut desk, 0), [host("stage-2")], "the other one is not there");
    let first = desk.connect("stage-1");
    assert_eq!(offered(&mut desk, 10), both());
    desk.register.close(&host("stage-1"), first);
    assert_eq!(offered(&mut desk, 20), [host("stage-2")]);
    desk.connect_with("stage-1", Some((order, Code::GenerationPassed)));
    assert_eq!(offered(&mut desk, 30), [host("stage-2")], "it would refuse it again");
    desk.connect_with("stage-1", Some((order, Code::Busy)));
    assert_eq!(offered(&mut desk, 40), both(), "what was in the way passes");
    desk.connect_with("stage-1", Some((Digest::of(b"another"), Code::GenerationPassed)));
    assert_eq!(offered(&mut desk, 50), both(), "another order was refused");
    desk.scene.report("stage-1", order, Event::RolledBack);
    assert_eq!(offered(&mut desk, 60), [host("stage-2")], "it has done it");
}

#[test]
fn a_place_is_taken_until_the_host_says_what_came_of_it_or_could_no_longer() {
    let mut desk = Desk::new();
    let booking = desk.booked(&STAGE);
    desk.scene.arm(booking);
    desk.scene.wait(minutes(10));
    let [one, two] = STAGE.map(host);
    let ask = |desk: &mut Desk, of: &KeyId| {
        let (state, now) = (desk.scene.state.clone(), desk.scene.now);
        desk.register.activates(&state, (of, booking), now).map_err(|it| it.code)
    };
    assert_eq!(ask(&mut desk, &one), Ok(()));
    assert_eq!(ask(&mut desk, &one), Ok(()), "its own place");
    assert_eq!(ask(&mut desk, &two), Err(Code::NotCleared), "one at once");
    // Apply budget and reserve are five and two minutes.
    desk.scene.wait(Duration::from_millis(7 * 60_000 - 1));
    assert_eq!(ask(&mut desk, &two), Err(Code::NotCleared));
    desk.scene.wait(Duration::from_millis(1));
    assert_eq!(ask(&mut desk, &two), Ok(()), "the first is over, whatever became of it");
    assert_eq!(ask(&mut desk, &one), Err(Code::NotCleared));
    desk.scene.report("stage-2", booking, Event::Committed);
    assert_eq!(ask(&mut desk, &one), Ok(()), "the second has said what came of it");
}

#[test]
fn a_place_outlives_the_process_that_gave_it() {
    let mut desk = Desk::new();
    let booking = desk.booked(&STAGE);
    desk.scene.arm(booking);
    desk.scene.wait(minutes(10));
    let [one, two] = STAGE.map(host);
    let (state, now) = (desk.scene.state.clone(), desk.scene.now);
    desk.register.activates(&state, (&one, booking), now).unwrap();
    let written = serde_json::to_vec(desk.register.activations()).unwrap();
    let mut restarted = Register::new(now, serde_json::from_slice(&written).unwrap());
    let refused = restarted.activates(&state, (&two, booking), now).unwrap_err();
    assert_eq!(refused.code, Code::NotCleared, "the first may be down");
    restarted.activates(&state, (&one, booking), now).unwrap();
    desk.scene.report("stage-1", booking, Event::Committed);
    let state = desk.scene.state.clone();
    let mut restarted = Register::new(now, serde_json::from_slice(&written).unwrap());
    restarted.activates(&state, (&two, booking), now).expect("what came of it was signed since");
}

#[test]
fn a_host_that_goes_back_by_order_is_shown_what_people_did_of_its_steps() {
    let mut desk = Desk::new();
    let order = desk.ordered_return();
    let host_key = host("stage-1");
    let (stream, _) = desk.register.open(host_key);
    let report = ApplicationReport {
        application: name(SHOP),
        generation: 3,
        running: None,
        order: Some(order),
        step: "undo of manual step hold-job".to_owned(),
        progress: None,
        refused: None,
    };
    let report = HostReport { known: 0, policy_version: 1, applications: vec![report] };
    assert!(desk.register.report(host_key, stream, report, desk.scene.now));
    let say = |desk: &mut Desk, step: &str, direction| {
        let says = Step {
            booking: order,
            host: name("stage-1"),
            host_key,
            step: name(step),
            direction,
            result: StepResult::Done { note: String::new() },
        };
        desk.scene.say("olga", says);
        desk.scene.wait(minutes(1));
    };
    say(&mut desk, "move-members", Direction::Back);
    let told = |desk: &mut Desk, monotonic: u64| -> Vec<Command> {
        desk.round(monotonic).tell.into_iter().map(|tell| tell.command).collect()
    };
    assert_eq!(told(&mut desk, 0), [], "that is another step");
    say(&mut desk, "hold-job", Direction::Back);
    assert_eq!(told(&mut desk, 100), [Command::Steps(order)]);
    assert_eq!(told(&mut desk, 100), []);
}
