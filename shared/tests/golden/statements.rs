//! The payload of each predicate, version 1.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_shared::calendar::recurring::{Document, Length, Moved, Recurring};
use cutover_shared::calendar::span::Wall;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::key::{PublicKey, SecretKey};
use cutover_shared::log::TreeHead;
use cutover_shared::name::Name;
use cutover_shared::policy::{
    Department, Exception, KeyEntry, KeyStatus, LogEpoch, LogKey, PolicyDocument, Proof, Role,
    Rule, Scope, Waivable, WitnessKey,
};
use cutover_shared::statement::{
    Acknowledgement, Assessment, Booking, Calendar, Cancel, ChangeType, Clearance, Closure,
    ClosureResult, Consult, Delivery, Derivation, Differing, Direction, Drift, Emergency,
    Enrolment, Event, FormUsed, Freeze, Grant, Hold, HostChange, HostTurn, Iteration,
    IterationApproval, Judgement, Managed, ManagedKind, OnHalt, Outcome, Override, PassedFreeze,
    Phase, PlannedHost, PostReview, Reading, Rehearsal, Rehearsed, RehearsedStep, Release, Remark,
    Resume, Review, Rollback, RolloutPlan, Says, Standard, Statement, Step, StepResult, Task,
    TaskChange, TaskKind, Template, Terms, Verdict, Vote, Waiver, Wave, WindowRelease,
};
use cutover_shared::time::Time;
use cutover_shared::window::Window;

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn names(text: &str) -> BTreeSet<Name> {
    BTreeSet::from([name(text)])
}

fn key(seed: u8) -> PublicKey {
    SecretKey::from_seed([seed; 32]).public()
}

fn at(text: &str) -> Time {
    text.parse().unwrap()
}

fn start() -> Time {
    at("2026-03-08T06:30:00Z")
}

fn end() -> Time {
    at("2026-03-08T08:30:00Z")
}

fn labels() -> BTreeMap<Name, String> {
    BTreeMap::from([(name("rack"), "7".to_owned())])
}

fn policy() -> PolicyDocument {
    let scope = Scope::Only(names("web"));
    let log = LogKey { origin: "cutover.example.org/log".to_owned(), key: key(1) };
    PolicyDocument {
        predicates: BTreeSet::from(["vote".to_owned()]),
        keys: vec![KeyEntry {
            owner: name("alice"),
            email: "alice@example.org".to_owned(),
            key: key(2),
            roles: BTreeSet::from([Role::Root, Role::ChangeManager]),
            applications: scope,
            environments: Scope::All,
            status: KeyStatus::Rotated { logged_below: 2 },
        }],
        rules: vec![Rule {
            reviews: 1,
            assessments: 1,
            votes: 2,
            delivery: true,
            after: vec![Proof { environment: name("staging"), hosts: 2 }],
            ..Rule::lax(name("production"), ChangeType::Normal)
        }],
        ..PolicyDocument::bare(log, end())
    }
}

/// With everything that a policy may leave out.
fn full_policy() -> PolicyDocument {
    let mut policy = policy();
    policy.version = 3;
    policy.not_before = Some(start());
    policy.epoch = Some(LogEpoch {
        last_good: TreeHead { size: 9, root: digest("root") },
        reason: "the disk".to_owned(),
    });
    policy.witnesses = vec![WitnessKey {
        name: "witness.example.org".to_owned(),
        owner: name("wanda"),
        email: "wanda@example.org".to_owned(),
        key: key(7),
    }];
    let by = [Role::ChangeManager, Role::Security];
    policy.rules[0].witnesses = 1;
    policy.rules[0].freeze_override = Some(Role::Board);
    // Those that were there from the first; the later one is in the policy that asks for consults.
    let listed = Exception::ALL.iter().filter(|it| **it != Exception::Consults);
    policy.rules[0].waivable =
        listed.map(|exception| Waivable { exception: *exception, by }).collect();
    policy
}

/// With what was added for the board and for other departments.
fn consulting_policy() -> PolicyDocument {
    let mut policy = policy();
    policy.departments = vec![Department { name: name("networks"), owners: names("alice") }];
    policy.rules[0].consults = names("networks");
    policy.rules[0].approval_lifetime = Some(Duration::from_hours(72));
    policy.rules[0].rehearsals = 1;
    let by = [Role::ChangeManager, Role::Security];
    policy.rules[0].waivable = vec![Waivable { exception: Exception::Consults, by }];
    policy
}

