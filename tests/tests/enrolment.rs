//! A host that joins while its clock is wrong, against what the coordinator says to its enrolment.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cutover_applier_core::{
    ApplicationSettings, Core, Driver, Hooks, HostSettings, Input, Ledger, Nonces, Output, Outside,
    Saved,
};
use cutover_machine::Now;
use cutover_shared::authorise::admission::admit;
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::protocol::FromApplier;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::Statement;
use cutover_shared::time::Time;
use cutover_tests::world::{MemoryLog, grant, join, key, name, policy};

const HOUR: Duration = Duration::from_hours(1);

/// A ledger that forgets, and no nonces.
struct Nothing;

impl Ledger for Nothing {
    fn save(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

impl Nonces for Nothing {
    fn nonce(&mut self) -> Result<Digest, String> {
        Err("none".to_owned())
    }
}

/// A host that has been up for so long, and the error of its clock.
struct Host {
    core: Core,
    up: Duration,
    behind: Duration,
}

fn begin() -> Time {
    "2026-12-01T02:00:00Z".parse().expect("a time")
}

impl Host {
    fn new(behind: Duration) -> Self {
        let application = ApplicationSettings {
            driver: Driver::Slot,
            hooks: Hooks::Refused,
            probes: BTreeSet::new(),
            retain: 1,
        };
        let settings = HostSettings {
            host: name("stg-1"),
            environment: name("staging"),
            applications: [(name("web"), application)].into(),
        };
        let now = Now { wall: begin() - behind, monotonic: Duration::ZERO };
        let core = Core::recover(settings, Saved::default(), key("stg-1"), now);
        Self { core, up: Duration::ZERO, behind }
    }

    /// The time as it is.
    fn time(&self) -> Time {
        begin() + self.up
    }

    /// The enrolments that it says when it is told something.
    fn tell(&mut self, input: Input) -> Vec<(Digest, Vec<u8>)> {
        let mut outside = Outside {
            now: Now { wall: self.time() - self.behind, monotonic: self.up },
            clock_synchronised: None,
            ledger: &mut Nothing,
            nonces: &mut Nothing,
        };
        self.core.handle(input, &mut outside);
        let outputs = std::iter::from_fn(|| self.core.poll_output());
        let said = outputs.filter_map(|output| {
            let Output::Say(FromApplier::Append { id, envelope, .. }) = output else { return None };
            Some((id, envelope))
        });
        said.collect()
    }

    /// Lets the time pass until it wants to act.
    fn wait(&mut self) -> anyhow::Result<Vec<(Digest, Vec<u8>)>> {
        let now = Now { wall: self.time() - self.behind, monotonic: self.up };
        self.up += self.core.poll_timeout(now).context("it waits for nothing")?;
        Ok(self.tell(Input::Timeout))
    }
}

/// The log of a coordinator with a grant in it, and the join string for that.
fn coordinator() -> anyhow::Result<(State, String)> {
    let policy = policy(1, begin() + 1000 * HOUR);
    let policy = Statement::new(begin(), policy).signed_by([&key("ruth")]).to_bytes();
    let says = grant("grant", "staging", &["web"], 1);
    let granted = Statement::new(begin(), says.clone()).until(begin() + 100 * HOUR);
    let granted = granted.signed_by([&key("otto")]);
    let (mut state, mut log) = (State::empty(), MemoryLog::default());
    for entry in [policy.clone(), granted.to_bytes()] {
        state.apply(log.size(), &entry)?;
        log.append(entry);
    }
    let text = join(&policy, log.head(), ("grant", granted.id()), &says);
    Ok((state, text))
}

/// However often it is refused for the host's clock, an enrolment is signed anew when that may have been mended,
/// and no more often; what is refused for another reason is not.
#[test]
fn an_enrolment_that_a_wrong_clock_signed_is_signed_anew() -> anyhow::Result<()> {
    let (state, join) = coordinator()?;
    let mut host = Host::new(HOUR);
    host.tell(Input::Linked);
    host.tell(Input::Looked { inhibitors: Vec::new(), join: Some(join), clock_accepted: false });
    let mut said = host.tell(Input::Hello { transport_key: key("wire").public() });
    for _ in 0..3 {
        let [(id, envelope)] = said.as_slice() else { anyhow::bail!("it says {said:?}") };
        let refused = admit(&state, state.next_index(), envelope, host.time());
        let refusal = refused.err().context("its clock is wrong")?;
        ensure!(refusal.code == Code::ClockSkew, "{refusal}");
        let at_once = host.tell(Input::NotLogged { id: *id, refusal });
        ensure!(at_once.is_empty(), "it asks again at once");
        let before = host.up;
        said = host.wait()?;
        ensure!(host.up >= before + Duration::from_secs(10), "it asks all the time");
    }
    // With the clock mended it is let in.
    host.behind = Duration::ZERO;
    let [(id, _)] = said.as_slice() else { anyhow::bail!("it says {said:?}") };
    let refusal = Refusal::new(Code::ClockSkew, "once more");
    host.tell(Input::NotLogged { id: *id, refusal });
    said = host.wait()?;
    let [(id, envelope)] = said.as_slice() else { anyhow::bail!("it says {said:?}") };
    admit(&state, state.next_index(), envelope, host.time())?;
    // What nothing mends is not said again.
    let refusal = Refusal::new(Code::DutiesNotSeparate, "no");
    ensure!(host.tell(Input::NotLogged { id: *id, refusal }).is_empty());
    host.up += HOUR;
    ensure!(host.tell(Input::Timeout).is_empty(), "it is said again");
    Ok(())
}

/// A host whose network half was away when the enrolment was due signs it when that is back.
#[test]
fn nothing_is_signed_while_there_is_nobody_to_say_it_to() -> anyhow::Result<()> {
    let (_, join) = coordinator()?;
    let mut host = Host::new(HOUR);
    let hello = || Input::Hello { transport_key: key("wire").public() };
    host.tell(Input::Linked);
    host.tell(Input::Looked { inhibitors: Vec::new(), join: Some(join), clock_accepted: false });
    let said = host.tell(hello());
    let (first, _) = said.first().context("its enrolment")?.clone();
    host.tell(Input::NotLogged { id: first, refusal: Refusal::new(Code::ClockSkew, "no") });
    host.tell(Input::Unlinked);
    host.up += HOUR;
    ensure!(host.tell(Input::Timeout).is_empty());
    host.behind = Duration::ZERO;
    host.tell(Input::Linked);
    let said = host.tell(hello());
    let [(anew, _)] = said.as_slice() else { anyhow::bail!("it says {said:?}") };
    ensure!(*anew != first, "it says what was refused");
    Ok(())
}
