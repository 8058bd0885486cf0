//! The two ends that the network half moves frames between, played by the test: an applier on a real
//! Unix socket and a coordinator on a real QUIC endpoint. Nothing is answered but what the test answers.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cutover_agent::network::{NetworkError, Settings, run};
use cutover_shared::codec::{self, FRAME_HEADER};
use cutover_shared::digest::Digest;
use cutover_shared::key::{PublicKey, SecretKey};
use cutover_shared::protocol::{
    Directive, FromApplier, HostReport, Part, Receipt, Request, Response, ToApplier,
};
use cutover_transport::{
    CloseCode, Connection, Endpoint, FrameReader, FrameWriter, accept, accept_stream, close,
    server_endpoint,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Long enough for the slowest machine; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// The network half under test, with its directory.
pub(crate) struct Agent {
    pub(crate) directory: TempDir,
    listener: UnixListener,
    running: Option<Running>,
}

impl Agent {
    /// Starts one on a new directory, with an applier's socket in it.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("applier.sock")).unwrap();
        let mut agent = Self { directory, listener, running: None };
        agent.start_again();
        agent
    }

    /// Starts it on the directory that it had.
    pub(crate) fn start_again(&mut self) {
        let text = "socket = 'applier.sock'\ntransport-key = 'transport.pem'\nspool = 'spool'";
        let settings = Settings::parse(text, self.directory.path()).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            run(&settings, async {
                let _ = stopped.await;
            })
            .await
        });
        self.running = Some((stop, task));
    }

    /// Stops it in good order.
    pub(crate) async fn stop(&mut self) {
        let (stop, task) = self.running.take().unwrap();
        stop.send(()).unwrap();
        patiently("the end", task).await.unwrap().unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The next connection to the applier's socket, after its greeting; and the key that it gave.
    pub(crate) async fn greeted(&self) -> (Applier, PublicKey) {
        let (stream, _) = patiently("a connection", self.listener.accept()).await.unwrap();
        let mut applier = Applier::of(stream);
        let ToApplier::Hello { transport_key } = applier.hear().await else {
            panic!("a greeting comes first");
        };
        (applier, transport_key)
    }

    /// A session with `coordinator` that stands: greeted, welcomed, connected. With the directive
    /// stream.
    pub(crate) async fn joined(&self, coordinator: &mut Coordinator) -> (Applier, Asked) {
        let (mut applier, _) = self.greeted().await;
        applier.say(&coordinator.welcome(0)).await;
        applier.expect_connected(true).await;
        let directives = coordinator.asked().await;
        assert_eq!(directives.request, Request::Directives);
        (applier, directives)
    }
}

/// How to stop it, and how it ended.
type Running = (oneshot::Sender<()>, JoinHandle<Result<(), NetworkError>>);

/// The applier's end of a connection.
pub(crate) struct Applier {
    stream: UnixStream,
}

impl Applier {
    pub(crate) fn of(stream: UnixStream) -> Self {
        Self { stream }
    }

    /// The next message; panics when there is none.
    pub(crate) async fn hear(&mut self) -> ToApplier {
        patiently("a message to the applier", self.read()).await.expect("the connection is open")
    }

    /// The next message, or `None` when the network half is gone.
    async fn read(&mut self) -> Option<ToApplier> {
        let mut header = [0; FRAME_HEADER];
        self.stream.read_exact(&mut header).await.ok()?;
        let mut body = vec![0; codec::frame_length(header).unwrap()];
        self.stream.read_exact(&mut body).await.ok()?;
        Some(codec::decode(&body).unwrap())
    }

    /// The network half hangs up.
    pub(crate) async fn expect_end(&mut self) {
        while let Some(message) = patiently("the end of the connection", self.read()).await {
            assert!(matches!(message, ToApplier::Connected(_)), "{message:?}");
        }
    }

    pub(crate) async fn expect_connected(&mut self, expected: bool) {
        let message = self.hear().await;
        assert!(matches!(message, ToApplier::Connected(it) if it == expected), "{message:?}");
    }

    pub(crate) async fn say(&mut self, message: &FromApplier) {
        self.say_raw(&codec::frame(message).unwrap()).await;
    }

    pub(crate) async fn say_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The bytes of one fetch from `offset` on, to the last.
    pub(crate) async fn fetched(&mut self, package: Digest, part: Part, offset: u64) -> Vec<u8> {
        let mut whole = Vec::new();
        loop {
            let (bytes, last) = self.piece(package, part, offset + whole.len() as u64).await;
            whole.extend_from_slice(&bytes);
            if last {
                return whole;
            }
        }
    }

    /// The next piece, which must begin at `offset`.
    pub(crate) async fn piece(
        &mut self,
        package: Digest,
        part: Part,
        offset: u64,
    ) -> (Vec<u8>, bool) {
        let message = self.hear().await;
        let ToApplier::Bytes { package: of, part: of_part, offset: at, bytes, last } = message
        else {
            panic!("{message:?}");
        };
        assert_eq!((of, of_part, at), (package, part, offset));
        assert!(bytes.len() <= 1 << 20, "{} bytes in a message", bytes.len());
        (bytes, last)
    }
}

/// One stream that the network half opened, with its first frame.
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) writer: FrameWriter,
    pub(crate) reader: FrameReader,
}

