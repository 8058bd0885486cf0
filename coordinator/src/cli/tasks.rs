//! `cutover tasks`: what is to be done for each release, by whom, and that it was done.
//!
//! The list follows from the log, the same that ServiceNow and Jira are given where they are configured.

use clap::{Args, Subcommand};
use cutover_coordinator_core::tasks::{Task, TaskState, role, tasks};
use cutover_shared::case::Case;
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::statement::{self, Statement, TaskChange, TaskKind};
use cutover_shared::time::Time;
use serde_json::{Value, json};

use super::context::Context;
use super::exit::Failure;
use super::names;
use super::output::table;

/// List the tasks of releases, give them to people, and say that they are done
#[derive(Debug, Clone, Subcommand)]
pub enum TasksCommand {
    /// List tasks: those that are not done, of every release or of one
    #[command(
        after_help = "Examples:\n  cutover tasks list\n  cutover tasks list R-7 --all\n  cutover tasks list --assignee alice --json"
    )]
    List(ListArgs),
    /// Show one task
    #[command(after_help = "Examples:\n  cutover tasks show R-7 verify")]
    Show(ShowArgs),
    /// Give a task to somebody, as a librarian or change manager
    #[command(after_help = "Examples:\n  cutover tasks assign R-7 verify --to alice")]
    Assign(AssignArgs),
    /// Say that a task is done, as the one to whom it was given or somebody whose role it is
    #[command(
        after_help = "Examples:\n  cutover tasks done R-7 verify --note 'Orders from Ohio are taxed right.'\n  cutover tasks done R-7 condition-1"
    )]
    Done(DoneArgs),
}

/// Which tasks are listed.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// The release: R-7, or the beginning of its statement's digest [default: all]
    #[arg(value_name = "RELEASE")]
    pub release: Option<String>,
    /// Also those that are done or were cancelled
    #[arg(long)]
    pub all: bool,
    /// Only those that were given to this owner
    #[arg(long, value_name = "OWNER")]
    pub assignee: Option<Name>,
}

/// Which task is shown.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// stage, deploy, verify, review, or condition-1, condition-2, …
    #[arg(value_name = "TASK")]
    pub task: String,
}

/// Which task is given to whom.
#[derive(Debug, Clone, Args)]
pub struct AssignArgs {
    /// Which.
    #[command(flatten)]
    pub which: ShowArgs,
    /// The owner of a key in the policy
    #[arg(long, value_name = "OWNER")]
    pub to: Name,
}

/// Which task is done.
#[derive(Debug, Clone, Args)]
pub struct DoneArgs {
    /// Which.
    #[command(flatten)]
    pub which: ShowArgs,
    /// What was done
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
}

/// Carries the command out.
pub async fn run(context: &Context, command: &TasksCommand) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let (state, now) = (&synced.state, context.now());
    let (which, change) = match command {
        TasksCommand::List(args) => return list(context, args, state, now),
        TasksCommand::Show(args) => {
            let (case, _, task) = find(state, args, now)?;
            return context.sink().result(&value(case, &task), |_| text(case, &task));
        }
        TasksCommand::Assign(args) => (&args.which, TaskChange::Assigned { to: args.to.clone() }),
        TasksCommand::Done(args) => (&args.which, TaskChange::Done { note: args.note.clone() }),
    };
    let statement = statement(state, which, change, now)?;
    let more = [("release", names::number(names::release(state, &which.release)?).into())];
    client.sign_and_append(context, &statement, &more).await?;
    Ok(())
}

fn statement(
    state: &State,
    which: &ShowArgs,
    change: TaskChange,
    now: Time,
) -> Result<Statement, Failure> {
    let (case, kind, task) = find(state, which, now)?;
    if let (TaskChange::Done { .. }, TaskState::Done { at, .. }) = (&change, &task.state) {
        let name = case.name();
        return Err(Failure::usage(format!("{} of {name} was done at {at}", which.task)));
    }
    let release = case.release.id();
    Ok(Statement::new(now, statement::Task { release, kind, change }))
}

fn list(context: &Context, args: &ListArgs, state: &State, now: Time) -> Result<(), Failure> {
    let cases: Vec<&Case> = match &args.release {
        Some(release) => vec![names::release(state, release)?],
        None => state.cases().collect(),
    };
    let shown: Vec<(&Case, Task)> = cases
        .into_iter()
        .flat_map(|case| tasks(state, case, now).into_iter().map(move |task| (case, task)))
        .filter(|(_, task)| {
            args.all || !matches!(task.state, TaskState::Done { .. } | TaskState::Cancelled)
        })
        .filter(|(_, task)| args.assignee.is_none() || task.assignee == args.assignee)
        .collect();
    let values: Vec<Value> = shown.iter().map(|(case, task)| value(case, task)).collect();
    context.sink().result(&values, |_| {
        if shown.is_empty() {
            return "There are no such tasks.".to_owned();
        }
        let mut table = table(["release", "task", "state", "whose", "due", ""]);
        for (case, task) in &shown {
            table.add_row([
                names::number(case),
                name(case, task.kind),
                state_text(&task.state),
                whose(task),
                task.due.map(|due| due.to_string()).unwrap_or_default(),
                task.title.clone(),
            ]);
        }
        table.to_string()
    })
}

