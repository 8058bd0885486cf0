//! The tasks of a release, from its submission to its end.

use std::collections::BTreeSet;

use cutover_coordinator_core::outbox::{self, TicketPhase, TicketTask, ticket};
use cutover_coordinator_core::tasks::{Task, TaskState, role, tasks};
use cutover_shared::digest::Digest;
use cutover_shared::policy::Role;
use cutover_shared::statement::{
    Cancel, Closure, ClosureResult, Delivery, Event, Hold, PostReview, Resume, TaskChange,
    TaskKind, Verdict, Vote,
};

use crate::scene::{SHOP, Scene, minutes, name, names, returned, yes};

const STAGE: [&str; 2] = ["stage-1", "stage-2"];

fn of(scene: &Scene, release: Digest) -> Vec<Task> {
    tasks(&scene.state, scene.state.case(&release).unwrap(), scene.now)
}

/// How far the tasks that every release has are: stage, deploy, verify, review.
fn common(scene: &Scene, release: Digest) -> [&'static str; 4] {
    let all = of(scene, release);
    let kinds: Vec<_> = all.iter().take(4).map(|it| it.kind).collect();
    assert_eq!(kinds, TaskKind::COMMON);
    [0, 1, 2, 3].map(|at| all[at].state.name())
}

/// A release for staging alone.
fn submitted(scene: &mut Scene, version: &str) -> Digest {
    scene.say("sam", Scene::release(version, &["staging"]))
}

fn done(scene: &mut Scene, by: &str, release: Digest, kind: TaskKind) {
    let change = TaskChange::Done { note: String::new() };
    scene.say(by, cutover_shared::statement::Task { release, kind, change });
}

#[test]
fn tasks_open_one_after_the_other_and_are_done() {
    let mut scene = Scene::new();
    let release = submitted(&mut scene, "1.0");
    assert_eq!(common(&scene, release), ["pending"; 4]);
    let titles: BTreeSet<_> = of(&scene, release).into_iter().map(|it| it.title).collect();
    assert_eq!(titles.len(), 4, "{titles:?}");
    assert!(titles.iter().all(|it| it.len() > 20), "each says what is to be done: {titles:?}");
    scene.review(release, &["staging"], Verdict::Complete);
    assert_eq!(common(&scene, release), ["open", "pending", "pending", "pending"]);
    assert!(of(&scene, release).iter().all(|it| it.due.is_none() && it.assignee.is_none()));

    let booking = scene.book(release, "staging", &[&STAGE]);
    let window = scene.state.booking(&booking).unwrap().1.booking.says().window;
    let due: Vec<_> = of(&scene, release).into_iter().map(|it| it.due).collect();
    assert_eq!(due, [Some(window.start), Some(window.end), None, None]);
    let package = Digest::of(b"1.0");
    scene.say("lia", Delivery { release, package, location: "the shelf".to_owned() });
    let delivered = scene.now;
    let staged = TaskState::Done { by: Some(name("lia")), at: delivered };
    assert_eq!(of(&scene, release)[0].state, staged);
    assert_eq!(common(&scene, release)[1..], ["pending"; 3]);
    scene.arm(booking);
    assert_eq!(common(&scene, release), ["done", "open", "pending", "pending"]);
    scene.wait(minutes(10));
    assert_eq!(common(&scene, release), ["done", "in-progress", "pending", "pending"]);
    scene.report("stage-1", booking, Event::Committed);
    scene.wait(minutes(1));
    scene.report("stage-2", booking, Event::Committed);
    assert_eq!(common(&scene, release), ["done", "done", "open", "open"]);
    assert_eq!(of(&scene, release)[1].state, TaskState::Done { by: None, at: scene.now });

    let task = |change| cutover_shared::statement::Task { release, kind: TaskKind::Verify, change };
    scene.say("max", task(TaskChange::Assigned { to: name("sam") }));
    assert_eq!(of(&scene, release)[2].assignee, Some(name("sam")));
    assert_eq!(of(&scene, release)[3].assignee, None);
    done(&mut scene, "sam", release, TaskKind::Verify);
    assert_eq!(common(&scene, release), ["done", "done", "done", "open"]);
    scene.wait(minutes(120));
    let result = ClosureResult::Successful;
    scene.say("max", Closure::Release { release, result, review: None });
    assert_eq!(common(&scene, release), ["done"; 4]);
    let closed = TaskState::Done { by: Some(name("max")), at: scene.now };
    assert_eq!(of(&scene, release)[3].state, closed);
}

