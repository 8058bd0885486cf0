//! Waiting until the log says something, told of each growth.

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::exit::Failure;
use super::names;
use super::sync::Synced;

/// The log in which a host of that name is enrolled; not found when none is within `limit`.
pub(super) async fn until_enrolled(
    client: &mut Client,
    host: &str,
    limit: Duration,
) -> Result<Arc<Synced>, Failure> {
    let mut newest = client.sync().await?;
    let waited = tokio::time::timeout(limit, grown_to(client, host, &mut newest)).await;
    if let Ok(result) = waited {
        result?;
    }
    names::host(&newest.state, host)?;
    Ok(newest)
}

async fn grown_to(
    client: &mut Client,
    host: &str,
    newest: &mut Arc<Synced>,
) -> Result<(), Failure> {
    let mut follow = client.follow().await?;
    while let Err(Failure::NotFound(_)) = names::host(&newest.state, host) {
        if follow.next().await?.is_none() {
            return Err(Failure::failed("follow the log: the coordinator ended"));
        }
        *newest = client.sync().await?;
    }
    Ok(())
}
