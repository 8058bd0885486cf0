//! Explores every state that the machine can get into with every event, and compares the transitions
//! with the diagram in its documentation, and what is taken where with the table there. On the way: nothing
//! panics, what is rejected changes nothing, and each event was tried in each state.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;
use std::time::Duration;

use cutover_machine::*;
use cutover_shared::digest::Digest;

use crate::world::*;

type Edge = (String, String, String);

/// Every event that the machine has a `handle_` for.
const EVENTS: [&str; 10] = [
    "order",
    "hold",
    "clearance",
    "done",
    "failed",
    "blocked",
    "sample",
    "exited",
    "resolved",
    "timeout",
];

fn every_pair() -> BTreeSet<(String, String)> {
    let events_of = |phase: &Phase| EVENTS.map(|event| (phase.to_string(), event.to_owned()));
    Phase::ALL.iter().flat_map(events_of).collect()
}

/// The states in which each event can be taken, by the documentation.
fn taken_by_the_table() -> BTreeSet<(String, String)> {
    let mut pairs = BTreeSet::new();
    for line in include_str!("../../src/lib.rs").lines() {
        let row = line.strip_prefix("//! ").and_then(|line| line.split_once(':'));
        let Some((event, states)) = row.filter(|(event, _)| EVENTS.contains(&event.trim())) else {
            continue;
        };
        if states.trim_start().starts_with("everywhere") {
            pairs.extend(Phase::ALL.map(|phase| (phase.to_string(), event.trim().to_owned())));
            continue;
        }
        for state in states.split(',') {
            pairs.insert((state.trim().to_owned(), event.trim().to_owned()));
        }
    }
    pairs
}

/// An effect that no explored machine has come to: the last one of a machine that has deployed often.
static NOBODYS: LazyLock<EffectId> = LazyLock::new(|| {
    let (mut machine, mut world, mut now) = committed_once();
    let last = Cell::new(None);
    for generation in 2..100 {
        let mut order = order(generation);
        (order.window_start, order.window_end) = (now.wall, now.wall + WINDOW);
        machine.handle_order(order, now).unwrap();
        let seen = |issued: &Issued| {
            last.set(Some(issued.id));
            false
        };
        now = run_until(&mut machine, &mut world, now, seen).0;
    }
    last.get().unwrap()
});

/// Whether the documentation has a transition between the two, whatever causes it.
pub(crate) fn leads(from: Phase, to: Phase) -> bool {
    static EDGES: LazyLock<BTreeSet<Edge>> = LazyLock::new(documented);
    EDGES.iter().any(|(a, b, _)| (a, b) == (&from.to_string(), &to.to_string()))
}

fn documented() -> BTreeSet<Edge> {
    let source = include_str!("../../src/lib.rs");
    let mut edges = BTreeSet::new();
    for line in source.lines() {
        let Some(line) = line.strip_prefix("//! ") else {
            continue;
        };
        let Some((from, rest)) = line.split_once("->") else {
            continue;
        };
        let (to, causes) = rest.split_once(':').expect("an edge has causes");
        let mut causes = causes.to_owned();
        while let (Some(open), Some(close)) = (causes.find('('), causes.find(')')) {
            causes.replace_range(open..=close, "");
        }
        for cause in causes.split(',') {
            let cause = cause.trim().trim_start_matches("or ").trim();
            edges.insert((from.trim().to_owned(), to.trim().to_owned(), cause.to_owned()));
        }
    }
    edges
}

#[derive(Clone)]
struct Node {
    machine: Machine,
    ledger: Record,
    open: Vec<Issued>,
    now: Now,
}

impl Node {
    /// Takes everything that is handed out, and forgets what is no longer waited for, after seeing
    /// that no answer to it is taken.
    fn poll(&mut self) {
        while let Some(issued) = self.machine.poll_effect() {
            self.open.push(issued);
        }
        let (machine, now) = (&self.machine, self.now);
        self.open.retain(|issued| {
            let mut copy = machine.clone();
            let granted = Decision::Granted(Digest::of(b"clearance"));
            let waited_for = copy.handle_done(issued.id, now).is_ok()
                || copy.handle_clearance(issued.id, granted, now).is_ok()
                || copy.handle_sample(issued.id, sample(true, now), now).is_ok();
            assert!(waited_for || copy == *machine, "a stale answer changes nothing");
            waited_for
        });
    }

