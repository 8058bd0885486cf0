use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_shared::calendar::zone::Zone;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::fold::State;
use cutover_shared::policy::Scope;
use cutover_shared::protocol::DeliveryState;
use cutover_shared::statement::{Cancel, Event, Freeze, Says, Statement, Verdict};
use cutover_shared::time::Time;

use super::queue::AT_ONCE;
use super::*;

#[path = "../../../../shared/tests/standing/scene.rs"]
#[expect(dead_code, reason = "other tests use more of the scene")]
mod scene;

mod timed;

use scene::{Scene, key, minutes, name, no, returned, yes};

const STAGE: [&str; 2] = ["stage-1", "stage-2"];

/// A log whose statements can be read again.
struct Log {
    scene: Scene,
    statements: BTreeMap<u64, (Digest, Statement)>,
}

impl Log {
    fn new() -> Self {
        Self { scene: Scene::new(), statements: BTreeMap::new() }
    }

    fn say(&mut self, owner: &str, says: impl Into<Says>) -> (u64, Digest) {
        let statement = Statement::new(self.scene.now, says);
        let index = self.scene.state.next_index();
        let envelope: Envelope = statement.signed_by([&key(owner)]);
        let statement = Statement::read(&envelope).unwrap();
        self.statements.insert(index, (envelope.id(), statement.clone()));
        self.scene.state.apply(index, &envelope.to_bytes()).unwrap();
        (index, envelope.id())
    }

    fn state(&self) -> &State {
        &self.scene.state
    }

    fn told(&self, index: u64) -> Option<Notice> {
        let (id, statement) = &self.statements[&index];
        notices(self.state(), index, *id, statement).into_iter().next()
    }

    fn what(&self, index: u64) -> Option<What> {
        self.told(index).map(|notice| notice.what)
    }

    fn message(&self, index: u64) -> Message {
        let (_, statement) = &self.statements[&index];
        let setting = Setting {
            zone: &Zone::find("America/New_York").unwrap(),
            organizer: "cutover@example.org",
            attendee: "max@example.org",
            now: self.scene.now,
        };
        message(self.state(), &setting, &self.told(index).unwrap(), statement).unwrap()
    }
}

fn vote(release: Digest) -> cutover_shared::statement::Vote {
    cutover_shared::statement::Vote {
        release,
        environments: scene::names(["staging", "production"]),
        judgement: yes(),
        conditions: Vec::new(),
    }
}

fn mail(address: &str) -> Destination {
    let owner = address.split('@').next().unwrap();
    Destination::Mail { address: address.to_owned(), name: name(owner) }
}

#[test]
fn a_voice_is_news_when_it_moves_the_release() {
    let mut log = Log::new();
    let release = Scene::release("1.0", &["staging", "production"]);
    let (submitted, release) = log.say("sam", release);
    assert_eq!(log.what(submitted), Some(What::Submitted));
    log.scene.review(release, &["staging", "production"], Verdict::Complete);
    log.scene.assess(release, yes());
    let (first, _) = log.say("bea", vote(release));
    let (second, _) = log.say("bob", vote(release));
    let (again, _) = log.say("bob", vote(release));
    assert_eq!(log.what(first), None, "security had begun to judge it");
    assert_eq!(log.what(second), Some(What::Judged), "it is approved");
    assert_eq!(log.what(again), None, "it was approved already");
    let text = log.message(second).text;
    assert!(
        text.starts_with("R-1 shop 1.0 (normal change) ") && text.contains("approved"),
        "{text}"
    );
}

#[test]
fn deliveries_are_seen_by_those_who_run_releases_and_each_sees_its_own() {
    let log = Log::new();
    let seen = |owner: &str| may_see(log.state(), &key(owner).public().id());
    for (owner, all) in
        [("sam", false), ("bea", false), ("lia", true), ("max", true), ("olga", true)]
    {
        let document = log.state().policy().unwrap().document();
        let email = document.keys.iter().find(|it| it.owner == name(owner)).unwrap().email.clone();
        assert_eq!(seen(owner), (all, Some(email)), "{owner}");
    }
    assert_eq!(seen("nobody"), (false, None));
}

