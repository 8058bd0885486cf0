//! The command line: a file for each subcommand.
//!
//! [`main`] parses, makes the [`context::Context`], carries one command out and turns its end into an exit
//! code ([`exit`]). Commands print through [`output`] only, and reach the coordinator through [`client`],
//! whose [`sync`] verifies the log before anything of it is shown or signed over.

pub mod acknowledge;
pub mod assess;
pub mod book;
pub mod cab;
mod cache;
pub mod calendar;
pub mod cancel;
pub mod client;
pub mod close;
mod compared;
pub mod completions;
pub mod consult;
pub mod context;
pub mod cosign;
pub mod deliver;
mod drift;
pub mod emergency;
mod exceptions;
pub mod exit;
pub mod explain;
mod file;
pub mod form;
pub mod freeze;
pub mod hold;
pub mod host;
pub mod key;
pub mod log;
pub mod man;
pub mod metrics;
pub mod names;
pub mod outbox;
pub mod output;
pub mod package;
pub mod passing;
pub mod policy;
pub mod readable;
mod rehearsals;
pub mod resume;
pub mod review;
pub mod rollback;
pub mod schemas;
pub mod serve;
pub mod settings;
pub mod standard;
pub mod status;
pub mod step;
pub mod submit;
pub mod suggest;
pub mod sync;
pub mod tasks;
pub mod vote;
mod wait;
pub mod waive;
pub mod when;
pub mod window;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use cutover_shared::package::form::Catalogue;

use self::context::Context;
use self::exit::{Failure, exit_code};
use self::output::Sink;
use self::settings::GlobalArgs;

/// Moves software onto staging and production hosts the way a change-management process demands.
///
/// Every decision is a statement that somebody signs, in one log that nobody can change unseen. What you
/// are about to sign is shown to you first; what you are told about the log was verified here.
#[derive(Debug, Parser)]
#[command(name = "cutover", version, after_help = AFTER_HELP, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    globals: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  failed: a file, the network, the coordinator; or you said no
  2  usage, or input that is no good
  3  refused by a rule; what to do next is told
  4  a check found faults, which were told
  5  not found

Examples:
  cutover key generate alice.pem --passphrase
  cutover --policy policy.json --key alice.pem --coordinator cutover.example.org:7400 log list";

/// The verbs of the process.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(subcommand)]
    Key(key::KeyCommand),
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    #[command(subcommand)]
    Host(host::HostCommand),
    #[command(subcommand)]
    Package(package::PackageVerb),
    #[command(subcommand)]
    Form(form::FormCommand),
    Submit(submit::SubmitArgs),
    Review(review::ReviewArgs),
    Assess(assess::AssessArgs),
    Vote(vote::VoteArgs),
    #[command(subcommand)]
    Cab(cab::CabCommand),
    #[command(subcommand)]
    Consult(consult::ConsultCommand),
    Deliver(deliver::DeliverArgs),
    Book(book::BookArgs),
    Suggest(suggest::SuggestArgs),
    #[command(subcommand)]
    Calendar(calendar::CalendarCommand),
    #[command(subcommand)]
    Window(window::WindowCommand),
    #[command(subcommand)]
    Step(step::StepCommand),
    Hold(hold::HoldArgs),
    Resume(resume::ResumeArgs),
    Cancel(cancel::CancelArgs),
    Rollback(rollback::RollbackArgs),
    Close(close::CloseArgs),
    #[command(subcommand)]
    Freeze(freeze::FreezeCommand),
    #[command(subcommand)]
    Emergency(emergency::EmergencyCommand),
    #[command(subcommand)]
    Standard(standard::StandardCommand),
    Override(passing::OverrideArgs),
    Waive(waive::WaiveArgs),
    Cosign(cosign::CosignArgs),
    Status(status::StatusArgs),
    Explain(explain::ExplainArgs),
    Metrics(metrics::MetricsArgs),
    #[command(subcommand)]
    Tasks(tasks::TasksCommand),
    Acknowledge(acknowledge::AcknowledgeArgs),
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    #[command(subcommand)]
    Log(log::LogCommand),
    Serve(serve::ServeArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// The whole program: parses `args` (the first is the program's name), carries the command out, and tells
/// how it ended.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results, for standard output; if they cannot be written, nobody reads.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let sink = Sink::new(cli.globals.json);
    let ended = run(&cli);
    if let Err(failure) = &ended {
        sink.failure(failure);
    }
    exit_code(&ended)
}

