//! ServiceNow's Table API with the tables `change_request` and `change_task`: records of texts, looked up by
//! `correlation_id`, and the rules of the change model about states.

use std::sync::{Arc, Mutex};

use cutover_tests::harness::web::{Asked, Reply, Web};
use serde_json::{Map, Value, json};

use super::Troubles;

/// `Basic` and base64 of `cutover:secret`.
const LOGIN: &str = "Basic Y3V0b3ZlcjpzZWNyZXQ=";

/// The states that follow each other.
const WAY: [&str; 7] = ["-5", "-4", "-3", "-2", "-1", "0", "3"];

/// Each with the table that it is in.
type Records = Vec<(String, Map<String, Value>)>;

pub(crate) struct ServiceNow {
    pub(crate) web: Web,
    records: Arc<Mutex<Records>>,
}

impl ServiceNow {
    pub(crate) fn start(troubles: Troubles) -> anyhow::Result<Self> {
        let records = Arc::new(Mutex::new(Vec::new()));
        let of_server = Arc::clone(&records);
        let web = Web::start(move |asked| answer(asked, &of_server, &troubles))?;
        Ok(Self { web, records })
    }

    /// The records of a table.
    pub(crate) fn table(&self, table: &str) -> Vec<Map<String, Value>> {
        let records = self.records.lock().unwrap();
        records.iter().filter(|(of, _)| of == table).map(|(_, record)| record.clone()).collect()
    }
}

fn answer(
    asked: &Asked,
    records: &Mutex<Vec<(String, Map<String, Value>)>>,
    troubles: &Troubles,
) -> Reply {
    if asked.headers.get("authorization").map(String::as_str) != Some(LOGIN) {
        return Reply::status(401);
    }
    let Some(path) = asked.path().strip_prefix("/api/now/table/") else {
        return Reply::status(404);
    };
    let (table, id) = path.split_once('/').map_or((path, None), |(table, id)| (table, Some(id)));
    if !["change_request", "change_task"].contains(&table) {
        return Reply::status(404);
    }
    let mut records = records.lock().unwrap();
    match (asked.method.as_str(), id) {
        ("GET", None) => {
            let query = asked.query("sysparm_query").unwrap_or_default();
            let wanted = query.split('^').find_map(|it| it.strip_prefix("correlation_id="));
            let found: Vec<&Map<String, Value>> = records
                .iter()
                .filter(|(of, it)| of == table && it["correlation_id"].as_str() == wanted)
                .map(|(_, record)| record)
                .collect();
            Reply::json(200, &json!({ "result": found }))
        }
        ("POST", None) => troubles.meet(|| {
            let Value::Object(mut record) = asked.json() else { return Reply::status(400) };
            let id = format!("{:032x}", records.len() + 1);
            record.insert("sys_id".to_owned(), json!(id));
            record.entry("state").or_insert_with(|| json!("-5"));
            records.push((table.to_owned(), record.clone()));
            Reply::json(201, &json!({ "result": record }))
        }),
        ("PATCH", Some(id)) => troubles.meet(|| {
            let Value::Object(fields) = asked.json() else { return Reply::status(400) };
            let found = records.iter_mut().find(|(of, it)| of == table && it["sys_id"] == id);
            let Some((_, record)) = found else { return Reply::status(404) };
            if table == "change_request" && !may_move(record, &fields) {
                let error = json!({ "error": { "message": "invalid state transition" } });
                return Reply::json(403, &error);
            }
            record.extend(fields);
            Reply::json(200, &json!({ "result": record }))
        }),
        _ => Reply::status(405),
    }
}

/// Whether the change model lets a change go where the fields say.
fn may_move(record: &Map<String, Value>, fields: &Map<String, Value>) -> bool {
    let Some(to) = fields.get("state").and_then(Value::as_str) else { return true };
    let place = |state: &str| WAY.iter().position(|it| *it == state);
    let from = record["state"].as_str().and_then(place);
    let closes = ["3", "4"].contains(&to);
    let is_next = from.zip(place(to)).is_some_and(|(from, to)| to == from + 1);
    (is_next || to == "4") && (!closes || fields.contains_key("close_code"))
}
