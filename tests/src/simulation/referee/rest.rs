//! P11: when nothing goes wrong any longer, everything comes to an end.

use cutover_machine::State;
use cutover_shared::dsse::Envelope;
use cutover_shared::statement::Statement;
use cutover_shared::time::Time;

use super::{Invariant, Referee, host_state};
use crate::simulation::APPLICATION;
use crate::simulation::coordinator::Coordinator;
use crate::simulation::disk::slot_name;
use crate::simulation::host::Host;
use crate::simulation::people::People;
use crate::simulation::scenario::{Behaviour, Instant};
use crate::world::name;

impl Referee {
    /// Everything has had its time: is everything at rest?
    pub(in crate::simulation) fn at_rest(
        &mut self,
        now: Instant,
        hosts: &[Host],
        coordinator: &Coordinator,
        people: &People,
    ) {
        if coordinator.life.is_none() {
            self.fault(Invariant::P11, now, "the coordinator does not come up".to_owned());
        }
        for host in hosts {
            if let Err(text) = at_rest(host, people) {
                self.fault(Invariant::P11, now, format!("{}: {text}", host.name));
            }
        }
        self.nothing_unsaid(now, hosts, coordinator);
        self.every_end_is_told(now, hosts, coordinator);
        if self.faultless {
            for order in self.ledger.untouched() {
                let text = format!("nothing stands against {}, and no host began", order.short());
                self.fault(Invariant::P11, now, text);
            }
        }
    }

    /// How an order that touched a host has ended there is in the log.
    fn every_end_is_told(&mut self, now: Instant, hosts: &[Host], coordinator: &Coordinator) {
        let Some(life) = &coordinator.life else { return };
        for host in hosts {
            let key = host.key_id();
            let known = life.folded.state.host(&key);
            if known.is_none_or(|record| record.retired.is_some()) {
                continue;
            }
            let Some(State::Committed(ended) | State::Returned(ended)) = host_state(host) else {
                continue;
            };
            let (order, generation) = (ended.booking, ended.generation);
            let waits = host.life.as_ref().is_some_and(|it| !it.core.saved().reports.is_empty());
            if !waits && !self.ledger.is_told(&order, &key, generation) {
                let text = format!("{} has not told how {} ended", host.name, order.short());
                self.fault(Invariant::P5, now, text);
            }
        }
    }

    /// Every outcome of a host that may still speak is in the log, once.
    fn nothing_unsaid(&mut self, now: Instant, hosts: &[Host], coordinator: &Coordinator) {
        let Some(life) = &coordinator.life else { return };
        for host in hosts {
            let known = life.folded.state.host(&host.key_id());
            if known.is_none_or(|record| record.retired.is_some()) {
                continue;
            }
            let mut waiting = 0;
            for (_, report) in host.life.iter().flat_map(|life| &life.core.saved().reports) {
                // What a host signed when its clock was ahead is logged when that time has come.
                waiting += usize::from(!is_ahead(report, self.wall(now)));
            }
            if waiting > 0 {
                let text = format!("{} has {waiting} outcomes that are not logged", host.name);
                self.fault(Invariant::P11, now, text);
            }
        }
    }
}

fn is_ahead(report: &[u8], now: Time) -> bool {
    let statement = Envelope::parse(report).ok().and_then(|it| Statement::read(&it).ok());
    statement.is_some_and(|statement| statement.header.issued > now)
}

fn at_rest(host: &Host, people: &People) -> Result<(), String> {
    let Some(life) = &host.life else { return Err("its applier does not run".to_owned()) };
    let state = host_state(host).ok_or("it has no machine".to_owned())?;
    match state {
        State::Idle | State::Committed(_) | State::Returned(_) => {}
        State::Stuck(..) => return Ok(()),
        State::Authorised(_)
        | State::Fetching(_)
        | State::Assembled(_)
        | State::Preflight(..)
        | State::Stopping(..)
        | State::Activating(..)
        | State::Starting(..)
        | State::Checking(_)
        | State::Baking(_)
        | State::Returning(..) => return Err(format!("it is still {}", state.phase())),
    }
    let application = life.core.saved().applications.get(&name(APPLICATION));
    let committed = application.and_then(|it| it.record.committed.as_ref()).map(slot_name);
    if host.disk.link != committed {
        return Err(format!("its link is {:?}, committed is {committed:?}", host.disk.link));
    }
    let runs = host.process.map(|process| process.slot);
    let dies = committed.and_then(|slot| people.behaviour(&slot.1));
    let falls = matches!(dies, Some(Behaviour::Dies(_))) && runs.is_none();
    if runs != committed && !falls {
        return Err(format!("it runs {runs:?}, committed is {committed:?}"));
    }
    Ok(())
}
