//! When could it be done? Three months ahead, in an environment where much is booked and much is frozen.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_shared::calendar::agenda::{Agenda, Request};
use cutover_shared::calendar::suggest::{Suggestions, suggest};
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::key::KeyId;
use cutover_shared::statement::{
    Booking, ChangeType, Freeze, OnHalt, PlannedHost, RolloutPlan, Wave,
};
use cutover_shared::time::Time;
use cutover_shared::window::Window;

use crate::world::{World, at, document, key, name, names, release};

const DAYS: u32 = 90;
const BOOKINGS: u32 = 10_000;
const FREEZES: u32 = 500;
/// Bookings of one release: no more than a likely release has.
const OF_ONE: u32 = 50;
/// Hosts that they are on.
const HOSTS: u32 = 400;

pub(crate) struct Wanted {
    state: State,
    request: Request,
    now: Time,
}

impl Wanted {
    /// Every booking and freeze lies within the days that are looked through. Each booking is on three
    /// hosts of many, and of another application than what is asked for; one in eight freezes is for it.
    pub(crate) fn new() -> Self {
        let mut policy = document(1);
        policy.expires = at(0) + Duration::from_hours(24 * 365);
        let mut world = World::with_policy(policy);
        let now = world.now;
        let span = Duration::from_hours(24 * u64::from(DAYS) - 4);
        let mut releases = Vec::new();
        for number in 0..BOOKINGS {
            if number % OF_ONE == 0 {
                let mut it = release(&format!("{number}.0"), Digest::of(&number.to_be_bytes()));
                it.application = name(&format!("other-{}", number / OF_ONE % 40));
                releases.push((world.say(&["sue"], it.clone()).expect("a release"), it));
            }
            let (id, release) = releases.last().expect("it was submitted");
            let start = now + span * number / BOOKINGS;
            let hosts = (0..3).map(|place| planned((number * 7 + place * 131) % HOSTS));
            let booking = Booking {
                release: *id,
                package: release.package,
                application: release.application.clone(),
                environment: name("production"),
                window: Window { start, end: start + Duration::from_mins(45) },
                derivation: None,
                plan: RolloutPlan {
                    waves: vec![Wave { name: name("all"), hosts: hosts.collect() }],
                    at_once: 3,
                    healthy_for: Duration::from_mins(1),
                    halt_after: 1,
                    on_halt: OnHalt::Pause,
                },
            };
            world.say(&["max"], booking).expect("a booking");
        }
        for number in 0..FREEZES {
            let start = now + span * number / FREEZES;
            let applications = if number % 8 == 0 { names(&[]) } else { names(&["other-1"]) };
            let freeze = Freeze::Declared {
                policy: Digest::of(b"policy"),
                environments: names(&["production"]),
                applications,
                start,
                end: start + Duration::from_hours(2),
                reason: "the month is closed".to_owned(),
            };
            world.say(&["max"], freeze).expect("a freeze");
        }
        let request = Request {
            release: Digest::of(b"wanted"),
            application: name("web"),
            environment: name("production"),
            hosts: (0..10).map(|number| planned(number).host_key).collect::<BTreeSet<KeyId>>(),
            change: ChangeType::Normal,
            length: Duration::from_hours(1),
            preferred: Some(now + Duration::from_hours(24 * 30)),
            days: DAYS,
            count: 5,
        };
        Self { state: world.state, request, now }
    }

    /// From the fold to the list.
    pub(crate) fn suggest(&self) -> Suggestions {
        let agenda =
            Agenda::of(&self.state, &self.request, self.now).expect("a zone that is known");
        let found = suggest(&self.request, &agenda, self.now);
        assert!(!found.slots.is_empty(), "there is room between so many");
        found
    }
}

fn planned(number: u32) -> PlannedHost {
    let host = format!("h{number}");
    PlannedHost { host: name(&host), host_key: key(&host).public().id() }
}
