use super::fact::{FACTS, Fact, of_manifest};
use super::schema::{Answer, Place};
use super::*;
use crate::digest::Digest;
use crate::package::listing::{Item, ItemKind, ListedFile};
use crate::package::manifest::Target;

const F052: &str = include_str!("examples/cot-f052.toml");
const F053: &str = include_str!("examples/cot-f053.toml");
const MANIFEST: &str = include_str!("../manifest/example.toml");
const RUNBOOK: &str = include_str!("../manifest/runbook.toml");

fn manifest(from: &str, to: &str) -> Manifest {
    assert!(MANIFEST.contains(from), "{from}");
    let runbook = if to.contains("zseries") { RUNBOOK } else { "" };
    Manifest::parse(&format!("{}\n{runbook}", MANIFEST.replacen(from, to, 1))).unwrap()
}

/// A package with these forms, `payload/bin/shop` and `payload/read.me`.
fn listing(forms: &[(&str, &str)]) -> Listing {
    let mut listing = Listing::new();
    let directory = || Item { kind: ItemKind::Directory, mode: 0o755, privileges: Vec::new() };
    for path in ["payload", "payload/bin"] {
        listing.add(path, directory());
    }
    let shipped = [("payload/bin/shop", "the program"), ("payload/read.me", "read me")];
    for (path, content) in shipped.iter().chain(forms) {
        let kind = ItemKind::File(ListedFile {
            size: content.len() as u64,
            digest: Digest::of(content.as_bytes()),
            document: Some(content.as_bytes().to_vec()),
        });
        listing.add(path, Item { kind, mode: 0o644, privileges: Vec::new() });
    }
    listing
}

/// What is found wrong with one form, as `field rule`.
fn faults(path: &str, text: &str) -> Vec<String> {
    let manifest = manifest("\"hosts\"", "\"hosts\"");
    let filled = read(path, text, &Catalogue::shipped(), &listing(&[]), Some(&manifest));
    let findings = filled.form.err().unwrap_or_default();
    findings.iter().map(told).collect()
}

fn told(finding: &Finding) -> String {
    let rule = serde_json::to_value(finding.rule).unwrap();
    format!("{} {}", finding.field.as_deref().unwrap_or("-"), rule.as_str().unwrap())
}

fn f052(from: &str, to: &str) -> Vec<String> {
    assert!(F052.contains(from), "{from}");
    faults("forms/cot-f052.toml", &F052.replacen(from, to, 1))
}

fn f053(from: &str, to: &str) -> Vec<String> {
    assert!(F053.contains(from), "{from}");
    faults("forms/cot-f053.toml", &F053.replacen(from, to, 1))
}

#[test]
fn the_shipped_schemas_are_schemas_and_their_examples_keep_them() {
    let catalogue = Catalogue::shipped();
    let names: Vec<String> = catalogue.newest().map(Schema::name).collect();
    assert_eq!(names, ["cot-f052/1", "cot-f053/1"]);
    assert_eq!(faults("forms/cot-f052.toml", F052), [""; 0]);
    assert_eq!(faults("forms/cot-f053.toml", F053), [""; 0]);
}

#[test]
fn a_shipped_schema_never_changes() {
    let digests: Vec<String> =
        Catalogue::shipped().newest().map(|schema| schema.digest().to_string()).collect();
    // A release names the text that it was submitted with: what is changed here is a new version, in a
    // new file beside the old one.
    assert_eq!(
        digests,
        [
            "46c663501893a967766e2b0b149cc4ad6a3a400c8c68e77069c4db3fcd6c9f47",
            "f2f1f8cded31d853aaf5ff83a135b880ccb186ce51845632deb312959416594b",
        ]
    );
}

#[test]
fn which_form_is_needed_follows_from_the_target() {
    let needed = |targets: &str| {
        let manifest = manifest("[\"hosts\"]", targets);
        let mut findings = Vec::new();
        read_all(&listing(&[]), Some(&manifest), &Catalogue::shipped(), &mut findings);
        findings.iter().map(|it| it.file.clone()).collect::<Vec<_>>()
    };
    assert_eq!(needed("[\"hosts\"]"), ["forms/cot-f052.toml"]);
    assert_eq!(needed("[\"zseries\"]"), ["forms/cot-f053.toml"]);
    let both = ["forms/cot-f052.toml", "forms/cot-f053.toml"];
    assert_eq!(needed("[\"hosts\", \"zseries\"]"), both);

    let mixed = manifest("[\"hosts\"]", "[\"hosts\", \"zseries\"]");
    let mut findings = Vec::new();
    let one = listing(&[("forms/cot-f052.toml", F052)]);
    read_all(&one, Some(&mixed), &Catalogue::shipped(), &mut findings);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((findings[0].file.as_str(), findings[0].rule), ("forms/cot-f053.toml", Rule::Form));
}

