//! What was before the attack: hosts that joined and run a first release, and cases in every state of their
//! way, each with a booking that somebody could try to have carried out.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use cutover_applier_core::Saved;
use cutover_shared::digest::Digest;
use cutover_shared::policy::{KeyEntry, KeyStatus, PolicyDocument, Role, Scope};
use cutover_shared::statement::{
    Booking, ChangeType, Iteration, Release, Statement, Verdict, WindowRelease,
};
use cutover_shared::time::Time;
use cutover_shared::window::Window;

use super::budget::Owned;
use super::referee::Referee;
use super::run::{Run, Service};
use super::target::{Target, clocks};
use super::truth::Truth;
use super::witnesses::{self, Witnesses};
use super::{APPLICATION, epoch};
use crate::world::{
    Booked, Parcel, Timing, accepted, approval, assessment, booking, delivery, emergency, grant,
    join, key, name, planned, policy, release, review, vote, window_release,
};

/// The hosts: their names, and their environments.
pub const HOSTS: [(&str, &str); 4] = [
    ("stage-1", "staging"),
    ("web-1", "production"),
    ("web-2", "production"),
    ("web-3", "production"),
];

/// The host of staging.
pub const STAGE: usize = 0;
/// The first wave.
pub const CANARY: usize = 1;
/// A host of the second wave.
pub const SECOND: usize = 2;
/// Another.
pub const THIRD: usize = 3;

/// What packages of the scene say of themselves.
pub const TIMING: Timing =
    Timing { apply_budget: 300, rollback_reserve: 120, interval: 5, deadline: 60, bake: 20 };

const HOUR: Duration = Duration::from_hours(1);

/// A release on its way, with the booking for production.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// The `release` statement.
    pub release: Digest,
    /// Its package.
    pub package: Digest,
    /// The `booking` statement.
    pub booking: Digest,
}

/// Everything that was said and done.
#[derive(Debug, Clone)]
pub struct Scene {
    truth: Truth,
    saved: Vec<Saved>,
    parcels: BTreeMap<Digest, Parcel>,
    since: Duration,
    referee: Referee,
    /// Whether its policy demands witnesses.
    witnessed: bool,
    is_witness_owned: bool,
    /// The policy.
    pub policy: Digest,
    /// The release that production runs.
    pub first: Order,
    /// The release that is due: approved, booked for [`Scene::window`], and released.
    pub due: Order,
    /// One whose window has passed unused.
    pub missed: Order,
    /// One that the board has not voted on.
    pub unvoted: Order,
    /// One that was released and never went through staging.
    pub unstaged: Order,
    /// One whose window was not released.
    pub unreleased: Order,
    /// An emergency's iterations: the first approved, the second not.
    pub iterations: [Order; 2],
    /// The emergency.
    pub grounds: Digest,
    /// When `due` may be deployed.
    pub window: Window,
}

impl Scene {
    /// The scene for who owns that, which is the same each time.
    pub fn of(owned: Owned) -> &'static Self {
        static PLAIN: OnceLock<Scene> = OnceLock::new();
        static WITNESSED: OnceLock<Scene> = OnceLock::new();
        static BETRAYED: OnceLock<Scene> = OnceLock::new();
        match owned {
            Owned::CoordinatorAndQuorum => WITNESSED.get_or_init(|| build(true)),
            Owned::CoordinatorAndWitness => BETRAYED.get_or_init(|| {
                let witnessed = Self::of(Owned::CoordinatorAndQuorum).clone();
                Self { is_witness_owned: true, ..witnessed }
            }),
            Owned::Nothing
            | Owned::Network
            | Owned::Coordinator
            | Owned::CoordinatorAndHost
            | Owned::CoordinatorAndPerson(_) => PLAIN.get_or_init(|| build(false)),
        }
    }

    /// The policy of the scene, in a later version.
    pub fn two_roots(&self, version: u64) -> PolicyDocument {
        two_roots(version, self.witnessed)
    }

    /// A run from here on; host nonces are drawn from `seed`.
    pub fn run(&self, seed: u64) -> Run {
        let mut run = Run::new(self.truth.clone(), self.parcels.clone(), self.since);
        let now = clocks(self.since);
        for ((host, environment), saved) in HOSTS.iter().zip(&self.saved) {
            let mut target = Target::new(host, environment, saved, now, seed);
            target.supply.clone_from(&self.parcels);
            target.begin(None, now);
            run.hosts.push(target);
        }
        run.referee = self.referee.clone();
        if self.witnessed {
            run.witnesses = Witnesses::begin(&run.truth, self.policy, run.wall());
            run.witnesses.is_one_owned = self.is_witness_owned;
        }
        run
    }

    /// A run that has come to the window.
    pub fn at_window(&self, seed: u64) -> Run {
        let mut run = self.run(seed);
        run.advance(self.window.start.since(run.wall()) + Duration::from_secs(5));
        run
    }
}

