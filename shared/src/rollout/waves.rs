//! Waves as they are written, and the named hosts that they mean when a booking is made.
//!
//! A booking names every host, so that what was signed is what goes. Whoever writes one would rather say
//! "one, then a quarter, then the rest": that is worked out here, once, from the hosts as they are enrolled.
//! Each wave takes from what the waves before it have left, by name, so that the same words mean the same
//! hosts for everybody.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::name::Name;
use crate::statement::{PlannedHost, Wave};

/// A wave as it is written: `NAME=web-1,web-2`, `NAME=3`, `NAME=25%`, `NAME=label:rack=a`, `NAME=rest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaveSpec {
    /// The wave's name.
    pub name: Name,
    /// Which hosts.
    pub hosts: Selection,
}

/// Which hosts of those that are left a wave takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// These, which must be there.
    Named(Vec<Name>),
    /// So many, the first by name; so many there must be.
    Count(u32),
    /// So many of a hundred of *all* hosts, rounded up, so that it is never none; at most what is left.
    Percent(u32),
    /// Those that are left with this label; some there must be.
    Label {
        /// Its name.
        key: Name,
        /// Its value.
        value: String,
    },
    /// All that are left; some there must be.
    Rest,
}

/// A host that a booking may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name and key.
    pub planned: PlannedHost,
    /// Its labels, as enrolled.
    pub labels: BTreeMap<Name, String>,
}

impl FromStr for WaveSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str =
            "write it as NAME=HOST,HOST or NAME=3, NAME=25%, NAME=label:KEY=VALUE, NAME=rest";
        let name = |text: &str| text.parse::<Name>().map_err(|error| error.to_string());
        let number = |text: &str| text.parse::<u32>().map_err(|_| FORM.to_owned());
        let (wave, hosts) = text.split_once('=').ok_or(FORM)?;
        let hosts = if let Some(label) = hosts.strip_prefix("label:") {
            let (key, value) = label.split_once('=').ok_or(FORM)?;
            Selection::Label { key: name(key)?, value: value.to_owned() }
        } else if let Some(percent) = hosts.strip_suffix('%') {
            match number(percent)? {
                percent @ 1..=100 => Selection::Percent(percent),
                _ => return Err("a percentage is from 1 to 100".to_owned()),
            }
        } else if hosts.bytes().all(|it| it.is_ascii_digit()) && !hosts.is_empty() {
            match number(hosts)? {
                0 => return Err("a wave has at least one host".to_owned()),
                count => Selection::Count(count),
            }
        } else if hosts == "rest" {
            Selection::Rest
        } else {
            Selection::Named(hosts.split(',').map(name).collect::<Result<_, _>>()?)
        };
        Ok(Self { name: name(wave)?, hosts })
    }
}

/// Why waves cannot be made, for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaveError {
    /// A named host is not among those that could be booked.
    #[error("wave {wave}: no host {host} to book; there are {there}")]
    NoSuchHost {
        /// The wave.
        wave: Name,
        /// The host.
        host: Name,
        /// Those that there are.
        there: String,
    },
    /// A named host is in the wave twice, or in an earlier one.
    #[error("wave {wave}: host {host} is in the plan twice")]
    Twice {
        /// The wave.
        wave: Name,
        /// The host.
        host: Name,
    },
    /// Fewer hosts are left than are asked for.
    #[error("wave {wave}: {asked} hosts asked for, {left} left")]
    TooFew {
        /// The wave.
        wave: Name,
        /// How many are asked for.
        asked: usize,
        /// How many are left.
        left: usize,
    },
    /// Nothing is left that the wave could take.
    #[error("wave {wave}: no host is left for it")]
    Empty {
        /// The wave.
        wave: Name,
    },
}

/// The waves, host by host. `candidates` are all hosts that could be booked, by name.
pub fn expand(
    specs: &[WaveSpec],
    candidates: &BTreeMap<Name, Candidate>,
) -> Result<Vec<Wave>, WaveError> {
    let mut left: BTreeMap<&Name, &Candidate> = candidates.iter().collect();
    let mut waves = Vec::new();
    for spec in specs {
        let names = select(spec, &left, candidates)?;
        let taken = names.iter().filter_map(|name| left.remove(name));
        let hosts = taken.map(|it| it.planned.clone()).collect();
        waves.push(Wave { name: spec.name.clone(), hosts });
    }
    Ok(waves)
}

