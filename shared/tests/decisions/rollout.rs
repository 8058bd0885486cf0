//! The planner: whose turn it is, and why everybody else waits.

use cutover_shared::protocol::{ApplicationReport, Fleet, HostReport, HostView};
use cutover_shared::refusal::Code;
use cutover_shared::rollout::{self, Standing, WaitingOn};
use cutover_shared::statement::Event;
use cutover_shared::time::Time;

use crate::world::{Way, World, at, key, name};

fn view(host: &str, connected: bool, now: Time) -> HostView {
    HostView {
        host_key: key(host).public().id(),
        connected,
        heard: now,
        report: Some(HostReport { known: 0, policy_version: 1, applications: Vec::new() }),
        cleared: Vec::new(),
    }
}

fn fleet(world: &World, hosts: &[&str]) -> Fleet {
    Fleet {
        now: world.now,
        since: at(0),
        hosts: hosts.iter().map(|host| view(host, true, world.now)).collect(),
    }
}

fn standings(world: &World, fleet: &Fleet, way: Way) -> Vec<Standing> {
    let plan = rollout::plan(&world.state, fleet, &way.booking, world.now).unwrap();
    plan.hosts.into_iter().map(|it| it.standing).collect()
}

fn waits_for(standing: &Standing) -> Option<Code> {
    if let Standing::Waiting(WaitingOn::Rule(refusal)) = standing {
        Some(refusal.code)
    } else {
        None
    }
}

#[test]
fn the_canary_first_then_one_at_a_time() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let mut heard = fleet(&world, &["p1", "p2", "p3"]);
    let now = standings(&world, &heard, way);
    assert_eq!(now[0], Standing::Turn);
    assert_eq!(waits_for(&now[1]), Some(Code::WaveNotProven));
    heard.hosts[0].report.as_mut().unwrap().applications.push(ApplicationReport {
        application: name("web"),
        generation: 1,
        running: None,
        order: Some(way.booking),
        step: "fetching".to_owned(),
        progress: None,
        refused: None,
    });
    assert_eq!(
        standings(&world, &heard, way)[0],
        Standing::Working { step: "fetching".to_owned() }
    );
    world.outcome("p1", way, Event::Committed);
    let heard = fleet(&world, &["p1", "p2", "p3"]);
    let now = standings(&world, &heard, way);
    assert_eq!(now[0], Standing::Committed);
    assert_eq!(now[1], Standing::Turn);
    assert_eq!(now[2], Standing::Waiting(WaitingOn::Room { under_way: 1, at_once: 1 }));
}

#[test]
fn a_failure_halts() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let event = Event::Returned { step: "checking".to_owned(), reason: "500".to_owned() };
    world.outcome("p1", way, event);
    let heard = fleet(&world, &["p1", "p2", "p3"]);
    let plan = rollout::plan(&world.state, &heard, &way.booking, world.now).unwrap();
    assert!(plan.halted.unwrap().because.contains("p1"));
    assert_eq!(plan.hosts[1].standing, Standing::Waiting(WaitingOn::Halted));
}

#[test]
fn a_cleared_host_that_falls_silent_counts_until_its_deadline_and_then_as_failed() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let mut heard = fleet(&world, &["p1", "p2", "p3"]);
    heard.hosts[0].connected = false;
    heard.hosts[0].cleared.push((way.booking, at(1000)));
    assert_eq!(standings(&world, &heard, way)[0], Standing::Working { step: "unheard".to_owned() });
    world.now = at(1150);
    heard.now = world.now;
    let plan = rollout::plan(&world.state, &heard, &way.booking, world.now).unwrap();
    assert_eq!(plan.hosts[0].standing, Standing::Silent { since: at(1150) });
    assert!(plan.halted.is_some());
}

#[test]
fn before_the_window_nothing_moves_and_the_reason_is_told() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    world.now = at(999);
    let heard = fleet(&world, &["p1"]);
    let now = standings(&world, &heard, way);
    assert_eq!(waits_for(&now[0]), Some(Code::WindowNotOpen));
    world.now = at(1000);
    assert_eq!(
        standings(&world, &fleet(&world, &[]), way)[0],
        Standing::Waiting(WaitingOn::Connection)
    );
}

#[test]
fn after_a_restart_in_the_window_unheard_hosts_may_be_at_work() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    world.now = at(1010);
    let mut heard = fleet(&world, &[]);
    heard.since = at(1005);
    assert_eq!(standings(&world, &heard, way)[0], Standing::Working { step: "unheard".to_owned() });
}
