//! What is said around the decisions: who may say it, and what it stops or lets through on the host.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_shared::authorise::{admission, rules};
use cutover_shared::digest::Digest;
use cutover_shared::name::Name;
use cutover_shared::policy::{Department, Exception, PolicyDocument, Role, Waivable};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{
    Acknowledgement, Assessment, Cancel, Closure, ClosureResult, Consult, Delivery, Direction,
    Emergency, Event, Freeze, Hold, HostChange, IterationApproval, Judgement, PostReview,
    Rehearsal, Rehearsed, Resume, Review, Says, Standard, Statement, Step, StepResult, Task,
    TaskChange, TaskKind, Verdict, Vote, Waiver,
};

use crate::forward::{emergency, iteration};
use crate::world::{Way, World, at, document, enrolment, key, name, names, outcome, release};

fn because() -> String {
    "because".to_owned()
}

fn yes() -> Judgement {
    Judgement::Accepted { reason: String::new() }
}

fn no() -> Judgement {
    Judgement::Denied { reason: because() }
}

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> Code {
    result.unwrap_err().code
}

fn production() -> BTreeSet<Name> {
    names(&["production"])
}

/// What p1 says, on the evidence that an honest coordinator sends.
fn ask(world: &World, way: Way) -> Option<Code> {
    world.ask("p1", way.booking).err().map(|it| it.code)
}

/// Networks (ops and max) must have said yes before production.
fn consulting() -> PolicyDocument {
    let mut document = document(1);
    let owners = names(&["ops", "max", "sue"]);
    document.departments = vec![
        Department { name: name("networks"), owners },
        Department { name: name("desk"), owners: names(&["bob"]) },
    ];
    document.rules[1].consults = names(&["networks"]);
    document
}

fn answered(release: Digest, department: &str, judgement: Judgement) -> Consult {
    let (environments, department) = (production(), name(department));
    Consult::Answered { release, environments, department, judgement }
}

fn asked(release: Digest, department: &str, mandatory: bool) -> Consult {
    let (environments, department) = (production(), name(department));
    Consult::Asked { release, environments, department, question: because(), mandatory }
}

#[test]
fn a_mandatory_department_must_have_said_yes() {
    let mut world = World::with_policy(consulting());
    let way = world.whole_way("1.0");
    assert_eq!(ask(&world, way), Some(Code::NotConsulted));
    world.say(&["ops"], answered(way.release, "networks", yes())).unwrap();
    assert_eq!(ask(&world, way), None);
    world.say(&["max"], answered(way.release, "networks", no())).unwrap();
    assert_eq!(ask(&world, way), Some(Code::NotConsulted), "one of the department says no");
    world.say(&["max"], answered(way.release, "networks", yes())).unwrap();
    assert_eq!(ask(&world, way), None, "the last answer of each counts");
}

#[test]
fn a_question_can_make_another_department_mandatory() {
    let mut world = World::with_policy(consulting());
    let way = world.whole_way("1.0");
    world.say(&["ops"], answered(way.release, "networks", yes())).unwrap();
    world.say(&["lib"], asked(way.release, "desk", false)).unwrap();
    assert_eq!(ask(&world, way), None, "it was only asked");
    world.say(&["lib"], asked(way.release, "desk", true)).unwrap();
    assert_eq!(ask(&world, way), Some(Code::NotConsulted));
    world.say(&["bob"], answered(way.release, "desk", yes())).unwrap();
    assert_eq!(ask(&world, way), None);
}

#[test]
fn an_answer_runs_out_and_is_none_for_another_release() {
    let mut world = World::with_policy(consulting());
    let way = world.whole_way("1.0");
    let answer = Statement::new(at(0), answered(way.release, "networks", yes())).until(at(1001));
    world.state(&["ops"], &answer).unwrap();
    assert_eq!(ask(&world, way), None);
    world.now = at(1001);
    assert_eq!(ask(&world, way), Some(Code::NotConsulted));
    let (other, _) = world.submit("1.1");
    world.say(&["ops"], answered(other, "networks", yes())).unwrap();
    assert_eq!(ask(&world, way), Some(Code::NotConsulted));
}

