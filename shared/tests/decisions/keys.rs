//! Keys that are rotated, stolen or left out: everybody judges by the policy in force, whoever folded what
//! before it came.

use cutover_shared::authorise::{self, Question};
use cutover_shared::digest::Digest;
use cutover_shared::evidence;
use cutover_shared::policy::{KeyStatus, PolicyDocument, Scope};
use cutover_shared::refusal::Code;
use cutover_shared::statement::{
    Assessment, Freeze, Judgement, Phase, Resume, Review, Statement, Verdict,
};

use crate::world::{Way, World, at, document, key, name, names};

/// What the next policy says of somebody's key.
fn next(owner: &str, status: Option<KeyStatus>) -> PolicyDocument {
    let mut next = document(2);
    match status {
        Some(status) => {
            let entry = next.keys.iter_mut().find(|it| it.owner == name(owner));
            entry.unwrap().status = status;
        }
        None => next.keys.retain(|it| it.owner != name(owner)),
    }
    next
}

fn install(world: &mut World, policy: PolicyDocument) {
    let bytes = Statement::new(world.now, policy).signed_by([&key("root")]).to_bytes();
    world.append_bytes(bytes).unwrap();
}

/// The first refusal on p1: by the fold of the whole log, by a host that follows the new policy in the
/// evidence, and by one that had it before. They agree.
fn refused(world: &World, way: Way) -> Option<Code> {
    let facts = world.facts("p1");
    let ask = |state| {
        let (order, phase) = (way.booking, Phase::Start);
        let question = Question { state, host: &facts, order, phase, now: world.now };
        authorise::judge(&question).err().map(|it| it.code)
    };
    let whole = ask(&world.state);
    let all = world.evidence_of(way.booking, 0..world.tree.size(), 0);
    let opened = evidence::open(&all, &way.booking, &world.trust()).unwrap();
    assert_eq!(ask(opened.state()), whole, "a host that follows");
    let trust = opened.advance(&world.trust());
    let again = world.evidence_of(way.booking, 0..world.tree.size(), trust.head.size);
    let reopened = evidence::open(&again, &way.booking, &trust).unwrap();
    assert_eq!(ask(reopened.state()), whole, "a host that had it");
    whole
}

#[test]
fn what_a_stolen_key_ever_signed_is_void() {
    let cases = [
        ("lib", Code::NotReviewed),
        ("sec", Code::NotAssessed),
        ("bea", Code::NotApproved),
        ("max", Code::NotBooked),
        ("sue", Code::NotBooked),
    ];
    for (owner, expected) in cases {
        for status in [Some(KeyStatus::Compromised), None] {
            let mut world = World::new();
            let way = world.whole_way("1.0");
            assert_eq!(refused(&world, way), None);
            install(&mut world, next(owner, status));
            assert_eq!(refused(&world, way), Some(expected), "{owner}, {status:?}");
        }
    }
}

#[test]
fn what_a_rotated_key_signed_before_counts_and_nothing_after() {
    for owner in ["lib", "sec", "bea", "max", "sue", "ops"] {
        let mut world = World::new();
        let way = world.whole_way("1.0");
        let logged_below = world.tree.size();
        install(&mut world, next(owner, Some(KeyStatus::Rotated { logged_below })));
        assert_eq!(refused(&world, way), None, "{owner}");
    }
    // The root holders say where it ended, not the coordinator: what was logged in between is void.
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let review = (0..world.tree.size()).find(|index| {
        let case = world.state.case(&way.release).unwrap();
        case.reviews.first().is_some_and(|it| it.index() == *index)
    });
    let logged_below = review.unwrap();
    install(&mut world, next("lib", Some(KeyStatus::Rotated { logged_below })));
    assert_eq!(refused(&world, way), Some(Code::NotReviewed));
}

#[test]
fn hosts_of_a_stolen_operators_key_are_nobody() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let facts = world.facts("p1");
    install(&mut world, next("ops", Some(KeyStatus::Compromised)));
    assert!(world.state.host_named(&name("p1")).is_none());
    let (order, phase) = (way.booking, Phase::Start);
    let question = Question { state: &world.state, host: &facts, order, phase, now: world.now };
    assert_eq!(authorise::judge(&question).unwrap_err().code, Code::WrongHost);
}

#[test]
fn what_a_stolen_key_lifted_stands_again() {
    let mut two = document(1);
    let mut mia = two.keys.iter().find(|it| it.owner == name("max")).unwrap().clone();
    mia.owner = name("mia");
    mia.key = key("mia").public();
    two.keys.push(mia.clone());
    let mut world = World::with_policy(two);
    let way = world.whole_way("1.0");
    let reason = || "because".to_owned();
    let freeze = Freeze::Declared {
        policy: world.state.policy().unwrap().id(),
        environments: names(&["production"]),
        applications: names(&[]),
        start: at(1000),
        end: at(2000),
        reason: reason(),
    };
    let freeze = world.say(&["max"], freeze).unwrap();
    world.say(&["mia"], Freeze::Lifted { freeze, reason: reason() }).unwrap();
    assert_eq!(refused(&world, way), None);
    let mut later = next("nobody", None);
    mia.status = KeyStatus::Compromised;
    later.keys.push(mia);
    install(&mut world, later);
    assert_eq!(refused(&world, way), Some(Code::Frozen));
    assert_eq!(world.state.freezes_over(&name("web"), &name("production"), window()).count(), 1);
}

fn window() -> cutover_shared::window::Window {
    cutover_shared::window::Window { start: at(1000), end: at(2000) }
}

#[test]
fn a_resumption_and_a_denial_go_with_the_key() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let denial = Assessment {
        release: way.release,
        package: way.package,
        environments: names(&["production"]),
        judgement: Judgement::Denied { reason: "a lie".to_owned() },
    };
    world.say(&["sec"], denial).unwrap();
    assert_eq!(refused(&world, way), Some(Code::Denied));
    install(&mut world, next("sec", Some(KeyStatus::Compromised)));
    assert_eq!(refused(&world, way), Some(Code::NotAssessed), "the assessment went too");
    assert!(world.state.denial(&way.package).is_none());
    let resume = Resume { hold: Digest::of(b"none"), reason: String::new() };
    assert_eq!(world.say(&["sec"], resume).unwrap_err().code, Code::SubjectUnknown);
}

#[test]
fn a_key_signs_for_its_applications_and_environments_and_no_others() {
    let (web, forum) = (Scope::Only(names(&["web"])), Scope::Only(names(&["forum"])));
    let (here, there) = (Scope::Only(names(&["staging"])), Scope::Only(names(&["production"])));
    let scopes = [
        (Scope::All, Scope::All, true),
        (web.clone(), here.clone(), true),
        (forum, here, false),
        (web, there, false),
    ];
    for (applications, environments, may) in scopes {
        let mut document = document(1);
        let entry = document.keys.iter_mut().find(|it| it.owner == name("lib")).unwrap();
        let scope = (applications, environments);
        (entry.applications, entry.environments) = scope.clone();
        let mut world = World::with_policy(document);
        let (release, _) = world.submit("1.0");
        let environments = names(&["staging"]);
        let review = Review { release, environments, verdict: Verdict::Complete };
        let said = world.say(&["lib"], review).map_err(|it| it.code);
        let expected = if may { None } else { Some(Code::RoleMissing) };
        assert_eq!(said.err(), expected, "{scope:?}");
    }
}
