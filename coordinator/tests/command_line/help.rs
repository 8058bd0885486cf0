//! What the program says of itself.

use std::process::Stdio;

use clap::{Command, CommandFactory as _};
use cutover_coordinator::cli::Cli;
use cutover_coordinator::cli::exit::Failure;
use cutover_shared::refusal::{Code, Refusal};

use crate::program::{CUTOVER, Desk};

/// Every command that does something, with its words.
fn leaves(command: &Command, words: &[String], found: &mut Vec<(Vec<String>, Command)>) {
    if !command.is_subcommand_required_set() {
        found.push((words.to_owned(), command.clone()));
    }
    for child in command.get_subcommands() {
        let mut words = words.to_owned();
        words.push(child.get_name().to_owned());
        leaves(child, &words, found);
    }
}

#[test]
fn every_command_has_an_example_that_begins_with_its_own_words() {
    let mut found = Vec::new();
    leaves(&Cli::command(), &["cutover".to_owned()], &mut found);
    assert!(
        found.iter().any(|(words, _)| words[1..] == ["review"]),
        "it has a command below it, too"
    );
    let without = found.iter().filter(|(words, command)| {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        !help.contains("Examples:") || !help.contains(&words.join(" "))
    });
    let without: Vec<_> = without.map(|(words, _)| words.join(" ")).collect();
    assert!(without.is_empty(), "no example: {without:?}");
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn help_lists_the_exit_codes_and_the_verbs() {
    let help = Desk::new().cutover(["--help"]);
    let text = &help.done().out;
    let refusal = Refusal::new(Code::Frozen, "it is");
    let ends = [
        Failure::failed("read"),
        Failure::Declined,
        Failure::usage("no"),
        Failure::Refused(refusal),
        Failure::Faults,
        Failure::not_found("R-9"),
    ];
    for code in ends.iter().map(Failure::code).chain([0]) {
        assert!(text.contains(&format!("\n  {code}  ")), "{code} in {text}");
    }
    for word in ["Exit codes:", "3  refused by a rule", "Examples:", "policy", "log", "package"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[test]
fn usage_is_2_and_missing_settings_are_named() {
    let desk = Desk::new();
    desk.cutover(["no-such-verb"]).says(2, "no-such-verb");
    let ended = desk.cutover(["log", "list"]);
    for option in ["--coordinator", "--policy", "--key"] {
        ended.says(2, option);
    }
    desk.write("config.toml", "kee = \"a.pem\"\ncoordinator = 7\n");
    let ended = desk.cutover(["log", "list", "--config", "config.toml"]);
    ended.says(2, "kee");
    ended.says(2, "coordinator");
    desk.cutover(["log", "list", "--config", "absent.toml"]).says(1, "failed to read");
}

#[test]
fn failures_are_json_too() {
    let ended = Desk::new().cutover(["log", "list", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert!(value["usage"].as_str().unwrap().contains("--policy"));
}

#[test]
fn faults_of_a_package_are_4_and_told_once() {
    let desk = Desk::new();
    desk.cutover(["package", "new", "draft", "--application", "accounts"]).done();
    let found = desk.cutover(["--json", "package", "check", "draft"]);
    assert_eq!(found.code, 4, "{}", found.error);
    let value: serde_json::Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!(value["complete"], false);
    assert_eq!(found.error, "");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let desk = Desk::new();
    let mut command = desk.command(CUTOVER.as_ref());
    let mut child = command.args(["completions", "zsh"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn completions_and_manual_pages_know_the_verbs() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(desk.cutover(["completions", shell]).done().out.contains("policy"), "{shell}");
    }
    desk.cutover(["man", "pages"]).done();
    let page = desk.read("pages/cutover-policy-sign.1");
    assert!(page.contains("cutover\\-policy\\-sign") || page.contains("cutover policy sign"));
}
