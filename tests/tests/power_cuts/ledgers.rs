//! The applier's ledger: what was saved is what is read, or what was being saved, and it never goes back.

use anyhow::{Context as _, ensure};
use cutover_applier::ledger::Ledger;
use cutover_tests::power::{Disk, formatted, is_possible};

use crate::{DISK, Promise, prove, try_cuts};

/// Times that it is saved.
const SAVES: usize = 40;

#[test]
fn a_ledger_is_never_lost_torn_or_older_than_it_was_said_to_be() -> anyhow::Result<()> {
    if !is_possible("power cuts of ledgers")? {
        return Ok(());
    }
    let image = formatted(DISK)?;
    prove(|directory| {
        let mount_point = directory.join("disk");
        let path = mount_point.join("ledger");
        let disk = Disk::attach(image.clone(), &mount_point)?;
        let (mut ledger, _) = Ledger::open(&path)?;
        let mut promises = Vec::new();
        for number in 0..SAVES {
            // From a few bytes to a few hundred KiB: of one block, and of many.
            let body = vec![u8::try_from(number)?; 1 << (4 + number % 15)];
            ledger.save(&body)?;
            promises.push(Promise { moment: disk.moment(), what: (ledger.generation(), body) });
        }
        let trace = disk.trace();
        disk.detach()?;
        try_cuts(&trace, &promises, &mount_point, |saved, next| {
            let (mut ledger, body) = Ledger::open(&path)?;
            let found = (ledger.generation(), body.context("there is no ledger")?);
            let known = found == *saved || next.is_some_and(|next| found == *next);
            ensure!(
                known,
                "generation {} of {} bytes ({:?}), after {} was saved",
                found.0,
                found.1.len(),
                ledger.origin(),
                saved.0
            );
            ledger.save(b"after the cut").context("save again")
        })
    })
}
