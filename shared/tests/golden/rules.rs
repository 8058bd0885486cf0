//! The rules, in the order in which they are told: numbers are quoted by people and programs.

use cutover_shared::authorise::rules;

#[test]
fn numbers_and_order_of_the_rules() {
    let all = || [rules::FORWARD, rules::RETURN, rules::HALTING].into_iter().flatten();
    let lines: Vec<_> = all()
        .map(|rule| {
            let booking = if rule.of_booking { ", of the booking" } else { "" };
            (rule.number.to_string(), format!("{} (from {:?}{booking})", rule.about, rule.from))
        })
        .collect();
    let numbers: Vec<_> = all().map(|rule| rule.number).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "each once: {numbers:?}");
    crate::compare("rules.txt", &lines);
}
