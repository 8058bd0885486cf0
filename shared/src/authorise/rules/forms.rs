//! Rule 29: the submission names every form that the policy asks for.
//!
//! Which forms a package has, and that they keep their schemas, was judged where it was submitted; the submission
//! says which they are. That none of an operator's own was left out there is held against the policy everywhere.

use std::collections::BTreeSet;

use super::{Question, policy_rule, refuse};
use crate::name::Name;
use crate::policy::Rule as PolicyRule;
use crate::refusal::{Code, Refusal};
use crate::statement::FormUsed;

/// The forms that a rule asks for, and that are not among these.
pub fn missing_forms<'a>(rule: &'a PolicyRule, used: &BTreeSet<FormUsed>) -> Vec<&'a Name> {
    let named = |form: &&Name| used.iter().any(|it| it.form == **form);
    rule.forms.iter().filter(|form| !named(form)).collect()
}

// 29
pub(super) fn forms_named(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let rule = policy_rule(q, case, booking)?;
    let missing = missing_forms(rule, &case.release.says().forms);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.into_iter().map(Name::as_str).collect();
    let environment = &booking.booking.says().environment;
    let facts =
        format!("{environment} asks for {}, which the submission does not name", names.join(", "));
    refuse(Code::FormMissing, facts)
}
