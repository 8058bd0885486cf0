//! The configuration files that are shipped: they are what the programs read, and what they call a
//! default is one.

use std::path::Path;

use anyhow::Context as _;
use cutover_agent::network;
use cutover_applier::config as applier;
use cutover_coordinator::config as coordinator;

const COORDINATOR: &str = include_str!("../../../systemd/coordinator.toml");
const AGENT: &str = include_str!("../../../systemd/agent.toml");
const APPLIER: &str = include_str!("../../../systemd/applier.toml");

/// Says aloud what the file says in comments of the form `#key = value`.
fn uncommented(text: &str) -> String {
    let says = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_lowercase()) => rest.to_owned(),
        Some(_) | None => line.to_owned(),
    };
    text.lines().map(says).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_coordinators_is_read_with_and_without_what_need_not_be_said() -> anyhow::Result<()> {
    let said = coordinator::parse(COORDINATOR, Path::new("/etc/cutover"))?;
    // What follows are the tables of the outbox, which the coordinator's own tests say aloud.
    let (top, _) = COORDINATOR.split_once("#[outbox]").context("the outbox")?;
    let all = coordinator::parse(&uncommented(top), Path::new("/etc/cutover"))?;
    assert!(all.advertise.is_some() && all.port_file.is_some() && all.forms_directory.is_some());
    let (advertise, port_file, forms_directory) = (None, None, None);
    let least = coordinator::Settings { advertise, port_file, forms_directory, ..all };
    assert_eq!(least, said);
    Ok(())
}

#[test]
fn the_agents_says_the_defaults() -> anyhow::Result<()> {
    let said = network::Settings::parse(AGENT, Path::new("/etc/cutover"))?;
    assert_eq!(said, network::Settings::default());
    Ok(())
}

#[test]
fn the_appliers_comments_say_the_defaults() -> anyhow::Result<()> {
    let path = Path::new("applier.toml");
    let said = applier::parse(APPLIER, path)?;
    let all = applier::parse(&uncommented(APPLIER), path)?;
    assert_eq!(format!("{all:#?}"), format!("{said:#?}"));
    Ok(())
}
