//! Jira through its REST interface, version 3 (cloud) or 2 (data center): an issue for each release, with a
//! sub-task for each task.
//!
//! Our name for an issue is a label of it, which is searched for before anything is made. The cloud's search
//! may not know for some seconds what was made just now; therefore the key that an issue was given is
//! remembered and asked first. When the making of an issue was answered by nothing, that is remembered too, and no
//! other is made before the search must know the first (`search-lag`). Jira's workflows are
//! everybody's own, so an issue is moved by what their statuses mean (`new`, `indeterminate`, `done`), over any
//! transition that leads there.

use cutover_coordinator_core::outbox::{Failure, Mark, Ticket, TicketPhase, TicketTask};
use cutover_coordinator_core::tasks::{TaskState, role};
use cutover_shared::time::Time;
use serde_json::{Value, json};

use super::http::{Answer, Http, Method};
use super::{Known, OutboxError, login};
use crate::config::{JIRA, JiraApi, JiraSettings};

/// Longest summary.
const SUMMARY: usize = 255;

/// Most transitions on the way to a status.
const STEPS: usize = 4;

#[derive(Debug)]
pub(super) struct Jira {
    http: Http,
    settings: JiraSettings,
}

/// An issue that is there.
struct Issue {
    key: String,
    fields: Value,
}

/// An issue as it should be.
struct Wanted<'a> {
    label: String,
    kind: &'a str,
    parent: Option<&'a str>,
    summary: String,
    description: String,
    category: &'static str,
}

impl Jira {
    pub(super) fn open(settings: &JiraSettings) -> Result<Self, OutboxError> {
        let http = Http::open(&settings.endpoint, Some(login(&settings.login)?))?;
        Ok(Self { http, settings: settings.clone() })
    }

    /// Makes the issue and its sub-tasks what they should be. What they are called there is to be remembered,
    /// also when something fails later on.
    pub(super) fn bring_up_to_date(
        &self,
        ticket: &Ticket,
        now: Time,
        known: Known<'_>,
        marks: &mut Vec<Mark>,
    ) -> Result<(), Failure> {
        let window = ticket.window.map(|(start, end)| format!("\nWindow: {start} to {end}"));
        let held = ticket.held.as_ref().map(|why| format!("\nOn hold: {why}"));
        let description = format!(
            "{}{}{}",
            ticket.description,
            window.unwrap_or_default(),
            held.unwrap_or_default()
        );
        let wanted = Wanted {
            label: label(&ticket.correlation),
            kind: &self.settings.change_type,
            parent: None,
            summary: ticket.title.chars().take(SUMMARY).collect(),
            description,
            category: category(ticket.phase),
        };
        let key = self.bring(&wanted, now, known, marks)?;
        for task in &ticket.tasks {
            let wanted = self.wanted_task(ticket, task, &key);
            self.bring(&wanted, now, known, marks)?;
        }
        Ok(())
    }

    fn wanted_task<'a>(&'a self, ticket: &Ticket, task: &TicketTask, key: &'a str) -> Wanted<'a> {
        let due = task.task.due.map(|due| format!("\nDue: {due}")).unwrap_or_default();
        Wanted {
            label: label(&task.correlation),
            kind: &self.settings.task_type,
            parent: Some(key),
            summary: format!("{}: {}", ticket.number, task.task.title)
                .chars()
                .take(SUMMARY)
                .collect(),
            description: format!("{} ({}).{due}", task.task.title, role(task.task.kind).name()),
            category: match task.task.state {
                TaskState::Pending | TaskState::Open => "new",
                TaskState::InProgress => "indeterminate",
                TaskState::Done { .. } | TaskState::Cancelled => "done",
            },
        }
    }

