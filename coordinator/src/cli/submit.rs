//! `cutover submit`: a package becomes a release.
//!
//! The package is verified here, uploaded unless the coordinator has it, and only then the `release`
//! statement is signed and logged: the coordinator takes none whose package it does not hold.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use cutover_shared::authorise::rules::missing_forms;
use cutover_shared::calendar::span::{When, WhenError};
use cutover_shared::calendar::zone::Zone;
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::package::check::{self, Checked};
use cutover_shared::package::difference::Side;
use cutover_shared::package::listing::Listing;
use cutover_shared::package::manifest::Manifest;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{ChangeType, FormUsed, Iteration, Release, Says, Statement};
use cutover_shared::time::Time;

use super::client::Client;
use super::compared::compared;
use super::context::{Beside, Context};
use super::exit::Failure;
use super::names;

use crate::package::file::{FileError, PackageFile};

/// Submit a package as a release: upload it, and sign for it
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  cutover submit shop-1.4.2.cutover --environment staging --environment production\n  cutover submit shop-1.4.3.cutover --environment staging --supersedes R-7\n  cutover submit shop-1.4.2-fix.cutover --environment production --emergency INC-2231\n  cutover submit catalogue-31.cutover --environment production --standard 9c21d0"
)]
pub struct SubmitArgs {
    /// The package that `cutover package build` made
    #[arg(value_name = "FILE.cutover")]
    pub file: PathBuf,
    /// An environment that it is for; several times for several
    #[arg(long = "environment", value_name = "ENVIRONMENT", required = true)]
    pub environments: Vec<Name>,
    /// The earlier release whose place it takes
    #[arg(long, value_name = "RELEASE")]
    pub supersedes: Option<String>,
    /// It is the next iteration of this emergency: the incident, or the beginning of its digest
    #[arg(long, value_name = "GROUNDS")]
    pub emergency: Option<String>,
    /// It is a standard change under this pre-approval: the beginning of its digest
    #[arg(long, value_name = "STANDARD", conflicts_with = "emergency")]
    pub standard: Option<String>,
}

/// What the package itself says.
struct Packed<'a> {
    package: Digest,
    manifest: &'a Manifest,
    /// Which schemas its forms keep.
    forms: BTreeSet<FormUsed>,
    /// The start that the author asks for.
    start: Time,
}

/// Carries the command out.
pub async fn run(context: &Context, args: &SubmitArgs) -> Result<(), Failure> {
    let (file, listing) = open(context, args)?;
    let mut client = context.connect().await?;
    let checked = check::examine(&listing, &client.catalogue().await?);
    let side = Side::new(&listing, &checked);
    let forms = checked.forms_used();
    let manifest = complete(context, checked)?;
    let schedule = &manifest.schedule;
    let zone = Zone::find(&schedule.zone).map_err(WhenError::from)?;
    let [start, latest] = [schedule.start, schedule.latest].map(When::civil);
    let start = start.permitted_start(Some(&zone), context.now())?;
    if latest.permitted_start(Some(&zone), context.now()).is_ok_and(|it| it < context.now()) {
        context.sink().note(format!(
            "the latest acceptable start, {latest} in {}, is past: say in release.toml what would still do",
            schedule.zone
        ));
    }
    let packed = Packed { package: file.index().digest(), manifest: &manifest, forms, start };

    let synced = client.sync().await?;
    let shown = statement(args, &packed, &synced.state, context.now())?;
    has_forms(&synced.state, &shown)?;
    let beside = difference(context, &client, &synced.state, &shown, &side).await;
    if !context.confirm_beside(&shown, Some(&synced.state), beside.as_ref())? {
        return Ok(());
    }
    // What the fold would refuse is refused before the bytes go out, not after.
    let key = context.secret_key()?;
    let trial = shown.signed_by([key]).to_bytes();
    synced.state.examine(synced.state.next_index(), &trial)?;
    if client.package_lengths(packed.package).await.is_err() {
        let mut bar = context.sink().progress("uploading");
        client.upload_package(&file, &mut bar).await?;
    }
    // An upload can take longer than the coordinator lets a signer's clock be behind.
    let signed = statement(args, &packed, &synced.state, context.now())?.signed_by([key]);
    let appended = client.append(&signed).await?;
    let synced = client.sync().await?;
    let case = synced.state.case(&appended.id);
    let case =
        case.ok_or_else(|| Failure::failed("find the release in the log it was added to"))?;
    let mut more = vec![
        ("release", names::number(case).into()),
        ("package", packed.package.to_string().into()),
    ];
    if let Some(iteration) = &case.release.says().iteration {
        more.push(("iteration", iteration.number.into()));
    }
    more.extend(beside.map(|it| (it.name, it.value)));
    context.sink().appended(&appended, &more)
}

/// Refuses early what no host would take: a submission without a form that the policy asks for.
fn has_forms(state: &State, shown: &Statement) -> Result<(), Refusal> {
    let (Says::Release(release), Some(policy)) = (&shown.says, state.policy()) else {
        return Ok(());
    };
    for environment in &release.environments {
        let Ok(rule) = policy.rule(environment, release.change) else { continue };
        if let Some(form) = missing_forms(rule, &release.forms).first() {
            let facts = format!("the policy asks for forms/{form}.toml in {environment}");
            return Err(Refusal::new(Code::FormMissing, facts));
        }
    }
    Ok(())
}