#[test]
fn who_may_ask_and_answer() {
    let mut world = World::with_policy(consulting());
    let (release, _) = world.submit("1.0");
    let answer = |world: &mut World, by: &str, department: &str| {
        world.say(&[by], answered(release, department, yes())).map(drop)
    };
    assert_eq!(code(answer(&mut world, "bea", "networks")), Code::RoleMissing);
    assert_eq!(code(answer(&mut world, "bob", "networks")), Code::RoleMissing);
    assert_eq!(code(answer(&mut world, "ops", "moon")), Code::SubjectUnknown);
    let by_author = answer(&mut world, "sue", "networks");
    assert_eq!(code(by_author), Code::DutiesNotSeparate, "sue submitted it");
    let question = world.say(&["sec"], asked(release, "desk", true));
    assert_eq!(code(question), Code::RoleMissing);
    world.say(&["max"], asked(release, "desk", true)).unwrap();
    let elsewhere = Consult::Asked {
        release,
        environments: names(&["moon"]),
        department: name("desk"),
        question: because(),
        mandatory: true,
    };
    assert_eq!(code(world.say(&["max"], elsewhere)), Code::WrongEnvironment);
}

#[test]
fn consults_can_be_waived_but_not_over_a_no() {
    let mut document = consulting();
    let by = [Role::ChangeManager, Role::Security];
    document.rules[1].waivable = vec![Waivable { exception: Exception::Consults, by }];
    let mut world = World::with_policy(document);
    let way = world.whole_way("1.0");
    let waiver = Waiver {
        release: way.release,
        environment: name("production"),
        exception: Exception::Consults,
        reason: because(),
    };
    let waiver = Statement::new(at(1000), waiver).until(at(2000));
    world.state(&["max", "sec"], &waiver).unwrap();
    assert_eq!(ask(&world, way), None);
    world.say(&["ops"], answered(way.release, "networks", no())).unwrap();
    assert_eq!(ask(&world, way), Some(Code::NotConsulted));
}

fn conditional(release: Digest, conditions: &[&str]) -> Vote {
    let conditions = conditions.iter().map(|it| (*it).to_owned()).collect();
    Vote { release, environments: production(), judgement: yes(), conditions }
}

fn task(release: Digest, kind: TaskKind) -> Task {
    Task { release, kind, change: TaskChange::Done { note: String::new() } }
}

#[test]
fn a_condition_is_confirmed_by_the_board_or_a_librarian() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let vote = world.say(&["bea"], conditional(way.release, &["call", "wait"])).unwrap();
    assert_eq!(ask(&world, way), Some(Code::ConditionOpen));
    let condition = |number| task(way.release, TaskKind::Condition { vote, number });
    assert_eq!(code(world.say(&["max"], condition(1))), Code::RoleMissing);
    assert_eq!(code(world.say(&["sue"], condition(1))), Code::DutiesNotSeparate, "the author");
    assert_eq!(code(world.say(&["lib"], condition(0))), Code::SubjectUnknown);
    assert_eq!(code(world.say(&["lib"], condition(3))), Code::SubjectUnknown);
    world.say(&["lib"], condition(1)).unwrap();
    assert_eq!(ask(&world, way), Some(Code::ConditionOpen), "one of two");
    world.say(&["bea"], condition(2)).unwrap();
    assert_eq!(ask(&world, way), None);
    world.say(&["bea"], conditional(way.release, &["call"])).unwrap();
    assert_eq!(ask(&world, way), Some(Code::ConditionOpen), "another vote, another condition");
    world.say(&["bea"], conditional(way.release, &[])).unwrap();
    assert_eq!(ask(&world, way), None, "she asks for nothing any more");
}

#[test]
fn conditions_are_few_and_of_a_yes() {
    let mut world = World::new();
    let (release, _) = world.submit("1.0");
    let refused = Vote { judgement: no(), ..conditional(release, &["call"]) };
    assert_eq!(code(world.say(&["bea"], refused)), Code::Malformed);
    assert_eq!(code(world.say(&["bea"], conditional(release, &[" "]))), Code::Malformed);
    assert_eq!(code(world.say(&["bea"], conditional(release, &["a"; 17]))), Code::Malformed);
    world.say(&["bea"], conditional(release, &["a"; 16])).unwrap();
}

