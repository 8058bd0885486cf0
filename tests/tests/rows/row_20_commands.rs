//! Row 20: every command says what it does before it does it. Each of the program's own command tree has a line
//! here; whatever changes something does nothing with `--dry-run`, and signs nothing without a word of consent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::SystemTime;

use anyhow::{Context as _, ensure};
use clap::{Command, CommandFactory as _};
use cutover_coordinator::cli::Cli;
use cutover_tests::build::binaries;
use cutover_tests::harness::people::path;
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::web::{Reply, Web};
use cutover_tests::harness::{Stage, text};
use serde_json::Value;

use super::row_20_explain::words_of;

/// What a command does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// It tells something.
    Reads,
    /// It writes files, starts something, or asks the coordinator for something.
    Changes,
    /// It signs, or puts in force what was signed.
    Signs,
}
use Does::{Changes, Reads, Signs};

/// The commands that have no line below, and why.
const EXEMPT: &[(&str, &str)] = &[
    (
        "package rehearse",
        "its dry run rehearses in the sandbox and signs nothing: row 2 sees to that",
    ),
    ("step done", "no gateway of the scene waits for a step: row 4 sees to its dry run"),
    ("step fail", "likewise"),
];

/// Each command, by whom, on the scene that [`scene`] makes.
const LINES: &[(Does, &str, &str)] = &[
    (Changes, "alice", "key generate another.pem"),
    (Reads, "alice", "key show alice.pem"),
    (
        Changes,
        "root",
        "policy init --example --origin x.example/log --log-key log.pem.pub --output other.toml",
    ),
    (
        Changes,
        "root",
        "policy add-key policy.toml --owner nina --email n@example.org --role librarian --key nina.pem.pub",
    ),
    (Signs, "root", "policy sign next.toml --output other.json"),
    (Reads, "root", "policy verify policy.json"),
    (Signs, "root", "policy install next.json"),
    (Reads, "root", "policy show"),
    (Signs, "olga", "host grant --environment staging --application web"),
    (
        Signs,
        "olga",
        "host add --host stg-9 --environment staging --application web --host-key nina.pem.pub \
         --transport-key other-nina.pem.pub",
    ),
    (Reads, "olga", "host list"),
    (Reads, "olga", "host show stg-1"),
    (Signs, "olga", "host retire stg-1 --reason worn"),
    (Changes, "alice", "package new draft --application web"),
    (Reads, "alice", "package check web-1.3"),
    (Changes, "alice", "package build web-1.3 --output other.cutover"),
    (Reads, "alice", "package show web-1.3.cutover"),
    (Reads, "alice", "form list"),
    (Reads, "alice", "form show cot-f052"),
    (Reads, "alice", "form show cot-f052 --schema"),
    (Changes, "alice", "form new cot-f053 web-1.3"),
    (Reads, "alice", "form check web-1.3"),
    (Reads, "alice", "form print R-3 --html"),
    (Changes, "alice", "form print R-3 --output form.txt"),
    (Signs, "alice", "submit web-1.3.cutover --environment staging"),
    (Signs, "lena", "review R-3 --complete"),
    (Reads, "lena", "review show R-3"),
    (Signs, "sam", "assess R-3 --accept"),
    (Signs, "olga", "vote R-3 --approve"),
    (Reads, "bea", "cab agenda"),
    (Signs, "bea", "cab confirm R-3"),
    (Signs, "lena", "consult ask R-3 --department networks --question 'which port?'"),
    (Signs, "olga", "consult answer R-3 --department networks --accept"),
    (Reads, "lena", "consult list"),
    (Signs, "lena", "deliver R-3 --location 'shelf 2'"),
    (Signs, "max", "book R-3 --environment staging --start +3h --for 30m --wave all=stg-1"),
    (Reads, "max", "suggest R-3 --environment staging"),
    (Reads, "max", "calendar show"),
    (Signs, "max", "calendar set calendar.toml --environment staging"),
    (Reads, "max", "calendar lint"),
    (Reads, "max", "calendar import days.ics --zone America/New_York"),
    (Changes, "max", "calendar import days.ics --zone America/New_York --output days.toml"),
    (Reads, "max", "calendar export"),
    (Changes, "max", "calendar export --output feed.ics"),
    (Signs, "max", "window release $BOOKING"),
    (Reads, "max", "step list R-3"),
    (Signs, "max", "hold R-2 --reason odd"),
    (Signs, "max", "resume R-3 --reason even"),
    (Signs, "max", "cancel R-3 --reason overtaken"),
    (Signs, "max", "rollback --application web --environment staging --reason slow"),
    (Signs, "max", "close R-2 --result successful"),
    (Signs, "max", "freeze declare --environment production --start +1h --for 2h --reason audit"),
    (
        Signs,
        "max",
        "freeze import days.ics --environment production --zone America/New_York --ahead 30d",
    ),
    (Signs, "max", "freeze lift $FREEZE --reason over"),
    (Reads, "max", "freeze list"),
    (
        Signs,
        "max",
        "emergency open --incident INC-2 --application web --environment production --for 1h --reason x",
    ),
    (Signs, "alice", "emergency iterate web-1.0.2.cutover --incident INC-1"),
    (Signs, "max", "emergency approve R-4"),
    (Signs, "max", "emergency approve R-4 --deploy"),
    (Reads, "max", "emergency status"),
    (
        Signs,
        "max",
        "standard approve R-1 --title text --may-differ package --for 30d --reason often",
    ),
    (Signs, "max", "standard withdraw $STANDARD --reason broken"),
    (Reads, "max", "standard list"),
    (Signs, "max", "override $BOOKING --freeze '$FREEZE=nobody is paid' --output override.json"),
    (
        Signs,
        "max",
        "waive R-3 --environment staging --without review --for 1h --reason ill --output other.json",
    ),
    (Signs, "sam", "cosign waiver.json"),
    (Reads, "max", "status"),
    (Reads, "max", "explain R-3"),
    (Reads, "max", "metrics"),
    (Reads, "max", "tasks list"),
    (Reads, "max", "tasks show R-3 verify"),
    (Signs, "max", "tasks assign R-3 verify --to alice"),
    (Signs, "max", "tasks done R-3 verify"),
    (Signs, "alice", "acknowledge R-3"),
    (Reads, "max", "outbox list"),
    (Reads, "max", "outbox show $DELIVERY"),
    (Changes, "max", "outbox retry $DELIVERY"),
    (Reads, "max", "log list"),
    (Reads, "max", "log show 1"),
    (Reads, "max", "log verify"),
    (Changes, "log", "serve --config coordinator.toml"),
    (Reads, "max", "completions bash"),
    (Changes, "max", "man pages"),
];

