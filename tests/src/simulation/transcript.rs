//! What happened in a run, line by line, and its digest: two runs of one seed are the same to the byte.

use std::fmt::Write as _;

use cutover_shared::digest::Digest;

use super::fleet::{Event, Up};
use super::scenario::Instant;

/// The lines of a run.
#[derive(Debug)]
pub(super) struct Transcript {
    /// Kept for whoever wants to read them.
    pub(super) text: String,
    keep: bool,
    digest: Digest,
}

impl Transcript {
    pub(super) fn new(keep: bool) -> Self {
        Self { text: String::new(), keep, digest: Digest::of(b"") }
    }

    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn line(&mut self, at: Instant, line: &str) {
        let mut text = String::with_capacity(line.len() + 16);
        let _ = writeln!(text, "{:>4}.{:03} {line}", at / 1000, at % 1000);
        self.digest = Digest::of_parts([&self.digest.as_bytes()[..], text.as_bytes()]);
        if self.keep {
            self.text.push_str(&text);
        }
    }

    pub(super) fn event(&mut self, at: Instant, event: &Event) {
        let line = match event {
            Event::Round | Event::Wake(..) | Event::Tick(..) => return,
            Event::Up(host, _, up) => match up {
                Up::Open => format!("host {host} opens its stream"),
                Up::Report(report) => {
                    let steps: Vec<&str> =
                        report.applications.iter().map(|it| it.step.as_str()).collect();
                    format!("host {host} reports {}, knows {}", steps.join(" "), report.known)
                }
                Up::Clearance { order, phase, nonce, .. } => {
                    format!("host {host} asks to {phase:?} {} ({})", order.short(), nonce.short())
                }
                Up::Append { id, .. } => format!("host {host} brings {}", id.short()),
            },
            Event::Down(host, _, frame) => {
                use cutover_shared::protocol::ToApplier;
                let what = match &**frame {
                    ToApplier::Directive(_) => "a directive".to_owned(),
                    ToApplier::Clearance { nonce, answer } => match answer {
                        Ok(_) => format!("a clearance ({})", nonce.short()),
                        Err(refusal) => format!("no clearance ({}): {refusal}", nonce.short()),
                    },
                    ToApplier::Logged { id, .. } => format!("the receipt of {}", id.short()),
                    ToApplier::NotLogged { id, refusal } => {
                        format!("no receipt of {}: {refusal}", id.short())
                    }
                    ToApplier::Hello { .. }
                    | ToApplier::Connected(_)
                    | ToApplier::Bytes { .. }
                    | ToApplier::FetchFailed { .. } => "something".to_owned(),
                };
                format!("host {host} gets {what}")
            }
            Event::Bring(errand) => format!("{} arrives", errand.what),
            Event::Hand(witness, errand) => format!("witness {witness} is handed: {}", errand.what),
            Event::Act(_)
            | Event::Fault(_)
            | Event::FaultOver(_)
            | Event::Calm
            | Event::BootCoordinator
            | Event::BootHost(_)
            | Event::Connect(..)
            | Event::Lost(..)
            | Event::Done(..)
            | Event::Read(..)
            | Event::Exited(..) => format!("{event:?}"),
        };
        self.line(at, &line);
    }
}
