//! Drift: what is deployed is watched over, and a change that nobody approved is told once.
//!
//! While the machine of an application is at rest, or has not touched anything yet, the committed release
//! is to be on the disk as it was deployed. The core has that compared ([`Output::Sweep`]) when it begins
//! to watch over it, a moment after the host tells that something changed, and now and then anyhow, since a
//! host may miss to tell. Each deviation becomes an outcome of this host, once for each path and each thing
//! that is found there, until another release takes its place; what was told is in the ledger.
//!
//! A sweep that was begun before the machine touched the application says nothing about what is there now,
//! and its answer is dropped.

use std::time::Duration;

use cutover_machine::{Machine, Now, Slot, State};
use cutover_shared::digest::Digest;
use cutover_shared::name::Name;
use cutover_shared::statement::{Drift, Event, Outcome};

use crate::applier::Core;
use crate::input::Outside;
use crate::output::{Note, Output};
use crate::persist::touched;
use crate::saved::SavedApplication;

/// Compared at the latest after so long, though nothing was told. A host with the largest packages reads
/// for minutes, so not often.
const SWEEP_PERIOD: Duration = Duration::from_hours(6);
/// From the first word of a change to the comparison: who edits a file writes more than once.
const QUIET: Duration = Duration::from_millis(500);
/// The pause after a comparison, in lengths of it: what keeps changing costs a tenth of one processor.
const PAUSE_LENGTHS: u32 = 10;
/// Most deviations of one release that are told; who made more than these made the host another one.
const MAX_DRIFTS: usize = 256;
/// The deviations that one comparison looks for: all that can be told, and one to see that there are more.
pub const SWEEP_LIMIT: usize = MAX_DRIFTS + 1;

/// What the core knows of the watch over one application.
#[derive(Debug, Default)]
pub(crate) struct Vigil {
    /// What is watched over.
    slot: Option<Slot>,
    /// When it is compared next, on the monotonic clock.
    due: Option<Duration>,
    /// Not before this, because of a change.
    rested: Duration,
    /// The comparison under way, and when it began.
    sweeping: Option<(u64, Duration)>,
    /// The number of the newest comparison.
    newest: u64,
}

impl Vigil {
    /// When something is to be done, on the monotonic clock.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.due.filter(|_| self.sweeping.is_none())
    }
}

/// What has to be on the disk as it was deployed.
fn watched_over(machine: &Machine) -> Option<Slot> {
    let record = machine.record();
    let untouched = at_rest(&record.state) || !touched(record);
    record.committed.filter(|_| machine.is_settled() && untouched)
}

pub(crate) fn at_rest(state: &State) -> bool {
    match state {
        State::Idle | State::Committed(_) | State::Returned(_) => true,
        State::Authorised(_)
        | State::Fetching(_)
        | State::Assembled(_)
        | State::Preflight(..)
        | State::Stopping(..)
        | State::Activating(..)
        | State::Starting(..)
        | State::Checking(_)
        | State::Baking(_)
        | State::Returning(..)
        | State::Stuck(..) => false,
    }
}

impl Core {
    /// Begins, goes on with, or ends the watch over an application, as its machine stands.
    pub(crate) fn keep_watch(&mut self, name: &Name, now: Now) {
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        let slot = watched_over(&deployment.machine);
        let vigil = &mut deployment.vigil;
        if vigil.slot != slot {
            vigil.slot = slot;
            vigil.sweeping = None;
            vigil.due = slot.map(|_| now.monotonic);
        }
        let Some(slot) = vigil.slot.filter(|_| vigil.due().is_some_and(|due| due <= now.monotonic))
        else {
            return;
        };
        vigil.newest += 1;
        let number = vigil.newest;
        vigil.sweeping = Some((number, now.monotonic));
        vigil.due = None;
        self.output(Output::Sweep { application: name.clone(), number, slot });
    }

    /// Something that is watched over was changed.
    pub(crate) fn changed(&mut self, name: &Name, now: Now) {
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        let vigil = &mut deployment.vigil;
        if vigil.slot.is_some() {
            let soon = (now.monotonic + QUIET).max(vigil.rested);
            vigil.due = Some(vigil.due.map_or(soon, |due| due.min(soon)));
        }
    }

