//! A person at a terminal is shown what they would sign, and asked. `script` (util-linux) is the terminal.

use std::io::Write as _;
use std::process::Stdio;

use crate::policies::drafted;
use crate::program::{CUTOVER, Desk, Ended};

fn at_a_terminal(desk: &Desk, words: &str, typed: &str) -> Ended {
    let mut command = desk.command("script".as_ref());
    command.args(["--quiet", "--return", "--command", &format!("{CUTOVER} {words}"), "/dev/null"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The pipe stays open until the end: a terminal that hangs up would be another test.
    let mut keyboard = child.stdin.take().unwrap();
    keyboard.write_all(typed.as_bytes()).unwrap();
    let ended = Ended::of(&child.wait_with_output().unwrap());
    drop(keyboard);
    ended
}

#[test]
fn no_is_no_and_yes_is_yes() {
    let desk = drafted(&[("ruth", &["root"]), ("rob", &["root"])]);
    let words = "policy sign policy.toml --key ruth.pem";
    let refused = at_a_terminal(&desk, words, "n\n");
    assert_eq!(refused.code, 1, "{}", refused.out);
    assert!(refused.out.contains("ruth <ruth@example.org>"), "{}", refused.out);
    assert!(refused.out.contains("Nothing was signed."), "{}", refused.out);
    assert!(!desk.path("policy.json").exists());
    let agreed = at_a_terminal(&desk, words, "y\n");
    assert_eq!(agreed.code, 0, "{}", agreed.out);
    assert!(desk.path("policy.json").exists());
}

#[test]
fn a_passphrase_is_asked_for_and_not_shown() {
    let mut desk = Desk::new();
    desk.set("CUTOVER_PASSPHRASE", "correct horse");
    desk.cutover(["key", "generate", "alice.pem", "--passphrase"]).done();
    desk.unset("CUTOVER_PASSPHRASE");
    let shown = at_a_terminal(&desk, "key show alice.pem", "correct horse\n");
    assert_eq!(shown.code, 0, "{}", shown.out);
    assert!(shown.out.contains("Passphrase of alice.pem"), "{}", shown.out);
}