fn select(
    spec: &WaveSpec,
    left: &BTreeMap<&Name, &Candidate>,
    all: &BTreeMap<Name, Candidate>,
) -> Result<Vec<Name>, WaveError> {
    let wave = || spec.name.clone();
    let first = |count: usize| left.keys().take(count).map(|name| (*name).clone()).collect();
    let names: Vec<Name> = match &spec.hosts {
        Selection::Named(names) => {
            for (number, host) in names.iter().enumerate() {
                if !all.contains_key(host) {
                    let there: Vec<&str> = all.keys().map(Name::as_str).collect();
                    let there = there.join(", ");
                    return Err(WaveError::NoSuchHost { wave: wave(), host: host.clone(), there });
                }
                if !left.contains_key(host) || names[..number].contains(host) {
                    return Err(WaveError::Twice { wave: wave(), host: host.clone() });
                }
            }
            names.clone()
        }
        Selection::Count(count) => {
            let (asked, left) = (*count as usize, left.len());
            if asked > left {
                return Err(WaveError::TooFew { wave: wave(), asked, left });
            }
            first(asked)
        }
        Selection::Percent(percent) => first((all.len() * *percent as usize).div_ceil(100)),
        Selection::Label { key, value } => {
            let has = |it: &&Candidate| it.labels.get(key) == Some(value);
            let with = left.iter().filter(|(_, it)| has(it));
            with.map(|(name, _)| (*name).clone()).collect()
        }
        Selection::Rest => first(left.len()),
    };
    if names.is_empty() {
        return Err(WaveError::Empty { wave: wave() });
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::key::SecretKey;

    fn candidates(names: &[&str]) -> BTreeMap<Name, Candidate> {
        let candidate = |text: &&str| {
            let host: Name = text.parse().unwrap();
            let key = SecretKey::from_seed(*Digest::of(text.as_bytes()).as_bytes());
            let planned = PlannedHost { host: host.clone(), host_key: key.public().id() };
            let rack = if text.ends_with(['1', '3']) { "a" } else { "b" };
            let labels = BTreeMap::from([("rack".parse().unwrap(), rack.to_owned())]);
            (host, Candidate { planned, labels })
        };
        names.iter().map(candidate).collect()
    }

    fn expanded(specs: &[&str], names: &[&str]) -> Result<Vec<String>, String> {
        let specs: Vec<WaveSpec> = specs.iter().map(|it| it.parse().unwrap()).collect();
        let waves = expand(&specs, &candidates(names)).map_err(|error| error.to_string())?;
        let shown = |wave: &Wave| {
            let hosts: Vec<&str> = wave.hosts.iter().map(|it| it.host.as_str()).collect();
            format!("{}={}", wave.name, hosts.join(","))
        };
        Ok(waves.iter().map(shown).collect())
    }

    const SIX: [&str; 6] = ["w1", "w2", "w3", "w4", "w5", "w6"];

    #[test]
    fn each_wave_takes_from_what_is_left() {
        for (specs, waves) in [
            (
                &["canary=1", "few=25%", "rest=rest"][..],
                &["canary=w1", "few=w2,w3", "rest=w4,w5,w6"][..],
            ),
            (&["a=label:rack=a", "rest=rest"], &["a=w1,w3", "rest=w2,w4,w5,w6"]),
            (&["one=w3,w1", "two=2"], &["one=w3,w1", "two=w2,w4"]),
            (&["one=1%", "all=100%"], &["one=w1", "all=w2,w3,w4,w5,w6"]),
            (&["some=34%"], &["some=w1,w2,w3"]),
            (&["half=50%", "half-again=50%"], &["half=w1,w2,w3", "half-again=w4,w5,w6"]),
            (&["all=6"], &["all=w1,w2,w3,w4,w5,w6"]),
        ] {
            assert_eq!(expanded(specs, &SIX).unwrap(), waves, "{specs:?}");
        }
    }

    #[test]
    fn what_cannot_be_made_says_which_wave_and_why() {
        for (specs, why) in [
            (&["a=w9"][..], "wave a: no host w9 to book; there are w1, w2, w3, w4, w5, w6"),
            (&["a=w1", "b=w1"], "wave b: host w1 is in the plan twice"),
            (&["a=w1,w1"], "wave a: host w1 is in the plan twice"),
            (&["a=7"], "wave a: 7 hosts asked for, 6 left"),
            (&["a=5", "b=2"], "wave b: 2 hosts asked for, 1 left"),
            (&["a=6", "b=rest"], "wave b: no host is left for it"),
            (&["a=6", "b=10%"], "wave b: no host is left for it"),
            (&["a=label:rack=c"], "wave a: no host is left for it"),
            (&["a=label:row=a"], "wave a: no host is left for it"),
        ] {
            assert_eq!(expanded(specs, &SIX).unwrap_err(), why, "{specs:?}");
        }
        assert_eq!(expanded(&["a=10%"], &[]).unwrap_err(), "wave a: no host is left for it");
    }

    #[test]
    fn what_is_no_wave_is_refused_when_read() {
        for wrong in
            ["a", "a=", "=w1", "a=0", "a=0%", "a=101%", "a=%", "a=-1", "a=label:rack", "a=w1,,w2"]
        {
            assert!(wrong.parse::<WaveSpec>().is_err(), "{wrong}");
        }
        let named = "a=w1".parse::<WaveSpec>().unwrap().hosts;
        assert_eq!(named, Selection::Named(vec!["w1".parse().unwrap()]));
        let label = "a=label:rack=b=c".parse::<WaveSpec>().unwrap().hosts;
        let key = "rack".parse().unwrap();
        assert_eq!(label, Selection::Label { key, value: "b=c".to_owned() });
    }
}