/// What is different to the iteration before, or to the release whose place it takes. That it cannot be told
/// is no reason not to submit: whoever reviews or approves it is shown it again.
async fn difference(
    context: &Context,
    client: &Client,
    state: &State,
    shown: &Statement,
    after: &Side,
) -> Option<Beside> {
    let Says::Release(release) = &shown.says else { return None };
    let previous = release.iteration.as_ref().and_then(|it| it.previous);
    let earlier = state.case(&release.supersedes.or(previous)?)?;
    match compared(client, earlier, after).await {
        Ok(compared) => Some(compared.beside()),
        Err(failure) => {
            let (name, why) = (earlier.name(), failure.text());
            context.sink().note(format!("the difference to {name} is not known ({why})"));
            None
        }
    }
}

/// The package, verified whole, and what is in it.
fn open(context: &Context, args: &SubmitArgs) -> Result<(PackageFile, Listing), Failure> {
    let file = PackageFile::open(&args.file).map_err(|error| match error {
        FileError::Read(..) | FileError::Write(..) => {
            Failure::Failed(anyhow::Error::new(error).context("open the package"))
        }
        FileError::NotAPackage(_)
        | FileError::Torn(_)
        | FileError::Index(..)
        | FileError::Map(..) => {
            Failure::Usage(anyhow::Error::new(error).context("the package is not usable"))
        }
    })?;
    let mut bar = context.sink().progress("verifying");
    let listing = file.verify(&mut bar);
    drop(bar);
    let listing = listing.with_context(|| format!("verify {}", args.file.display()))?;
    Ok((file, listing))
}

/// The manifest of a complete package; what is wrong with another is told, all at once.
fn complete(context: &Context, checked: Checked) -> Result<Manifest, Failure> {
    for fault in &checked.findings {
        let field = fault.field.as_deref().map(|it| format!(" {it}")).unwrap_or_default();
        let (file, problem, remedy) = (&fault.file, &fault.problem, &fault.remedy);
        context.sink().note(format!("{file}{field}: {problem}; {remedy}"));
    }
    match checked.manifest {
        Some(manifest) if checked.findings.is_empty() => Ok(manifest),
        Some(_) | None => Err(Failure::Faults),
    }
}

fn statement(
    args: &SubmitArgs,
    packed: &Packed<'_>,
    state: &State,
    now: Time,
) -> Result<Statement, Failure> {
    let manifest = packed.manifest;
    let change = manifest.change_type;
    if let Some(policy) = state.policy() {
        for environment in &args.environments {
            policy.rule(environment, change)?;
        }
    }
    if let Some(denial) = state.denial(&packed.package) {
        let facts = format!("security denied this package ({})", denial.short());
        return Err(Refusal::new(Code::Denied, facts).into());
    }
    let iteration = match (&args.emergency, change) {
        (Some(grounds), ChangeType::Emergency) => Some(next_iteration(state, grounds)?),
        (Some(_), other) => {
            return Err(Failure::usage(format!(
                "the package says change-type = \"{other}\": build it anew with \"emergency\""
            )));
        }
        (None, ChangeType::Emergency) => {
            return Err(Failure::usage(
                "the package says change-type = \"emergency\": say with --emergency which one",
            ));
        }
        (None, ChangeType::Normal | ChangeType::Standard) => None,
    };
    let standard = match (&args.standard, change) {
        (Some(text), ChangeType::Standard) => Some(names::standard(state, text)?.approved.id()),
        (Some(_), other) => {
            return Err(Failure::usage(format!(
                "the package says change-type = \"{other}\": build it anew with \"standard\""
            )));
        }
        (None, ChangeType::Standard) => {
            return Err(Failure::usage(
                "the package says change-type = \"standard\": say with --standard which one; \
                 `cutover standard list` shows them",
            ));
        }
        (None, ChangeType::Normal | ChangeType::Emergency) => None,
    };
    let earlier = args.supersedes.as_deref().map(|text| names::release(state, text)).transpose()?;
    let release = Release {
        application: manifest.application.clone(),
        version: manifest.version.clone(),
        package: packed.package,
        change,
        environments: args.environments.iter().cloned().collect(),
        summary: manifest.summary.clone(),
        apply_budget: manifest.apply_budget,
        rollback_reserve: manifest.rollback_reserve,
        irreversible: manifest.rollback.irreversible,
        requested_start: Some(packed.start),
        forms: packed.forms.clone(),
        iteration,
        standard,
        supersedes: earlier.map(|case| case.release.id()),
    };
    Ok(Statement::new(now, release))
}

