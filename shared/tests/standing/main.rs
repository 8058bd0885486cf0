//! The state words of a release, from submission to its ends, over signed statements.

mod figures;
mod past;
#[cfg(test)]
mod scene;

use cutover_shared::digest::Digest;
use cutover_shared::fold::standing::{Lifecycle, ReleaseStanding, Trial, release_standing};
use cutover_shared::fold::waiting::{self, Side};
use cutover_shared::policy::Department;
use cutover_shared::refusal::Code;
use cutover_shared::rollout::is_used_up;
use cutover_shared::statement::{Cancel, Consult, Event, Hold, Release, Remark, Resume, Verdict};
use scene::{Scene, minutes, name, no, returned, yes};

const WEB: [&str; 3] = ["web-1", "web-2", "web-3"];
const STAGE: [&str; 2] = ["stage-1", "stage-2"];

fn standing(scene: &Scene, release: Digest) -> ReleaseStanding {
    release_standing(&scene.state, scene.state.case(&release).expect("it was submitted"), scene.now)
}

/// The word for the whole, for staging, for production.
fn words(scene: &Scene, release: Digest) -> [&'static str; 3] {
    let standing = standing(scene, release);
    let of = |environment: &str| {
        let found = standing.environments.iter().find(|it| it.environment == name(environment));
        found.expect("the release is for it").word.name()
    };
    [standing.word.name(), of("staging"), of("production")]
}

#[test]
fn the_whole_way() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    assert_eq!(words(&scene, release), ["submitted"; 3]);
    scene.review(release, &["staging"], Verdict::Complete);
    assert_eq!(words(&scene, release), ["submitted", "approved", "submitted"]);
    scene.review(release, &["production"], Verdict::Complete);
    assert_eq!(words(&scene, release), ["complete", "approved", "complete"]);
    scene.vote("bea", release, yes());
    assert_eq!(words(&scene, release), ["assessing", "approved", "assessing"]);
    scene.approve(release);
    assert_eq!(words(&scene, release), ["approved"; 3]);

    let staging = scene.book(release, "staging", &[&STAGE]);
    assert_eq!(words(&scene, release), ["approved", "booked", "approved"]);
    let production = scene.book(release, "production", &[&WEB[..1], &WEB[1..]]);
    assert_eq!(words(&scene, release), ["booked"; 3]);
    scene.arm(staging);
    assert_eq!(words(&scene, release), ["booked", "released", "booked"]);
    scene.wait(minutes(10));
    assert_eq!(words(&scene, release), ["booked", "deploying", "booked"]);
    scene.report("stage-1", staging, Event::Committed);
    assert_eq!(standing(&scene, release).environments[0].detail, "committed on 1 of 2 hosts");
    scene.report("stage-2", staging, Event::Committed);
    assert_eq!(words(&scene, release), ["staged", "verifying", "staged"]);
    scene.arm(production);
    assert_eq!(words(&scene, release), ["deploying", "verifying", "deploying"]);
    for host in WEB {
        scene.report(host, production, Event::Committed);
    }
    scene.wait(minutes(600));
    assert_eq!(words(&scene, release), ["verifying"; 3], "the window's end changes nothing now");
    assert_eq!(standing(&scene, release).detail, "production: committed on 3 hosts");
}

#[test]
fn sent_back_and_denied() {
    let mut scene = Scene::new();
    let items =
        vec![Remark { item: "NOTES.md".to_owned(), remark: "Say what changes.".to_owned() }];
    let release = scene.submit("1.0");
    scene.review(release, &["production"], Verdict::Returned { items });
    assert_eq!(words(&scene, release), ["returned", "submitted", "returned"]);
    assert_eq!(standing(&scene, release).detail, "production: 1 item to mend");

    let release = scene.submit("1.1");
    let reason = "No way back is told.".to_owned();
    scene.review(release, &["staging", "production"], Verdict::Denied { reason });
    assert_eq!(words(&scene, release), ["denied"; 3]);

    let release = scene.submit("1.2");
    scene.approve(release);
    scene.vote("bob", release, no("Not before the holidays."));
    assert_eq!(standing(&scene, release).detail, "production: bob voted to reject");
    // The same said at the same instant would be the same statement.
    scene.wait(minutes(1));
    scene.vote("bob", release, yes());
    assert_eq!(standing(&scene, release).word, Lifecycle::Approved, "the last vote counts");
    scene.assess(release, no("It logs passwords."));
    assert_eq!(standing(&scene, release).word, Lifecycle::Denied);
    let again = scene.submit("1.2");
    assert_eq!(standing(&scene, again).word, Lifecycle::Denied, "the same bytes stay denied");
}

