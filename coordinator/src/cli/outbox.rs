//! `cutover outbox`: what was told to whom, what is still to be, and what could not be.

use clap::{Args, Subcommand};
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::protocol::{DeliveryState, DeliveryView, OutboxView};
use serde_json::{Value, json};

use super::context::Context;
use cutover_coordinator_core::outbox::What;

use super::exit::Failure;
use super::names;
use super::output::table;
use super::sync::by_prefix;

/// See what people and other programs were told, and have it tried again
///
/// Change managers, librarians and operators see every delivery; others those to their own address.
#[derive(Debug, Clone, Subcommand)]
pub enum OutboxCommand {
    /// List deliveries: what waits or is parked first, and then what was delivered, the newest first
    #[command(
        after_help = "Examples:\n  cutover outbox list\n  cutover outbox list --undelivered\n  cutover outbox list --unacknowledged\n  cutover outbox list --release R-7 --json"
    )]
    List(ListArgs),
    /// Show one delivery, with why it failed
    #[command(after_help = "Examples:\n  cutover outbox show 3f9a")]
    Show(ShowArgs),
    /// Try deliveries again at once, as a change manager, librarian or operator
    ///
    /// A second delivery has the same key as the first, so that nothing is told twice to those who look at it.
    #[command(
        after_help = "Examples:\n  cutover outbox retry 3f9a\n  cutover outbox retry --all\n  cutover outbox retry --all --dry-run"
    )]
    Retry(RetryArgs),
}

/// Which deliveries are listed.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Only of this release: R-7, or the beginning of its statement's digest
    #[arg(long, value_name = "RELEASE")]
    pub release: Option<String>,
    /// Only what was not delivered
    #[arg(long)]
    pub undelivered: bool,
    /// Only schedules whose recipient has not said yet to have seen them (`cutover acknowledge`)
    #[arg(long)]
    pub unacknowledged: bool,
}

/// Which delivery is shown.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The beginning of the delivery's key
    #[arg(value_name = "DELIVERY")]
    pub delivery: String,
}

/// Which deliveries are tried again.
#[derive(Debug, Clone, Args)]
pub struct RetryArgs {
    /// The beginning of the delivery's key
    #[arg(value_name = "DELIVERY", required_unless_present = "all", conflicts_with = "all")]
    pub delivery: Option<String>,
    /// Every delivery that is parked
    #[arg(long)]
    pub all: bool,
}

/// Carries the command out.
pub async fn run(context: &Context, command: &OutboxCommand) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let view = client.outbox().await?;
    match command {
        OutboxCommand::List(args) => list(context, args, &synced.state, &view),
        OutboxCommand::Show(args) => {
            let found = find(&view, &args.delivery)?;
            context.sink().result(&value(&synced.state, found), |_| text(&synced.state, found))
        }
        OutboxCommand::Retry(args) => {
            let parked = |it: &&DeliveryView| it.state == DeliveryState::Parked;
            let chosen: Vec<&DeliveryView> = match &args.delivery {
                Some(delivery) => vec![find(&view, delivery)?],
                None => view.deliveries.iter().filter(parked).collect(),
            };
            let keys: Vec<String> = chosen.iter().map(|it| it.key.to_string()).collect();
            if context.dry_run {
                let value = json!({ "dry-run": true, "deliveries": keys });
                let count = keys.len();
                return context.sink().result(&value, |_| {
                    format!("This is a dry run: {count} deliveries would be tried again.")
                });
            }
            for delivery in &chosen {
                client.retry_delivery(delivery.key).await?;
            }
            context.sink().result(&json!({ "retried": keys }), |_| match keys.as_slice() {
                [] => "Nothing is parked.".to_owned(),
                keys => format!("{} deliveries are tried again.", keys.len()),
            })
        }
    }
}

fn list(
    context: &Context,
    args: &ListArgs,
    state: &State,
    view: &OutboxView,
) -> Result<(), Failure> {
    let release = args.release.as_deref().map(|text| names::release(state, text)).transpose()?;
    let release = release.map(|case| case.release.id());
    let shown: Vec<&DeliveryView> = view
        .deliveries
        .iter()
        .filter(|it| release.is_none_or(|release| it.release == release))
        .filter(|it| !args.undelivered || !is_delivered(it))
        .filter(|it| !args.unacknowledged || acknowledged(state, it) == Some(false))
        .collect();
    let values: Vec<Value> = shown.iter().map(|delivery| value(state, delivery)).collect();
    context.sink().result(&values, |_| {
        if shown.is_empty() {
            return "There are no such deliveries.".to_owned();
        }
        let mut table = table(["delivery", "release", "told", "to", "state", "tried"]);
        for it in &shown {
            table.add_row([
                it.key.short(),
                release_name(state, it),
                it.what.clone(),
                format!("{} {}", it.channel, it.recipient),
                match (&it.trouble, acknowledged(state, it)) {
                    (Some(trouble), _) if !is_delivered(it) => {
                        format!("{}\n{trouble}", state_text(it))
                    }
                    (_, Some(true)) => format!("{}\nacknowledged", state_text(it)),
                    (_, Some(false)) => format!("{}\nnot acknowledged yet", state_text(it)),
                    (_, None) => state_text(it),
                },
                it.attempts.to_string(),
            ]);
        }
        match view.left_out {
            0 => table.to_string(),
            more => format!("{table}\nand {more} more"),
        }
    })
}

