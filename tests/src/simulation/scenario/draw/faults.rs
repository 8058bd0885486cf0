//! What goes wrong in a run.

use super::super::{Fault, Instant, Weather};
use super::{BEGIN, Drawing};

impl Drawing {
    pub(super) fn faults(&mut self) {
        let end = self.scenario.quiet();
        for _ in 0..self.random.between(1, 6) {
            let fault = self.fault(end);
            self.scenario.faults.push(fault);
        }
        for from in std::mem::take(&mut self.twice) {
            // Hosts go back there, and for a while the log cannot hear of it.
            if self.random.chance(500) {
                self.scenario.faults.push(Fault::LogFull { from, to: from + 14_000 });
            }
        }
        let mut often =
            |most: u64| if self.random.chance(500) { self.random.below(most) } else { 0 };
        self.scenario.network = Weather {
            lost: often(60),
            twice: often(80),
            late: often(60),
            breaks: often(10),
            mixed_up: often(80),
        };
    }

    fn fault(&mut self, end: Instant) -> Fault {
        let host = self.random.index(self.scenario.seats.len());
        let from = self.random.between(BEGIN, end);
        let to = from + self.random.between(2000, 60_000);
        let down = self.random.between(300, 40_000);
        match self.random.below(14) {
            0..=3 => {
                let point = u32::try_from(self.random.between(3, 160)).unwrap_or(3);
                Fault::CrashHost { host, point, power: self.random.chance(500), down }
            }
            4 | 5 => {
                let point = u32::try_from(self.random.between(10, 160)).unwrap_or(10);
                Fault::CrashCoordinator { point, down: down / 2 }
            }
            6 => {
                let host = (!self.random.chance(200)).then_some(host);
                Fault::Partition { host, from, to }
            }
            7 => {
                let by = self.random.pick(&[-7_200_000, -90_000, -1500, 1500, 60_000, 7_200_000]);
                Fault::Step { host, at: from, by, until: to }
            }
            8 => Fault::Full { host, from, to },
            9 => Fault::LogFull { from, to: from + (to - from) / 4 },
            10 => Fault::Slow { host, from, to, times: self.random.between(3, 40) },
            11 => Fault::Fails { host, from, to, per_mille: self.random.between(100, 700) },
            12 => {
                let witness = self.random.index(crate::world::WITNESSES.len());
                Fault::WitnessGone { witness, from, to }
            }
            13 if self.random.chance(500) => Fault::Dies { host, at: from },
            _ => Fault::Inhibited { host, from, to },
        }
    }
}
