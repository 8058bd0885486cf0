//! The bytes of every message and statement, as version 1 has them, and the numbers of the rules.
//!
//! A line that changes means that programs of before and after do not understand each other: that takes a
//! new ALPN version (messages) or predicate version (statements), not a new golden file. Lines may be
//! added. `GOLDEN=write cargo test -p cutover-shared --test golden` writes the files.

#![expect(clippy::unwrap_used, reason = "in tests a failure to prepare is a failure")]

mod messages;
mod rules;
mod statements;

use std::path::Path;

/// Compares lines with those of a file beside this one.
fn compare(file: &str, lines: &[(String, String)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let joined: Vec<_> = lines.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
    let text = format!("{}\n", joined.join("\n"));
    if std::env::var_os("GOLDEN").is_some_and(|it| it == "write") {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    for (found, expected) in text.lines().zip(golden.lines()) {
        assert_eq!(found, expected, "the bytes of version 1 changed: {}", path.display());
    }
    assert_eq!(text.lines().count(), golden.lines().count(), "{}", path.display());
}
