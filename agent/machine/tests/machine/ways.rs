//! The ways that a deployment can go, one scenario each.

use std::time::Duration;

use crate::world::*;
use cutover_machine::*;
use cutover_shared::digest::Digest;

fn is_check(issued: &Issued) -> bool {
    matches!(issued.effect, Effect::Check { .. })
}

#[test]
fn a_first_installation_with_every_hook() {
    let mut machine = Machine::new("shop");
    let mut world = World::default();
    let mut assignment = order(1);
    assignment.hooks = all_hooks();
    machine.handle_order(assignment, at(0)).unwrap();
    run(&mut machine, &mut world, at(0));
    let log: Vec<&str> =
        world.log.iter().map(String::as_str).filter(|line| !line.starts_with("persist")).collect();
    let expected = [
        "clear Start",
        "assemble",
        "preflight",
        "clear Activate",
        "Forward PreStop",
        "stop",
        "Forward Stop",
        "switch to 1",
        "Forward Activate",
        "Forward Start",
        "start 1",
        "Forward PostStart",
    ];
    assert_eq!(log[..expected.len()], expected);
    assert!(log[expected.len()..].iter().all(|line| *line == "check"));
    assert_eq!(machine.phase(), Phase::Committed);
    let [outcome] = &world.outcomes[..] else { panic!("one outcome: {:?}", world.outcomes) };
    assert_eq!(outcome.what, What::Committed);
    assert_eq!(outcome.cause, None);
    // Two in a row, then baked for ten seconds, looked at each second.
    assert_eq!((outcome.health.taken, outcome.health.failed), (12, 0));
    assert_eq!(outcome.health.samples.len(), SAMPLES_KEPT);
    assert_eq!(outcome.clearances.len(), 2);
    assert_eq!(
        machine.handle_order(order(1), at(60)),
        Err(Rejection::GenerationPassed { latest: 1 })
    );
    let mut again = order(1);
    again.generation = 2;
    assert_eq!(machine.handle_order(again, at(60)), Err(Rejection::AlreadyCommitted));
}

#[test]
fn a_release_that_is_never_healthy_goes_back_with_its_hooks_undone_in_reverse() {
    let (mut machine, mut world, now) = committed_once();
    let earlier = machine.record().committed;
    let mut assignment = order(2);
    assignment.hooks = all_hooks();
    machine.handle_order(assignment, now).unwrap();
    let (mut now, _) = run_until(&mut machine, &mut world, now, is_check);
    world.log.clear();
    // The check that was handed out is never answered, nor is any other until the deadline.
    while machine.phase() == Phase::Checking {
        let timeout = machine.poll_timeout(now).unwrap();
        now.wall = now.wall + timeout.after;
        now.monotonic += timeout.after;
        machine.handle_timeout(now);
        if machine.phase() == Phase::Checking {
            let _unanswered = machine.poll_effect();
        }
    }
    run(&mut machine, &mut world, now);
    let log: Vec<&str> = world
        .log
        .iter()
        .map(String::as_str)
        .filter(|line| !line.starts_with("persist") && *line != "check")
        .collect();
    assert_eq!(
        log,
        [
            "abort",
            "Undo PostStart",
            "stop",
            "Undo Start",
            "Undo Activate",
            "switch to 1",
            "Undo Stop",
            "start 1",
            "Undo PreStop",
            "clean up",
        ]
    );
    let outcome = world.outcomes.last().unwrap();
    assert_eq!(outcome.what, What::Returned { to: earlier });
    assert_eq!(outcome.cause, Some(Cause::NeverHealthy));
    assert!(outcome.health.failed > 0);
    assert_eq!(outcome.health_after.failed, 0);
    assert_eq!(world.link, earlier);
    assert!(world.running);
    assert!(world.hooks.is_empty());
}

#[test]
fn health_that_is_lost_while_baking_is_forgiven_up_to_the_tolerance() {
    for (lost, ends) in [(1, Phase::Committed), (2, Phase::Returned)] {
        let (mut machine, mut world, now) = committed_once();
        machine.handle_order(order(2), now).unwrap();
        let mut failures = 0;
        let mut now = now;
        loop {
            let (later, check) = run_until(&mut machine, &mut world, now, is_check);
            now = later;
            let Some(id) = check else { break };
            let fails = machine.phase() == Phase::Baking && failures < lost;
            failures += u32::from(fails);
            machine.handle_sample(id, sample(!fails, now), now).unwrap();
        }
        assert_eq!(machine.phase(), ends);
        let outcome = world.outcomes.last().unwrap();
        assert_eq!(outcome.health.failed, lost);
        let expected = (ends == Phase::Returned).then_some(Cause::HealthLost);
        assert_eq!(outcome.cause, expected);
    }
}

