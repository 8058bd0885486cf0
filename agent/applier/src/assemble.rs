//! A slot on its way from nothing to whole: chunks that the host has, then what is fetched, then synced.

use cutover_applier_core::Package;
use cutover_machine::Slot;

use crate::fetch::Fetcher;
use crate::slot::{Assembly, Owner};
use crate::work::{Site, chain};
use crate::{content, preflight};

/// Assembles a slot of a package, fetching what the host does not have; tells progress in bytes.
pub(crate) async fn from_package(
    site: &Site,
    slot: Slot,
    package: &Package,
    fetcher: &Fetcher,
    sources: Vec<Slot>,
    progress: impl Fn(u64, u64),
) -> Result<(), String> {
    let (slots, index) = (site.slots.clone(), package.index().clone());
    let root = site.config.root.clone();
    let files = index.slot_entries().count() as u64;
    let (assembly, local) = tokio::task::spawn_blocking(move || {
        preflight::look(&root, 0, files)?;
        let local = content::local_sources(&slots, &sources);
        let assembly = slots.assemble(&slot, &index).map_err(|error| chain(&error))?;
        // What an interrupted attempt left behind need not fit again.
        let missing = assembly.missing().iter().map(|chunk| u64::from(chunk.length)).sum();
        preflight::look(&root, missing, 0)?;
        Ok::<_, String>((assembly, local))
    })
    .await
    .map_err(|error| error.to_string())??;
    let filled = content::fill(assembly, package, fetcher, local, progress).await?;
    finish(site, filled).await
}

/// Assembles a slot again from what is on this host.
pub(crate) async fn from_host(site: &Site, slot: Slot, sources: Vec<Slot>) -> Result<(), String> {
    let slots = site.slots.clone();
    let assembly = tokio::task::spawn_blocking(move || {
        let source = sources.iter().find(|it| it.package == slot.package);
        let source = source.ok_or("the release to go back to is not on disk")?;
        let index = slots.index(source).map_err(|error| chain(&error))?;
        let mut assembly = slots.assemble(&slot, &index).map_err(|error| chain(&error))?;
        content::fill_locally(&mut assembly, &[(slots.path(source), index)])?;
        Ok::<_, String>(assembly)
    })
    .await
    .map_err(|error| error.to_string())??;
    finish(site, assembly).await
}

/// What the release shares is there before its slot is.
async fn finish(site: &Site, assembly: Assembly) -> Result<(), String> {
    let slots = site.slots.clone();
    let user = Owner { uid: site.account.uid, gid: site.account.gid };
    let finished = tokio::task::spawn_blocking(move || {
        slots.make_shared(assembly.index(), user)?;
        assembly.finish()
    });
    finished.await.map_err(|error| error.to_string())?.map_err(|error| chain(&error))
}