/// With a window for iterations, which came later than the rest.
fn standing_policy() -> PolicyDocument {
    let rule = Rule {
        standing_window: Some(Duration::from_mins(30)),
        ..Rule::lax(name("production"), ChangeType::Emergency)
    };
    PolicyDocument { rules: vec![rule], ..policy() }
}

fn hosts() -> Vec<Says> {
    let enrolment = Enrolment {
        host: name("web-1"),
        environment: name("production"),
        labels: labels(),
        applications: names("web"),
        host_key: key(3),
        transport_key: key(4),
        replaces: Some(key(5).id()),
        grant: Some(digest("grant")),
    };
    let outcome = |event| {
        Says::from(Outcome {
            host: name("web-1"),
            host_key: key(3).id(),
            application: name("web"),
            generation: 4,
            order: digest("booking"),
            release: digest("release"),
            package: digest("package"),
            event,
            running: Some(digest("running")),
            started: start(),
            ended: end(),
            readings: vec![Reading {
                check: "page".to_owned(),
                time: start(),
                healthy: false,
                detail: "500".to_owned(),
            }],
            clearances: vec!["e30=".to_owned()],
        })
    };
    let (step, reason) = ("checking".to_owned(), "unhealthy".to_owned());
    vec![
        HostChange::Enrolled(Box::new(enrolment)).into(),
        HostChange::Retired {
            host: name("web-1"),
            host_key: key(3).id(),
            reason: "old".to_owned(),
        }
        .into(),
        Grant {
            grant_key: key(6),
            environment: name("staging"),
            labels: labels(),
            applications: names("web"),
            count: 3,
        }
        .into(),
        outcome(Event::Committed),
        outcome(Event::Returned { step: step.clone(), reason: reason.clone() }),
        outcome(Event::RolledBack),
        outcome(Event::Refused { code: "held".to_owned(), detail: reason.clone() }),
        outcome(Event::Stuck { step, reason }),
        outcome(Event::Drifted(Box::new(Drift {
            path: "payload/a".to_owned(),
            expected: Some(Managed {
                kind: ManagedKind::File(digest("a")),
                mode: Some("0644".to_owned()),
                owner: "0:0".to_owned(),
            }),
            found: Some(Managed {
                kind: ManagedKind::Link("b".to_owned()),
                mode: None,
                owner: "1000:1000".to_owned(),
            }),
        }))),
    ]
}

#[expect(clippy::too_many_lines, reason = "one value for each thing that people can decide")]
fn decisions() -> Vec<Says> {
    let (release, package) = (digest("release"), digest("package"));
    let reason = || "because".to_owned();
    let environments = || names("production");
    let items = vec![Remark { item: "NOTES.md".to_owned(), remark: "empty".to_owned() }];
    vec![
        Release {
            application: name("web"),
            version: "1.0".to_owned(),
            package,
            change: ChangeType::Emergency,
            environments: environments(),
            summary: "a change".to_owned(),
            apply_budget: Duration::from_secs(90),
            rollback_reserve: Duration::from_mins(1),
            irreversible: false,
            requested_start: Some(start()),
            forms: BTreeSet::new(),
            iteration: Some(Iteration {
                grounds: digest("grounds"),
                number: 2,
                previous: Some(digest("previous")),
            }),
            standard: None,
            supersedes: Some(digest("earlier")),
        }
        .into(),
        with_forms(release).into(),
        Emergency::Opened {
            policy: digest("policy"),
            incident: "INC-7".to_owned(),
            application: name("web"),
            environments: environments(),
            reason: reason(),
        }
        .into(),
        Emergency::Approved(IterationApproval { grounds: digest("grounds"), release, number: 2 })
            .into(),
        Review { release, environments: environments(), verdict: Verdict::Complete }.into(),
        Review { release, environments: environments(), verdict: Verdict::Returned { items } }
            .into(),
        Review {
            release,
            environments: environments(),
            verdict: Verdict::Denied { reason: reason() },
        }
        .into(),
        Assessment {
            release,
            package,
            environments: environments(),
            judgement: Judgement::Denied { reason: reason() },
        }
        .into(),
        Vote {
            release,
            environments: environments(),
            judgement: Judgement::Accepted { reason: reason() },
            conditions: Vec::new(),
        }
        .into(),
        Delivery { release, package, location: "shelf 1".to_owned() }.into(),
        Hold { release, reason: reason(), finish: true }.into(),
        Resume { hold: digest("hold"), reason: reason() }.into(),
        Cancel { release, booking: Some(digest("booking")), reason: reason() }.into(),
        Freeze::Declared {
            policy: digest("policy"),
            environments: environments(),
            applications: names("web"),
            start: start(),
            end: end(),
            reason: reason(),
        }
        .into(),
        Freeze::Lifted { freeze: digest("freeze"), reason: reason() }.into(),
        calendar(None, Vec::new()).into(),
        calendar(Some(digest("calendar")), vec![saturdays()]).into(),
    ]
}

