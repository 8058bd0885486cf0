//! One request to the coordinator, and what can come of it.

use std::time::Duration;

use cutover_shared::protocol::{Request, Response};
use cutover_shared::refusal::Refusal;
use cutover_transport::{Connection, StreamError, request};
use tokio::time::timeout;

/// How long an answer may take. An append waits for the coordinator's disk and its other appends; the
/// applier gives up on a clearance after as long.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// No good answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The coordinator refuses; asking again is of no use.
    Refused(Refusal),
    /// There was no answer, or the coordinator failed; to be asked again later.
    Again(String),
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        Self::Again(super::chain(&error))
    }
}

/// Asks, and separates refusals and failures from answers.
pub(super) async fn ask(connection: &Connection, question: &Request) -> Result<Response, Failure> {
    let answer = timeout(ANSWER_DEADLINE, request::<Request, Response>(connection, question));
    let answer = answer
        .await
        .map_err(|_elapsed| Failure::Again("the coordinator does not answer".to_owned()))?;
    sort(answer?)
}

/// Takes out of the answers those that are none.
pub(super) fn sort(response: Response) -> Result<Response, Failure> {
    match response {
        Response::Refused(refusal) => Err(Failure::Refused(refusal)),
        Response::Failed(text) => Err(Failure::Again(format!("the coordinator failed: {text}"))),
        Response::Checkpoint(_)
        | Response::Consistency(_)
        | Response::Entry(_)
        | Response::Appended(_)
        | Response::Stored
        | Response::PackageInfo { .. }
        | Response::Bytes { .. }
        | Response::Fleet(_)
        | Response::Clearance(_)
        | Response::Outbox(_)
        | Response::Retried
        | Response::Forms(_) => Ok(response),
    }
}

/// The coordinator answered something else than was asked.
pub(super) fn beside_the_point() -> Failure {
    Failure::Again("the coordinator answers another question".to_owned())
}