impl Asked {
    /// Answers and ends the stream.
    pub(crate) async fn answer(mut self, response: &Response) {
        self.writer.send(response).await.unwrap();
        self.writer.finish().unwrap();
    }

    /// Answers an `Artifact` of `part_of` with all that was asked for.
    pub(crate) async fn serve(mut self, package: Digest, part: Part, content: &[u8]) {
        let asked = self.range(package, part);
        let bytes = &content[asked];
        self.writer.send(&Response::Bytes { length: bytes.len() as u64 }).await.unwrap();
        self.writer.write_raw(Bytes::copy_from_slice(bytes)).await.unwrap();
        self.writer.finish().unwrap();
    }

    /// The range that an `Artifact` asks for.
    pub(crate) fn range(&self, package: Digest, part: Part) -> std::ops::Range<usize> {
        let Request::Artifact { package: of, part: of_part, offset, length } = self.request else {
            panic!("{:?}", self.request);
        };
        assert_eq!((of, of_part), (package, part));
        let offset = usize::try_from(offset).unwrap();
        offset..offset + usize::try_from(length).unwrap()
    }

    /// The next report on a directive stream.
    pub(crate) async fn report(&mut self) -> HostReport {
        patiently("a report", self.reader.recv()).await.unwrap().expect("the stream is open")
    }

    /// Sends a directive.
    pub(crate) async fn direct(&mut self, directive: &Directive) {
        self.writer.send(directive).await.unwrap();
    }
}

/// The coordinator's end.
pub(crate) struct Coordinator {
    key: SecretKey,
    address: SocketAddr,
    asked: mpsc::UnboundedReceiver<Asked>,
    connected: mpsc::UnboundedReceiver<PublicKey>,
    current: Arc<Mutex<Option<Connection>>>,
    serving: JoinHandle<()>,
}

impl Coordinator {
    /// A coordinator with the key of `seed` on any free port.
    pub(crate) fn start(seed: u8) -> Self {
        let key = SecretKey::from_seed([seed; 32]);
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let endpoint = server_endpoint(loopback, &key, None).unwrap();
        let address = endpoint.local_addr().unwrap();
        let (asked_sender, asked) = mpsc::unbounded_channel();
        let (connected_sender, connected) = mpsc::unbounded_channel();
        let current = Arc::default();
        let accepting = accept_all(endpoint, asked_sender, connected_sender, Arc::clone(&current));
        let serving = tokio::spawn(accepting);
        Self { key, address, asked, connected, current, serving }
    }

    /// How an applier tells of it.
    pub(crate) fn welcome(&self, known: u64) -> FromApplier {
        FromApplier::Welcome {
            coordinator: self.address.to_string(),
            coordinator_key: self.key.public(),
            known,
        }
    }

    /// The next thing asked, on any connection.
    pub(crate) async fn asked(&mut self) -> Asked {
        patiently("a request", self.asked.recv()).await.unwrap()
    }

    /// Whether something was asked that the test has not looked at.
    pub(crate) fn was_asked(&mut self) -> bool {
        self.asked.try_recv().is_ok()
    }

    /// The key of the next newcomer.
    pub(crate) async fn newcomer(&mut self) -> PublicKey {
        patiently("a connection", self.connected.recv()).await.unwrap()
    }

    /// The connection that counts.
    pub(crate) fn connection(&self) -> Connection {
        self.current.lock().unwrap().clone().expect("somebody is connected")
    }

    /// Closes the connection, as a coordinator does that restarts.
    pub(crate) fn hang_up(&self) {
        close(&self.connection(), CloseCode::ShuttingDown, "restarting");
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn accept_all(
    endpoint: Endpoint,
    asked: mpsc::UnboundedSender<Asked>,
    connected: mpsc::UnboundedSender<PublicKey>,
    current: Arc<Mutex<Option<Connection>>>,
) {
    while let Some(incoming) = endpoint.accept().await {
        let Ok((connection, key)) = accept(&endpoint, incoming).await else {
            continue;
        };
        *current.lock().unwrap() = Some(connection.clone());
        connected.send(key).unwrap();
        tokio::spawn(accept_streams(connection, asked.clone()));
    }
}

async fn accept_streams(connection: Connection, asked: mpsc::UnboundedSender<Asked>) {
    while let Ok((writer, mut reader)) = accept_stream(&connection).await {
        if let Ok(Some(request)) = reader.recv().await {
            let _ = asked.send(Asked { request, writer, reader });
        }
    }
}

/// A receipt with a checkpoint of `size`; the proofs are the coordinator's and the applier's affair.
pub(crate) fn receipt(index: u64, size: u64) -> Receipt {
    let checkpoint = format!("origin\n{size}\nroot\n\n— origin signature\n");
    Receipt { index, checkpoint: checkpoint.into_bytes(), inclusion: vec![Digest::of(b"sibling")] }
}

/// A report of a host that knows `known` entries.
pub(crate) fn report(known: u64) -> HostReport {
    HostReport { known, policy_version: 1, applications: Vec::new() }
}

/// Bytes of which no piece is like another.
pub(crate) fn content(length: usize) -> Vec<u8> {
    (0..length.div_ceil(8) as u64)
        .flat_map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .take(length)
        .collect()
}

/// Whether a directory has no files.
pub(crate) fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}
