//! What is different between a release and the one before it, for people and for programs.

use std::fmt::Write as _;

use cutover_shared::case::Case;
use cutover_shared::package::check::{self, Checked};
use cutover_shared::package::difference::{Change, Part, Side, difference};
use cutover_shared::package::listing::Listing;
use cutover_shared::statement::Verdict;
use serde::Serialize;

use super::client::Client;
use super::context::Beside;
use super::exit::Failure;

/// The lines of a document and of a change that are shown where not all are asked for.
const LINES: usize = 12;

/// The difference to an earlier submission.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Compared {
    with: String,
    changes: Vec<Change>,
    returned: Vec<Answered>,
}

/// What a librarian returned the earlier submission for, and what was done about it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Answered {
    item: String,
    remark: String,
    /// The changes of that item, by name; empty: nothing of it was changed.
    changed: Vec<String>,
}

/// A release's package, and what it is by the forms that it was submitted with.
pub(super) async fn fetched(client: &Client, case: &Case) -> Result<(Listing, Checked), Failure> {
    let release = case.release.says();
    let catalogue = client.catalogue_of(release).await?;
    let listing = client.listing(release.package).await?;
    let checked = check::examine(&listing, &catalogue);
    Ok((listing, checked))
}

/// What is different in `after`.
pub(super) async fn compared(
    client: &Client,
    earlier: &Case,
    after: &Side,
) -> Result<Compared, Failure> {
    let (before, checked_before) = fetched(client, earlier).await?;
    Ok(compare(earlier, &Side::new(&before, &checked_before), after))
}

fn compare(earlier: &Case, before: &Side, after: &Side) -> Compared {
    let changes = difference(before, after);
    let remarks = earlier.reviews.iter().filter_map(|review| match &review.says().verdict {
        Verdict::Returned { items } => Some(items),
        Verdict::Complete | Verdict::Denied { .. } => None,
    });
    let mut returned: Vec<Answered> = Vec::new();
    for remark in remarks.flatten() {
        if returned.iter().any(|it| it.item == remark.item && it.remark == remark.remark) {
            continue;
        }
        let changed = changes.iter().filter(|change| change.is_about(&remark.item));
        returned.push(Answered {
            item: remark.item.clone(),
            remark: remark.remark.clone(),
            changed: changed.map(|change| change.name.clone()).collect(),
        });
    }
    Compared { with: earlier.name(), changes, returned }
}

impl Compared {
    /// What is shown beside a statement that is about to be signed.
    pub(super) fn beside(&self) -> Beside {
        let value = serde_json::to_value(self).expect("a comparison is JSON");
        Beside { name: "difference", value, text: self.text(false).trim().to_owned() }
    }

    /// Under headings; cut short unless it is to be `full`.
    pub(super) fn text(&self, full: bool) -> String {
        let Self { with, changes, returned } = self;
        let mut text = String::new();
        if !returned.is_empty() {
            heading(&mut text, &format!("WHAT {with} WAS RETURNED FOR"));
            for Answered { item, remark, changed } in returned {
                let _ = writeln!(text, "  {item}: {remark}");
                let done = if changed.is_empty() {
                    "NOTHING OF IT WAS CHANGED".to_owned()
                } else {
                    format!("changed: {}", changed.join(", "))
                };
                let _ = writeln!(text, "    {done}");
            }
        }
        heading(&mut text, &format!("DIFFERENCE TO {with}"));
        if changes.is_empty() {
            text.push_str("  nothing is different\n");
        }
        let shown = if full { changes.len() } else { changes.len().min(4 * LINES) };
        for change in &changes[..shown] {
            one_change(&mut text, change, full);
        }
        if shown < changes.len() {
            let more = changes.len() - shown;
            let _ = writeln!(text, "  … {more} more changes: --full shows them");
        }
        text
    }
}

fn one_change(text: &mut String, change: &Change, full: bool) {
    let kind = match change.part {
        Part::Setting => "setting",
        Part::Document => "document",
        Part::FormItem => "form",
        Part::File => "file",
    };
    let _ = writeln!(text, "  {kind} {}", change.name);
    for (sign, side) in [('-', &change.before), ('+', &change.after)] {
        for line in shortened(side.as_deref().unwrap_or_default(), full) {
            let _ = writeln!(text, "    {sign} {line}");
        }
    }
}

/// A heading of a screen, after an empty line.
pub(super) fn heading(text: &mut String, heading: &str) {
    let _ = writeln!(text, "\n{heading}");
}

/// The lines, or the first of them and how many more there are.
pub(super) fn shortened(document: &str, full: bool) -> Vec<String> {
    let lines: Vec<&str> =
        document.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    if full || lines.len() <= LINES {
        return lines.into_iter().map(str::to_owned).collect();
    }
    let more = lines.len() - LINES;
    let shown = lines[..LINES].iter().map(|line| (*line).to_owned());
    shown.chain([format!("… {more} more lines: --full shows them")]).collect()
}
