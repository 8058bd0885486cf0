//! Rule 28: somebody who did not make it has rehearsed it.

use std::collections::BTreeSet;

use super::{Question, policy_rule, refuse};
use crate::case::{Case, Verified};
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::statement::Rehearsed;

/// The owners whose last rehearsal went well.
pub fn rehearsed_by(case: &Case) -> BTreeSet<&Name> {
    let last = case.last_rehearsals().into_iter();
    last.filter(|(_, it)| it.says().result.is_passed()).map(|(owner, _)| owner).collect()
}

// 28
pub(super) fn rehearsed(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let needed = policy_rule(q, case, booking)?.rehearsals as usize;
    if needed == 0 {
        return Ok(());
    }
    // Whoever it was, and however often it went well before: as it is known last, it does not work.
    let newest = case.rehearsals.iter().max_by_key(|it| it.index());
    if let Some(Rehearsed::Failed { step, reason }) = newest.map(|it| &it.says().result) {
        let by: Vec<_> = newest.into_iter().flat_map(Verified::owners).map(Name::as_str).collect();
        let facts = format!("the rehearsal by {} failed at {step}: {reason}", by.join(", "));
        return refuse(Code::NotRehearsed, facts);
    }
    let have = rehearsed_by(case).len();
    if have >= needed {
        return Ok(());
    }
    refuse(Code::NotRehearsed, format!("{have} of {needed} owners have rehearsed it"))
}
