//! `cutover metrics`: how timely the process is and how well it goes, from the verified log alone.

use clap::Args;
use cutover_shared::calendar::span::{When, WhenError};
use cutover_shared::calendar::zone::Zone;
use cutover_shared::metrics::{Metrics, Observer, Share, Spread};
use cutover_shared::statement::Statement;
use cutover_shared::time::{Time, span};

use super::context::Context;
use super::exit::Failure;
use super::output::table;
use super::sync::Synced;

/// Show how timely releases are and how well they go: rates, waits, failures, denials, exceptions
///
/// Counted from the log alone, which is verified here first. A window is on time when each of its hosts
/// committed in it; one that is late has expired and is never caught up.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  cutover metrics\n  cutover metrics --since 2026-03-01T00:00:00Z --until 2026-04-01T00:00:00Z\n  cutover metrics --since 2026-03-01T00:00 --zone America/New_York --json"
)]
pub struct MetricsArgs {
    /// From when on: 2026-03-01T00:00:00Z, or a wall-clock time with --zone [default: the log's beginning]
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Until when: the log is read up to there, as if nothing had come after [default: now]
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// IANA zone of wall-clock times, as America/New_York
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
}

/// Carries the command out.
pub async fn run(context: &Context, args: &MetricsArgs) -> Result<(), Failure> {
    let (since, until) = period(args, context.now())?;
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let metrics = observed(&synced, since, until)?;
    context.sink().result(&metrics, text)
}

fn period(args: &MetricsArgs, now: Time) -> Result<(Option<Time>, Time), Failure> {
    let zone = args.zone.as_deref().map(Zone::find).transpose().map_err(WhenError::from)?;
    let instant = |when: &Option<When>| {
        when.as_ref().map(|when| when.permitted_start(zone.as_ref(), now)).transpose()
    };
    let (since, until) = (instant(&args.since)?, instant(&args.until)?.unwrap_or(now));
    if since.is_some_and(|since| since >= until) {
        return Err(Failure::usage(format!("the period ends at {until}, before it begins")));
    }
    if until > now {
        return Err(Failure::usage(format!("--until {until} is not over yet")));
    }
    Ok((since, until))
}

fn observed(synced: &Synced, since: Option<Time>, until: Time) -> Result<Metrics, Failure> {
    let mut observer = Observer::new(since);
    for index in 0..synced.state.next_index() {
        let entry = synced.entry(index)?;
        if said(synced, index)?.is_some_and(|said| said >= until) {
            break;
        }
        // What the fold refuses has changed nothing, and is no figure; `cutover log list` shows it.
        let _ = observer.observe(index, &entry);
    }
    Ok(observer.finish(until))
}

/// When an entry was signed; `None` where it is no statement.
fn said(synced: &Synced, index: u64) -> Result<Option<Time>, Failure> {
    let envelope = synced.envelope(index)?;
    Ok(Statement::read(&envelope).ok().map(|it| it.header.issued))
}

fn text(metrics: &Metrics) -> String {
    let Metrics { since, until, .. } = metrics;
    let since = since.map_or("the log's beginning".to_owned(), |it| it.to_string());
    let mut lines = vec![
        format!("from {since} until {until}"),
        format!(
            "submitted             {} ({} new, {} returned to the submitter: {})",
            metrics.submissions,
            metrics.releases,
            metrics.returned,
            per(metrics.returned, metrics.releases)
        ),
        format!("windows on time       {}", share(metrics.on_time)),
        format!("hosts on time         {}", share(metrics.hosts_on_time)),
        format!("windows expired       {}", metrics.expired),
        format!("change failure rate   {}", share(metrics.failed_changes)),
        format!("time to restore       {}", spread(&metrics.time_to_restore)),
        format!("emergency to fix      {}", spread(&metrics.time_to_fix)),
        format!("denials               {}", counts(&metrics.denials)),
        format!("freezes passed        {}", metrics.freezes_passed),
        format!("waivers               {}", counts(&metrics.waivers)),
    ];
    let mut waits = table(["waited for", "releases", "median", "mean", "longest", "waiting now"]);
    for (side, it) in &metrics.waits {
        waits.add_row([
            side.name().to_owned(),
            it.count.to_string(),
            length(it.median),
            length(it.mean()),
            length(it.longest),
            it.open.to_string(),
        ]);
    }
    if !metrics.waits.is_empty() {
        lines.push(waits.to_string());
    }
    lines.join("\n")
}

fn per(some: u64, of: u64) -> String {
    match (some * 100).checked_div(of) {
        Some(hundredths) => format!("{}.{:02} a release", hundredths / 100, hundredths % 100),
        None => "none".to_owned(),
    }
}

fn share(share: Share) -> String {
    match share.permille() {
        Some(permille) => {
            format!("{}.{} % ({} of {})", permille / 10, permille % 10, share.part, share.of)
        }
        None => "none".to_owned(),
    }
}

fn spread(spread: &Spread) -> String {
    let open = if spread.open > 0 { format!(", {} not yet", spread.open) } else { String::new() };
    if spread.count == 0 {
        return format!("none{open}");
    }
    let (median, longest) = (length(spread.median), length(spread.longest));
    format!("median {median}, longest {longest}, of {}{open}", spread.count)
}

/// To the second: people read these.
fn length(length: std::time::Duration) -> String {
    span::format(std::time::Duration::from_secs(length.as_secs()))
}

fn counts<K: serde::Serialize>(counts: &std::collections::BTreeMap<K, u64>) -> String {
    let word = |key: &K| {
        let value = serde_json::to_value(key).ok();
        value.and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let told: Vec<_> = counts.iter().map(|(key, count)| format!("{count} {}", word(key))).collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::super::names::parse;
    use super::super::names::scene::time;
    use super::*;

    #[test]
    fn a_period_is_over_and_has_begun() {
        let now = time("2026-03-08T12:00:00Z");
        let of = |line: &str| period(&parse::<MetricsArgs>(line).unwrap(), now);
        assert_eq!(of("").unwrap(), (None, now));
        let line = "--since 2026-03-01T00:00 --until 2026-03-08T00:00 --zone America/New_York";
        let begun = Some(time("2026-03-01T05:00:00Z"));
        assert_eq!(of(line).unwrap(), (begun, time("2026-03-08T05:00:00Z")));
        for wrong in [
            "--until 2026-03-09T00:00:00Z",
            "--since 2026-03-08T12:00:00Z",
            "--since 2026-03-01T00:00",
        ] {
            assert_eq!(of(wrong).unwrap_err().code(), 2, "{wrong}");
        }
    }

    #[test]
    fn figures_are_told_with_what_they_are_of() {
        assert_eq!(share(Share { part: 2, of: 3 }), "66.6 % (2 of 3)");
        assert_eq!(share(Share::default()), "none");
        assert_eq!(per(3, 2), "1.50 a release");
        assert_eq!(per(0, 0), "none");
        assert_eq!(spread(&Spread { open: 1, ..Spread::default() }), "none, 1 not yet");
    }
}
