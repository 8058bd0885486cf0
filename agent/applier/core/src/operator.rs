//! What an operator at the host asks of the applier, with the network down if need be.
//!
//! Going back needs nobody's signature: an operator can always send an application back to its last
//! committed release, and is the only one who can end *stuck*. What the operator says goes into the order's
//! outcome. Nothing new comes onto a host this way.

use cutover_machine::{Hold, HoldAnswer, Phase, Rejection, Resolution, Undo, Withstands};
use cutover_shared::name::Name;
use serde::{Deserialize, Serialize};

use crate::applier::Core;
use crate::input::Outside;
use crate::output::{Note, Output};

/// The longest reason that is taken, in characters: some lines of an outcome.
pub const MAX_REASON: usize = 512;

/// A request of an operator at the host, as it lies in the inbox: one JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OperatorAsk {
    /// Of which application.
    pub application: Name,
    /// What.
    pub act: OperatorAct,
    /// Why, for the outcome and the log.
    pub reason: String,
}

/// What an operator at the host can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum OperatorAct {
    /// To the last committed release: what is on its way forward turns back, what is stuck goes the whole
    /// way back again, what is at rest is seen to.
    Return {
        /// The undo of hooks does not run; the operator has done by hand what it should do.
        skip_undo: bool,
        /// Also where the release was approved as irreversible: the operator has restored what it cannot.
        even_irreversible: bool,
    },
    /// The release that is stuck half-way was put right by hand and is committed by the operator's word.
    Keep,
}

impl Core {
    /// Does what an operator asks, if it can be done, and answers to `number`.
    pub(crate) fn asked_by_operator(
        &mut self,
        number: String,
        ask: &OperatorAsk,
        outside: &mut Outside<'_>,
    ) {
        let reason: String = ask.reason.chars().take(MAX_REASON).collect();
        let answer = self.obey(ask, &reason, outside);
        let text = match ask.act {
            OperatorAct::Return { .. } => "an operator at the host asked to return",
            OperatorAct::Keep => "an operator at the host asked to keep what is stuck",
        };
        let (Ok(told) | Err(told)) = &answer;
        let note = Note::warn(text).of(&ask.application);
        self.note(note.saying(&format!("{reason:?}: {told}")));
        self.output(Output::Reply { number, answer });
    }

    fn obey(
        &mut self,
        ask: &OperatorAsk,
        reason: &str,
        outside: &mut Outside<'_>,
    ) -> Result<String, String> {
        let name = &ask.application;
        let now = outside.now;
        let Some(deployment) = self.deployments.get_mut(name) else {
            return Err(format!("this host's configuration has no application {name}"));
        };
        let why = format!("an operator at the host: {reason}");
        let machine = &mut deployment.machine;
        let phase = machine.phase();
        let forward = machine.record().state.going_forward().map(|(_, point)| point.touches());
        let resolution = match ask.act {
            OperatorAct::Keep => Resolution::Newer,
            OperatorAct::Return { .. } if forward.is_some() => {
                let hold = Hold { why, active: Withstands::Return };
                return match machine.handle_hold(hold, now) {
                    Ok(HoldAnswer::Returning) if forward == Some(true) => {
                        Ok(format!("{phase} ends, and it goes back"))
                    }
                    Ok(HoldAnswer::Returning) => Ok(format!(
                        "{phase} ends. Nothing was touched, so the order may be offered again: an inhibitor \
                         keeps it from that"
                    )),
                    Ok(HoldAnswer::Finishing) => Err(
                        "what is on its way was approved as irreversible and is active already: wait for \
                         its end"
                            .to_owned(),
                    ),
                    Err(rejection) => Err(format!("{rejection}: wait for its end")),
                };
            }
            OperatorAct::Return { .. } if phase == Phase::Returning => {
                return Ok("it is on its way back already".to_owned());
            }
            OperatorAct::Return { skip_undo, even_irreversible } => {
                let undo = if skip_undo { Undo::Skip } else { Undo::Run };
                Resolution::Earlier { undo, even_irreversible }
            }
        };
        match machine.handle_resolved(resolution, why, now) {
            Ok(()) => Ok(match (phase, ask.act) {
                (_, OperatorAct::Keep) => "it is committed as it is, and seen to".to_owned(),
                (Phase::Stuck, _) => "it goes the whole way back again".to_owned(),
                _ => format!("nothing is under way ({phase}): the committed release is seen to"),
            }),
            Err(Rejection::Irreversible) => Err(
                "the release was approved as irreversible: restore what it changed, and then say so \
                 (--even-irreversible), or put it right and keep it"
                    .to_owned(),
            ),
            Err(rejection) if ask.act == OperatorAct::Keep => Err(format!(
                "only a release that is stuck after it was switched to can be kept: {rejection}"
            )),
            Err(rejection) => Err(rejection.to_string()),
        }
    }
}
