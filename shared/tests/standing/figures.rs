//! The figures, against tellers of stories: each story is played as signed statements on a clock that it
//! moves itself, and keeps its own account while it waits. No formula is restated here; a story knows how
//! long it waited for whom because it did.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::scene::{Scene, key, minutes, name, no, returned, yes};
use cutover_shared::digest::Digest;
use cutover_shared::metrics::{Ground, Metrics, Observer, Share, Side, Spread};
use cutover_shared::policy::Exception;
use cutover_shared::statement::{Cancel, Event, Hold, Remark, Resume, Says, Statement, Verdict};
use cutover_shared::time::Time;

const WEB: [&str; 3] = ["web-1", "web-2", "web-3"];
const STAGE: [&str; 2] = ["stage-1", "stage-2"];

fn figures(scene: &Scene, since: Option<Time>) -> Metrics {
    let mut observer = Observer::new(since);
    for (index, envelope) in (0..).zip(&scene.log) {
        observer.observe(index, envelope).expect("a story says what is good");
    }
    // A period has its end not in it, and stories end with something that happens.
    observer.finish(scene.now + Duration::from_millis(1))
}

/// What a story has waited, by side.
#[derive(Default)]
struct Account(BTreeMap<Side, u64>);

impl Account {
    fn wait(&mut self, scene: &mut Scene, side: Side, number: u64) {
        scene.wait(minutes(number));
        *self.0.entry(side).or_default() += number;
    }
}

fn totals(metrics: &Metrics) -> BTreeMap<Side, u64> {
    let minutes = metrics.waits.iter().map(|(side, it)| (*side, it.total.as_secs() / 60));
    minutes.filter(|(_, minutes)| *minutes > 0).collect()
}

/// One release of staging alone, with random waits for everybody, sent back a random number of times.
fn staging_story(random: &mut Lcg, scene: &mut Scene, account: &mut Account) -> u64 {
    let mut returns = 0;
    let mut earlier: Option<Digest> = None;
    loop {
        let mut release = Scene::release(&random.version(), &["staging"]);
        release.supersedes = earlier;
        let release = scene.say("sam", release);
        account.wait(scene, Side::Librarian, random.below(500));
        if random.below(3) == 0 {
            returns += 1;
            let items = vec![Remark { item: "notes".to_owned(), remark: "More.".to_owned() }];
            scene.review(release, &["staging"], Verdict::Returned { items });
            account.wait(scene, Side::Submitter, random.below(5000));
            earlier = Some(release);
            continue;
        }
        scene.review(release, &["staging"], Verdict::Complete);
        account.wait(scene, Side::ChangeManager, random.below(900));
        let booking = scene.book(release, "staging", &[&STAGE]);
        // The window is ten minutes from the booking; the release of it comes before that, or after.
        let late = random.below(25);
        let before = late.min(60);
        account.wait(scene, Side::ChangeManager, before);
        scene.arm(booking);
        if late < 10 {
            account.wait(scene, Side::Window, 10 - late);
        }
        for host in STAGE {
            account.wait(scene, Side::Hosts, 1 + random.below(9));
            scene.report(host, booking, Event::Committed);
        }
        scene.wait(minutes(random.below(2000)));
        return returns;
    }
}

/// Random numbers that a failing seed gives again (Knuth's MMIX multiplier).
struct Lcg(u64);

impl Lcg {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn version(&mut self) -> String {
        format!("1.{}", self.next())
    }
}

#[test]
fn waits_are_what_the_stories_waited() {
    for seed in 0..40 {
        let (mut random, mut scene) = (Lcg(seed), Scene::new());
        let mut account = Account::default();
        let stories = 1 + random.below(4);
        let returns: u64 =
            (0..stories).map(|_| staging_story(&mut random, &mut scene, &mut account)).sum();
        let metrics = figures(&scene, None);
        account.0.retain(|_, minutes| *minutes > 0);
        assert_eq!(totals(&metrics), account.0, "seed {seed}");
        assert_eq!((metrics.releases, metrics.returned), (stories, returns), "seed {seed}");
        assert_eq!(metrics.submissions, stories + returns);
        assert_eq!(metrics.on_time, Share { part: stories, of: stories }, "seed {seed}");
        assert_eq!(metrics.failed_changes, Share { part: 0, of: stories }, "seed {seed}");
    }
}

