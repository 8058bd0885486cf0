//! Trackers as their makers document them, small enough to see through.

pub(crate) mod jira;
pub(crate) mod servicenow;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use cutover_tests::harness::web::Reply;

/// What goes wrong with the next requests that would change something, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Troubles(Arc<Mutex<VecDeque<Trouble>>>);

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The service is down.
    Down,
    /// It asks for a second's wait.
    TooMany,
    /// It does what it was asked, and nobody hears of it.
    Unheard,
}

impl Troubles {
    pub(crate) fn new(troubles: impl IntoIterator<Item = Trouble>) -> Self {
        Self(Arc::new(Mutex::new(troubles.into_iter().collect())))
    }

    pub(crate) fn are_over(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }

    /// The answer to a request that `act` carries out.
    pub(crate) fn meet(&self, act: impl FnOnce() -> Reply) -> Reply {
        let trouble = self.0.lock().unwrap().pop_front();
        match trouble {
            None => act(),
            Some(Trouble::Down) => Reply::status(503),
            Some(Trouble::TooMany) => {
                Reply::Status(429, vec![("retry-after", "1".to_owned())], String::new())
            }
            Some(Trouble::Unheard) => {
                act();
                Reply::Cut
            }
        }
    }
}
