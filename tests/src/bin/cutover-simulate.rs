//! Runs the simulated fleet over many seeds, or over one and tells everything that happens in it.

#![expect(clippy::print_stdout, reason = "a program that prints what it finds")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use cutover_tests::simulation::{Scenario, shrunk, simulate};

/// Simulates fleets that go wrong, and looks whether Cutover's promises hold
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  cutover-simulate --runs 10000\n  cutover-simulate --seed 4711 --trace"
)]
struct Arguments {
    /// How many runs
    #[arg(long, default_value_t = 500)]
    runs: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One run only: of this seed
    #[arg(long)]
    seed: Option<u64>,
    /// Tell everything that happens in it
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Make a failing run smaller before it is told
    #[arg(long)]
    shrink: bool,
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    let failed = match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => many(&arguments),
    };
    std::process::ExitCode::from(u8::from(failed))
}

/// One run; whether a promise was broken.
fn one(seed: u64, arguments: &Arguments) -> bool {
    let mut scenario = Scenario::draw(seed);
    let mut run = simulate(&scenario, arguments.trace);
    if arguments.shrink
        && let Some(violation) = &run.violation
    {
        scenario = shrunk(&scenario, violation.invariant);
        run = simulate(&scenario, arguments.trace);
    }
    if arguments.trace {
        println!("{scenario:#?}\n{}", run.text);
    }
    println!("seed {seed}: {} {:?}", run.digest, run.seen);
    if let Some(violation) = &run.violation {
        println!("{:?} at {} ms: {}", violation.invariant, violation.at, violation.text);
    }
    run.violation.is_some()
}

/// Many runs, on every core; whether a promise was broken in any.
fn many(arguments: &Arguments) -> bool {
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.runs;
    let failures = Mutex::new(BTreeMap::new());
    let seen = Mutex::new(BTreeMap::<&'static str, u64>::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let run = simulate(&Scenario::draw(seed), false);
                    let mut seen = seen.lock().expect("nobody panics with it");
                    for (what, times) in run.seen {
                        *seen.entry(what).or_default() += times;
                    }
                    if let Some(violation) = run.violation {
                        failures.lock().expect("nobody panics with it").insert(seed, violation);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("nobody panics with it");
    for (seed, violation) in &failures {
        println!(
            "seed {seed}: {:?} at {} ms: {}",
            violation.invariant, violation.at, violation.text
        );
    }
    let seen = seen.into_inner().expect("nobody panics with it");
    println!("{} runs, {} failed; seen: {seen:?}", arguments.runs, failures.len());
    !failures.is_empty()
}
