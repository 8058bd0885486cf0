//! The directive stream: what the host reports goes up, what the coordinator tells comes down.

use std::time::Duration;

use cutover_shared::protocol::{Directive, HostReport, Request, ToApplier};
use cutover_transport::{Connection, FrameReader, FrameWriter, StreamError, open_stream};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::Instant;

use super::event::Event;
use super::socket::Outbox;

/// A stream that lasted so long, or brought something, had worked.
const STEADY: Duration = Duration::from_secs(10);

/// Holds the stream until it ends, which is an event. The newest report goes up, those that came while
/// an earlier one was being sent do not: they are of no interest any more.
pub(super) async fn hold(
    connection: Connection,
    report: watch::Receiver<Option<HostReport>>,
    outbox: Outbox,
    events: Sender<Event>,
) {
    let since = Instant::now();
    let mut arrived = 0_u64;
    let why = match converse(&connection, report, &outbox, &mut arrived).await {
        Ok(()) => "the coordinator ended it".to_owned(),
        Err(error) => super::chain(&error),
    };
    let ended = Event::DirectivesEnded {
        connection: connection.stable_id(),
        worked: arrived > 0 || since.elapsed() >= STEADY,
        why,
    };
    // Nobody listens when the session is over.
    let _ = events.send(ended).await;
}

async fn converse(
    connection: &Connection,
    report: watch::Receiver<Option<HostReport>>,
    outbox: &Outbox,
    arrived: &mut u64,
) -> Result<(), StreamError> {
    let (mut writer, reader) = open_stream(connection).await?;
    writer.send(&Request::Directives).await?;
    tokio::select! {
        ended = send_reports(writer, report) => ended,
        ended = forward_directives(reader, outbox, arrived) => ended,
    }
}

async fn send_reports(
    mut writer: FrameWriter,
    mut report: watch::Receiver<Option<HostReport>>,
) -> Result<(), StreamError> {
    report.mark_changed();
    while report.changed().await.is_ok() {
        let newest = report.borrow_and_update().clone();
        if let Some(newest) = newest {
            writer.send(&newest).await?;
        }
    }
    Ok(())
}

async fn forward_directives(
    mut reader: FrameReader,
    outbox: &Outbox,
    arrived: &mut u64,
) -> Result<(), StreamError> {
    while let Some(directive) = reader.recv::<Directive>().await? {
        *arrived += 1;
        match &directive {
            Directive::Offer { order, .. } => {
                tracing::info!(order = %order.short(), "an order is offered");
            }
            Directive::Stop { order, .. } => {
                tracing::info!(order = %order.short(), "an order is to stop");
            }
            Directive::Steps { order, .. } => {
                tracing::info!(order = %order.short(), "steps of an order were done");
            }
        }
        if !outbox.push(ToApplier::Directive(Box::new(directive))).await {
            return Ok(());
        }
    }
    Ok(())
}
