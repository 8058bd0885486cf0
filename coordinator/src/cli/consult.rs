//! `cutover consult`: other departments are asked about a release, and answer.

use clap::{ArgGroup, Args, Subcommand};
use cutover_shared::authorise::rules::{Answer, Standpoint, standpoints};
use cutover_shared::case::{Case, Verified};
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::statement::{Consult, Statement};
use cutover_shared::time::Time;
use serde::Serialize;

use super::assess::judgement;
use super::context::Context;
use super::exit::Failure;
use super::names;
use super::output::table;

/// Ask other departments about a release, answer for one, see who has answered
///
/// The policy names the departments and who speaks for each; its rules name those that must have said yes.
#[derive(Debug, Clone, Subcommand)]
pub enum ConsultCommand {
    /// Ask a department, as a librarian or a change manager
    #[command(
        after_help = "Examples:\n  cutover consult ask R-7 --department networks --question 'Does the load balancer know the new port?'\n  cutover consult ask R-7 --department desk --question 'Who takes the calls?' --mandatory"
    )]
    Ask(AskArgs),
    /// Answer for a department that you speak for; your last answer counts
    #[command(
        after_help = "Examples:\n  cutover consult answer R-7 --department networks --accept --reason 'The port is open.'\n  cutover consult answer R-7 --department networks --deny 'Not before the new switch.'"
    )]
    Answer(AnswerArgs),
    /// List what departments were asked, or must say, and what they said
    #[command(
        after_help = "Examples:\n  cutover consult list\n  cutover consult list R-7\n  cutover consult list --json"
    )]
    List(ListArgs),
}

/// `cutover consult ask`.
#[derive(Debug, Clone, Args)]
pub struct AskArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// The department, as the policy names it
    #[arg(long, value_name = "DEPARTMENT")]
    pub department: Name,
    /// What is asked
    #[arg(long, value_name = "TEXT")]
    pub question: String,
    /// Nothing moves before the department says yes
    #[arg(long)]
    pub mandatory: bool,
    /// For this environment only; several times for several [default: all of the release's]
    #[arg(long = "environment", value_name = "ENVIRONMENT")]
    pub environments: Vec<Name>,
}

/// `cutover consult answer`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("judgement").required(true))]
pub struct AnswerArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// The department that you speak for
    #[arg(long, value_name = "DEPARTMENT")]
    pub department: Name,
    /// Yes
    #[arg(long, group = "judgement")]
    pub accept: bool,
    /// No
    #[arg(long, group = "judgement", value_name = "REASON")]
    pub deny: Option<String>,
    /// Why yes
    #[arg(long, conflicts_with = "deny", value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// For this environment only; several times for several [default: all of the release's]
    #[arg(long = "environment", value_name = "ENVIRONMENT")]
    pub environments: Vec<Name>,
}

/// `cutover consult list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Of this release only [default: of all that are not over]
    #[arg(value_name = "RELEASE")]
    pub release: Option<String>,
}

/// Carries the command out.
pub async fn run(context: &Context, command: &ConsultCommand) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let (state, now) = (&synced.state, context.now());
    let (statement, release) = match command {
        ConsultCommand::Ask(args) => (asked(args, state, now)?, &args.release),
        ConsultCommand::Answer(args) => (answered(args, state, now)?, &args.release),
        ConsultCommand::List(args) => {
            let rows = rows(args, state, now)?;
            return context.sink().result(&rows, |rows| text(rows));
        }
    };
    let name = names::number(names::release(state, release)?);
    client.sign_and_append(context, &statement, &[("release", name.into())]).await?;
    Ok(())
}

fn asked(args: &AskArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let case = names::release(state, &args.release)?;
    let asked = Consult::Asked {
        release: case.release.id(),
        environments: names::environments(case, &args.environments)?,
        department: known(state, &args.department)?,
        question: args.question.clone(),
        mandatory: args.mandatory,
    };
    Ok(Statement::new(now, asked))
}

