//! What runs: started, watched, stopped, started again; and what is handed out as work.

use std::time::Duration;

use cutover_applier_core::{Answer, Input, Level, OperatorAct, OperatorAsk, Output, Running, Work};
use cutover_machine::Phase as MachinePhase;
use cutover_shared::protocol::FromApplier;
use cutover_shared::statement::{Drift, Event, Hold};

use crate::bench::{Bench, millis, seconds, web};

fn exited(bench: &mut Bench, running: Running) {
    bench.tell(Input::Exited { application: web(), running });
}

fn restarted(bench: &mut Bench, running: Running) {
    bench.tell(Input::Restarted { application: web(), result: Ok(Some(running)) });
}

fn restarts(bench: &mut Bench) -> usize {
    bench.take().iter().filter(|it| matches!(it, Output::Restart { .. })).count()
}

/// What is watched now, by what was said of it last.
fn watched(bench: &mut Bench) -> Running {
    let watch =
        |output| if let Output::Watch { running, .. } = output { Some(running) } else { None };
    bench.take().into_iter().filter_map(watch).next_back().unwrap()
}

/// One release is committed and runs.
fn running() -> (Bench, Running) {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let watch = bench.until(|it| matches!(it, Output::Watch { .. }));
    let Output::Watch { running, .. } = watch else { panic!() };
    bench.until_ended();
    bench.log();
    bench.take();
    (bench, running)
}

/// How long until the core wants to be woken to start it again; it is.
fn wait_for_restart(bench: &mut Bench) -> Duration {
    let wait = bench.core.poll_timeout(bench.now()).unwrap();
    bench.wait(wait.saturating_sub(millis(1)));
    assert_eq!(restarts(bench), 0);
    bench.wait(millis(1));
    assert_eq!(restarts(bench), 1);
    wait
}

#[test]
fn what_ends_by_itself_is_started_again_after_a_pause_that_doubles() {
    let (mut bench, mut runs) = running();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        exited(&mut bench, runs);
        pauses.push(wait_for_restart(&mut bench).as_secs());
        runs = bench.process();
        restarted(&mut bench, runs);
        assert_eq!(watched(&mut bench), runs);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
    assert!(bench.noted("the application ended by itself"));

    // Who fell long ago is as good as who never did.
    bench.pass(seconds(64));
    exited(&mut bench, runs);
    assert_eq!(wait_for_restart(&mut bench), seconds(64), "that was not long ago");
    runs = bench.process();
    restarted(&mut bench, runs);
    bench.pass(seconds(64) + millis(1));
    exited(&mut bench, runs);
    assert_eq!(wait_for_restart(&mut bench), seconds(1));
}

#[test]
fn the_end_of_what_is_not_watched_means_nothing() {
    let (mut bench, runs) = running();
    let before = bench.notes.len();
    exited(&mut bench, Running { started_ticks: runs.started_ticks + 1, ..runs });
    bench.wait(seconds(2));
    assert_eq!((restarts(&mut bench), bench.notes.len()), (0, before));
    exited(&mut bench, runs);
    exited(&mut bench, runs);
    bench.wait(seconds(1));
    assert_eq!(restarts(&mut bench), 1, "the second word is none");
}

#[test]
fn what_cannot_be_started_again_is_tried_a_minute_later() {
    let (mut bench, runs) = running();
    exited(&mut bench, runs);
    wait_for_restart(&mut bench);
    let result = Err("the user is gone".to_owned());
    bench.tell(Input::Restarted { application: web(), result });
    assert!(bench.noted("the application cannot be started again"));
    assert_eq!(wait_for_restart(&mut bench), seconds(64));
    bench.tell(Input::Restarted { application: web(), result: Ok(None) });
    bench.wait(seconds(600));
    assert_eq!(restarts(&mut bench), 0);
}

#[test]
fn it_is_started_again_while_another_release_is_only_being_fetched() {
    let (mut bench, runs) = running();
    let next = bench.order("1.1");
    bench.offer(next.booking);
    bench.until_work("assemble");
    bench.take();
    exited(&mut bench, runs);
    bench.wait(seconds(1));
    assert_eq!(restarts(&mut bench), 1, "it serves until it is stopped");
}

#[test]
fn it_is_not_started_again_where_the_machine_sees_to_it() {
    let (mut bench, runs) = running();
    let next = bench.order("1.1");
    bench.offer(next.booking);
    let preflight = bench.until_work("preflight");
    exited(&mut bench, runs);
    bench.answered(preflight, Answer::Done);
    let stop = bench.until_work("stop");
    bench.wait(seconds(1));
    assert_eq!(restarts(&mut bench), 0, "a release is being put in its place");
    bench.answered(stop, Answer::Done);
    bench.until_ended();
    assert_eq!(restarts(&mut bench), 0);
}