    /// What tells states apart as far as transitions go.
    fn key(&self) -> String {
        let record = self.machine.record();
        let position = match &record.state {
            State::Returning(_, retreat) => {
                format!("{:?} {:?} {}", retreat.reached, retreat.step, retreat.attempt)
            }
            State::Stuck(_, outcome) => format!("{:?}", outcome.reached),
            state => format!("{:?}", state.going_forward().map(|(_, point)| point)),
        };
        let open = self.open.iter().map(|it| match &it.effect {
            Effect::Persist { record, .. } if **record != *self.machine.record() => "outdated",
            effect => effect.name(),
        });
        let open: Vec<&str> = open.collect();
        let wake = self.machine.poll_timeout(self.now).map(|it| it.reason);
        format!(
            "{} {position} {open:?} {wake:?} {:?} {:?}",
            self.machine.phase(),
            record.committed.map(|slot| slot.generation),
            self.ledger.state.phase(),
        )
    }
}

struct Explorer {
    seen: BTreeSet<String>,
    todo: VecDeque<Node>,
    edges: BTreeSet<Edge>,
    /// Whether an event was taken in a state, once at least; no entry: it was never tried there.
    tried: BTreeMap<(String, String), bool>,
}

impl Explorer {
    fn visit(&mut self, mut node: Node) {
        node.poll();
        if self.seen.insert(node.key()) {
            self.todo.push_back(node);
        }
    }

    /// Applies one event to a copy of `node`.
    fn apply(
        &mut self,
        node: &Node,
        cause: &str,
        event: impl FnOnce(&mut Node) -> Result<(), Rejection>,
    ) {
        let mut next = node.clone();
        let from = node.machine.phase();
        let answer = event(&mut next);
        *self.tried.entry((from.to_string(), cause.to_owned())).or_default() |= answer.is_ok();
        match answer {
            Err(_) => assert_eq!(next.machine, node.machine, "a rejected {cause} changes nothing"),
            Ok(()) => {
                self.edge(from, next.machine.phase(), cause);
                self.visit(next);
            }
        }
    }

    fn edge(&mut self, from: Phase, to: Phase, cause: &str) {
        if from != to {
            self.edges.insert((from.to_string(), to.to_string(), cause.to_owned()));
        }
    }

    fn explore(&mut self, node: &Node) {
        for issued in node.open.clone() {
            let rest: Vec<Issued> = {
                let open = node.open.iter();
                open.filter(|it| it.id != issued.id).cloned().collect()
            };
            // Now, after the window, and, while nothing was touched, with a wall clock that was set
            // back to before it.
            let late = Now { wall: start() + WINDOW, monotonic: node.now.monotonic + WINDOW };
            let mut nows = vec![node.now, late];
            if matches!(node.machine.phase(), Phase::Fetching | Phase::Assembled) {
                nows.push(Now { wall: start() - Duration::from_secs(10), ..node.now });
            }
            for now in nows {
                let mut node = node.clone();
                node.now = now;
                self.answers(&node, &issued, &rest);
            }
        }
        self.unasked(node);
        self.apply(node, "hold", |it| hold(it, Withstands::Return));
        self.apply(node, "hold", |it| hold(it, Withstands::Finish));
        self.apply(node, "exited", |it| it.machine.handle_exited("signal 9", it.now));
        for resolution in [
            Resolution::Earlier { undo: Undo::Run, even_irreversible: true },
            Resolution::Earlier { undo: Undo::Skip, even_irreversible: false },
            Resolution::Newer,
        ] {
            let why = "seen to";
            self.apply(node, "resolved", |it| it.machine.handle_resolved(resolution, why, it.now));
        }
        for generation in 1..=3 {
            self.apply(node, "order", |it| it.machine.handle_order(order(generation), it.now));
        }
        let after = node.machine.poll_timeout(node.now).map(|it| it.after);
        for after in after.into_iter().chain([WINDOW, Duration::ZERO]) {
            self.apply(node, "timeout", |it| {
                it.now.wall = it.now.wall + after;
                it.now.monotonic += after;
                it.machine.handle_timeout(it.now);
                Ok(())
            });
        }
        self.crash(node);
    }

    fn answers(&mut self, node: &Node, issued: &Issued, rest: &[Issued]) {
        let id = issued.id;
        let answered = |it: &mut Node| it.open = rest.to_vec();
        self.apply(node, "done", |it| {
            answered(it);
            if let Effect::Persist { record, .. } = &issued.effect {
                it.ledger = (**record).clone();
            }
            it.machine.handle_done(id, it.now)
        });
        self.apply(node, "failed", |it| {
            answered(it);
            it.machine.handle_failed(id, "no", it.now)
        });
        self.apply(node, "blocked", |it| {
            answered(it);
            it.machine.handle_blocked(id, "inhibited", it.now)
        });
        for healthy in [true, false] {
            self.apply(node, "sample", |it| {
                answered(it);
                it.machine.handle_sample(id, sample(healthy, it.now), it.now)
            });
        }
        for decision in
            [Decision::Granted(Digest::of(b"clearance")), Decision::Refused("frozen".to_owned())]
        {
            self.apply(node, "clearance", |it| {
                answered(it);
                it.machine.handle_clearance(id, decision, it.now)
            });
        }
    }

