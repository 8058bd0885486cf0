//! A coordinator that somebody else owns: the product's server with another conduct.
//!
//! It has the real log, the real packages and the real log key, and does with them whatever it is told:
//! it admits anything, offers any order to any host at any time, clears everything and hands out every
//! byte. The demonstration and the tests use it to show that hosts are safe from it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use cutover_coordinator::config;
use cutover_coordinator::server::{self, Conduct, Done, Rules, Situation, Turn};
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::key::KeyId;
use cutover_shared::package::check::Checked;
use cutover_shared::refusal::Refusal;
use cutover_shared::statement::{Phase, Release};
use cutover_shared::time::Time;

#[derive(Debug, Parser)]
struct Arguments {
    /// The coordinator's configuration.
    #[arg(long)]
    config: PathBuf,
    /// Offer this order to this host, whatever the rules say.
    #[arg(long = "offer", value_name = "HOSTKEY=ORDER", value_parser = turn)]
    offers: Vec<Turn>,
}

fn turn(text: &str) -> Result<Turn, String> {
    let (host, order) = text.split_once('=').ok_or("expected HOSTKEY=ORDER")?;
    let host = host.parse().map_err(|error| format!("{error}"))?;
    let order = order.parse().map_err(|error| format!("{error}"))?;
    Ok(Turn { host, order })
}

#[derive(Debug)]
struct Cheat {
    offers: Vec<Turn>,
}

impl Conduct for Cheat {
    fn admit(&self, _: &State, _: &[u8], _: Time) -> Result<(), Refusal> {
        Ok(())
    }

    fn accept_release(&self, _: &Release, _: Option<&Checked>) -> Result<(), Refusal> {
        Ok(())
    }

    fn offers(&self, _: &Situation<'_>) -> Vec<Turn> {
        self.offers.clone()
    }

    fn stops(&self, _: &Situation<'_>) -> Vec<Turn> {
        Vec::new()
    }

    fn steps(&self, situation: &Situation<'_>) -> Vec<Done> {
        Rules.steps(situation)
    }

    fn evidence(&self, state: &State, turn: &Turn, policy_version: u64) -> BTreeSet<u64> {
        Rules.evidence(state, turn, policy_version)
    }

    fn clear(&self, _: &Situation<'_>, _: &Turn, _: Phase) -> Result<(), Refusal> {
        Ok(())
    }

    fn may_fetch(&self, _: &Situation<'_>, _: &KeyId, _: &Digest) -> Result<(), Refusal> {
        Ok(())
    }

    fn may_read(&self, _: &State, _: &KeyId) -> Result<(), Refusal> {
        Ok(())
    }

    fn may_store(&self, _: &State, _: &KeyId) -> Result<(), Refusal> {
        Ok(())
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let settings = config::read(&arguments.config).context("read the configuration")?;
    let conduct = Arc::new(Cheat { offers: arguments.offers });
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let shutdown = async move {
        terminate.recv().await;
    };
    server::serve(settings, conduct, shutdown).await.context("serve")?;
    Ok(())
}