/// An approval that is older than the policy lets it be when the window starts counts no longer.
#[test]
fn approvals_run_out() {
    let asked = |lifetime: u64, now: u64| {
        let mut document = document(1);
        document.rules[1].approval_lifetime = Some(Duration::from_secs(lifetime));
        let mut world = World::with_policy(document);
        let way = world.whole_way("1.0");
        world.now = at(now);
        ask(&world, way)
    };
    assert_eq!(
        asked(1000, 1000),
        Some(Code::NotApproved),
        "signed at 0, the window starts at 1000"
    );
    assert_eq!(asked(1001, 1000), None);
    assert_eq!(asked(1500, 1499), None);
    assert_eq!(asked(1500, 1500), Some(Code::NotApproved));
}

#[test]
fn tasks_are_done_by_whom_they_were_given_or_by_their_role() {
    let mut world = World::new();
    let (release, _) = world.submit("1.0");
    let given =
        |kind, to: &str| Task { release, kind, change: TaskChange::Assigned { to: name(to) } };
    let case = |world: &World| world.state.case(&release).unwrap().clone();
    assert_eq!(code(world.say(&["sec"], task(release, TaskKind::Deploy))), Code::RoleMissing);
    assert_eq!(code(world.say(&["sec"], given(TaskKind::Deploy, "sec"))), Code::RoleMissing);
    assert_eq!(code(world.say(&["max"], given(TaskKind::Deploy, "nobody"))), Code::SubjectUnknown);
    world.say(&["max"], given(TaskKind::Deploy, "sec")).unwrap();
    assert_eq!(case(&world).assignee(TaskKind::Deploy), Some(&name("sec")));
    assert!(case(&world).task_done(TaskKind::Deploy).is_none());
    let done = world.say(&["sec"], task(release, TaskKind::Deploy)).unwrap();
    world.say(&["ops"], task(release, TaskKind::Deploy)).unwrap();
    assert_eq!(case(&world).task_done(TaskKind::Deploy).unwrap().id(), done, "the first counts");
    assert!(case(&world).task_done(TaskKind::Verify).is_none());
}

#[test]
fn what_was_seen_is_acknowledged_by_anybody_whom_the_policy_knows() {
    let mut world = World::new();
    let (release, _) = world.submit("1.0");
    let seen = Acknowledgement { release, seen: release };
    assert_eq!(code(world.say(&["eve"], seen.clone())), Code::RoleMissing);
    world.say(&["bob"], seen).unwrap();
    let case = world.state.case(&release).unwrap();
    assert!(case.is_acknowledged(&release, &name("bob")));
    assert!(!case.is_acknowledged(&release, &name("bea")));
}

#[test]
fn a_rehearsal_is_anybodys_but_the_submitters() {
    let mut world = World::new();
    let (release, package) = world.submit("1.0");
    let rehearsal = |package| Rehearsal {
        release,
        package,
        earlier: None,
        result: Rehearsed::Failed { step: because(), reason: because() },
        steps: Vec::new(),
        sandbox: because(),
        transcript: Digest::of(b"transcript"),
    };
    assert_eq!(code(world.say(&["sue"], rehearsal(package))), Code::DutiesNotSeparate);
    assert_eq!(code(world.say(&["eve"], rehearsal(package))), Code::RoleMissing);
    assert_eq!(code(world.say(&["ops"], rehearsal(Digest::of(b"x")))), Code::DigestMismatch);
    world.say(&["ops"], rehearsal(package)).unwrap();
    assert_eq!(world.state.case(&release).unwrap().last_rehearsals().len(), 1);
}

fn rehearsed(way: Way, result: Rehearsed) -> Rehearsal {
    Rehearsal {
        release: way.release,
        package: way.package,
        earlier: None,
        result,
        steps: Vec::new(),
        sandbox: because(),
        transcript: Digest::of(b"transcript"),
    }
}

fn in_time(applied: u64, returned: u64) -> Rehearsed {
    let [applied_in, returned_in] = [applied, returned].map(Duration::from_secs);
    Rehearsed::Passed { applied_in, returned_in }
}