#[test]
fn in_production_security_and_board_are_waited_for_at_once() {
    let mut scene = Scene::new();
    let release = scene.say("sam", Scene::release("1.0", &["production"]));
    scene.wait(minutes(5));
    // Early words are not waited for, and end no wait of the librarian's.
    scene.vote("bea", release, yes());
    scene.wait(minutes(7));
    scene.review(release, &["production"], Verdict::Complete);
    scene.wait(minutes(11));
    scene.assess(release, yes());
    scene.wait(minutes(13));
    scene.vote("bob", release, yes());
    scene.wait(minutes(17));
    let metrics = figures(&scene, None);
    let expected = [
        (Side::Librarian, 12 + 17),
        (Side::Security, 11),
        (Side::Board, 24),
        (Side::EarlierEnvironments, 17),
    ];
    // It was approved undelivered and unproven: both are waited for now.
    assert_eq!(totals(&metrics), expected.into());
    let open: Vec<_> = metrics.waits.values().map(|it| it.open).collect();
    assert_eq!(open, [1, 0, 0, 1]);
}

#[test]
fn a_hold_is_its_holders_wait_and_a_cancelled_release_waits_for_nobody() {
    let mut scene = Scene::new();
    let release = scene.say("sam", Scene::release("1.0", &["staging"]));
    scene.wait(minutes(1));
    let hold = scene.say("sergei", Hold { release, reason: "Odd.".to_owned(), finish: false });
    scene.wait(minutes(2));
    scene.say("sergei", Resume { hold, reason: "It was not.".to_owned() });
    scene.wait(minutes(4));
    scene.say("max", Cancel { release, booking: None, reason: "Gone.".to_owned() });
    scene.wait(minutes(8));
    let metrics = figures(&scene, None);
    let waited = totals(&metrics);
    assert_eq!(waited.values().sum::<u64>(), 7, "{waited:?}");
    assert_eq!(metrics.waits.values().map(|it| it.open).sum::<u64>(), 0);
}

#[test]
fn a_window_that_was_missed_has_expired_and_waits_for_a_booking() {
    let mut scene = Scene::new();
    let release = scene.say("sam", Scene::release("1.0", &["staging"]));
    scene.review(release, &["staging"], Verdict::Complete);
    let booking = scene.book(release, "staging", &[&STAGE]);
    scene.arm(booking);
    // Ten minutes to the window, an hour of it, and seven more.
    scene.wait(minutes(77));
    let metrics = figures(&scene, None);
    let expected = [(Side::Window, 10), (Side::Hosts, 60), (Side::ChangeManager, 7)];
    assert_eq!(totals(&metrics), expected.into());
    assert_eq!((metrics.on_time, metrics.expired), (Share { part: 0, of: 1 }, 1));
    assert_eq!(metrics.hosts_on_time, Share { part: 0, of: 2 });
    assert_eq!(metrics.waits[&Side::ChangeManager].open, 1);
    // Nothing reached a host: it is late, and no failed change.
    assert_eq!(metrics.failed_changes, Share::default());
}

#[test]
fn a_window_is_late_by_one_host_and_the_others_are_on_time() {
    let mut scene = Scene::new();
    let release = scene.say("sam", Scene::release("1.0", &["staging"]));
    scene.review(release, &["staging"], Verdict::Complete);
    let booking = scene.book(release, "staging", &[&STAGE]);
    scene.arm(booking);
    scene.wait(minutes(10));
    scene.report("stage-1", booking, Event::Committed);
    // Its window is an hour: it began in it, and ended behind it.
    scene.took("stage-2", booking, Event::Committed, minutes(61));
    scene.wait(minutes(62));
    let metrics = figures(&scene, None);
    assert_eq!(metrics.on_time, Share { part: 0, of: 1 });
    assert_eq!(metrics.hosts_on_time, Share { part: 1, of: 2 });
    assert_eq!(metrics.expired, 0, "every host has it");
}

