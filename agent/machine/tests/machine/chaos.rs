//! Random events, failures and crashes at every effect; what must hold is looked at after each.

use cutover_machine::*;
use cutover_shared::digest::Digest;
use proptest::prelude::*;

use crate::diagram::leads;
use crate::world::*;

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Chaos {
    /// Take what is handed out.
    Poll,
    /// Answer what is open as hoped for.
    Well,
    /// Fail what is open; it took effect all the same, or not.
    Fail {
        took_effect: bool,
    },
    /// A bad sample, a refused clearance, a blocked preflight; else as [`Chaos::Well`].
    Badly,
    /// Answer something that nobody asked.
    Stale,
    /// Time passes until the machine wants to be woken.
    Wake,
    /// So many seconds pass on both clocks.
    Pass(u64),
    /// The wall clock is set back by so many seconds.
    SetBack(u64),
    Hold(Withstands),
    Exit,
    /// An order, if it is taken.
    Order(Kind, Reversibility, bool),
    /// The applier ends; the application runs afterwards or not; what is open took effect or not.
    Crash {
        running: bool,
        took_effect: bool,
    },
}

fn chaos() -> impl Strategy<Value = Chaos> {
    let kind = prop_oneof![4 => Just(Kind::Forward), 1 => Just(Kind::Return)];
    let reversibility = prop_oneof![
        4 => Just(Reversibility::Reversible),
        1 => Just(Reversibility::Irreversible)
    ];
    prop_oneof![
        30 => Just(Chaos::Poll),
        40 => Just(Chaos::Well),
        2 => any::<bool>().prop_map(|took_effect| Chaos::Fail { took_effect }),
        2 => Just(Chaos::Badly),
        1 => Just(Chaos::Stale),
        6 => Just(Chaos::Wake),
        1 => (0_u64..2000).prop_map(Chaos::Pass),
        1 => (0_u64..2000).prop_map(Chaos::SetBack),
        1 => prop_oneof![Just(Withstands::Finish), Just(Withstands::Return)].prop_map(Chaos::Hold),
        1 => Just(Chaos::Exit),
        4 => (kind, reversibility, any::<bool>()).prop_map(|(k, r, h)| Chaos::Order(k, r, h)),
        2 => (any::<bool>(), any::<bool>())
            .prop_map(|(running, took_effect)| Chaos::Crash { running, took_effect }),
    ]
}

struct Run {
    machine: Machine,
    world: World,
    now: Now,
    /// Handed out and not answered; the last may be an `Abort` of the one before.
    open: Vec<Issued>,
    /// Generations that were taken up and stored.
    taken: u64,
    /// A `Persist` failed since the order was taken up.
    unstored: bool,
}

impl Run {
    fn new() -> Self {
        let (machine, world, now) = committed_once();
        Self { machine, world, now, open: Vec::new(), taken: 1, unstored: false }
    }

    fn poll(&mut self) {
        while let Some(issued) = self.machine.poll_effect() {
            match issued.effect {
                // Repairs what is stored as committed, whatever else is stored.
                Effect::Persist { .. } | Effect::Settle { .. } => {}
                _ => self.before_effect(&issued.effect),
            }
            self.open.push(issued);
        }
    }

    /// What must be true when an effect is handed out.
    fn before_effect(&self, effect: &Effect) {
        let record = self.machine.record();
        let stored = self.world.ledger.as_ref().expect("something is stored");
        if !self.unstored {
            assert!(stored == record, "stored before {effect:?}");
        }
        if let Effect::Switch { to: Some(slot) } = effect {
            assert!(self.world.whole.contains(&slot.generation), "P3: {slot:?}");
        }
        if let Some((task, point)) = record.state.going_forward()
            && task.assignment.kind == Kind::Forward
            && point.touches()
        {
            assert_eq!(task.clearances.len(), 2, "cleared twice before {effect:?}");
        }
    }

    fn take_effect(&mut self, issued: &Issued) {
        if let Effect::Start { slot } = issued.effect
            && self.world.link != Some(slot)
        {
            // Only where going back has failed before and could not be stored.
            assert!(self.unstored);
            return;
        }
        self.world.carry_out(&issued.effect);
    }

    fn answer(&mut self, how: &Chaos) {
        let Some(issued) = self.open.pop() else {
            return;
        };
        let (id, now) = (issued.id, self.now);
        let persist = matches!(issued.effect, Effect::Persist { .. });
        // Abandoned requests and late rounds stay open here; their answers are stale, which is fine.
        let answered = match (how, &issued.effect) {
            (Chaos::Fail { took_effect }, _) => {
                if *took_effect {
                    self.take_effect(&issued);
                }
                self.unstored |= persist;
                self.machine.handle_failed(id, "no", now)
            }
            (Chaos::Badly, Effect::RequestClearance { .. }) => {
                let refused = Decision::Refused("frozen".to_owned());
                self.machine.handle_clearance(id, refused, now)
            }
            (Chaos::Badly, Effect::Check { .. }) => {
                self.machine.handle_sample(id, sample(false, now), now)
            }
            (Chaos::Badly, Effect::Preflight { .. }) => {
                self.machine.handle_blocked(id, "inhibited", now)
            }
            (_, Effect::RequestClearance { .. }) => {
                let granted = Decision::Granted(Digest::of(b"clearance"));
                self.machine.handle_clearance(id, granted, now)
            }
            (_, Effect::Check { .. }) => self.machine.handle_sample(id, sample(true, now), now),
            _ => {
                self.take_effect(&issued);
                if persist {
                    self.unstored = false;
                }
                self.machine.handle_done(id, now)
            }
        };
        if let Effect::Abort { .. } = issued.effect {
            // It was ended before the answer, so nothing of it can take effect later.
            self.open.clear();
        }
        assert!(!persist || answered.is_ok(), "a Persist that was handed out is waited for");
    }