#[test]
fn a_stop_waits_until_it_is_known_what_starting_again_came_to() {
    let (mut bench, runs) = running();
    let next = bench.order("1.1");
    bench.offer(next.booking);
    let preflight = bench.until_work("preflight");
    exited(&mut bench, runs);
    bench.wait(seconds(1));
    assert_eq!(restarts(&mut bench), 1);
    bench.answered(preflight, Answer::Done);
    let asked = bench.until_asked();
    bench.clear(asked);
    assert_eq!(bench.core.machine(&web()).unwrap().phase(), MachinePhase::Stopping);
    assert_eq!(bench.works(), Vec::<&str>::new(), "nothing may start behind a stop");
    let late = bench.process();
    restarted(&mut bench, late);
    let outputs = bench.take();
    assert!(!outputs.iter().any(|it| matches!(it, Output::Watch { .. })));
    let stop = outputs.iter().find_map(|it| {
        if let Output::Work { effect, work: Work::Stop, .. } = it { Some(*effect) } else { None }
    });
    bench.answered(stop.unwrap(), Answer::Done);
    exited(&mut bench, late);
    assert_eq!(bench.until_ended().event, Event::Committed);
}

#[test]
fn a_stop_that_waits_is_given_up_at_once() {
    let (mut bench, runs) = running();
    let next = bench.order("1.1");
    bench.offer(next.booking);
    let preflight = bench.until_work("preflight");
    exited(&mut bench, runs);
    bench.wait(seconds(1));
    bench.answered(preflight, Answer::Done);
    bench.take();
    bench.tell(Input::Connected(true));
    let asked = bench.until_asked();
    bench.clear(asked);
    bench.take();
    let says = Hold { release: next.release, reason: "wait".to_owned(), finish: false };
    bench.world.say(&["sec"], says).unwrap();
    bench.stop(next.booking);
    let outputs = bench.take();
    assert!(!outputs.iter().any(|it| matches!(it, Output::Abort { .. })), "{outputs:?}");
    assert_eq!(bench.core.machine(&web()).unwrap().phase(), MachinePhase::Returning);
    let process = bench.process();
    restarted(&mut bench, process);
    let outcome = bench.until_ended();
    assert_eq!((outcome.event.name(), outcome.running.is_some()), ("returned", true));
}

#[test]
fn who_runs_already_is_not_started_a_second_time() {
    let (mut bench, runs) = running();
    let ask = || OperatorAsk {
        application: web(),
        act: OperatorAct::Return { skip_undo: false, even_irreversible: false },
        reason: "it is down".to_owned(),
    };
    exited(&mut bench, runs);
    bench.tell(Input::Asked { number: "1".to_owned(), ask: ask() });
    let settle = bench.until_work("settle");
    let settled = bench.process();
    bench.answered(settle, Answer::Started(settled));
    assert_eq!(watched(&mut bench), settled);
    bench.wait(seconds(1));
    assert_eq!(restarts(&mut bench), 0);

    exited(&mut bench, settled);
    bench.wait(seconds(2));
    assert_eq!(restarts(&mut bench), 1);
    bench.tell(Input::Asked { number: "2".to_owned(), ask: ask() });
    let settle = bench.until_work("settle");
    let settled = bench.process();
    bench.answered(settle, Answer::Started(settled));
    bench.take();
    let other = bench.process();
    restarted(&mut bench, other);
    assert_eq!(bench.take().len(), 0, "the one that was seen to is watched");
    let before = bench.notes.len();
    exited(&mut bench, other);
    assert_eq!(bench.notes.len(), before);
}

/// The comparison that is wanted, by its number.
fn sweep(bench: &mut Bench) -> Option<u64> {
    let number = |it| if let Output::Sweep { number, .. } = it { Some(number) } else { None };
    bench.take().into_iter().filter_map(number).next_back()
}

#[test]
fn what_is_deployed_is_watched_over_until_an_order_touches_it() {
    let mut bench = Bench::new();
    let one = bench.order("1.0");
    bench.offer(one.booking);
    bench.until_ended();
    let first = sweep(&mut bench).unwrap();
    let swept = |bench: &mut Bench, number, drifts: Vec<Drift>| {
        bench.tell(Input::Swept { application: web(), number, result: Ok(drifts) });
    };
    swept(&mut bench, first, Vec::new());
    bench.log();
    let two = bench.order("1.1");
    bench.offer(two.booking);
    let fetch = bench.until_work("assemble");
    bench.tell(Input::Changed { application: web() });
    bench.wait(millis(500));
    let number = sweep(&mut bench).expect("nothing was touched");
    bench.answered(fetch, Answer::Done);
    let stop = bench.until_work("stop");
    let found = Drift { path: "payload/program".to_owned(), expected: None, found: None };
    swept(&mut bench, number, vec![found.clone()]);
    assert_eq!(bench.outcomes(), [], "that was before it was stopped");
    bench.tell(Input::Changed { application: web() });
    bench.wait(seconds(1));
    assert_eq!(sweep(&mut bench), None, "the order changes it");
    bench.failed(stop, "it does not end");
    let again = bench.until_work("stop");
    let repaired = Answer::Repaired(Box::new(found), None);
    bench.answered(again, repaired);
    assert_eq!(bench.outcomes(), [], "on its way back nothing is as deployed");
    bench.until_ended();
    assert!(sweep(&mut bench).is_some(), "what it went back to is watched over again");
}

