//! Reading what `cutover status R --json` prints.

use serde_json::Value;

/// The newest booking of a release in an environment.
pub fn booking<'a>(status: &'a Value, environment: &str) -> Option<&'a Value> {
    let environments = status.get("environments")?.as_array()?;
    let mine = environments.iter().find(|it| it["environment"] == environment)?;
    mine.get("bookings")?.as_array()?.last()
}

/// A host in the newest booking of a release in an environment.
pub fn host<'a>(status: &'a Value, environment: &str, name: &str) -> Option<&'a Value> {
    booking(status, environment)?.get("hosts")?.as_array()?.iter().find(|it| it["host"] == name)
}

/// A text in it.
pub fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().map(str::to_owned)
}