    /// What a comparison found.
    pub(crate) fn swept(
        &mut self,
        name: &Name,
        number: u64,
        result: Result<Vec<Drift>, String>,
        outside: &mut Outside<'_>,
    ) {
        let now = outside.now.monotonic;
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        let vigil = &mut deployment.vigil;
        let Some((_, began)) = vigil.sweeping.take_if(|(sweeping, _)| *sweeping == number) else {
            return;
        };
        vigil.rested = now + now.saturating_sub(began) * PAUSE_LENGTHS;
        // A change that was told meanwhile may or may not have been seen.
        vigil.due = Some(match vigil.due {
            Some(due) => due.max(vigil.rested),
            None => now + SWEEP_PERIOD,
        });
        match result {
            Ok(drifts) => self.tell_drifts(name, drifts, outside),
            Err(why) => {
                let note = Note::error("what is deployed cannot be compared with its index");
                self.note(note.of(name).saying(&why));
            }
        }
    }

    /// The link named something else when the applier came back, at a time when nothing was under way.
    pub(crate) fn link_repaired(&mut self, name: &Name, drift: Drift, outside: &mut Outside<'_>) {
        let Some(deployment) = self.deployments.get(name) else { return };
        if at_rest(&deployment.machine.record().state) {
            self.tell_drifts(name, vec![drift], outside);
        }
    }

    /// Tells what was not told before, as far as there is room for it; the rest at the next comparison.
    fn tell_drifts(&mut self, name: &Name, drifts: Vec<Drift>, outside: &mut Outside<'_>) {
        let mut queued = Vec::new();
        for drift in drifts {
            let Some(saved) = self.saved.applications.get(name) else { return };
            let Some(slot) = saved.record.committed else { return };
            let told = (drift.path.clone(), found(&drift));
            if saved.drifts.contains(&told) {
                continue;
            }
            if saved.drifts.len() >= MAX_DRIFTS {
                let note = Note::error("more has changed than is told of one release");
                self.note(note.of(name).about(slot.package).saying(&drift));
                break;
            }
            let note = Note::warn("a change that nobody approved");
            let note = note.of(name).about(slot.package).saying(&drift);
            let outcome = self.drifted(name, &slot, saved, drift, outside.now);
            self.note(note);
            let Some(report) = self.queue_outcome(outcome, outside.now.wall) else { break };
            queued.push(report);
            if let Some(saved) = self.saved.applications.get_mut(name) {
                saved.drifts.push(told);
            }
        }
        if queued.is_empty() {
            return;
        }
        self.save_or_warn(outside);
        for (id, envelope) in queued {
            self.append(id, envelope);
        }
    }

    fn drifted(
        &self,
        name: &Name,
        slot: &Slot,
        saved: &SavedApplication,
        drift: Drift,
        now: Now,
    ) -> Outcome {
        let reporter = self.reporter();
        Outcome {
            host: reporter.host,
            host_key: reporter.host_key,
            application: name.clone(),
            generation: slot.generation,
            order: saved.brought_by(slot).unwrap_or(slot.release),
            release: slot.release,
            package: slot.package,
            event: Event::Drifted(Box::new(drift)),
            running: Some(slot.package),
            started: now.wall,
            ended: now.wall,
            readings: Vec::new(),
            clearances: Vec::new(),
        }
    }
}

