//! Drawing a run from its seed.

mod exceptions;
mod faults;
mod process;

use cutover_shared::policy::Exception;

use super::{Act, Behaviour, Draft, Instant, Reservation, Scenario, Seat, Weather, Word};
use crate::simulation::random::Random;
use crate::simulation::rules::CONSULTED;

/// The first act; before it hosts join.
const BEGIN: Instant = 20_000;

/// A scenario in the making.
struct Drawing {
    random: Random,
    scenario: Scenario,
    /// When the next campaign begins.
    next: Instant,
    /// When what was booked already is to begin once more.
    twice: Vec<Instant>,
}

pub(super) fn scenario(seed: u64) -> Scenario {
    let mut random = Random::new(seed);
    let staging = random.between(1, 2);
    let production = random.between(2, 4);
    let seat = |environment: &'static str, number: u64| Seat {
        name: format!("{}{number}", &environment[..1]),
        environment,
    };
    let seats = (1..=staging)
        .map(|number| seat("staging", number))
        .chain((1..=production).map(|number| seat("production", number)))
        .collect();
    let scenario = Scenario {
        seed,
        seats,
        drafts: Vec::new(),
        reservations: Vec::new(),
        acts: Vec::new(),
        faults: Vec::new(),
        network: Weather { lost: 0, twice: 0, late: 0, breaks: 0, mixed_up: 0 },
        skew: 0,
        witnesses: 0,
        consults: random.chance(250),
        rehearsals: random.chance(250),
    };
    let mut drawing = Drawing { random, scenario, next: BEGIN, twice: Vec::new() };
    drawing.fill();
    drawing.scenario
}

impl Drawing {
    fn fill(&mut self) {
        if self.random.chance(250) {
            self.scenario.witnesses = u32::try_from(self.random.between(1, 3)).unwrap_or(1);
        }
        for _ in 0..self.random.between(1, 3) {
            match self.random.below(8) {
                0 | 1 => self.emergency(),
                2 => self.standard(),
                _ => self.campaign(),
            }
        }
        self.unrest();
        // A tenth of the runs have no fault at all: there everything must succeed that can.
        if !self.random.chance(100) {
            self.faults();
            self.scenario.skew = i64::try_from(self.random.below(2000)).unwrap_or(0) - 1000;
        }
        self.scenario.acts.sort_by_key(|(at, _)| *at);
    }

    fn act(&mut self, at: Instant, act: Act) {
        self.scenario.acts.push((at, act));
    }

    fn hosts(&self, environment: &str) -> Vec<usize> {
        let seats = self.scenario.seats.iter().enumerate();
        seats.filter(|(_, seat)| seat.environment == environment).map(|(at, _)| at).collect()
    }

    fn draft(&mut self, iteration: Option<(u32, Option<usize>)>) -> usize {
        let number = self.scenario.drafts.len();
        let host = self.random.index(self.scenario.seats.len());
        let behaviour = match self.random.below(10) {
            0 => Behaviour::Bad,
            1 => Behaviour::BadOn(host),
            2 => Behaviour::Flaps(u32::try_from(self.random.between(1, 5)).unwrap_or(1)),
            3 => Behaviour::Dies(self.random.between(500, 6000)),
            4 | 5 if number > 0 => Behaviour::BadBehind(self.hosts("staging").len()),
            _ => Behaviour::Good,
        };
        let two_hats = self.random.chance(200);
        let version = format!("1.{number}");
        let standard = false;
        self.scenario.drafts.push(Draft { version, behaviour, iteration, standard, two_hats });
        number
    }

    /// Submitted, looked at, tried on staging, and brought into production.
    fn campaign(&mut self) {
        let draft = self.draft(None);
        let mut at = self.next;
        self.act(at, Act::Submit(draft));
        at += self.random.between(500, 3000);
        let waived = self.approvals(draft, at);
        let start = at + self.random.between(4000, 9000);
        let staging = self.reservation(draft, "staging", start, (60, 110));
        let end = self.scenario.reservations[staging].end;
        let start = match waived {
            Some(Exception::Environments) => start + 2000,
            _ if self.random.chance(700) => start + 35_000,
            _ => end + 1000,
        };
        let production = self.reservation(draft, "production", start, (90, 200));
        let (start, end) = {
            let reserved = &self.scenario.reservations[production];
            (reserved.start, reserved.end)
        };
        self.interference(draft, production, start, end);
        self.next = if self.random.chance(800) { end + 5000 } else { start + 30_000 };
    }

    /// Says what somebody does without, if somebody does.
    fn approvals(&mut self, draft: usize, mut at: Instant) -> Option<Exception> {
        let word = |random: &mut Random, no: u64| match random.below(1000) {
            it if it < no => Word::No,
            it if it < 2 * no => Word::Later,
            _ => Word::Yes,
        };
        // One of them is forgotten now and then.
        let missing = self.random.below(40);
        let review = word(&mut self.random, 20);
        let assess = word(&mut self.random, 20);
        let vote = word(&mut self.random, 20);
        let conditional = self.random.chance(250);
        let acts = [
            Act::Review(draft, review),
            Act::Assess(draft, assess),
            if conditional {
                Act::VoteIf(draft, "bea")
            } else {
                Act::Vote(draft, "bea", Word::Yes)
            },
            Act::Vote(draft, if missing == 5 { "sue" } else { "bob" }, vote),
            Act::Deliver(draft),
        ];
        let waived = self.exception(draft, at);
        self.around(draft, at);
        for (number, act) in acts.into_iter().enumerate() {
            at += self.random.between(50, 900);
            let needless = waived.is_some_and(|it| exceptions::is_spared(&act, it));
            if missing != number as u64 && !needless {
                self.act(at, act);
            }
        }
        if conditional && self.random.chance(850) {
            let confirmed = at + self.random.between(100, 3000);
            let who = self.random.pick(&["lena", "lena", "sam"]);
            self.act(confirmed, Act::Confirm(draft, who));
        }
        if review == Word::Later && self.random.chance(700) {
            self.act(at + 1000, Act::Review(draft, Word::Yes));
        }
        waived
    }

