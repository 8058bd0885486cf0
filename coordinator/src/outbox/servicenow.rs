//! ServiceNow through its Table API: a `change_request` for each release, with a `change_task` for each task.
//!
//! Our name for a record is its `correlation_id`. It is looked up before anything is made, so that what was
//! made by a request whose answer was lost is found, and what is as it should be already is left alone. The
//! states are those of the change models that come with the product: New -5, Assess -4, Authorize -3,
//! Scheduled -2, Implement -1, Review 0, Closed 3, Cancelled 4; of tasks Pending -5, Open 1, Work in Progress 2,
//! Closed 3, Cancelled 4. A change goes forward one state after the other, as those models demand, and never
//! back.

use cutover_coordinator_core::outbox::{Failure, Ticket, TicketPhase, TicketTask};
use cutover_coordinator_core::tasks::TaskState;
use cutover_shared::name::Name;
use cutover_shared::statement::TaskKind;
use cutover_shared::time::Time;
use serde_json::{Map, Value, json};

use super::http::{Answer, Http, Method};
use super::{OutboxError, login};
use crate::config::ServiceNowSettings;

/// Longest `short_description`.
const TITLE: usize = 160;

/// The states that a change goes through, in order.
const WAY: [i64; 7] = [-5, -4, -3, -2, -1, 0, 3];

const CANCELLED: i64 = 4;

#[derive(Debug)]
pub(super) struct ServiceNow {
    http: Http,
}

impl ServiceNow {
    pub(super) fn open(settings: &ServiceNowSettings) -> Result<Self, OutboxError> {
        Ok(Self { http: Http::open(&settings.endpoint, Some(login(&settings.login)?))? })
    }

    /// Makes the change and its tasks what they should be.
    pub(super) fn bring_up_to_date(&self, ticket: &Ticket, now: Time) -> Result<(), Failure> {
        let wanted = change_fields(ticket);
        let mut new = wanted.clone();
        new.insert("type".to_owned(), json!(ticket.change.to_string()));
        new.insert("correlation_display".to_owned(), json!(format!("Cutover {}", ticket.number)));
        let change = self.found_or_made("change_request", &ticket.correlation, new, now)?;
        self.correct("change_request", &change, &wanted, now)?;
        for task in &ticket.tasks {
            self.task(task, &change, now)?;
        }
        self.move_change(ticket, &change, now)
    }

    fn task(&self, task: &TicketTask, change: &Record, now: Time) -> Result<(), Failure> {
        let kind = task.task.kind;
        let mut wanted = Map::from_iter([(
            "short_description".to_owned(),
            json!(task.task.title.chars().take(TITLE).collect::<String>()),
        )]);
        if let Some(due) = task.task.due {
            wanted.insert("planned_end_date".to_owned(), json!(written(due)));
        }
        let mut new = wanted.clone();
        new.insert("change_request".to_owned(), json!(change.id));
        new.insert("change_task_type".to_owned(), json!(task_type(kind)));
        let record = self.found_or_made("change_task", &task.correlation, new, now)?;
        let state = match &task.task.state {
            TaskState::Pending => -5,
            TaskState::Open => 1,
            TaskState::InProgress => 2,
            TaskState::Done { .. } => 3,
            TaskState::Cancelled => CANCELLED,
        };
        // A task that somebody has closed there stays closed.
        if record.state() != Some(state) && !record.is_over() {
            wanted.insert("state".to_owned(), json!(state.to_string()));
            if let TaskState::Done { by, at } = &task.task.state {
                let by = by.as_ref().map_or("the hosts", Name::as_str);
                wanted.insert("close_code".to_owned(), json!("successful"));
                wanted.insert("close_notes".to_owned(), json!(format!("Done by {by} at {at}.")));
            }
        }
        self.correct("change_task", &record, &wanted, now)
    }

    /// Brings the change to its state, over those between.
    fn move_change(&self, ticket: &Ticket, change: &Record, now: Time) -> Result<(), Failure> {
        if change.is_over() {
            return Ok(());
        }
        let Some(here) = change.state() else {
            return Err(Failure::Lasting {
                why: format!("change {} of ServiceNow has no state", change.id),
            });
        };
        let wanted = state(ticket.phase);
        let place = |state: i64| WAY.iter().position(|it| *it == state);
        let steps: Vec<i64> = if wanted == CANCELLED {
            vec![CANCELLED]
        } else {
            let (Some(from), Some(to)) = (place(here), place(wanted)) else { return Ok(()) };
            WAY.iter().take(to + 1).skip(from + 1).copied().collect()
        };
        for step in steps {
            let mut fields = Map::from_iter([("state".to_owned(), json!(step.to_string()))]);
            if step == 3 || step == CANCELLED {
                let well = ticket.went_well.unwrap_or(step == 3);
                let code = if well { "successful" } else { "unsuccessful" };
                fields.insert("close_code".to_owned(), json!(code));
                fields.insert("close_notes".to_owned(), json!(ticket.note));
            }
            self.patch("change_request", &change.id, &fields, now)?;
        }
        Ok(())
    }

