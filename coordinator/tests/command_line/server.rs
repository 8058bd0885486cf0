//! A coordinator that keeps a log and nothing else, and that can be made to cheat.

use std::sync::{Arc, Mutex};

use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::key::SecretKey;
use cutover_shared::log::{Tree, checkpoint, leaf_hash};
use cutover_shared::protocol::{Receipt, Request, Response};
use cutover_transport::{Connection, FrameWriter, accept, accept_stream, server_endpoint};
use tokio::runtime::Runtime;

const ORIGIN: &str = "cutover.example.org/log";

/// What the server has; tests change it between commands.
pub(crate) struct Content {
    pub(crate) entries: Vec<Vec<u8>>,
    /// What the checkpoints are signed with.
    pub(crate) signer: SecretKey,
    /// Receipts come for statements that are not logged.
    pub(crate) forgets: bool,
}

/// The server, until it is dropped.
pub(crate) struct Server {
    pub(crate) address: String,
    content: Arc<Mutex<Content>>,
    _runtime: Runtime,
}

impl Server {
    pub(crate) fn start(key: &SecretKey, entries: Vec<Vec<u8>>) -> Self {
        let runtime = Runtime::new().unwrap();
        let content = Content { entries, signer: key.clone(), forgets: false };
        let content = Arc::new(Mutex::new(content));
        let endpoint = {
            let _inside = runtime.enter();
            server_endpoint("127.0.0.1:0".parse().unwrap(), key, None).unwrap()
        };
        let address = endpoint.local_addr().unwrap().to_string();
        let shared = Arc::clone(&content);
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let (endpoint, shared) = (endpoint.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    if let Ok((connection, _)) = accept(&endpoint, incoming).await {
                        serve(&connection, &shared).await;
                    }
                });
            }
        });
        Self { address, content, _runtime: runtime }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Content)) {
        change(&mut self.content.lock().unwrap());
    }
}

async fn serve(connection: &Connection, content: &Mutex<Content>) {
    while let Ok((mut writer, mut reader)) = accept_stream(connection).await {
        let Ok(Some(request)) = reader.recv::<Request>().await else { continue };
        let answers = content.lock().unwrap().answer(request);
        // A client that is gone is no concern here.
        let _ = tell(&mut writer, &answers).await;
    }
}

async fn tell(
    writer: &mut FrameWriter,
    answers: &[Response],
) -> Result<(), cutover_transport::StreamError> {
    for answer in answers {
        writer.send(answer).await?;
    }
    writer.finish()
}

impl Content {
    fn tree(&self) -> Tree {
        Tree::from_leaves(self.entries.iter().map(|entry| leaf_hash(entry)))
    }

    fn note(&self) -> Vec<u8> {
        let time = "2026-03-08T06:30:00Z".parse().unwrap();
        checkpoint::sign(ORIGIN, &self.tree().head(), time, &self.signer)
    }

    fn answer(&mut self, request: Request) -> Vec<Response> {
        match request {
            Request::Checkpoint => vec![Response::Checkpoint(self.note())],
            Request::Entries { from, to } => {
                let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
                self.entries[range].iter().cloned().map(Response::Entry).collect()
            }
            Request::Consistency { old, new } => {
                vec![Response::Consistency(self.tree().consistency(old, new).unwrap())]
            }
            Request::Append { envelope } => vec![Response::Appended(self.append(envelope))],
            Request::Follow
            | Request::PutPackage { .. }
            | Request::PackageInfo { .. }
            | Request::Artifact { .. }
            | Request::Fleet
            | Request::Clearance { .. }
            | Request::Directives
            | Request::Outbox
            | Request::RetryDelivery { .. }
            | Request::Forms { .. } => vec![Response::Failed("only a log".to_owned())],
        }
    }

    fn append(&mut self, envelope: Vec<u8>) -> Receipt {
        let index = self.entries.len() as u64;
        self.entries.push(if self.forgets { b"something else".to_vec() } else { envelope });
        let inclusion = self.tree().inclusion(index, index + 1).unwrap();
        Receipt { index, checkpoint: self.note(), inclusion }
    }
}

/// The identity of a statement in an envelope.
pub(crate) fn id(envelope: &[u8]) -> Digest {
    Envelope::parse(envelope).unwrap().id()
}