/// Everything that can be typed and does something, with its words.
fn leaves(command: &Command, words: &str, found: &mut BTreeMap<String, Command>) {
    if !command.is_subcommand_required_set() && command.get_name() != "cutover" {
        found.insert(words.to_owned(), command.clone());
    }
    let named = command.get_subcommands().filter(|it| it.get_name() != "help");
    for child in named {
        leaves(child, format!("{words} {}", child.get_name()).trim(), found);
    }
}

fn tree() -> BTreeMap<String, Command> {
    let mut root = Cli::command();
    root.build();
    let mut found = BTreeMap::new();
    leaves(&root, "", &mut found);
    found
}

/// The command of a line: as many of its words as the tree knows.
fn leaf_of<'t>(line: &str, tree: &'t BTreeMap<String, Command>) -> Option<&'t str> {
    let words: Vec<_> = line.split(' ').collect();
    let beginnings = (1..=words.len()).rev().map(|count| words[..count].join(" "));
    beginnings.into_iter().find_map(|words| Some(tree.get_key_value(&words)?.0.as_str()))
}

#[test]
fn row_20_every_command_is_here_and_has_the_options_of_all() -> anyhow::Result<()> {
    let tree = tree();
    let mut missing: BTreeSet<&str> = tree.keys().map(String::as_str).collect();
    for (_, _, line) in LINES {
        missing.remove(leaf_of(line, &tree).with_context(|| format!("no command: {line}"))?);
    }
    for (exempt, why) in EXEMPT {
        ensure!(missing.remove(exempt), "{exempt} is exempt ({why}), and has a line or is gone");
    }
    ensure!(missing.is_empty(), "no line for {missing:?}");
    for (words, command) in &tree {
        let help = command.clone().render_long_help().to_string();
        for option in ["--json", "--dry-run", "--yes", "Examples:", &format!("cutover {words}")] {
            ensure!(help.contains(option), "{option} is not in the help of {words}:\n{help}");
        }
    }
    Ok(())
}

