//! Making a failing run smaller: what can be left out, and the same promise is still broken, is left out.

use super::referee::Invariant;
use super::scenario::Scenario;
use super::{Run, simulate};

/// The smallest scenario found in which `invariant` is still broken.
pub fn shrunk(scenario: &Scenario, invariant: Invariant) -> Scenario {
    let breaks = |candidate: &Scenario| {
        let Run { violation, .. } = simulate(candidate, false);
        violation.is_some_and(|violation| violation.invariant == invariant)
    };
    let mut smallest = scenario.clone();
    loop {
        let before = size(&smallest);
        smallest = without_each(
            smallest,
            |it| it.faults.len(),
            |it, at| {
                it.faults.remove(at);
            },
            &breaks,
        );
        smallest = without_each(
            smallest,
            |it| it.acts.len(),
            |it, at| {
                it.acts.remove(at);
            },
            &breaks,
        );
        let mut calm = smallest.clone();
        calm.network =
            super::scenario::Weather { lost: 0, twice: 0, late: 0, breaks: 0, mixed_up: 0 };
        calm.skew = 0;
        if breaks(&calm) {
            smallest = calm;
        }
        if size(&smallest) == before {
            return smallest;
        }
    }
}

fn size(scenario: &Scenario) -> (usize, usize) {
    (scenario.faults.len(), scenario.acts.len())
}

/// Leaves out one after the other, from the last on.
fn without_each(
    mut scenario: Scenario,
    length: impl Fn(&Scenario) -> usize,
    remove: impl Fn(&mut Scenario, usize),
    breaks: &impl Fn(&Scenario) -> bool,
) -> Scenario {
    for at in (0..length(&scenario)).rev() {
        let mut candidate = scenario.clone();
        remove(&mut candidate, at);
        if breaks(&candidate) {
            scenario = candidate;
        }
    }
    scenario
}
