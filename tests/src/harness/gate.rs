//! A hook that says when it is reached and waits to be told how to end: the event by which a test knows
//! that a host is in the midst of applying a release.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;

use super::PATIENCE;

/// How a hook ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With status 0.
    Well,
    /// With status 1, after a last word.
    Badly,
}

/// The two pipes between a test and its hook.
#[derive(Debug)]
pub struct Gate {
    script: String,
    reached: BufReader<pipe::Receiver>,
    go: pipe::Sender,
}

impl Gate {
    /// A gate with pipes of this name in `directory`.
    pub fn new(directory: &Path, name: &str) -> anyhow::Result<Self> {
        let (reached, go) = (fifo(directory, name, "reached")?, fifo(directory, name, "go")?);
        // The last word is what an outcome must keep of the hook's output.
        let script = format!(
            "#!/bin/sh\necho $$ > '{}'\nread answer < '{}'\necho \"the gate says $answer\"\n\
             [ \"$answer\" = well ]\n",
            reached.display(),
            go.display(),
        );
        // Both open for reading and writing, so that neither end waits for the other to come.
        let mut options = pipe::OpenOptions::new();
        options.read_write(true);
        Ok(Self {
            script,
            reached: BufReader::new(options.open_receiver(reached)?),
            go: options.open_sender(go)?,
        })
    }

    /// The text of the hook.
    pub fn script(&self) -> &str {
        &self.script
    }

    /// Waits until the hook runs; its process.
    pub async fn reached(&mut self) -> anyhow::Result<u32> {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.reached.read_line(&mut line)).await;
        read.context("the hook was not reached in time")??;
        line.trim().parse().context("the hook's process id")
    }

    /// Lets the hook end.
    pub async fn end(&mut self, ending: Ending) -> anyhow::Result<()> {
        let word: &[u8] = match ending {
            Ending::Well => b"well\n",
            Ending::Badly => b"badly\n",
        };
        self.go.write_all(word).await.context("tell the hook to end")
    }
}

fn fifo(directory: &Path, name: &str, part: &str) -> anyhow::Result<PathBuf> {
    let path = directory.join(format!("{name}.{part}"));
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .with_context(|| format!("make {}", path.display()))?;
    Ok(path)
}
