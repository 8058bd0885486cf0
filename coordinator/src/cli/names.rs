//! What people call things, looked up in the fold: `R-7`, a host's name, an incident's number, or the
//! beginning of a digest.

use std::collections::BTreeSet;

use cutover_shared::case::{BookingCase, Case, Verified};
use cutover_shared::digest::Digest;
use cutover_shared::fold::{FreezeRecord, HostRecord, StandardRecord, State};
use cutover_shared::name::Name;
use cutover_shared::statement::{Emergency, Hold};

use super::exit::Failure;
use super::sync::by_prefix;

#[cfg(test)]
#[path = "../../../shared/tests/standing/scene.rs"]
pub(super) mod scene;

/// A command's arguments, from words.
#[cfg(test)]
pub(super) fn parse<T: clap::Args>(line: &str) -> Result<T, clap::Error> {
    let command = T::augment_args(clap::Command::new("test"));
    let words = std::iter::once("test").chain(line.split_whitespace());
    T::from_arg_matches(&command.try_get_matches_from(words)?)
}

/// What a release is called wherever one is asked for: `R-7`.
pub(super) fn number(case: &Case) -> String {
    format!("R-{}", case.number)
}

/// The release called `R-7`, `R-7 (E2)`, `r7`, `7`, or by the beginning of its statement's digest.
pub(super) fn release<'s>(state: &'s State, text: &str) -> Result<&'s Case, Failure> {
    let text = text.split_once(' ').map_or(text, |(number, _)| number);
    let number = text.trim_start_matches(['R', 'r']).trim_start_matches('-');
    let numbered = number.parse::<u64>().ok();
    if let Some(case) = state.cases().find(|case| Some(case.number) == numbered) {
        return Ok(case);
    }
    by_prefix("release", text, state.cases().map(|case| (case.release.id(), case)))
}

/// The booking called by the beginning of its statement's digest, with its release.
pub(super) fn booking<'s>(
    state: &'s State,
    text: &str,
) -> Result<(&'s Case, &'s BookingCase), Failure> {
    let bookings =
        state.cases().flat_map(|case| case.booked().map(move |it| (it.booking.id(), (case, it))));
    by_prefix("booking", text, bookings)
}

/// The host of that name that is not retired, or any by the beginning of its host key's id.
pub(super) fn host<'s>(state: &'s State, text: &str) -> Result<&'s HostRecord, Failure> {
    let named = text.parse().ok().and_then(|name: Name| state.host_named(&name));
    match named {
        Some(host) => Ok(host),
        None => by_prefix("host", text, state.hosts().map(|(key, host)| (key.digest(), host))),
    }
}

/// The hold called by the beginning of its statement's digest, with its release.
pub(super) fn hold<'s>(
    state: &'s State,
    text: &str,
) -> Result<(&'s Case, &'s Verified<Hold>), Failure> {
    let holds =
        state.cases().flat_map(|case| case.holds.iter().map(move |hold| (hold.id(), (case, hold))));
    by_prefix("hold", text, holds)
}

/// The freeze called by the beginning of its statement's digest.
pub(super) fn freeze<'s>(state: &'s State, text: &str) -> Result<&'s FreezeRecord, Failure> {
    let freezes = state.freezes().map(|freeze| (freeze.declared.id(), freeze));
    by_prefix("freeze", text, freezes)
}

/// The pre-approval called by the beginning of its statement's digest.
pub(super) fn standard<'s>(state: &'s State, text: &str) -> Result<&'s StandardRecord, Failure> {
    let standards = state.standards().map(|record| (record.approved.id(), record));
    by_prefix("pre-approval", text, standards)
}

/// The emergency opened for that incident (the newest of several), or called by the beginning of its
/// statement's digest.
pub(super) fn emergency<'s>(
    state: &'s State,
    text: &str,
) -> Result<&'s Verified<Emergency>, Failure> {
    let of_incident = state.emergencies().filter(|opened| match opened.says() {
        Emergency::Opened { incident, .. } => incident == text,
        Emergency::Approved(_) => false,
    });
    match of_incident.max_by_key(|opened| opened.index()) {
        Some(opened) => Ok(opened),
        None => by_prefix("emergency", text, state.emergencies().map(|it| (it.id(), it))),
    }
}

/// The environments that were given, or else all of the release's.
pub(super) fn environments(case: &Case, given: &[Name]) -> Result<BTreeSet<Name>, Failure> {
    let all = &case.release.says().environments;
    if let Some(other) = given.iter().find(|name| !all.contains(name)) {
        let names: Vec<_> = all.iter().map(Name::as_str).collect();
        return Err(Failure::usage(format!(
            "{} is not for {other}; it is for {}",
            case.name(),
            names.join(", ")
        )));
    }
    Ok(if given.is_empty() { all.clone() } else { given.iter().cloned().collect() })
}

/// The statement of the policy in force.
pub(super) fn policy_id(state: &State) -> Result<Digest, Failure> {
    let policy = state.policy().ok_or_else(|| Failure::failed("find a trust policy in the log"))?;
    Ok(policy.id())
}

#[cfg(test)]
mod tests {
    use cutover_shared::statement::Freeze;

    use super::scene::{Scene, key, minutes, name, names};
    use super::*;

    #[test]
    fn releases_have_numbers_and_digests() {
        let mut scene = Scene::new();
        let first = scene.submit("1.0");
        let second = scene.submit("1.1");
        for text in ["R-2", "R-2 (E9)", "r-2", "2", &second.to_string(), &second.short()] {
            assert_eq!(release(&scene.state, text).unwrap().release.id(), second, "{text}");
        }
        assert_eq!(release(&scene.state, "R-1").unwrap().release.id(), first);
        for (text, code) in [("R-3", 5), ("ff", 5), ("R-", 5), ("", 5)] {
            assert_eq!(release(&scene.state, text).unwrap_err().code(), code, "{text}");
        }
    }

    #[test]
    fn the_rest_is_found_too() {
        let mut scene = Scene::new();
        let grounds = scene.open_emergency("INC-1");
        assert_eq!(emergency(&scene.state, "INC-1").unwrap().id(), grounds);
        assert_eq!(emergency(&scene.state, &grounds.short()).unwrap().id(), grounds);
        let frozen = Freeze::Declared {
            policy: policy_id(&scene.state).unwrap(),
            environments: names(["production"]),
            applications: names([]),
            start: scene.now,
            end: scene.now + minutes(1),
            reason: "Elections.".to_owned(),
        };
        let frozen = scene.say("max", frozen);
        assert_eq!(freeze(&scene.state, &frozen.short()).unwrap().declared.id(), frozen);
        let id = key("web-2").public().id();
        for text in ["web-2", &id.short()] {
            let found = host(&scene.state, text).unwrap();
            assert_eq!(found.enrolment.says().host, name("web-2"));
        }
        assert_eq!(host(&scene.state, "web-9").unwrap_err().code(), 5);
    }

    #[test]
    fn only_the_releases_own_environments() {
        let mut scene = Scene::new();
        scene.submit("1.0");
        let case = release(&scene.state, "R-1").unwrap();
        assert_eq!(environments(case, &[]).unwrap(), names(["staging", "production"]));
        assert_eq!(environments(case, &[name("staging")]).unwrap(), names(["staging"]));
        assert_eq!(environments(case, &[name("laboratory")]).unwrap_err().code(), 2);
    }
}