#[test]
fn as_many_owners_as_the_policy_says_have_rehearsed_and_the_newest_rehearsal_went_well() {
    let mut document = document(1);
    document.rules[1].rehearsals = 2;
    let mut world = World::with_policy(document);
    let way = world.whole_way("1.0");
    assert_eq!(ask(&world, way), Some(Code::NotRehearsed));
    world.say(&["ops"], rehearsed(way, in_time(1, 1))).unwrap();
    world.say(&["ops"], rehearsed(way, in_time(1, 1))).unwrap();
    assert_eq!(ask(&world, way), Some(Code::NotRehearsed), "one owner, twice");
    world.say(&["bea"], rehearsed(way, in_time(1, 1))).unwrap();
    assert_eq!(ask(&world, way), None);
    let failed = || Rehearsed::Failed { step: because(), reason: because() };
    world.say(&["bob"], rehearsed(way, failed())).unwrap();
    assert_eq!(ask(&world, way), Some(Code::NotRehearsed), "as it is known last, it does not work");
    world.say(&["bob"], rehearsed(way, in_time(1, 1))).unwrap();
    assert_eq!(ask(&world, way), None);
}

#[test]
fn what_took_longer_in_a_rehearsal_needs_more_of_the_window() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let case = |world: &World| world.state.case(&way.release).unwrap().clone();
    let declared = case(&world).declared_budget();
    world.say(&["ops"], rehearsed(way, in_time(1, 1))).unwrap();
    assert_eq!(case(&world).budget(), declared, "shorter times give nothing away");
    let (_, booking) = world.state.booking(&way.booking).unwrap();
    let left = booking.booking.says().window.end.since(world.now);
    let longest = left.saturating_sub(declared.apply);
    world.say(&["ops"], rehearsed(way, in_time(1, longest.as_secs()))).unwrap();
    assert_eq!(ask(&world, way), None, "it fits to the second");
    world.say(&["bea"], rehearsed(way, in_time(declared.apply.as_secs() + 1, 1))).unwrap();
    assert_eq!(ask(&world, way), Some(Code::WindowTooShort), "of both the longest times count");
    world.say(&["bea"], rehearsed(way, in_time(1, 1))).unwrap();
    assert_eq!(ask(&world, way), None, "the last rehearsal of an owner counts");
}

#[test]
fn a_step_is_an_operators_for_a_host_of_the_booking() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let step = |host: &str| Step {
        booking: way.booking,
        host: name(host),
        host_key: key(host).public().id(),
        step: name("bind"),
        direction: Direction::Forward,
        result: StepResult::Done { note: String::new() },
    };
    assert_eq!(code(world.say(&["max"], step("p1"))), Code::RoleMissing);
    assert_eq!(code(world.say(&["sue"], step("p1"))), Code::DutiesNotSeparate);
    assert_eq!(code(world.say(&["ops"], step("s1"))), Code::WrongHost);
    world.say(&["ops"], step("p1")).unwrap();
    let (_, booking) = world.state.booking(&way.booking).unwrap();
    assert_eq!(booking.steps.len(), 1);
}

fn closing(release: Digest, result: ClosureResult) -> Closure {
    Closure::Release { release, result, review: None }
}

fn reviewed(release: Digest, result: ClosureResult) -> Closure {
    let review = PostReview { findings: because(), actions: Vec::new(), reference: None };
    Closure::Release { release, result, review: Some(review) }
}

fn admit(world: &World, by: &str, says: impl Into<Says>) -> Result<(), Refusal> {
    let envelope = Statement::new(world.now, says).signed_by([&key(by)]).to_bytes();
    admission::admit(&world.state, world.state.next_index(), &envelope, world.now).map(drop)
}

