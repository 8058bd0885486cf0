//! Jira's REST interface: issues with labels, a workflow of three statuses, and a search that does not know
//! what was made just now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cutover_tests::harness::web::{Asked, Reply, Web};
use serde_json::{Value, json};

use super::Troubles;

/// How Jira is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edition {
    /// Version 3: texts are documents, search is at `search/jql` and finds nothing that was made in the last
    /// [`LAG`].
    Cloud,
    /// Version 2: texts are texts, search is at `search` and finds all.
    DataCenter,
}

/// For how long the cloud's search does not know what was made.
const LAG: Duration = Duration::from_secs(1);

pub(crate) struct Jira {
    pub(crate) web: Web,
    issues: Arc<Mutex<Issues>>,
}

/// All of them, and when each was made.
type Issues = (Vec<Value>, BTreeMap<String, Instant>);

impl Jira {
    pub(crate) fn start(edition: Edition, troubles: Troubles) -> anyhow::Result<Self> {
        let issues = Arc::new(Mutex::new(Issues::default()));
        let of_server = Arc::clone(&issues);
        let web = Web::start(move |asked| answer(asked, edition, &of_server, &troubles))?;
        Ok(Self { web, issues })
    }

    pub(crate) fn issues(&self) -> Vec<Value> {
        self.issues.lock().unwrap().0.clone()
    }
}

fn status(category: &str) -> Value {
    let name = match category {
        "new" => "To Do",
        "indeterminate" => "In Progress",
        _ => "Done",
    };
    json!({ "name": name, "statusCategory": { "key": category } })
}

/// What a search finds: issues with its label that were made long enough ago.
fn found<'i>(
    jql: &str,
    lag: Duration,
    issues: &'i [Value],
    made: &BTreeMap<String, Instant>,
) -> Vec<&'i Value> {
    let label = jql.split("labels = \"").nth(1).and_then(|it| it.split('"').next());
    let has = |issue: &&Value| {
        let labels = issue["fields"]["labels"].as_array();
        labels.is_some_and(|all| all.iter().any(|it| it.as_str() == label))
    };
    let known = |issue: &&Value| {
        let made = issue["key"].as_str().and_then(|key| made.get(key));
        made.is_some_and(|made| made.elapsed() >= lag)
    };
    issues.iter().filter(has).filter(known).collect()
}

fn answer(asked: &Asked, edition: Edition, issues: &Mutex<Issues>, troubles: &Troubles) -> Reply {
    if asked.headers.get("authorization").map(String::as_str) != Some("Bearer token-of-jira") {
        return Reply::status(401);
    }
    let base = if edition == Edition::Cloud { "/rest/api/3/" } else { "/rest/api/2/" };
    let Some(path) = asked.path().strip_prefix(base) else { return Reply::status(404) };
    let (search, lag) = match edition {
        Edition::Cloud => ("search/jql", LAG),
        Edition::DataCenter => ("search", Duration::ZERO),
    };
    let (issues, made) = &mut *issues.lock().unwrap();
    let parts: Vec<&str> = path.split('/').collect();
    match (asked.method.as_str(), parts.as_slice()) {
        ("POST", _) if path == search => {
            let jql = asked.json()["jql"].as_str().unwrap_or_default().to_owned();
            let found = found(&jql, lag, issues, made);
            Reply::json(200, &json!({ "issues": found }))
        }
        ("POST", ["issue"]) => troubles.meet(|| {
            let mut fields = asked.json()["fields"].take();
            let is_document = fields["description"].is_object();
            if is_document != (edition == Edition::Cloud) {
                return Reply::json(400, &json!({ "errors": { "description": "wrong form" } }));
            }
            let key = format!("CHG-{}", issues.len() + 1);
            fields["status"] = status("new");
            made.insert(key.clone(), Instant::now());
            issues.push(json!({ "key": key, "fields": fields }));
            Reply::json(201, &json!({ "id": "1", "key": key }))
        }),
        (method, ["issue", key, rest @ ..]) => {
            let Some(issue) = issues.iter_mut().find(|issue| issue["key"] == *key) else {
                return Reply::status(404);
            };
            match (method, rest) {
                ("GET", []) => Reply::json(200, issue),
                ("PUT", []) => troubles.meet(|| {
                    for (name, value) in asked.json()["fields"].as_object().into_iter().flatten() {
                        issue["fields"][name] = value.clone();
                    }
                    Reply::status(204)
                }),
                ("GET", ["transitions"]) => {
                    let here = issue["fields"]["status"]["statusCategory"]["key"].clone();
                    // From the beginning to the end one has to pass the middle.
                    let ways: &[&str] = match here.as_str() {
                        Some("new") => &["indeterminate"],
                        Some("indeterminate") => &["new", "done"],
                        _ => &[],
                    };
                    let all: Vec<Value> = ways
                        .iter()
                        .map(|to| json!({ "id": *to, "name": to, "to": status(to) }))
                        .collect();
                    Reply::json(200, &json!({ "transitions": all }))
                }
                ("POST", ["transitions"]) => troubles.meet(|| {
                    let to = asked.json()["transition"]["id"].as_str().map(status);
                    issue["fields"]["status"] = to.unwrap_or_default();
                    Reply::status(204)
                }),
                _ => Reply::status(405),
            }
        }
        _ => Reply::status(404),
    }
}
