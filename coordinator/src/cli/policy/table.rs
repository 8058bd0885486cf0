//! A policy as tables, for people.

use cutover_shared::name::Name;
use cutover_shared::policy::{KeyEntry, KeyStatus, PolicyDocument, Role, Rule, Scope};
use cutover_shared::time::span;

use crate::cli::output::table;

/// Everything that a policy says.
pub(super) fn text(policy: &PolicyDocument) -> String {
    let mut keys = table(["owner", "roles", "applications", "environments", "status", "key"]);
    for entry in &policy.keys {
        keys.add_row(key_row(entry));
    }
    let mut rules = table([
        "environment",
        "change",
        "reviews",
        "assessments",
        "votes",
        "delivery",
        "after",
        "longest",
        "standing",
        "duties",
        "consults",
        "rehearsals",
        "forms",
        "approvals last",
        "witnesses",
        "passes freezes",
        "waivable",
    ]);
    for rule in &policy.rules {
        rules.add_row(rule_row(rule));
    }
    let mut parts = Vec::new();
    if !policy.witnesses.is_empty() {
        let mut witnesses = table(["witness", "owner", "key"]);
        for it in &policy.witnesses {
            let owner = format!("{} <{}>", it.owner, it.email);
            witnesses.add_row([it.name.clone(), owner, it.key.id().short()]);
        }
        parts.push(witnesses.to_string());
    }
    if !policy.departments.is_empty() {
        let mut departments = table(["department", "speak for it"]);
        for it in &policy.departments {
            let owners: Vec<_> = it.owners.iter().map(Name::as_str).collect();
            departments.add_row([it.name.to_string(), owners.join(", ")]);
        }
        parts.push(departments.to_string());
    }
    parts.push(keys.to_string());
    parts.push(rules.to_string());
    let from = policy.not_before.map(|it| format!("not before  {it}\n")).unwrap_or_default();
    let epoch = policy.epoch.as_ref().map(|it| {
        let (size, root) = (it.last_good.size, it.last_good.root);
        format!("LOG EPOCH   after {size} entries, root {root}: {}\n", it.reason)
    });
    let freshness = &policy.freshness;
    let predicates: Vec<_> = policy.predicates.iter().map(String::as_str).collect();
    format!(
        "version     {}\n{from}expires     {}\n{}root        {} owners must sign the next version\n\
         log         {}\nlog key     {}\nclearance   good for {}\nclock       {}, offset up to {}\n\
         predicates  {}\n{}",
        policy.version,
        policy.expires,
        epoch.unwrap_or_default(),
        policy.root_threshold,
        policy.log.origin,
        policy.log.key.id(),
        span::format(freshness.clearance),
        word(&freshness.clock),
        span::format(freshness.clock_offset),
        predicates.join(", "),
        parts.join("\n"),
    )
}

fn key_row(entry: &KeyEntry) -> [String; 6] {
    let roles: Vec<_> = entry.roles.iter().map(|role| role.name()).collect();
    [
        format!("{} <{}>", entry.owner, entry.email),
        roles.join(", "),
        scope(&entry.applications),
        scope(&entry.environments),
        match entry.status {
            KeyStatus::Active => "active".to_owned(),
            KeyStatus::Rotated { logged_below } => format!("rotated at entry {logged_below}"),
            KeyStatus::Compromised => "compromised".to_owned(),
        },
        entry.key.id().short(),
    ]
}

fn rule_row(rule: &Rule) -> [String; 17] {
    let after =
        rule.after.iter().map(|proof| format!("{} on {} hosts", proof.environment, proof.hosts));
    let waivable = rule.waivable.iter().map(|it| format!("{} by {}", it.exception, pair(it.by)));
    [
        rule.environment.to_string(),
        rule.change.to_string(),
        rule.reviews.to_string(),
        rule.assessments.to_string(),
        rule.votes.to_string(),
        if rule.delivery { "needed" } else { "" }.to_owned(),
        after.collect::<Vec<_>>().join(", "),
        span::format(rule.longest_window),
        rule.standing_window.map(span::format).unwrap_or_default(),
        word(&rule.duties),
        rule.consults.iter().map(Name::as_str).collect::<Vec<_>>().join(", "),
        if rule.rehearsals == 0 { String::new() } else { rule.rehearsals.to_string() },
        rule.forms.iter().map(Name::as_str).collect::<Vec<_>>().join(", "),
        rule.approval_lifetime.map(span::format).unwrap_or_default(),
        if rule.witnesses == 0 { String::new() } else { rule.witnesses.to_string() },
        rule.freeze_override.map_or_else(|| "nobody".to_owned(), |role| pair([CHANGES, role])),
        waivable.collect::<Vec<_>>().join("\n"),
    ]
}

/// One of the two who pass a freeze.
const CHANGES: Role = Role::ChangeManager;

fn pair(roles: [Role; 2]) -> String {
    roles.map(Role::name).join(" and ")
}

fn scope(scope: &Scope) -> String {
    match scope {
        Scope::All => "all".to_owned(),
        Scope::Only(names) => names.iter().map(Name::as_str).collect::<Vec<_>>().join(", "),
    }
}

/// The word that a plain enum is in documents.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value);
    value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
