//! Texts that a command gives out: on standard output, or into a file that was named.

use std::path::Path;

use anyhow::Context as _;

use super::context::Context;
use super::exit::Failure;

/// Gives `text` out: into the file `output`, unless this is a dry run, or else on standard output as it is;
/// for programs as the one value `name`.
pub(super) fn give(
    context: &Context,
    name: &str,
    text: &str,
    output: Option<&Path>,
) -> Result<(), Failure> {
    let sink = context.sink();
    let Some(path) = output else {
        if sink.is_json() {
            return sink.json(&serde_json::json!({ name: text }));
        }
        return sink.bytes(text.as_bytes());
    };
    let shown = path.display();
    if context.dry_run {
        return sink.dry_run(&shown.to_string());
    }
    std::fs::write(path, text).with_context(|| format!("write {shown}"))?;
    sink.result(&serde_json::json!({ "file": path }), |_| format!("file      {shown}"))
}
