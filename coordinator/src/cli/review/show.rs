//! `cutover review show`: everything that a librarian looks at, on one screen.

mod screen;

use clap::Args;
use cutover_shared::calendar::span::When;
use cutover_shared::calendar::zone::Zone;
use cutover_shared::case::Case;
use cutover_shared::fold::State;
use cutover_shared::fold::waiting::{self, Side as WaitSide, Wait};
use cutover_shared::package::check::Checked;
use cutover_shared::package::difference::Side;
use cutover_shared::package::finding::Finding;
use cutover_shared::package::form::Form;
use cutover_shared::package::form::schema::Place;
use cutover_shared::package::listing::{INSTRUCTIONS, Listing, NOTES};
use cutover_shared::package::manifest::Manifest;
use cutover_shared::time::{Time, span};
use serde::Serialize;

use crate::cli::client::Client;
use crate::cli::compared::{Compared, compared, fetched};
use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::names;

/// `cutover review show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// Compare it with this release [default: the one that it takes the place of or follows, or else the
    /// one before of its application]
    #[arg(long, value_name = "RELEASE")]
    pub against: Option<String>,
    /// Show documents and changes whole, however long they are
    #[arg(long)]
    pub full: bool,
}

/// Everything that there is to look at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shown {
    release: String,
    application: String,
    version: String,
    summary: String,
    change: String,
    environments: Vec<String>,
    submitted: Time,
    submitter: Vec<String>,
    waits: Waits,
    complete: bool,
    findings: Vec<Finding>,
    notes: String,
    instructions: String,
    /// None: `release.toml` cannot be read, as the findings say.
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<Manifest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<Requested>,
    forms: Vec<ShownForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Compared>,
}

/// How long it has waited, on whose side.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Waits {
    /// Whose turn it is; none: nobody's, it is reviewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<WaitSide>,
    submitter: String,
    librarian: String,
    spans: Vec<Wait>,
}

/// The window that is asked for, as instants.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Requested {
    start: Time,
    end: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    latest: Option<Time>,
    /// The latest acceptable start is past.
    late: bool,
}

/// A form, answer by answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ShownForm {
    schema: String,
    title: String,
    answers: Vec<(String, String)>,
    lines: Vec<Vec<(String, String)>>,
}

/// Carries the command out.
pub(super) async fn run(
    context: &Context,
    client: &Client,
    state: &State,
    args: &ShowArgs,
) -> Result<(), Failure> {
    let case = names::release(state, &args.release)?;
    let earlier = match &args.against {
        Some(text) => Some(names::release(state, text)?),
        None => waiting::before(state, case),
    };
    let (listing, checked) = fetched(client, case).await?;
    let difference = match earlier {
        Some(earlier) => Some(compared(client, earlier, &Side::new(&listing, &checked)).await?),
        None => None,
    };
    let shown = shown(state, case, &listing, checked, difference, context.now());
    context.sink().result(&shown, |shown| screen::text(shown, args.full))
}

fn shown(
    state: &State,
    case: &Case,
    listing: &Listing,
    checked: Checked,
    compared: Option<Compared>,
    now: Time,
) -> Shown {
    let release = case.release.says();
    let document = |path| listing.text(path).unwrap_or_default().to_owned();
    Shown {
        release: case.name(),
        application: release.application.to_string(),
        version: release.version.clone(),
        summary: release.summary.clone(),
        change: release.change.to_string(),
        environments: release.environments.iter().map(ToString::to_string).collect(),
        submitted: case.release.header().issued,
        submitter: case.release.owners().iter().map(ToString::to_string).collect(),
        waits: waits(state, case, now),
        complete: checked.findings.is_empty(),
        findings: checked.findings,
        notes: document(NOTES),
        instructions: document(INSTRUCTIONS),
        requested: checked.manifest.as_ref().and_then(|it| requested(it, now)),
        manifest: checked.manifest,
        forms: checked.forms.values().map(shown_form).collect(),
        compared,
    }
}

fn waits(state: &State, case: &Case, now: Time) -> Waits {
    let spans = waiting::waits(state, case);
    let sum = |side| {
        let lengths = spans.iter().filter(|it| it.side == side).map(|it| it.length(now));
        let seconds = lengths.sum::<std::time::Duration>().as_secs();
        span::format(std::time::Duration::from_secs(seconds))
    };
    Waits {
        now: spans.last().filter(|it| it.until.is_none()).map(|it| it.side),
        submitter: sum(WaitSide::Submitter),
        librarian: sum(WaitSide::Librarian),
        spans,
    }
}

/// `None` where no window comes of what was written, which the findings say.
fn requested(manifest: &Manifest, now: Time) -> Option<Requested> {
    use cutover_shared::calendar::span::Reading;
    let schedule = &manifest.schedule;
    let zone = Zone::find(&schedule.zone).ok()?;
    let window = schedule.span().window(Reading::Permission, Some(&zone), now).ok()?;
    let latest = When::civil(schedule.latest).permitted_start(Some(&zone), now).ok();
    let late = latest.is_some_and(|latest| latest < now);
    Some(Requested { start: window.start, end: window.end, latest, late })
}

fn shown_form(form: &Form) -> ShownForm {
    let (mut answers, mut lines) = (Vec::new(), Vec::new());
    for section in form.schema().sections() {
        for place in form.places(section) {
            let given = section.asked().filter_map(|(name, _, _)| {
                let answer = form.answer(&place, name)?.to_owned();
                Some((name.to_owned(), answer))
            });
            match &section.place {
                Place::Form => answers.extend(given),
                Place::Table(table) => {
                    answers.extend(given.map(|(name, answer)| (format!("{table}.{name}"), answer)));
                }
                Place::Each { .. } => {
                    let name = form.line_name(section, &place);
                    let line = std::iter::once(("line".to_owned(), name)).chain(given);
                    lines.push(line.collect());
                }
            }
        }
    }
    let schema = form.schema();
    ShownForm { schema: schema.name(), title: schema.title().to_owned(), answers, lines }
}