/// The submission of a package with a form.
fn with_forms(supersedes: Digest) -> Release {
    let form = FormUsed { form: name("cot-f052"), version: 1, digest: digest("schema") };
    Release {
        application: name("web"),
        version: "1.1".to_owned(),
        package: digest("package"),
        change: ChangeType::Normal,
        environments: names("staging"),
        summary: "a change".to_owned(),
        apply_budget: Duration::from_secs(90),
        rollback_reserve: Duration::from_mins(1),
        irreversible: true,
        requested_start: None,
        forms: BTreeSet::from([form]),
        iteration: None,
        standard: None,
        supersedes: Some(supersedes),
    }
}

fn calendar(replaces: Option<Digest>, windows: Vec<Recurring>) -> Calendar {
    let capacity_per_day = replaces.is_some().then_some(3);
    let notice = Duration::from_hours(48);
    let terms = Terms { zone: "America/New_York".to_owned(), notice, capacity_per_day, windows };
    Calendar { policy: digest("policy"), environment: name("production"), replaces, terms }
}

fn saturdays() -> Recurring {
    let wall = |text: &str| text.parse::<Wall>().unwrap();
    let end = "+1d 02:00".parse().unwrap();
    let moved = Moved { start: wall("2026-03-15T21:00"), length: None, until: Some(end) };
    let document = Document {
        name: name("saturdays"),
        start: wall("2026-03-07T22:00"),
        length: Some(Length(Duration::from_hours(4))),
        until: None,
        zone: "America/New_York".to_owned(),
        repeat: Some("FREQ=WEEKLY;BYDAY=SA;UNTIL=20261231T235959Z".parse().unwrap()),
        also: BTreeSet::from([wall("2026-03-11T12:00:30")]),
        except: BTreeSet::from([wall("2026-12-26T22:00")]),
        moved: BTreeMap::from([(wall("2026-03-14T22:00"), moved)]),
    };
    Recurring::new(document).unwrap()
}

fn orders() -> Vec<Says> {
    let (release, package) = (digest("release"), digest("package"));
    let host = || PlannedHost { host: name("web-1"), host_key: key(3).id() };
    let head = || TreeHead { size: 9, root: digest("root") };
    vec![
        Booking {
            release,
            package,
            application: name("web"),
            environment: name("production"),
            window: Window { start: start(), end: end() },
            derivation: Some(Derivation {
                start: "2026-03-08T01:30".to_owned(),
                end: "2h".to_owned(),
                zone: "America/New_York".to_owned(),
                tzdb: "2026a".to_owned(),
            }),
            plan: RolloutPlan {
                waves: vec![Wave { name: name("canary"), hosts: vec![host()] }],
                at_once: 1,
                healthy_for: Duration::from_secs(10),
                halt_after: 1,
                on_halt: OnHalt::Pause,
            },
        }
        .into(),
        WindowRelease { booking: digest("booking"), release, package, checkpoint: head() }.into(),
        Rollback {
            application: name("web"),
            environment: name("production"),
            hosts: vec![HostTurn { host: name("web-1"), host_key: key(3).id(), generation: 4 }],
            from: package,
            to: digest("older"),
            reason: "slow".to_owned(),
        }
        .into(),
        Clearance {
            host: name("web-1"),
            host_key: key(3).id(),
            nonce: digest("nonce"),
            order: digest("booking"),
            phase: Phase::Activate,
            checkpoint: head(),
            policy_version: 1,
            policy: digest("policy"),
            time: start(),
        }
        .into(),
    ]
}

fn exceptions() -> Vec<Says> {
    let reason = || "because".to_owned();
    let template = Template {
        policy: digest("policy"),
        title: "refresh the list".to_owned(),
        application: name("web"),
        environments: names("production"),
        package: digest("package"),
        apply_budget: Duration::from_secs(90),
        rollback_reserve: Duration::from_mins(1),
        may_differ: BTreeSet::from([
            Differing::Package,
            Differing::FewerEnvironments,
            Differing::ShorterBudget,
            Differing::LongerReserve,
        ]),
        reason: reason(),
    };
    let waiver = |exception: &Exception| {
        Says::from(Waiver {
            release: digest("release"),
            environment: name("production"),
            exception: *exception,
            reason: reason(),
        })
    };
    let freezes = vec![PassedFreeze { freeze: digest("freeze"), reason: reason() }];
    let mut all = vec![
        Standard::Approved(Box::new(template)).into(),
        Standard::Withdrawn { standard: digest("standard"), reason: reason() }.into(),
        Override { release: digest("release"), booking: digest("booking"), freezes }.into(),
    ];
    all.extend(Exception::ALL.iter().map(waiver));
    let Some(Says::Release(mut release)) = decisions().into_iter().next() else { unreachable!() };
    release.change = ChangeType::Standard;
    release.iteration = None;
    release.standard = Some(digest("standard"));
    all.push(Says::Release(release));
    all
}

