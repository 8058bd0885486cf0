//! Of what a freeze is news: of the windows that it found, and what was still to come of them.

use std::collections::BTreeSet;

use cutover_coordinator_core::outbox::{What, notices};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::statement::{Cancel, Event, Freeze, Says, Statement};

use crate::STAGE;
use crate::scene::{SHOP, Scene, key, minutes, names, time};

/// A freeze that was logged, and can be asked about again.
struct Logged {
    index: u64,
    id: Digest,
    statement: Statement,
}

fn log(scene: &mut Scene, says: impl Into<Says>) -> Logged {
    let envelope: Envelope = Statement::new(scene.now, says).signed_by([&key("mia")]);
    let (index, statement) = (scene.state.next_index(), Statement::read(&envelope).unwrap());
    let id = scene.add_envelope(&envelope);
    Logged { index, id, statement }
}

/// The releases of which it is news.
fn told(scene: &Scene, it: &Logged) -> BTreeSet<Digest> {
    let told = notices(&scene.state, it.index, it.id, &it.statement);
    assert!(told.iter().all(|notice| notice.what == What::Frozen && notice.statement == it.id));
    told.iter().map(|notice| notice.release).collect()
}

fn freeze(scene: &Scene, applications: &[&str], start: &str, end: &str) -> Freeze {
    Freeze::Declared {
        policy: scene.state.policy().unwrap().id(),
        environments: names(["staging"]),
        applications: names(applications.iter().copied()),
        start: time(start),
        end: time(end),
        reason: "Elections.".to_owned(),
    }
}

const DAY: (&str, &str) = ("2026-03-02T10:00:00Z", "2026-03-03T10:00:00Z");

fn all_day(scene: &mut Scene, applications: &[&str]) -> Logged {
    let says = freeze(scene, applications, DAY.0, DAY.1);
    log(scene, says)
}

#[test]
fn it_is_no_news_where_every_host_had_committed_before() {
    let mut scene = Scene::new();
    let mut booked = Vec::new();
    for (version, host) in [("1.0", STAGE[0]), ("1.1", STAGE[1])] {
        let release = scene.submit(version);
        scene.approve(release);
        let booking = scene.book(release, "staging", &[&[host]]);
        scene.arm(booking);
        booked.push((release, booking, host));
    }
    scene.wait(minutes(20));
    let mut freezes = Vec::new();
    for (_, booking, host) in &booked {
        freezes.push(all_day(&mut scene, &[SHOP]));
        scene.report(host, *booking, Event::Committed);
        scene.wait(minutes(1));
    }
    // As each found it then, whatever was committed since.
    let [one, two] = [booked[0].0, booked[1].0];
    assert_eq!(told(&scene, &freezes[0]), BTreeSet::from([one, two]));
    assert_eq!(told(&scene, &freezes[1]), BTreeSet::from([two]));
}

#[test]
fn it_is_news_of_windows_that_it_covers_and_that_nobody_has_given_up() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    scene.approve(release);
    let early = all_day(&mut scene, &[]);
    let booking = scene.book(release, "staging", &[&STAGE]);
    let mine = BTreeSet::from([release]);
    let nobody = BTreeSet::new();
    assert_eq!(told(&scene, &early), nobody, "there was no window yet");
    let others = all_day(&mut scene, &["mail"]);
    assert_eq!(told(&scene, &others), nobody);
    let ours = all_day(&mut scene, &["mail", SHOP]);
    assert_eq!(told(&scene, &ours), mine);
    let says = Freeze::Lifted { freeze: ours.id, reason: "No.".to_owned() };
    let lifted = log(&mut scene, says);
    assert_eq!(told(&scene, &lifted), nobody);

    // Some of the window is over: what is left of it counts.
    let window = scene.state.booking(&booking).unwrap().1.booking.says().window;
    scene.now = window.start + minutes(30);
    let past = freeze(&scene, &[], DAY.0, "2026-03-02T10:40:00Z");
    let past = log(&mut scene, past);
    assert_eq!(told(&scene, &past), nobody, "it ends as this is said");
    scene.now = window.end;
    let late = all_day(&mut scene, &[]);
    assert_eq!(told(&scene, &late), nobody, "it is over");
    scene.say("max", Cancel { release, booking: None, reason: "No.".to_owned() });
    assert_eq!(told(&scene, &ours), mine, "whatever became of it since");
    scene.now = window.start;
    let after = all_day(&mut scene, &["web", SHOP]);
    assert_eq!(told(&scene, &after), nobody, "it was given up");
}