    fn step(&mut self, chaos: Chaos) {
        let from = self.machine.phase();
        self.happen(chaos);
        let to = self.machine.phase();
        // After a crash it goes on from what was stored, which may be one state earlier.
        let crashed = matches!(chaos, Chaos::Crash { .. });
        assert!(crashed || from == to || leads(from, to), "{from} -> {to} by {chaos:?}");
        self.holds();
    }

    fn happen(&mut self, chaos: Chaos) {
        match chaos {
            Chaos::Poll => self.poll(),
            Chaos::Well | Chaos::Fail { .. } | Chaos::Badly => self.answer(&chaos),
            Chaos::Stale => {
                let before = self.machine.clone();
                for issued in &self.open {
                    let wrong = match issued.effect {
                        Effect::RequestClearance { .. } | Effect::Check { .. } => {
                            self.machine.handle_done(issued.id, self.now)
                        }
                        _ => {
                            self.machine.handle_sample(issued.id, sample(false, self.now), self.now)
                        }
                    };
                    assert!(wrong.is_err());
                }
                assert_eq!(self.machine, before);
            }
            Chaos::Wake => {
                if let Some(timeout) = self.machine.poll_timeout(self.now) {
                    self.now.wall = self.now.wall + timeout.after;
                    self.now.monotonic += timeout.after;
                    self.machine.handle_timeout(self.now);
                }
            }
            Chaos::Pass(seconds) => {
                self.now.wall = self.now.wall + std::time::Duration::from_secs(seconds);
                self.now.monotonic += std::time::Duration::from_secs(seconds);
                self.machine.handle_timeout(self.now);
            }
            Chaos::SetBack(seconds) => {
                self.now.wall = self.now.wall - std::time::Duration::from_secs(seconds);
            }
            Chaos::Hold(active) => {
                let why = "board".to_owned();
                let _rejected_or_not = self.machine.handle_hold(Hold { why, active }, self.now);
            }
            Chaos::Exit => {
                if self.machine.handle_exited("signal 11", self.now).is_ok() {
                    self.world.running = false;
                }
            }
            Chaos::Order(kind, reversibility, hooks) => self.order(kind, reversibility, hooks),
            Chaos::Crash { running, took_effect } => self.crash(running, took_effect),
        }
    }

    fn order(&mut self, kind: Kind, reversibility: Reversibility, hooks: bool) {
        let mut order = order(self.machine.record().generation + 1);
        order.kind = kind;
        order.reversibility = reversibility;
        // Each order has its own window, now.
        order.window_start = self.now.wall;
        order.window_end = self.now.wall + WINDOW;
        if hooks {
            order.hooks = all_hooks();
        }
        if self.machine.handle_order(order, self.now).is_ok() {
            self.open.clear();
            self.unstored = false;
        }
    }

    fn crash(&mut self, running: bool, took_effect: bool) {
        if took_effect && let Some(issued) = self.open.pop() {
            self.take_effect(&issued);
        }
        self.open.clear();
        self.world.running = running && self.world.link.is_some();
        self.unstored = false;
        let ledger = self.world.ledger.clone().unwrap();
        // The monotonic clock starts anew.
        self.now.monotonic = std::time::Duration::from_secs(5);
        self.machine = Machine::recover(ledger, self.now);
    }

    /// What holds at every instant.
    fn holds(&mut self) {
        if let Some(Record { generation, .. }) = &self.world.ledger {
            self.taken = self.taken.max(*generation);
        }
        if let Some(slot) = self.world.link {
            assert!(self.world.whole.contains(&slot.generation), "P3: {slot:?}");
        }
        if let Some((task, _)) = self.machine.record().state.going_forward() {
            let mut machine = self.machine.clone();
            let late =
                Now { wall: task.assignment.window_end, monotonic: self.now.monotonic + WINDOW };
            machine.handle_timeout(late);
            assert!(machine.record().state.going_forward().is_none(), "P3 at the end");
        }
        let reported: Vec<u64> = self.world.outcomes.iter().map(|it| it.generation).collect();
        let mut once = reported.clone();
        once.dedup();
        assert_eq!(reported, once, "P5: one outcome an order, in order");
    }

    /// Faults have gone: it ends, and as it says.
    fn settle(mut self) {
        for _ in 0..20_000 {
            self.poll();
            if !self.open.is_empty() {
                self.answer(&Chaos::Well);
            } else if ended(&self.machine)
                && self.machine.poll_timeout(self.now).is_none()
                && self.machine.poll_effect().is_none()
            {
                return self.at_the_end();
            } else {
                self.step(Chaos::Wake);
            }
            self.holds();
        }
        panic!("P11: does not end: {:?}", self.machine);
    }

    fn at_the_end(&self) {
        let record = self.machine.record();
        assert_eq!(self.world.ledger.as_ref(), Some(record));
        let ended: Vec<u64> = self.world.outcomes.iter().map(|it| it.generation).collect();
        let all: Vec<u64> = (1..=self.taken).collect();
        assert_eq!(ended, all, "P5: every order that was stored has its outcome");
        match &record.state {
            State::Committed(_) | State::Returned(_) => {
                assert_eq!(self.world.link, record.committed, "P4");
                assert_eq!(self.world.running, record.committed.is_some(), "P4");
            }
            State::Stuck(..) | State::Idle => {}
            other => panic!("not an end: {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_ends_and_keeps_its_promises(
        events in prop::collection::vec(chaos(), 0..400)
    ) {
        let mut run = Run::new();
        for event in events {
            run.step(event);
        }
        run.settle();
    }
}