    fn bring(
        &self,
        wanted: &Wanted<'_>,
        now: Time,
        known: Known<'_>,
        marks: &mut Vec<Mark>,
    ) -> Result<String, Failure> {
        let remembered = known(&wanted.label);
        let mut found = match &remembered {
            Some(key) => self.issue(key, now)?,
            None => None,
        };
        if found.is_none() {
            found = self.search(&wanted.label, now)?;
        }
        let key = match &found {
            Some(issue) => issue.key.clone(),
            None => {
                let asked = asked(&wanted.label);
                self.not_too_soon(known(&asked).as_deref(), now)?;
                self.make(wanted, now).inspect_err(|failure| {
                    // Without an answer it may be there all the same.
                    if matches!(failure, Failure::Passing { .. }) {
                        let (tracker, id) = (JIRA.to_owned(), now.to_string());
                        marks.push(Mark::Known { tracker, correlation: asked, id });
                    }
                })?
            }
        };
        if remembered.as_ref() != Some(&key) {
            marks.push(Mark::Known {
                tracker: JIRA.to_owned(),
                correlation: wanted.label.clone(),
                id: key.clone(),
            });
        }
        let found = if found.is_none() { self.issue(&key, now)? } else { found };
        let gone = || Failure::Passing { why: format!("{key} is not there yet"), after: None };
        let issue = found.ok_or_else(gone)?;
        self.correct(&issue, wanted, now)?;
        self.transition(&issue, wanted.category, now)?;
        Ok(issue.key)
    }

    /// Whether the search must know by now of an issue that somebody tried to make before.
    fn not_too_soon(&self, asked: Option<&str>, now: Time) -> Result<(), Failure> {
        let Some(asked) = asked.and_then(|it| it.parse::<Time>().ok()) else { return Ok(()) };
        let left = self.settings.search_lag.saturating_sub(now.since(asked));
        if left.is_zero() {
            return Ok(());
        }
        let why =
            format!("an issue may have been made at {asked}: its search is asked again first");
        Err(Failure::Passing { why, after: Some(left) })
    }