/// What the lines are about: two releases that ran, one on its way that is held, and an emergency.
async fn scene(
    directory: &Path,
    web: &Web,
) -> anyhow::Result<(Stage, BTreeMap<&'static str, String>)> {
    let secret = directory.join("webhook.secret");
    std::fs::write(&secret, "a secret of both sides")?;
    let more = format!(
        "[outbox]\n[[outbox.webhook]]\nname = \"chat\"\nurl = \"{}/in\"\ntransport = \"clear-text\"\n\
         secret-file = {:?}\n",
        web.url(),
        path(&secret)
    );
    let mut stage = Stage::start_with(directory, binaries(), &more).await?;
    stage.desk.amend_policy(|text| {
        let departments = "[[departments]]\nname = \"networks\"\nowners = [\"olga\"]\n\n[[rules]]";
        let standard = "[[rules]]\nenvironment = \"staging\"\nchange = \"standard\"\nreviews = 0\n\
             assessments = 0\nvotes = 0\ndelivery = false\nafter = []\nlongest_window = \"8h\"\n\
             duties = \"separate\"\n\n# Emergencies: a change";
        let text = text.replacen("[[rules]]", departments, 1);
        text.replacen("# Emergencies: a change", standard, 1)
    })?;
    let pair = "by = [\"change-manager\", \"security\"]";
    let waivable = format!("waivable = [{{ exception = \"review\", {pair} }}]");
    stage.desk.amend_rule("staging", "normal", &waivable)?;
    stage.desk.amend_rule("production", "emergency", "standing_window = \"30m\"")?;
    for (host, environment) in [("stg-1", "staging"), ("prd-1", "production")] {
        stage.add_host(host, environment).await?;
    }
    for version in ["1.0", "1.1"] {
        let file = release::build(&stage.desk, version, &Made::default())?;
        let release = stage.submitted(&file, &["staging"])?;
        stage.desk.run("lena", &["review", &release, "--complete"])?;
        stage.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;
        stage.deploy(&release, "staging", &["stg-1"], &["--wave", "all=stg-1"]).await?;
    }
    let known = on_its_way(&stage)?;
    files(&stage)?;
    Ok((stage, known))
}

/// The release that is held, the emergency, and what the lines name of them.
fn on_its_way(stage: &Stage) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let desk = &stage.desk;
    let id = |who: &str, line: &str| {
        let words = words_of(line);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        text(&desk.run(who, &words)?, "id")
    };
    let file = release::build(desk, "1.2", &Made::default())?;
    let release = stage.submitted(&file, &["staging", "production"])?;
    desk.run("lena", &["review", &release, "--complete"])?;
    desk.run("bea", &["vote", &release, "--approve", "--condition", "The desk knows."])?;
    desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;
    let window = ["--start", "+2h", "--for", "30m", "--wave", "all=stg-1"];
    let booking = stage.book(&release, "staging", &window)?.booking;
    desk.run("max", &["hold", &release, "--reason", "odd"])?;
    let freeze = "freeze declare --environment production --start +9h --for 2h --reason audit";
    let standard =
        "standard approve R-1 --title text --may-differ package --for 30d --reason often";
    let known = [
        ("$BOOKING", booking),
        ("$FREEZE", id("max", freeze)?),
        ("$STANDARD", id("max", standard)?),
    ];
    let open = "emergency open --incident INC-1 --application web --environment production --for 2h \
                --reason broken";
    id("max", open)?;
    let made = Made { change: Some("emergency"), ..Made::default() };
    let first = path(&release::build(desk, "1.0.1", &made)?);
    desk.run("alice", &["emergency", "iterate", &first, "--incident", "INC-1"])?;
    release::build(desk, "1.0.2", &made)?;
    let waive = "waive R-3 --environment staging --without review --for 1h --reason ill --output waiver.json";
    id("max", waive)?;
    let deliveries = desk.run("max", &["outbox", "list"])?;
    let first = deliveries.pointer("/0/delivery").or(deliveries.pointer("/0/key"));
    let first = first.and_then(Value::as_str).with_context(|| format!("{deliveries:#}"))?;
    Ok(known.into_iter().chain([("$DELIVERY", first.to_owned())]).collect())
}