/// The policy of the scene, in a version: two roots, both needed.
fn two_roots(version: u64, witnessed: bool) -> PolicyDocument {
    let mut document = policy(version, epoch() + HOUR * 24 * 60);
    document.keys.push(KeyEntry {
        owner: name("rob"),
        email: "rob@example.org".to_owned(),
        key: key("rob").public(),
        roles: [Role::Root].into(),
        applications: Scope::All,
        environments: Scope::All,
        status: KeyStatus::Active,
    });
    document.root_threshold = 2;
    if witnessed {
        witnesses::demand(&mut document);
    }
    document
}

/// The makers of the scene.
struct Maker {
    run: Run,
}

fn build(witnessed: bool) -> Scene {
    let mut maker = Maker { run: Run::new(Truth::default(), BTreeMap::new(), Duration::ZERO) };
    let policy = maker.run.truth.say(&["ruth", "rob"], epoch(), two_roots(1, witnessed));
    if witnessed {
        maker.run.witnesses = Witnesses::begin(&maker.run.truth, policy, epoch());
    }
    maker.join_hosts(policy);
    let window = Window { start: epoch() + HOUR * 24, end: epoch() + HOUR * 26 };
    let first = maker.approved("1", window_at(3));
    maker.stage(first, 1);
    maker.release(first.booking, "max");
    maker.roll_out(first, 3);
    let missed = maker.approved("2", window_at(6));
    maker.stage(missed, 5);
    maker.release(missed.booking, "max");
    let unvoted = maker.unvoted("3", window);
    maker.stage(unvoted, 7);
    let release = maker.window_release(unvoted.booking);
    maker.run.truth.whisper(&["mia"], &Statement::new(maker.run.wall(), release));
    let unreleased = maker.approved("4", window);
    maker.stage(unreleased, 8);
    let grounds = {
        let says = emergency(policy, &name(APPLICATION), &["production"]);
        maker.run.truth.permit(&["max"], maker.run.wall(), window.end, says)
    };
    let iterations = maker.iterations(grounds, window);
    let unstaged = maker.approved("6", window);
    maker.release(unstaged.booking, "max");
    let due = maker.approved("5", window);
    maker.stage(due, 10);
    maker.release(due.booking, "max");
    let before = window.start.since(maker.run.wall()).saturating_sub(Duration::from_mins(10));
    maker.run.advance(before);
    let run = maker.run;
    assert_eq!(run.referee.gained, [], "so far everybody was honest");
    Scene {
        referee: run.referee,
        saved: run.hosts.iter().map(Target::saved).collect(),
        truth: run.truth,
        parcels: run.parcels,
        since: run.since,
        witnessed,
        is_witness_owned: false,
        policy,
        first,
        due,
        missed,
        unvoted,
        unstaged,
        unreleased,
        iterations,
        grounds,
        window,
    }
}

fn window_at(hour: u32) -> Window {
    Window { start: epoch() + HOUR * hour, end: epoch() + HOUR * (hour + 1) }
}

impl Maker {
    fn join_hosts(&mut self, policy: Digest) {
        for (number, (host, environment)) in HOSTS.into_iter().enumerate() {
            let seed = format!("grant {host}");
            let grant = grant(&seed, environment, &[APPLICATION], 1);
            let wall = self.run.wall();
            let id = self.run.truth.permit(&["otto"], wall, wall + HOUR, grant.clone());
            let policy = self.run.truth.said[&policy].envelope.clone();
            let join = join(&policy, self.run.truth.head(), (&seed, id), &grant);
            let now = self.run.now();
            let mut target = Target::new(host, environment, &Saved::default(), now, 0);
            target.begin(Some(join), now);
            self.run.hosts.push(target);
            self.run.serve(number, &mut Service::Honest);
        }
    }

    /// A release with a package of its own, submitted and reviewed.
    fn submitted(&mut self, version: &str) -> (Digest, Digest) {
        let content = format!("this is version {version}").into_bytes();
        let parcel = Parcel::new(APPLICATION, version, &content, TIMING, "");
        let says = release(&parcel, ChangeType::Normal, &["staging", "production"]);
        let id = self.submit(parcel, says);
        let review = review(id.0, &["staging", "production"], Verdict::Complete);
        self.run.truth.say(&["lena"], self.run.wall(), review);
        id
    }

    fn submit(&mut self, parcel: Parcel, says: Release) -> (Digest, Digest) {
        let package = parcel.digest;
        for host in &mut self.run.hosts {
            host.supply.insert(package, parcel.clone());
        }
        self.run.parcels.insert(package, parcel);
        let release = self.run.truth.say(&["sam"], self.run.wall(), says);
        (release, package)
    }