    fn base(&self) -> &'static str {
        match self.settings.api {
            JiraApi::Cloud3 => "/rest/api/3",
            JiraApi::DataCenter2 => "/rest/api/2",
        }
    }

    fn issue(&self, key: &str, now: Time) -> Result<Option<Issue>, Failure> {
        let path = format!("{}/issue/{key}", self.base());
        let query = [("fields", "summary,description,status,labels")];
        match self.http.ask(Method::Get, &path, &query, None, now)? {
            Answer::Found(body) => Issue::read(body).map(Some),
            Answer::Missing => Ok(None),
        }
    }

    fn search(&self, label: &str, now: Time) -> Result<Option<Issue>, Failure> {
        let path = match self.settings.api {
            JiraApi::Cloud3 => "/rest/api/3/search/jql",
            JiraApi::DataCenter2 => "/rest/api/2/search",
        };
        let project = &self.settings.project;
        let body = json!({
            "jql": format!("project = \"{project}\" AND labels = \"{label}\" ORDER BY created ASC"),
            "fields": ["summary", "description", "status", "labels"],
            "maxResults": 1,
        });
        let Answer::Found(mut body) = self.http.ask(Method::Post, path, &[], Some(&body), now)?
        else {
            return Err(Failure::Lasting { why: format!("Jira has no {path}: is `api` right?") });
        };
        match body["issues"].as_array_mut().map(|all| all.drain(..).next()) {
            Some(Some(first)) => Issue::read(first).map(Some),
            Some(None) => Ok(None),
            None => {
                Err(Failure::Lasting { why: "Jira's search answered without issues".to_owned() })
            }
        }
    }

    /// Makes an issue; its key.
    fn make(&self, wanted: &Wanted<'_>, now: Time) -> Result<String, Failure> {
        let mut fields = json!({
            "project": { "key": self.settings.project },
            "issuetype": { "name": wanted.kind },
            "summary": wanted.summary,
            "description": self.text(&wanted.description),
            "labels": [wanted.label],
        });
        if let Some(parent) = wanted.parent {
            fields["parent"] = json!({ "key": parent });
        }
        let path = format!("{}/issue", self.base());
        let body = json!({ "fields": fields });
        let Answer::Found(made) = self.http.ask(Method::Post, &path, &[], Some(&body), now)? else {
            return Err(Failure::Lasting { why: format!("Jira has no {path}: is `url` right?") });
        };
        Ok(Issue::read(made)?.key)
    }

    fn correct(&self, issue: &Issue, wanted: &Wanted<'_>, now: Time) -> Result<(), Failure> {
        let description = self.text(&wanted.description);
        if issue.fields["summary"] == json!(wanted.summary)
            && issue.fields["description"] == description
        {
            return Ok(());
        }
        let body = json!({ "fields": { "summary": wanted.summary, "description": description } });
        let path = format!("{}/issue/{}", self.base(), issue.key);
        self.http.ask(Method::Put, &path, &[], Some(&body), now).map(drop)
    }

    /// Moves an issue to a status of that category. One that is done stays done.
    fn transition(&self, issue: &Issue, category: &str, now: Time) -> Result<(), Failure> {
        let mut here = issue.category().to_owned();
        for _ in 0..STEPS {
            if here == category || here == "done" {
                return Ok(());
            }
            let path = format!("{}/issue/{}/transitions", self.base(), issue.key);
            let Answer::Found(body) = self.http.ask(Method::Get, &path, &[], None, now)? else {
                return Err(Failure::Lasting { why: format!("Jira has no {path}") });
            };
            let all = body["transitions"].as_array().map(Vec::as_slice).unwrap_or_default();
            let leads = |to: &str| all.iter().find(|it| leads_to(it) == to);
            // On the way to the end it may have to pass the middle.
            let step = leads(category)
                .or_else(|| leads("indeterminate").filter(|_| category == "done" && here == "new"));
            let Some(step) = step else {
                let names: Vec<_> = all.iter().filter_map(|it| it["name"].as_str()).collect();
                return Err(Failure::Lasting {
                    why: format!(
                        "issue {} is {here:?}, and no transition leads to {category:?}; there are: {}",
                        issue.key,
                        names.join(", ")
                    ),
                });
            };
            let body = json!({ "transition": { "id": step["id"] } });
            self.http.ask(Method::Post, &path, &[], Some(&body), now)?;
            here = leads_to(step).to_owned();
        }
        Ok(())
    }

    /// A text as the interface takes it: version 3 has documents (Atlassian Document Format).
    fn text(&self, text: &str) -> Value {
        match self.settings.api {
            JiraApi::DataCenter2 => json!(text),
            JiraApi::Cloud3 => {
                let paragraphs = text.split('\n').filter(|line| !line.is_empty()).map(|line| {
                    json!({ "type": "paragraph", "content": [{ "type": "text", "text": line }] })
                });
                let content: Vec<Value> = paragraphs.collect();
                json!({ "type": "doc", "version": 1, "content": content })
            }
        }
    }
}

impl Issue {
    fn read(mut body: Value) -> Result<Self, Failure> {
        let fields = body["fields"].take();
        match body["key"].as_str() {
            // It becomes a part of addresses.
            Some(key)
                if key.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it)) =>
            {
                Ok(Self { key: key.to_owned(), fields })
            }
            Some(_) | None => Err(Failure::Lasting {
                why: "Jira answered with an issue without a key".to_owned(),
            }),
        }
    }

    fn category(&self) -> &str {
        self.fields["status"]["statusCategory"]["key"].as_str().unwrap_or_default()
    }
}

/// What the status means that a transition leads to.
fn leads_to(transition: &Value) -> &str {
    transition["to"]["statusCategory"]["key"].as_str().unwrap_or_default()
}

/// Under which it is remembered that an issue with a label was asked for, and when.
fn asked(label: &str) -> String {
    format!("{label} was asked for")
}

/// Our name as a label, which has no slash in it.
fn label(correlation: &str) -> String {
    format!("cutover-{}", correlation.replace('/', "-"))
}

const fn category(phase: TicketPhase) -> &'static str {
    match phase {
        TicketPhase::New
        | TicketPhase::Assess
        | TicketPhase::Authorize
        | TicketPhase::Scheduled => "new",
        TicketPhase::Implement | TicketPhase::Review => "indeterminate",
        TicketPhase::Closed | TicketPhase::Cancelled => "done",
    }
}
