//! `cutover-probe`: takes one reading for the applier, see [`cutover_agent::probe`].

use std::io::{self, Read as _, Write as _};

use anyhow::Context as _;
use clap::Parser;
use cutover_agent::probe;
use cutover_applier::probe::ProbeTask;

/// The most bytes of a question: a command with its environment.
const MAX_QUESTION: u64 = 1024 * 1024;

/// Takes one health reading and says what it saw.
///
/// Started by cutover-applier, without privileges. Reads the question as a JSON document from the standard
/// input and writes the answer as one to the standard output. The exit status is 0 when there is an answer,
/// also when the answer is that something is not healthy.
#[derive(Debug, Parser)]
#[command(name = "cutover-probe", version, about)]
struct Arguments {}

fn main() -> anyhow::Result<()> {
    Arguments::parse();
    let mut question = Vec::new();
    io::stdin()
        .take(MAX_QUESTION)
        .read_to_end(&mut question)
        .context("failed to read the question")?;
    let task: ProbeTask =
        serde_json::from_slice(&question).context("failed to understand the question")?;
    let mut answer =
        serde_json::to_vec(&probe::take(&task)).context("failed to write the answer")?;
    answer.push(b'\n');
    io::stdout().write_all(&answer).context("failed to give the answer")
}
