//! A TCP connection is taken; nothing is sent.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;

use super::Limit;

/// Connects to `address`: to each that the name stands for, until one takes the connection.
pub(super) fn look(address: &str, limit: Limit) -> Result<String, String> {
    let what = format!("connect to {address}");
    let mut why = None;
    for place in resolve(address, limit)? {
        let Some(left) = limit.left() else {
            break;
        };
        match TcpStream::connect_timeout(&place, left) {
            Ok(_stream) => return Ok(format!("{what}: taken by {place}")),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
            Err(error) => why = Some(error),
        }
    }
    Err(match (why, limit.left()) {
        (Some(error), Some(_)) => format!("{what}: {error}"),
        (Some(_) | None, _) => limit.passed(&what),
    })
}

/// The addresses. Asking for a name cannot be given a limit; it is left behind when it takes too long, and
/// ends with this process.
fn resolve(address: &str, limit: Limit) -> Result<Vec<SocketAddr>, String> {
    let what = format!("look up {address}");
    let left = limit.left().ok_or_else(|| limit.passed(&what))?;
    let (sender, receiver) = mpsc::sync_channel(1);
    let name = address.to_owned();
    thread::Builder::new()
        .name("resolve".to_owned())
        .spawn(move || {
            let places = name.to_socket_addrs().map(Vec::from_iter);
            // Nobody waits any longer: the time has passed.
            let _ = sender.send(places);
        })
        .map_err(|error| format!("{what}: {error}"))?;
    match receiver.recv_timeout(left) {
        Ok(Ok(places)) if places.is_empty() => Err(format!("{what}: it has no address")),
        Ok(Ok(places)) => Ok(places),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(limit.passed(&what)),
    }
}