/// Every task of a release, for programs, and each in a line.
pub(super) fn told(state: &State, case: &Case, now: Time) -> Vec<(Value, String)> {
    let tell = |task: Task| {
        let line = format!(
            "{}: {}, {}{}",
            name(case, task.kind),
            state_text(&task.state),
            whose(&task),
            task.due.map(|due| format!(", due {due}")).unwrap_or_default()
        );
        (value(case, &task), line)
    };
    tasks(state, case, now).into_iter().map(tell).collect()
}

/// The task that is called so, and its release.
fn find<'s>(
    state: &'s State,
    args: &ShowArgs,
    now: Time,
) -> Result<(&'s Case, TaskKind, Task), Failure> {
    let case = names::release(state, &args.release)?;
    let all = tasks(state, case, now);
    let known: Vec<String> = all.iter().map(|task| name(case, task.kind)).collect();
    let found = all.into_iter().find(|task| name(case, task.kind) == args.task);
    let found = found.ok_or_else(|| {
        Failure::not_found(format!(
            "a task {} of {}: it has {}",
            args.task,
            case.name(),
            known.join(", ")
        ))
    })?;
    Ok((case, found.kind, found))
}

/// What a task is called: its kind, of conditions with the place in the order in which they were set.
fn name(case: &Case, kind: TaskKind) -> String {
    let TaskKind::Condition { vote, number } = kind else { return kind.name().to_owned() };
    let before = case.votes.iter().take_while(|it| it.id() != vote);
    let before: usize = before.map(|it| it.says().conditions.len()).sum();
    format!("condition-{}", before + number as usize)
}

fn whose(task: &Task) -> String {
    match &task.assignee {
        Some(owner) => owner.to_string(),
        None => format!("any {}", role(task.kind).name()),
    }
}

fn state_text(state: &TaskState) -> String {
    match state {
        TaskState::Done { by: Some(by), at } => format!("done {at} by {by}"),
        TaskState::Done { by: None, at } => format!("done {at} by the hosts"),
        TaskState::Pending | TaskState::Open | TaskState::InProgress | TaskState::Cancelled => {
            state.name().to_owned()
        }
    }
}

/// A task for programs.
fn value(case: &Case, task: &Task) -> Value {
    let (by, at) = match &task.state {
        TaskState::Done { by, at } => (by.clone(), Some(*at)),
        TaskState::Pending | TaskState::Open | TaskState::InProgress | TaskState::Cancelled => {
            (None, None)
        }
    };
    json!({
        "release": names::number(case),
        "release-statement": case.release.id(),
        "task": name(case, task.kind),
        "title": task.title,
        "state": task.state.name(),
        "assignee": task.assignee,
        "role": role(task.kind).name(),
        "due": task.due,
        "done-by": by,
        "done-at": at,
    })
}

/// A task for people.
fn text(case: &Case, task: &Task) -> String {
    let release = case.release.says();
    let line = |name: &str, value: &str| format!("{name:8} {value}");
    let mut lines = vec![
        line("release", &format!("{} {} {}", case.name(), release.application, release.version)),
        line("task", &name(case, task.kind)),
        line("what", &task.title),
        line("state", &state_text(&task.state)),
        line("whose", &whose(task)),
    ];
    lines.extend(task.due.map(|due| line("due", &due.to_string())));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::names::parse;
    use super::super::names::scene::{Scene, yes};
    use super::*;

    #[test]
    fn a_task_is_given_and_done_once() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        scene.assess(release, yes());
        let args = parse::<AssignArgs>("R-1 verify --to sam").unwrap();
        let to = TaskChange::Assigned { to: args.to };
        let made = statement(&scene.state, &args.which, to.clone(), scene.now).unwrap();
        let task = statement::Task { release, kind: TaskKind::Verify, change: to };
        assert_eq!(made.says, task.into());
        scene.add("max", &made);
        let (case, _, task) = find(&scene.state, &args.which, scene.now).unwrap();
        assert_eq!((whose(&task).as_str(), task.state.name()), ("sam", "pending"));
        assert_eq!(value(case, &task)["assignee"], "sam");

        scene.approve(release);
        let stage = parse::<ShowArgs>("R-1 stage").unwrap();
        let done = TaskChange::Done { note: String::new() };
        let failure = statement(&scene.state, &stage, done, scene.now).unwrap_err();
        assert!(failure.text().contains("stage of R-1 was done at"), "{}", failure.text());
        let other = parse::<ShowArgs>("R-1 paint").unwrap();
        let Err(failure) = find(&scene.state, &other, scene.now) else { panic!("it is none") };
        assert!(failure.text().contains("it has stage, deploy, verify, review"));
    }
}
