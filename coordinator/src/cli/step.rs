//! `cutover step`: the steps of a runbook that people do, for which a gateway host waits.
//!
//! Which step is waited for is the host's to say, and is in no log; that it was done is a statement, which
//! the host verifies for itself.

use clap::{Args, Subcommand};
use cutover_shared::case::Case;
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::key::KeyId;
use cutover_shared::name::Name;
use cutover_shared::package::runbook::{Awaited, Deed, Doer, RunbookStep, Undoing};
use cutover_shared::policy::{PolicyDocument, Signer};
use cutover_shared::protocol::Fleet;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{Direction, Statement, Step, StepResult};
use cutover_shared::time::{Time, span};
use serde::Serialize;

use super::client::Client;
use super::context::Context;
use super::exit::Failure;
use super::names;
use super::output::table;

/// List the steps of a runbook, and say how those went that people do
#[derive(Debug, Clone, Subcommand)]
pub enum StepCommand {
    /// List the steps of a release's runbook, what was done, and which one is waited for
    #[command(after_help = "Examples:\n  cutover step list R-7\n  cutover step list R-7 --json")]
    List(ListArgs),
    /// Say that a step that a gateway waits for is done (or taken back), as an operator
    #[command(
        after_help = "Examples:\n  cutover step done R-7 hold-job --note 'PAYR010 is held since 01:32.'"
    )]
    Done(SayArgs),
    /// Say that a step that a gateway waits for could not be done: what was begun is taken back; a return is stuck
    #[command(
        after_help = "Examples:\n  cutover step fail R-7 hold-job --note 'PAYR010 does not end.'"
    )]
    Fail(SayArgs),
}

/// Whose steps are listed.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
}

/// Which step, and what was seen.
#[derive(Debug, Clone, Args)]
pub struct SayArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// The step's name in the runbook
    #[arg(value_name = "STEP")]
    pub step: Name,
    /// What was seen, or why it could not be done
    #[arg(long, value_name = "TEXT")]
    pub note: String,
    /// The gateway that waits for it, where several do
    #[arg(long, value_name = "HOST")]
    pub host: Option<Name>,
}

/// Carries the command out.
pub async fn run(context: &Context, command: &StepCommand) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let (state, now) = (&synced.state, context.now());
    let fleet = client.fleet().await?;
    let (args, result) = match command {
        StepCommand::List(args) => {
            let case = names::release(state, &args.release)?;
            let steps = runbook(&client, case).await?;
            return context.sink().result(&listed(state, &fleet, case, steps), Listed::text);
        }
        StepCommand::Done(args) => (args, StepResult::Done { note: args.note.clone() }),
        StepCommand::Fail(args) => (args, StepResult::Failed { reason: args.note.clone() }),
    };
    let case = names::release(state, &args.release)?;
    let statement = statement(args, state, case, &fleet, result, now)?;
    let steps = runbook(&client, case).await?;
    if !context.dry_run
        && let Some(step) = steps.iter().find(|step| step.name == args.step)
    {
        let policy = synced.policy()?.document();
        for_whom(step, &context.secret_key()?.public().id(), policy)?;
    }
    let name = names::number(case);
    client.sign_and_append(context, &statement, &[("release", name.into())]).await?;
    Ok(())
}

/// The runbook of a release's package; empty where it has none.
pub(super) async fn runbook(client: &Client, case: &Case) -> Result<Vec<RunbookStep>, Failure> {
    let listing = client.listing(case.release.says().package).await?;
    Ok(listing.manifest().map(|manifest| manifest.runbook).unwrap_or_default())
}

/// A gateway that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The `booking` or `rollback` statement that it carries out.
    order: Digest,
    pub(super) environment: Name,
    pub(super) host: Name,
    host_key: KeyId,
    pub(super) awaited: Awaited,
}

/// The gateways that wait for somebody to do a step of a release's runbook, by what they say.
pub(super) fn waiting(state: &State, fleet: &Fleet, case: &Case) -> Vec<Waiting> {
    let waits = fleet.reports().filter_map(|(view, report)| {
        let awaited = Awaited::parse(&report.step)?;
        let carried = state.carried(&report.order?, &view.host_key)?;
        (carried.case.release.id() == case.release.id()).then(|| Waiting {
            order: carried.order,
            environment: carried.environment.clone(),
            host: carried.host.clone(),
            host_key: view.host_key,
            awaited,
        })
    });
    waits.collect()
}