#[test]
fn every_fault_is_told_at_once_with_its_field() {
    let text = F052
        .replace("agency = \"Office of Examples\"", "agancy = \"Office\"")
        .replace("\"SR-1001\"", "\"N/A\"")
        .replace("2026-11-18", "\"the 18th\"")
        .replace("ada@example.org", "ada at example")
        .replace("\"internal\"", "\"secret\"")
        .replace("reboot = false", "reboot = \"no\"")
        .replace("installation-method = \"agent\"", "installation-method = \"FILL IN: how\"");
    let mut found = faults("forms/cot-f052.toml", &text);
    found.sort();
    assert_eq!(
        found,
        [
            "agancy field-unknown",
            "agency field-missing",
            "installation-method placeholder",
            "item[0].reboot field-value",
            "requestor.e-mail field-value",
            "security.data-class field-value",
            "service-request not-documentation",
            "test-date field-value",
        ]
    );
}

#[test]
fn tables_and_lists_are_what_they_are() {
    let table = F052.find("[requestor]").unwrap();
    let before = &F052[..table];
    let mut found = faults("forms/cot-f052.toml", before);
    found.sort();
    let missing = ["backup-contact", "item", "requestor", "security"];
    assert_eq!(found, missing.map(|field| format!("{field} field-missing")));

    let wrong = format!("requestor = 1\nitem = []\nsecurity = [1]\n{before}");
    let mut found = faults("forms/cot-f052.toml", &wrong);
    found.sort();
    assert_eq!(
        found,
        [
            "backup-contact field-missing",
            "item field-missing",
            "requestor field-value",
            "security field-value",
        ]
    );
    assert_eq!(f052("[[item]]", "[item]"), ["item field-value"]);
    assert_eq!(f052("[[item]]", "[[item]]\nanswer = 42"), ["item[0].answer field-unknown"]);
}

#[test]
fn what_is_worth_refusing() {
    let replace = "action = \"replace\"";
    assert_eq!(
        f052(replace, "action = \"delete\""),
        ["item[0].saved-copy field-missing"],
        "a delete without a saved copy"
    );
    assert_eq!(
        f052("source = \"payload\"\n", ""),
        ["item[0].source field-missing"],
        "what is replaced comes from somewhere"
    );
    assert_eq!(f052("\"payload\"", "\"payload/gone\""), ["item[0].source form-item"]);
    let digest = |content: &str| {
        format!("\"payload/bin/shop\"\ndigest = \"{}\"", Digest::of(content.as_bytes()))
    };
    assert_eq!(f052("\"payload\"", &digest("the program")), [""; 0]);
    assert_eq!(
        f052("\"payload\"", &digest("another")),
        ["item[0].digest form-item"],
        "a digest that is not the file's"
    );
    let directory = format!("\"payload\"\ndigest = \"{}\"", Digest::of(b""));
    assert_eq!(f052("\"payload\"", &directory), ["item[0].digest form-item"]);
    assert_eq!(
        f052("component-type = \"binary\"", "component-type = \"sql\""),
        ["item[0].database-order field-missing", "item[0].database-reversibility field-missing"]
    );

    let restart =
        "restart-instructions = \"Restart from step 020; the work dataset is deleted before.\"\n";
    assert_eq!(
        f053(restart, ""),
        ["element[0].restart-instructions field-missing"],
        "a job without restart text"
    );
    assert_eq!(
        f053(restart, "restart-instructions = \"none\"\n"),
        ["element[0].restart-instructions not-documentation"]
    );
    assert_eq!(
        f053("watched-by = \"Ben Example\"", "cics-refresh = true"),
        ["element[0].cics-region field-missing", "element[0].watched-by field-missing"]
    );
    assert_eq!(
        f053("backout-members = [\"PAYR010\"]\nbackout-dataset = \"PROD.PAYROLL.JCL.SAVED\"\n", ""),
        ["element[0].backout-members field-missing", "element[0].backout-dataset field-missing"]
    );
}

#[test]
fn a_digest_alone_names_the_file_that_has_it() {
    let digest = |content: &str| {
        let text = format!(
            "action = \"delete\"\nsaved-copy = \"In the archive, for a year.\"\ndigest = \"{}\"",
            Digest::of(content.as_bytes())
        );
        F052.replacen("action = \"replace\"", &text, 1).replacen("source = \"payload\"\n", "", 1)
    };
    let read =
        |text: &str| read("forms/cot-f052.toml", text, &Catalogue::shipped(), &listing(&[]), None);
    let named = read(&digest("read me"));
    assert!(named.form.is_ok(), "{:?}", named.form);
    assert_eq!(named.sources, BTreeSet::from(["payload/read.me".to_owned()]));
    let unknown = read(&digest("not there"));
    let faults: Vec<String> = unknown.form.unwrap_err().iter().map(told).collect();
    assert_eq!(faults, ["item[0].digest form-item"], "an item whose digest is not in the package");
}