#[test]
fn only_what_is_over_is_closed_and_only_as_what_it_came_to() {
    use ClosureResult::{BackedOut, NotImplemented, Successful, SuccessfulWithIssues};
    let mut world = World::new();
    let way = world.whole_way("1.0");
    for result in ClosureResult::ALL {
        let refused = admit(&world, "max", reviewed(way.release, *result));
        assert_eq!(code(refused), Code::InProgress, "its window is open");
    }
    for host in ["p1", "p2", "p3"] {
        world.outcome(host, way, Event::Committed);
    }
    assert_eq!(code(admit(&world, "max", reviewed(way.release, BackedOut))), Code::InProgress);
    let owing = admit(&world, "max", closing(way.release, SuccessfulWithIssues));
    assert_eq!(code(owing), Code::ReviewOwed);
    assert_eq!(
        code(admit(&world, "sue", closing(way.release, Successful))),
        Code::DutiesNotSeparate
    );
    assert_eq!(code(admit(&world, "bea", closing(way.release, Successful))), Code::RoleMissing);
    admit(&world, "max", closing(way.release, Successful)).unwrap();
    world.say(&["max"], closing(way.release, Successful)).unwrap();
    assert_eq!(ask(&world, way), Some(Code::Closed));
    let again = world.say(&["max"], closing(way.release, Successful));
    assert_eq!(code(again), Code::Closed);

    let (release, _) = world.submit("1.1");
    assert_eq!(code(admit(&world, "max", closing(release, NotImplemented))), Code::InProgress);
    let cancel = Cancel { release, booking: None, reason: because() };
    world.say(&["max"], cancel).unwrap();
    admit(&world, "max", closing(release, NotImplemented)).unwrap();
}

#[test]
fn an_emergency_is_closed_when_it_owes_no_review() {
    let mut world = World::new();
    let grounds = emergency(&mut world, 5000);
    let way = iteration(&mut world, grounds, 1, None);
    world.approve_iteration(grounds, way.release, 1);
    world.now = at(1000);
    world.outcome("p1", way, Event::Committed);
    let parent = || Closure::Emergency { grounds, summary: because() };
    assert_eq!(code(world.say(&["max"], parent())), Code::ReviewOwed);
    let bare = world.say(&["max"], closing(way.release, ClosureResult::Successful));
    assert_eq!(code(bare), Code::ReviewOwed, "an emergency owes a review, whatever came of it");
    world.say(&["max"], reviewed(way.release, ClosureResult::Successful)).unwrap();
    assert_eq!(code(world.say(&["bea"], parent())), Code::RoleMissing);
    world.say(&["max"], parent()).unwrap();
    assert_eq!(code(world.say(&["max"], parent())), Code::Closed);
    let next = iteration(&mut world, grounds, 2, Some(way.release));
    world.approve_iteration(grounds, next.release, 2);
    assert_eq!(ask(&world, next), Some(Code::Closed), "nothing moves under it any more");
}

/// What hides one of these lets something happen, so its signer hands it to the witnesses too.
#[test]
fn what_stands_against() {
    let release = Digest::of(b"release");
    let against = |says: Says| says.is_against();
    assert!(against(asked(release, "desk", true).into()));
    assert!(!against(asked(release, "desk", false).into()));
    assert!(against(answered(release, "desk", no()).into()));
    assert!(!against(answered(release, "desk", yes()).into()));
    assert!(against(conditional(release, &["call"]).into()));
    assert!(!against(conditional(release, &[]).into()));
    let environments = || names(&["staging"]);
    let review = |verdict| Review { release, environments: environments(), verdict };
    assert!(against(review(Verdict::Returned { items: Vec::new() }).into()));
    assert!(!against(review(Verdict::Complete).into()));
    assert!(against(closing(release, ClosureResult::Successful).into()));
    assert!(!against(task(release, TaskKind::Stage).into()));
    let failed = || Rehearsed::Failed { step: because(), reason: because() };
    let way = Way { release, package: Digest::of(b"package"), booking: Digest::of(b"booking") };
    assert!(against(rehearsed(way, failed()).into()));
    assert!(!against(rehearsed(way, in_time(1, 1)).into()));
    let step = |result| Step {
        booking: way.booking,
        host: name("p1"),
        host_key: key("p1").public().id(),
        step: name("bind"),
        direction: Direction::Forward,
        result,
    };
    assert!(against(step(StepResult::Failed { reason: because() }).into()));
    assert_eq!(StepResult::Failed { reason: because() }.text(), because());
    assert_eq!(StepResult::Done { note: "It took long.".to_owned() }.text(), "It took long.");
    assert!(!against(step(StepResult::Done { note: String::new() }).into()));
    let told = |event| outcome("p1", way, event, at(0));
    assert!(against(told(Event::Returned { step: because(), reason: because() }).into()));
    assert!(against(told(Event::Stuck { step: because(), reason: because() }).into()));
    assert!(against(told(Event::RolledBack).into()));
    assert!(!against(told(Event::Committed).into()));
    assert!(!against(told(Event::Refused { code: because(), detail: because() }).into()));
    let assessed = |judgement| Assessment {
        release,
        package: way.package,
        environments: environments(),
        judgement,
    };
    assert!(against(assessed(no()).into()));
    assert!(!against(assessed(yes()).into()));
    assert!(rules::FORWARD.iter().any(|rule| rule.number == rules::CONSULTED));
}

