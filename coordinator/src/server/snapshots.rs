//! The fold, written down now and then, so that the next start need not verify the whole log.

use std::sync::Arc;

use cutover_shared::fold::snapshot;

use super::core::Core;
use super::trouble::chain;
use crate::store::StoreError;

/// Writes the fold whenever it `is_due`, given the size of the log and that of the last one; until the
/// server begins to end. `last` is what there was at the start. One that cannot be written costs the next
/// start some time and nothing else: it is tried again when the next is due.
pub(super) async fn run(core: Arc<Core>, mut last: u64, is_due: fn(u64, u64) -> bool) {
    let mut grown = core.grown();
    loop {
        let size = *grown.borrow_and_update();
        if is_due(size, last) {
            last = size;
            match write(&core).await {
                Ok(bytes) => tracing::info!(entries = size, bytes, "the fold was written down"),
                Err(error) => tracing::warn!(
                    entries = size,
                    error = %chain(&error),
                    "the fold was not written down: the next start reads more of the log"
                ),
            }
        }
        tokio::select! {
            // The sender lives as long as `core`.
            _ = grown.changed() => {}
            () = core.drained() => return,
        }
    }
}

/// Writes the fold as it is now, and says how long it is.
async fn write(core: &Arc<Core>) -> Result<usize, StoreError> {
    // A copy shares all with the original, so nobody waits while it is written.
    let folded = core.folded().clone();
    let signer = Arc::clone(&core.signer);
    let written = tokio::task::spawn_blocking(move || {
        snapshot::write(&folded.state, &signer.origin, &folded.head, &signer.key)
    });
    let bytes = written.await.map_err(|_cancelled| StoreError::Closed)?;
    let length = bytes.len();
    core.store.put_snapshot(bytes).await?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    use cutover_coordinator_core::Rules;
    use cutover_shared::digest::Digest;
    use cutover_shared::fold::State;
    use cutover_shared::key::SecretKey;
    use cutover_shared::log::TreeHead;
    use cutover_shared::policy::{KeyEntry, KeyStatus, LogKey, PolicyDocument, Role, Scope};
    use cutover_shared::statement::{Enrolment, HostChange, Statement};
    use cutover_shared::time::Time;
    use tempfile::TempDir;

    use super::super::start::{self, Started};
    use super::*;
    use crate::config::{LogFormat, Settings};
    use crate::forms::Forms;
    use crate::store::Entry;

    const ORIGIN: &str = "cutover.test/log";

    fn now() -> Time {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    fn key(owner: &str) -> SecretKey {
        SecretKey::from_seed(*Digest::of(owner.as_bytes()).as_bytes())
    }

    fn policy() -> PolicyDocument {
        let entry = |(owner, role): (&str, Role)| KeyEntry {
            owner: owner.parse().unwrap(),
            email: format!("{owner}@example.org"),
            key: key(owner).public(),
            roles: BTreeSet::from([role]),
            applications: Scope::All,
            environments: Scope::All,
            status: KeyStatus::Active,
        };
        let log = LogKey { origin: ORIGIN.to_owned(), key: key("log").public() };
        let mut document = PolicyDocument::bare(log, now() + Duration::from_hours(9000));
        document.keys = [("root", Role::Root), ("ops", Role::Operator)].map(entry).to_vec();
        document
    }

    /// A coordinator's directory.
    struct Place(TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            fs::write(place.path("log.pem"), key("log").to_pem()).unwrap();
            let policy = Statement::new(now(), policy()).signed_by([&key("root")]);
            fs::write(place.path("policy.json"), policy.to_bytes()).unwrap();
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn snapshot(&self) -> PathBuf {
            self.path("data/snapshot")
        }

        async fn start(&self) -> Started {
            let settings = Settings {
                listen: "127.0.0.1:0".parse().unwrap(),
                data_directory: self.path("data"),
                key: self.path("log.pem"),
                policy: self.path("policy.json"),
                forms_directory: None,
                advertise: None,
                port_file: None,
                log_format: LogFormat::Text,
                log_filter: "warn".parse().unwrap(),
                outbox: None,
            };
            start::start(&settings, Arc::new(now)).await.unwrap()
        }

        /// Starts, enrols a host, and ends.
        async fn enrol(&self, host: &str) {
            let enrolment = Enrolment {
                host: host.parse().unwrap(),
                environment: "production".parse().unwrap(),
                labels: BTreeMap::new(),
                applications: BTreeSet::from(["web".parse().unwrap()]),
                host_key: key(host).public(),
                transport_key: key(&format!("{host}-transport")).public(),
                replaces: None,
                grant: None,
            };
            let enrolled = HostChange::Enrolled(Box::new(enrolment));
            let envelope = Statement::new(now(), enrolled).signed_by([&key("ops")]);
            let entry = Entry { id: envelope.id(), bytes: envelope.to_bytes() };
            self.start().await.store.append(None, vec![entry]).await.unwrap();
        }

        /// Starts, writes the fold down, and ends.
        async fn write(&self) -> State {
            let started = self.start().await;
            let written = started.written;
            let core = Arc::new(Core::new(started, Arc::new(Rules), forms()));
            core.draining.send_replace(true);
            run(Arc::clone(&core), written, |size, last| size > last).await;
            core.folded().state.clone()
        }
    }

    /// The shipped ones: nobody submits anything here.
    fn forms() -> Forms {
        Forms::new(None, PathBuf::new())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_start_goes_on_from_what_was_written_down() {
        let place = Place::new();
        place.enrol("h1").await;
        let before = place.start().await;
        assert_eq!((before.written, before.folded.head.size), (0, 2), "nothing is written yet");
        drop(before);
        let state = place.write().await;
        place.enrol("h2").await;
        let started = place.start().await;
        assert_eq!((started.written, started.folded.head.size), (2, 3));
        assert_ne!(started.folded.state, state, "the host since then is there");
        let (from_snapshot, head) = (started.folded.state, started.folded.head);
        drop(started.store);
        fs::remove_file(place.snapshot()).unwrap();
        let scratch = place.start().await;
        assert_eq!(scratch.written, 0);
        assert_eq!((scratch.folded.state, scratch.folded.head), (from_snapshot, head));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_written_before_it_is_due() {
        let place = Place::new();
        let started = place.start().await;
        let written = started.written;
        let core = Arc::new(Core::new(started, Arc::new(Rules), forms()));
        core.draining.send_replace(true);
        run(core, written, |_, _| false).await;
        assert!(!place.snapshot().exists());
    }

    /// Each is refused, and the log has everything.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_taken_is_made_anew_from_the_log() {
        let place = Place::new();
        place.enrol("h1").await;
        let state = place.write().await;
        let good = fs::read(place.snapshot()).unwrap();
        let head = place.start().await.folded.head;
        let longer = TreeHead { size: 3, ..head.clone() };
        let forked = TreeHead { root: Digest::of(b"another"), ..head.clone() };
        let made_up = |origin: &str, head: &TreeHead, owner: &str| {
            snapshot::write(&State::empty(), origin, head, &key(owner))
        };
        let mut newer = good.clone();
        newer[19] += 1;
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 4;
        let bad = [
            ("empty", Vec::new()),
            ("torn", good[..good.len() - 1].to_vec()),
            ("newer", newer),
            ("flipped", flipped),
            ("of another log", made_up("other.test/log", &head, "log")),
            ("of a log that went on", made_up(ORIGIN, &longer, "log")),
            ("of a forked log", made_up(ORIGIN, &forked, "log")),
            ("by another key", made_up(ORIGIN, &head, "ops")),
        ];
        for (what, bytes) in bad {
            fs::write(place.snapshot(), bytes).unwrap();
            let started = place.start().await;
            assert_eq!(started.written, 0, "{what}");
            assert_eq!(started.folded.state, state, "{what}");
        }
        // A directory in its place cannot be read; that is no reason not to start, either.
        fs::remove_file(place.snapshot()).unwrap();
        fs::create_dir(place.snapshot()).unwrap();
        let started = place.start().await;
        assert_eq!((started.written, started.folded.state), (0, state));
    }
}
