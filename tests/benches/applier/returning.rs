//! From the verdict that a release is not healthy to the page of the earlier one: the deployment machine, the
//! ledger, the slots and the application's processes as the applier has them, without the network.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use cutover_applier::ledger::Ledger;
use cutover_applier_core::{Answer, Saved, SavedApplication, Work};
use cutover_machine::{
    Assignment, Decision, Effect, Hooks, Issued, Kind, Machine, Now, Phase, Reading, Record,
    Reversibility, Sample, State,
};
use cutover_shared::digest::Digest;
use tokio::sync::mpsc;

use crate::place::Place;
use crate::{file_system, median};

/// Ways back of which the median is told.
const ROUNDS: usize = 15;

/// Measures and tells.
pub(crate) fn told(files: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let place = Place::new(files)?;
    let (mut ours, mut theirs, mut differences) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let way = runtime.block_on(Way::begin(&place)?.there_and_back())?;
        let bare = place.by_hand()?;
        // The first finds nothing in the caches.
        if round > 0 {
            ours.push(way);
            theirs.push(bare);
            differences.push(way.saturating_sub(bare));
        }
    }
    println!(
        "back at {files} files, verdict to page: {:?}; the application's own stop and start: {:?}; \
         ours: {:?} (the medians of {ROUNDS}, on {})",
        median(&mut ours),
        median(&mut theirs),
        median(&mut differences),
        file_system(place.directory())
    );
    Ok(())
}

/// One deployment of release 2 over release 1, and its way back.
struct Way<'p> {
    place: &'p Place,
    machine: Machine,
    ledger: Ledger,
    saved: Saved,
    wanted: mpsc::Sender<cutover_applier::fetch::Wanted>,
}

impl<'p> Way<'p> {
    fn begin(place: &'p Place) -> anyhow::Result<Self> {
        let [earlier, _] = place.slots;
        let name = place.site.config.name.clone();
        let record = Record {
            application: name.to_string(),
            generation: earlier.generation,
            committed: Some(earlier),
            state: State::Idle,
        };
        let mut saved = Saved::default();
        let application =
            SavedApplication { record: record.clone(), ..SavedApplication::new(&name) };
        saved.applications.insert(name, application);
        let (ledger, _) = Ledger::open(&place.directory().join("ledger"))?;
        let machine = Machine::recover(record, place.site.clock.now());
        // Nothing is fetched: both slots are whole.
        let (wanted, _) = mpsc::channel(1);
        Ok(Self { place, machine, ledger, saved, wanted })
    }

    fn now(&self) -> Now {
        self.place.site.clock.now()
    }

    /// Release 1 runs, 2 takes its place, bakes, and is found ill: how long until the page of 1 is back.
    async fn there_and_back(mut self) -> anyhow::Result<Duration> {
        self.until(|machine, _| machine.is_settled()).await?;
        self.place.serves("1")?;
        self.machine.handle_order(self.order(), self.now())?;
        let baking = |machine: &Machine, issued: &Issued| {
            machine.phase() == Phase::Baking && matches!(issued.effect, Effect::Check { .. })
        };
        let check = self.until(baking).await?.context("it bakes")?;
        self.place.serves("2")?;
        let verdict = Instant::now();
        self.machine.handle_sample(check.id, sample(false, self.now()), self.now())?;
        ensure!(self.machine.phase() == Phase::Returning, "it goes back");
        let started = |_: &Machine, issued: &Issued| matches!(issued.effect, Effect::Check { .. });
        let check = self.until(started).await?.context("the earlier release is looked at")?;
        self.place.serves("1")?;
        let took = verdict.elapsed();
        self.machine.handle_sample(check.id, sample(true, self.now()), self.now())?;
        self.until(|machine, _| machine.phase() == Phase::Returned).await?;
        self.carry_out(Work::Stop).await?;
        Ok(took)
    }

    /// Carries out what the machine wants until `stop` says so of what it has just handed out, which is then
    /// left to the caller.
    async fn until(
        &mut self,
        stop: impl Fn(&Machine, &Issued) -> bool,
    ) -> anyhow::Result<Option<Issued>> {
        loop {
            self.machine.handle_timeout(self.now());
            let Some(issued) = self.machine.poll_effect() else {
                if self.machine.poll_timeout(self.now()).is_none() {
                    return Ok(None);
                }
                continue;
            };
            if stop(&self.machine, &issued) {
                return Ok(Some(issued));
            }
            self.answer(issued).await?;
        }
    }

    async fn answer(&mut self, Issued { id, effect }: Issued) -> anyhow::Result<()> {
        let answer = match &effect {
            Effect::Persist { record, .. } => {
                let name = &self.place.site.config.name;
                let application = self.saved.applications.get_mut(name);
                application.context("the application")?.record = (**record).clone();
                self.ledger.save(&self.saved.encode()?)?;
                Answer::Done
            }
            Effect::RequestClearance { .. } => {
                let granted = Decision::Granted(Digest::of(b"clearance"));
                return Ok(self.machine.handle_clearance(id, granted, self.now())?);
            }
            // It is taken back to again, and its slot is as it was.
            Effect::Assemble { .. } | Effect::Preflight { .. } | Effect::CleanUp { .. } => {
                Answer::Done
            }
            Effect::Check { .. } => Answer::Sample(sample(true, self.now())),
            Effect::Stop => self.carry_out(Work::Stop).await?,
            Effect::Hook { .. }
            | Effect::Switch { .. }
            | Effect::Start { .. }
            | Effect::Abort { .. }
            | Effect::Settle { .. } => {
                let work = Work::of(&effect).context("work of an application without hooks")?;
                self.carry_out(work).await?
            }
        };
        let now = self.now();
        Ok(answer.give(&mut self.machine, id, now)?)
    }

    async fn carry_out(&self, work: Work) -> anyhow::Result<Answer> {
        let name = work.name();
        match self.place.site.carry_out(work, self.wanted.clone(), |_, _| {}).await {
            Answer::Failed(why) => bail!("{name}: {why}"),
            answer @ (Answer::Done
            | Answer::Started(_)
            | Answer::Repaired(..)
            | Answer::Blocked(_)
            | Answer::Sample(_)) => Ok(answer),
        }
    }

    fn order(&self) -> Assignment {
        let [_, newer] = self.place.slots;
        let hour = Duration::from_hours(1);
        let wall = self.now().wall;
        Assignment {
            application: self.place.site.config.name.to_string(),
            generation: newer.generation,
            package: newer.package,
            release: newer.release,
            booking: Digest::of(b"booking"),
            kind: Kind::Forward,
            window_start: wall,
            window_end: wall + 3 * hour,
            apply_budget: hour,
            rollback_reserve: hour,
            hooks: Hooks::default(),
            health: newer.health,
            reversibility: Reversibility::Reversible,
        }
    }
}

fn sample(healthy: bool, now: Now) -> Sample {
    let reading =
        Reading { check: "page".to_owned(), healthy, detail: String::new(), took: Duration::ZERO };
    Sample { at: now.wall, readings: vec![reading] }
}