#[test]
fn what_takes_anothers_place_or_ends_something_stands_against_it() {
    let id = Digest::of(b"statement");
    let against = |says: Says| says.is_against();
    assert!(against(document(2).into()), "it may take somebody's keys");
    let mut fresh = release("1.1", id);
    assert!(!against(fresh.clone().into()));
    fresh.supersedes = Some(id);
    assert!(against(fresh.into()));
    let HostChange::Enrolled(mut host) = enrolment("p9", "production") else { panic!() };
    assert!(!against(HostChange::Enrolled(host.clone()).into()));
    host.replaces = Some(key("p1").public().id());
    assert!(against(HostChange::Enrolled(host).into()));
    let host_key = key("p1").public().id();
    assert!(against(HostChange::Retired { host: name("p1"), host_key, reason: because() }.into()));
    let withdrawn = Standard::Withdrawn { standard: id, reason: because() };
    assert!(against(withdrawn.into()));
    assert!(against(Hold { release: id, reason: because(), finish: true }.into()));
    assert!(!against(Resume { hold: id, reason: because() }.into()));
    assert!(against(Cancel { release: id, booking: None, reason: because() }.into()));
    let approval = IterationApproval { grounds: id, release: id, number: 2 };
    assert!(against(Emergency::Approved(approval).into()), "of the iterations before");
    let opened = Emergency::Opened {
        policy: id,
        incident: because(),
        application: name("web"),
        environments: production(),
        reason: because(),
    };
    assert!(!against(opened.into()));
    let declared = Freeze::Declared {
        policy: id,
        environments: production(),
        applications: BTreeSet::new(),
        start: at(0),
        end: at(1),
        reason: because(),
    };
    assert!(against(declared.into()));
    assert!(!against(Freeze::Lifted { freeze: id, reason: because() }.into()));
    let delivery = Delivery { release: id, package: id, location: because() };
    assert!(!against(delivery.into()));
}

#[test]
fn a_rehearsal_that_failed_is_none_of_those_that_are_asked_for() {
    let mut document = document(1);
    document.rules[1].rehearsals = 2;
    let mut world = World::with_policy(document);
    let way = world.whole_way("1.0");
    let failed = Rehearsed::Failed { step: because(), reason: because() };
    world.say(&["bob"], rehearsed(way, failed)).unwrap();
    world.say(&["ops"], rehearsed(way, in_time(1, 1))).unwrap();
    assert_eq!(ask(&world, way), Some(Code::NotRehearsed), "one of two went well");
    let case = world.state.case(&way.release).unwrap();
    assert_eq!(rules::rehearsed_by(case), BTreeSet::from([&name("ops")]));
    world.say(&["bea"], rehearsed(way, in_time(1, 1))).unwrap();
    assert_eq!(ask(&world, way), None, "who failed does not count, and does not stand against it");
}

#[test]
fn what_a_department_says_is_told_in_a_word() {
    let mut world = World::with_policy(consulting());
    let way = world.whole_way("1.0");
    let answer = |world: &World| {
        let case = world.state.case(&way.release).unwrap();
        let found = rules::standpoints(&world.state, case, &name("production"), world.now);
        let told = |it: &rules::Standpoint<'_>| {
            (it.department.to_string(), it.mandatory, it.answer.name())
        };
        found.iter().map(told).collect::<Vec<_>>()
    };
    let networks = |word| vec![("networks".to_owned(), true, word)];
    assert_eq!(answer(&world), networks(""));
    world.say(&["ops"], answered(way.release, "networks", yes())).unwrap();
    assert_eq!(answer(&world), networks("yes"));
    world.say(&["max"], answered(way.release, "networks", no())).unwrap();
    assert_eq!(answer(&world), networks("no"));
    world.say(&["lib"], asked(way.release, "desk", false)).unwrap();
    assert_eq!(answer(&world)[0], ("desk".to_owned(), false, ""));
}
