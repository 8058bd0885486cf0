//! Readings of real servers and programs on this machine.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use cutover_applier::probe::{ProbeAnswer, ProbeRequest, ProbeTask};
use cutover_shared::package::health::Limits;

use super::take;

/// Long enough for everything that answers.
const AMPLE: Duration = Duration::from_mins(1);

/// For what does not answer: the test waits so long.
const SHORT: Duration = Duration::from_secs(1);

fn look(request: ProbeRequest, timeout: Duration) -> ProbeAnswer {
    take(&ProbeTask { request, timeout })
}

/// A server for one connection: reads a request and lets `answer` do the rest. Joining it gives the lines of
/// the request.
struct Server {
    address: String,
    thread: JoinHandle<Vec<String>>,
}

impl Server {
    fn start(answer: impl FnOnce(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let request = lines.take_while(|line| !line.is_empty()).collect();
            answer(stream);
            request
        });
        Self { address, thread }
    }

    /// Answers with these bytes and closes.
    fn saying(answer: &'static str) -> Self {
        Self::start(move |mut stream| stream.write_all(answer.as_bytes()).unwrap())
    }

    fn http(&self, expect_status: Option<u16>, body_contains: Option<&str>) -> ProbeRequest {
        ProbeRequest::Http {
            url: format!("http://{}/health", self.address),
            expect_status,
            body_contains: body_contains.map(str::to_owned),
        }
    }
}

const READY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nready";

#[test]
fn a_good_answer_is_healthy() {
    let server = Server::saying(READY);
    let answer = look(server.http(Some(200), Some("read")), AMPLE);
    assert!(answer.healthy, "{answer:?}");
    let request = server.thread.join().unwrap();
    assert_eq!(request[0], "GET /health HTTP/1.1");
    assert!(
        request.iter().any(|line| line.to_lowercase().starts_with("user-agent: cutover-probe/"))
    );
    let server = Server::saying(READY);
    assert!(look(server.http(None, None), AMPLE).healthy);
}

#[test]
fn another_status_or_another_text_is_not() {
    const BROKEN: &str = "HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let detail = |answer, status, text| {
        let server = Server::saying(answer);
        let answer = look(server.http(status, text), AMPLE);
        assert!(!answer.healthy);
        answer.detail.replace(&server.address, "HOST")
    };
    assert_eq!(detail(BROKEN, Some(200), None), "GET http://HOST/health: status 503, expected 200");
    assert_eq!(
        detail(BROKEN, None, None),
        "GET http://HOST/health: status 503, expected 200 to 299"
    );
    assert_eq!(
        detail(READY, Some(200), Some("steady")),
        "GET http://HOST/health: status 200, but the body does not have \"steady\""
    );
    let detail = detail("SSH-2.0-OpenSSH\r\n", Some(200), None);
    assert!(detail.starts_with("GET http://HOST/health: "), "{detail}");
}

#[test]
fn a_status_that_was_expected_is_good_whatever_it_is_and_redirections_are_not_followed() {
    let elsewhere = "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n";
    let server = Server::saying(elsewhere);
    assert!(look(server.http(Some(302), None), AMPLE).healthy);
    let server = Server::saying(elsewhere);
    let answer = look(server.http(Some(200), None), AMPLE);
    assert!(answer.detail.ends_with("status 302, expected 200"), "{answer:?}");
}

#[test]
fn a_server_that_does_not_answer_or_end_is_late() {
    // Takes the connection and the request, and is silent until the probe has gone.
    let silent = Server::start(|stream| {
        let _ = BufReader::new(stream).lines().count();
    });
    let answer = look(silent.http(Some(200), None), SHORT);
    assert!(answer.detail.ends_with("/health: no answer within 1s"), "{answer:?}");
    assert!(!answer.healthy);
    silent.thread.join().unwrap();
    // Begins a body and does not go on.
    let slow = Server::start(|mut stream| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun";
        stream.write_all(head).unwrap();
        let _ = BufReader::new(stream).lines().count();
    });
    let answer = look(slow.http(Some(200), Some("end")), SHORT);
    assert!(answer.detail.ends_with("/health: no answer within 1s"), "{answer:?}");
    slow.thread.join().unwrap();
}

#[test]
fn a_body_without_an_end_is_read_until_the_text_has_come() {
    let server = Server::start(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nup since").unwrap();
        while stream.write_all(b" yesterday").is_ok() {}
    });
    let answer = look(server.http(Some(200), Some("yesterday yesterday")), AMPLE);
    assert!(answer.healthy, "{answer:?}");
    server.thread.join().unwrap();
    let server = Server::start(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap();
        while stream.write_all(b" yesterday").is_ok() {}
    });
    let answer = look(server.http(Some(200), Some("tomorrow")), AMPLE);
    assert!(answer.detail.contains("does not have"), "{answer:?}");
    server.thread.join().unwrap();
}

#[test]
fn https_needs_a_certificate_that_the_world_trusts() {
    // Speaks no TLS at all: what counts is that TLS is spoken to it, and that it is not believed.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut first = [0; 1];
        std::io::Read::read_exact(&mut stream, &mut first).unwrap();
        stream.write_all(READY.as_bytes()).unwrap();
        first[0]
    });
    let url = format!("https://{address}/health");
    let request = ProbeRequest::Http { url, expect_status: None, body_contains: None };
    let answer = look(request, AMPLE);
    assert!(!answer.healthy, "{answer:?}");
    assert_eq!(server.join().unwrap(), 22, "a TLS handshake record");
}

