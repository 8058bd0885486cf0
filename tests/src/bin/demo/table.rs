//! What the demonstration says while it goes on, and what it found.

use std::io::Write as _;
use std::time::Instant;

/// What was expected and what was observed.
#[derive(Debug)]
pub(crate) struct Table {
    began: Instant,
    rows: Vec<(String, String, String)>,
}

impl Table {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), rows: Vec::new() }
    }

    /// A line for people.
    #[expect(clippy::unused_self, reason = "the table is the one that speaks")]
    pub(crate) fn say(&self, text: &str) {
        // Nobody listening is no reason to stop.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// A new part of the story.
    pub(crate) fn chapter(&self, text: &str) {
        self.say(&format!("[{:>5.1} s] {text}", self.began.elapsed().as_secs_f64()));
    }

    /// An observation, compared.
    pub(crate) fn row(&mut self, what: &str, expected: &str, observed: impl Into<String>) {
        let observed = observed.into();
        let sign = if observed == expected { "  ok " } else { "  NOT AS EXPECTED " };
        self.say(&format!("         {sign} {what}: {observed}"));
        self.rows.push((what.to_owned(), expected.to_owned(), observed));
    }

    /// Whether every observation was as expected, and there were some.
    pub(crate) fn all_as_expected(&self) -> bool {
        !self.rows.is_empty()
            && self.rows.iter().all(|(_, expected, observed)| expected == observed)
    }

    /// All of it.
    pub(crate) fn print(&self) {
        let width = |column: &dyn Fn(&(String, String, String)) -> usize| {
            self.rows.iter().map(column).max().unwrap_or(0)
        };
        let (first, second) =
            (width(&|row| row.0.chars().count()), width(&|row| row.1.chars().count()));
        self.say(&format!("\n{:first$}  {:second$}  observed", "what", "expected"));
        for (what, expected, observed) in &self.rows {
            let sign = if expected == observed { "" } else { "   <-- NOT AS EXPECTED" };
            self.say(&format!("{what:first$}  {expected:second$}  {observed}{sign}"));
        }
        let bad = self.rows.iter().filter(|(_, expected, observed)| expected != observed).count();
        self.say(&format!("\n{} observations, {bad} not as expected", self.rows.len()));
    }
}
