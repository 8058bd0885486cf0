//! Watching the log as one of its readers: verified, folded, and told of each growth.

use anyhow::Context as _;
use clap::Parser;
use cutover_coordinator::cli::client::{Client, Follow};
use cutover_coordinator::cli::context::Context;
use cutover_coordinator::cli::settings::GlobalArgs;
use cutover_shared::fold::State;
use cutover_shared::log::TreeHead;
use cutover_shared::statement::{Says, Statement};

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
        let context = context(desk, "olga", "watch.cache")?;
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

    /// Size and root of the log.
    pub async fn head(&mut self) -> anyhow::Result<TreeHead> {
        Ok(self.client.sync().await.map_err(failure)?.head.clone())
    }

    /// The statement at a place in the log.
    pub async fn statement(&mut self, index: u64) -> anyhow::Result<Statement> {
        let synced = self.client.sync().await.map_err(failure)?;
        Ok(Statement::read(&synced.envelope(index).map_err(failure)?)?)
    }
}

/// Signs something as `who` and sends it as it is, as a program would that asks no rule first.
pub async fn append_unasked(desk: &Desk, who: &str, says: Says) -> anyhow::Result<()> {
    let context = context(desk, who, &format!("{who}.unasked.cache"))?;
    let statement = Statement::new(context.now(), says);
    let envelope = statement.signed_by([context.secret_key().map_err(failure)?]);
    let mut client = context.connect().await.map_err(failure)?;
    client.sync().await.map_err(failure)?;
    client.append(&envelope).await.map_err(failure)?;
    Ok(())
}

fn context(desk: &Desk, who: &str, cache: &str) -> anyhow::Result<Context> {
    let coordinator = desk.coordinator.clone().context("the coordinator runs")?;
    let paths = [desk.policy(), desk.key(who), desk.directory.join(cache)].map(|it| path(&it));
    let arguments =
        ["watch", "--coordinator", &coordinator, "--policy", &paths[0], "--key", &paths[1]];
    let arguments = [&arguments[..], &["--cache", &paths[2], "--json"]].concat();
    let arguments = Arguments::try_parse_from(arguments).context("the harness's own arguments")?;
    Context::new(&arguments.globals).map_err(failure)
}

fn failure(failure: impl std::fmt::Debug) -> anyhow::Error {
    anyhow::anyhow!("{failure:?}")
}
