//! The policy as a file that people edit: TOML, whose comments and order stay as they are.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cutover_shared::key::PublicKey;
use cutover_shared::name::Name;
use cutover_shared::policy::{KeyEntry, LogKey, PolicyDocument, Scope};
use cutover_shared::statement::Predicate;
use cutover_shared::time::Time;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value, value};

use crate::cli::exit::Failure;

/// The strict default, whose comments are its documentation.
const EXAMPLE: &str = include_str!("example.toml");

/// A policy in the making.
pub(super) struct Draft {
    document: DocumentMut,
}

impl Draft {
    /// The strict default for a log, without any people yet.
    pub(super) fn example(log: &LogKey, expires: Time, root_threshold: u32) -> Self {
        let mut document: DocumentMut = EXAMPLE.parse().expect("the example is TOML");
        let mut predicates: Array = Predicate::in_log().map(Predicate::name).collect();
        for predicate in predicates.iter_mut() {
            predicate.decor_mut().set_prefix("\n    ");
        }
        predicates.set_trailing("\n");
        predicates.set_trailing_comma(true);
        document["predicates"] = value(predicates);
        document["expires"] = value(expires.to_string());
        document["root_threshold"] = value(i64::from(root_threshold));
        document["log"]["origin"] = value(&log.origin);
        document["log"]["key"] = value(log.key.to_string());
        Self { document }
    }

    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("read the policy {}", path.display()))?;
        let document = text.parse().map_err(|error: toml_edit::TomlError| {
            Failure::usage(format!("{} is not TOML: {error}", path.display()))
        })?;
        Ok(Self { document })
    }

    /// Adds a key at the end.
    pub(super) fn add(&mut self, entry: &KeyEntry) -> Result<(), Failure> {
        let key = entry.key.to_string();
        let tables = self.document.get("keys").and_then(Item::as_array_of_tables);
        let same = |table: &&Table| table.get("key").and_then(Item::as_str) == Some(&key);
        if let Some(known) = tables.into_iter().flatten().find(same) {
            let owner = known.get("owner").and_then(Item::as_str).unwrap_or("somebody");
            return Err(Failure::usage(format!(
                "the key {} is in the policy already, as {owner}'s",
                entry.key.id()
            )));
        }
        let mut table = Table::new();
        table["owner"] = value(entry.owner.as_str());
        table["email"] = value(&entry.email);
        table["key"] = value(&key);
        table["roles"] = value(entry.roles.iter().map(|role| role.name()).collect::<Array>());
        for (name, scope) in
            [("applications", &entry.applications), ("environments", &entry.environments)]
        {
            if let Scope::Only(names) = scope {
                let names = names.iter().map(Name::as_str).collect();
                let only = InlineTable::from_iter([("only", Value::Array(names))]);
                table[name] = value(only);
            }
        }
        table.decor_mut().set_prefix("\n");
        let keys = self.document.entry("keys").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        if keys.as_array().is_some_and(Array::is_empty) {
            *keys = Item::ArrayOfTables(ArrayOfTables::new());
        }
        let keys = keys.as_array_of_tables_mut().ok_or_else(|| {
            Failure::usage(
                "the policy's keys are written as an inline array: write them as [[keys]]",
            )
        })?;
        keys.push(table);
        Ok(())
    }

    /// Lets an owner speak for a department, which is made where it is not there yet.
    pub(super) fn add_speaker(&mut self, department: &Name, owner: &Name) -> Result<(), Failure> {
        let none = || Item::ArrayOfTables(ArrayOfTables::new());
        let departments = self.document.entry("departments").or_insert_with(none);
        let departments = departments.as_array_of_tables_mut().ok_or_else(|| {
            Failure::usage(
                "the policy's departments are written as an inline array: write them as \
                 [[departments]]",
            )
        })?;
        let named = |it: &Table| it.get("name").and_then(Item::as_str) == Some(department.as_str());
        let known = departments.iter().position(named);
        let place = known.unwrap_or_else(|| {
            let mut table = Table::new();
            table["name"] = value(department.as_str());
            table.decor_mut().set_prefix("\n");
            departments.push(table);
            departments.len() - 1
        });
        let table = departments.get_mut(place).expect("it was found, or just added");
        let owners = table.entry("owners").or_insert(value(Array::new()));
        let owners = owners.as_array_mut().ok_or_else(|| {
            Failure::usage(format!("departments: the owners of {department} are no list"))
        })?;
        if !owners.iter().any(|it| it.as_str() == Some(owner.as_str())) {
            owners.push(owner.as_str());
        }
        Ok(())
    }

    /// What it says, every fault told.
    pub(super) fn policy(&self) -> Result<PolicyDocument, Failure> {
        let policy = self.unchecked()?;
        let faults = policy.faults();
        if faults.is_empty() { Ok(policy) } else { Err(faulty(&faults)) }
    }

    /// What it says, complete or not.
    pub(super) fn unchecked(&self) -> Result<PolicyDocument, Failure> {
        let mut document = self.document.clone();
        document.entry("keys").or_insert(value(Array::new()));
        toml::from_str(&document.to_string())
            .map_err(|error| Failure::usage(format!("the policy is not complete: {error}")))
    }

    /// Writes the file whole, or leaves the old one.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        write_whole(path, self.document.to_string().as_bytes())
    }

    /// The text.
    pub(super) fn text(&self) -> String {
        self.document.to_string()
    }
}

