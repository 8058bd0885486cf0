//! What is said around the decisions, by somebody whose word it is not, or for something else than it was
//! said of: answers, rehearsals, conditions, exceptions, pre-approvals, a halt, a lost log.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::log::TreeHead;
use cutover_shared::policy::{Department, Exception, LogEpoch, PolicyDocument, Role, Rule};
use cutover_shared::refusal::Code;
use cutover_shared::statement::{
    ChangeType, Consult, Event, FormUsed, Freeze, Judgement, OnHalt, Override, PassedFreeze,
    Rehearsal, Rehearsed, Review, Standard, Statement, Task, TaskChange, TaskKind, Template,
    Verdict, Vote, Waiver, WindowRelease,
};
use cutover_shared::window::Window;

use super::logs::Log;
use super::offers::{Offer, on_staging};
use super::statements::{after_a_release, one_release, payload, signed};
use super::{COORDINATOR, HOST, PERSON};
use crate::entrance::Entrance;
use crate::fixture::Attack;
use crate::world::{Way, World, at, booking, document, key, name, names, outcome, release};

const TWO: &str = "two people's keys";
const CONSULTS: &str = "DESIGN 3: a consult is signed by a named owner of the department";
const CONDITIONS: &str = "PROCESS 12: a condition is confirmed before the window is released";
const EXCEPTIONS: &str = "DESIGN 3: a waiver is an exception to what the policy lists as waivable";
const AHEAD: &str = "DESIGN 4: a standard change needs its own signed ground, by someone else";
const HALT: &str = "DESIGN 7: return-all needs failures of at least two hosts";
const EPOCH: &str = "DESIGN 11: hosts accept exactly the checkpoint that a log epoch names";

fn because() -> String {
    "because".to_owned()
}

fn yes() -> Judgement {
    Judgement::Accepted { reason: String::new() }
}

pub(super) fn controls() -> Vec<Attack> {
    vec![
        answer("a department's answer", "", "networks", "ops"),
        rehearsal("a rehearsal", "", "bob"),
        confirmed("a condition that is met", "", "bob"),
        passing(true).0.attack("a freeze that is passed", ""),
        ahead(true).attack("a change approved ahead", ""),
        with_form(true).attack("a form that the policy asks for", ""),
        halting(2).brought_to(Entrance::Return, "a halt", ""),
        after_the_loss(true).attack("a log after a loss", ""),
    ]
}

pub(super) fn attacks() -> Vec<Attack> {
    [said(), excepted(), offered()].concat()
}

// ---- what the log refuses ----

/// Somebody answers for a department.
fn answer(name: &'static str, title: &str, department: &str, by: &str) -> Attack {
    let mut document = document(1);
    let speak = |department: &str, owners: &[&str]| Department {
        name: crate::world::name(department),
        owners: names(owners),
    };
    document.departments = vec![speak("networks", &["ops", "max"]), speak("desk", &["bob"])];
    let policy = Statement::new(at(0), document).signed_by([&key("root")]);
    let (mut log, release, _) = Log::with_release();
    let (environments, department) = (names(&["production"]), crate::world::name(department));
    log.say(by, Consult::Answered { release, environments, department, judgement: yes() });
    log.attack(name, title).file("policy.json", policy.to_bytes())
}

fn rehearsal(name: &'static str, title: &str, by: &str) -> Attack {
    let (mut log, release, package) = Log::with_release();
    let passed = Rehearsed::Passed {
        applied_in: Duration::from_secs(20),
        returned_in: Duration::from_secs(10),
    };
    log.say(
        by,
        Rehearsal {
            release,
            package,
            earlier: None,
            result: passed,
            steps: Vec::new(),
            sandbox: "bubblewrap".to_owned(),
            transcript: Digest::of(b"transcript"),
        },
    );
    log.attack(name, title)
}

fn condition(release: Digest, environments: &[&str]) -> Vote {
    let conditions = vec!["the backup is done".to_owned()];
    Vote { release, environments: names(environments), judgement: yes(), conditions }
}

/// Somebody confirms the condition of an approval.
fn confirmed(name: &'static str, title: &str, by: &str) -> Attack {
    let (mut log, release, _) = Log::with_release();
    let vote = log.say("bea", condition(release, &["production"]));
    let kind = TaskKind::Condition { vote, number: 1 };
    log.say(by, Task { release, kind, change: TaskChange::Done { note: because() } });
    log.attack(name, title)
}

fn said() -> Vec<Attack> {
    vec![
        answer(
            "consult-by-another-department",
            "Somebody who speaks for the service desk answers for the networks.",
            "networks",
            "bob",
        )
        .by(PERSON, CONSULTS)
        .refused(Code::RoleMissing, "for networks speak max, ops"),
        rehearsal(
            "rehearsal-by-the-submitter",
            "The submitter rehearses, who knows what the instructions leave out.",
            "sue",
        )
        .by(PERSON, "DESIGN 3: a rehearsal is signed with any key but the submitter's")
        .refused(Code::DutiesNotSeparate, "sue submitted the release and rehearsed it"),
        confirmed(
            "condition-confirmed-by-the-submitter",
            "The submitter, who is on the board too, confirms what the board demanded.",
            "sue",
        )
        .by(PERSON, CONDITIONS)
        .refused(Code::DutiesNotSeparate, "sue submitted the release and confirmed a condition"),
    ]
}