#[expect(
    clippy::too_many_lines,
    reason = "one value for each thing that people can say around them"
)]
/// What is said around the decisions.
fn process() -> Vec<Says> {
    let (release, package) = (digest("release"), digest("package"));
    let because = || "because".to_owned();
    let environments = || names("production");
    let department = || name("networks");
    let rehearsal = |result| Rehearsal {
        release,
        package,
        earlier: Some(digest("earlier")),
        result,
        steps: vec![RehearsedStep {
            step: "checking".to_owned(),
            took: Duration::from_millis(1500),
        }],
        sandbox: "namespaces".to_owned(),
        transcript: digest("transcript"),
    };
    let passed = Rehearsed::Passed {
        applied_in: Duration::from_secs(12),
        returned_in: Duration::from_millis(300),
    };
    let failed = Rehearsed::Failed { step: "checking".to_owned(), reason: because() };
    let task = |kind, change| Says::from(Task { release, kind, change });
    let step = |direction, result| Step {
        booking: digest("booking"),
        host: name("gate-1"),
        host_key: key(3).id(),
        step: name("bind-plans"),
        direction,
        result,
    };
    let done = || TaskChange::Done { note: because() };
    let condition = TaskKind::Condition { vote: digest("vote"), number: 1 };
    let review = PostReview {
        findings: "it took twice as long".to_owned(),
        actions: vec!["book more".to_owned()],
        reference: Some("KB-7".to_owned()),
    };
    let closure = |result| Closure::Release { release, result, review: Some(review.clone()) };
    let mut all: Vec<Says> = vec![
        Consult::Asked {
            release,
            environments: environments(),
            department: department(),
            question: "will it hold?".to_owned(),
            mandatory: true,
        }
        .into(),
        Consult::Answered {
            release,
            environments: environments(),
            department: department(),
            judgement: Judgement::Accepted { reason: because() },
        }
        .into(),
        Vote {
            release,
            environments: environments(),
            judgement: Judgement::Accepted { reason: because() },
            conditions: vec!["call the desk".to_owned()],
        }
        .into(),
        rehearsal(passed).into(),
        rehearsal(failed).into(),
        task(condition, done()),
        task(TaskKind::Verify, TaskChange::Assigned { to: name("lena") }),
        step(Direction::Forward, StepResult::Done { note: because() }).into(),
        step(Direction::Back, StepResult::Failed { reason: because() }).into(),
        Acknowledgement { release, seen: digest("booking") }.into(),
        Closure::Emergency { grounds: digest("grounds"), summary: because() }.into(),
        Closure::Release { release, result: ClosureResult::NotImplemented, review: None }.into(),
    ];
    all.extend(TaskKind::COMMON.iter().map(|kind| task(*kind, done())));
    all.extend(ClosureResult::ALL.iter().map(|result| closure(*result).into()));
    all
}

#[test]
fn payloads_of_every_predicate() {
    let policies = [Says::from(policy()), Says::from(full_policy())].into_iter();
    let all = policies.chain(hosts()).chain(decisions()).chain(orders()).chain(exceptions());
    let all = all.chain(process()).chain([Says::from(consulting_policy())]);
    let all = all.chain([standing_policy().into()]);
    let speaker = SecretKey::from_seed([9; 32]);
    let mut seen = BTreeSet::new();
    let lines: Vec<_> = all
        .map(|says| {
            let predicate = says.predicate();
            seen.insert(predicate);
            let statement = Statement::new(start(), says).until(end());
            let envelope = statement.signed_by([&speaker]);
            let payload = String::from_utf8(envelope.payload().to_vec()).unwrap();
            let read = Statement::read(&Envelope::parse(&envelope.to_bytes()).unwrap()).unwrap();
            assert_eq!(read.says, statement.says, "it reads back");
            (predicate.to_string(), payload)
        })
        .collect();
    let known: BTreeSet<_> = cutover_shared::statement::Predicate::ALL.iter().copied().collect();
    assert_eq!(seen, known, "a predicate without a golden payload");
    crate::compare("statements.txt", &lines);
}
