//! An HTTP server for tests, which answers as a test says and remembers what it was asked.
//!
//! It is small on purpose: one request a connection, HTTP/1.1, a body of a length that is said.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context as _, bail};

use super::PATIENCE;

const UNPOISONED: &str = "no test panics with this lock";

/// Longest body that is taken.
const MAX_BODY: usize = 4 << 20;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, with its query.
    pub target: String,
    /// Headers by their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// When it came.
    pub at: Instant,
}

impl Asked {
    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or(&self.target)
    }

    /// A value of the query, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| decoded(value))
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An answer.
#[derive(Debug, Clone)]
pub enum Reply {
    /// With a status, headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// The connection ends without one: what was asked for may have been done.
    Cut,
}

impl Reply {
    /// A status and JSON.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::Status(status, vec![("content-type", "application/json".into())], body.to_string())
    }

    /// A status and nothing else.
    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new(), String::new())
    }
}

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    asked: Mutex<Vec<Asked>>,
    changed: Condvar,
    ended: AtomicBool,
}

/// The server. It ends when it is dropped.
pub struct Web {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Web {
    /// Serves on a free port of this machine.
    pub fn start(
        handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            asked: Mutex::default(),
            changed: Condvar::new(),
            ended: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.ended.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                let Ok(stream) = stream else { continue };
                std::thread::spawn(move || {
                    // A client that goes away is its own affair; the test sees what was asked.
                    let _ = serve(&shared, stream);
                });
            }
        });
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.shared.asked.lock().expect(UNPOISONED)
    }

    /// Waits until `found` finds what it looks for in what was asked and answered.
    pub fn until<T>(
        &self,
        what: &str,
        mut found: impl FnMut(&[Asked]) -> Option<T>,
    ) -> anyhow::Result<T> {
        let began = Instant::now();
        let mut asked = self.lock();
        loop {
            if let Some(found) = found(&asked) {
                return Ok(found);
            }
            let Some(left) = PATIENCE.checked_sub(began.elapsed()) else {
                let seen: Vec<_> =
                    asked.iter().map(|it| format!("{} {}", it.method, it.target)).collect();
                bail!("not seen: {what}; asked was:\n{}", seen.join("\n"));
            };
            asked = self.shared.changed.wait_timeout(asked, left).expect(UNPOISONED).0;
        }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that listens.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(shared: &Shared, stream: TcpStream) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let asked = read(&mut reader)?;
    let reply = (shared.handler)(&asked);
    if let Reply::Status(status, headers, body) = &reply {
        let mut answer = format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            let _ = write!(answer, "{name}: {value}\r\n");
        }
        let mut stream = stream;
        let _ = write!(stream, "{answer}\r\n{body}");
    }
    // Only now, so that whoever waits for a request finds what it has brought about.
    shared.asked.lock().expect(UNPOISONED).push(asked);
    shared.changed.notify_all();
    Ok(())
}

fn read(reader: &mut BufReader<TcpStream>) -> anyhow::Result<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let method = words.next().context("a method")?.to_owned();
    let target = words.next().context("a target")?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').context("a header")?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(Ok(0), |it| it.parse::<usize>())?;
    if length > MAX_BODY {
        bail!("a body of {length} bytes");
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Asked { method, target, headers, body, at: Instant::now() })
}