fn excepted() -> Vec<Attack> {
    let (_, id) = one_release();
    let waiver = |exception| Waiver {
        release: id,
        environment: name("production"),
        exception,
        reason: because(),
    };
    let votes = Statement::new(at(0), waiver(Exception::Votes)).until(at(5000));
    let votes = votes.signed_by([&key("max"), &key("sec")]).to_bytes();
    let window = payload("max", waiver(Exception::Votes)).replace("\"votes\"", "\"window\"");
    vec![
        after_a_release(
            "waiver-of-what-the-policy-does-not-list",
            "Two with all the roles there are do without the board, which the policy lets nobody.",
            votes,
        )
        .by(TWO, EXCEPTIONS)
        .refused(
            Code::NotWaivable,
            "the policy lets nobody do without votes for normal changes in production",
        ),
        after_a_release(
            "waiver-of-the-window",
            "A waiver of what no policy can list: windows have no word among the exceptions.",
            signed("max", &window).to_bytes(),
        )
        .by(PERSON, EXCEPTIONS)
        .refused(
            Code::Malformed,
            "read what the waiver statement says: unknown variant `window`, expected one of \
             `duties`, `review`, `assessment`, `votes`, `delivery`, `environments`, `consults` at \
             line 1 column 125",
        ),
    ]
}

// ---- what a host refuses ----

/// A release for staging that passes one freeze; and the other one there, if there is one.
fn passing(all: bool) -> (Offer, Option<Digest>) {
    let mut document = document(1);
    document.rules[0].freeze_override = Some(Role::Security);
    let (mut world, way) = on_staging(World::with_policy(document));
    world.now = at(900);
    let freeze = |reason: &str| Freeze::Declared {
        policy: Digest::of(b"policy"),
        environments: names(&["staging"]),
        applications: BTreeSet::new(),
        start: at(0),
        end: at(3000),
        reason: reason.to_owned(),
    };
    let first = world.say(&["max"], freeze("the year ends")).unwrap();
    let other = (!all).then(|| world.say(&["max"], freeze("the audit")).unwrap());
    let freezes = vec![PassedFreeze { freeze: first, reason: because() }];
    let says = Override { release: way.release, booking: way.booking, freezes };
    world.say(&["max", "sec"], says).unwrap();
    world.now = at(1000);
    (Offer::honest(&world, "s1", way.booking), other)
}

/// A release for staging that stands on a pre-approval of its package, or of another one.
fn ahead(fits: bool) -> Offer {
    let mut document = document(1);
    document.rules.push(Rule::lax(name("staging"), ChangeType::Standard));
    let mut world = World::with_policy(document);
    let package = Digest::of(b"1.0");
    let mut submitted = release("1.0", package);
    submitted.environments = names(&["staging"]);
    submitted.change = ChangeType::Standard;
    let template = Template {
        policy: Digest::of(b"policy"),
        title: "the monthly text".to_owned(),
        application: submitted.application.clone(),
        environments: submitted.environments.clone(),
        package: if fits { package } else { Digest::of(b"0.9") },
        apply_budget: submitted.apply_budget,
        rollback_reserve: submitted.rollback_reserve,
        may_differ: BTreeSet::new(),
        reason: because(),
    };
    let approved = Standard::Approved(Box::new(template));
    let approved = Statement::new(at(0), approved).until(at(5000));
    submitted.standard = Some(world.state(&["max"], &approved).unwrap());
    let release = world.say(&["sue"], submitted).unwrap();
    let booking = world.book((release, package), "staging", &[&["s1"]]);
    world.release_window(Way { release, package, booking });
    world.now = at(1000);
    Offer::honest(&world, "s1", booking)
}

/// A release for staging on which the board has set a condition that nobody confirmed.
fn with_open_condition() -> Offer {
    let mut world = World::new();
    let (release, package) = world.submit("1.0");
    let environments = names(&["staging"]);
    world.say(&["lib"], Review { release, environments, verdict: Verdict::Complete }).unwrap();
    world.say(&["bea"], condition(release, &["staging"])).unwrap();
    let booking = world.book((release, package), "staging", &[&["s1"]]);
    world.release_window(Way { release, package, booking });
    world.now = at(1000);
    Offer::honest(&world, "s1", booking).unasked()
}

