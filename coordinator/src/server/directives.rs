//! A host's long-lived stream: what it reports comes up, what it is told goes down.

use std::sync::Arc;

use cutover_coordinator_core::{Command, Turn, not_shorter};
use cutover_shared::evidence::seen_of;
use cutover_shared::key::KeyId;
use cutover_shared::protocol::{Directive, HostReport};
use cutover_transport::{CloseCode, Connection, FrameReader, FrameWriter, close};
use tokio::sync::mpsc;

use super::core::Core;
use super::evidence;
use super::trouble::{Trouble, chain, moving};

/// Longest report: hundreds of applications.
const REPORT_LIMIT: usize = 256 * 1024;

/// Holds the stream until it ends, is replaced by a newer one, or the server ends.
pub(super) async fn hold(
    core: &Arc<Core>,
    host: KeyId,
    connection: &Connection,
    writer: &mut FrameWriter,
    reader: FrameReader,
) -> Result<(), Trouble> {
    let (number, commands, earlier) = core.hosts().open(host, connection.clone());
    if let Some(earlier) = earlier
        && earlier.connection.stable_id() != connection.stable_id()
    {
        close(&earlier.connection, CloseCode::Superseded, "this host has connected again");
    }
    let open = Open { core, host, number };
    core.changed.notify_one();
    tracing::debug!(host = %host.short(), "a host's stream is open");
    let ended = tokio::select! {
        ended = listen(core, host, number, reader.with_limit(REPORT_LIMIT)) => ended,
        ended = speak(core, host, writer, commands) => ended,
        () = core.drained() => Ok(()),
    };
    drop(open);
    ended
}

/// The stream's place in the register; given up also when the stream's task is cut off.
struct Open<'c> {
    core: &'c Core,
    host: KeyId,
    number: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.core.hosts().close(&self.host, self.number) {
            tracing::info!(host = %self.host.short(), "a host is gone");
            self.core.changed.notify_one();
        }
    }
}

async fn listen(
    core: &Core,
    host: KeyId,
    number: u64,
    mut reader: FrameReader,
) -> Result<(), Trouble> {
    let mut told = None;
    while let Some(report) = reader.recv::<HostReport>().await? {
        if told.is_none() {
            tracing::info!(host = %host.short(), known = report.known, "a host is there");
        }
        let (head, known) = {
            let folded = core.folded();
            let known = seen_of(&folded.state, report.known, report.policy_version);
            (folded.head.clone(), known)
        };
        let fits = not_shorter(&head, known);
        let once = told.replace(fits.is_ok()) != Some(false);
        if let Err(refusal) = fits
            && once
        {
            tracing::error!(
                host = %host.short(),
                known = report.known,
                size = head.size,
                %refusal,
                "the log here was shortened: restore it from a replica or backup"
            );
        }
        let now = core.now();
        if core.hosts().register.report(host, number, report, now) {
            core.changed.notify_one();
        }
    }
    Ok(())
}

async fn speak(
    core: &Core,
    host: KeyId,
    writer: &mut FrameWriter,
    mut commands: mpsc::Receiver<Command>,
) -> Result<(), Trouble> {
    // The channel ends when a newer stream takes this one's place.
    while let Some(command) = commands.recv().await {
        let order = command.order();
        let Some(report) = core.hosts().register.last_report(&host).cloned() else { continue };
        let turn = Turn { host, order };
        let evidence = match evidence::gather(core, &turn, &report).await {
            Ok(evidence) => evidence,
            // What its report has shown already: it knows a longer log.
            Err(Trouble::Refused(refusal)) => {
                tracing::debug!(host = %host.short(), %refusal, "nothing is shown to a host");
                continue;
            }
            Err(trouble) => {
                tracing::error!(
                    host = %host.short(),
                    order = %order.short(),
                    trouble = %chain(&trouble),
                    "the evidence for an order cannot be shown"
                );
                continue;
            }
        };
        tracing::info!(
            host = %host.short(),
            order = %order.short(),
            entries = evidence.entries.len(),
            told = command.name(),
            "a host is told"
        );
        let directive = match command {
            Command::Offer(order) => Directive::Offer { order, evidence },
            Command::Stop(order) => Directive::Stop { order, evidence },
            Command::Steps(order) => Directive::Steps { order, evidence },
        };
        moving(writer.send(&directive)).await?;
    }
    Ok(())
}