#[test]
fn what_fails_within_the_start_grace_is_no_evidence() {
    let (mut machine, mut world, now) = committed_once();
    machine.handle_order(order(2), now).unwrap();
    let mut now = now;
    // Two rounds within the two seconds after the start, and one behind them.
    for _ in 0..3 {
        let (later, check) = run_until(&mut machine, &mut world, now, is_check);
        now = later;
        machine.handle_sample(check.unwrap(), sample(false, now), now).unwrap();
    }
    run(&mut machine, &mut world, now);
    assert_eq!(machine.phase(), Phase::Committed);
    assert_eq!(world.outcomes.last().unwrap().health.failed, 1);
}

#[test]
fn what_runs_is_not_stopped_when_the_next_could_not_bake_in_time() {
    let asks = |issued: &Issued| {
        let phase = ClearancePhase::Activate;
        issued.effect == Effect::RequestClearance { phase }
    };
    let last_commit = WINDOW - RESERVE;
    for (before, ends) in [(10, Phase::Returned), (11, Phase::Committed)] {
        let (mut machine, mut world, now) = committed_once();
        let mut assignment = order(2);
        assignment.health.successes = 1;
        machine.handle_order(assignment, now).unwrap();
        let (_, asked) = run_until(&mut machine, &mut world, now, asks);
        world.log.clear();
        let now = at(last_commit.as_secs() - before);
        let clearance = Decision::Granted(Digest::of(b"clearance"));
        machine.handle_clearance(asked.unwrap(), clearance, now).unwrap();
        run(&mut machine, &mut world, now);
        assert_eq!(machine.phase(), ends, "{before} s before");
        let stopped = world.log.iter().any(|line| line == "stop");
        assert_eq!(stopped, ends == Phase::Committed, "{before} s before");
        let no_room = world.outcomes.last().unwrap().cause == Some(Cause::NoRoom);
        assert_eq!(no_room, ends == Phase::Returned);
    }
}

#[test]
fn what_is_on_its_way_at_a_restart_is_not_put_right_beside_it() {
    let (mut machine, mut world, now) = committed_once();
    machine.handle_order(order(2), now).unwrap();
    let (now, _) = run_until(&mut machine, &mut world, now, is_check);
    // In mid-check the way is back, from the top: nothing is started before what was begun is taken back.
    let restored = Machine::recover(world.ledger.clone().unwrap(), now);
    assert!(restored.is_settled());
    // At rest the host is seen to be as the record says first.
    let (machine, _, now) = committed_once();
    let restored = Machine::recover(machine.record().clone(), now);
    assert!(!restored.is_settled());
}

#[test]
fn holds_before_and_after_activation() {
    let is_fetch = |issued: &Issued| matches!(issued.effect, Effect::Assemble { .. });
    let hold = |active| Hold { why: "board".to_owned(), active };
    // Before: both kinds stop it, the running release is not touched.
    for active in [Withstands::Finish, Withstands::Return] {
        let (mut machine, mut world, now) = committed_once();
        machine.handle_order(order(2), now).unwrap();
        let (now, _) = run_until(&mut machine, &mut world, now, is_fetch);
        world.log.clear();
        let answer = machine.handle_hold(hold(active), now).unwrap();
        assert_eq!(answer, HoldAnswer::Returning);
        run(&mut machine, &mut world, now);
        assert!(!world.log.iter().any(|line| line == "stop"), "{:?}", world.log);
        assert_eq!(world.outcomes.last().unwrap().what, What::Abandoned);
    }
    // After.
    for (active, ends) in
        [(Withstands::Finish, Phase::Committed), (Withstands::Return, Phase::Returned)]
    {
        let (mut machine, mut world, now) = committed_once();
        machine.handle_order(order(2), now).unwrap();
        let (now, _) = run_until(&mut machine, &mut world, now, is_check);
        machine.handle_hold(hold(active), now).unwrap();
        run(&mut machine, &mut world, now);
        assert_eq!(machine.phase(), ends);
    }
}

