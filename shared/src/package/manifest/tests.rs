use super::*;
use crate::package::finding::Rule;
use crate::package::health::Limits;

pub(crate) const FULL: &str = include_str!("example.toml");

fn rules(text: &str) -> Vec<(String, Rule)> {
    let findings = Manifest::parse(text).unwrap_err();
    let fields = findings.into_iter().map(|f| (f.field.unwrap_or_default(), f.rule));
    fields.collect()
}

fn changed(from: &str, to: &str) -> Vec<(String, Rule)> {
    assert!(FULL.contains(from), "{from}");
    rules(&FULL.replacen(from, to, 1))
}

#[test]
fn the_example_is_read_whole() {
    let manifest = Manifest::parse(FULL).unwrap();
    assert_eq!(manifest.application.as_str(), "shop");
    assert_eq!(manifest.change_type, ChangeType::Normal);
    assert_eq!(manifest.targets, [Target::Hosts]);
    assert_eq!(manifest.apply_budget, Duration::from_mins(5));
    assert_eq!(manifest.schedule.start.to_string(), "2026-11-20T22:00:00");
    assert!(!manifest.rollback.irreversible);
    let activate = manifest.hooks.at(HookStage::Activate).unwrap();
    assert_eq!(activate.undo.as_ref().unwrap().command.as_str(), "hooks/back.sh");
    assert_eq!(manifest.hooks.at(HookStage::Start), None);
    assert_eq!(
        manifest.health[0].probe,
        Probe::Http {
            url: "http://{listen}/health".to_owned(),
            expect_status: 200,
            body_contains: Some("ok".to_owned()),
        }
    );
    let probes: Vec<&Probe> = manifest.health.iter().skip(3).map(|check| &check.probe).collect();
    assert_eq!(
        probes,
        [
            &Probe::Unit { unit: None, restarts_at_most: 1 },
            &Probe::Process {
                program: "payload/bin/worker".to_owned(),
                at_least: 2,
                at_most: Some(8),
            },
            &Probe::Resource(Limits {
                memory_mib_at_most: Some(512),
                cpu_percent_at_most: Some(150),
                open_files_at_most: Some(1000),
                disk_free_mib_at_least: Some(100),
            }),
        ]
    );
    assert_eq!(
        manifest.preflight,
        Preflight { memory_mib: 256, ports: vec!["{listen}".to_owned()] }
    );
    let programs: Vec<String> =
        manifest.programs().into_iter().map(|(field, path)| format!("{field}={path}")).collect();
    assert_eq!(
        programs,
        [
            "hooks.stop.command=hooks/stop.sh",
            "hooks.activate.undo.command=hooks/back.sh",
            "hooks.activate.command=hooks/migrate.sh",
            "health[2].command[0]=hooks/ping.sh",
        ]
    );
}

#[test]
fn the_header_shows_the_example_or_less() {
    let header = include_str!("../manifest.rs");
    let shown: String = header
        .lines()
        .skip_while(|line| *line != "//! ```toml")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| line.trim_start_matches("//!").trim_start().to_owned() + "\n")
        .collect();
    Manifest::parse(&shown).unwrap();
}

#[test]
fn it_travels_as_json_and_in_frames() {
    let manifest = Manifest::parse(FULL).unwrap();
    let json = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
    let config = bincode::config::standard();
    let bytes = bincode::serde::encode_to_vec(&manifest, config).unwrap();
    let (again, _): (Manifest, usize) = bincode::serde::decode_from_slice(&bytes, config).unwrap();
    assert_eq!(again, manifest);
}

#[test]
fn all_faults_are_told_at_once_with_their_lines() {
    let text = FULL
        .replacen("version = \"1.4.2\"", "version = 142", 1)
        .replacen("owner = ", "owners = ", 1)
        .replacen("minutes = 5", "minutes = 0", 1)
        .replacen("bake = \"2m\"", "bake = \"2 minutes\"", 1);
    let findings = Manifest::parse(&text).unwrap_err();
    let told: Vec<(u32, &str, Rule)> = findings
        .iter()
        .map(|f| (f.line.unwrap_or(0), f.field.as_deref().unwrap_or(""), f.rule))
        .collect();
    let line = |needle: &str| {
        let position = text.lines().position(|line| line.starts_with(needle));
        u32::try_from(position.unwrap() + 1).unwrap()
    };
    assert_eq!(
        told,
        [
            (line("version = 142"), "version", Rule::FieldValue),
            (line("[rollback]"), "rollback.owner", Rule::FieldMissing),
            (line("minutes = 0"), "rollback.minutes", Rule::FieldValue),
            (line("owners = "), "rollback.owners", Rule::FieldUnknown),
            (line("bake = "), "health-policy.bake", Rule::FieldValue),
        ]
    );
    assert!(findings.iter().all(|f| f.file == "release.toml" && !f.remedy.is_empty()));
}

