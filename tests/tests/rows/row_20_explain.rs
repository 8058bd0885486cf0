//! Row 20: who has never seen Cutover finds the next step from `explain` alone.
//!
//! Each walk in `tests/walks/` is a script and its transcript. `$` lines are commands, each followed by what it
//! printed, with instants, digests and places in the log made the same; `?` lines look for a text in a help; `!`
//! lines build a package, or wait until a release has come somewhere. What is signed must be the step that the
//! `explain` before it told, by somebody whom it named. `GOLDEN=write` writes the transcripts.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use cutover_tests::build;
use cutover_tests::harness::Stage;
use cutover_tests::harness::release::{self, Made};

/// In the past, whenever this is read: so the best window is the next.
const SCHEDULE: &[(&str, &str)] =
    &[("start = \"2026-11-24T02:00\"", "start = \"2026-01-05T02:00\"")];

const STANDARD_RULE: &str = "[[rules]]\nenvironment = \"staging\"\nchange = \"standard\"\nreviews = 0\n\
     assessments = 0\nvotes = 0\ndelivery = false\nafter = []\nlongest_window = \"8h\"\n\
     duties = \"separate\"\n\n# Emergencies: a change";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_20_a_normal_change() -> anyhow::Result<()> {
    walk("normal", &[("stg-1", "staging"), ("stg-2", "staging"), ("prd-1", "production")]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_20_a_standard_change() -> anyhow::Result<()> {
    walk("standard", &[("stg-1", "staging")]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_20_an_emergency() -> anyhow::Result<()> {
    walk("emergency", &[("prd-1", "production")]).await
}

async fn walk(name: &str, hosts: &[(&str, &str)]) -> anyhow::Result<()> {
    let (mut stage, _directory) = super::stage().await?;
    stage.desk.amend_policy(|text| text.replacen("# Emergencies: a change", STANDARD_RULE, 1))?;
    stage.desk.amend_rule("production", "emergency", "standing_window = \"30m\"")?;
    for (host, environment) in hosts {
        stage.add_host(host, environment).await?;
    }
    let file = transcript(name);
    let expected = std::fs::read_to_string(&file).context("read the walk")?;
    let mut walk = Walk { stage, told: None, id: String::new(), text: String::new() };
    for line in expected.lines() {
        walk.line(line).await.with_context(|| format!("{name}: {line}\n{}", walk.text))?;
    }
    if std::env::var_os("GOLDEN").is_some_and(|it| it == "write") {
        return Ok(std::fs::write(&file, &walk.text)?);
    }
    for (found, expected) in walk.text.lines().zip(expected.lines()) {
        assert_eq!(found, expected, "{}", file.display());
    }
    assert_eq!(walk.text.lines().count(), expected.lines().count(), "{}", file.display());
    Ok(())
}

fn transcript(name: &str) -> PathBuf {
    build::workspace().join("tests/walks").join(format!("{name}.txt"))
}

/// The step that `explain` told.
#[derive(Debug)]
struct Told {
    who: String,
    command: String,
}

struct Walk {
    stage: Stage,
    told: Option<Told>,
    /// The last statement that was signed.
    id: String,
    text: String,
}

impl Walk {
    async fn line(&mut self, line: &str) -> anyhow::Result<()> {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        // What was printed stands under its command, further in; it is printed anew.
        if !["#", "?", "!", "$"].contains(&kind) {
            return Ok(());
        }
        let _ = writeln!(self.text, "{line}");
        match kind {
            "?" => self.help(rest),
            "!" => self.prepare(rest).await,
            "$" => self.command(rest),
            _ => Ok(()),
        }
    }

    fn help(&self, line: &str) -> anyhow::Result<()> {
        let (command, text) = line.split_once(" = ").context("? WHO: COMMAND = TEXT")?;
        let (who, words) = command.split_once(": ").context("? WHO: COMMAND = TEXT")?;
        let printed = self.run(who, &words_of(words))?;
        ensure!(printed.contains(text), "{text:?} is not in\n{printed}");
        Ok(())
    }

    async fn prepare(&mut self, line: &str) -> anyhow::Result<()> {
        match words_of(line).iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["build", version, change] => {
                let made = Made { change: Some(change), instead: SCHEDULE, ..Made::default() };
                release::build(&self.stage.desk, version, &made)?;
                // Whoever builds another package has something else in mind than the step that was told.
                self.told = None;
                Ok(())
            }
            ["wait", release, environment, state] => {
                let arrived = |status: &serde_json::Value| {
                    let mut here = status.get("environments")?.as_array()?.iter();
                    let here = here.find(|it| it["environment"] == environment)?;
                    (here["state"] == state).then_some(())
                };
                self.stage.status_until(release, state, arrived).await
            }
            _ => bail!("build VERSION CHANGE, or wait RELEASE ENVIRONMENT STATE"),
        }
    }

    fn command(&mut self, line: &str) -> anyhow::Result<()> {
        let (who, words) = line.split_once(": ").context("$ WHO: COMMAND")?;
        let words: Vec<_> =
            words_of(words).into_iter().map(|word| word.replace("$ID", &self.id)).collect();
        let explains = words.get(1).is_some_and(|it| it == "explain");
        if let Some(told) = self.told.take()
            && !explains
        {
            told.is_followed(who, &words)?;
        }
        let printed = self.run(who, &words)?;
        if explains {
            let after = |mark: &str| printed.lines().find_map(|line| line.strip_prefix(mark));
            self.told = after("  do    ")
                .zip(after("  who   "))
                .map(|(command, who)| Told { who: who.to_owned(), command: command.to_owned() });
        }
        if let Some(id) = printed.lines().find_map(|line| line.strip_prefix("statement ")) {
            id.clone_into(&mut self.id);
        }
        for line in timeless(&printed) {
            let _ = writeln!(self.text, "{}", format!("    {}", same(line)).trim_end());
        }
        Ok(())
    }

    /// Runs it as `who`, without a question; what it printed for people.
    fn run(&self, who: &str, words: &[String]) -> anyhow::Result<String> {
        let (program, words) = words.split_first().context("a command")?;
        ensure!(program == "cutover", "{program} is another program");
        let mut command: Command = self.stage.desk.command(who);
        let output = command.arg("--yes").args(words).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        Ok(text(&output.stdout))
    }
}

impl Told {
    /// That a command is the one that was told; a word in capitals stands for the actor's own.
    fn is_followed(&self, who: &str, words: &[String]) -> anyhow::Result<()> {
        let named = self.who.split([':', ',', ' ']).any(|it| it == who);
        ensure!(named, "{who} acts, and it was told to {}", self.who);
        let is_own = |word: &str| word.starts_with(|it: char| it.is_ascii_uppercase());
        for (number, word) in words_of(&self.command).iter().enumerate() {
            let own = is_own(word) && !word.starts_with("R-");
            let found = words.get(number);
            ensure!(
                own && found.is_some() || found == Some(word),
                "told was {:?}, and it is {words:?}",
                self.command
            );
        }
        Ok(())
    }
}

/// The words of a line, those in single quotes whole.
pub(crate) fn words_of(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// What was printed, without what only the clock says: whether the window has opened by now.
fn timeless(printed: &str) -> impl Iterator<Item = &str> {
    let mut lines = printed.lines();
    std::iter::from_fn(move || {
        let line = lines.next()?;
        if !line.contains("refuses: window-not-open") {
            return Some(line);
        }
        let _remedy = lines.next()?;
        lines.next()
    })
}

/// A line in which instants, digests and places in the log are the same each time.
fn same(line: &str) -> String {
    let is_part = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | ':' | '.');
    let mut text = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        let bare = word.trim_end_matches([':', '.']);
        let instant = bare.parse::<cutover_shared::time::Time>().is_ok();
        let digest = bare.len() >= 8 && bare.chars().all(|it| it.is_ascii_hexdigit());
        let place = text.ends_with("entry ") && bare.chars().all(|it| it.is_ascii_digit());
        match (instant, digest, place) {
            (true, _, _) => text.push_str("INSTANT"),
            (_, true, _) => text.push_str("DIGEST"),
            (_, _, true) => text.push('N'),
            (false, false, false) => text.push_str(bare),
        }
        text.push_str(&word[bare.len()..]);
        let next = tail.chars().next();
        text.extend(next);
        rest = &tail[next.map_or(0, char::len_utf8)..];
    }
    text
}