#[test]
fn a_freeze_is_news_for_each_release_with_a_window_under_it() {
    let mut log = Log::new();
    let mut releases = Vec::new();
    for version in ["1.0", "1.1", "1.2", "1.3"] {
        let release = log.scene.submit(version);
        log.scene.approve(release);
        let booking = log.scene.book(release, "staging", &[&STAGE]);
        releases.push((release, booking));
    }
    let reason = || "Not this one.".to_owned();
    let (gone, window) = releases[2];
    log.scene.say("max", Cancel { release: gone, booking: Some(window), reason: reason() });
    let (given_up, _) = releases[3];
    log.scene.say("max", Cancel { release: given_up, booking: None, reason: reason() });
    let freeze = |log: &Log, environment: &str, from: u64| Freeze::Declared {
        policy: log.state().policy().unwrap().id(),
        environments: scene::names([environment]),
        applications: scene::names([]),
        start: log.scene.now + minutes(from),
        end: log.scene.now + minutes(from + 600),
        reason: "Elections.".to_owned(),
    };
    let elsewhere = freeze(&log, "production", 0);
    let elsewhere = log.say("mia", elsewhere).0;
    // The windows are from the tenth minute to the seventieth.
    let afterwards = freeze(&log, "staging", 70);
    let afterwards = log.say("mia", afterwards).0;
    let over_them = freeze(&log, "staging", 69);
    let (index, id) = log.say("mia", over_them);
    for nobody in [elsewhere, afterwards] {
        assert_eq!(log.told(nobody), None);
    }
    // What happens later changes nothing of what is told of it.
    let (later, window) = releases[1];
    log.scene.say("max", Cancel { release: later, booking: Some(window), reason: reason() });
    let told = notices(log.state(), index, id, &log.statements[&index].1);
    let of: Vec<_> = told.iter().map(|it| (it.subject(), it.what)).collect();
    let expected = [(releases[0].0, What::Frozen), (later, What::Frozen)];
    assert_eq!(BTreeSet::from_iter(of), BTreeSet::from(expected));
    let keys = told.iter().map(|it| Delivery::new(it.clone(), mail("sam@example.org")).key);
    assert_eq!(keys.collect::<BTreeSet<_>>().len(), 2, "one recipient hears of both");
    let message = log.message(index);
    for part in
        ["has a window that a freeze covers now", "Elections.", "Freeze       2026-03-02T11:09"]
    {
        assert!(message.text.contains(part), "{part} in\n{}", message.text);
    }
    assert_eq!(message.data["windows"].as_array().map(Vec::len), Some(1), "{}", message.data);
}

#[test]
fn the_last_commit_of_a_window_is_news_and_each_return_is() {
    let mut log = Log::new();
    let release = log.scene.submit("1.0");
    log.scene.approve(release);
    let booking = log.scene.book(release, "staging", &[&STAGE]);
    log.scene.arm(booking);
    log.scene.wait(minutes(10));
    let mut reported = Vec::new();
    for (host, event) in
        [("stage-1", Event::Committed), ("stage-2", returned()), ("stage-2", Event::Committed)]
    {
        let says = outcome(&log, host, booking, event);
        reported.push(log.say(host, says).0);
    }
    let told: Vec<_> = reported.iter().map(|index| log.what(*index)).collect();
    assert_eq!(told, [None, Some(What::WentBack), Some(What::Committed)]);
    let message = log.message(reported[1]);
    for line in ["Host         stage-2", "Step         checking", "front-page answered 500"] {
        assert!(message.text.contains(line), "{line} in\n{}", message.text);
    }
    assert_eq!(message.data["host"]["step"], "checking");
}

fn outcome(
    log: &Log,
    host: &str,
    order: Digest,
    event: Event,
) -> cutover_shared::statement::Outcome {
    let (case, _) = log.state().booking(&order).unwrap();
    let installed = log.state().host(&key(host).public().id()).unwrap().installed.values().next();
    let package = case.release.says().package;
    cutover_shared::statement::Outcome {
        host: name(host),
        host_key: key(host).public().id(),
        application: name(scene::SHOP),
        generation: installed.map_or(0, |it| it.generation) + 1,
        order,
        release: case.release.id(),
        package,
        running: (event == Event::Committed).then_some(package),
        event,
        started: log.scene.now,
        ended: log.scene.now,
        readings: Vec::new(),
        clearances: Vec::new(),
    }
}