#[test]
fn an_empty_manifest_misses_every_part() {
    let missing: Vec<String> = rules("")
        .into_iter()
        .map(|(field, rule)| {
            assert_eq!(rule, Rule::FieldMissing);
            field
        })
        .collect();
    assert_eq!(
        missing,
        [
            "schema",
            "application",
            "version",
            "summary",
            "change-type",
            "targets",
            "apply-budget",
            "rollback-reserve",
            "impact",
            "rollback",
            "schedule",
            "health",
            "health-policy",
        ]
    );
}

#[test]
fn what_is_not_toml_has_its_line() {
    let findings = Manifest::parse("schema = 1\napplication = \n= 3\n").unwrap_err();
    assert!(findings.iter().all(|f| f.rule == Rule::Syntax));
    assert_eq!(findings[0].line, Some(2));
}

/// What is replaced in the example, by what, and which field then breaks which rule.
const REFUSALS: &[(&str, &str, &str, Rule)] = &[
    ("schema = 1", "schema = 2", "schema", Rule::FieldValue),
    ("application = \"shop\"", "application = \"Shop\"", "application", Rule::FieldValue),
    ("application = \"shop\"", "application = \"../x\"", "application", Rule::FieldValue),
    ("version = \"1.4.2\"", "version = \"1/2\"", "version", Rule::FieldValue),
    ("version = \"1.4.2\"", "version = \"TBD\"", "version", Rule::NotDocumentation),
    ("summary = \"", "summary = \"N/A\" # \"", "summary", Rule::NotDocumentation),
    ("summary = \"", "summary = \"FILL IN: ", "summary", Rule::Placeholder),
    ("\"normal\"", "\"quick\"", "change-type", Rule::FieldValue),
    ("[\"hosts\"]", "[]", "targets", Rule::FieldMissing),
    ("[\"hosts\"]", "[\"cloud\"]", "targets[0]", Rule::FieldValue),
    ("[\"hosts\"]", "[\"hosts\", \"hosts\"]", "targets", Rule::Contradiction),
    ("[\"hosts\"]", "\"hosts\"", "targets", Rule::FieldValue),
    ("apply-budget = \"5m\"", "apply-budget = 5", "apply-budget", Rule::FieldValue),
    ("apply-budget = \"5m\"", "apply-budget = \"2d\"", "apply-budget", Rule::FieldValue),
    ("apply-budget = \"5m\"", "apply-budget = \"2m\"", "apply-budget", Rule::Contradiction),
    ("systems = [\"", "systems = [\"n/a\", \"", "impact.systems[0]", Rule::NotDocumentation),
    ("outage-minutes = 1", "outage-minutes = -1", "impact.outage-minutes", Rule::FieldValue),
    ("outage-minutes = 1", "outage-minutes = \"1\"", "impact.outage-minutes", Rule::FieldValue),
    ("data-loss = \"", "data-loss = \"none\" # \"", "rollback.data-loss", Rule::NotDocumentation),
    ("steps = [", "steps = [] #", "rollback.steps", Rule::FieldMissing),
    ("irreversible = false", "irreversible = 0", "rollback.irreversible", Rule::FieldValue),
    ("zone = \"America/New_York\"", "zone = \"EST\"", "schedule.zone", Rule::FieldValue),
    ("start = \"2026-11-20T22:00\"", "start = \"2026-11-20\"", "schedule.start", Rule::FieldValue),
    (
        "start = \"2026-11-20T22:00\"",
        "start = 2026-11-20T22:00:00Z",
        "schedule.start",
        Rule::FieldValue,
    ),
    (
        "start = \"2026-11-20T22:00\"",
        "start = 2026-12-20T22:00:00",
        "schedule.latest",
        Rule::Contradiction,
    ),
    ("for = \"1h\"\n", "", "schedule.for", Rule::FieldMissing),
    (
        "for = \"1h\"",
        "for = \"1h\"\nuntil = \"2026-11-20T23:00\"",
        "schedule.until",
        Rule::Contradiction,
    ),
    ("for = \"1h\"", "until = \"23:00\"", "schedule.until", Rule::FieldValue),
    ("\"hooks/stop.sh\"", "\"/bin/sh\"", "hooks.stop.command", Rule::FieldValue),
    ("\"hooks/stop.sh\"", "\"hooks/../x\"", "hooks.stop.command", Rule::FieldValue),
    (
        "\"hooks/stop.sh\", timeout = \"30s\"",
        "\"hooks/stop.sh\"",
        "hooks.stop.timeout",
        Rule::FieldMissing,
    ),
    ("timeout = \"30s\"", "timeout = \"1h\"", "hooks.stop.timeout", Rule::Contradiction),
    (
        "\"hooks/back.sh\", timeout = \"1m\"",
        "\"hooks/back.sh\", timeout = \"1h\"",
        "hooks.activate.undo.timeout",
        Rule::Contradiction,
    ),
    ("stop = {", "halt = {", "hooks.halt", Rule::FieldUnknown),
    ("kind = \"http\"", "kind = \"ping\"", "health[0].kind", Rule::FieldValue),
    ("name = \"port\"", "name = \"front-page\"", "health[1].name", Rule::Contradiction),
    ("http://{listen}", "http://{listen", "health[0].url", Rule::FieldValue),
    ("http://{listen}", "ftp://{listen}", "health[0].url", Rule::FieldValue),
    ("body-contains = \"ok\"", "body-contains = \"\"", "health[0].body-contains", Rule::FieldValue),
    ("body-contains = \"ok\"", "expect-status = 1", "health[0].expect-status", Rule::FieldValue),
    ("address = \"{listen}\"", "address = \"localhost\"", "health[1].address", Rule::FieldValue),
    ("address = \"{listen}\"", "url = \"http://x\"", "health[1].address", Rule::FieldMissing),
    ("\"hooks/ping.sh\", ", "\"ping\", ", "health[2].command[0]", Rule::Contradiction),
    ("timeout = \"2s\"", "timeout = \"2m\"", "health[0].timeout", Rule::Contradiction),
    (
        "consecutive-successes = 3",
        "consecutive-successes = 0",
        "health-policy.consecutive-successes",
        Rule::FieldValue,
    ),
    (
        "consecutive-successes = 3",
        "consecutive-successes = 100",
        "health-policy.deadline",
        Rule::Contradiction,
    ),
    (
        "start-grace = \"10s\"",
        "start-grace = \"2m\"",
        "health-policy.deadline",
        Rule::Contradiction,
    ),
    ("[health-policy]", "[health-policies]", "health-policy", Rule::FieldMissing),
];