#[test]
fn the_window_bounds_the_beginning_and_the_commit() {
    let mut machine = Machine::new("shop");
    let before = Now { wall: start() - Duration::from_millis(1), ..at(0) };
    assert_eq!(machine.handle_order(order(1), before), Err(Rejection::WindowNotOpen(start())));
    let last = WINDOW - BUDGET - RESERVE;
    assert_eq!(
        machine.handle_order(order(1), at(last.as_secs() + 1)),
        Err(Rejection::WindowTooShort(start() + WINDOW))
    );
    assert_eq!(
        machine.handle_order(order(1), at(WINDOW.as_secs())),
        Err(Rejection::WindowClosed(start() + WINDOW))
    );
    let mut world = World::default();
    machine.handle_order(order(1), at(last.as_secs())).expect("what just fits begins");
    let (now, _) = run_until(&mut machine, &mut world, at(last.as_secs()), is_check);
    // Nothing answers until the edge. It is the same instant on either clock alone.
    let edge = at((WINDOW - RESERVE).as_secs());
    for now in [Now { wall: edge.wall, ..now }, Now { monotonic: edge.monotonic, ..now }] {
        let mut machine = machine.clone();
        machine.handle_timeout(now);
        assert_eq!(machine.phase(), Phase::Returning);
        run(&mut machine, &mut world, now);
        assert_eq!(world.link, None, "a first installation returns to absent");
    }
}

#[test]
fn a_wall_clock_that_is_set_meanwhile_moves_no_end_into_the_past() {
    let hour = Duration::from_hours(1);
    for ahead in [false, true] {
        let mut machine = Machine::new("shop");
        let mut world = World::default();
        let mut order = order(1);
        order.window_end = start() + 3 * hour;
        machine.handle_order(order, at(0)).unwrap();
        let (mut now, check) = run_until(&mut machine, &mut world, at(0), is_check);
        let check = check.unwrap();
        now.monotonic += Duration::from_secs(1);
        now.wall = if ahead { now.wall + hour } else { now.wall - hour };
        machine.handle_sample(check, sample(true, now), now).unwrap();
        let end = run(&mut machine, &mut world, now);
        let [outcome] = &world.outcomes[..] else { panic!("{:?}", world.outcomes) };
        assert_eq!(outcome.what, What::Committed);
        let took = end.monotonic - at(0).monotonic;
        let told = if ahead { end.wall } else { start() + took };
        assert_eq!((outcome.began, outcome.ended), (start(), told), "ahead: {ahead}");
    }
}

#[test]
fn an_irreversible_release_is_stuck_where_another_goes_back() {
    let (mut machine, mut world, now) = committed_once();
    let mut assignment = order(2);
    assignment.reversibility = Reversibility::Irreversible;
    machine.handle_order(assignment, now).unwrap();
    let (now, _) = run_until(&mut machine, &mut world, now, is_check);
    machine.handle_exited("exit status 1", now).unwrap();
    let now = run(&mut machine, &mut world, now);
    assert_eq!(machine.phase(), Phase::Stuck);
    let outcome = world.outcomes.last().unwrap();
    assert_eq!(outcome.what, What::Stuck { at: None });
    assert_eq!(machine.handle_order(order(3), now), Err(Rejection::Stuck));
    let back = Resolution::Earlier { undo: Undo::Run, even_irreversible: false };
    assert_eq!(machine.handle_resolved(back, "?", now), Err(Rejection::Irreversible));
    let stuck = machine.clone();
    machine.handle_resolved(Resolution::Newer, "migrated by hand", now).unwrap();
    run(&mut machine, &mut world, now);
    assert_eq!(machine.record().committed.unwrap().generation, 2);
    assert_eq!(machine.phase(), Phase::Committed);
    assert_eq!((world.link.unwrap().generation, world.running), (2, true));
    let outcome = world.outcomes.last().unwrap();
    let by_hand = Cause::Operator { why: "migrated by hand".to_owned() };
    assert_eq!((&outcome.what, &outcome.cause), (&What::Committed, &Some(by_hand)));
    // Or the operator has restored the data, and the host goes back.
    let mut machine = stuck;
    let back = Resolution::Earlier { undo: Undo::Run, even_irreversible: true };
    machine.handle_resolved(back, "restored", now).unwrap();
    run(&mut machine, &mut world, now);
    assert_eq!(machine.phase(), Phase::Returned);
    assert_eq!((world.link.unwrap().generation, world.running), (1, true));
}