#[test]
fn a_window_is_told_with_who_when_where_and_a_calendar_entry_that_follows_it() {
    let mut log = Log::new();
    let release = log.scene.submit("1.0");
    log.scene.approve(release);
    let booking = log.scene.book(release, "staging", &[&STAGE[..1], &STAGE[1..]]);
    let says = log.state().booking(&booking).unwrap().1.booking.says().clone();
    // The same again, so that its statement is at hand.
    log.scene.wait(minutes(1));
    let (booked, booking) = log.say("max", says);
    let reason = "The hall is taken.".to_owned();
    let (cancelled, _) =
        log.say("max", Cancel { release, booking: Some(booking), reason: reason.clone() });

    let first = log.message(booked);
    let package = log.state().case(&release).unwrap().release.says().package;
    for part in [
        "2026-03-02T10:10:00Z to 2026-03-02T11:10:00Z (UTC)",
        "2026-03-02 05:10 EST to 2026-03-02 06:10 EST (America/New_York)",
        "staging",
        "wave wave-0: stage-1",
        "wave wave-1: stage-2",
        &format!("releases/<generation>-{}/", package.short()),
        &format!("sha256:{package}"),
        "the staging area",
        "requester: sam <sam@example.org>",
        "booked by: max <max@example.org>",
        "cutover explain R-1",
    ] {
        assert!(first.text.contains(part), "{part} in\n{}", first.text);
    }
    assert_eq!(first.data["windows"][0]["start"], "2026-03-02T10:10:00Z");
    assert_eq!(first.data["windows"][0]["local-start"], "2026-03-02 05:10 EST");
    let entry = |message: &Message| {
        let [one] = message.invitations.as_slice() else { panic!("{:?}", message.invitations) };
        let line = |name: &str| {
            let text = one.text.replace("\r\n ", "");
            let found = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
            found.unwrap_or_else(|| panic!("{name} in {text}"))
        };
        (one.method, line("UID:"), line("SEQUENCE:"), line("STATUS:"), line("ATTENDEE"))
    };
    // What came later is not told of the first message, however late it is sent.
    let (method, uid, sequence, status, attendee) = entry(&first);
    assert_eq!(
        (method, sequence.as_str(), status.as_str()),
        ("REQUEST", "SEQUENCE:0", "STATUS:CONFIRMED")
    );
    assert_eq!(attendee, "ATTENDEE;RSVP=FALSE:mailto:max@example.org");
    let last = log.message(cancelled);
    assert!(last.text.contains(&reason), "{}", last.text);
    let (method, same, sequence, status, _) = entry(&last);
    assert_eq!((method, same), ("CANCEL", uid));
    assert_eq!((sequence.as_str(), status.as_str()), ("SEQUENCE:1", "STATUS:CANCELLED"));
}

#[test]
fn it_is_told_to_requester_roles_teams_and_endpoints_and_to_nobody_twice() {
    let mut log = Log::new();
    let release = Scene::release("1.0", &["staging", "production"]);
    let (index, _) = log.say("sam", release);
    let team = |name_of: &str, address: &str, applications: Scope| Team {
        name: name(name_of),
        address: address.to_owned(),
        applications,
        environments: Scope::All,
        events: BTreeSet::new(),
    };
    let other = Scope::Only(scene::names(["mail"]));
    let hook = |name_of: &str, events: &[What]| Webhook {
        name: name(name_of),
        events: events.iter().copied().collect(),
    };
    let routes = Routes {
        mail: true,
        teams: vec![
            team("shop", "Shop@example.org", Scope::All),
            team("twice", "LIA@example.org", Scope::All),
            team("others", "others@example.org", other),
        ],
        webhooks: vec![hook("all", &[]), hook("booked", &[What::Booked])],
        trackers: vec![name("jira")],
    };
    let notice = log.told(index).unwrap();
    let made = deliveries(log.state(), &routes, &notice);
    let to: Vec<_> = made.iter().map(|it| (it.to.channel(), it.to.recipient())).collect();
    assert_eq!(
        to,
        [
            ("mail", "lia@example.org"),
            ("mail", "sam@example.org"),
            ("mail", "shop@example.org"),
            ("webhook", "all"),
            ("tracker", "jira"),
        ]
    );
    let keys: BTreeSet<_> = made.iter().map(|it| it.key).collect();
    assert_eq!(keys.len(), made.len());
    assert_eq!(deliveries(log.state(), &routes, &notice), made, "a replay makes the same");
}