fn run(cli: &Cli) -> Result<(), Failure> {
    if let Command::Serve(args) = &cli.command {
        return serve::run(args, cli.globals.dry_run, Sink::new(cli.globals.json));
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build();
    let runtime = runtime.context("start the runtime")?;
    let context = Context::new(&cli.globals)?;
    runtime.block_on(async {
        let ended = dispatch(&context, &cli.command).await;
        context.finish().await;
        ended
    })
}

async fn dispatch(context: &Context, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Key(command) => key::run(context, command),
        Command::Policy(command) => policy::run(context, command).await,
        Command::Host(command) => host::run(context, command).await,
        Command::Package(package::PackageVerb::Local(command)) => {
            run_package(context, command).await
        }
        Command::Package(package::PackageVerb::Rehearse(args)) => {
            package::rehearse::run(context, args).await
        }
        Command::Form(command) => form::run(context, command).await,
        Command::Submit(args) => submit::run(context, args).await,
        Command::Review(args) => review::run(context, args).await,
        Command::Assess(args) => assess::run(context, args).await,
        Command::Vote(args) => vote::run(context, args).await,
        Command::Cab(command) => cab::run(context, command).await,
        Command::Consult(command) => consult::run(context, command).await,
        Command::Deliver(args) => deliver::run(context, args).await,
        Command::Book(args) => book::run(context, args).await,
        Command::Suggest(args) => suggest::run(context, args).await,
        Command::Calendar(command) => calendar::run(context, command).await,
        Command::Window(command) => window::run(context, command).await,
        Command::Step(command) => step::run(context, command).await,
        Command::Hold(args) => hold::run(context, args).await,
        Command::Resume(args) => resume::run(context, args).await,
        Command::Cancel(args) => cancel::run(context, args).await,
        Command::Rollback(args) => rollback::run(context, args).await,
        Command::Close(args) => close::run(context, args).await,
        Command::Freeze(command) => freeze::run(context, command).await,
        Command::Emergency(command) => emergency::run(context, command).await,
        Command::Standard(command) => standard::run(context, command).await,
        Command::Override(args) => passing::run(context, args).await,
        Command::Waive(args) => waive::run(context, args).await,
        Command::Cosign(args) => cosign::run(context, args).await,
        Command::Status(args) => status::run(context, args).await,
        Command::Explain(args) => explain::run(context, args).await,
        Command::Metrics(args) => metrics::run(context, args).await,
        Command::Tasks(command) => tasks::run(context, command).await,
        Command::Acknowledge(args) => acknowledge::run(context, args).await,
        Command::Outbox(command) => outbox::run(context, command).await,
        Command::Log(command) => log::run(context, command).await,
        Command::Serve(args) => serve::run(args, context.dry_run, *context.sink()),
        Command::Completions(args) => completions::run(context, args, Cli::command()),
        Command::Man(args) => man::run(context, args, Cli::command()),
    }
}

async fn run_package(context: &Context, command: &package::PackageCommand) -> Result<(), Failure> {
    if context.dry_run
        && let Some(what) = command.writes()
    {
        return context.sink().dry_run(&what);
    }
    let catalogue = match command.schemas() {
        Some(schemas) => schemas::catalogue(context, schemas).await?,
        None => Catalogue::shipped(),
    };
    let mut out = Vec::new();
    let ended = package::run(command, &catalogue, &mut out);
    context.sink().bytes(&out)?;
    match ended.context("work on the package")? {
        package::Outcome::Done => Ok(()),
        package::Outcome::Faults => Err(Failure::Faults),
    }
}
