//! Takes one reading: an HTTP(S) request, a TCP connection, or a look at processes, within the time that was
//! given.
//!
//! This is all that `cutover-probe` does. It runs without privileges and for one reading only, because what
//! it talks to is the software that was just installed: whatever that sends back ends here. The applier
//! starts it, gives it a [`ProbeTask`] and takes its [`ProbeAnswer`]; should it not come to its end in time,
//! the applier ends it. Blocking calls only, no state.

mod http;
mod process;
mod tcp;

use std::time::{Duration, Instant};

use cutover_applier::probe::{ProbeAnswer, ProbeRequest, ProbeTask};

/// Takes the reading that `task` asks for. Everything that goes wrong is an unhealthy answer that says so.
pub fn take(task: &ProbeTask) -> ProbeAnswer {
    let began = Instant::now();
    let limit = Limit { began, time: task.timeout };
    let seen = match &task.request {
        ProbeRequest::Http { url, expect_status, body_contains } => {
            http::look(url, *expect_status, body_contains.as_deref(), limit)
        }
        ProbeRequest::Tcp { address } => tcp::look(address, limit),
        ProbeRequest::Process { program, at_least, at_most } => {
            process::count(program, *at_least, *at_most)
        }
        ProbeRequest::Resource { processes, disk, limits } => {
            process::weigh(processes, disk, limits, limit)
        }
    };
    let (healthy, detail) = match seen {
        Ok(detail) => (true, detail),
        Err(detail) => (false, detail),
    };
    ProbeAnswer { healthy, detail, took: began.elapsed() }
}

/// How long a reading may take, from its beginning.
#[derive(Debug, Clone, Copy)]
struct Limit {
    began: Instant,
    time: Duration,
}

impl Limit {
    /// What is left; `None` when the time has passed.
    fn left(self) -> Option<Duration> {
        self.time.checked_sub(self.began.elapsed()).filter(|left| !left.is_zero())
    }

    /// How the answer tells that nothing happened in time.
    fn passed(self, what: &str) -> String {
        format!("{what}: no answer within {}", cutover_shared::time::span::format(self.time))
    }
}

/// `error` with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Several libraries repeat the cause in their own text.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