#[test]
fn what_is_no_address_is_told() {
    for url in ["health", "http://", "ftp://127.0.0.1/"] {
        let request =
            ProbeRequest::Http { url: url.to_owned(), expect_status: None, body_contains: None };
        let answer = look(request, AMPLE);
        assert!(!answer.healthy && answer.detail.contains(url), "{answer:?}");
    }
    let answer = look(ProbeRequest::Tcp { address: "127.0.0.1".to_owned() }, AMPLE);
    assert!(!answer.healthy && answer.detail.contains("127.0.0.1"), "{answer:?}");
}

#[test]
fn a_connection_is_taken_or_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = look(ProbeRequest::Tcp { address: address.clone() }, AMPLE);
    assert!(answer.healthy, "{answer:?}");
    // Each name that the address stands for is tried.
    let named = address.replace("127.0.0.1", "localhost");
    assert!(look(ProbeRequest::Tcp { address: named }, AMPLE).healthy);
    drop(listener);
    let answer = look(ProbeRequest::Tcp { address }, AMPLE);
    assert!(!answer.healthy);
    assert!(answer.detail.contains("refused"), "{answer:?}");
}

#[test]
fn no_time_is_no_answer() {
    for request in [
        ProbeRequest::Tcp { address: "127.0.0.1:1".to_owned() },
        ProbeRequest::Http {
            url: "http://127.0.0.1:1/".to_owned(),
            expect_status: None,
            body_contains: None,
        },
    ] {
        let answer = look(request, Duration::ZERO);
        assert!(answer.detail.ends_with("no answer within 0s"), "{answer:?}");
    }
}

/// Processes that run a program of their own name until this is dropped.
struct Sleepers {
    program: PathBuf,
    children: Vec<std::process::Child>,
    _directory: tempfile::TempDir,
}

impl Sleepers {
    fn start(count: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = fs::canonicalize(directory.path()).unwrap().join("sleeper");
        // Another process writes it: were it open here while a test beside this one forks, it would be busy.
        let copied = std::process::Command::new("cp").arg("/bin/sleep").arg(&program).status();
        assert!(copied.unwrap().success());
        let start = || std::process::Command::new(&program).arg("1000").spawn().unwrap();
        let children = std::iter::repeat_with(start).take(count).collect();
        Self { program, children, _directory: directory }
    }

    fn running(&self, at_least: u32, at_most: Option<u32>) -> ProbeAnswer {
        let program = self.program.clone();
        look(ProbeRequest::Process { program, at_least, at_most }, AMPLE)
    }

    fn taking(&self, limits: Limits) -> ProbeAnswer {
        let processes = self.children.iter().map(std::process::Child::id).collect();
        look(ProbeRequest::Resource { processes, disk: PathBuf::from("/"), limits }, AMPLE)
    }

    fn end(&mut self) {
        for child in &mut self.children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn processes_of_a_program_are_counted() {
    let mut sleepers = Sleepers::start(2);
    let answer = sleepers.running(2, Some(2));
    assert!(answer.healthy, "{answer:?}");
    for (at_least, at_most, why) in [(3, None, "at least 3"), (0, Some(1), "at most 1")] {
        let answer = sleepers.running(at_least, at_most);
        assert!(!answer.healthy && answer.detail.contains(why), "{answer:?}");
    }
    sleepers.end();
    let answer = sleepers.running(1, None);
    assert!(!answer.healthy && answer.detail.starts_with("0 processes"), "{answer:?}");
}

#[test]
fn what_processes_take_is_held_against_each_limit() {
    let mut sleepers = Sleepers::start(2);
    let generous = Limits {
        memory_mib_at_most: Some(100),
        cpu_percent_at_most: Some(50),
        open_files_at_most: Some(1000),
        disk_free_mib_at_least: Some(0),
    };
    let answer = sleepers.taking(generous);
    assert!(answer.healthy, "{answer:?}");
    assert!(answer.detail.contains("MiB of memory (at most 100)"), "{answer:?}");
    for (limits, why) in [
        (Limits { memory_mib_at_most: Some(0), ..generous }, "MiB of memory (at most 0)"),
        (Limits { open_files_at_most: Some(0), ..generous }, "open files (at most 0)"),
        (
            Limits { disk_free_mib_at_least: Some(1_000_000_000), ..generous },
            "(at least 1000000000)",
        ),
    ] {
        let answer = sleepers.taking(limits);
        assert!(!answer.healthy && answer.detail.contains(why), "{answer:?}");
    }
    sleepers.end();
    let answer = sleepers.taking(generous);
    assert!(!answer.healthy && answer.detail.contains("have ended"), "{answer:?}");
}

#[test]
fn a_busy_process_is_found_busy() {
    let mut busy =
        std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let limits = |most| Limits { cpu_percent_at_most: Some(most), ..Limits::default() };
    let taking = |most| {
        let request = ProbeRequest::Resource {
            processes: vec![busy.id()],
            disk: PathBuf::from("/"),
            limits: limits(most),
        };
        look(request, AMPLE)
    };
    let (strict, generous) = (taking(0), taking(400));
    busy.kill().unwrap();
    busy.wait().unwrap();
    assert!(
        !strict.healthy && strict.detail.contains("% of a processor (at most 0)"),
        "{strict:?}"
    );
    assert!(generous.healthy, "{generous:?}");
}
