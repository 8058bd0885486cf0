//! `cutover host`: which hosts there are, how they come in and how they leave.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use cutover_shared::codec;
use cutover_shared::digest::Digest;
use cutover_shared::fold::{HostRecord, State};
use cutover_shared::key::{PublicKey, SecretKey};
use cutover_shared::name::Name;
use cutover_shared::protocol::{Fleet, HostView, Join};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{Enrolment, Grant, HostChange, Statement};
use cutover_shared::time::{Time, span};
use serde::Serialize;

use super::client::Client;
use super::context::Context;
use super::drift::{self, DriftReport};
use super::exit::Failure;
use super::key::{random, read_public_key};
use super::names;
use super::output::table;
use super::sync::Synced;
use super::wait::until_enrolled;

/// What a join string begins with.
pub const JOIN_PREFIX: &str = "cutover-join:";

/// Enrol, list and retire hosts
#[derive(Debug, Clone, Subcommand)]
pub enum HostCommand {
    /// Let hosts enrol themselves, as an operator: prints a join string for `cutover-applier join`
    ///
    /// The string is a secret: whoever has it can enrol hosts within the grant until it is used up.
    #[command(
        after_help = "Examples:\n  cutover host grant --environment staging --application shop --count 2\n  cutover host grant --environment production --application shop --label site=east --for 1h --json"
    )]
    Grant(GrantArgs),
    /// Enrol a host whose two public keys you have, as an operator
    #[command(
        after_help = "Examples:\n  cutover host add --host web-1 --environment production --application shop --host-key web-1.pub --transport-key web-1-transport.pub"
    )]
    Add(AddArgs),
    /// List hosts: what runs on them, and whether they are connected
    #[command(after_help = "Examples:\n  cutover host list\n  cutover host list --json")]
    List,
    /// Show one host
    #[command(
        after_help = "Examples:\n  cutover host show web-1\n  cutover host show web-1 --wait 1m"
    )]
    Show(ShowArgs),
    /// Say that a host is gone, as an operator: its key says nothing more
    #[command(after_help = "Examples:\n  cutover host retire web-1 --reason 'Its disk broke.'")]
    Retire(RetireArgs),
}

/// `cutover host grant`.
#[derive(Debug, Clone, Args)]
pub struct GrantArgs {
    /// Into this environment
    #[arg(long, value_name = "ENVIRONMENT")]
    pub environment: Name,
    /// For this application; several times for several
    #[arg(long = "application", value_name = "APPLICATION", required = true)]
    pub applications: Vec<Name>,
    /// With this label; several times for several
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(Name, String)>,
    /// How many hosts
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// How long it is good
    #[arg(long = "for", value_name = "DURATION", value_parser = span::parse, default_value = "24h")]
    pub good_for: Duration,
}

/// `cutover host add`.
#[derive(Debug, Clone, Args)]
pub struct AddArgs {
    /// Its name
    #[arg(long, value_name = "HOST")]
    pub host: Name,
    /// Its environment
    #[arg(long, value_name = "ENVIRONMENT")]
    pub environment: Name,
    /// What may be deployed to it; several times for several
    #[arg(long = "application", value_name = "APPLICATION", required = true)]
    pub applications: Vec<Name>,
    /// The public key that it signs outcomes with
    #[arg(long, value_name = "FILE.pub")]
    pub host_key: PathBuf,
    /// The public key that it connects with
    #[arg(long, value_name = "FILE.pub")]
    pub transport_key: PathBuf,
    /// A label; several times for several
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(Name, String)>,
    /// It is this host, set up anew: the beginning of the old host key's id
    #[arg(long, value_name = "KEYID")]
    pub replaces: Option<String>,
}

/// `cutover host show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The host's name, or the beginning of its host key's id
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Wait so long for it to be enrolled
    #[arg(long, value_name = "DURATION", value_parser = span::parse)]
    pub wait: Option<Duration>,
}