#[test]
fn a_canary_that_goes_back_needs_a_new_review() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    scene.approve(release);
    scene.deploy(release, "staging", &STAGE);
    let booking = scene.book(release, "production", &[&WEB[..1], &WEB[1..]]);
    scene.arm(booking);
    scene.wait(minutes(10));
    scene.report("web-1", booking, returned());
    assert_eq!(words(&scene, release), ["rolled-back", "verifying", "rolled-back"]);
    assert_eq!(
        standing(&scene, release).detail,
        "production: web-1 went back: checking: front-page answered 500"
    );
    scene.wait(minutes(120));
    assert_eq!(
        standing(&scene, release).word,
        Lifecycle::RolledBack,
        "also when the window is over"
    );
    scene.review(release, &["staging", "production"], Verdict::Complete);
    assert_eq!(words(&scene, release), ["expired", "verifying", "expired"]);
    scene.book(release, "production", &[&WEB[..1], &WEB[1..]]);
    assert_eq!(words(&scene, release), ["staged", "verifying", "staged"]);
}

#[test]
fn some_have_it_and_some_went_back() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    scene.approve(release);
    scene.deploy(release, "staging", &STAGE);
    let booking = scene.book(release, "production", &[&WEB[..1], &WEB[1..]]);
    scene.arm(booking);
    scene.wait(minutes(10));
    scene.report("web-1", booking, Event::Committed);
    scene.report("web-2", booking, returned());
    let now = standing(&scene, release);
    assert_eq!(now.word, Lifecycle::Returning);
    assert!(now.detail.ends_with("still on web-1"), "{}", now.detail);
}

/// The word where it went back, and whether the rules ask for a window there.
fn in_staging(scene: &Scene, release: Digest) -> (&'static str, bool) {
    let case = scene.state.case(&release).expect("it was submitted");
    let word = words(scene, release)[1];
    (word, Trial::new(&scene.state, case, &name("staging"), scene.now).is_assumed())
}

#[test]
fn what_went_back_takes_another_window_after_its_review() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    scene.approve(release);
    let before = scene.book(release, "staging", &[&STAGE]);
    scene.wait(minutes(5));
    let booking = scene.book(release, "staging", &[&STAGE]);
    scene.arm(booking);
    scene.wait(minutes(10));
    scene.report("stage-1", booking, returned());
    assert_eq!(in_staging(&scene, release), ("rolled-back", false), "another window is left");
    scene.review(release, &["staging", "production"], Verdict::Complete);
    assert_eq!(in_staging(&scene, release), ("booked", false), "the one that nobody began");
    let reason = "Too soon.".to_owned();
    scene.say("max", Cancel { release, booking: Some(before), reason });
    assert_eq!(in_staging(&scene, release), ("approved", true));
    let detail = standing(&scene, release).environments[0].detail.clone();
    assert_eq!(detail, format!("booking {} is used up, and no other is there", booking.short()));
    scene.deploy(release, "staging", &STAGE);
    assert_eq!(in_staging(&scene, release), ("verifying", false));
}

#[test]
fn a_window_is_used_up_by_a_halt_or_when_all_have_ended() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    scene.approve(release);
    let waves: [&[&str]; 2] = [&["stage-1"], &["stage-2"]];
    let booking = scene.book(release, "staging", &waves);
    scene.arm(booking);
    scene.wait(minutes(10));
    let used_up = |scene: &Scene| {
        let (case, booking) = scene.state.booking(&booking).unwrap();
        is_used_up(&scene.state, case, booking)
    };
    assert!(!used_up(&scene));
    scene.report("stage-1", booking, Event::Committed);
    assert!(!used_up(&scene), "the other has its turn");
    scene.report("stage-2", booking, Event::RolledBack);
    assert!(used_up(&scene), "nobody has a turn any more, and not all have it");
    scene.report("stage-2", booking, Event::Committed);
    assert!(!used_up(&scene), "an operator kept it there");
    scene.report("stage-1", booking, returned());
    assert!(used_up(&scene), "one failure halts it");
}