#[test]
fn going_back_is_tried_again_and_then_calls_the_operator() {
    let (mut machine, mut world, now) = committed_once();
    machine.handle_order(order(2), now).unwrap();
    let (mut now, _) = run_until(&mut machine, &mut world, now, is_check);
    machine.handle_exited("signal 11", now).unwrap();
    let mut failures = 0;
    while machine.phase() == Phase::Returning {
        match machine.poll_effect() {
            Some(issued) if matches!(issued.effect, Effect::Switch { .. }) => {
                failures += 1;
                machine.handle_failed(issued.id, "read-only file system", now).unwrap();
            }
            Some(issued) => {
                world.carry_out(&issued.effect);
                answer_well(&mut machine, &issued, now);
            }
            None => {
                let timeout = machine.poll_timeout(now).unwrap();
                assert_eq!(timeout.reason, Wake::ReturnAgain);
                now.monotonic += timeout.after;
                machine.handle_timeout(now);
            }
        }
    }
    assert_eq!(failures, RETURN_ATTEMPTS);
    run(&mut machine, &mut world, now);
    let stuck = What::Stuck { at: Some((ReturnStep::Switch, "read-only file system".to_owned())) };
    assert_eq!(world.outcomes.last().unwrap().what, stuck);
    // The file system is writable again: an operator sends the host the whole way back once more.
    let back = Resolution::Earlier { undo: Undo::Run, even_irreversible: false };
    machine.handle_resolved(back, "mounted again", now).unwrap();
    run(&mut machine, &mut world, now);
    assert_eq!(machine.phase(), Phase::Returned);
    let outcome = world.outcomes.last().unwrap();
    assert_eq!(outcome.what, What::Returned { to: machine.record().committed });
    assert_eq!(outcome.cause, Some(Cause::Operator { why: "mounted again".to_owned() }));
    assert_eq!((world.link, world.running), (machine.record().committed, true));
}

#[test]
fn an_undo_that_cannot_work_is_left_out_on_an_operators_way_back() {
    let (mut machine, mut world, now) = committed_once();
    let mut assignment = order(2);
    assignment.hooks = all_hooks();
    machine.handle_order(assignment, now).unwrap();
    let (mut now, _) = run_until(&mut machine, &mut world, now, is_check);
    machine.handle_exited("signal 11", now).unwrap();
    let mut undos = 0;
    while machine.phase() != Phase::Stuck {
        match machine.poll_effect() {
            Some(issued) if matches!(issued.effect, Effect::Hook { .. }) => {
                undos += 1;
                machine.handle_failed(issued.id, "exit status 1", now).unwrap();
            }
            Some(issued) => {
                world.carry_out(&issued.effect);
                answer_well(&mut machine, &issued, now);
            }
            None => {
                now.monotonic += machine.poll_timeout(now).unwrap().after;
                machine.handle_timeout(now);
            }
        }
    }
    assert_eq!(undos, RETURN_ATTEMPTS);
    run(&mut machine, &mut world, now);
    world.log.clear();
    let back = Resolution::Earlier { undo: Undo::Skip, even_irreversible: false };
    machine.handle_resolved(back, "undone by hand", now).unwrap();
    run(&mut machine, &mut world, now);
    assert_eq!(machine.phase(), Phase::Returned);
    assert!(!world.log.iter().any(|line| line.starts_with("Undo")), "{:?}", world.log);
}

#[test]
fn at_rest_an_operator_has_the_committed_release_seen_to() {
    let (mut machine, mut world, now) = committed_once();
    (world.link, world.running) = (None, false);
    let back = Resolution::Earlier { undo: Undo::Run, even_irreversible: false };
    machine.handle_resolved(back, "look", now).unwrap();
    assert_eq!(machine.handle_resolved(back, "look", now), Err(Rejection::Busy(Phase::Committed)));
    run(&mut machine, &mut world, now);
    assert_eq!((world.link, world.running), (machine.record().committed, true));
    let newer = machine.handle_resolved(Resolution::Newer, "?", now);
    assert_eq!(newer, Err(Rejection::OutOfPlace(Phase::Committed)));
}

