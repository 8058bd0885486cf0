//! Requests to other programs' interfaces, and what their answers mean for a delivery.
//!
//! Redirections are not followed, and no proxy is used: what carries secrets goes where the configuration
//! says, and nowhere else.

use std::path::PathBuf;
use std::time::Duration;

use cutover_coordinator_core::outbox::Failure;
use cutover_shared::time::Time;
use serde_json::Value;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, http};

use super::{ANSWER, chain};
use crate::config::EndpointSettings;

/// Longest answer that is read.
const MAX_ANSWER: u64 = 1024 * 1024;

/// So much of an answer that refuses is told.
const TOLD: usize = 300;

/// An interface cannot be used.
#[derive(Debug)]
pub(super) enum HttpError {
    Read(PathBuf, std::io::Error),
    Certificates(PathBuf),
}

/// An interface.
pub(super) struct Http {
    agent: Agent,
    url: String,
    authorization: Option<zeroize::Zeroizing<String>>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A request of ours.
#[derive(Debug, Clone, Copy)]
pub(super) enum Method {
    Get,
    Post,
    Patch,
    Put,
}

impl Method {
    const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Put => "PUT",
        }
    }
}

/// A good answer, or one that says that there is no such thing.
#[derive(Debug)]
pub(super) enum Answer {
    /// The body as JSON; null where there is none.
    Found(Value),
    /// 404.
    Missing,
}

impl Http {
    pub(super) fn open(
        settings: &EndpointSettings,
        authorization: Option<zeroize::Zeroizing<String>>,
    ) -> Result<Self, HttpError> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = &settings.ca_file {
            let pem = std::fs::read(path).map_err(|error| HttpError::Read(path.clone(), error))?;
            let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    Ok(_) | Err(_) => None,
                })
                .collect();
            if certificates.is_empty() {
                return Err(HttpError::Certificates(path.clone()));
            }
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
        }
        let agent: Agent = Agent::config_builder()
            .timeout_global(Some(ANSWER))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("cutover/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build()
            .into();
        Ok(Self { agent, url: settings.url.clone(), authorization })
    }

    /// Asks or tells in JSON. `path` is added to the interface's address.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
        now: Time,
    ) -> Result<Answer, Failure> {
        let what = format!("{} {}{path}", method.name(), self.url);
        let headers = [("accept", "application/json"), ("content-type", "application/json")];
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let mut response = self.send(method, path, query, &headers, bytes.as_bytes())?;
        if response.status() == http::StatusCode::NOT_FOUND {
            return Ok(Answer::Missing);
        }
        accepted(&what, &mut response, now)?;
        let text = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string();
        let text = text.map_err(|error| Failure::Passing {
            why: format!("{what}: {}", chain(&error)),
            after: None,
        })?;
        if text.trim().is_empty() {
            return Ok(Answer::Found(Value::Null));
        }
        serde_json::from_str(&text).map(Answer::Found).map_err(|error| Failure::Lasting {
            why: format!("{what}: the answer is no JSON: {error}"),
        })
    }

    /// Posts bytes; any good answer will do.
    pub(super) fn post(
        &self,
        headers: &[(&str, &str)],
        body: &[u8],
        now: Time,
    ) -> Result<(), Failure> {
        let mut response = self.send(Method::Post, "", &[], headers, body)?;
        accepted(&format!("POST {}", self.url), &mut response, now)
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<http::Response<Body>, Failure> {
        let url = format!("{}{path}", self.url);
        let sent = match method {
            Method::Get => {
                let mut request = self.agent.get(&url);
                for (name, value) in headers.iter().filter(|(name, _)| *name != "content-type") {
                    request = request.header(*name, *value);
                }
                for (name, value) in query {
                    request = request.query(name, value);
                }
                if let Some(authorization) = &self.authorization {
                    request = request.header("authorization", authorization.as_str());
                }
                request.call()
            }
            Method::Post | Method::Patch | Method::Put => {
                let mut request = match method {
                    Method::Patch => self.agent.patch(&url),
                    Method::Put => self.agent.put(&url),
                    Method::Get | Method::Post => self.agent.post(&url),
                };
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                for (name, value) in query {
                    request = request.query(name, value);
                }
                if let Some(authorization) = &self.authorization {
                    request = request.header("authorization", authorization.as_str());
                }
                request.send(body)
            }
        };
        sent.map_err(|error| {
            let why = format!("{} {url}: {}", method.name(), chain(&error));
            // A network that is not there today may be tomorrow; an address that is none will not be one.
            if matches!(error, ureq::Error::BadUri(_) | ureq::Error::Http(_)) {
                Failure::Lasting { why }
            } else {
                Failure::Passing { why, after: None }
            }
        })
    }
}

/// What a status means: 2xx is good; what says "later", and what an administrator can mend at either side
/// (RFC 9110: 401, 403, 407, 408, 429, 5xx; RFC 8470: 425), passes; anything else does not.
fn accepted(what: &str, response: &mut http::Response<Body>, now: Time) -> Result<(), Failure> {
    let status = response.status().as_u16();
    if (200..300).contains(&status) {
        return Ok(());
    }
    let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let after = after.and_then(|value| retry_after(value, now));
    let text = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string();
    let text: String = text.unwrap_or_default().trim().chars().take(TOLD).collect();
    let why = format!("{what}: status {status}: {text}").trim_end_matches(": ").to_owned();
    match status {
        401 | 403 | 407 | 408 | 425 | 429 | 500.. => Err(Failure::Passing { why, after }),
        _ => Err(Failure::Lasting { why }),
    }
}

/// What Retry-After asks for: seconds, or an HTTP date (RFC 9110, 10.2.3).
fn retry_after(value: &str, now: Time) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?;
    Some(Time::from_timestamp(at.timestamp())?.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now: Time = "2026-03-08T06:30:00Z".parse().unwrap();
        assert_eq!(retry_after(" 120", now), Some(Duration::from_mins(2)));
        let date = "Sun, 08 Mar 2026 06:31:00 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_mins(1)));
        assert_eq!(retry_after("Sun, 08 Mar 2026 06:29:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }
}
