//! An iteration's approval with its window: asked for once, signed as the statements that it is.
//!
//! The policy says how long such a window is, for each environment ([`Rule::standing_window`]); where it says
//! nothing, each iteration is booked by hand. Hosts see a booking as any other, and hold it to the rule's
//! longest window. The release of a window names the log that its signer has verified, with the booking in
//! it: so that one is signed last, after another look at the log.
//!
//! [`Rule::standing_window`]: cutover_shared::policy::Rule::standing_window

use std::time::Duration;

use cutover_shared::authorise::admission;
use cutover_shared::calendar::span::When;
use cutover_shared::case::Case;
use cutover_shared::fold::State;
use cutover_shared::statement::{Booking, Says, Statement};
use cutover_shared::time::{Time, span};
use serde_json::json;

use super::ApproveArgs;
use crate::cli::book::{self, BookArgs, HaltArg};
use crate::cli::client::Client;
use crate::cli::context::{Beside, Context};
use crate::cli::exit::Failure;
use crate::cli::readable::readable;
use crate::cli::when::SpanArgs;
use crate::cli::{names, window};

/// The windows that an iteration gets: one in each of its environments.
pub(super) fn windows(
    args: &ApproveArgs,
    state: &State,
    case: &Case,
    now: Time,
) -> Result<Vec<Booking>, Failure> {
    let release = case.release.says();
    let policy = state.policy().ok_or_else(|| Failure::failed("find a trust policy in the log"))?;
    let mut windows = Vec::new();
    for environment in &release.environments {
        let rule = policy.rule(environment, release.change)?;
        let Some(length) = rule.standing_window else {
            return Err(Failure::usage(format!(
                "the policy has no standing_window for emergencies in {environment}: approve it without \
                 --deploy, then book it: cutover book {} --environment {environment} --start now --for {}",
                names::number(case),
                span::format(rule.longest_window)
            )));
        };
        windows.push(book::booking(&book_args(args, environment, length), None, state, now)?);
    }
    Ok(windows)
}

fn book_args(
    args: &ApproveArgs,
    environment: &cutover_shared::name::Name,
    length: Duration,
) -> BookArgs {
    BookArgs {
        release: args.release.clone(),
        environment: environment.clone(),
        span: SpanArgs { start: Some(now_on()), length: Some(length), until: None, zone: None },
        suggest: false,
        waves: args.waves.clone(),
        at_once: args.at_once,
        healthy_for: Duration::ZERO,
        halt_after: 1,
        on_halt: HaltArg::Pause,
        return_budget: None,
    }
}

fn now_on() -> When {
    "now".parse().expect("it is one of the ways to write a start")
}

/// An iteration's approval with its windows.
pub(super) struct Approval<'c> {
    /// The approval itself.
    pub(super) statement: Statement,
    /// The iteration.
    pub(super) case: &'c Case,
    /// Its windows.
    pub(super) windows: Vec<Booking>,
    /// What is different to the iteration before.
    pub(super) beside: Option<Beside>,
}

/// Shows everything, asks once, and has it logged in order. When something in the middle is refused, what came
/// before it stands, and is told: it is signed and good.
pub(super) async fn approve(
    context: &Context,
    client: &mut Client,
    approval: &Approval<'_>,
) -> Result<(), Failure> {
    let Approval { statement: approval, case, windows, beside } = approval;
    let synced = client.sync().await?;
    let now = context.now();
    let bookings: Vec<_> =
        windows.iter().map(|it| Statement::new(now, Says::from(it.clone()))).collect();
    let shown = shown(approval, &bookings, &synced.state);
    let together: Vec<_> = std::iter::once(approval).chain(&bookings).cloned().collect();
    let Some(envelopes) = context.sign_each(&together, &shown, beside.as_ref())? else {
        return Ok(());
    };
    let mut logged = Vec::new();
    for envelope in &envelopes {
        let synced = client.sync().await?;
        let state = &synced.state;
        admission::admit(state, state.next_index(), &envelope.to_bytes(), context.now())?;
        let appended = client.append(envelope).await?;
        context.sink().note(format!("logged    entry {}: {}", appended.index, appended.id.short()));
        logged.push(appended.id);
    }
    let mut released = Vec::new();
    for booking in logged.iter().skip(1) {
        let synced = client.sync().await?;
        let (case, booking) = names::booking(&synced.state, &booking.to_string())?;
        let release = window::statement(case, booking, &synced.head, context.now());
        let envelope = release.signed_by([context.secret_key()?]);
        let state = &synced.state;
        admission::admit(state, state.next_index(), &envelope.to_bytes(), context.now())?;
        let appended = client.append(&envelope).await?;
        context.sink().note(format!("logged    entry {}: {}", appended.index, appended.id.short()));
        released.push(appended.id);
    }
    let mut told = json!({
        "release": names::number(case),
        "id": logged.first().map(ToString::to_string),
        "bookings": logged.iter().skip(1).map(ToString::to_string).collect::<Vec<_>>(),
        "windows_released": released.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    if let Some(beside) = beside {
        told[beside.name] = beside.value.clone();
    }
    context.sink().result(&told, |_| {
        let number = names::number(case);
        format!(
            "{number} is approved, and its hosts take their turns: cutover status {number} --watch"
        )
    })
}

fn shown(approval: &Statement, bookings: &[Statement], state: &State) -> String {
    let all = std::iter::once(approval).chain(bookings);
    let mut parts: Vec<_> = all.map(|it| readable(it, Some(state))).collect();
    parts.push(
        "window-release\n  of each of these bookings, naming the log with the booking in it"
            .to_owned(),
    );
    parts.join("\n\n")
}