#[test]
fn an_emergency_says_why_the_normal_way_is_too_slow() {
    let emergency = manifest("\"normal\"", "\"emergency\"");
    let of = |text: &str| {
        let catalogue = Catalogue::shipped();
        let filled = read("forms/cot-f052.toml", text, &catalogue, &listing(&[]), Some(&emergency));
        filled.form.err().unwrap_or_default().iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(of(F052), ["emergency-reason-code field-missing"]);
    assert_eq!(of(&format!("emergency-reason-code = \"outage\"\n{F052}")), [""; 0]);
}

#[test]
fn toml_and_json_say_the_same() {
    let table: serde_json::Value = toml::from_str(F052).unwrap();
    let mut table = table;
    // TOML has days of its own; JSON has texts.
    table["test-date"] = serde_json::json!("2026-11-18");
    let text = serde_json::to_string_pretty(&table).unwrap();
    let read = |path: &str, text: &str| {
        read(path, text, &Catalogue::shipped(), &listing(&[]), None).form.unwrap()
    };
    let [toml, json] = [read("forms/cot-f052.toml", F052), read("forms/cot-f052.json", &text)];
    assert_eq!(toml.answers(), json.answers());
    assert_eq!(faults("forms/cot-f052.json", F052), ["- syntax"]);
    assert_eq!(faults("forms/cot-f052.json", "[]"), ["- syntax"]);
    assert_eq!(
        faults("forms/cot-f052.json", "{\"schema\": \"a\", \"schema\": \"b\"}"),
        ["- syntax"]
    );
    assert_eq!(
        faults("forms/cot-f052.json", &text.replace("\"reboot\": false", "\"reboot\": 0.5")),
        ["item[0].reboot field-value"]
    );
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(faults("forms/cot-f052.json", &deep), ["- syntax"]);

    let both = listing(&[("forms/cot-f052.json", &text), ("forms/cot-f052.toml", F052)]);
    let mut findings = Vec::new();
    read_all(&both, None, &Catalogue::shipped(), &mut findings);
    assert_eq!(findings.iter().map(told).collect::<Vec<_>>(), ["- form"]);
}

#[test]
fn a_form_names_its_schema_and_lies_in_its_place() {
    for (schema, expected) in [
        ("\"cot-f052/2\"", "schema field-value"),
        ("\"cot-f054/1\"", "schema field-value"),
        ("\"cot-f053/1\"", "schema form"),
        ("1", "schema field-value"),
    ] {
        assert_eq!(f052("\"cot-f052/1\"", schema), [expected], "{schema}");
    }
    assert_eq!(f052("schema = \"cot-f052/1\"\n", ""), ["schema field-missing"]);
    assert_eq!(faults("forms/copy.toml", F052), ["schema form"]);
}

#[test]
fn a_form_to_start_from_lacks_exactly_what_is_marked() {
    for schema in Catalogue::shipped().newest() {
        for (notation, suffix) in [(Notation::Toml, "toml"), (Notation::Json, "json")] {
            let text = template(schema, notation);
            let found = faults(&format!("forms/{}.{suffix}", schema.id()), &text);
            assert!(!found.is_empty());
            let marked = found.iter().filter(|it| it.ends_with(" placeholder")).count();
            // The choices are not made yet, so that nothing more is needed because of them.
            assert_eq!(marked, found.len(), "{found:#?}\n{text}");
        }
    }
}

const AGENCY_X: &str = r#"
form = "agency-x"
version = 1
title = "Agency X Privacy Statement"

[required]
targets = ["hosts"]
applications = ["shop"]

[[section]]
title = "Statement"

[[section.field]]
name = "personal-data"
label = "Personal data"
kind = "choice"
choices = ["of-nobody", "of-citizens"]

[[section.field]]
name = "officer"
label = "Privacy officer"
kind = "name"
required = false
required-when = [{ field = "personal-data", is = ["of-citizens"] }]
"#;

#[test]
fn an_operators_schema_is_needed_and_checked_like_a_shipped_one() {
    let mut catalogue = Catalogue::shipped();
    catalogue.add("agency-x.toml", AGENCY_X).unwrap();
    let found = |text: Option<&str>| {
        let manifest = manifest("\"hosts\"", "\"hosts\"");
        let mut forms = vec![("forms/cot-f052.toml", F052)];
        forms.extend(text.map(|text| ("forms/agency-x.toml", text)));
        let mut findings = Vec::new();
        read_all(&listing(&forms), Some(&manifest), &catalogue, &mut findings);
        findings.iter().map(|it| format!("{} {}", it.file, told(it))).collect::<Vec<_>>()
    };
    assert_eq!(found(None), ["forms/agency-x.toml - form"]);
    let form = "schema = \"agency-x/1\"\npersonal-data = \"of-nobody\"\n";
    assert_eq!(found(Some(form)), [""; 0]);
    let citizens = form.replace("nobody", "citizens");
    assert_eq!(found(Some(&citizens)), ["forms/agency-x.toml officer field-missing"]);

    let other = manifest("\"shop\"", "\"accounts\"");
    let needed: Vec<&str> = catalogue.required(&other).iter().map(|it| it.id()).collect();
    assert_eq!(needed, ["cot-f052"], "it is for another application");
}

#[test]
fn a_new_version_takes_the_place_of_the_old_one_and_a_text_never_changes() {
    let mut catalogue = Catalogue::empty();
    catalogue.add("a.toml", AGENCY_X).unwrap();
    catalogue.add("a.toml", AGENCY_X).unwrap();
    let changed = AGENCY_X.replace("Privacy officer", "Officer");
    assert!(matches!(catalogue.add("b.toml", &changed), Err(CatalogueError::Changed { .. })));
    let next = changed.replace("version = 1", "version = 2");
    catalogue.add("b.toml", &next).unwrap();
    assert_eq!(catalogue.newest().map(Schema::name).collect::<Vec<_>>(), ["agency-x/2"]);
    let old = catalogue.of_digest(&Digest::of(AGENCY_X.as_bytes())).unwrap();
    assert_eq!(old.name(), "agency-x/1", "what was submitted with it is read by it");
}

#[test]
fn a_faulty_schema_is_refused_with_all_that_is_wrong() {
    let text = r#"
form = "Agency X"
version = 0
title = "N/A"
colour = "red"

[required]
targets = ["mainframe"]

[[section]]
title = "One section"
table = "one"
each = "two"

[[section.field]]
label = "Field"
name = "Big"
kind = "poem"

[[section.field]]
label = "Told"
from = "release.colour"
"#;
    let findings = Schema::parse("x.toml", text).unwrap_err();
    let mut found: Vec<String> = findings.iter().map(told).collect();
    found.sort();
    assert_eq!(
        found,
        [
            "colour field-unknown",
            "form field-value",
            "required.targets[0] field-value",
            "section[0].field[0].kind field-value",
            "section[0].field[0].name field-value",
            "section[0].field[1].from field-value",
            "section[0].table contradiction",
            "title not-documentation",
            "version field-value",
        ]
    );
    for (from, to, field) in [
        ("\"officer\"", "\"personal-data\"", "section[0].field"),
        ("\"officer\"", "\"schema\"", "section[0].field"),
        ("field = \"personal-data\"", "field = \"colour\"", "section[0].field"),
        ("choices = [\"of-nobody\", \"of-citizens\"]\n", "", "section[0].field[0].choices"),
    ] {
        assert!(AGENCY_X.contains(from), "{from}");
        let findings = Schema::parse("x.toml", &AGENCY_X.replacen(from, to, 1)).unwrap_err();
        assert_eq!(findings[0].field.as_deref(), Some(field), "{findings:?}");
    }
    let large = format!("{AGENCY_X}\n#{}", "x".repeat(MAX_SCHEMA));
    assert!(Schema::parse("x.toml", &large).is_err());
}

#[test]
fn facts_are_known_and_release_toml_tells_those_of_its_own() {
    let manifest = manifest("\"hosts\"", "\"hosts\"");
    let told = of_manifest(&manifest);
    for (name, _) in FACTS {
        let fact = Fact::find(name).unwrap();
        assert_eq!(told.contains_key(&fact), !fact.is_of_the_log(), "{name}");
    }
    assert_eq!(
        Target::WORDS.map(|(word, target)| (word, target.name())),
        [("hosts", "hosts"), ("zseries", "zseries")]
    );
}

#[test]
fn lines_are_known_by_their_key() {
    let form = read("forms/cot-f052.toml", F052, &Catalogue::shipped(), &listing(&[]), None);
    let form = form.form.unwrap();
    let items = form.schema().sections().iter().find(|it| matches!(it.place, Place::Each { .. }));
    let items = items.unwrap().clone();
    assert_eq!(form.places(&items), ["item[0]"]);
    assert_eq!(form.line_name(&items, "item[0]"), "item[payload -> /srv/shop]");
    assert_eq!(form.answer("item[0]", "action"), Some("replace"));
    assert_eq!(form.answer("", "agency"), Some("Office of Examples"));
    let asked = items.fields.iter().filter(|it| matches!(it.answer, Answer::Asked { .. }));
    assert_eq!(asked.count(), 20);
}
