//! What is wrong with a package, in words that its author can act on.

use serde::{Deserialize, Serialize};

/// One fault of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Finding {
    /// The path in the submitter's directory.
    pub file: String,
    /// The line, where the fault has one; the first is 1.
    pub line: Option<u32>,
    /// The field, where the file has fields: `rollback.steps[2]`.
    pub field: Option<String>,
    /// The rule that was broken.
    pub rule: Rule,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// The rules of a complete package. Their names are stable: scripts may go by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A file or directory that every package has is there.
    Missing,
    /// Nothing is there that a package does not have.
    Unexpected,
    /// A document is UTF-8 text of a bounded size.
    Unreadable,
    /// A TOML file can be read.
    Syntax,
    /// A field that must be there is there.
    FieldMissing,
    /// Only known fields are there.
    FieldUnknown,
    /// A field has a value of its kind.
    FieldValue,
    /// Fields do not contradict each other.
    Contradiction,
    /// Text says something: enough of it, and no `N/A`.
    NotDocumentation,
    /// Nothing of the scaffold is left to be filled in.
    Placeholder,
    /// A hook that is named is there, a file, and may be run.
    HookFile,
    /// A file under `hooks/` is named by the manifest.
    HookNotNamed,
    /// There is something to install.
    PayloadEmpty,
    /// The forms that the targets need are there, each of a known schema.
    Form,
    /// What a form's item names is in the package, with the digest that it gives.
    FormItem,
    /// The steps of a runbook are about lines of the package's forms, and each element is in one.
    RunbookElement,
    /// Each file of the payload is named by an item of a form.
    PayloadNotNamed,
    /// Only files, directories and links are there.
    SpecialFile,
    /// No set-user-id, set-group-id or sticky bit, no attribute that gives privileges.
    Privilege,
    /// Names are readable and the same everywhere.
    Path,
    /// No two names differ only in case or Unicode form.
    Collision,
    /// Links lead to something inside the package; those that hosts get, to something that hosts get.
    Link,
    /// Counts and sizes are bounded.
    Limit,
}

impl Finding {
    /// A fault of a whole file.
    pub fn of_file(file: &str, rule: Rule, problem: impl Into<String>, remedy: &str) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            field: None,
            rule,
            problem: problem.into(),
            remedy: remedy.to_owned(),
        }
    }
}