#[test]
fn failures_and_how_long_they_lasted() {
    let mut scene = Scene::new();
    // One that is good; one that its host takes back after 3 minutes.
    let first = scene.say("sam", Scene::release("1.0", &["staging"]));
    scene.review(first, &["staging"], Verdict::Complete);
    scene.deploy(first, "staging", &STAGE);
    let second = scene.say("sam", Scene::release("1.1", &["staging"]));
    scene.review(second, &["staging"], Verdict::Complete);
    let booking = scene.book(second, "staging", &[&STAGE]);
    scene.arm(booking);
    scene.wait(minutes(10));
    scene.report("stage-1", booking, Event::Committed);
    scene.took("stage-2", booking, returned(), minutes(3));
    // A third is ordered back after 50 minutes of service; that takes the host 2.
    let third = scene.say("sam", Scene::release("1.2", &["staging"]));
    scene.review(third, &["staging"], Verdict::Complete);
    scene.deploy(third, "staging", &STAGE[..1]);
    scene.wait(minutes(50));
    let package = |release: Digest| scene.state.case(&release).unwrap().release.says().package;
    let (from, to) = (package(third), package(second));
    let order = scene.roll_back("staging", &STAGE[..1], from, to);
    scene.took("stage-1", order, Event::RolledBack, minutes(2));
    // A fourth leaves a host stuck; a fifth makes it good after an hour.
    let fourth = scene.say("sam", Scene::release("1.3", &["staging"]));
    scene.review(fourth, &["staging"], Verdict::Complete);
    let booking = scene.book(fourth, "staging", &[&STAGE[..1]]);
    scene.arm(booking);
    scene.wait(minutes(10));
    let stuck = Event::Stuck { step: "undoing".to_owned(), reason: "exit 1".to_owned() };
    scene.took("stage-1", booking, stuck, minutes(1));
    let metrics = figures(&scene, None);
    assert_eq!(metrics.failed_changes, Share { part: 3, of: 4 });
    assert_eq!((metrics.time_to_restore.count, metrics.time_to_restore.open), (2, 1));
    assert_eq!(metrics.on_time, Share { part: 2, of: 3 }, "the stuck one's window is not over");

    scene.wait(minutes(49));
    let fifth = scene.say("sam", Scene::release("1.4", &["staging"]));
    scene.review(fifth, &["staging"], Verdict::Complete);
    scene.deploy(fifth, "staging", &STAGE[..1]);
    let metrics = figures(&scene, None);
    assert_eq!(metrics.failed_changes, Share { part: 3, of: 5 });
    let Spread { count, open, total, median, longest } = metrics.time_to_restore;
    assert_eq!((count, open), (3, 0));
    // 2 by order, 3 by itself, and the stuck one: 1 to get stuck, 49 and 10 until the fifth was in.
    assert_eq!([median, longest, total], [3, 60, 65].map(minutes));
}

#[test]
fn an_emergency_lasts_until_its_last_iteration_is_in() {
    let mut scene = Scene::new();
    let grounds = scene.open_emergency("INC-1");
    scene.open_emergency("INC-2");
    let mut previous = None;
    for number in 1..=3 {
        scene.wait(minutes(4));
        let release = scene.iterate(&format!("1.0.{number}"), grounds, number, previous);
        scene.wait(minutes(6));
        scene.approve_iteration(grounds, release, number);
        scene.deploy(release, "production", &WEB[..1]);
        previous = Some(release);
    }
    let metrics = figures(&scene, None);
    assert_eq!(
        metrics.time_to_fix,
        Spread { count: 1, open: 1, total: minutes(60), median: minutes(60), longest: minutes(60) }
    );
    // Four minutes it was not there, six it waited for its approval; windows are ten minutes away.
    let expected = [(Side::ChangeManager, 18), (Side::Window, 30)];
    assert_eq!(totals(&metrics), expected.into());
    assert_eq!((metrics.submissions, metrics.releases), (3, 1));
}

#[test]
fn denials_by_ground_and_exceptions_by_kind() {
    let mut scene = Scene::new();
    let [one, two, three] = ["1.0", "1.1", "1.2"].map(|version| scene.submit(version));
    let denied = Verdict::Denied { reason: "It says nothing.".to_owned() };
    scene.review(one, &["production"], denied);
    scene.assess(two, no("It leaks."));
    scene.vote("bea", three, no("Not now."));
    scene.vote("bob", three, no("Nor ever."));
    let waiver = cutover_shared::statement::Waiver {
        release: three,
        environment: name("production"),
        exception: Exception::Votes,
        reason: "In the air.".to_owned(),
    };
    let waiver = Statement::new(scene.now, Says::from(waiver)).until(scene.now + minutes(5));
    scene.add_envelope(&waiver.signed_by([&key("max"), &key("sergei")]));
    let metrics = figures(&scene, None);
    let expected = [(Ground::Documentation, 1), (Ground::Risk, 1), (Ground::Board, 2)];
    assert_eq!(metrics.denials, expected.into());
    assert_eq!(metrics.waivers, [(Exception::Votes, 1)].into());
}

#[test]
fn a_period_has_what_happened_in_it() {
    let mut scene = Scene::new();
    let release = scene.say("sam", Scene::release("1.0", &["staging"]));
    scene.wait(minutes(30));
    let since = scene.now;
    scene.wait(minutes(12));
    scene.review(release, &["staging"], Verdict::Complete);
    let metrics = figures(&scene, Some(since));
    assert_eq!(metrics.submissions, 0, "it was submitted before");
    // Half an hour of the librarian's wait lies before the period.
    assert_eq!(totals(&metrics), [(Side::Librarian, 12)].into());
    assert_eq!(metrics.waits[&Side::Librarian].median, Duration::from_mins(12));
}
