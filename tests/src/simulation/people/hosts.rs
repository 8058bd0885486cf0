//! What they do about hosts: take them back, make them anew.

use std::time::Duration;

use cutover_shared::statement::{HostTurn, Rollback, Statement};

use super::super::APPLICATION;
use super::super::fleet::{Event, Fleet};
use super::super::host::Host;
use crate::world::name;

impl Fleet {
    /// Sends back every host of a booking that reports that it runs its package.
    pub(super) fn roll_back(&mut self, number: usize) {
        let Some((_, booking)) = self.people.bookings.get(&number).cloned() else { return };
        let mut turns = Vec::new();
        let mut before = None;
        for planned in booking.plan.hosts() {
            let Some(host) = self.hosts.iter().find(|it| it.key_id() == planned.host_key) else {
                continue;
            };
            let application = name(APPLICATION);
            let saved = host
                .life
                .as_ref()
                .and_then(|life| life.core.saved().applications.get(&application));
            let Some(saved) = saved else { continue };
            let runs = saved.record.committed.map(|slot| slot.package);
            let history = saved.history.first().map(|slot| slot.package);
            if runs != Some(booking.package) || history.is_none() {
                continue;
            }
            if before.is_none() {
                before = history;
            }
            if before == history {
                turns.push(HostTurn {
                    host: planned.host.clone(),
                    host_key: planned.host_key,
                    generation: saved.record.generation,
                });
            }
        }
        let Some(to) = before else { return };
        let says = Rollback {
            application: name(APPLICATION),
            environment: booking.environment.clone(),
            hosts: turns,
            from: booking.package,
            to,
            reason: "customers complain".to_owned(),
        };
        let statement =
            Statement::new(self.wall(), says).until(self.wall() + Duration::from_mins(3));
        self.sign(&["mia"], &format!("roll back {number}"), &statement);
    }

    /// A host is made anew: nothing is left of it but its name.
    pub(super) fn remake(&mut self, number: usize) {
        let old = &self.hosts[number];
        let mut host = Host::new(&old.name, old.environment);
        host.made = old.made + 1;
        host.lives = old.lives;
        host.cut = old.cut;
        host.slowness = old.slowness;
        host.failing = old.failing;
        host.booted = self.now;
        self.retire_connection(number);
        self.hosts[number] = host;
        self.referee.remade(number);
        self.invite(number);
        self.after(500, Event::BootHost(number));
    }
}
