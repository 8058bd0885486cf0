//! How a command ends: the one type behind the exit codes, and the one place that tells a failure.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed: a file, the network, the coordinator; or the person said no |
//! | 2 | usage, or input that is no good |
//! | 3 | refused by a rule: the code, the facts, and what to do next are told |
//! | 4 | a check found faults, which were told |
//! | 5 | not found |

use std::process::ExitCode;

use cutover_shared::refusal::Refusal;

/// A command that did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// 1: it failed; the chain says where and why, each link a fragment that fits after "failed to".
    Failed(anyhow::Error),
    /// 1: the person was shown what would be signed, and said no.
    Declined,
    /// 2: the command line, a file or a value in it is not usable.
    Usage(anyhow::Error),
    /// 3: a rule refuses.
    Refused(Refusal),
    /// 4: a check found faults and has told them.
    Faults,
    /// 5: there is no such thing; the text says what was looked for.
    NotFound(String),
}

impl Failure {
    /// Bad input, in a sentence.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(anyhow::Error::msg(text.into()))
    }

    /// Nothing of that name, in a sentence.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::NotFound(text.into())
    }

    /// A failure in a fragment that fits after "failed to".
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(anyhow::Error::msg(text.into()))
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Declined => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
            Self::Faults => 4,
            Self::NotFound(_) => 5,
        }
    }

    /// Nothing more is to be told: the faults were, or there is nobody any more who listens.
    pub(super) fn is_told(&self) -> bool {
        matches!(self, Self::Faults) || self.is_broken_pipe()
    }

    /// The reader of our output went away, as `head` does: nobody is there to be told.
    pub(super) fn is_broken_pipe(&self) -> bool {
        let Self::Failed(error) = self else { return false };
        error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// The lines for people, without an end of line.
    pub fn text(&self) -> String {
        match self {
            Self::Failed(error) => format!("error: failed to {error:#}"),
            Self::Declined => "Nothing was signed.".to_owned(),
            Self::Usage(error) => format!("error: {error:#}"),
            Self::Refused(refusal) => {
                format!("refused: {refusal}\nnext: {}", refusal.code.remedy())
            }
            Self::Faults => "error: the check found faults".to_owned(),
            Self::NotFound(text) => format!("not found: {text}"),
        }
    }

    /// The same for programs.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Failed(error) => serde_json::json!({ "failed": format!("{error:#}") }),
            Self::Declined => serde_json::json!({ "declined": true }),
            Self::Usage(error) => serde_json::json!({ "usage": format!("{error:#}") }),
            Self::Refused(refusal) => serde_json::json!({ "refused": {
                "code": refusal.code,
                "facts": refusal.facts,
                "next": refusal.code.remedy(),
            } }),
            Self::Faults => serde_json::json!({ "faults": true }),
            Self::NotFound(text) => serde_json::json!({ "not-found": text }),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A refusal anywhere in the chain is a refusal; everything else failed.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.chain().find_map(|cause| cause.downcast_ref::<Refusal>()) {
            Some(refusal) => Self::Refused(refusal.clone()),
            None => Self::Failed(error),
        }
    }
}

/// The exit code of a command that ended so.
pub fn exit_code(ended: &Result<(), Failure>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.code()),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use cutover_shared::refusal::Code;

    use super::*;

    #[test]
    fn a_refusal_deep_in_a_chain_is_told_with_its_remedy() {
        let refusal = Refusal::new(Code::NotBooked, "no booking");
        let error = Err::<(), _>(refusal.clone()).context("append the statement").unwrap_err();
        let failure = Failure::from(error);
        assert_eq!(failure.code(), 3);
        assert_eq!(
            failure.text(),
            "refused: not-booked: no booking\nnext: a change manager books a window: `cutover book`"
        );
    }

    #[test]
    fn the_chain_is_told_once() {
        let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        let failure = Failure::from(anyhow::Error::new(missing).context("read /key.pem"));
        assert_eq!(failure.text(), "error: failed to read /key.pem: no such file");
        assert_eq!(failure.code(), 1);
    }
}
