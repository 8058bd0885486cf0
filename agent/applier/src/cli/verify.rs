//! `cutover-applier verify`: the releases on this host against their indexes, read and left as they are.

use std::fmt::Write as _;

use anyhow::bail;
use cutover_machine::Slot;
use cutover_shared::name::Name;
use serde::Serialize;

use super::{inspect, tell};
use crate::config::{Application, Settings};
use crate::process::Account;
use crate::slot::{Owner, Slots};
use crate::work::chain;

/// What was looked at, and what is wrong with it.
#[derive(Debug, Serialize)]
struct Finding {
    application: Name,
    /// The slot's directory, or `current`.
    what: String,
    /// The package that it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<String>,
    /// `current`, `committed` or `earlier`.
    role: &'static str,
    /// How it differs; none when it is whole.
    fault: Option<String>,
}

pub(super) fn run(
    settings: &Settings,
    application: Option<Name>,
    json: bool,
) -> anyhow::Result<()> {
    let (saved, _) = inspect::read(settings)?;
    let mut findings = Vec::new();
    for (name, config) in &settings.applications {
        if application.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let Some(known) = saved.applications.get(name) else { continue };
        let owner = Account::named(&config.owner)?;
        let slots = Slots::at(&config.root, Owner { uid: owner.uid, gid: owner.gid });
        let at_rest = known.record.state.going_forward().is_none();
        if at_rest {
            findings.push(link(config, &slots, known.record.committed.as_ref()));
        }
        if let Some(slot) = &known.record.committed {
            findings.push(whole(config, &slots, slot, "committed"));
        }
        for slot in &known.history {
            findings.push(whole(config, &slots, slot, "earlier"));
        }
    }
    if let Some(name) = application.filter(|name| !settings.applications.contains_key(name)) {
        bail!(
            "{name} is not in this host's configuration; `cutover-applier inspect` lists what is"
        );
    }
    let faults = findings.iter().filter(|it| it.fault.is_some()).count();
    if json {
        tell(&serde_json::to_string_pretty(
            &serde_json::json!({ "faults": faults, "seen": findings }),
        )?)?;
    } else {
        tell(text(&findings).trim_end())?;
    }
    if faults > 0 {
        bail!(
            "{faults} of {} differ from what was approved: `cutover-applier return APPLICATION` puts a link \
             and a service right; files come back with the next release",
            findings.len()
        );
    }
    Ok(())
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for it in findings {
        let fault = it.fault.as_deref().unwrap_or("as approved");
        let _ = writeln!(text, "{}: {} ({}): {fault}", it.application, it.what, it.role);
    }
    if text.is_empty() { "nothing was deployed here yet".to_owned() } else { text }
}

/// Whether `current` names what it should.
fn link(config: &Application, slots: &Slots, committed: Option<&Slot>) -> Finding {
    let wanted = committed.map(Slots::name);
    let fault = match (slots.current(), &wanted) {
        (Ok(found), wanted) if found == *wanted => None,
        (Ok(Some(found)), Some(wanted)) => {
            Some(format!("it names {found} in the place of {wanted}"))
        }
        (Ok(Some(found)), None) => Some(format!("it names {found}, and nothing is committed")),
        (Ok(None), _) => Some("it is missing".to_owned()),
        (Err(error), _) => Some(chain(&error)),
    };
    Finding {
        application: config.name.clone(),
        what: "current".to_owned(),
        package: None,
        role: "link",
        fault,
    }
}

fn whole(config: &Application, slots: &Slots, slot: &Slot, role: &'static str) -> Finding {
    Finding {
        application: config.name.clone(),
        what: Slots::name(slot),
        package: Some(slot.package.to_string()),
        role,
        fault: slots.verify(slot).err().map(|error| chain(&error)),
    }
}