    /// One that everybody has approved, and that is booked for production.
    fn approved(&mut self, version: &str, window: Window) -> Order {
        let id = self.submitted(version);
        let (wall, truth) = (self.run.wall(), &mut self.run.truth);
        truth.say(&["seth"], wall, assessment(id, &["production"], accepted()));
        truth.say(&["bea"], wall, vote(id.0, &["production"], accepted()));
        truth.say(&["bob"], wall, vote(id.0, &["production"], accepted()));
        truth.say(&["lena"], wall, delivery(id));
        self.booked(id, window, "max")
    }

    /// One that the board has not voted on, booked all the same by somebody who did not look.
    fn unvoted(&mut self, version: &str, window: Window) -> Order {
        let id = self.submitted(version);
        let (wall, truth) = (self.run.wall(), &mut self.run.truth);
        truth.say(&["seth"], wall, assessment(id, &["production"], accepted()));
        truth.say(&["lena"], wall, delivery(id));
        self.booked(id, window, "mia")
    }

    fn booked(&mut self, (release, package): (Digest, Digest), window: Window, by: &str) -> Order {
        let waves = vec![vec![CANARY], vec![SECOND, THIRD]];
        let says = self.booking((release, package), "production", window, waves);
        let booking = self.run.truth.say(&[by], self.run.wall(), says);
        Order { release, package, booking }
    }

    fn booking(
        &self,
        (release, package): (Digest, Digest),
        environment: &str,
        window: Window,
        waves: Vec<Vec<usize>>,
    ) -> Booking {
        let host = |it: usize| planned(HOSTS[it].0, self.run.hosts[it].key_id());
        booking(Booked {
            release,
            package,
            application: &name(APPLICATION),
            environment,
            window,
            waves: waves.into_iter().map(|it| it.into_iter().map(host).collect()).collect(),
            at_once: 1,
            halt_after: 1,
            healthy_for: Duration::from_mins(1),
        })
    }

    fn window_release(&self, booking: Digest) -> WindowRelease {
        let state = &self.run.truth.view.state;
        let (_, case) = state.booking(&booking).expect("it is booked");
        window_release(booking, case.booking.says(), self.run.truth.head())
    }

    fn release(&mut self, booking: Digest, by: &str) {
        let says = self.window_release(booking);
        self.run.truth.say(&[by], self.run.wall(), says);
    }

    /// Staging gets a release, in the hour `hour`.
    fn stage(&mut self, order: Order, hour: u32) {
        let id = (order.release, order.package);
        let says = self.booking(id, "staging", window_at(hour), vec![vec![STAGE]]);
        let booking = self.run.truth.say(&["max"], self.run.wall(), says);
        self.release(booking, "max");
        self.wait_until(epoch() + HOUR * hour);
        self.run.carry(&[STAGE], booking, Service::Honest, 12);
        assert_eq!(
            self.run.hosts[STAGE].runs(),
            Some(order.package),
            "{:?}",
            self.run.hosts[STAGE].notes
        );
    }

    fn roll_out(&mut self, order: Order, hour: u32) {
        self.wait_until(epoch() + HOUR * hour);
        self.run.carry(&[CANARY, SECOND, THIRD], order.booking, Service::Honest, 50);
        for host in [CANARY, SECOND, THIRD] {
            assert_eq!(
                self.run.hosts[host].runs(),
                Some(order.package),
                "{:?}",
                self.run.hosts[host].notes
            );
        }
    }

    fn wait_until(&mut self, time: Time) {
        let wait = time.since(self.run.wall()) + Duration::from_secs(1);
        self.run.advance(wait);
    }

    /// Two iterations of an emergency, each with a package of its own; only the first is approved.
    fn iterations(&mut self, grounds: Digest, window: Window) -> [Order; 2] {
        let mut previous = None;
        [1, 2].map(|number| {
            let version = format!("e{number}");
            let content = format!("this is iteration {number}").into_bytes();
            let parcel = Parcel::new(APPLICATION, &version, &content, TIMING, "");
            let mut says = release(&parcel, ChangeType::Emergency, &["production"]);
            says.iteration = Some(Iteration { grounds, number, previous });
            let id = self.submit(parcel, says);
            previous = Some(id.0);
            if number == 1 {
                let says = approval(grounds, id.0, number);
                self.run.truth.say(&["mia"], self.run.wall(), says);
            }
            let order = self.booked(id, window, "mia");
            let release = self.window_release(order.booking);
            let now = self.run.wall();
            let release = self.run.truth.whisper(&["mia"], &Statement::new(now, release));
            if number == 1 {
                self.run.truth.log(release);
            }
            order
        })
    }
}
