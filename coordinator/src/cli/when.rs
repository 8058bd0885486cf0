//! When: how people say on the command line from when until when. What comes of it is decided in
//! [`cutover_shared::calendar::span`].

use std::time::Duration;

use clap::Args;
use cutover_shared::calendar::span::{Ending, Reading, Span, When, WhenError};
use cutover_shared::calendar::zone::Zone;
use cutover_shared::statement::Derivation;
use cutover_shared::time::{Time, span};
use cutover_shared::window::Window;

use super::exit::Failure;

/// From when until when, as people say it.
#[derive(Debug, Clone, Args)]
pub struct SpanArgs {
    /// Start: `now`, `+10m`, 2026-03-08T06:30:00Z, or a wall-clock time as 2026-03-08T02:30 with --zone
    // An Option for commands in which something else can stand in its place.
    #[arg(long, value_name = "WHEN", required = true)]
    pub start: Option<When>,
    /// Exact length: 90m, 2h, 1d
    #[arg(
        long = "for",
        value_name = "DURATION",
        value_parser = span::parse,
        required_unless_present = "until",
        conflicts_with = "until"
    )]
    pub length: Option<Duration>,
    /// End: as --start, or a time of day as 02:00, which is the first one after the start
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// IANA zone of wall-clock times, as America/New_York
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
}

impl From<WhenError> for Failure {
    fn from(error: WhenError) -> Self {
        Self::usage(error.to_string())
    }
}

impl SpanArgs {
    /// The zone that was named.
    pub fn find_zone(&self) -> Result<Option<Zone>, WhenError> {
        Ok(self.zone.as_deref().map(Zone::find).transpose()?)
    }

    /// What was said.
    pub fn span(&self) -> Span {
        let end = match (self.length, &self.until) {
            (_, Some(until)) => Ending::Until(until.clone()),
            (length, None) => Ending::For(length.unwrap_or(Duration::ZERO)),
        };
        let start =
            self.start.clone().expect("clap demands it wherever nothing stands in its place");
        Span { start, end }
    }

    /// The window of a permission.
    pub fn permission(&self, zone: Option<&Zone>, now: Time) -> Result<Window, WhenError> {
        self.span().window(Reading::Permission, zone, now)
    }

    /// The window of a prohibition.
    pub fn prohibition(&self, zone: Option<&Zone>, now: Time) -> Result<Window, WhenError> {
        self.span().window(Reading::Prohibition, zone, now)
    }

    /// How the instants came about, where the wall clock had a part in it; for people.
    pub fn derivation(&self, zone: Option<&Zone>) -> Option<Derivation> {
        self.span().derivation(zone)
    }
}
