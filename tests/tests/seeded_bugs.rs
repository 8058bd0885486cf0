//! The simulator, tested: each bug that is put in on purpose is found, by the promise that it breaks.
//!
//! `cargo test --workspace --features cutover-tests/seeded-bugs --test seeded_bugs -- --nocapture` prints which promise
//! found each of them, and in which run. `CUTOVER_BUGS=NonceNotCompared,HoldIgnored` looks for these alone.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cutover_shared::seeded::{self, Bug};
use cutover_tests::simulation::{Invariant, Scenario, shrunk, simulate};

/// A bug that is not found in so many runs is not found.
const RUNS: u64 = 2000;

/// Bugs are looked for alone when this names them.
const VARIABLE: &str = "CUTOVER_BUGS";

/// The bugs that are looked for.
fn bugs() -> Vec<Bug> {
    let named = std::env::var(VARIABLE).ok();
    let wanted = |bug: &Bug| {
        let name = format!("{bug:?}");
        named.as_ref().is_none_or(|named| named.split(',').any(|it| it == name))
    };
    Bug::ALL.iter().copied().filter(wanted).collect()
}

/// The promises that a bug may be found by; whatever else it breaks is a surprise, and to be looked at.
fn breaks(bug: Bug) -> &'static [Invariant] {
    use Invariant::{P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11};
    match bug {
        Bug::WaveProofSkipped | Bug::AtOnceOffByOne => &[P10],
        Bug::ClosingForgotten => &[P2, P3],
        // The examiner of plans may be the first to see what the referee would see later.
        Bug::HoldIgnored | Bug::FreezeIgnored => &[P2, P10],
        Bug::DenialForgotten => &[P1, P2, P10],
        Bug::ReviewAfterReturnSkipped => &[P8, P10],
        Bug::VotesNotCounted | Bug::StagingNotProven => &[P1],
        Bug::IterationNotApproved => &[P7],
        Bug::GenerationReused => &[P6],
        Bug::OneCheckIsEnough | Bug::BakingSkipped => &[P4],
        Bug::LinkNotSwitchedBack => &[P3, P4],
        Bug::OfferIgnored => &[P11],
        Bug::OutcomeForgotten | Bug::AcknowledgedBeforeSync => &[P5],
        Bug::NonceNotCompared => &[P9],
        Bug::StaleHeadAccepted | Bug::PersistedLate => &[P6],
        Bug::ReturnsForgotten => &[P8],
        Bug::WitnessesNotCounted => &[P2],
        Bug::OverridePassesAll => &[P2, P10],
        Bug::OneFailureReturnsAll => &[P1, P10],
        Bug::PreApprovalFitsAll => &[P1],
    }
}

/// The first run in which the bug is found: its seed, and what was broken.
fn found(bug: Bug) -> Option<(u64, Invariant, String)> {
    seeded::switch(Some(bug));
    let first = (0..RUNS).find_map(|seed| {
        let violation = simulate(&Scenario::draw(seed), false).violation?;
        Some((seed, violation.invariant, violation.text))
    });
    seeded::switch(None);
    first
}

#[test]
fn every_bug_is_found() {
    let bugs = bugs();
    assert!(!bugs.is_empty(), "{VARIABLE} names no bug");
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let table = Mutex::new(String::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let line = match found(*bug) {
                        Some((seed, by, text)) => {
                            let expected = breaks(*bug).contains(&by);
                            failed.fetch_or(!expected, Ordering::Relaxed);
                            let word = if expected { "" } else { "UNEXPECTED: " };
                            format!("{bug:?}: {word}{by:?} after {} runs: {text}", seed + 1)
                        }
                        None => {
                            failed.store(true, Ordering::Relaxed);
                            format!("{bug:?}: NOT FOUND in {RUNS} runs")
                        }
                    };
                    println!("{line}");
                    let _ = writeln!(table.lock().unwrap(), "{line}");
                }
            });
        }
    });
    let table = table.into_inner().unwrap();
    assert!(!failed.load(Ordering::Relaxed), "{table}");
}

#[test]
fn what_is_left_of_a_failing_run_fails_alike_and_is_needed() {
    let bug = Bug::WaveProofSkipped;
    let (seed, invariant, _) = found(bug).unwrap();
    seeded::switch(Some(bug));
    let scenario = Scenario::draw(seed);
    let smaller = shrunk(&scenario, invariant);
    assert!(smaller.acts.len() < scenario.acts.len(), "{:?}", smaller.acts);
    assert!(smaller.faults.is_empty(), "the bug needs no fault: {:?}", smaller.faults);
    let (one, other) = (simulate(&smaller, true), simulate(&smaller, true));
    assert_eq!(one.violation.map(|it| it.invariant), Some(invariant));
    assert_eq!((one.text, one.digest), (other.text, other.digest));
    for act in 0..smaller.acts.len() {
        let mut candidate = smaller.clone();
        let without = candidate.acts.remove(act);
        let violation = simulate(&candidate, false).violation;
        let still = violation.is_some_and(|it| it.invariant == invariant);
        assert!(!still, "{without:?} could have been left out");
    }
    // It is the bug that fails, not the run.
    seeded::switch(None);
    assert_eq!(simulate(&smaller, false).violation, None);
    assert_eq!(simulate(&scenario, false).violation, None);
}