    /// Answers to what nobody asked: each kind, in each state.
    fn unasked(&mut self, node: &Node) {
        type Handle = fn(&mut Machine, EffectId, Now) -> Result<(), Rejection>;
        let granted = |it: &mut Machine, id, now| {
            it.handle_clearance(id, Decision::Granted(Digest::of(b"clearance")), now)
        };
        let answers: [(&str, Handle); 5] = [
            ("done", Machine::handle_done),
            ("failed", |it, id, now| it.handle_failed(id, "no", now)),
            ("blocked", |it, id, now| it.handle_blocked(id, "inhibited", now)),
            ("sample", |it, id, now| it.handle_sample(id, sample(true, now), now)),
            ("clearance", granted),
        ];
        for (cause, handle) in answers {
            self.apply(node, cause, |it| {
                let id = *NOBODYS;
                let answer = handle(&mut it.machine, id, it.now);
                assert_eq!(answer, Err(Rejection::Stale(id)), "{cause}");
                answer
            });
        }
    }

    fn crash(&mut self, node: &Node) {
        for late in [Duration::ZERO, WINDOW] {
            let now = Now { wall: node.now.wall + late, monotonic: Duration::ZERO };
            let machine = Machine::recover(node.ledger.clone(), now);
            self.edge(node.ledger.state.phase(), machine.phase(), "recover");
            // What follows a crash in the window is the same as without, so late is enough; the
            // clock of the others stays comparable.
            self.visit(Node {
                machine,
                ledger: node.ledger.clone(),
                open: Vec::new(),
                now: Now { monotonic: Duration::ZERO, ..now },
            });
        }
    }
}

fn hold(node: &mut Node, active: Withstands) -> Result<(), Rejection> {
    let why = "board".to_owned();
    node.machine.handle_hold(Hold { why, active }, node.now).map(|_| ())
}

#[test]
fn the_diagram_and_the_table_are_what_the_code_does() {
    let mut explorer = Explorer {
        seen: BTreeSet::new(),
        todo: VecDeque::new(),
        edges: BTreeSet::new(),
        tried: BTreeMap::new(),
    };
    for (kind, reversibility, hooks) in [
        (Kind::Forward, Reversibility::Reversible, all_hooks()),
        (Kind::Forward, Reversibility::Reversible, Hooks::default()),
        (Kind::Forward, Reversibility::Irreversible, all_hooks()),
        (Kind::Return, Reversibility::Reversible, all_hooks()),
    ] {
        for earlier in [false, true] {
            let mut assignment = order(2);
            assignment.kind = kind;
            assignment.reversibility = reversibility;
            assignment.hooks = hooks.clone();
            // One round decides, so that few states differ in counters only.
            assignment.health.successes = 1;
            assignment.health.bake = Duration::from_secs(1);
            assignment.health.bake_tolerance = 0;
            let (mut machine, world, now) = if earlier {
                committed_once()
            } else {
                let mut world = World::default();
                let machine = Machine::new("shop");
                world.ledger = Some(machine.record().clone());
                (machine, world, at(0))
            };
            let from = machine.phase();
            machine.handle_order(assignment, now).unwrap();
            explorer.edge(from, machine.phase(), "order");
            explorer.seen.clear();
            explorer.visit(Node { machine, ledger: world.ledger.unwrap(), open: Vec::new(), now });
            while let Some(node) = explorer.todo.pop_front() {
                explorer.explore(&node);
            }
        }
    }
    let documented = documented();
    let missing: Vec<&Edge> = explorer.edges.difference(&documented).collect();
    let invented: Vec<&Edge> = documented.difference(&explorer.edges).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "not in the diagram: {missing:#?}\nnot in the code: {invented:#?}"
    );
    let tried: BTreeSet<_> = explorer.tried.keys().cloned().collect();
    assert_eq!(tried, every_pair(), "each event was tried in each state");
    let taken = explorer.tried.into_iter().filter(|(_, taken)| *taken).map(|(pair, _)| pair);
    assert_eq!(taken.collect::<BTreeSet<_>>(), taken_by_the_table());
}

#[test]
fn every_handle_is_explored() {
    let handled = include_str!("../../src/machine.rs").lines().filter_map(|line| {
        line.trim().strip_prefix("pub fn handle_").map(|rest| rest.split('(').next().unwrap())
    });
    assert_eq!(handled.collect::<BTreeSet<_>>(), BTreeSet::from(EVENTS));
}
