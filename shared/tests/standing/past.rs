//! A release as an earlier log had it: what is said of it then is what was said then.

use cutover_shared::digest::Digest;
use cutover_shared::fold::standing::{ReleaseStanding, release_standing};
use cutover_shared::statement::{Cancel, Event, Hold, Resume, Verdict};
use cutover_shared::time::Time;

use crate::scene::{Scene, minutes, no, returned, yes};

const STAGE: [&str; 2] = ["stage-1", "stage-2"];

/// What was said of each release when the log had how many entries, and when.
type Told = Vec<(Digest, u64, Time, ReleaseStanding)>;

fn tell(scene: &Scene, told: &mut Told) {
    for case in scene.state.cases() {
        let standing = release_standing(&scene.state, case, scene.now);
        told.push((case.release.id(), scene.state.next_index(), scene.now, standing));
    }
}

#[test]
fn is_told_again_as_it_was_told_then() {
    let mut scene = Scene::new();
    let mut told = Told::new();
    let first = scene.submit("1.0");
    tell(&scene, &mut told);
    scene.review(first, &["staging"], Verdict::Complete);
    tell(&scene, &mut told);
    scene.vote("bea", first, yes());
    tell(&scene, &mut told);
    scene.approve(first);
    tell(&scene, &mut told);
    let booking = scene.book(first, "staging", &[&STAGE]);
    tell(&scene, &mut told);
    let hold = scene.say("max", Hold { release: first, reason: "Wait.".into(), finish: false });
    tell(&scene, &mut told);
    scene.say("max", Resume { hold, reason: "Go.".into() });
    tell(&scene, &mut told);
    scene.arm(booking);
    tell(&scene, &mut told);
    scene.wait(minutes(10));
    scene.report("stage-1", booking, Event::Committed);
    tell(&scene, &mut told);
    scene.report("stage-2", booking, returned());
    tell(&scene, &mut told);
    scene.review(first, &["staging"], Verdict::Complete);
    tell(&scene, &mut told);
    let again = scene.book(first, "staging", &[&STAGE[1..]]);
    tell(&scene, &mut told);
    let (reason, window) = ("Not today.".to_owned(), Some(again));
    scene.say("max", Cancel { release: first, booking: window, reason: reason.clone() });
    tell(&scene, &mut told);
    let mut second = Scene::release("1.1", &["staging", "production"]);
    second.supersedes = Some(first);
    let second = scene.say("sam", second);
    tell(&scene, &mut told);
    scene.assess(second, no("A hole."));
    tell(&scene, &mut told);
    scene.say("max", Cancel { release: second, booking: None, reason });
    tell(&scene, &mut told);

    assert!(told.len() > 16);
    for (release, size, now, standing) in told {
        let past = scene.state.as_of(&release, size).expect("it was submitted by then");
        let case = past.case(&release).expect("it is its case");
        assert_eq!(release_standing(&past, case, now), standing, "with {size} entries");
    }
    let submitted = scene.state.case(&second).map(|case| case.release.index());
    assert!(scene.state.as_of(&second, submitted.expect("it is in the log")).is_none());
    assert!(scene.state.as_of(&Digest::of(b"none"), 1000).is_none());
}