fn answered(args: &AnswerArgs, state: &State, now: Time) -> Result<Statement, Failure> {
    let case = names::release(state, &args.release)?;
    let answered = Consult::Answered {
        release: case.release.id(),
        environments: names::environments(case, &args.environments)?,
        department: known(state, &args.department)?,
        judgement: judgement(args.deny.as_deref(), &args.reason),
    };
    Ok(Statement::new(now, answered))
}

/// The department, or those that there are.
fn known(state: &State, department: &Name) -> Result<Name, Failure> {
    let departments =
        state.policy().map(|it| it.document().departments.as_slice()).unwrap_or_default();
    if departments.iter().any(|it| it.name == *department) {
        return Ok(department.clone());
    }
    let names: Vec<_> = departments.iter().map(|it| it.name.as_str()).collect();
    let there = if names.is_empty() {
        "it names none: the root holders add it to [[departments]]".to_owned()
    } else {
        format!("it names {}", names.join(", "))
    };
    Err(Failure::not_found(format!("a department {department} in the policy; {there}")))
}

/// A department and a release in one environment.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    release: String,
    environment: Name,
    department: Name,
    mandatory: bool,
    answer: Answer,
    /// What it was asked, the last first.
    questions: Vec<String>,
    /// What was answered, by owner.
    said: Vec<String>,
    /// Who speaks for it.
    speakers: Vec<Name>,
}

fn rows(args: &ListArgs, state: &State, now: Time) -> Result<Vec<Row>, Failure> {
    let cases: Vec<&Case> = match &args.release {
        Some(release) => vec![names::release(state, release)?],
        None => {
            let over = |case: &&Case| {
                case.closed.is_some() || case.cancelled.is_some() || case.superseded_by.is_some()
            };
            state.cases().filter(|case| !over(case)).collect()
        }
    };
    let mut rows = Vec::new();
    for case in cases {
        for environment in &case.release.says().environments {
            for standpoint in standpoints(state, case, environment, now) {
                rows.push(Row::new(state, case, environment, &standpoint));
            }
        }
    }
    Ok(rows)
}

impl Row {
    fn new(state: &State, case: &Case, environment: &Name, it: &Standpoint<'_>) -> Self {
        let of = |consult: &&Consult| {
            consult.department() == it.department && consult.environments().contains(environment)
        };
        let consults = case.consults.iter().map(Verified::says);
        let questions = consults.filter(of).filter_map(|consult| match consult {
            Consult::Asked { question, .. } => Some(question.clone()),
            Consult::Answered { .. } => None,
        });
        let mut questions: Vec<_> = questions.collect();
        questions.reverse();
        let said = case.answers_of(it.department, environment).into_iter();
        let said = said.filter_map(|(owner, said)| match said.says() {
            Consult::Answered { judgement, .. } => {
                let word = if judgement.is_accepted() { "yes" } else { "no" };
                Some(format!("{owner}: {word}; {}", judgement.reason()))
            }
            Consult::Asked { .. } => None,
        });
        let known = state.policy().and_then(|policy| policy.department(it.department));
        Self {
            release: names::number(case),
            environment: environment.clone(),
            department: it.department.clone(),
            mandatory: it.mandatory,
            answer: it.answer,
            questions,
            said: said.map(|it| it.trim_end_matches([';', ' ']).to_owned()).collect(),
            speakers: known.map(|it| it.owners.iter().cloned().collect()).unwrap_or_default(),
        }
    }
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No department was asked, and none must answer.".to_owned();
    }
    let header = ["release", "environment", "department", "must", "answer", "asked", "said", "who"];
    let mut table = table(header);
    for row in rows {
        let speakers: Vec<_> = row.speakers.iter().map(Name::as_str).collect();
        table.add_row([
            row.release.clone(),
            row.environment.to_string(),
            row.department.to_string(),
            if row.mandatory { "say yes" } else { "" }.to_owned(),
            row.answer.name().to_owned(),
            row.questions.join("\n"),
            row.said.join("\n"),
            speakers.join(", "),
        ]);
    }
    table.to_string()
}