#[test]
fn an_inhibitor_that_comes_later_holds_it_in_preflight() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let fetch = bench.until_work("assemble");
    bench.inhibitors = vec!["a backup runs".to_owned(), "another".to_owned()];
    bench.look();
    bench.answered(fetch, Answer::Done);
    assert_eq!(bench.works(), Vec::<&str>::new());
    let blocked = bench.notes.iter().find(|note| note.text == "blocked").unwrap();
    assert_eq!((blocked.detail.as_str(), blocked.level), ("inhibited: a backup runs", Level::Info));
    assert_eq!(bench.report().step, "preflight");
    bench.wait(seconds(10));
    assert_eq!(bench.works(), Vec::<&str>::new());
    bench.inhibitors.clear();
    bench.look();
    bench.wait(seconds(10));
    assert_eq!(bench.works(), ["preflight"]);
}

#[test]
fn a_fetch_names_every_whole_slot_and_its_bytes_are_given_up_with_it() {
    let mut bench = Bench::new();
    let (one, two) = (bench.deploy("1.0"), bench.deploy("1.1"));
    let three = bench.order("1.2");
    bench.offer(three.booking);
    let fetch = bench.until(|it| matches!(it, Output::Work { work: Work::Fetch { .. }, .. }));
    let Output::Work { effect, work: Work::Fetch { slot, package, sources }, .. } = fetch else {
        panic!()
    };
    assert_eq!((slot.generation, slot.package), (3, three.package));
    assert_eq!(package.index().digest(), three.package);
    assert_eq!(package.manifest().version, "1.2");
    let sources: Vec<_> = sources.iter().map(|it| it.package).collect();
    assert_eq!(sources, [two.package, one.package]);
    let given_up = |bench: &mut Bench| {
        bench.said().iter().any(
            |it| matches!(it, FromApplier::StopFetching { package } if *package == three.package),
        )
    };
    bench.take();
    bench.answered(effect, Answer::Done);
    assert!(given_up(&mut bench), "all of it is in the slot");

    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let fetch = bench.until_work("assemble");
    let says = Hold { release: way.release, reason: "wait".to_owned(), finish: false };
    bench.world.say(&["sec"], says).unwrap();
    bench.take();
    bench.stop(way.booking);
    let outputs = bench.take();
    assert!(
        matches!(outputs[0], Output::Say(FromApplier::StopFetching { package }) if package == way.package)
    );
    let Output::Abort { effect, of, .. } = outputs[1] else { panic!("{outputs:?}") };
    assert_eq!(of, fetch);
    bench.answered(effect, Answer::Done);
    assert_eq!(bench.works(), ["clean up"]);
}

#[test]
fn what_fails_what_is_unhealthy_and_what_comes_late_is_noted() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let check = bench.until_work("check");
    assert!(!bench.noted("unhealthy"));
    let sample = bench.sample(false);
    bench.answered(check, Answer::Sample(sample));
    assert!(bench.noted("unhealthy"));
    let sample = bench.sample(true);
    bench.answered(check, Answer::Sample(sample));
    assert!(bench.noted("an answer is not wanted any longer"));
    assert!(!bench.noted("failed"));
    bench.until_ended();

    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let switch = bench.until_work("switch");
    bench.failed(switch, "read-only");
    let failed = bench.notes.iter().find(|note| note.text == "failed").unwrap();
    assert_eq!(
        (failed.level, failed.detail.as_str()),
        (Level::Warn, format!("{switch}: read-only").as_str())
    );
    assert_eq!(failed.application, Some(web()));
    bench.until_ended();
    let ended = bench.notes.iter().find(|note| note.text == "ended").unwrap();
    assert_eq!((ended.level, ended.about), (Level::Info, Some(way.booking)));
}

#[test]
fn without_a_network_half_nothing_is_said_and_with_one_everything_again() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    bench.until_work("stop");
    bench.take();
    let said = bench.reports.len();
    bench.tell(Input::Timeout);
    assert_eq!(bench.reports.len(), said, "a report is said when it changes");
    bench.tell(Input::Unlinked);
    bench.tell(Input::Connected(true));
    let statuses = bench.statuses.len();
    bench.wait(seconds(1000));
    loop {
        bench.see_to_all();
        if !bench.core.saved().reports.is_empty() {
            break;
        }
        let wait = bench.core.poll_timeout(bench.now()).unwrap();
        bench.wait(wait);
    }
    assert_eq!((bench.said().len(), bench.reports.len()), (0, said));
    assert!(bench.statuses.len() > statuses, "who looks at the host sees it all the same");
    bench.connect();
    let said = bench.said();
    assert!(matches!(&said[0], FromApplier::Welcome { known, .. } if *known == bench.known()));
    let (id, envelope) = bench.core.saved().reports[0].clone();
    assert!(
        matches!(&said[1], FromApplier::Append { id: of, envelope: it, known } if *of == id && *it == envelope && *known == bench.known())
    );
    assert_eq!(bench.report().step, "returned");
}