fn statement(
    args: &SayArgs,
    state: &State,
    case: &Case,
    fleet: &Fleet,
    result: StepResult,
    now: Time,
) -> Result<Statement, Failure> {
    let all = waiting(state, fleet, case);
    let meant = |it: &&Waiting| {
        it.awaited.step == args.step && args.host.as_ref().is_none_or(|host| *host == it.host)
    };
    let meant: Vec<&Waiting> = all.iter().filter(meant).collect();
    let told = |waiting: &[&Waiting]| {
        let told = waiting.iter().map(|it| format!("{} for the {}", it.host, it.awaited));
        told.collect::<Vec<_>>().join(", ")
    };
    match meant.as_slice() {
        [it] => Ok(Statement::new(
            now,
            Step {
                booking: it.order,
                host: it.host.clone(),
                host_key: it.host_key,
                step: args.step.clone(),
                direction: it.awaited.direction,
                result,
            },
        )),
        [] if all.is_empty() => {
            let facts = format!("a gateway that waits for a step of {}", case.name());
            Err(Failure::not_found(facts))
        }
        [] => {
            let known = told(&all.iter().collect::<Vec<_>>());
            let facts = format!("a gateway that waits for the step {}: {known} waits", args.step);
            Err(Failure::not_found(facts))
        }
        several => {
            let known = told(several);
            Err(Failure::usage(format!("{known} wait: say which with --host")))
        }
    }
}

/// Refuses early what the gateway would not take for an answer.
fn for_whom(step: &RunbookStep, key: &KeyId, policy: &PolicyDocument) -> Result<(), Refusal> {
    let Some(entry) = policy.entry(key) else { return Ok(()) };
    let signer = Signer { key: *key, owner: entry.owner.clone() };
    let (false, Doer::Department(name)) = (step.by.is_among(&[signer], policy), &step.by) else {
        return Ok(());
    };
    let owners = policy.department(name).map(|it| &it.owners);
    let owners: Vec<&str> = owners.into_iter().flatten().map(Name::as_str).collect();
    let facts =
        format!("the step {} is by {name}, for which speak {}", step.name, owners.join(", "));
    Err(Refusal::new(Code::RoleMissing, facts))
}

/// A runbook and how far it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Listed {
    release: String,
    steps: Vec<RunbookStep>,
    said: Vec<Said>,
    waiting: Vec<Wait>,
}

/// What somebody said of a step.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Said {
    booking: Digest,
    host: Name,
    step: Name,
    direction: Direction,
    result: StepResult,
    by: Vec<Name>,
    at: Time,
}

/// A gateway that waits.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Wait {
    booking: Digest,
    host: Name,
    step: Name,
    direction: Direction,
}

fn listed(state: &State, fleet: &Fleet, case: &Case, steps: Vec<RunbookStep>) -> Listed {
    let returns = state.rollbacks_from(&case.release.says().package);
    let returned = returns.flat_map(|order| &order.steps);
    let said = case.booked().flat_map(|booking| &booking.steps).chain(returned).map(|it| Said {
        booking: it.says().booking,
        host: it.says().host.clone(),
        step: it.says().step.clone(),
        direction: it.says().direction,
        result: it.says().result.clone(),
        by: it.owners().into_iter().cloned().collect(),
        at: it.header().issued,
    });
    let waiting = waiting(state, fleet, case).into_iter().map(|it| Wait {
        booking: it.order,
        host: it.host,
        step: it.awaited.step,
        direction: it.awaited.direction,
    });
    Listed { release: names::number(case), steps, said: said.collect(), waiting: waiting.collect() }
}

impl Listed {
    fn text(&self) -> String {
        if self.steps.is_empty() {
            return format!("{} has no runbook.", self.release);
        }
        let mut table = table(["", "step", "by", "what", "undo", "how it stands"]);
        for (number, step) in self.steps.iter().enumerate() {
            table.add_row([
                (number + 1).to_string(),
                step.name.to_string(),
                step.by.to_string(),
                done_by(step),
                undone_by(step),
                self.standing(&step.name),
            ]);
        }
        table.to_string()
    }

    /// What was said of a step, and who waits for it.
    fn standing(&self, step: &Name) -> String {
        let said = self.said.iter().filter(|it| it.step == *step).map(|it| {
            let word = match (&it.result, it.direction) {
                (StepResult::Done { .. }, Direction::Forward) => "done",
                (StepResult::Done { .. }, Direction::Back) => "taken back",
                (StepResult::Failed { .. }, Direction::Forward) => "failed",
                (StepResult::Failed { .. }, Direction::Back) => "not taken back",
            };
            let by: Vec<&str> = it.by.iter().map(Name::as_str).collect();
            let text = it.result.text();
            let line = format!("{}: {word} by {}, {}: {text}", it.host, by.join(", "), it.at);
            line.trim_end_matches([' ', ':']).to_owned()
        });
        let waits = self.waiting.iter().filter(|it| it.step == *step).map(|it| {
            let awaited = Awaited { step: it.step.clone(), direction: it.direction };
            format!("{} WAITS for the {awaited}", it.host)
        });
        said.chain(waits).collect::<Vec<_>>().join("\n")
    }
}

/// What is done in a step, and about what.
pub(super) fn done_by(step: &RunbookStep) -> String {
    told(&step.deed, &step.elements)
}

/// How a step is taken back.
pub(super) fn undone_by(step: &RunbookStep) -> String {
    match &step.undo {
        Undoing::Deed(deed) => told(deed, &[]),
        Undoing::Nothing(why) => format!("nothing: {why}"),
    }
}

