//! What may be linked into what: the compiler holds the layers, this holds the programs.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own sources has failed")]

use std::path::Path;
use std::process::Command;

use cutover_tests::build::{binaries, workspace};

/// The variables that a fault point listens to.
const FAULT: &[u8] = b"CUTOVER_FAULT_";

/// Whether a program has code of a crate in it, by the names that its symbols and messages carry.
fn has(program: &str, name: &str) -> bool {
    let path = binaries().join(program);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    holds(&bytes, name.as_bytes())
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn the_trusted_half_has_no_network_protocol_in_it() {
    // A name of four letters would be found in the random names that the compiler gives to its parts.
    for name in ["quinn_proto", "rustls", "ureq_proto"] {
        assert!(!has("cutover-applier", name), "{name} is linked into the applier");
    }
    // The control: the search finds what is there.
    assert!(has("cutover-agent", "quinn_proto") && has("cutover-agent", "rustls"));
    assert!(has("cutover-probe", "ureq_proto"));
}

/// A release build has no fault points: of the one file that has them nothing is left there, and no profile
/// brings the switch back that they hang on.
#[test]
fn release_builds_have_no_fault_points() {
    let sources = sources(workspace());
    let listens = |path: &&std::path::PathBuf| holds(&std::fs::read(path).unwrap(), FAULT);
    let named: Vec<_> = sources.iter().filter(listens).collect();
    assert_eq!(named.len(), 1, "{named:?}");
    let directory = tempfile::tempdir().unwrap();
    assert!(!holds(&built(directory.path(), named[0], false), FAULT));
    // The control: with the switch they are there.
    assert!(holds(&built(directory.path(), named[0], true), FAULT));
    let manifest = std::fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let profiles = manifest["profile"].as_table().unwrap();
    let switched = profiles.values().filter(|it| it.get("debug-assertions").is_some());
    assert_eq!(switched.count(), 0, "a profile sets debug-assertions");
}

/// The sources of the product's packages; its tests may name what they use.
fn sources(workspace: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut left = ["agent", "coordinator", "shared"].map(|it| workspace.join(it)).to_vec();
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") {
                left.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The code that a module alone makes, when what it has is called.
fn built(directory: &Path, module: &Path, debug_assertions: bool) -> Vec<u8> {
    let compile = |name: &str, text: &str, arguments: &[&str]| {
        let source = directory.join(format!("{name}.rs"));
        std::fs::write(&source, text).unwrap();
        let mut command = Command::new("rustc");
        command.args([
            "--edition",
            "2024",
            "--crate-type",
            "rlib",
            "-O",
            "-A",
            "warnings",
            "-L",
            ".",
        ]);
        let status = command.args(arguments).arg(&source).current_dir(directory).status();
        assert!(status.unwrap().success(), "{name}");
    };
    compile("tracing", "#[macro_export] macro_rules! error { ($($it:tt)*) => {} }", &[]);
    let calls = format!(
        "#[path = \"{}\"] mod fault;\n\
         pub fn calls(effect: &str) {{\n\
             fault::point(fault::Side::Before, effect);\n\
             fault::point(fault::Side::After, effect);\n\
         }}\n",
        module.display()
    );
    let switch = if debug_assertions { "debug-assertions=on" } else { "debug-assertions=off" };
    let one = ["--emit", "obj=calls.o", "-C", "codegen-units=1"];
    compile("calls", &calls, &[&["-C", switch, "--extern", "tracing"], &one[..]].concat());
    std::fs::read(directory.join("calls.o")).unwrap()
}