/// A release for staging, where the policy asks for a form of an operator's own; with that, or without.
fn with_form(is_there: bool) -> Offer {
    let mut document = document(1);
    document.rules[0].forms = names(&["agency-x"]);
    let mut world = World::with_policy(document);
    let package = Digest::of(b"1.0");
    let mut submitted = release("1.0", package);
    submitted.environments = names(&["staging"]);
    if is_there {
        let (form, digest) = (name("agency-x"), Digest::of(b"the schema"));
        submitted.forms.insert(FormUsed { form, version: 1, digest });
    }
    let release = world.say(&["sue"], submitted).unwrap();
    let environments = names(&["staging"]);
    world.say(&["lib"], Review { release, environments, verdict: Verdict::Complete }).unwrap();
    let booking = world.book((release, package), "staging", &[&["s1"]]);
    world.release_window(Way { release, package, booking });
    world.now = at(1000);
    Offer::honest(&world, "s1", booking)
}

/// A host that is to go back because so many others of its booking failed.
fn halting(failed: usize) -> Offer {
    let mut world = World::new();
    let (release, package) = world.submit("1.0");
    let window = Window { start: at(1000), end: at(2000) };
    let waves: &[&[&str]] = &[&["p1"], &["p2", "p3"]];
    let mut says = booking((release, package), "production", waves, window);
    says.plan.on_halt = OnHalt::ReturnAll { budget: 3 };
    let checkpoint = world.tree.head();
    let order = world.say(&["max"], says).unwrap();
    let way = Way { release, package, booking: order };
    world.say(&["max"], WindowRelease { booking: order, release, package, checkpoint }).unwrap();
    world.now = at(1100);
    world.say(&["p1"], outcome("p1", way, Event::Committed, at(1100))).unwrap();
    for host in ["p2", "p3"].into_iter().take(failed) {
        let (step, reason) = ("checking".to_owned(), "no answer".to_owned());
        world.say(&[host], outcome(host, way, Event::Returned { step, reason }, at(1100))).unwrap();
    }
    let mut offer = Offer::honest(&world, "p1", order).unasked();
    offer.asked.generation = 1;
    offer.asked.running = Some(package);
    offer.asked.previous = Some(Digest::of(b"0.9"));
    offer.asked.committed_by = Some(order);
    offer
}

/// What a host that had seen more is offered after entries were lost, by a policy that names what was saved,
/// or something else.
fn after_the_loss(exactly: bool) -> Offer {
    let (lost, way) = on_staging(World::new());
    let size = lost.tree.size();
    let mut longer = lost.clone();
    longer.say(&["ops"], crate::world::enrolment("s2", "staging")).unwrap();
    let seen = longer.tree.head();
    let saved = lost.tree.head();
    let root = if exactly { saved.root } else { Digest::of(b"another root") };
    let mut next: PolicyDocument = document(2);
    next.epoch = Some(LogEpoch { last_good: TreeHead { size, root }, reason: because() });
    let mut world = World::replay(&lost, size);
    world.now = at(1000);
    let bytes = Statement::new(at(0), next).signed_by([&key("root")]).to_bytes();
    let _ = world.append_bytes(bytes);
    let mut evidence = world.evidence(way.booking, "s1", size);
    evidence.entries.retain(|entry| entry.index != 0);
    let mut offer = Offer::of(&world, "s1", way.booking, evidence);
    offer.asked.seen = seen;
    offer
}

fn offered() -> Vec<Attack> {
    let (passing, other) = passing(false);
    vec![
        with_open_condition()
            .attack(
                "condition-left-open",
                "The board said yes on a condition, and nobody has confirmed that it is met.",
            )
            .by(COORDINATOR, CONDITIONS)
            .refused(Code::ConditionOpen, "not confirmed: \"the backup is done\" of bea"),
        with_form(false)
            .unasked()
            .attack(
                "form-left-out",
                "Whoever has the coordinator lets a release in without a form that the agency asks for.",
            )
            .by(COORDINATOR, "PROCESS 4: forms that are defined later are asked for too")
            .refused(
                Code::FormMissing,
                "staging asks for agency-x, which the submission does not name",
            ),
        passing
            .unasked()
            .attack(
                "override-of-another-freeze",
                "Two passed the freeze for the year's end, and an audit has frozen the place as well.",
            )
            .by(COORDINATOR, "DESIGN 3: an override names each freeze that it passes")
            .refused(Code::Frozen, format!("by {}", other.unwrap().short())),
        ahead(false)
            .unasked()
            .attack(
                "pre-approval-of-another-package",
                "A change that somebody approved ahead, with another package in it.",
            )
            .by("the submitter's key, and the coordinator", AHEAD)
            .refused(Code::GroundMissing, "it does not fit its pre-approval: package"),
        halting(1)
            .brought_to(
                Entrance::Return,
                "halt-after-one-failure",
                "One host says that it failed, so that all the others leave the release that they run.",
            )
            .by(HOST, HALT)
            .refused(
                Code::RollbackNotAuthorised,
                "1 hosts have signed that they failed, 2 are needed",
            ),
        after_the_loss(false)
            .unasked()
            .attack(
                "epoch-of-another-log",
                "A log is said to be what was saved of the one before, and is another.",
            )
            .by("the root threshold, and the coordinator", EPOCH)
            .refused(
                Code::CheckpointInconsistent,
                "10 entries do not extend the 9 seen before: arrive at the root of the log of 9 entries",
            ),
    ]
}