#[test]
fn each_field_has_its_refusals() {
    for (from, to, field, rule) in REFUSALS {
        let told = changed(from, to);
        let expected = ((*field).to_owned(), *rule);
        assert!(told.contains(&expected), "{to}: {told:?}");
    }
}

#[test]
fn an_irreversible_release_needs_no_steps() {
    let text = FULL.replacen("irreversible = false", "irreversible = true", 1).replacen(
        "steps = [",
        "steps = [] #",
        1,
    );
    assert!(Manifest::parse(&text).unwrap().rollback.irreversible);
}

#[test]
fn checks_of_units_processes_and_resources_say_something_that_can_be_found() {
    let of = |field: &str, rule| vec![(field.to_owned(), rule)];
    for (from, to, found) in [
        ("\"payload/bin/worker\"", "\"bin/worker\"", of("health[4].program", Rule::FieldValue)),
        ("at-most = 8", "at-most = 1", of("health[4].at-most", Rule::Contradiction)),
        (
            "restarts-at-most = 1",
            "restarts-at-most = -1",
            of("health[3].restarts-at-most", Rule::FieldValue),
        ),
        (
            "disk-free-mib-at-least = 100\ntimeout = \"2s\"",
            "timeout = \"200ms\"",
            of("health[5].timeout", Rule::Contradiction),
        ),
        ("memory-mib = 256", "memory = 256", of("preflight.memory", Rule::FieldUnknown)),
        (
            "ports = [\"{listen}\"]",
            "ports = [\"8080\"]",
            of("preflight.ports[0]", Rule::FieldValue),
        ),
    ] {
        assert_eq!(changed(from, to), found, "{to}");
    }
    let limits = "memory-mib-at-most = 512\ncpu-percent-at-most = 150\nopen-files-at-most = 1000\n\
                  disk-free-mib-at-least = 100\n";
    assert_eq!(changed(limits, ""), of("health[5].kind", Rule::Contradiction));
}

