//! Statements on their way into the log.
//!
//! They go one at a time and in the order in which the applier gave them: an enrolment before the
//! outcomes that only an enrolled host may report, and each proof from a head that the applier knows by
//! the time it gets it. One that the coordinator fails on goes to the end of the queue, so that it holds
//! nobody up. Nothing here is on disk: the applier keeps its statements until they are logged, and says
//! them again.

use std::collections::VecDeque;

use cutover_shared::digest::Digest;
use cutover_shared::protocol::{Receipt, Request, Response};
use cutover_transport::Connection;
use tokio::sync::watch;

use super::ask::{Failure, ask, beside_the_point};
use super::event::Appended;

/// Most statements that wait here. More wait with the applier, which says them again.
const MOST: usize = 64;

/// The statements that wait, and whether the first is being asked about.
#[derive(Debug, Default)]
pub(super) struct Appends {
    queue: VecDeque<(Digest, Vec<u8>)>,
    asking: bool,
    /// Nothing is asked until a delay is over.
    paused: bool,
}

impl Appends {
    /// Adds a statement. One that waits already stays where it is.
    pub(super) fn add(&mut self, id: Digest, envelope: Vec<u8>) {
        if self.queue.iter().any(|(waiting, _)| *waiting == id) {
            return;
        }
        if self.queue.len() >= MOST {
            tracing::debug!(statement = %id.short(), "{MOST} statements wait already; the applier will say it again");
            return;
        }
        self.queue.push_back((id, envelope));
    }

    /// The statement to ask about now, if there is one and nothing is asked already.
    pub(super) fn start(&mut self) -> Option<(Digest, Vec<u8>)> {
        if self.asking || self.paused {
            return None;
        }
        let first = self.queue.front()?;
        self.asking = true;
        Some(first.clone())
    }

    /// The statement has its answer.
    pub(super) fn finish(&mut self, id: &Digest) {
        self.asking = false;
        self.queue.retain(|(waiting, _)| waiting != id);
    }

    /// The statement has no answer: the next one's turn, after a delay.
    pub(super) fn postpone(&mut self, id: &Digest) {
        self.asking = false;
        self.paused = true;
        if self.queue.front().is_some_and(|(first, _)| first == id) {
            self.queue.rotate_left(1);
        }
    }

    /// The delay is over.
    pub(super) fn resume(&mut self) {
        self.paused = false;
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// Asks to have `envelope` logged. `known` is the size of the newest head that the applier knows, as far
/// as it has said.
pub(super) async fn append(
    connection: Connection,
    envelope: Vec<u8>,
    known: watch::Receiver<u64>,
) -> Appended {
    match attempt(&connection, envelope, &known).await {
        Ok((receipt, consistency)) => Appended::Logged { receipt, consistency },
        Err(Failure::Refused(refusal)) => Appended::Refused(refusal),
        Err(Failure::Again(why)) => Appended::Again { why },
    }
}

async fn attempt(
    connection: &Connection,
    envelope: Vec<u8>,
    known: &watch::Receiver<u64>,
) -> Result<(Receipt, Vec<Digest>), Failure> {
    let question = Request::Append { envelope };
    let mut receipt = logged(connection, &question).await?;
    if size_of(&receipt)? < *known.borrow() {
        // While the answer was on its way the applier has come to know a newer head, from an offer.
        // A repeated append is answered with a new receipt. If that is too old as well, the log has
        // become shorter, and the applier is the one to say so.
        receipt = logged(connection, &question).await?;
    }
    let (old, new) = (*known.borrow(), size_of(&receipt)?);
    if old == 0 || old >= new {
        return Ok((receipt, Vec::new()));
    }
    match ask(connection, &Request::Consistency { old, new }).await {
        Ok(Response::Consistency(consistency)) => Ok((receipt, consistency)),
        Ok(_) => Err(beside_the_point()),
        // What is refused here is the proof, never the statement: that is logged.
        Err(Failure::Refused(refusal)) => Err(Failure::Again(format!(
            "the coordinator proves no consistency from {old} to {new} entries: {refusal}"
        ))),
        Err(Failure::Again(why)) => Err(Failure::Again(why)),
    }
}

async fn logged(connection: &Connection, question: &Request) -> Result<Receipt, Failure> {
    if let Response::Appended(receipt) = ask(connection, question).await? {
        Ok(receipt)
    } else {
        Err(beside_the_point())
    }
}

/// The size that the receipt's checkpoint claims: the second line of the note. Only to know which proof
/// to ask for; whether the note is good is for the applier to see.
fn size_of(receipt: &Receipt) -> Result<u64, Failure> {
    std::str::from_utf8(&receipt.checkpoint)
        .ok()
        .and_then(|note| note.lines().nth(1)?.parse().ok())
        .ok_or_else(|| Failure::Again("the receipt's checkpoint tells no size".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> Digest {
        Digest::from_bytes([number; 32])
    }

    #[test]
    fn one_at_a_time_in_order_and_each_once() {
        let mut appends = Appends::default();
        for number in [1, 2, 1, 3] {
            appends.add(id(number), vec![number]);
        }
        assert_eq!(appends.start(), Some((id(1), vec![1])));
        assert_eq!(appends.start(), None);
        appends.finish(&id(1));
        assert_eq!(appends.start(), Some((id(2), vec![2])));
        appends.postpone(&id(2));
        assert_eq!(appends.start(), None);
        appends.resume();
        assert_eq!(appends.start(), Some((id(3), vec![3])));
        appends.finish(&id(3));
        assert_eq!(appends.start(), Some((id(2), vec![2])));
        appends.finish(&id(2));
        assert_eq!((appends.start(), appends.len()), (None, 0));
    }

    #[test]
    fn the_queue_has_an_end() {
        let mut appends = Appends::default();
        for number in 0..=u8::MAX {
            appends.add(id(number), Vec::new());
        }
        assert_eq!(appends.len(), MOST);
    }

    #[test]
    fn the_size_is_read_from_any_note() {
        let receipt =
            |note: &[u8]| Receipt { index: 0, checkpoint: note.to_vec(), inclusion: Vec::new() };
        assert_eq!(size_of(&receipt(b"origin\n42\nroot\n\n")).ok(), Some(42));
        for note in [&b""[..], b"origin", b"origin\n", b"origin\nmany\n", b"\xff\n4\n"] {
            assert!(size_of(&receipt(note)).is_err(), "{note:?}");
        }
    }
}