fn find<'v>(view: &'v OutboxView, prefix: &str) -> Result<&'v DeliveryView, Failure> {
    by_prefix("delivery", prefix, view.deliveries.iter().map(|it| (it.key, it)))
}

fn is_delivered(delivery: &DeliveryView) -> bool {
    matches!(delivery.state, DeliveryState::Delivered { .. })
}

/// Whether the recipient has said to have seen it: of schedules that went to people of the policy.
fn acknowledged(state: &State, it: &DeliveryView) -> Option<bool> {
    const SCHEDULES: [&str; 4] = ["booked", "released", "window-cancelled", "cancelled"];
    let case = state.case(&it.release)?;
    let keys = &state.policy()?.document().keys;
    let is_own = |email: &str| email.eq_ignore_ascii_case(&it.recipient);
    let mut owners = keys.iter().filter(|entry| is_own(&entry.email)).map(|entry| &entry.owner);
    let first = owners.next().filter(|_| SCHEDULES.contains(&it.what.as_str()))?;
    let seen = |owner| case.is_acknowledged(&it.statement, owner);
    Some(seen(first) || owners.any(seen))
}

fn release_name(state: &State, delivery: &DeliveryView) -> String {
    if delivery.what == What::PolicyExpires.name() {
        return "policy".to_owned();
    }
    state.case(&delivery.release).map_or_else(|| delivery.release.short(), names::number)
}

fn state_word(delivery: &DeliveryView) -> &'static str {
    match delivery.state {
        DeliveryState::Waiting { .. } => "waiting",
        DeliveryState::Sending => "sending",
        DeliveryState::Parked => "parked",
        DeliveryState::Delivered { .. } => "delivered",
    }
}

fn state_text(delivery: &DeliveryView) -> String {
    match delivery.state {
        DeliveryState::Waiting { milliseconds: 0 } => "waiting".to_owned(),
        DeliveryState::Waiting { milliseconds } => {
            format!("waiting, tried again in {} s", milliseconds.div_ceil(1000))
        }
        DeliveryState::Sending => "sending".to_owned(),
        DeliveryState::Parked => {
            format!("PARKED: cutover outbox retry {}", delivery.key.short())
        }
        DeliveryState::Delivered { at } => format!("delivered {at}"),
    }
}

/// A delivery for programs.
fn value(state: &State, it: &DeliveryView) -> Value {
    let delivered: Option<String> = match it.state {
        DeliveryState::Delivered { at } => Some(at.to_string()),
        DeliveryState::Waiting { .. } | DeliveryState::Sending | DeliveryState::Parked => None,
    };
    let next = match it.state {
        DeliveryState::Waiting { milliseconds } => Some(milliseconds),
        DeliveryState::Sending | DeliveryState::Parked | DeliveryState::Delivered { .. } => None,
    };
    json!({
        "delivery": it.key,
        "release": release_name(state, it),
        "release-statement": it.release,
        "statement": it.statement,
        "log-index": it.index,
        "told": it.what,
        "channel": it.channel,
        "to": it.recipient,
        "state": state_word(it),
        "acknowledged": acknowledged(state, it),
        "attempts": it.attempts,
        "trouble": it.trouble,
        "delivered": delivered,
        "milliseconds-to-next-attempt": next,
    })
}

/// A delivery for people.
fn text(state: &State, it: &DeliveryView) -> String {
    let line = |name: &str, value: &str| format!("{name:10} {value}");
    let statement = |id: &Digest| format!("{id} (entry {} of the log)", it.index);
    let mut lines = vec![
        line("delivery", &it.key.to_string()),
        line("release", &release_name(state, it)),
        line("told", &it.what),
        line("by", &statement(&it.statement)),
        line("to", &format!("{} {}", it.channel, it.recipient)),
        line("state", &state_text(it)),
        line("tried", &it.attempts.to_string()),
    ];
    lines.extend(it.trouble.as_ref().map(|trouble| line("trouble", trouble)));
    lines.join("\n")
}
