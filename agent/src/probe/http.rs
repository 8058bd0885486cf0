//! A GET request: the status, and a text in the body. Redirections are not followed, no proxy is used.

use std::io::{self, Read};

use ureq::Agent;

use super::{Limit, chain};

/// How much of a body is read in search of a text.
const MAX_BODY: usize = 1024 * 1024;

/// How much of a body is read at once.
const STEP: usize = 16 * 1024;

/// Asks for `url`.
pub(super) fn look(
    url: &str,
    expect_status: Option<u16>,
    body_contains: Option<&str>,
    limit: Limit,
) -> Result<String, String> {
    let what = format!("GET {url}");
    let left = limit.left().ok_or_else(|| limit.passed(&what))?;
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(left))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("cutover-probe/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let failed = |error: &ureq::Error| {
        if matches!(error, ureq::Error::Timeout(_)) {
            limit.passed(&what)
        } else {
            format!("{what}: {}", chain(error))
        }
    };
    let response = agent.get(url).call().map_err(|error| failed(&error))?;
    let status = response.status().as_u16();
    match expect_status {
        Some(expected) if status != expected => {
            return Err(format!("{what}: status {status}, expected {expected}"));
        }
        None if !(200..300).contains(&status) => {
            return Err(format!("{what}: status {status}, expected 200 to 299"));
        }
        Some(_) | None => {}
    }
    let Some(text) = body_contains else {
        return Ok(format!("{what}: status {status}"));
    };
    match contains(response.into_body().into_reader(), text.as_bytes()) {
        Ok(true) => Ok(format!("{what}: status {status}, the body has {text:?}")),
        Ok(false) => Err(format!("{what}: status {status}, but the body does not have {text:?}")),
        Err(error) => Err(failed(&ureq::Error::from(error))),
    }
}

/// Whether `wanted` comes within the first [`MAX_BODY`] bytes. Stops reading when it has come, so that a
/// body without an end can be looked at too.
fn contains(mut body: impl Read, wanted: &[u8]) -> io::Result<bool> {
    if wanted.is_empty() {
        return Ok(true);
    }
    let mut seen = Vec::new();
    let mut step = vec![0; STEP];
    while seen.len() < MAX_BODY {
        let room = step.len().min(MAX_BODY - seen.len());
        let count = match body.read(&mut step[..room]) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let from = seen.len().saturating_sub(wanted.len() - 1);
        seen.extend_from_slice(&step[..count]);
        if seen[from..].windows(wanted.len()).any(|window| window == wanted) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, without an end.
    struct Endless(u8);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer[0] = self.0;
            self.0 = self.0.wrapping_add(1);
            Ok(1)
        }
    }

    #[test]
    fn a_text_is_found_across_reads_and_in_a_bounded_part_only() {
        assert!(contains(Endless(b'a'), b"xyz").unwrap());
        assert!(contains(&b"ready"[..], b"").unwrap());
        assert!(contains(&b"ready"[..], b"ready").unwrap());
        assert!(!contains(&b"ready"[..], b"already").unwrap());
        let mut last = vec![b'.'; MAX_BODY - 2];
        last.extend_from_slice(b"ok");
        assert!(contains(&last[..], b"ok").unwrap());
        last.insert(0, b'.');
        assert!(!contains(&last[..], b"ok").unwrap());
    }
}
