//! The fuzzer's corpora, replayed: what it found once, and a start for what it looks for.

#[path = "../fuzz/src/configuration.rs"]
mod configuration;
#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;

use cutover_tests::build;

#[test]
fn what_the_fuzzer_found_is_met_again() {
    let corpus = build::workspace().join("tests/fuzz/corpus");
    let mut known = BTreeSet::new();
    for target in targets::TARGETS.iter().chain(configuration::TARGETS) {
        let inputs = fs::read_dir(corpus.join(target.name));
        let inputs = inputs.unwrap_or_else(|error| panic!("corpus of {}: {error}", target.name));
        let mut count = 0;
        for input in inputs {
            let path = input.expect("the corpus can be read").path();
            (target.run)(&fs::read(&path).expect("the corpus can be read"));
            count += 1;
        }
        assert!(count > 0, "{} has a corpus", target.name);
        // What every decoder meets first.
        (target.run)(b"");
        known.insert(target.name.to_owned());
    }
    let directories = fs::read_dir(&corpus).expect("the corpus can be read");
    for directory in directories {
        let name = directory.expect("the corpus can be read").file_name();
        assert!(known.contains(&*name.to_string_lossy()), "{} has no target", name.display());
    }
}
