//! The service that the demonstration deploys: a few lines of HTTP, with nothing but the standard library.
//!
//! It runs in its payload directory, listens on `LISTEN`, answers `/` with its version and `/health` with
//! `ok` and its version, except on hosts that `site/unhealthy-on.txt` names (by `NODE`), where it answers
//! with an error, as a release does that has a fault which only shows in one place.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

fn main() -> std::io::Result<()> {
    let variable = |name: &str| std::env::var(name).map_err(std::io::Error::other);
    let (listen, node) = (variable("LISTEN")?, variable("NODE")?);
    let version = std::fs::read_to_string("site/version.txt")?.trim().to_owned();
    let unhealthy = std::fs::read_to_string("site/unhealthy-on.txt").unwrap_or_default();
    let healthy = !unhealthy.lines().any(|line| line == node);
    let listener = TcpListener::bind(listen)?;
    // Whoever reads its log knows from then on that it is there.
    writeln!(std::io::stdout(), "{version} listens on {}", listener.local_addr()?)?;
    for stream in listener.incoming() {
        // One reader that goes away is no reason to end.
        let _ = stream.and_then(|stream| answer(stream, &version, healthy));
    }
    Ok(())
}

fn answer(mut stream: TcpStream, version: &str, healthy: bool) -> std::io::Result<()> {
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let (status, body) = match request.split(' ').nth(1) {
        Some("/health") if healthy => ("200 OK", format!("ok {version}\n")),
        Some("/health") => ("500 Internal Server Error", "the tax table is empty\n".to_owned()),
        Some("/") => ("200 OK", format!("{version}\n")),
        Some(_) | None => ("404 Not Found", String::new()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