#[test]
fn a_denial_is_news_also_when_it_is_not_the_last() {
    let mut log = Log::new();
    let release = log.scene.submit("1.0");
    let mut judgement = vote(release);
    judgement.judgement = no("It is Friday.");
    let (index, _) = log.say("bea", judgement);
    assert_eq!(log.what(index), Some(What::Denied));
    assert!(log.message(index).text.contains("It is Friday."));
}

const LIMITS: Limits = Limits {
    attempts: 4,
    first_wait: Duration::from_secs(4),
    longest_wait: Duration::from_secs(10),
};

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn at() -> Time {
    "2026-03-08T06:30:00Z".parse().unwrap()
}

fn told(index: u64, to: Destination) -> Delivery {
    let id = Digest::of(&index.to_be_bytes());
    let cause = Cause::Entry;
    Delivery::new(Notice { index, statement: id, release: Some(id), what: What::Booked, cause }, to)
}

fn plan(queue: &mut Queue, remembered: &Remembered, index: u64, to: &[&str]) -> Vec<Delivery> {
    let all: Vec<_> = to.iter().map(|address| told(index, mail(address))).collect();
    queue.handle_planned(index, all.clone(), remembered, Duration::ZERO);
    all
}

fn busy() -> Failure {
    Failure::Passing { why: "busy".to_owned(), after: None }
}

#[test]
fn one_recipient_hears_in_the_order_of_the_log_and_others_need_not_wait() {
    let (mut queue, remembered) = (Queue::new(LIMITS, 0, at()), Remembered::default());
    let first = plan(&mut queue, &remembered, 0, &["a@x", "b@x"]);
    let second = plan(&mut queue, &remembered, 1, &["a@x", "b@x"]);
    assert_eq!(queue.poll_due(seconds(0)).len(), 2);
    assert!(queue.poll_due(seconds(0)).is_empty(), "what is under way is not sent again");
    let marks = queue.handle_failed(&first[0].key, busy(), seconds(0), u64::MAX);
    assert!(
        matches!(marks.as_slice(), [Mark::Tried { tried, .. }, Mark::Below(0)] if !tried.parked)
    );
    let marks = queue.handle_delivered(&first[1].key, at());
    assert_eq!(marks, [Mark::Done { key: first[1].key, index: 0, at: at() }]);
    assert_eq!(queue.poll_due(seconds(0)), [second[1].clone()]);
    let due = queue.next_due().unwrap();
    assert!((seconds(2)..=seconds(4)).contains(&due), "{due:?}");
    assert_eq!(queue.poll_due(due), [first[0].clone()], "the first again, not the second");
}

#[test]
fn waits_double_up_to_the_longest_and_what_fails_too_often_is_parked() {
    let (mut queue, mut remembered) = (Queue::new(LIMITS, 0, at()), Remembered::default());
    let first = plan(&mut queue, &remembered, 0, &["a@x"]).remove(0);
    let second = plan(&mut queue, &remembered, 1, &["a@x"]).remove(0);
    let (mut now, mut waits) = (seconds(0), Vec::new());
    for _ in 0..LIMITS.attempts {
        assert_eq!(queue.poll_due(now), std::slice::from_ref(&first));
        let marks = queue.handle_failed(&first.key, busy(), now, 0);
        for mark in marks {
            remembered.add(mark);
        }
        let due = queue.next_due().unwrap();
        waits.push((due.saturating_sub(now)).as_secs());
        now = due.max(now);
    }
    assert_eq!(waits, [2, 4, 5, 0], "half of 4, 8, 10; then the next one is free");
    assert_eq!(queue.poll_due(now), std::slice::from_ref(&second));
    let view = queue.view(now, |_| true);
    assert_eq!(view.deliveries[0].state, DeliveryState::Parked);
    assert_eq!(view.deliveries[0].trouble.as_deref(), Some("busy"));

    // A restart knows it, and somebody has it tried again.
    for mark in queue.handle_delivered(&second.key, at()) {
        remembered.add(mark);
    }
    assert_eq!((remembered.below(), remembered.earlier()), (Some(2), vec![0, 1]));
    let mut queue = Queue::new(LIMITS, 2, at());
    assert_eq!(queue.seen(), 2);
    plan(&mut queue, &remembered, 0, &["a@x", "new@x"]);
    plan(&mut queue, &remembered, 1, &["a@x"]);
    assert!(queue.poll_due(seconds(0)).is_empty(), "nobody new hears of what is settled");
    assert!(queue.handle_retry(&second.key, seconds(0)).is_none(), "it was delivered");
    remembered.add(queue.handle_retry(&first.key, seconds(0)).unwrap());
    assert_eq!(queue.poll_due(seconds(0)), std::slice::from_ref(&first));
    assert!(!remembered.tried(&first.key).unwrap().parked);
}