    /// The record of that correlation, made if there is none.
    fn found_or_made(
        &self,
        table: &str,
        correlation: &str,
        mut new: Map<String, Value>,
        now: Time,
    ) -> Result<Record, Failure> {
        // The oldest, should somebody have copied one.
        let query = [
            ("sysparm_query", format!("correlation_id={correlation}^ORDERBYsys_created_on")),
            ("sysparm_limit", "1".to_owned()),
            ("sysparm_display_value", "false".to_owned()),
            ("sysparm_exclude_reference_link", "true".to_owned()),
        ];
        let query = query.each_ref().map(|(name, value)| (*name, value.as_str()));
        let path = format!("/api/now/table/{table}");
        let answer = self.http.ask(Method::Get, &path, &query, None, now)?;
        if let Answer::Found(body) = &answer
            && let Some(first) = body["result"].as_array().and_then(|all| all.first())
        {
            return Record::read(first.clone());
        }
        if matches!(answer, Answer::Missing) {
            return Err(Failure::Lasting { why: format!("ServiceNow has no table {table}") });
        }
        new.insert("correlation_id".to_owned(), json!(correlation));
        match self.http.ask(Method::Post, &path, &[], Some(&Value::Object(new)), now)? {
            Answer::Found(mut body) => Record::read(body["result"].take()),
            Answer::Missing => {
                Err(Failure::Lasting { why: format!("ServiceNow has no table {table}") })
            }
        }
    }

    /// Writes the fields that are not as they should be.
    fn correct(
        &self,
        table: &str,
        record: &Record,
        wanted: &Map<String, Value>,
        now: Time,
    ) -> Result<(), Failure> {
        let differs = |(name, value): &(&String, &Value)| record.text(name) != as_text(value);
        let fields: Map<String, Value> = wanted
            .iter()
            .filter(differs)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if fields.is_empty() {
            return Ok(());
        }
        self.patch(table, &record.id, &fields, now)
    }

    fn patch(
        &self,
        table: &str,
        id: &str,
        fields: &Map<String, Value>,
        now: Time,
    ) -> Result<(), Failure> {
        let path = format!("/api/now/table/{table}/{id}");
        let body = Value::Object(fields.clone());
        match self.http.ask(Method::Patch, &path, &[], Some(&body), now)? {
            Answer::Found(_) => Ok(()),
            // It was deleted between the two requests: the next attempt makes it anew.
            Answer::Missing => Err(Failure::Passing {
                why: format!("{table} {id} is not there any more"),
                after: None,
            }),
        }
    }
}

/// A record as the Table API gives it: texts.
#[derive(Debug)]
struct Record {
    id: String,
    fields: Value,
}

impl Record {
    fn read(fields: Value) -> Result<Self, Failure> {
        match fields["sys_id"].as_str() {
            // It becomes a part of addresses.
            Some(id) if !id.is_empty() && id.bytes().all(|it| it.is_ascii_alphanumeric()) => {
                Ok(Self { id: id.to_owned(), fields })
            }
            Some(_) | None => Err(Failure::Lasting {
                why: "ServiceNow answered with a record without a sys_id".to_owned(),
            }),
        }
    }

    fn text(&self, name: &str) -> String {
        as_text(&self.fields[name])
    }

    fn state(&self) -> Option<i64> {
        self.text("state").parse().ok()
    }

    fn is_over(&self) -> bool {
        matches!(self.state(), Some(3 | CANCELLED))
    }
}

/// A value as ServiceNow writes it.
fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(
        || if value.is_null() { String::new() } else { value.to_string() },
        str::to_owned,
    )
}

fn change_fields(ticket: &Ticket) -> Map<String, Value> {
    let title: String = ticket.title.chars().take(TITLE).collect();
    let held = ticket.held.as_deref().unwrap_or_default();
    let mut fields = Map::from_iter([
        ("short_description".to_owned(), json!(title)),
        ("description".to_owned(), json!(ticket.description)),
        ("on_hold".to_owned(), json!(ticket.held.is_some().to_string())),
        ("on_hold_reason".to_owned(), json!(held)),
    ]);
    if let Some((start, end)) = ticket.window {
        fields.insert("start_date".to_owned(), json!(written(start)));
        fields.insert("end_date".to_owned(), json!(written(end)));
    }
    fields
}

/// An instant as the Table API takes it: UTC, to the second.
fn written(instant: Time) -> String {
    instant.timestamp().strftime("%Y-%m-%d %H:%M:%S").to_string()
}

const fn state(phase: TicketPhase) -> i64 {
    match phase {
        TicketPhase::New => -5,
        TicketPhase::Assess => -4,
        TicketPhase::Authorize => -3,
        TicketPhase::Scheduled => -2,
        TicketPhase::Implement => -1,
        TicketPhase::Review => 0,
        TicketPhase::Closed => 3,
        TicketPhase::Cancelled => CANCELLED,
    }
}

/// The kind of a task among those that ServiceNow comes with.
const fn task_type(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Stage | TaskKind::Condition { .. } => "planning",
        TaskKind::Deploy => "implementation",
        TaskKind::Verify => "testing",
        TaskKind::Review => "review",
    }
}