#[test]
fn an_ordered_return_ends_rolled_back() {
    let mut scene = Scene::new();
    let (old, new) = (scene.submit("1.0"), scene.submit("1.1"));
    for release in [old, new] {
        scene.approve(release);
        scene.deploy(release, "staging", &STAGE);
        scene.deploy(release, "production", &WEB);
    }
    let package = |release: &Digest| scene.state.case(release).unwrap().release.says().package;
    let (from, to) = (package(&new), package(&old));
    let order = scene.roll_back("production", &WEB, from, to);
    scene.report("web-1", order, Event::RolledBack);
    assert_eq!(words(&scene, new), ["returning", "verifying", "returning"]);
    scene.report("web-2", order, Event::RolledBack);
    scene.report("web-3", order, Event::RolledBack);
    assert_eq!(words(&scene, new), ["rolled-back", "verifying", "rolled-back"]);
}

#[test]
fn windows_run_out() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    scene.approve(release);
    let staging = scene.book(release, "staging", &[&STAGE]);
    scene.wait(minutes(70));
    assert_eq!(words(&scene, release), ["approved", "expired", "approved"], "closed at its end");
    let reason = "Missed.".to_owned();
    scene.say("max", Cancel { release, booking: Some(staging), reason });
    assert_eq!(words(&scene, release), ["approved"; 3], "a cancelled booking is none");
}

#[test]
fn whatever_is_said_of_a_complete_release_begins_its_assessment() {
    type Begins = fn(&mut Scene, Digest);
    let cases: [(&str, Begins); 4] = [
        ("a vote", |scene, release| {
            scene.vote("bea", release, yes());
        }),
        ("an assessment", |scene, release| {
            scene.assess(release, yes());
        }),
        ("a question", |scene, release| {
            let asked = Consult::Asked {
                release,
                environments: scene::names(["production"]),
                department: name("networks"),
                question: "Is there room?".to_owned(),
                mandatory: false,
            };
            scene.say("max", asked);
        }),
        ("nothing", |_, _| {}),
    ];
    for (what, begins) in cases {
        let mut scene = Scene::new();
        let mut next = scene.state.policy().unwrap().document().clone();
        next.version = 2;
        let owners = scene::names(["olga"]);
        next.departments = vec![Department { name: name("networks"), owners }];
        scene.say("ruth", next);
        let release = scene.submit("1.0");
        scene.review(release, &["staging", "production"], Verdict::Complete);
        begins(&mut scene, release);
        let expected = if what == "nothing" { "complete" } else { "assessing" };
        assert_eq!(words(&scene, release)[2], expected, "{what}");
    }
}

#[test]
fn side_states() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    scene.approve(release);
    let reason = "Wait.".to_owned();
    let hold = scene.say("max", Hold { release, reason: reason.clone(), finish: false });
    assert_eq!(standing(&scene, release).word, Lifecycle::OnHold);
    scene.say("mia", Resume { hold, reason: reason.clone() });
    assert_eq!(standing(&scene, release).word, Lifecycle::Approved);
    let mut later = Scene::release("1.1", &["staging", "production"]);
    later.supersedes = Some(release);
    let later = scene.say("sam", later);
    assert_eq!(standing(&scene, release).word, Lifecycle::Superseded);
    scene.say("max", Cancel { release: later, booking: None, reason });
    assert_eq!(standing(&scene, later).word, Lifecycle::Cancelled);
}

#[test]
fn emergency_iterations_need_their_own_approval() {
    let mut scene = Scene::new();
    let grounds = scene.open_emergency("INC-1");
    let first = scene.iterate("1.0.1", grounds, 1, None);
    assert_eq!(standing(&scene, first).word, Lifecycle::Submitted);
    scene.approve_iteration(grounds, first, 1);
    assert_eq!(standing(&scene, first).word, Lifecycle::Approved);
    let second = scene.iterate("1.0.2", grounds, 2, Some(first));
    assert_eq!(standing(&scene, second).word, Lifecycle::Submitted, "E1's approval is none for E2");
    assert_eq!(standing(&scene, first).word, Lifecycle::Approved);
    scene.approve_iteration(grounds, second, 2);
    assert_eq!(standing(&scene, second).word, Lifecycle::Approved);
    assert_eq!(standing(&scene, first).word, Lifecycle::Superseded);
}

