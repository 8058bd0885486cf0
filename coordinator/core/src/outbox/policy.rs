//! That the trust policy nears its end, in words and as data for programs.

use std::fmt::Write as _;

use cutover_shared::name::Name;
use cutover_shared::policy::{KeyStatus, Role};
use cutover_shared::statement::{Says, Statement};
use serde_json::json;

use super::message::Message;
use super::notice::Notice;
use super::timed::Cause;

/// The message; `None` where the statement is no policy.
pub(super) fn message(notice: &Notice, statement: &Statement) -> Option<Message> {
    let (Says::TrustPolicy(document), Cause::Due(instant)) = (&statement.says, &notice.cause)
    else {
        return None;
    };
    let (version, expires) = (document.version, document.expires);
    let days = expires.since(*instant).as_secs() / (24 * 60 * 60);
    let holders = document
        .keys
        .iter()
        .filter(|it| it.status == KeyStatus::Active && it.roles.contains(&Role::Root));
    let holders: Vec<&str> = holders.map(|it| &it.owner).map(Name::as_str).collect();
    let plural = if days == 1 { "" } else { "s" };
    let mut text = format!("The trust policy, version {version}, ends in {days} day{plural}.\n\n");
    for (name, value) in [
        ("Ends", format!("{expires} (UTC)")),
        (
            "Then",
            "nothing goes forward any more, on any host; nothing can be booked past it".to_owned(),
        ),
        ("Who", format!("{} of the root holders: {}", document.root_threshold, holders.join(", "))),
        (
            "To do",
            "write the next version, `cutover policy sign` it, `cutover policy install` it"
                .to_owned(),
        ),
    ] {
        let _ = writeln!(text, "{name:12} {value}");
    }
    let (origin, index, id) = (&document.log.origin, notice.index, notice.statement);
    let _ = write!(
        text,
        "\nWhat is in force: cutover log show {index} (log {origin}, statement {id})\n"
    );
    let subject =
        format!("[Cutover] The trust policy of {origin} ends in {days} day{plural}: {expires}");
    let data = json!({
        "what": notice.what.name(),
        "policy": id,
        "version": version,
        "expires": expires,
        "days": days,
        "root-holders": holders,
        "root-threshold": document.root_threshold,
        "statement": id,
        "log-index": index,
        "issued": statement.header.issued,
    });
    let (event, about) = ("policy.expires".to_owned(), format!("policy {version}"));
    Some(Message { event, about, subject, text, data, invitations: Vec::new() })
}