/// `cutover host retire`.
#[derive(Debug, Clone, Args)]
pub struct RetireArgs {
    /// The host's name, or the beginning of its host key's id
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

fn label(text: &str) -> Result<(Name, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    let name = name.parse().map_err(|error: cutover_shared::name::NotAName| error.to_string())?;
    Ok((name, value.to_owned()))
}

/// Carries the command out.
pub async fn run(context: &Context, command: &HostCommand) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let now = context.now();
    match command {
        HostCommand::Grant(args) => grant(context, args, &mut client, &synced).await?,
        HostCommand::Add(args) => {
            let keys = (read_public_key(&args.host_key)?, read_public_key(&args.transport_key)?);
            let statement = added(args, keys, &synced.state, now)?;
            let more = [("host", args.host.to_string().into())];
            client.sign_and_append(context, &statement, &more).await?;
        }
        HostCommand::List => {
            let rows = rows(&synced.state, &client.fleet().await?);
            context.sink().result(&rows, |rows| list_text(rows))?;
        }
        HostCommand::Show(args) => {
            let synced = match args.wait {
                Some(limit) => until_enrolled(&mut client, &args.host, limit).await?,
                None => synced,
            };
            let host = names::host(&synced.state, &args.host)?;
            let row = row(&synced.state, &client.fleet().await?, host);
            context.sink().result(&row, show_text)?;
        }
        HostCommand::Retire(args) => {
            let statement = retired(args, &synced.state, now)?;
            client.sign_and_append(context, &statement, &[]).await?;
        }
    }
    Ok(())
}

async fn grant(
    context: &Context,
    args: &GrantArgs,
    client: &mut Client,
    synced: &Synced,
) -> Result<(), Failure> {
    // Looked up first: a grant without a join string would be of no use to anyone.
    let coordinator = context.settings.coordinator()?.to_owned();
    let seed = random()?;
    let statement = granted(args, SecretKey::from_seed(seed).public(), context.now());
    let Some(envelope) = context.sign(&statement, Some(&synced.state), None)? else {
        return Ok(());
    };
    let appended = client.append(&envelope).await?;
    let policy = synced.policy()?;
    let version = policy.document().version;
    let index = synced.state.policy_indexes().get(&version);
    let index = index.ok_or_else(|| Failure::failed("find the policy in force in the log"))?;
    let join = Join {
        coordinator,
        coordinator_key: policy.document().log.key.clone(),
        policy: synced.entry(*index)?,
        policy_id: policy.id(),
        head: synced.head.clone(),
        grant: appended.id,
        environment: args.environment.clone(),
        labels: labels(&args.labels).into_iter().collect(),
        applications: args.applications.iter().cloned().collect(),
        grant_seed: seed,
    };
    context.sink().appended(&appended, &[("join", join_string(&join)?.into())])
}