#[test]
fn an_ordered_return_needs_no_clearance_and_no_window_and_is_not_held() {
    let (mut machine, mut world, _) = committed_once();
    let mut assignment = order(2);
    assignment.kind = Kind::Return;
    let late = at(WINDOW.as_secs() - 1);
    world.log.clear();
    machine.handle_order(assignment, late).unwrap();
    let (now, check) = run_until(&mut machine, &mut world, late, is_check);
    let hold = Hold { why: "board".to_owned(), active: Withstands::Return };
    assert_eq!(machine.handle_hold(hold, now), Err(Rejection::NotForward));
    machine.handle_sample(check.unwrap(), sample(true, now), now).unwrap();
    run(&mut machine, &mut world, now);
    assert!(!world.log.iter().any(|line| line.starts_with("clear")));
    assert_eq!(machine.phase(), Phase::Committed);
    assert!(world.outcomes.last().unwrap().clearances.is_empty());
}

#[test]
fn what_stands_in_preflights_way_is_looked_at_again() {
    let (mut machine, mut world, now) = committed_once();
    machine.handle_order(order(2), now).unwrap();
    let is_look = |issued: &Issued| matches!(issued.effect, Effect::Preflight { .. });
    let (now, look) = run_until(&mut machine, &mut world, now, is_look);
    let id = look.unwrap();
    machine.handle_blocked(id, "inhibited: inventory", now).unwrap();
    assert_eq!(machine.waiting(), Waiting::Blocked("inhibited: inventory".to_owned()));
    assert_eq!(machine.poll_timeout(now).unwrap().reason, Wake::PreflightAgain);
    run(&mut machine, &mut world, now);
    assert_eq!(machine.phase(), Phase::Committed);
}

#[test]
fn a_ledger_that_cannot_be_written_turns_a_deployment_back_but_not_a_return() {
    let (mut machine, mut world, now) = committed_once();
    let earlier = machine.record().committed;
    machine.handle_order(order(2), now).unwrap();
    let commits = |issued: &Issued| match &issued.effect {
        Effect::Persist { record, .. } => record.state.phase() == Phase::Committed,
        _ => false,
    };
    let (mut now, persist) = run_until(&mut machine, &mut world, now, commits);
    machine.handle_failed(persist.unwrap(), "no space left", now).unwrap();
    assert_eq!(machine.phase(), Phase::Returning);
    assert_eq!(machine.record().committed, earlier);
    // From here on nothing can be stored, and still the earlier release comes back.
    let mut refusals = 0;
    while machine.phase() == Phase::Returning {
        if let Some(issued) = machine.poll_effect() {
            if matches!(issued.effect, Effect::Persist { .. }) {
                refusals += 1;
                machine.handle_failed(issued.id, "no space left", now).unwrap();
            } else {
                world.carry_out(&issued.effect);
                answer_well(&mut machine, &issued, now);
            }
        } else {
            let timeout = machine.poll_timeout(now).unwrap();
            now.monotonic += timeout.after;
            now.wall = now.wall + timeout.after;
            machine.handle_timeout(now);
        }
    }
    assert!(refusals > 3);
    assert_eq!((world.link, world.running), (earlier, true));
    let last = machine.poll_effect().unwrap();
    machine.handle_failed(last.id, "no space left", now).unwrap();
    assert_eq!(
        machine.handle_order(order(3), now),
        Err(Rejection::Busy(Phase::Returned)),
        "an outcome that is not stored is not forgotten for the next order"
    );
    assert_eq!(machine.poll_timeout(now).unwrap().reason, Wake::PersistAgain);
    now.monotonic += Duration::from_secs(5);
    machine.handle_timeout(now);
    run(&mut machine, &mut world, now);
    let outcome = world.outcomes.last().unwrap();
    assert_eq!(outcome.what, What::Returned { to: earlier });
}

#[test]
fn an_end_counts_for_the_release_that_was_started_and_no_earlier_one() {
    let mut machine = Machine::new("shop");
    let mut world = World::default();
    let mut assignment = order(1);
    assignment.hooks = all_hooks();
    machine.handle_order(assignment, at(0)).unwrap();
    let starts = |issued: &Issued| matches!(issued.effect, Effect::Start { .. });
    let (now, start) = run_until(&mut machine, &mut world, at(0), starts);
    let ended = machine.handle_exited("it ended", now);
    assert_eq!(ended, Err(Rejection::OutOfPlace(Phase::Starting)), "it is not started yet");
    machine.handle_done(start.unwrap(), now).unwrap();
    machine.handle_exited("it ended", now).unwrap();
    assert_eq!(machine.phase(), Phase::Returning);
}
