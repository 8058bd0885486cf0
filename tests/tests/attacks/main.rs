//! The threat list: `tests/attacks/` has a directory for each attack, with the very bytes that the attacker
//! brings and the exact refusal that must meet them.
//!
//! - A directory is read by [`fixture`] and brought to the entrance of the product that it names
//!   ([`entrance`]); a new directory needs no code here.
//! - What is in the directories is made by [`made`], from keys that are made from names. A test makes all of
//!   it again and compares; `CUTOVER_ATTACKS=write cargo test -p cutover-tests --test attacks` writes it.
//! - An entrance that refuses everything would pass: so each is shown to let the honest thing in, of which
//!   the attacks are variations.

#![expect(clippy::unwrap_used, reason = "in tests a failure to prepare is a failure")]

mod entrance;
mod fixture;
mod made;
#[expect(dead_code, reason = "the decisions' own tests use more of their world")]
#[path = "../../../shared/tests/decisions/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{env, fs};

use cutover_tests::build;

use fixture::{Attack, Common};

/// Fixtures are written, not compared, when this is `write`.
const VARIABLE: &str = "CUTOVER_ATTACKS";

/// More would not be looked through in a review.
const MAX_BYTES: usize = 1_000_000;

fn directory() -> PathBuf {
    build::workspace().join("tests/attacks")
}

#[test]
fn every_attack_meets_its_exact_refusal() {
    let common = Common::read(&directory()).unwrap();
    let mut wrong = Vec::new();
    let attacks = Attack::read_all(&directory()).unwrap();
    for attack in &attacks {
        let expected = attack.about.refused.to_string();
        let found = match entrance::meet(attack, &common) {
            Ok(Ok(())) => "let in".to_owned(),
            Ok(Err(refused)) => refused.to_string(),
            Err(fault) => format!("the fixture cannot be read: {fault:#}"),
        };
        if found != expected {
            wrong.push(format!("{}\n  expected {expected}\n  found    {found}", attack.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), attacks.len(), wrong.join("\n"));
    assert!(attacks.len() >= 210, "{} attacks are there", attacks.len());
}

#[test]
fn every_entrance_lets_the_honest_thing_in() {
    let common = made::common();
    let controls = made::controls();
    for control in &controls {
        let met = entrance::meet(control, &common).unwrap();
        assert_eq!(met.map_err(|refused| refused.to_string()), Ok(()), "{}", control.name);
    }
    let entrances = |attacks: &[Attack]| -> BTreeSet<_> {
        attacks.iter().map(|attack| attack.about.entrance).collect()
    };
    assert_eq!(entrances(&made::attacks()), entrances(&controls), "each has its control");
}

#[test]
fn the_directories_hold_what_is_made_here() {
    let attacks = made::attacks();
    let names: BTreeSet<_> = attacks.iter().map(|attack| attack.name.as_ref()).collect();
    assert_eq!(names.len(), attacks.len(), "no two attacks have one name");
    let common = made::common();
    let mut made = common.to_files();
    for attack in &attacks {
        made.extend(attack.to_files(&common));
    }
    made.sort();
    let bytes: usize = made.iter().map(|(_, content)| content.len()).sum();
    assert!(bytes < MAX_BYTES, "{bytes} bytes");
    if env::var_os(VARIABLE).is_some_and(|value| value == "write") {
        fixture::write(&directory(), &made).unwrap();
        return;
    }
    let there = fixture::files(&directory()).unwrap();
    let listed: Vec<_> = made.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(there, listed, "set {VARIABLE}=write to write them again");
    for (path, content) in made {
        let found = fs::read(directory().join(&path)).unwrap();
        assert!(found == content, "{} is another; {VARIABLE}=write", path.display());
    }
}
