//! Jira's REST interface: issues with labels, a workflow of three statuses, and a search that does not know
//! what was made just now.

use std::sync::{Arc, Mutex};

use cutover_tests::harness::web::{Asked, Reply, Web};
use serde_json::{Value, json};

use super::Troubles;

/// How Jira is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edition {
    /// Version 3: texts are documents, search is at `search/jql` and finds nothing that was not there when the
    /// server began.
    Cloud,
    /// Version 2: texts are texts, search is at `search` and finds all.
    DataCenter,
}

pub(crate) struct Jira {
    pub(crate) web: Web,
    issues: Arc<Mutex<Vec<Value>>>,
}

impl Jira {
    pub(crate) fn start(edition: Edition, troubles: Troubles) -> anyhow::Result<Self> {
        let issues = Arc::new(Mutex::new(Vec::new()));
        let of_server = Arc::clone(&issues);
        let web = Web::start(move |asked| answer(asked, edition, &of_server, &troubles))?;
        Ok(Self { web, issues })
    }

    pub(crate) fn issues(&self) -> Vec<Value> {
        self.issues.lock().unwrap().clone()
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

fn answer(
    asked: &Asked,
    edition: Edition,
    issues: &Mutex<Vec<Value>>,
    troubles: &Troubles,
) -> Reply {
    if asked.headers.get("authorization").map(String::as_str) != Some("Bearer token-of-jira") {
        return Reply::status(401);
    }
    let base = if edition == Edition::Cloud { "/rest/api/3/" } else { "/rest/api/2/" };
    let Some(path) = asked.path().strip_prefix(base) else { return Reply::status(404) };
    let search = if edition == Edition::Cloud { "search/jql" } else { "search" };
    let mut issues = issues.lock().unwrap();
    let parts: Vec<&str> = path.split('/').collect();
    match (asked.method.as_str(), parts.as_slice()) {
        ("POST", _) if path == search => {
            let jql = asked.json()["jql"].as_str().unwrap_or_default().to_owned();
            let label = jql.split("labels = \"").nth(1).and_then(|it| it.split('"').next());
            let has = |issue: &&Value| {
                let labels = issue["fields"]["labels"].as_array();
                labels.is_some_and(|all| all.iter().any(|it| it.as_str() == label))
            };
            let known = edition == Edition::DataCenter;
            let found: Vec<&Value> = issues.iter().filter(has).filter(|_| known).collect();
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
