//! The adversary gets exactly what the budget grants, and no more.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cutover_tests::adversary::budget::{Gain, Owned, grants, rows};
use cutover_tests::adversary::chance;
use cutover_tests::adversary::directed::{ATTEMPTS, POWERS, honest};
use cutover_tests::adversary::scene::Scene;

/// What was gained in a run, beside what was to happen and did not.
fn gained(run: &cutover_tests::adversary::run::Run) -> Vec<Gain> {
    let mut gains: Vec<_> = run.referee.gained.iter().map(|(gain, _)| *gain).collect();
    gains.sort_unstable();
    gains.dedup();
    gains
}

#[test]
fn when_everybody_is_honest_what_is_due_is_done_and_nothing_is_gained() {
    for owned in [Owned::Nothing, Owned::CoordinatorAndQuorum] {
        let scene = Scene::of(owned);
        let run = honest(scene);
        assert_eq!(run.referee.gained, []);
        assert!(!run.is_delayed(scene), "{owned}: {:?}", run.refusals());
    }
}

#[test]
fn each_power_that_is_granted_can_be_had() {
    for power in POWERS {
        let scene = Scene::of(power.owned);
        let run = (power.take)(scene);
        let gains = gained(&run);
        let facts = &run.referee.gained;
        let had = gains.contains(&power.gain) || power.gain == Gain::Delay && run.is_delayed(scene);
        assert!(had, "{}, {}: {facts:?} {:?}", power.owned, power.name, run.refusals());
        for gain in gains {
            assert!(grants(power.owned, gain), "{}, {}: {facts:?}", power.owned, power.name);
        }
    }
}

#[test]
fn the_table_promises_nothing_that_was_not_had() {
    let had = |owned, gain| POWERS.iter().any(|it| it.owned == owned && it.gain == gain);
    for row in rows() {
        for gain in row.gains {
            let by_less = match row.owned {
                Owned::Nothing
                | Owned::Network
                | Owned::Coordinator
                | Owned::CoordinatorAndQuorum => false,
                Owned::CoordinatorAndWitness => had(Owned::CoordinatorAndQuorum, *gain),
                Owned::CoordinatorAndHost | Owned::CoordinatorAndPerson(_) => {
                    had(Owned::Coordinator, *gain)
                }
            };
            assert!(by_less || had(row.owned, *gain), "{}: {gain:?}", row.owned);
        }
    }
}

#[test]
fn each_power_that_is_denied_is_refused_to_who_tries_for_it() {
    for attempt in ATTEMPTS {
        let scene = Scene::of(attempt.owned);
        let run = (attempt.make)(scene);
        let refusals = run.refusals();
        let name = format!("{}, {}", attempt.owned, attempt.name);
        assert!(
            refusals.contains_key(attempt.meets),
            "{name}: {refusals:?}, {:?}",
            run.hosts[1].notes
        );
        for (gain, facts) in &run.referee.gained {
            assert!(grants(attempt.owned, *gain), "{name}: {gain:?}, {facts}");
        }
    }
}

/// What many runs came to.
#[derive(Debug, Default)]
struct Seen {
    faults: Vec<String>,
    activations: u32,
    passed_over: u32,
    refusals: BTreeSet<String>,
}

/// How many strategies are drawn; more by CUTOVER_ADVERSARY_RUNS, from CUTOVER_ADVERSARY_SEED on.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let from = number("CUTOVER_ADVERSARY_SEED").unwrap_or(0);
    from..from + number("CUTOVER_ADVERSARY_RUNS").unwrap_or(32)
}

#[test]
fn no_strategy_gets_more_than_the_budget() {
    let rows: Vec<_> = rows().into_iter().filter(|row| row.owned != Owned::Nothing).collect();
    let seeds = seeds();
    let next = AtomicU64::new(seeds.start);
    let seen = Mutex::new(Seen::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let owned = rows[usize::try_from(seed).unwrap() % rows.len()].owned;
                    let run = chance::run(Scene::of(owned), owned, seed);
                    let mut seen = seen.lock().unwrap();
                    seen.activations += run.referee.activations;
                    seen.refusals.extend(run.refusals().into_keys());
                    for (gain, facts) in &run.referee.gained {
                        seen.passed_over += u32::from(*gain == Gain::PassOver);
                        if !grants(owned, *gain) {
                            seen.faults.push(format!("seed {seed}, {owned}: {gain:?}, {facts}"));
                        }
                    }
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.faults, Vec::<String>::new());
    // The strategies get somewhere: else they prove nothing.
    let runs = seeds.end - seeds.start;
    assert!(u64::from(seen.activations) > runs, "{seen:?}");
    assert!(seen.refusals.len() > 20 && seen.passed_over > 0, "{seen:?}");
}