fn told(deed: &Deed, elements: &[String]) -> String {
    let mut lines = vec![format!("{} (at most {})", deed.what, span::format(deed.timeout))];
    lines.extend(deed.command.iter().map(|command| format!("runs {command}")));
    lines.extend(elements.iter().cloned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use cutover_shared::protocol::{ApplicationReport, HostReport, HostView};
    use cutover_shared::statement::Says;

    use super::super::names::parse;
    use super::super::names::scene::{Scene, key, minutes, name};
    use super::*;

    /// These hosts carry the booking out, and report these steps.
    fn fleet(scene: &Scene, booking: Digest, steps: &[(&str, &str)]) -> Fleet {
        let view = |(host, step): &(&str, &str)| {
            let report = ApplicationReport {
                application: name("shop"),
                generation: 1,
                running: None,
                order: Some(booking),
                step: (*step).to_owned(),
                progress: None,
                refused: None,
            };
            HostView {
                host_key: key(host).public().id(),
                connected: true,
                heard: scene.now,
                report: Some(HostReport {
                    known: 0,
                    policy_version: 1,
                    applications: vec![report],
                }),
                cleared: Vec::new(),
            }
        };
        let since = scene.now - minutes(600);
        Fleet { now: scene.now, since, hosts: steps.iter().map(view).collect() }
    }

    #[test]
    fn what_is_signed_is_what_a_host_waits_for() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        scene.approve(release);
        let booking = scene.book(release, "staging", &[&["stage-1", "stage-2"]]);
        let said = |reports: &[(&str, &str)], line: &str| {
            let args = parse::<SayArgs>(line).unwrap();
            let case = names::release(&scene.state, &args.release)?;
            let result = StepResult::Done { note: args.note.clone() };
            let fleet = fleet(&scene, booking, reports);
            statement(&args, &scene.state, case, &fleet, result, scene.now)
        };
        let one = [("stage-1", "undo of manual step hold-job"), ("stage-2", "baking")];
        let Says::Step(it) = said(&one, "R-1 hold-job --note Done.").unwrap().says else {
            panic!("a step")
        };
        assert_eq!((it.host, it.direction), (name("stage-1"), Direction::Back));
        assert_eq!((it.booking, it.result.text()), (booking, "Done."));

        let other = said(&one, "R-1 move-job --note Done.").unwrap_err();
        assert_eq!(other.code(), 5);
        assert!(other.text().contains("stage-1 for the undo of manual step hold-job"));
        assert_eq!(said(&[], "R-1 hold-job --note Done.").unwrap_err().code(), 5);
        let both = [("stage-1", "manual step hold-job"), ("stage-2", "manual step hold-job")];
        assert_eq!(said(&both, "R-1 hold-job --note Done.").unwrap_err().code(), 2);
        let chosen = said(&both, "R-1 hold-job --note Done. --host stage-2").unwrap();
        let Says::Step(it) = chosen.says else { panic!("a step") };
        assert_eq!((it.host, it.direction), (name("stage-2"), Direction::Forward));
    }

    #[test]
    fn what_is_signed_for_an_ordered_return_names_that_and_is_listed() {
        let mut scene = Scene::new();
        for version in ["1.0", "1.1"] {
            let release = scene.submit(version);
            scene.approve(release);
            scene.deploy(release, "staging", &["stage-1"]);
            scene.wait(minutes(60));
        }
        let (from, to) = (Digest::of(b"1.1"), Digest::of(b"1.0"));
        let order = scene.roll_back("staging", &["stage-1"], from, to);
        let waits = fleet(&scene, order, &[("stage-1", "undo of manual step hold-job")]);
        let said = |release: &str| {
            let args = parse::<SayArgs>(&format!("{release} hold-job --note Done.")).unwrap();
            let case = names::release(&scene.state, &args.release)?;
            let result = StepResult::Done { note: args.note.clone() };
            statement(&args, &scene.state, case, &waits, result, scene.now)
        };
        assert_eq!(said("R-1").unwrap_err().code(), 5, "it is the other that is left");
        let Says::Step(it) = said("R-2").unwrap().says else { panic!("a step") };
        assert_eq!((it.booking, it.direction), (order, Direction::Back));
        assert_eq!(it.host, name("stage-1"));

        scene.say("olga", it);
        let case = names::release(&scene.state, "R-2").unwrap();
        let listed = listed(&scene.state, &waits, case, Vec::new());
        let said: Vec<_> = listed.said.iter().map(|it| (it.booking, it.direction)).collect();
        assert_eq!(said, [(order, Direction::Back)]);
        let waiting: Vec<_> = listed.waiting.iter().map(|it| it.booking).collect();
        assert_eq!(waiting, [order]);
        let [waiting] = &waiting_of(&scene, &waits)[..] else { panic!("one waits") };
        assert_eq!((waiting.environment.as_str(), waiting.host.as_str()), ("staging", "stage-1"));
    }

    fn waiting_of(scene: &Scene, fleet: &Fleet) -> Vec<Waiting> {
        waiting(&scene.state, fleet, names::release(&scene.state, "R-2").unwrap())
    }
}
