//! What is to be told although nothing was logged: what the clock brings, and what hosts ask people for.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_coordinator_core::outbox::{asked, awaited_of, deliveries, due, next_look};
use cutover_shared::case::Case;
use cutover_shared::digest::Digest;
use cutover_shared::name::Name;
use cutover_shared::time::Time;

use super::super::core::Core;
use super::super::packages;
use super::super::trouble::chain;
use super::{Outbox, UNPOISONED};
use crate::outbox::OutboxError;

/// Takes in what the clock has brought since `since`.
pub(super) fn fallen_due(core: &Core, outbox: &Outbox, since: Time) {
    let (folded, now) = (core.folded(), core.now());
    let told = due(&folded.state, since, now).into_iter();
    let told = told.flat_map(|it| deliveries(&folded.state, &outbox.routes, &it)).collect();
    let ledger = outbox.ledger.lock().expect(UNPOISONED);
    outbox.queue().handle_due(told, now, &ledger.1, outbox.elapsed());
}

/// Takes in what the clock has brought, and what hosts ask people for. How long until there may be more.
pub(super) async fn look_around(
    core: &Core,
    outbox: &Outbox,
) -> Result<Option<Duration>, OutboxError> {
    let since = outbox.queue().told_until();
    fallen_due(core, outbox, since);
    read_runbooks(core, outbox).await;
    let folded = core.folded();
    let now = core.now();
    let fleet = core.hosts().register.fleet(now).clone();
    let runbooks = outbox.runbooks.lock().expect(UNPOISONED);
    let step = |case: &Case, step: &Name| {
        let mut steps = runbooks.get(&case.release.says().package)?.iter();
        steps.find(|it| it.name == *step).cloned()
    };
    let told = asked(&folded.state, &fleet, step).into_iter();
    let told = told.flat_map(|it| deliveries(&folded.state, &outbox.routes, &it)).collect();
    let ledger = outbox.ledger.lock().expect(UNPOISONED);
    outbox.queue().handle_asked(told, &ledger.1, outbox.elapsed());
    drop(ledger);
    let marks = outbox.queue().advance();
    outbox.keep(&marks)?;
    Ok(next_look(&folded.state, now))
}

/// Reads the runbooks of which hosts wait for a step, and forgets the others. Of one that cannot be read every
/// operator is told.
async fn read_runbooks(core: &Core, outbox: &Outbox) {
    let needed: BTreeSet<Digest> = {
        let folded = core.folded();
        let mut hosts = core.hosts();
        let fleet = hosts.register.fleet(core.now());
        awaited_of(&folded.state, fleet).map(|case| case.release.says().package).collect()
    };
    let known = |package: &Digest| outbox.runbooks.lock().expect(UNPOISONED).contains_key(package);
    let mut read = Vec::new();
    for package in needed.iter().filter(|package| !known(package)) {
        match packages::checked(core, *package).await {
            Ok(checked) => {
                let manifest = checked.and_then(|it| it.manifest);
                read.push((*package, manifest.map(|it| it.runbook).unwrap_or_default()));
            }
            Err(trouble) => {
                let (package, trouble) = (package.short(), chain(&trouble));
                tracing::error!(package, trouble, "the runbook of a package cannot be read");
            }
        }
    }
    let mut runbooks = outbox.runbooks.lock().expect(UNPOISONED);
    runbooks.extend(read);
    runbooks.retain(|package, _| needed.contains(package));
}
