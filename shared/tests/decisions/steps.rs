//! The manual steps of an ordered return: who may say that one was taken back, and who hears of it.

use std::collections::BTreeSet;

use cutover_shared::digest::Digest;
use cutover_shared::evidence;
use cutover_shared::policy::KeyStatus;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{
    Direction, Event, HostTurn, Rollback, Statement, Step, StepResult,
};

use crate::world::{World, at, document, key, name, release};

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> Code {
    result.unwrap_err().code
}

/// An ordered return of p1 from a package.
fn ordered(world: &mut World, from: Digest) -> Digest {
    let hosts =
        vec![HostTurn { host: name("p1"), host_key: key("p1").public().id(), generation: 1 }];
    let says = Rollback {
        application: name("web"),
        environment: name("production"),
        hosts,
        from,
        to: Digest::of(b"0.9"),
        reason: "It is slow.".to_owned(),
    };
    let statement = Statement::new(world.now, says).until(at(9000));
    world.state(&["max"], &statement).unwrap()
}

#[test]
fn a_step_of_an_ordered_return_is_an_operators_for_a_host_that_it_names() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let order = ordered(&mut world, way.package);
    let unknown = ordered(&mut world, Digest::of(b"never submitted"));
    let step = |order: Digest, host: &str, direction| Step {
        booking: order,
        host: name(host),
        host_key: key(host).public().id(),
        step: name("bind"),
        direction,
        result: StepResult::Done { note: String::new() },
    };
    let back = |host: &str| step(order, host, Direction::Back);
    assert_eq!(code(world.say(&["max"], back("p1"))), Code::RoleMissing);
    assert_eq!(code(world.say(&["sue"], back("p1"))), Code::DutiesNotSeparate);
    assert_eq!(code(world.say(&["ops"], back("p2"))), Code::WrongHost);
    assert_eq!(code(world.say(&["ops"], step(order, "p1", Direction::Forward))), Code::Malformed);
    for order in [unknown, Digest::of(b"no order")] {
        let says = step(order, "p1", Direction::Back);
        assert_eq!(code(world.say(&["ops"], says)), Code::SubjectUnknown);
    }
    world.say(&["ops"], step(way.booking, "p1", Direction::Back)).unwrap();
    assert_eq!(
        world.state.steps_of(&order),
        [],
        "what is said of the booking is not of its return"
    );
    world.say(&["ops"], back("p1")).unwrap();
    let [said] = world.state.steps_of(&order) else { panic!() };
    assert_eq!(world.state.rollback(&order).unwrap().steps, std::slice::from_ref(said));
    assert_eq!(world.state.steps_of(&way.booking).len(), 1);

    // The host is shown it, and who submitted what it leaves; without that it takes nobody's word.
    let host = key("p1").public().id();
    let indexes = evidence::select(&world.state, &order, &host, 1);
    let open = |indexes: BTreeSet<u64>| {
        let evidence = world.evidence_of(order, indexes, 0);
        let opened = evidence::open(&evidence, &order, &world.trust()).unwrap();
        opened.state().steps_of(&order).to_vec()
    };
    assert_eq!(open(indexes.clone()), std::slice::from_ref(said));
    let submitted = world.state.case(&way.release).unwrap().release.index();
    assert_eq!(open(indexes.into_iter().filter(|it| *it != submitted).collect()), []);

    // The past does not know it, and no policy that says that its key was stolen.
    let past = world.state.as_of(&way.release, said.index()).unwrap();
    assert_eq!((past.steps_of(&order).len(), past.steps_of(&way.booking).len()), (0, 1));
    let mut document = document(2);
    let entry = document.keys.iter_mut().find(|it| it.owner == name("ops")).unwrap();
    entry.status = KeyStatus::Compromised;
    world.say(&["root"], document).unwrap();
    assert!(world.state.rollback(&order).is_some());
    assert_eq!(world.state.steps_of(&order), []);
}

#[test]
fn an_order_on_a_host_is_of_the_release_that_it_brings_or_leaves() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let order = ordered(&mut world, way.package);
    let (p1, s1) = (key("p1").public().id(), key("s1").public().id());
    for of in [way.booking, order] {
        let carried = world.state.carried(&of, &p1).unwrap();
        assert_eq!((carried.order, carried.case.release.id()), (of, way.release));
        assert_eq!((carried.environment, carried.host), (&name("production"), &name("p1")));
        assert!(world.state.carried(&of, &s1).is_none(), "it does not name that host");
    }
    // The same package once more: the host knows by which submission it came.
    world.outcome("p1", way, Event::Committed);
    let again = world.say(&["sue"], release("1.0", way.package)).unwrap();
    assert_eq!(world.state.carried(&order, &p1).unwrap().case.release.id(), way.release);
    assert_eq!(world.state.cases_of_package(&way.package).next_back().unwrap().release.id(), again);
    assert!(world.state.carried(&again, &p1).is_none(), "that is no order");
}
