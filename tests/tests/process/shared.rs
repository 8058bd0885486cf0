//! What releases share: data that is written through one release is there in the next, is nothing that has
//! drifted, and is not taken back with a release.

use anyhow::{Context as _, ensure};
use cutover_shared::statement::Event;
use cutover_tests::harness::release::Made;

use super::{HOST, WAVE, host, ready, stage};

const TARGETS: &str = "targets = [\"hosts\"]";
const SHARES: &str = "targets = [\"hosts\"]\nshared = [\"data\", \"logs\"]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_outlasts_releases() -> anyhow::Result<()> {
    let (mut stage, _directory) = stage().await?;
    let shares = Made { instead: &[(TARGETS, SHARES)], ..Made::default() };
    let sick = Made { unhealthy_on: &[HOST], ..shares.clone() };
    for (version, made) in [("1.0", &shares), ("1.1", &shares), ("1.2", &sick)] {
        let release = ready(&stage, version, made)?;
        let booked = stage.open_window(&release, "staging", &WAVE)?;
        let outcome = stage.outcome(HOST, &booked.booking).await?;
        ensure!((outcome.event == Event::Committed) == (version != "1.2"), "{outcome:#?}");
        let at = host(&stage, HOST)?;
        let data = at.current().context("a current release")?.join("payload/data/orders");
        if version == "1.0" {
            std::fs::write(&data, "1")?;
        }
        ensure!(std::fs::read(&data)? == b"1", "{version}: the orders are gone");
        ensure!(at.directory.join("web/shared/logs").is_dir());
        let verified = at.operate(&["verify"])?;
        ensure!(
            verified.status.success(),
            "{version}: {}",
            String::from_utf8_lossy(&verified.stdout)
        );
    }
    Ok(())
}