/// The files that the lines name.
fn files(stage: &Stage) -> anyhow::Result<()> {
    let (desk, directory) = (&stage.desk, &stage.desk.directory);
    release::build(desk, "1.3", &Made::default())?;
    for key in ["nina.pem", "other-nina.pem"] {
        desk.run("root", &["key", "generate", key])?;
    }
    let policy = std::fs::read_to_string(directory.join("policy.toml"))?;
    let version = policy.lines().find(|line| line.starts_with("version = ")).context("version")?;
    let number: u64 = version.trim_start_matches("version = ").parse()?;
    let next = policy.replacen(version, &format!("version = {}", number + 1), 1);
    std::fs::write(directory.join("next.toml"), next)?;
    desk.run("root", &["policy", "sign", "next.toml", "--output", "next.json"])?;
    std::fs::write(
        directory.join("calendar.toml"),
        "zone = \"America/New_York\"\nnotice = \"0s\"\n",
    )?;
    let days = "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nUID:1@example.org\nSUMMARY:Sundays\n\
                DTSTART;TZID=America/New_York:20260104T060000\nDURATION:PT2H\n\
                RRULE:FREQ=WEEKLY;BYDAY=SU\nEND:VEVENT\nEND:VCALENDAR\n";
    Ok(std::fs::write(directory.join("days.ics"), days)?)
}

/// The files that a person has, with their lengths and times: what a command must not change.
fn seen(directory: &Path) -> anyhow::Result<BTreeMap<String, (u64, SystemTime)>> {
    let mut all = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_log = entry.path().extension().is_some_and(|it| it == "log");
            let is_alive = name == "coordinator" || name.contains(".cache") || name.ends_with("-1");
            if is_alive || is_log {
                continue;
            }
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                open.push(entry.path());
            }
            all.insert(path(&entry.path()), (metadata.len(), metadata.modified()?));
        }
    }
    Ok(all)
}

/// How a line ended: exit code, standard output, standard error. Nobody is there to be asked.
fn run(
    stage: &Stage,
    who: &str,
    words: &[String],
    more: &[&str],
) -> anyhow::Result<(i32, String, String)> {
    let mut command = stage.desk.command(who);
    let output = command.args(words).args(more).stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_20_a_dry_run_changes_nothing_and_nothing_is_signed_unasked() -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("cutover-rows-").tempdir()?;
    let web = Web::start(|_| Reply::status(503))?;
    let (mut stage, known) = scene(directory.path(), &web).await?;
    let before = (stage.head().await?, seen(directory.path())?);
    let mut faults = Vec::new();
    for (does, who, line) in LINES {
        let words = words_of(line)
            .into_iter()
            .map(|word| known.iter().fold(word, |word, (name, value)| word.replace(name, value)));
        let words: Vec<String> = words.collect();
        let more: &[&str] = if *does == Reads { &["--json"] } else { &["--json", "--dry-run"] };
        let (code, out, error) = run(&stage, who, &words, more)?;
        let value = serde_json::from_str::<Value>(&out);
        let good = match (does, &value) {
            (_, Err(_)) => false,
            (Reads, Ok(_)) => code == 0,
            (Changes | Signs, Ok(value)) => code == 0 && value["dry-run"] == true,
        };
        if !good {
            faults.push(format!("{who}: {line} {more:?}: exit {code}\n{out}{error}"));
        }
        if *does == Signs {
            let (code, out, error) = run(&stage, who, &words, &[])?;
            if code != 2 || !error.contains("say --yes") {
                faults.push(format!("{who}: {line}: signed unasked? exit {code}\n{out}{error}"));
            }
        }
        let after = (stage.head().await?, seen(directory.path())?);
        if after != before {
            faults.push(format!("{who}: {line} changed something"));
            break;
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n\n"));
    Ok(())
}