#[test]
fn what_went_back_is_looked_back_on_and_what_was_given_up_is_not_to_be_done() {
    let mut scene = Scene::new();
    let release = submitted(&mut scene, "1.0");
    scene.review(release, &["staging"], Verdict::Complete);
    let booking = scene.book(release, "staging", &[&STAGE[..1]]);
    scene.arm(booking);
    scene.wait(minutes(10));
    scene.report("stage-1", booking, returned());
    assert_eq!(common(&scene, release), ["pending", "pending", "pending", "open"]);

    let other = submitted(&mut scene, "1.1");
    scene.review(other, &["staging"], Verdict::Complete);
    let location = "the shelf".to_owned();
    scene.say("lia", Delivery { release: other, package: Digest::of(b"1.1"), location });
    let reason = "Not wanted.".to_owned();
    scene.say("max", Cancel { release: other, booking: None, reason });
    assert_eq!(common(&scene, other), ["done", "cancelled", "cancelled", "cancelled"]);
}

#[test]
fn the_boards_conditions_are_tasks_for_as_long_as_somebodys_last_vote_sets_them() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    let vote = |conditions: &[&str]| Vote {
        release,
        environments: names(["production"]),
        judgement: yes(),
        conditions: conditions.iter().map(|it| (*it).to_owned()).collect(),
    };
    scene.review(release, &["staging", "production"], Verdict::Complete);
    let first = scene.say("bea", vote(&["Call the desk.", "Wait for Ohio."]));
    scene.say("bob", vote(&["Read the notes."]));
    let conditions = |scene: &Scene| -> Vec<(String, &'static str)> {
        let all = of(scene, release);
        all[4..].iter().map(|it| (it.title.clone(), it.state.name())).collect()
    };
    let title = |text: &str| format!("Condition of the board: {text}");
    let expected = |second: &'static str| {
        vec![
            (title("Call the desk."), "open"),
            (title("Wait for Ohio."), second),
            (title("Read the notes."), "open"),
        ]
    };
    assert_eq!(conditions(&scene), expected("open"));
    assert_eq!(of(&scene, release)[5].kind, TaskKind::Condition { vote: first, number: 2 });
    done(&mut scene, "lia", release, TaskKind::Condition { vote: first, number: 2 });
    assert_eq!(conditions(&scene), expected("done"));
    scene.wait(minutes(1));
    scene.say("bea", vote(&["Call me."]));
    let now = vec![(title("Read the notes."), "open"), (title("Call me."), "open")];
    assert_eq!(conditions(&scene), now);
}

#[test]
fn a_task_that_was_given_to_nobody_is_a_roles() {
    let condition = TaskKind::Condition { vote: Digest::of(SHOP.as_bytes()), number: 1 };
    let roles = [TaskKind::Stage, TaskKind::Deploy, TaskKind::Verify, TaskKind::Review, condition];
    let expected =
        [Role::Librarian, Role::Operator, Role::Submitter, Role::ChangeManager, Role::Board];
    assert_eq!(roles.map(role), expected);
}