/// The join string, on one line.
fn join_string(join: &Join) -> Result<String, Failure> {
    let bytes = codec::encode(join).context("write the join string")?;
    Ok(format!("{JOIN_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

fn labels(given: &[(Name, String)]) -> BTreeMap<Name, String> {
    given.iter().cloned().collect()
}

fn granted(args: &GrantArgs, grant_key: PublicKey, now: Time) -> Statement {
    let grant = Grant {
        grant_key,
        environment: args.environment.clone(),
        labels: labels(&args.labels),
        applications: args.applications.iter().cloned().collect(),
        count: args.count,
    };
    Statement::new(now, grant).until(now + args.good_for)
}

fn added(
    args: &AddArgs,
    (host_key, transport_key): (PublicKey, PublicKey),
    state: &State,
    now: Time,
) -> Result<Statement, Failure> {
    let replaces = args.replaces.as_deref().map(|text| names::host(state, text)).transpose()?;
    let taken = state.host_named(&args.host).filter(|_| replaces.is_none());
    if let Some(host) = taken {
        let (name, key) = (&args.host, host.enrolment.says().host_key.id());
        let facts = format!("there is a host {name}; if this is the same one: --replaces {key}");
        return Err(Refusal::new(Code::NameTaken, facts).into());
    }
    let enrolment = Enrolment {
        host: args.host.clone(),
        environment: args.environment.clone(),
        labels: labels(&args.labels),
        applications: args.applications.iter().cloned().collect(),
        host_key,
        transport_key,
        replaces: replaces.map(|host| host.enrolment.says().host_key.id()),
        grant: None,
    };
    Ok(Statement::new(now, HostChange::Enrolled(Box::new(enrolment))))
}

fn retired(args: &RetireArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let record = names::host(state, &args.host)?;
    let enrolment = record.enrolment.says();
    if record.retired.is_some() {
        return Err(Failure::usage(format!("{} is retired already", enrolment.host)));
    }
    let change = HostChange::Retired {
        host: enrolment.host.clone(),
        host_key: enrolment.host_key.id(),
        reason: args.reason.clone(),
    };
    Ok(Statement::new(now, change))
}

/// One host.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    host: Name,
    environment: Name,
    labels: BTreeMap<Name, String>,
    applications: Vec<ApplicationRow>,
    host_key: String,
    transport_key: String,
    enrolled: Time,
    enrolled_by: BTreeSet<Name>,
    retired: bool,
    connected: bool,
    heard: Option<Time>,
}

/// One application on a host: what its outcomes say, and what it says it does now.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ApplicationRow {
    application: Name,
    version: Option<String>,
    package: Option<Digest>,
    generation: u64,
    step: Option<String>,
    refused: Option<Refusal>,
    /// What was changed since and nobody approved.
    drift: Vec<DriftReport>,
}

fn rows(state: &State, fleet: &Fleet) -> Vec<Row> {
    let standing = state.hosts().map(|(_, host)| host).filter(|host| host.retired.is_none());
    let mut rows: Vec<_> = standing.map(|host| row(state, fleet, host)).collect();
    rows.sort_by(|one, other| {
        (&one.environment, &one.host).cmp(&(&other.environment, &other.host))
    });
    rows
}

fn row(state: &State, fleet: &Fleet, host: &HostRecord) -> Row {
    let says = host.enrolment.says();
    let view = fleet.hosts.iter().find(|view| view.host_key == says.host_key.id());
    let applications = says.applications.iter().map(|name| application(state, host, view, name));
    Row {
        host: says.host.clone(),
        environment: says.environment.clone(),
        labels: says.labels.clone(),
        applications: applications.collect(),
        host_key: says.host_key.id().to_string(),
        transport_key: says.transport_key.id().to_string(),
        enrolled: host.enrolment.header().issued,
        enrolled_by: host.vouchers.clone(),
        retired: host.retired.is_some(),
        connected: view.is_some_and(|view| view.connected),
        heard: view.map(|view| view.heard),
    }
}

fn application(
    state: &State,
    host: &HostRecord,
    view: Option<&HostView>,
    name: &Name,
) -> ApplicationRow {
    let installed = host.installed.get(name);
    let package = installed.and_then(|it| it.package);
    let case = state.cases().rev().find(|case| Some(case.release.says().package) == package);
    let report = view.and_then(|view| view.report.as_ref());
    let report = report.and_then(|it| it.applications.iter().find(|it| it.application == *name));
    ApplicationRow {
        application: name.clone(),
        version: case.map(|case| case.release.says().version.clone()),
        package,
        generation: installed.map_or(0, |it| it.generation),
        step: report.map(|it| it.step.clone()),
        refused: report.and_then(|it| it.refused.as_ref()).map(|(_, refusal)| refusal.clone()),
        drift: drift::of_host(state, &host.enrolment.says().host_key.id(), name),
    }
}

impl ApplicationRow {
    fn text(&self) -> String {
        let version = self.version.clone().or(self.package.map(|it| it.short()));
        let step = self.step.as_deref().filter(|step| *step != "idle");
        let step = step.map(|step| format!(" ({step})")).unwrap_or_default();
        let drifted = match self.drift.len() {
            0 => String::new(),
            count => format!(" DRIFTED: {count}"),
        };
        format!("{} {}{step}{drifted}", self.application, version.as_deref().unwrap_or("absent"))
    }
}

fn connection(row: &Row) -> String {
    match (row.connected, row.heard) {
        (true, _) => "connected".to_owned(),
        (false, Some(heard)) => format!("silent since {heard}"),
        (false, None) => "not heard of".to_owned(),
    }
}

fn labels_text(row: &Row) -> String {
    let labels = row.labels.iter().map(|(name, value)| format!("{name}={value}"));
    labels.collect::<Vec<_>>().join(" ")
}

fn list_text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No host is enrolled; an operator makes a grant: `cutover host grant`".to_owned();
    }
    let mut table = table(["host", "environment", "labels", "runs", "connection"]);
    for row in rows {
        let runs: Vec<_> = row.applications.iter().map(ApplicationRow::text).collect();
        table.add_row([
            row.host.to_string(),
            row.environment.to_string(),
            labels_text(row),
            runs.join("\n"),
            connection(row),
        ]);
    }
    table.to_string()
}