/// What is found at a path, as a digest; that nothing is, as the digest of nothing.
fn found(drift: &Drift) -> Digest {
    Digest::of(drift.found.as_ref().map(ToString::to_string).unwrap_or_default().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cutover_machine::HealthPolicy;
    use cutover_shared::dsse::Envelope;
    use cutover_shared::key::SecretKey;
    use cutover_shared::statement::{Managed, ManagedKind, Says, Statement};
    use cutover_shared::time::Time;

    use super::*;
    use crate::input::{Answer, Input, Ledger, Nonces};
    use crate::output::Work;
    use crate::saved::Saved;
    use crate::settings::{ApplicationSettings, Driver, Hooks, HostSettings};

    /// A core, its clock, and what it wrote down last.
    struct Bench {
        core: Core,
        monotonic: Duration,
        kept: Kept,
    }

    #[derive(Default)]
    struct Kept(Vec<u8>);

    impl Ledger for Kept {
        fn save(&mut self, body: &[u8]) -> Result<(), String> {
            self.0 = body.to_vec();
            Ok(())
        }
    }

    struct NoNonces;

    impl Nonces for NoNonces {
        fn nonce(&mut self) -> Result<Digest, String> {
            Err("none is needed here".to_owned())
        }
    }

    fn web() -> Name {
        "web".parse().unwrap()
    }

    fn wall() -> Time {
        "2026-11-24T02:00:00Z".parse().unwrap()
    }

    fn slot(generation: u64) -> Slot {
        let second = Duration::from_secs(1);
        Slot {
            generation,
            package: Digest::of(b"package"),
            release: Digest::of(b"release"),
            health: HealthPolicy {
                start_grace: second,
                interval: second,
                timeout: second,
                successes: 1,
                deadline: second,
                bake: second,
                bake_tolerance: 0,
            },
        }
    }

    fn drift(path: &str, found: &str) -> Drift {
        let file = |text: &str| Managed {
            kind: ManagedKind::File(Digest::of(text.as_bytes())),
            mode: Some("0644".to_owned()),
            owner: "0:0".to_owned(),
        };
        let (expected, found) = (Some(file("as deployed")), Some(file(found)));
        Drift { path: path.to_owned(), expected, found }
    }

    fn deployed() -> Saved {
        let mut saved = Saved::default();
        let mut application = SavedApplication::new(&web());
        application.record.committed = Some(slot(3));
        application.record.generation = 3;
        application.brought.push((3, Digest::of(b"booking")));
        saved.applications.insert(web(), application);
        saved
    }

    fn settings() -> HostSettings {
        let web_settings = ApplicationSettings {
            driver: Driver::Slot,
            hooks: Hooks::Refused,
            probes: [].into(),
            retain: 1,
        };
        HostSettings {
            host: "web-1".parse().unwrap(),
            environment: "production".parse().unwrap(),
            applications: BTreeMap::from([(web(), web_settings)]),
        }
    }

    impl Bench {
        /// The applier starts with what is in its ledger, sees to the release, and compares it: the number
        /// of that comparison.
        fn start(saved: Saved, settled: Answer) -> (Self, u64) {
            let now = Now { wall: wall(), monotonic: Duration::ZERO };
            let core = Core::recover(settings(), saved, SecretKey::from_seed([7; 32]), now);
            let mut bench = Self { core, monotonic: Duration::ZERO, kept: Kept::default() };
            let looked =
                Input::Looked { inhibitors: Vec::new(), join: None, clock_accepted: false };
            let outputs = bench.tell(looked);
            assert_eq!(sweep(&outputs), None, "not before it is settled");
            let settle = outputs.iter().find_map(|output| {
                let Output::Work { effect, work: Work::Settle { .. }, .. } = output else {
                    return None;
                };
                Some(*effect)
            });
            let (application, effect) = (web(), settle.unwrap());
            let outputs = bench.tell(Input::Answered { application, effect, answer: settled });
            let number = sweep(&outputs).unwrap();
            (bench, number)
        }

        fn tell(&mut self, input: Input) -> Vec<Output> {
            let mut outside = Outside {
                now: Now { wall: wall(), monotonic: self.monotonic },
                clock_synchronised: None,
                ledger: &mut self.kept,
                nonces: &mut NoNonces,
            };
            self.core.handle(input, &mut outside);
            std::iter::from_fn(|| self.core.poll_output()).collect()
        }

        fn swept(&mut self, number: u64, drifts: &[Drift]) -> Vec<Output> {
            let result = Ok(drifts.to_vec());
            self.tell(Input::Swept { application: web(), number, result })
        }

        /// Waits until the core wants to be woken, at most so long; the comparison that it then wants.
        fn wait(&mut self, longest: Duration) -> Option<u64> {
            let now = Now { wall: wall(), monotonic: self.monotonic };
            let wait = self.core.poll_timeout(now).filter(|wait| *wait <= longest)?;
            self.monotonic += wait;
            sweep(&self.tell(Input::Timeout))
        }

        /// What waits to be logged: the path and the order named.
        fn told(&self) -> Vec<(String, Digest)> {
            let statement = |(_, envelope): &(Digest, Vec<u8>)| {
                let statement = Statement::read(&Envelope::parse(envelope).unwrap()).unwrap();
                let Says::Outcome(outcome) = statement.says else { panic!("an outcome") };
                let Event::Drifted(drift) = outcome.event else { panic!("a drift") };
                assert_eq!((outcome.generation, outcome.package), (3, slot(3).package));
                (drift.path, outcome.order)
            };
            self.core.saved().reports.iter().map(statement).collect()
        }
    }

    /// The number of the comparison that is wanted.
    fn sweep(outputs: &[Output]) -> Option<u64> {
        outputs.iter().find_map(|output| {
            let Output::Sweep { number, slot: wanted, .. } = output else { return None };
            assert_eq!(*wanted, slot(3));
            Some(*number)
        })
    }

    #[test]
    fn each_path_and_what_is_found_there_is_told_once_also_after_a_restart() {
        let (mut bench, number) = Bench::start(deployed(), Answer::Done);
        bench.swept(number, &[drift("payload/a", "1"), drift("payload/b", "1")]);
        let order = Digest::of(b"booking");
        let expected = [("payload/a".to_owned(), order), ("payload/b".to_owned(), order)];
        assert_eq!(bench.told(), expected);
        let saved = Saved::decode(&bench.kept.0).unwrap();
        assert_eq!(saved, *bench.core.saved(), "what was told is written down");

        let (mut bench, number) = Bench::start(saved, Answer::Done);
        bench.swept(number, &[drift("payload/a", "1"), drift("payload/b", "2")]);
        assert_eq!(bench.told().len(), 3, "other bytes are another change");
    }

    #[test]
    fn a_change_is_compared_a_moment_later_and_comparing_has_pauses() {
        let (mut bench, number) = Bench::start(deployed(), Answer::Done);
        bench.monotonic += Duration::from_secs(2);
        bench.tell(Input::Changed { application: web() });
        assert_eq!(bench.wait(SWEEP_PERIOD), None, "one at a time");
        assert_eq!(sweep(&bench.swept(number, &[])), None, "it took two seconds");
        assert_eq!(bench.wait(Duration::from_secs(19)), None);
        let next = bench.wait(Duration::from_secs(20)).unwrap();
        assert_eq!(sweep(&bench.swept(number, &[drift("payload/a", "1")])), None);
        assert_eq!(bench.told(), [], "an answer to what is not asked any longer");
        bench.swept(next, &[]);
        assert_eq!(bench.wait(SWEEP_PERIOD.saturating_sub(Duration::from_secs(1))), None);
        assert!(bench.wait(SWEEP_PERIOD).is_some(), "now and then, though nothing was told");
    }

    #[test]
    fn a_link_that_was_put_right_at_the_start_is_told() {
        let repaired = Answer::Repaired(Box::new(drift("current", "elsewhere")), None);
        let (bench, _) = Bench::start(deployed(), repaired);
        assert_eq!(bench.told().len(), 1);
    }

    #[test]
    fn a_host_that_cannot_tell_keeps_room_for_the_ends_of_orders_and_tells_the_rest_later() {
        let (mut bench, number) = Bench::start(deployed(), Answer::Done);
        let all: Vec<_> = (0..SWEEP_LIMIT).map(|n| drift(&format!("payload/{n}"), "1")).collect();
        bench.swept(number, &all);
        let room = bench.told().len();
        assert_eq!(room, crate::saved::MAX_DRIFT_REPORTS);
        bench.core.saved.reports.clear();
        for _ in 0..SWEEP_LIMIT {
            bench.tell(Input::Changed { application: web() });
            let number = bench.wait(SWEEP_PERIOD).unwrap();
            bench.swept(number, &all);
            bench.core.saved.reports.clear();
        }
        let told = &bench.core.saved().applications[&web()].drifts;
        assert_eq!(told.len(), MAX_DRIFTS, "and no more of one release");
        bench.tell(Input::Changed { application: web() });
        let number = bench.wait(SWEEP_PERIOD).unwrap();
        let outputs = bench.swept(number, &all);
        let more = |it: &Output| matches!(it, Output::Note(note) if note.text.starts_with("more"));
        assert!(outputs.iter().any(more), "it is seen that there are more");
    }
}