/// The failure that tells all faults of a policy.
pub(super) fn faulty(faults: &[String]) -> Failure {
    Failure::usage(format!("the policy has faults:\n  {}", faults.join("\n  ")))
}

/// Puts a file in the place of an earlier one, whole.
pub(in crate::cli) fn write_whole(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.map_or_else(|| PathBuf::from("."), Path::to_owned);
    let write = || {
        let mut file = tempfile::Builder::new()
            .prefix(".cutover-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(&directory)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok::<(), std::io::Error>(())
    };
    Ok(write().with_context(|| format!("write {}", path.display()))?)
}

/// A scope of the names given; none given means all.
pub(super) fn scope(names: &[Name]) -> Scope {
    if names.is_empty() { Scope::All } else { Scope::Only(names.iter().cloned().collect()) }
}

/// The log's name and key.
pub(super) fn log_key(origin: &str, key: PublicKey) -> LogKey {
    LogKey { origin: origin.to_owned(), key }
}

#[cfg(test)]
mod tests {
    use cutover_shared::digest::Digest;
    use cutover_shared::key::SecretKey;
    use cutover_shared::policy::{Clock, Duties, KeyStatus, Role};
    use cutover_shared::statement::ChangeType;

    use super::*;

    fn entry(seed: u8, owner: &str, roles: &[Role]) -> KeyEntry {
        KeyEntry {
            owner: owner.parse().unwrap(),
            email: format!("{owner}@example.org"),
            key: SecretKey::from_seed([seed; 32]).public(),
            roles: roles.iter().copied().collect(),
            applications: Scope::All,
            environments: scope(&["staging".parse().unwrap()]),
            status: KeyStatus::Active,
        }
    }

    fn example() -> Draft {
        let key = SecretKey::from_seed([9; 32]).public();
        let expires = "2027-01-01T00:00:00Z".parse().unwrap();
        Draft::example(&log_key("cutover.example.org/log", key), expires, 2)
    }

    #[test]
    fn what_the_example_shows_in_comments_is_as_it_says() {
        let shown = |line: &&str| {
            let words = line.trim_start_matches("# ");
            let assigns = words.split_once(" = ").is_some_and(|(name, _)| !name.contains(' '));
            line.starts_with("# ") && (words.starts_with('[') || assigns)
        };
        let text = example().text();
        let plain: Vec<_> = text.lines().map(|it| if shown(&it) { &it[2..] } else { it }).collect();
        let mut plain = plain.join("\n");
        let key = SecretKey::from_seed([8; 32]).public().to_string();
        plain = plain.replace("WITNESS KEY", &key);
        plain = plain.replace("ROOT HASH", &Digest::of(b"head").to_string());
        let policy = Draft { document: plain.parse().unwrap() }.unchecked().unwrap();
        assert!(policy.not_before.is_some());
        assert_eq!(policy.epoch.unwrap().last_good.size, 5120);
        assert_eq!(policy.witnesses.len(), 1);
        assert_eq!(policy.rules[1].witnesses, 2);
        assert_eq!(policy.rules[1].freeze_override, Some(Role::Security));
        assert_eq!(policy.rules[1].waivable.len(), 1);
        let department = policy.departments[0].name.clone();
        assert_eq!(policy.rules[1].consults, [department].into());
        assert!(policy.rules[1].approval_lifetime.is_some());
        assert_eq!(policy.rules[1].rehearsals, 1);
        let standing = policy.rules[3].standing_window;
        assert_eq!(standing, Some(std::time::Duration::from_mins(30)));
    }

    #[test]
    fn the_example_is_the_strict_default() {
        let mut draft = example();
        draft.add(&entry(1, "ruth", &[Role::Root])).unwrap();
        draft.add(&entry(2, "rob", &[Role::Root, Role::ChangeManager])).unwrap();
        let policy = draft.policy().unwrap();
        assert_eq!(policy.root_threshold, 2);
        assert_eq!(policy.freshness.clock, Clock::Synchronised);
        assert_eq!(policy.predicates.len(), Predicate::ALL.len() - 1);
        assert!(!policy.predicates.contains("clearance"));
        let rule = |environment: &str, change| {
            let environment: Name = environment.parse().unwrap();
            let mut rules = policy.rules.iter();
            rules.find(|it| it.environment == environment && it.change == change).unwrap()
        };
        let production = rule("production", ChangeType::Normal);
        assert_eq!((production.reviews, production.assessments, production.votes), (1, 1, 2));
        assert_eq!(production.after[0].hosts, 2);
        assert_eq!(rule("staging", ChangeType::Normal).votes, 0);
        assert!(policy.rules.iter().all(|rule| rule.duties == Duties::Separate));
        for environment in ["staging", "production"] {
            assert!(!rule(environment, ChangeType::Emergency).delivery);
        }
        assert_eq!(policy.keys[1], entry(2, "rob", &[Role::Root, Role::ChangeManager]));
    }

    #[test]
    fn comments_stay_and_a_key_is_added_once() {
        let mut draft = example();
        draft.add(&entry(1, "ruth", &[Role::Root])).unwrap();
        let again = draft.add(&entry(1, "mallory", &[Role::Board])).unwrap_err();
        assert!(again.text().contains("ruth"), "{}", again.text());
        let text = draft.text();
        let comments = |text: &str| text.lines().filter(|line| line.starts_with('#')).count();
        assert_eq!(comments(&text), comments(EXAMPLE));
        assert!(text.contains("\n\n[[keys]]\nowner = \"ruth\"\n"), "{text}");
    }

    #[test]
    fn somebody_can_speak_for_departments_alone() {
        let mut draft = example();
        draft.add(&entry(1, "ruth", &[Role::Root])).unwrap();
        draft.add(&entry(2, "rob", &[Role::Root])).unwrap();
        draft.add(&entry(3, "nina", &[])).unwrap();
        let text = draft.policy().unwrap_err().text();
        assert!(text.contains("keys[2].roles: none; nina could do nothing"), "{text}");
        let name = |text: &str| text.parse::<Name>().unwrap();
        for owner in ["nina", "rob", "nina"] {
            draft.add_speaker(&name("networks"), &name(owner)).unwrap();
        }
        draft.add_speaker(&name("desk"), &name("nina")).unwrap();
        let read = draft.policy().unwrap();
        let owners: Vec<_> = read.departments.iter().map(|it| it.owners.len()).collect();
        assert_eq!(owners, [2, 1], "{}", draft.text());
        draft.add_speaker(&name("desk"), &name("mallory")).unwrap();
        let text = draft.policy().unwrap_err().text();
        assert!(text.contains("departments[1].owners: mallory has no key"), "{text}");
    }

    #[test]
    fn every_fault_is_told() {
        let text = example().policy().unwrap_err().text();
        assert!(text.contains("root_threshold: 2 cannot be met by 0"), "{text}");
    }
}
