//! Names, kinds, links and sizes: what [`Index::parse`](crate::package::index::Index::parse) refuses
//! too, here all at once and in words.

use std::collections::BTreeMap;

use crate::package::entry::SLOT_ROOTS;
use crate::package::finding::{Finding, Rule};
use crate::package::index::{MAX_ENTRIES, MAX_FILE, MAX_TOTAL};
use crate::package::listing::{Item, ItemKind, Listing};
use crate::package::outside;
use crate::package::path::{EntryPath, Links, collision_key, is_within};

pub(super) fn check(listing: &Listing, findings: &mut Vec<Finding>) {
    let mut keys: BTreeMap<String, &str> = BTreeMap::new();
    for (path, item) in listing.items() {
        check_kind(path, item, findings);
        if let Some(other) = keys.insert(collision_key(path), path) {
            findings.push(Finding::of_file(
                path,
                Rule::Collision,
                format!("it differs from {other} in case or Unicode form only"),
                "rename one: not every file system can hold both",
            ));
        }
    }
    check_links(listing, findings);
    check_limits(listing, findings);
}

fn check_kind(path: &str, item: &Item, findings: &mut Vec<Finding>) {
    let mut add = |rule, problem: String, remedy| {
        findings.push(Finding::of_file(path, rule, problem, remedy));
    };
    match &item.kind {
        ItemKind::NotUtf8 => {
            let problem = "its name, or what it links to, is not UTF-8".to_owned();
            add(Rule::Path, problem, "rename it");
        }
        ItemKind::Special(what) => {
            let problem = format!("it is {what}");
            add(
                Rule::SpecialFile,
                problem,
                "remove it: packages hold files, directories and links",
            );
        }
        ItemKind::File(_) | ItemKind::Directory | ItemKind::Link(_) => {
            if let Err(fault) = EntryPath::new(path) {
                add(Rule::Path, fault.to_string(), "rename it");
            }
        }
    }
    let is_link = matches!(item.kind, ItemKind::Link(_));
    if item.mode & 0o7000 != 0 && !is_link {
        let problem = format!("its mode {:04o} has set-user-id, set-group-id or sticky", item.mode);
        add(Rule::Privilege, problem, "run `chmod u-s,g-s,-t` on it: packages carry no privileges");
    }
    if !item.privileges.is_empty() {
        let problem = format!("it has the attributes {}", item.privileges.join(", "));
        add(
            Rule::Privilege,
            problem,
            "remove them with `setfattr -x`: packages carry no privileges",
        );
    }
}

fn check_links(listing: &Listing, findings: &mut Vec<Finding>) {
    let links: Vec<(&str, &str)> = listing.items().filter_map(link).collect();
    let mut resolver = Links::new(links.iter().copied());
    for (path, target) in links.into_iter().filter(|(path, it)| !outside::is_shared(path, it)) {
        let problem = match resolver.resolve(path, target) {
            Err(fault) => fault.to_string(),
            Ok(end) if !end.is_empty() && listing.find(&end).is_none() => {
                format!("it leads to {end}, which is not in the package")
            }
            Ok(end) if is_in_slot(path) && !end.is_empty() && !is_in_slot(&end) => {
                format!("it leads to {end}, which hosts do not get")
            }
            Ok(_) => continue,
        };
        findings.push(Finding::of_file(
            path,
            Rule::Link,
            format!("it links to {target:?}: {problem}"),
            "link to something under payload/ or hooks/, relative to the link",
        ));
    }
}

fn is_in_slot(path: &str) -> bool {
    SLOT_ROOTS.iter().any(|root| is_within(path, root))
}

fn link<'a>((path, item): (&'a str, &'a Item)) -> Option<(&'a str, &'a str)> {
    match &item.kind {
        ItemKind::Link(target) => Some((path, target)),
        ItemKind::File(_) | ItemKind::Directory | ItemKind::Special(_) | ItemKind::NotUtf8 => None,
    }
}

fn check_limits(listing: &Listing, findings: &mut Vec<Finding>) {
    if listing.len() > MAX_ENTRIES {
        findings.push(Finding::of_file(
            ".",
            Rule::Limit,
            format!("it has {} entries, at most {MAX_ENTRIES} are possible", listing.len()),
            "split the release, or pack parts into archives",
        ));
    }
    let mut total: u64 = 0;
    for (path, item) in listing.items() {
        let size = item.file().map_or(0, |file| file.size);
        total = total.saturating_add(size);
        if size > MAX_FILE {
            findings.push(Finding::of_file(
                path,
                Rule::Limit,
                format!("it has {size} bytes, at most {MAX_FILE} are possible"),
                "split it",
            ));
        }
    }
    if total > MAX_TOTAL {
        findings.push(Finding::of_file(
            ".",
            Rule::Limit,
            format!("its files have {total} bytes, at most {MAX_TOTAL} are possible"),
            "split the release",
        ));
    }
}
