//! P11, the other half: not only does everything end, what nothing stands against is begun.

use cutover_shared::digest::Digest;
use cutover_shared::key::KeyId;
use cutover_shared::statement::{Booking, HostChange, Says};
use cutover_shared::time::Time;

use super::{Entry, Ledger};

impl Ledger {
    /// Orders that nothing ever stood against, and of whose first wave no host has said how it ended there.
    ///
    /// For runs without faults. Where people have interfered at all (a hold, a freeze, a return, a host
    /// retired, another order for the same hosts at the same time) it says nothing: there it is a matter of
    /// instants whether a host should have begun.
    pub(in crate::simulation::referee) fn untouched(&self) -> Vec<Digest> {
        let bookings = self.said(usize::MAX).filter_map(|(_, entry, statement)| {
            let Says::Booking(booking) = &statement.says else { return None };
            Some((entry.id, &**booking))
        });
        bookings
            .filter(|(order, booking)| {
                let Some(wave) = booking.plan.waves.first() else { return false };
                let hosts: Vec<KeyId> = wave.hosts.iter().map(|it| it.host_key).collect();
                !self.is_disturbed(order, booking)
                    && hosts.iter().all(|host| self.is_free(order, host, booking))
                    && !self.is_begun(order, &hosts)
            })
            .map(|(order, _)| order)
            .collect()
    }

    /// Whether nothing stands against an order when its window begins, nor at the very end.
    fn is_free(&self, order: &Digest, host: &KeyId, booking: &Booking) -> bool {
        let window = booking.window;
        self.against(order, host, self.size_at(window.start), window.start).is_empty()
            && self.against(order, host, self.size(), window.end).is_empty()
    }

    fn is_begun(&self, order: &Digest, hosts: &[KeyId]) -> bool {
        self.said(usize::MAX).any(|(_, _, statement)| {
            matches!(&statement.says, Says::Outcome(it)
                if it.order == *order && hosts.contains(&it.host_key))
        })
    }

    /// Whether anybody did anything that may have kept hosts from an order for a while.
    fn is_disturbed(&self, order: &Digest, booking: &Booking) -> bool {
        let iteration = self.iteration(order);
        self.said(usize::MAX).any(|(_, entry, statement)| match &statement.says {
            Says::Hold(it) => it.release == booking.release,
            Says::Freeze(_) | Says::Rollback(_) | Says::Override(_) | Says::Waiver(_) => true,
            Says::Host(change) => !matches!(change, HostChange::Enrolled(_)),
            Says::Booking(other) => {
                entry.id != *order
                    && other.window.start < booking.window.end
                    && booking.window.start < other.window.end
                    && other.plan.hosts().any(|theirs| {
                        booking.plan.hosts().any(|ours| ours.host_key == theirs.host_key)
                    })
            }
            // A later iteration takes the place of the ones before.
            Says::Release(other) => other.iteration.as_ref().is_some_and(|later| {
                iteration.is_some_and(|(grounds, number)| {
                    later.grounds == grounds && later.number > number
                })
            }),
            _ => false,
        })
    }

    /// How many entries there were at an instant.
    fn size_at(&self, instant: Time) -> usize {
        self.entries.iter().take_while(|Entry { since, .. }| *since <= instant).count()
    }
}