/// The place after the last iteration of an emergency in the log.
fn next_iteration(state: &State, grounds: &str) -> Result<Iteration, Failure> {
    let grounds = names::emergency(state, grounds)?.id();
    let iterations = state.cases().filter_map(|case| {
        let iteration = case.release.says().iteration.as_ref()?;
        (iteration.grounds == grounds).then(|| (iteration.number, case.release.id()))
    });
    Ok(match iterations.max_by_key(|(number, _)| *number) {
        Some((number, previous)) => {
            Iteration { grounds, number: number + 1, previous: Some(previous) }
        }
        None => Iteration { grounds, number: 1, previous: None },
    })
}

#[cfg(test)]
mod tests {
    use super::super::names::parse;
    use super::super::names::scene::{Scene, name, no, time};
    use super::*;

    const MANIFEST: &str = r#"
schema = 1
application = "shop"
version = "1.4.2"
summary = "Fixes the tax on orders from Ohio."
change-type = "normal"
targets = ["hosts"]
apply-budget = "5m"
rollback-reserve = "2m"

[impact]
systems = ["shop web front end"]
users = "All customers see the maintenance page while it restarts."
outage-minutes = 1
worst-case = "Orders cannot be placed until the hosts have gone back."
not-doing = "Orders from Ohio go on being taxed wrongly."

[rollback]
strategy = "Each host goes back to the release before by itself."
steps = ["cutover rollback --application shop"]
trigger = "The health check fails, or the error rate rises above one in a hundred."
minutes = 5
owner = "Ada Example, ada@example.org"
data-loss = "No data is lost: the tables do not change."

[schedule]
start = "2026-11-20T22:00"
for = "1h"
zone = "America/New_York"
latest = "2026-11-30T22:00"

[[health]]
name = "front-page"
kind = "http"
url = "http://{listen}/health"
timeout = "2s"

[health-policy]
start-grace = "10s"
interval = "2s"
consecutive-successes = 3
deadline = "1m"
bake = "2m"
bake-tolerance = 1
"#;

    fn form() -> FormUsed {
        FormUsed { form: name("cot-f052"), version: 1, digest: Digest::of(b"schema") }
    }

    fn made(scene: &Scene, manifest: &str, line: &str) -> Result<Release, Failure> {
        let manifest = Manifest::parse(manifest).unwrap();
        let args = parse::<SubmitArgs>(&format!("shop.cutover {line}")).unwrap();
        let start = time("2026-11-21T03:00:00Z");
        let package = Digest::of(b"1.4.2");
        let forms = BTreeSet::from([form()]);
        let packed = Packed { package, manifest: &manifest, forms, start };
        let made = statement(&args, &packed, &scene.state, scene.now)?;
        let Says::Release(release) = made.says else { panic!("it is another statement") };
        Ok(*release)
    }

    #[test]
    fn says_what_the_manifest_says() {
        let mut scene = Scene::new();
        let earlier = scene.submit("1.4.1");
        let line = "--environment staging --environment production --supersedes R-1";
        let release = made(&scene, MANIFEST, line).unwrap();
        let expected = Release {
            version: "1.4.2".to_owned(),
            package: Digest::of(b"1.4.2"),
            summary: "Fixes the tax on orders from Ohio.".to_owned(),
            requested_start: Some(time("2026-11-21T03:00:00Z")),
            forms: BTreeSet::from([form()]),
            standard: None,
            supersedes: Some(earlier),
            ..Scene::release("1.4.2", &["staging", "production"])
        };
        assert_eq!(release, expected);
        scene.say("sam", release);
    }

    #[test]
    fn iterations_count_up_by_themselves() {
        let mut scene = Scene::new();
        let emergency = MANIFEST.replace("\"normal\"", "\"emergency\"");
        let line = "--environment production --emergency INC-1";
        assert_eq!(made(&scene, &emergency, line).unwrap_err().code(), 5);
        let grounds = scene.open_emergency("INC-1");
        let first = made(&scene, &emergency, line).unwrap();
        assert_eq!(first.iteration, Some(Iteration { grounds, number: 1, previous: None }));
        let first = scene.say("sam", first);
        let second = made(&scene, &emergency, line).unwrap();
        let previous = Some(first);
        assert_eq!(second.iteration, Some(Iteration { grounds, number: 2, previous }));
    }

    #[test]
    fn the_package_and_the_command_agree_on_the_change_type() {
        let mut scene = Scene::new();
        scene.open_emergency("INC-1");
        let line = "--environment production";
        let emergency = MANIFEST.replace("\"normal\"", "\"emergency\"");
        assert_eq!(made(&scene, &emergency, line).unwrap_err().code(), 2);
        let line = "--environment production --emergency INC-1";
        assert_eq!(made(&scene, MANIFEST, line).unwrap_err().code(), 2);
    }

    #[test]
    fn what_cannot_go_anywhere_is_refused_before_it_is_uploaded() {
        let mut scene = Scene::new();
        let failure = made(&scene, MANIFEST, "--environment laboratory").unwrap_err();
        assert!(matches!(failure, Failure::Refused(it) if it.code == Code::RuleMissing));
        let release = scene.submit("1.4.2");
        scene.assess(release, no("It leaks."));
        let failure = made(&scene, MANIFEST, "--environment staging").unwrap_err();
        assert!(matches!(failure, Failure::Refused(it) if it.code == Code::Denied));
    }
}