#[test]
fn what_failed_and_may_pass_is_tried_again_after_a_restart() {
    let (mut queue, mut remembered) = (Queue::new(LIMITS, 0, at()), Remembered::default());
    let all = plan(&mut queue, &remembered, 0, &["a@x"]);
    assert_eq!(queue.poll_due(seconds(0)), all);
    for mark in queue.handle_failed(&all[0].key, busy(), seconds(0), 0) {
        remembered.add(mark);
    }
    let mut queue = Queue::new(LIMITS, 0, at());
    assert_eq!(plan(&mut queue, &remembered, 0, &["a@x"]), all);
    assert_eq!(queue.poll_due(seconds(0)), all);
    assert_eq!(queue.seen(), 1);
}

#[test]
fn a_wait_is_from_half_of_it_to_all_of_it() {
    let waited = |jitter| {
        let (mut queue, remembered) = (Queue::new(LIMITS, 0, at()), Remembered::default());
        let all = plan(&mut queue, &remembered, 0, &["a@x"]);
        let _due = queue.poll_due(seconds(0));
        let _marks = queue.handle_failed(&all[0].key, busy(), seconds(0), jitter);
        queue.next_due().unwrap()
    };
    for (jitter, millis) in [(0, 2000), (1, 2001), (2000, 4000), (2001, 2000), (4001, 4000)] {
        assert_eq!(waited(jitter), Duration::from_millis(millis), "{jitter}");
    }
}

#[test]
fn what_cannot_pass_is_parked_at_once_and_a_wait_that_is_asked_for_is_kept() {
    let (mut queue, remembered) = (Queue::new(LIMITS, 0, at()), Remembered::default());
    let all = plan(&mut queue, &remembered, 0, &["a@x", "b@x", "c@x"]);
    assert_eq!(queue.poll_due(seconds(0)).len(), 3);
    let lasting = Failure::Lasting { why: "no such person".to_owned() };
    let _ = queue.handle_failed(&all[0].key, lasting, seconds(0), 0);
    let asked = |after| Failure::Passing { why: "429".to_owned(), after: Some(after) };
    let _ = queue.handle_failed(&all[1].key, asked(seconds(60)), seconds(0), 0);
    assert_eq!(queue.next_due(), Some(seconds(60)));
    let _ = queue.handle_failed(&all[2].key, asked(seconds(1_000_000)), seconds(0), 0);
    assert_eq!(queue.poll_due(seconds(60)), [all[1].clone()]);
    assert_eq!(queue.next_due(), Some(seconds(86_400)), "nobody is let ask for more than a day");
}

#[test]
fn so_many_at_once_and_what_was_delivered_is_forgotten_in_time() {
    let (mut queue, remembered) = (Queue::new(LIMITS, 0, at()), Remembered::default());
    let many = 600;
    for index in 0..many {
        plan(&mut queue, &remembered, index, &[&format!("p{index}@x")]);
    }
    let mut delivered = 0;
    loop {
        let due = queue.poll_due(seconds(0));
        assert!(due.len() <= AT_ONCE);
        if due.is_empty() {
            break;
        }
        assert_eq!(queue.next_due().is_none(), due.len() == AT_ONCE);
        for delivery in due {
            let _ = queue.handle_delivered(&delivery.key, at());
            delivered += 1;
        }
    }
    assert_eq!(delivered, many);
    let view = queue.view(seconds(0), |_| true);
    assert_eq!((view.deliveries.len(), view.left_out), (500, 0));
    assert_eq!(view.deliveries[0].index, many - 1, "the newest first");
}