#[test]
fn the_rules_can_be_asked_before_anything_is_booked() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    let case = scene.state.case(&release).unwrap();
    let trial = Trial::new(&scene.state, case, &name("production"), scene.now);
    assert!(trial.is_assumed());
    let hosts = trial.hosts();
    assert_eq!(hosts.iter().map(|it| it.host.as_str()).collect::<Vec<_>>(), WEB.to_vec());
    let record = scene.state.host_named(&name("web-1")).unwrap();
    let facts = cutover_shared::authorise::HostFacts::from_log(record, &name("shop"));
    let codes: Vec<_> =
        trial.explain(&facts, scene.now).into_iter().map(|(_, it)| it.code).collect();
    assert_eq!(
        codes,
        [
            Code::NotBooked,
            Code::NotReviewed,
            Code::NotAssessed,
            Code::NotApproved,
            Code::NotDelivered,
            Code::EnvironmentNotProven,
        ]
    );
    let before = scene.state.booking(&trial.order()).is_none();
    assert!(before, "nothing was booked by asking");
}

#[test]
fn waiting_for_a_review_is_measured_on_the_side_that_has_to_act() {
    let mut scene = Scene::new();
    let first = scene.submit("1.0");
    let waits = |scene: &Scene, release: Digest| {
        let case = scene.state.case(&release).unwrap();
        let waits = waiting::waits(&scene.state, case);
        waits.iter().map(|it| (it.side, it.length(scene.now).as_secs() / 60)).collect::<Vec<_>>()
    };
    scene.wait(minutes(7));
    assert_eq!(waits(&scene, first), [(Side::Librarian, 7)]);
    scene.review(first, &["staging"], Verdict::Complete);
    scene.wait(minutes(3));
    assert_eq!(waits(&scene, first), [(Side::Librarian, 10)], "production is not reviewed yet");
    let items = vec![Remark { item: "NOTES.md".to_owned(), remark: "Say more.".to_owned() }];
    scene.review(first, &["staging", "production"], Verdict::Returned { items });
    scene.wait(minutes(20));
    assert_eq!(waits(&scene, first), [(Side::Librarian, 10), (Side::Submitter, 20)]);

    let both = ["staging", "production"];
    let again = Release { supersedes: Some(first), ..Scene::release("1.1", &both) };
    let second = scene.say("sam", again);
    scene.wait(minutes(2));
    let expected = [(Side::Librarian, 10), (Side::Submitter, 20), (Side::Librarian, 2)];
    assert_eq!(waits(&scene, second), expected, "the history goes on");
    assert_eq!(waits(&scene, first), expected[..2], "and the first submission's has ended");
    scene.review(second, &both, Verdict::Complete);
    scene.wait(minutes(100));
    assert_eq!(waits(&scene, second), expected, "whoever decides next is no librarian");

    let state = &scene.state;
    let before = waiting::before(state, state.case(&second).unwrap()).unwrap();
    assert_eq!(before.release.id(), first);
    assert!(waiting::before(state, state.case(&first).unwrap()).is_none());
}

#[test]
fn a_hold_that_a_releaser_resumed_for_himself_stands_while_the_window_is_ahead() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    scene.approve(release);
    let hold = Hold { release, reason: "odd".to_owned(), finish: false };
    let hold = scene.say("max", hold);
    scene.say("max", Resume { hold, reason: "mine".to_owned() });
    assert_eq!(words(&scene, release)[0], "approved", "he has no part in a window yet");
    let booking = scene.book(release, "staging", &[&STAGE]);
    let end = scene.state.booking(&booking).unwrap().1.booking.says().window.end;
    for (now, stands) in [(end - std::time::Duration::from_millis(1), true), (end, false)] {
        scene.now = now;
        assert_eq!(standing(&scene, release).word == Lifecycle::OnHold, stands, "at {now}");
    }
}
