//! The fleet, simulated: 500 seeds hold every promise, and a seed is a run, to the byte.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cutover_tests::simulation::{Run, Scenario, shrunk, simulate};

/// Seeds that are run, unless `CUTOVER_SIMULATION_RUNS` says how many; more of them by `cutover-simulate`.
const RUNS: u64 = 500;

fn runs() -> u64 {
    let asked = std::env::var("CUTOVER_SIMULATION_RUNS").ok();
    asked.map_or(RUNS, |it| it.parse().expect("CUTOVER_SIMULATION_RUNS is a number of runs"))
}

/// What a failure prints: what is to be looked at, and how to see more of it.
fn told(seed: u64) -> String {
    let scenario = Scenario::draw(seed);
    let Some(violation) = simulate(&scenario, false).violation else {
        return format!("seed {seed} fails no more: the run is not what its seed says");
    };
    let smaller = shrunk(&scenario, violation.invariant);
    let run = simulate(&smaller, true);
    let mut text = format!(
        "seed {seed} breaks {:?}: {}\n(`cutover-simulate --seed {seed} --trace` tells all of it)\n",
        violation.invariant, violation.text
    );
    let _ = writeln!(
        text,
        "what is left of it:\nacts: {:#?}\nfaults: {:#?}",
        smaller.acts, smaller.faults
    );
    let lines: Vec<&str> = run.text.lines().collect();
    for line in &lines[lines.len().saturating_sub(60)..] {
        let _ = writeln!(text, "{line}");
    }
    text
}

#[test]
fn every_promise_holds_in_every_run() {
    let (next, runs) = (AtomicU64::new(0), runs());
    let seen = Mutex::new(BTreeMap::<&'static str, u64>::new());
    let failed = Mutex::new(None::<u64>);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failed.lock().unwrap().is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= runs {
                        return;
                    }
                    let Run { violation, seen: here, .. } = simulate(&Scenario::draw(seed), false);
                    let mut seen = seen.lock().unwrap();
                    for (what, times) in here {
                        *seen.entry(what).or_default() += times;
                    }
                    if violation.is_some() {
                        failed.lock().unwrap().get_or_insert(seed);
                    }
                }
            });
        }
    });
    if let Some(seed) = *failed.lock().unwrap() {
        panic!("{}", told(seed));
    }
    // The runs are about something: each kind of end is reached in many of them.
    let seen = seen.into_inner().unwrap();
    for (what, least) in [
        ("committed", runs),
        ("returned", runs / 4),
        ("rolled back", runs / 50),
        ("abandoned", runs / 20),
        ("returned by a halt", runs / 100),
        ("past a freeze", runs / 100),
        ("waived", runs / 20),
        ("approved ahead", runs / 20),
        ("witnessed", runs / 2),
    ] {
        let times = seen.get(what).copied().unwrap_or_default();
        assert!(times >= least, "{what}: too few of {seen:?}");
    }
}

#[test]
fn a_seed_is_a_run_to_the_byte() {
    for seed in 1000..1010 {
        let one = simulate(&Scenario::draw(seed), true);
        let other = simulate(&Scenario::draw(seed), true);
        assert_eq!(one.text, other.text, "seed {seed}");
        assert_eq!(one.digest, other.digest, "seed {seed}");
        // Whether the lines are kept changes nothing.
        assert_eq!(one.digest, simulate(&Scenario::draw(seed), false).digest, "seed {seed}");
    }
    let (one, other) = (simulate(&Scenario::draw(1), false), simulate(&Scenario::draw(2), false));
    assert_ne!(one.digest, other.digest, "another seed is another run");
}
