use std::fs;

use serde_json::Value;

use super::*;
use crate::package::tests::Release;

fn told(command: &PackageCommand) -> (Outcome, String) {
    let mut out = Vec::new();
    let outcome = run(command, &Catalogue::shipped(), &mut out).unwrap();
    (outcome, String::from_utf8(out).unwrap())
}

fn told_json(command: &PackageCommand) -> (Outcome, Value) {
    let (outcome, text) = told(command);
    (outcome, serde_json::from_str(&text).unwrap())
}

fn check_of(path: &Path, json: bool) -> PackageCommand {
    let path = path.to_owned();
    PackageCommand::Check(CheckArgs { path, json, schemas: SchemaArgs::default() })
}

#[test]
fn a_package_from_check_to_show() {
    let release = Release::complete();
    let (outcome, text) = told(&check_of(&release.root(), false));
    assert_eq!((outcome, text.as_str()), (Outcome::Done, "The package is complete.\n"));

    let (outcome, built) = told_json(&PackageCommand::Build(BuildArgs {
        directory: release.root(),
        output: None,
        schemas: SchemaArgs::default(),
        json: true,
    }));
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(built["application"], "shop");
    let file = PathBuf::from(built["file"].as_str().unwrap());
    assert_eq!(told(&check_of(&file, false)).0, Outcome::Done);

    for path in [file, release.root()] {
        let show = |json| PackageCommand::Show(ShowArgs { path: path.clone(), json });
        let (outcome, shown) = told_json(&show(true));
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(shown["package"], built["package"]);
        assert_eq!(shown["version"], "1.4.2");
        assert_eq!(shown["entries"].as_array().unwrap().len(), 20);
        let text = told(&show(false)).1;
        assert!(text.contains(built["package"].as_str().unwrap()), "{text}");
        assert!(text.contains("payload/bin/shop-1 -> shop"), "{text}");
    }
}

#[test]
fn faults_are_an_outcome_with_their_places() {
    let release = Release::complete();
    release.put("NOTES.md", b"N/A");
    release.put("payload/\x1b[2J", b"");
    let (outcome, text) = told(&check_of(&release.root(), false));
    assert_eq!(outcome, Outcome::Faults);
    assert!(text.contains("NOTES.md") && text.ends_with("not complete: 2 faults.\n"), "{text}");
    assert!(!text.contains('\x1b'), "the terminal is not told what to do");

    let (outcome, json) = told_json(&check_of(&release.root(), true));
    assert_eq!(outcome, Outcome::Faults);
    assert_eq!(json["complete"], false);
    assert_eq!(json["findings"][0]["file"], "NOTES.md");
    assert_eq!(json["findings"][0]["rule"], "not-documentation");

    let (outcome, _) = told(&PackageCommand::Build(BuildArgs {
        directory: release.root(),
        output: None,
        schemas: SchemaArgs::default(),
        json: false,
    }));
    assert_eq!(outcome, Outcome::Faults);
}

#[test]
fn a_damaged_file_is_an_error() {
    let release = Release::complete();
    let built = release.build();
    let mut bytes = fs::read(&built.path).unwrap();
    bytes[100] ^= 1;
    fs::write(&built.path, bytes).unwrap();
    let refused = run(&check_of(&built.path, false), &Catalogue::shipped(), &mut Vec::new());
    assert!(matches!(refused, Err(PackageCommandError::Verify(..))));
}

#[test]
fn new_says_what_to_do_next() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("shop");
    let (outcome, text) = told(&PackageCommand::New(NewArgs {
        directory: directory.clone(),
        application: "shop".parse().unwrap(),
        targets: vec![Target::Hosts, Target::Zseries],
        schemas: SchemaArgs::default(),
    }));
    assert_eq!(outcome, Outcome::Done);
    assert!(text.contains("cutover package check"), "{text}");
    assert!(directory.join("forms/cot-f052.toml").exists());
    assert!(directory.join("forms/cot-f053.toml").exists());
    let manifest = fs::read_to_string(directory.join("release.toml")).unwrap();
    assert!(manifest.contains("targets = [\"hosts\", \"zseries\"]"), "{manifest}");
    assert!(manifest.contains("\n[[runbook]]\n"), "{manifest}");
    assert_eq!(told(&check_of(&directory, false)).0, Outcome::Faults);
}