fn show_text(row: &Row) -> String {
    let vouchers: Vec<_> = row.enrolled_by.iter().map(Name::as_str).collect();
    let mut lines = vec![
        format!("host           {}{}", row.host, if row.retired { " (retired)" } else { "" }),
        format!("environment    {}", row.environment),
        format!("labels         {}", labels_text(row)),
        format!("host key       {}", row.host_key),
        format!("transport key  {}", row.transport_key),
        format!("enrolled       {} by {}", row.enrolled, vouchers.join(", ")),
        format!("connection     {}", connection(row)),
    ];
    for it in &row.applications {
        let package = it.package.map(|it| format!(", package {it}")).unwrap_or_default();
        lines.push(format!("runs           {}, generation {}{package}", it.text(), it.generation));
        if let Some(refusal) = &it.refused {
            lines.push(format!("  refused      {refusal}"));
        }
        let drift = |it: &DriftReport| format!("  DRIFT        {} {}", it.seen, it.drift);
        lines.extend(it.drift.iter().map(drift));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use cutover_shared::log::TreeHead;
    use cutover_shared::statement::Says;

    use super::super::names::parse;
    use super::super::names::scene::{Scene, key, minutes, name, names as set};
    use super::*;

    fn no_fleet(scene: &Scene) -> Fleet {
        Fleet { now: scene.now, since: scene.now, hosts: Vec::new() }
    }

    #[test]
    fn a_grant_lets_hosts_in_until_it_ends() {
        let mut scene = Scene::new();
        let line = "--environment staging --application shop --label site=east --count 2 --for 1h";
        let args = parse::<GrantArgs>(line).unwrap();
        let made = granted(&args, key("grant").public(), scene.now);
        assert_eq!(made.header.not_after, Some(scene.now + minutes(60)));
        let grant = scene.add("olga", &made);
        assert_eq!(scene.state.grant(&grant).unwrap().grant.says().count, 2);
    }

    #[test]
    fn a_join_string_reads_back() {
        let scene = Scene::new();
        let policy = scene.state.policy().unwrap();
        let join = Join {
            coordinator: "cutover.example.org:7400".to_owned(),
            coordinator_key: policy.document().log.key.clone(),
            policy: b"envelope".to_vec(),
            policy_id: policy.id(),
            head: TreeHead { size: 6, root: Digest::of(b"root") },
            grant: Digest::of(b"grant"),
            environment: name("staging"),
            labels: vec![(name("site"), "east".to_owned())],
            applications: set(["shop"]),
            grant_seed: [7; 32],
        };
        let text = join_string(&join).unwrap();
        let body = text.strip_prefix(JOIN_PREFIX).unwrap();
        assert!(body.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it)), "{text}");
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(body).unwrap();
        assert_eq!(codec::decode::<Join>(&bytes).unwrap(), join);
    }

    #[test]
    fn hosts_are_added_replaced_and_retired() {
        let mut scene = Scene::new();
        let made = |scene: &Scene, line: &str| {
            let base = "--environment staging --application shop --host-key a --transport-key b";
            let args = parse::<AddArgs>(&format!("{base} {line}")).unwrap();
            let keys = (key("new").public(), key("new transport").public());
            added(&args, keys, &scene.state, scene.now)
        };
        let failure = made(&scene, "--host stage-1").unwrap_err();
        let old = key("stage-1").public().id();
        assert!(failure.text().contains(&format!("--replaces {old}")), "{}", failure.text());
        let statement =
            made(&scene, &format!("--host stage-1 --replaces {}", old.short())).unwrap();
        scene.add("olga", &statement);
        let record = names::host(&scene.state, "stage-1").unwrap();
        assert_eq!(record.enrolment.says().host_key.id(), key("new").public().id());

        let args = parse::<RetireArgs>("stage-1 --reason broken").unwrap();
        let statement = retired(&args, &scene.state, scene.now).unwrap();
        assert!(matches!(statement.says, Says::Host(HostChange::Retired { .. })));
        scene.add("olga", &statement);
        let listed = rows(&scene.state, &no_fleet(&scene));
        assert!(!listed.iter().any(|row| row.host == name("stage-1")));
        let args = parse::<RetireArgs>(&format!("{} --reason x", old.short())).unwrap();
        assert_eq!(retired(&args, &scene.state, scene.now).unwrap_err().code(), 2);
    }

    #[test]
    fn the_list_says_what_runs() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        scene.deploy(release, "staging", &["stage-1"]);
        let mut fleet = no_fleet(&scene);
        fleet.hosts.push(HostView {
            host_key: key("stage-1").public().id(),
            connected: true,
            heard: scene.now,
            report: None,
            cleared: Vec::new(),
        });
        let rows = rows(&scene.state, &fleet);
        let text = list_text(&rows);
        assert!(text.contains("shop 1.0"), "{text}");
        assert!(text.contains("shop absent"), "{text}");
        let stage_1 = rows.iter().find(|row| row.host == name("stage-1")).unwrap();
        let text = show_text(stage_1);
        assert!(text.contains("connected") && text.contains("generation 1"), "{text}");
        assert_eq!(rows[0].environment, name("production"), "sorted by environment");
    }
}