const RUNBOOK: &str = include_str!("runbook.toml");

/// What is found wrong with the example for zSeries and this runbook.
fn with_runbook(runbook: &str) -> Vec<(String, Rule)> {
    let zseries = FULL.replacen("[\"hosts\"]", "[\"zseries\"]", 1);
    match Manifest::parse(&format!("{zseries}\n{runbook}")) {
        Ok(_) => Vec::new(),
        Err(findings) => {
            findings.into_iter().map(|it| (it.field.unwrap_or_default(), it.rule)).collect()
        }
    }
}

#[test]
fn a_runbook_is_read_whole() {
    use crate::package::runbook::{Doer, Undoing};
    use crate::statement::Direction;
    let manifest = Manifest::parse(&format!("{FULL}\n{RUNBOOK}")).unwrap();
    let names: Vec<&str> = manifest.runbook.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["hold-job", "move-members", "refresh-region"]);
    let by: Vec<&Doer> = manifest.runbook.iter().map(|step| &step.by).collect();
    let mainframe = Doer::Department("mainframe".parse().unwrap());
    assert_eq!(by, [&Doer::Operator, &Doer::Gateway, &mainframe]);
    let moved = &manifest.runbook[1];
    assert_eq!(moved.elements, ["PAYR010 -> PROD.PAYROLL.JCL"]);
    assert_eq!(moved.deed(Direction::Back).unwrap().timeout, Duration::from_secs(20));
    assert!(matches!(manifest.runbook[2].undo, Undoing::Nothing(_)));
    let programs: Vec<String> = manifest
        .runbook_programs()
        .into_iter()
        .map(|(field, path)| format!("{field} {path}"))
        .collect();
    assert_eq!(
        programs,
        ["runbook[1].command hooks/move.sh", "runbook[1].undo.command hooks/back.sh"]
    );
}

#[test]
fn faults_of_a_runbook_have_their_field() {
    assert_eq!(with_runbook(RUNBOOK), []);
    let of = |field: &str, rule| vec![(field.to_owned(), rule)];
    assert_eq!(with_runbook(""), of("runbook", Rule::FieldMissing));
    for (from, to, found) in [
        ("\"refresh-region\"", "\"hold-job\"", of("runbook[2].name", Rule::Contradiction)),
        ("\"mainframe\"", "\"The Mainframe\"", of("runbook[2].by", Rule::FieldValue)),
        ("command = \"hooks/move.sh\"\n", "", of("runbook[1].command", Rule::Contradiction)),
        ("command = \"hooks/back.sh\", ", "", of("runbook[1].undo.command", Rule::Contradiction)),
        ("by = \"gateway\"", "by = \"operator\"", {
            let mut both = of("runbook[1].command", Rule::Contradiction);
            both.extend(of("runbook[1].undo.command", Rule::Contradiction));
            both
        }),
        ("no-undo = \"The", "undo-not = \"The", {
            let mut both = of("runbook[2].undo", Rule::FieldMissing);
            both.extend(of("runbook[2].undo-not", Rule::FieldUnknown));
            both
        }),
        (
            "no-undo = \"The",
            "no-undo = \"N/A\" # \"The",
            of("runbook[2].no-undo", Rule::NotDocumentation),
        ),
        (
            "no-undo = \"The",
            "undo = { what = \"Refresh the region again.\", timeout = \"5s\" }\nno-undo = \"The",
            of("runbook[2].no-undo", Rule::Contradiction),
        ),
        ("timeout = \"30s\"", "timeout = \"4m\"", of("apply-budget", Rule::Contradiction)),
        (
            "again.\", timeout = \"20s\"",
            "again.\", timeout = \"4m\"",
            of("rollback-reserve", Rule::Contradiction),
        ),
    ] {
        assert!(RUNBOOK.contains(from), "{from}");
        assert_eq!(with_runbook(&RUNBOOK.replacen(from, to, 1)), found, "{to}");
    }
}
