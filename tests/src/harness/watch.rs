//! Watching the log as one of its readers: verified, folded, and told of each growth.

use anyhow::Context as _;
use clap::Parser;
use cutover_coordinator::cli::client::{Client, Follow};
use cutover_coordinator::cli::context::Context;
use cutover_coordinator::cli::settings::GlobalArgs;
use cutover_shared::fold::State;

use super::people::{Desk, path};

/// A reader of the log.
pub struct Watch {
    context: Context,
    client: Client,
    follow: Follow,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    globals: GlobalArgs,
}

impl Watch {
    /// Connects as the operator, with a cache of its own.
    pub async fn start(desk: &Desk) -> anyhow::Result<Self> {
        let coordinator = desk.coordinator.clone().context("the coordinator runs")?;
        let arguments = [
            "watch".to_owned(),
            "--coordinator".to_owned(),
            coordinator,
            "--policy".to_owned(),
            path(&desk.policy()),
            "--key".to_owned(),
            path(&desk.key("olga")),
            "--cache".to_owned(),
            path(&desk.directory.join("watch.cache")),
            "--json".to_owned(),
        ];
        let arguments =
            Arguments::try_parse_from(arguments).context("the watch's own arguments")?;
        let context = Context::new(&arguments.globals).map_err(failure)?;
        let client = context.connect().await.map_err(failure)?;
        let follow = client.follow().await.map_err(failure)?;
        Ok(Self { context, client, follow })
    }

    /// Waits until the log says what `found` looks for.
    pub async fn until<T>(
        &mut self,
        mut found: impl FnMut(&State) -> Option<T>,
    ) -> anyhow::Result<T> {
        loop {
            let synced = self.client.sync().await.map_err(failure)?;
            if let Some(found) = found(&synced.state) {
                return Ok(found);
            }
            if self.follow.next().await.map_err(failure)?.is_none() {
                // The coordinator ended; the caller's patience bounds how long it may stay away.
                self.client = self.context.connect().await.map_err(failure)?;
                self.follow = self.client.follow().await.map_err(failure)?;
            }
        }
    }
}

fn failure(failure: impl std::fmt::Debug) -> anyhow::Error {
    anyhow::anyhow!("{failure:?}")
}
