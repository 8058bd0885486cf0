//! Who listens on this host: a port that a release needs is free, or is the application's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

/// The state of a listening socket in `/proc/net/tcp` (`TCP_LISTEN` of the kernel).
const LISTENS: &str = "0A";

/// A listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    address: SocketAddr,
    user: u32,
    inode: u64,
}

/// Whether nobody but the processes `ours` listens where `address` is; the error is for people.
///
/// Whose a socket is can be seen of processes only that run as our own user or that we may trace. Of others
/// it is believed that a listener with the user of one of `ours` belongs to the application.
pub(crate) fn is_ours(address: &str, ours: &[u32]) -> Result<(), String> {
    let wanted =
        address.to_socket_addrs().map_err(|error| format!("look up {address}: {error}"))?;
    let wanted: Vec<SocketAddr> = wanted.collect();
    let mut listeners = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // Without IPv6 there is no second one.
        listeners.extend(listening(&std::fs::read_to_string(table).unwrap_or_default()));
    }
    let in_the_way = listeners
        .iter()
        .find(|it| wanted.iter().any(|at| overlap(*at, it.address)) && !is_of(it, ours));
    match in_the_way {
        None => Ok(()),
        Some(listener) => Err(format!(
            "something else listens on {} (user {}), and the release needs {address}: stop it",
            listener.address, listener.user
        )),
    }
}

fn is_of(listener: &Listener, ours: &[u32]) -> bool {
    let link = format!("socket:[{}]", listener.inode);
    ours.iter().any(|pid| match std::fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(files) => files
            .flatten()
            .any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == &*link)),
        Err(_) => user_of(*pid) == Some(listener.user),
    })
}

fn user_of(pid: u32) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Some(std::fs::metadata(format!("/proc/{pid}")).ok()?.uid())
}

/// Whether two sockets could not both listen: the same port, and the same address or any address.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (first, second) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port()
        && (first == second || first.is_unspecified() || second.is_unspecified())
}

/// The listening sockets in a table as the kernel writes it (proc_net_tcp(5)).
fn listening(table: &str) -> Vec<Listener> {
    table.lines().skip(1).filter_map(listener).collect()
}

fn listener(line: &str) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    let state = fields.nth(1)?;
    let user = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = SocketAddr::new(ip(address)?, port);
    (state == LISTENS).then_some(Listener { address, user, inode })
}

/// An address as words of four bytes, each in the host's order.
fn ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_is_free_or_ours_or_in_the_way() {
        for at in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let listener = TcpListener::bind(at).unwrap();
            let port = listener.local_addr().unwrap().port();
            let address = format!("127.0.0.1:{port}");
            assert_eq!(is_ours(&address, &[std::process::id()]), Ok(()), "{at}");
            let refused = is_ours(&address, &[]).unwrap_err();
            assert!(refused.contains(&format!(":{port} (user ")), "{refused}");
            drop(listener);
            assert_eq!(is_ours(&address, &[]), Ok(()), "{at}");
        }
        let elsewhere = TcpListener::bind("127.0.0.2:0").unwrap();
        let port = elsewhere.local_addr().unwrap().port();
        assert_eq!(is_ours(&format!("127.0.0.1:{port}"), &[]), Ok(()));
    }

    #[test]
    fn a_table_is_read_as_the_kernel_writes_it() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0\n   \
            1: 0100007F:1F91 00000000:0000 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0\n";
        let address = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(listening(table), [Listener { address, user: 1000, inode: 4711 }]);
    }
}