#[test]
fn a_ticket_follows_its_release() {
    let mut scene = Scene::new();
    let release = submitted(&mut scene, "1.0");
    let ticket = |scene: &Scene| ticket(&scene.state, &release, scene.now).unwrap();
    let now = ticket(&scene);
    assert_eq!((now.number.as_str(), now.correlation), ("R-1", release.to_string()));
    assert_eq!(
        (now.phase, now.went_well, &now.held, now.window),
        (TicketPhase::New, None, &None, None)
    );
    assert_eq!(now.title, "R-1 shop 1.0: Shop 1.0.");
    let names: Vec<_> = now.tasks.iter().map(|it| it.correlation.clone()).collect();
    let expected = ["stage", "deploy", "verify", "review"].map(|kind| format!("{release}/{kind}"));
    assert_eq!(names, expected);
    scene.review(release, &["staging"], Verdict::Complete);
    let first = scene.book(release, "staging", &[&STAGE]);
    scene.wait(minutes(1));
    let second = scene.book(release, "staging", &[&STAGE]);
    let window = |scene: &Scene, booking| {
        let says = scene.state.booking(&booking).unwrap().1.booking.says();
        Some((says.window.start, says.window.end))
    };
    assert_eq!(ticket(&scene).window, window(&scene, second));
    let reason = || "Wait.".to_owned();
    scene.say("max", Cancel { release, booking: Some(second), reason: reason() });
    let now = ticket(&scene);
    assert_eq!((now.window, now.phase), (window(&scene, first), TicketPhase::Scheduled));
    let hold = scene.say("sergei", Hold { release, reason: reason(), finish: false });
    let now = ticket(&scene);
    assert_eq!((now.held, now.phase), (Some(reason()), TicketPhase::Scheduled));
    scene.say("sergei", Resume { hold, reason: reason() });
    assert_eq!(ticket(&scene).held, None);
    scene.arm(first);
    scene.wait(minutes(10));
    assert_eq!(ticket(&scene).phase, TicketPhase::Implement);
    for host in STAGE {
        scene.report(host, first, Event::Committed);
    }
    let now = ticket(&scene);
    assert_eq!((now.phase, now.went_well), (TicketPhase::Review, Some(true)));
    assert!(now.note.starts_with("verifying: "), "{}", now.note);
    let over: Vec<_> = now.tasks.iter().map(TicketTask::is_over).collect();
    assert_eq!(over, [false, true, false, false]);
    assert!(outbox::ticket(&scene.state, &first, scene.now).is_none(), "that is no release");
}

#[test]
fn a_ticket_says_how_it_ended() {
    for (result, well) in
        [(ClosureResult::Successful, true), (ClosureResult::SuccessfulWithIssues, true)]
    {
        let mut scene = Scene::new();
        let release = submitted(&mut scene, "1.0");
        scene.review(release, &["staging"], Verdict::Complete);
        let booking = scene.deploy(release, "staging", &STAGE);
        scene.wait(minutes(120));
        let review = Some(PostReview {
            findings: "It took long.".to_owned(),
            actions: Vec::new(),
            reference: None,
        });
        scene.say("max", Closure::Release { release, result, review });
        let ticket = ticket(&scene.state, &release, scene.now).unwrap();
        assert_eq!((ticket.phase, ticket.went_well), (TicketPhase::Closed, Some(well)), "{result}");
        assert!(scene.state.booking(&booking).is_some());
    }
    let mut scene = Scene::new();
    let release = submitted(&mut scene, "1.0");
    let result = ClosureResult::NotImplemented;
    scene.say("max", Closure::Release { release, result, review: None });
    let ended = |scene: &Scene, release| {
        let ticket = ticket(&scene.state, &release, scene.now).unwrap();
        (ticket.phase, ticket.went_well)
    };
    assert_eq!(ended(&scene, release), (TicketPhase::Closed, Some(false)));
    let release = submitted(&mut scene, "1.1");
    scene.say("max", Cancel { release, booking: None, reason: "No.".to_owned() });
    assert_eq!(ended(&scene, release), (TicketPhase::Cancelled, Some(false)));
    let release = submitted(&mut scene, "1.2");
    scene.review(release, &["staging"], Verdict::Complete);
    let booking = scene.book(release, "staging", &[&STAGE[..1]]);
    scene.arm(booking);
    scene.wait(minutes(10));
    scene.report("stage-1", booking, returned());
    assert_eq!(ended(&scene, release), (TicketPhase::Review, Some(false)));
}
