//! What is heard of hosts, and the streams on which they are told something.

use std::collections::BTreeMap;

use cutover_coordinator_core::{Activations, Command, Register, Tell};
use cutover_shared::key::KeyId;
use cutover_shared::time::Time;
use cutover_transport::Connection;
use tokio::sync::mpsc;

/// Orders to tell a host that may wait for its stream: one for each of its applications, and then some.
/// Beyond, they are told later.
const COMMANDS: usize = 16;

/// A host's open stream.
#[derive(Debug)]
pub(super) struct Stream {
    number: u64,
    pub(super) connection: Connection,
    commands: mpsc::Sender<Command>,
}

/// What is heard of hosts, and the streams to them.
#[derive(Debug)]
pub(super) struct Hosts {
    pub(super) register: Register,
    streams: BTreeMap<KeyId, Stream>,
}

impl Hosts {
    pub(super) fn new(since: Time, activations: Activations) -> Self {
        Self { register: Register::new(since, activations), streams: BTreeMap::new() }
    }

    /// A host has opened its stream: the stream's number, what to do on it, and the stream that it takes
    /// the place of.
    pub(super) fn open(
        &mut self,
        host: KeyId,
        connection: Connection,
    ) -> (u64, mpsc::Receiver<Command>, Option<Stream>) {
        let (number, _earlier) = self.register.open(host);
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let earlier = self.streams.insert(host, Stream { number, connection, commands });
        (number, receiver, earlier)
    }

    /// Stream `number` of a host has ended. Whether that was its newest.
    pub(super) fn close(&mut self, host: &KeyId, number: u64) -> bool {
        let newest = self.register.close(host, number);
        if newest {
            self.streams.remove(host);
        }
        newest
    }

    /// Tells a host something, if its stream is open and does not stand still.
    pub(super) fn tell(&self, tell: &Tell) -> bool {
        let stream = self.streams.get(&tell.host).filter(|stream| stream.number == tell.stream);
        stream.is_some_and(|stream| stream.commands.try_send(tell.command).is_ok())
    }

    /// The connection on which a host's stream is.
    pub(super) fn connection(&self, host: &KeyId) -> Option<&Connection> {
        self.streams.get(host).map(|stream| &stream.connection)
    }
}
