//! What is said while the attack goes on.

use std::time::Duration;

use cutover_shared::policy::KeyStatus;
use cutover_shared::statement::{
    Booking, Cancel, ChangeType, Event, Freeze, Hold, HostTurn, Judgement, Outcome, Resume,
    Rollback, Says, Statement, Verdict,
};

use crate::adversary::run::Run;
use crate::adversary::scene::{CANARY, HOSTS, Scene, TIMING};
use crate::world::{
    Parcel, Random, accepted, approval, assessment, enrolment, key_id, name, names, release,
    review, vote, window_release,
};

/// An honest person says something, for the order that is due or against it.
pub(super) fn somebody(random: &mut Random, run: &mut Run, scene: &Scene) {
    let due = scene.due;
    let reason = "somebody had a reason".to_owned();
    let wall = run.wall();
    let truth = &mut run.truth;
    match random.below(14) {
        0 | 1 => {
            let finish = random.chance(300);
            truth.say(&["seth"], wall, Hold { release: due.release, reason, finish });
        }
        2 | 3 => {
            let held = truth.said.values().rev();
            let hold = held.filter(|it| matches!(it.says, Says::Hold(_))).map(|it| it.id).next();
            if let Some(hold) = hold {
                truth.say(&["seth"], wall, Resume { hold, reason });
            }
        }
        4 => {
            let (start, end) = (wall, wall + Duration::from_secs(random.between(60, 900)));
            let (environments, applications) = (names(&["production"]), names(&["web"]));
            let policy = scene.policy;
            truth.say(
                &["mia"],
                wall,
                Freeze::Declared { policy, environments, applications, start, end, reason },
            );
        }
        5 => {
            truth.say(&["mia"], wall, Cancel { release: due.release, booking: None, reason });
        }
        6 => {
            let denied = Judgement::Denied { reason };
            let id = (due.release, due.package);
            truth.say(&["seth"], wall, assessment(id, &["production"], denied));
        }
        7 | 8 => {
            let says = review(due.release, &["production"], Verdict::Complete);
            truth.say(&["lena"], wall, says);
        }
        9 => {
            let mut policy = scene.two_roots(2);
            for entry in policy.keys.iter_mut().filter(|entry| entry.owner == name("lena")) {
                entry.status = KeyStatus::Compromised;
            }
            truth.say(&["ruth", "rob"], wall, policy);
        }
        10 => {
            let says = approval(scene.grounds, scene.iterations[1].release, 2);
            truth.say(&["mia"], wall, says);
        }
        11 => rollback(run, scene, "mia"),
        _ => book_again(run, scene),
    }
}

/// The release that is due, booked and released once more for what is left of its window.
fn book_again(run: &mut Run, scene: &Scene) {
    let Says::Booking(booking) = &run.truth.said[&scene.due.booking].says else { return };
    let mut again = (**booking).clone();
    again.window.start = run.wall();
    if again.window.start >= again.window.end {
        return;
    }
    let wall = run.wall();
    let id = run.truth.say(&["max"], wall, again.clone());
    let says = window_release(id, &again, run.truth.head());
    run.truth.say(&["max"], wall, says);
}

fn rollback(run: &mut Run, scene: &Scene, who: &str) {
    let (host, environment) = HOSTS[CANARY];
    let turn = HostTurn {
        host: name(host),
        host_key: key_id(host),
        generation: run.hosts[CANARY].generation(),
    };
    let says = Rollback {
        application: name("web"),
        environment: name(environment),
        hosts: vec![turn],
        from: scene.due.package,
        to: scene.first.package,
        reason: "complaints".to_owned(),
    };
    let wall = run.wall();
    run.truth.permit(&[who], wall, wall + Duration::from_mins(30), says);
}

/// Whoever holds the host's key says anything that a host can say.
pub(super) fn outcome(random: &mut Random, run: &mut Run, scene: &Scene, host: &str) {
    let order = random.pick(&[scene.due, scene.unstaged, scene.iterations[0]]);
    let event = match random.below(3) {
        0 => Event::Returned { step: "checking".to_owned(), reason: "so it says".to_owned() },
        _ => Event::Committed,
    };
    let says = Outcome {
        host: name(host),
        host_key: key_id(host),
        application: name("web"),
        generation: run.hosts[CANARY].generation() + random.below(3),
        order: order.booking,
        release: order.release,
        package: order.package,
        event,
        running: Some(order.package),
        started: run.wall(),
        ended: run.wall(),
        readings: Vec::new(),
        clearances: Vec::new(),
    };
    let wall = run.wall();
    run.truth.say(&[host], wall, says);
}

/// Whoever holds a person's key signs anything with it, good for anything or not.
pub(super) fn anything(random: &mut Random, run: &mut Run, scene: &Scene, who: &str) {
    let wall = run.wall();
    let order = random.pick(&[scene.unvoted, scene.unreleased, scene.unstaged, scene.due]);
    let id = (order.release, order.package);
    let here = &["production", "staging"];
    let says: Says = match random.below(10) {
        0 => review(order.release, here, Verdict::Complete).into(),
        1 => assessment(id, here, accepted()).into(),
        2 => vote(order.release, here, accepted()).into(),
        3 => approval(scene.grounds, scene.iterations[1].release, 2).into(),
        4 => {
            let Says::Booking(booking) = &run.truth.said[&order.booking].says else { return };
            window_release(order.booking, booking, run.truth.head()).into()
        }
        5 => return evil(run, scene, who),
        6 => enrolment("stage-2", "staging", &["web"]).into(),
        7 => {
            let mut policy = scene.two_roots(2);
            policy.root_threshold = 1;
            policy.rules.retain(|rule| rule.votes == 0);
            policy.into()
        }
        8 => return rollback(run, scene, who),
        _ => Hold { release: order.release, reason: "mischief".to_owned(), finish: false }.into(),
    };
    let id = run.truth.whisper(&[who], &Statement::new(wall, says));
    if random.chance(700) {
        run.truth.log(id);
    }
}

/// A package of nobody else's, with everything that one key can sign for it.
fn evil(run: &mut Run, scene: &Scene, who: &str) {
    let parcel = Parcel::new("web", "evil", b"this is evil", TIMING, "");
    let package = parcel.digest;
    for host in &mut run.hosts {
        host.supply.insert(package, parcel.clone());
    }
    let wall = run.wall();
    let says = release(&parcel, ChangeType::Normal, &["staging", "production"]);
    run.parcels.insert(package, parcel);
    let Says::Booking(booking) = &run.truth.said[&scene.due.booking].says else { return };
    let booking = (**booking).clone();
    let release = run.truth.say(&[who], wall, says);
    let id = (release, package);
    run.truth.say(&[who], wall, review(release, &["production"], Verdict::Complete));
    run.truth.say(&[who], wall, assessment(id, &["production"], accepted()));
    run.truth.say(&[who], wall, vote(release, &["production"], accepted()));
    let booking = Booking { release, package, ..booking };
    let order = run.truth.say(&[who], wall, booking.clone());
    let says = window_release(order, &booking, run.truth.head());
    run.truth.say(&[who], wall, says);
}
