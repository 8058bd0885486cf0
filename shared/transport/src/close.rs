//! Why a connection or a stream ended, as a number that both sides know.

use std::fmt;

use quinn::{Connection, ConnectionError, TransportErrorCode, VarInt};

/// The application's error codes of QUIC: on closing a connection, resetting a stream, or asking the
/// other side to stop sending. The numbers are part of `cutover/1`: they may be added to, never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// 0: everything that was to be said has been said.
    Done,
    /// 1: this process is going away in good order; connect again.
    ShuttingDown,
    /// 2: the other side broke the protocol: a frame too long, a message that does not parse.
    Protocol,
    /// 3: the other side's key has no business here, or no longer.
    NotPermitted,
    /// 4: too many connections, streams or requests; come back later.
    Overloaded,
    /// 5: the same key has connected again; the newer connection counts.
    Superseded,
    /// 6: a fault on this side; its own log says more.
    Internal,
    /// 7: the answer is no longer wanted.
    Cancelled,
}

impl CloseCode {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::ShuttingDown,
        Self::Protocol,
        Self::NotPermitted,
        Self::Overloaded,
        Self::Superseded,
        Self::Internal,
        Self::Cancelled,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::ShuttingDown => 1,
            Self::Protocol => 2,
            Self::NotPermitted => 3,
            Self::Overloaded => 4,
            Self::Superseded => 5,
            Self::Internal => 6,
            Self::Cancelled => 7,
        }
    }

    /// The code with this number, when it is one that we know.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|code| u64::from(code.number()) == number)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::ShuttingDown => "shutting down",
            Self::Protocol => "protocol broken",
            Self::NotPermitted => "not permitted",
            Self::Overloaded => "overloaded",
            Self::Superseded => "superseded by a newer connection",
            Self::Internal => "internal fault",
            Self::Cancelled => "cancelled",
        })
    }
}

impl From<CloseCode> for VarInt {
    fn from(code: CloseCode) -> Self {
        Self::from_u32(code.number())
    }
}

/// Closes `connection` with a code and a short text for the other side's log. Streams that are still
/// open are cut, so finish and await what must arrive first.
pub fn close(connection: &Connection, code: CloseCode, reason: &str) {
    connection.close(code.into(), reason.as_bytes());
}

/// How a connection ended, in the terms in which one decides whether to connect again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The other side closed it with a code of ours.
    Closed {
        /// Why.
        code: CloseCode,
        /// What it added, cut to a length that a log line bears.
        reason: String,
    },
    /// This side closed it.
    ByUs,
    /// The other side refused our key in the handshake: it cannot be verified, or the gate is shut to it.
    KeyRefused,
    /// The other side does not speak `cutover/1`.
    WrongProtocol,
    /// Nothing was heard for the idle timeout.
    TimedOut,
    /// The other side does not know this connection any more: it has started anew.
    Forgotten,
    /// Anything else, as QUIC says it.
    Broken(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { code, reason } if reason.is_empty() => {
                write!(f, "closed by the other side ({code})")
            }
            Self::Closed { code, reason } => {
                write!(f, "closed by the other side ({code}): {reason}")
            }
            Self::ByUs => f.write_str("closed by this side"),
            Self::KeyRefused => f.write_str("the other side refused this side's key"),
            Self::WrongProtocol => f.write_str("the other side does not speak cutover/1"),
            Self::TimedOut => f.write_str("nothing heard within the idle timeout"),
            Self::Forgotten => f.write_str("forgotten by the other side, which has started anew"),
            Self::Broken(text) => f.write_str(text),
        }
    }
}

/// Longest reason of the other side that is kept: a log line, not a document.
const REASON_LIMIT: usize = 200;

/// TLS alerts by which a server says no to a client's key (RFC 8446, 6.2).
const KEY_ALERTS: [u8; 6] = [
    42,  // bad_certificate
    46,  // certificate_unknown
    48,  // unknown_ca
    49,  // access_denied: the gate
    51,  // decrypt_error: the signature does not verify
    116, // certificate_required
];

/// TLS alert no_application_protocol (RFC 7301).
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Reads quinn's error.
pub fn ended(error: &ConnectionError) -> Ended {
    match error {
        ConnectionError::ApplicationClosed(frame) => {
            let reason: String = String::from_utf8_lossy(&frame.reason)
                .chars()
                .filter(|character| !character.is_control())
                .take(REASON_LIMIT)
                .collect();
            match CloseCode::from_number(frame.error_code.into_inner()) {
                Some(code) => Ended::Closed { code, reason },
                None => Ended::Broken(format!("closed with code {}: {reason}", frame.error_code)),
            }
        }
        ConnectionError::ConnectionClosed(frame) => by_alert(frame.error_code, error),
        ConnectionError::TransportError(inner) => by_alert(inner.code, error),
        ConnectionError::LocallyClosed => Ended::ByUs,
        ConnectionError::TimedOut => Ended::TimedOut,
        ConnectionError::Reset => Ended::Forgotten,
        ConnectionError::VersionMismatch | ConnectionError::CidsExhausted => {
            Ended::Broken(error.to_string())
        }
    }
}

fn by_alert(code: TransportErrorCode, error: &ConnectionError) -> Ended {
    if KEY_ALERTS.iter().any(|alert| code == TransportErrorCode::crypto(*alert)) {
        Ended::KeyRefused
    } else if code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) {
        Ended::WrongProtocol
    } else {
        Ended::Broken(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_protocol() {
        let numbers: Vec<u32> = CloseCode::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7]);
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(code.number().into()), Some(code));
        }
        assert_eq!(CloseCode::from_number(8), None);
        assert_eq!(CloseCode::from_number(1 << 40), None);
    }
}