    fn reservation(
        &mut self,
        draft: usize,
        environment: &'static str,
        start: Instant,
        seconds: (u64, u64),
    ) -> usize {
        let mut hosts = self.hosts(environment);
        let mut waves = Vec::new();
        while !hosts.is_empty() {
            let size = 1 + self.random.index(hosts.len());
            let rest = hosts.split_off(size);
            waves.push(std::mem::replace(&mut hosts, rest));
        }
        let length = self.random.between(seconds.0, seconds.1) * 1000;
        let number = self.scenario.reservations.len();
        // Several fail at once where it is the first alone that does well.
        let storm = matches!(self.scenario.drafts[draft].behaviour, Behaviour::BadBehind(_));
        let least = if storm { 2 } else { 1 };
        let at_once = u32::try_from(self.random.between(least, 2)).unwrap_or(1);
        let return_all = self.random.chance(if storm { 900 } else { 300 });
        let budget = u32::try_from(self.random.between(1, 3)).unwrap_or(1);
        let halt_after = self.random.pick(if storm { &[1, 2, 2] } else { &[1, 2] });
        let healthy_for = self.random.pick(&[0, 0, 5]);
        self.scenario.reservations.push(Reservation {
            draft,
            environment,
            start,
            end: start + length,
            waves,
            at_once,
            halt_after,
            healthy_for,
            return_all: return_all.then_some(budget),
        });
        let booked = start.saturating_sub(self.random.between(2500, 3500));
        self.act(booked, Act::Book(number));
        let released = booked + self.random.between(600, 1500);
        self.act(released, Act::Release(number));
        number
    }

    /// What people do while a rollout is on its way.
    fn interference(&mut self, draft: usize, booking: usize, start: Instant, end: Instant) {
        // Often while hosts still have their turn to come.
        let latest = if self.random.chance(600) { end.min(start + 20_000) } else { end };
        let at = self.random.between(start, latest);
        match self.random.below(16) {
            0 | 13 => {
                let finish = self.random.chance(400);
                self.act(at, Act::Hold(draft, finish));
                if self.random.chance(600) {
                    let resumed = at + self.random.between(2000, 30_000);
                    self.act(resumed, Act::Resume(draft));
                }
            }
            1 => self.act(at, Act::Cancel(draft)),
            2 => self.frozen(booking, at),
            // When hosts run it.
            3 | 4 | 9 | 14 | 15 => self.act(end - (at - start) / 2, Act::Rollback(booking)),
            5 => self.act(at, Act::Assess(draft, Word::No)),
            6 => self.act(at, Act::Review(draft, Word::No)),
            7 => {
                // What a host took back comes again, after a review or without.
                if self.random.chance(600) {
                    self.act(end + 500, Act::Review(draft, Word::Yes));
                }
                self.reservation(draft, "production", end + 6000, (60, 120));
            }
            // Announced when all is booked, for when it is to happen.
            8 => self.frozen(booking, start.saturating_sub(1000)),
            10 => self.act(at, Act::Answer(draft, CONSULTED, "otto", Word::No)),
            11 => self.act(at, Act::Rehearse(draft, "otto", Word::No)),
            12 => self.closed(draft, end),
            _ => {}
        }
    }

    /// The short way: iterations, each approved by itself.
    fn emergency(&mut self) {
        let mut at = self.next;
        self.act(at, Act::Emergency);
        let mut previous = None;
        for number in 1..=u32::try_from(self.random.between(1, 3)).unwrap_or(1) {
            let draft = self.draft(Some((number, previous)));
            at += self.random.between(500, 2000);
            self.act(at, Act::Submit(draft));
            if !self.random.chance(150) {
                self.act(at + 800, Act::Approve(draft));
            }
            let start = at + self.random.between(4500, 9000);
            let booking = self.reservation(draft, "production", start, (50, 120));
            let end = self.scenario.reservations[booking].end;
            if self.random.chance(500) {
                // Booked once more, for hosts that it may have to leave again by then.
                let again = start + self.random.between(3000, 8000);
                self.reservation(draft, "production", again, (50, 120));
                self.twice.push(again);
            }
            if self.random.chance(150) {
                let cancelled = start + self.random.below(20_000);
                self.act(cancelled, Act::Cancel(draft));
            }
            at = if self.random.chance(600) {
                end
            } else {
                start + self.random.between(5000, 30_000)
            };
            previous = Some(draft);
        }
        self.next = at + 20_000;
    }

    /// What has nothing to do with one release.
    fn unrest(&mut self) {
        let end = self.scenario.quiet();
        if self.random.chance(300) {
            let at = self.random.between(BEGIN, end);
            self.act(at, Act::Policy);
        }
        if self.random.chance(150) {
            let host = self.random.index(self.scenario.seats.len());
            let at = self.random.between(BEGIN, end);
            self.act(at, Act::Retire(host));
            let remade = at + self.random.between(2000, 20_000);
            self.act(remade, Act::Remake(host));
        }
    }
}
