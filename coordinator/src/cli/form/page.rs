//! A form as a page, to be read, printed and filed.

use std::fmt::Write as _;

use cutover_shared::package::form::Form;
use cutover_shared::package::form::fact::Facts;
use cutover_shared::package::form::schema::{Answer, Place};
use serde::Serialize;

/// What stands where the log has nothing to tell yet.
const OPEN: &str = "(not yet)";

/// What stands where nothing was answered and nothing had to be.
const BLANK: &str = "";

/// The column in which answers begin.
const COLUMN: usize = 30;

/// One form, ready to be printed.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Page {
    title: String,
    schema: String,
    parts: Vec<Part>,
}

/// What stands under one heading.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Part {
    heading: String,
    rows: Vec<Row>,
}

/// A label and what belongs to it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    label: String,
    text: String,
}

impl Page {
    /// The page of `form`, with `facts` for what nobody fills in, and below what the log tells besides.
    pub(super) fn of(form: &Form, facts: &Facts, besides: &[(&str, String)]) -> Self {
        let mut parts = Vec::new();
        for section in form.schema().sections() {
            for (number, place) in form.places(section).iter().enumerate() {
                let repeated = matches!(section.place, Place::Each { .. });
                let heading = if repeated {
                    format!("{} {}", section.title, number + 1)
                } else {
                    section.title.clone()
                };
                let rows = section.fields.iter().filter_map(|field| {
                    let text = match &field.answer {
                        Answer::Told(fact) => facts.get(fact).map_or(OPEN, String::as_str),
                        Answer::Asked { name, .. } => form.answer(place, name).unwrap_or(BLANK),
                    };
                    // Of many lines only what was answered is worth its room.
                    let shown = !(repeated && text.is_empty());
                    shown.then(|| Row { label: field.label.clone(), text: text.to_owned() })
                });
                parts.push(Part { heading, rows: rows.collect() });
            }
        }
        if !besides.is_empty() {
            let row = |(label, text): &(&str, String)| Row {
                label: (*label).to_owned(),
                text: text.clone(),
            };
            let rows = besides.iter().map(row).collect();
            parts.push(Part { heading: "Tasks and rehearsals".to_owned(), rows });
        }
        let schema = form.schema();
        Self { title: schema.title().to_owned(), schema: schema.name(), parts }
    }
}

/// Pages as text.
pub(super) fn text(pages: &[Page]) -> String {
    let mut text = String::new();
    for page in pages {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        let _ = writeln!(text, "{}\n{}", page.title, "=".repeat(page.title.chars().count()));
        let _ = writeln!(text, "{}", page.schema);
        for part in &page.parts {
            let line = "-".repeat(part.heading.chars().count());
            let _ = writeln!(text, "\n{}\n{line}", part.heading);
            for row in &part.rows {
                // Lines of a longer text stand below each other.
                let indented = row.text.replace('\n', &format!("\n{:COLUMN$}", ""));
                let _ = writeln!(text, "{:width$} {indented}", row.label, width = COLUMN - 1);
            }
        }
    }
    text.truncate(text.trim_end().len());
    text
}

const STYLE: &str = "\
body{font:11pt/1.35 sans-serif;margin:2em auto;max-width:48em;color:#000;background:#fff}\
h1{font-size:1.3em;margin-bottom:0}h2{font-size:1.05em;margin:1.2em 0 .2em;border-bottom:1px solid #000}\
p{margin:.2em 0;color:#444}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.15em .4em;border-bottom:1px solid #ddd}\
th{width:32%;font-weight:normal;color:#444}td{white-space:pre-wrap;overflow-wrap:anywhere}\
section{break-after:page}section:last-child{break-after:auto}tr{break-inside:avoid}\
@page{margin:18mm}@media print{body{margin:0;max-width:none}}";

/// Pages as one HTML document that needs nothing else.
pub(super) fn html(pages: &[Page]) -> String {
    let title = pages.first().map_or("", |page| page.title.as_str());
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n",
        escaped(title)
    );
    for page in pages {
        let (title, schema) = (escaped(&page.title), escaped(&page.schema));
        let _ = writeln!(text, "<section>\n<h1>{title}</h1>\n<p>{schema}</p>");
        for part in &page.parts {
            let _ = writeln!(text, "<h2>{}</h2>\n<table>", escaped(&part.heading));
            for row in &part.rows {
                let (label, answer) = (escaped(&row.label), escaped(&row.text));
                let _ = writeln!(text, "<tr><th>{label}</th><td>{answer}</td></tr>");
            }
            text.push_str("</table>\n");
        }
        text.push_str("</section>\n");
    }
    text.push_str("</body>\n</html>\n");
    text
}

/// The text as HTML shows it; control characters, which no browser shows, are replaced.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            '\n' | '\t' => shown.push(character),
            control if control.is_control() => shown.push('\u{fffd}'),
            other => shown.push(other),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use cutover_shared::package::form::fact::named;
    use cutover_shared::package::form::{Catalogue, read};
    use cutover_shared::package::listing::{Item, ItemKind, Listing};

    use super::*;

    const F052: &str = include_str!("../../../../shared/src/package/form/examples/cot-f052.toml");

    fn page() -> Page {
        let mut listing = Listing::new();
        let privileges = Vec::new();
        listing.add("payload", Item { kind: ItemKind::Directory, mode: 0o755, privileges });
        let text = F052.replace("Office of Examples", "Office of <b>Examples</b> & Sons");
        let form = read("forms/cot-f052.toml", &text, &Catalogue::shipped(), &listing, None);
        let facts = named([
            ("log.release", "R-7".to_owned()),
            ("rollback.steps", "1. Stop.\n2. Go back.".to_owned()),
        ]);
        Page::of(&form.form.unwrap(), &facts, &[("Tasks", "stage: open".to_owned())])
    }

    #[test]
    fn a_page_has_what_was_asked_what_is_told_and_what_is_open() {
        let text = text(&[page()]);
        let lines: Vec<&str> = text.lines().collect();
        let row = |label: &str, answer: &str| format!("{label:29} {answer}");
        for line in [
            row("Release", "R-7"),
            row("Service-request number", "SR-1001"),
            row("Rollback steps", "1. Stop."),
            row("", "2. Go back."),
            row("Target path", "/srv/shop"),
            row("Board", "(not yet)"),
        ] {
            assert!(lines.contains(&line.as_str()), "{line} in\n{text}");
        }
        assert!(text.contains("\nItems 1\n-------\n"), "{text}");
        assert!(!text.contains("Database order"), "of a line only what was answered");
    }

    #[test]
    fn html_says_what_was_written_and_does_nothing_else() {
        let html = html(&[page()]);
        assert!(html.contains("Office of &lt;b&gt;Examples&lt;/b&gt; &amp; Sons"), "{html}");
        assert!(!html.contains("<b>") && !html.contains("<script") && !html.contains("http"));
        assert!(html.contains("<tr><th>Release</th><td>R-7</td></tr>"));
        assert!(html.contains("<h2>Tasks and rehearsals</h2>"), "{html}");
        assert!(html.contains("<tr><th>Tasks</th><td>stage: open</td></tr>"), "{html}");
        assert!(html.trim_end().ends_with("</html>"));
    }
}
