//! The log: people who say what is not theirs to say, hosts that speak for others, and notes that are not
//! the log's.

use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::log::{TreeHead, checkpoint};
use cutover_shared::refusal::Code;
use cutover_shared::statement::{
    Assessment, Enrolment, Event, Freeze, Grant, Hold, HostChange, Judgement, Resume, Review, Says,
    Statement, Verdict, Vote, WindowRelease,
};
use cutover_shared::window::Window;

use super::{COORDINATOR, HOST, PERSON};
use crate::entrance::Entrance;
use crate::fixture::Attack;
use crate::world::{
    ORIGIN, Way, World, at, booking, enrolment, key, name, names, outcome, release,
};

const ALONE: &str = "TUF 1.0.33, 1.5.2: vulnerability to key compromises, below the threshold";
const MIX: &str = "TUF 1.0.33, 1.5.2: mix-and-match attack";

/// A log in the making: after the policy.
#[derive(Clone, Default)]
pub(super) struct Log {
    entries: Vec<Vec<u8>>,
}

impl Log {
    /// Adds what `owner` says and gives its identity.
    pub(super) fn say(&mut self, owner: &str, says: impl Into<Says>) -> Digest {
        self.state(owner, &Statement::new(at(0), says))
    }

    fn state(&mut self, owner: &str, statement: &Statement) -> Digest {
        self.add(&statement.signed_by([&key(owner)]))
    }

    pub(super) fn add(&mut self, envelope: &Envelope) -> Digest {
        self.entries.push(envelope.to_bytes());
        envelope.id()
    }

    /// The attack whose last entry was just added.
    pub(super) fn attack(self, name: &'static str, title: &str) -> Attack {
        let numbered = (1..).zip(self.entries);
        numbered.fold(Attack::new(name, title, Entrance::Log), |attack, (number, entry)| {
            attack.file(&format!("entry-{number:02}.json"), entry)
        })
    }

    /// With a release and its package.
    pub(super) fn with_release() -> (Self, Digest, Digest) {
        let mut log = Self::default();
        let package = Digest::of(b"1.0");
        let release = log.say("sue", release("1.0", package));
        (log, release, package)
    }

    /// With a release that is booked for the one host of staging.
    fn with_booking() -> (Self, Way) {
        let (mut log, release, package) = Self::with_release();
        log.say("ops", enrolment("s1", "staging"));
        let window = Window { start: at(1000), end: at(2000) };
        let booking = log.say("max", booking((release, package), "staging", &[&["s1"]], window));
        (log, Way { release, package, booking })
    }
}

pub(super) fn controls() -> Vec<Attack> {
    let (mut log, way) = Log::with_booking();
    log.say("s1", outcome("s1", way, Event::Committed, at(1100)));
    let note = checkpoint::sign(ORIGIN, &head(), at(0), &key("log"));
    vec![
        log.attack("an outcome", ""),
        Attack::new("a checkpoint", "", Entrance::Checkpoint).file("note.txt", note),
    ]
}

pub(super) fn attacks() -> Vec<Attack> {
    [roles(), lifted(), mixes(), hosts(), enrolments(), grants(), notes(), lines()].concat()
}

fn roles() -> Vec<Attack> {
    let environments = || names(&["production"]);
    let accepted = || Judgement::Accepted { reason: String::new() };
    let says = |name, title, owner: &str, says: &dyn Fn(Digest, Digest) -> Says| {
        let (mut log, release, package) = Log::with_release();
        log.say(owner, says(release, package));
        log.attack(name, title).by(PERSON, ALONE)
    };
    let vote = |release| {
        let (environments, judgement) = (environments(), accepted());
        Vote { release, environments, judgement, conditions: Vec::new() }
    };
    let window = Window { start: at(1000), end: at(2000) };
    vec![
        says(
            "vote-by-a-librarian",
            "Somebody who is not on the board votes.",
            "lib",
            &|release, _| vote(release).into(),
        )
        .refused(Code::RoleMissing, "a vote must be signed by board for web; signed by lib"),
        says("review-by-the-submitter", "The submitter reviews.", "sue", &|release, _| {
            Review { release, environments: environments(), verdict: Verdict::Complete }.into()
        })
        .refused(Code::RoleMissing, "a review must be signed by librarian for web; signed by sue"),
        says(
            "assessment-by-the-board",
            "The board says that it is secure.",
            "bea",
            &|release, package| {
                let judgement = accepted();
                Assessment { release, package, environments: environments(), judgement }.into()
            },
        )
        .refused(
            Code::RoleMissing,
            "a assessment must be signed by security for web; signed by bea",
        ),
        says(
            "booking-by-the-submitter",
            "The submitter takes a window.",
            "sue",
            &|release, package| booking((release, package), "staging", &[&["s1"]], window).into(),
        )
        .refused(
            Code::RoleMissing,
            "a booking must be signed by change-manager for web; signed by sue",
        ),
        says(
            "vote-by-a-stranger",
            "Somebody whom the policy does not know votes.",
            "mallory",
            &|release, _| vote(release).into(),
        )
        .by("a key of one's own", ALONE)
        .refused(
            Code::RoleMissing,
            "a vote must be signed by board for web; signed by no known key",
        ),
    ]
}

/// Those who lift what others put in the way, and one whom nobody knows.
fn lifted() -> Vec<Attack> {
    vec![
        {
            let mut log = Log::default();
            log.say("mallory", release("1.0", Digest::of(b"1.0")));
            log.attack("release-by-a-stranger", "Somebody whom the policy does not know submits.")
                .by("a key of one's own", "TUF 1.0.33, 1.5.2: arbitrary installation attack")
                .refused(
                    Code::RoleMissing,
                    "a release must be signed by submitter for web; signed by no known key",
                )
        },
        {
            let (mut log, release, _) = Log::with_release();
            let hold = Hold { release, reason: "a hole".to_owned(), finish: false };
            let hold = log.say("sec", hold);
            log.say("max", Resume { hold, reason: "no time".to_owned() });
            log.attack(
                "hold-lifted-by-another-role",
                "The change manager lifts what security held.",
            )
            .by(PERSON, "DESIGN 3: the role that held resumes")
            .refused(
                Code::RoleMissing,
                "a resume must be signed by security for web; signed by max",
            )
        },
        {
            let mut log = Log::default();
            let freeze = Freeze::Declared {
                policy: Envelope::parse(&super::policy()).unwrap().id(),
                environments: names(&["production"]),
                applications: names(&[]),
                start: at(0),
                end: at(5000),
                reason: "elections".to_owned(),
            };
            let freeze = log.say("max", freeze);
            log.say("sue", Freeze::Lifted { freeze, reason: "no time".to_owned() });
            log.attack("freeze-lifted-by-the-submitter", "The submitter lifts a freeze.")
                .by(PERSON, ALONE)
                .refused(
                    Code::RoleMissing,
                    "a freeze must be signed by change-manager; signed by sue",
                )
        },
    ]
}

fn mixes() -> Vec<Attack> {
    let other = Digest::of(b"another package");
    let (mut assessed, release, package) = Log::with_release();
    assessed.say(
        "sec",
        Assessment {
            release,
            package: other,
            environments: names(&["production"]),
            judgement: Judgement::Accepted { reason: String::new() },
        },
    );
    let (mut booked, release, _) = Log::with_release();
    let window = Window { start: at(1000), end: at(2000) };
    booked.say("max", booking((release, other), "staging", &[&["s1"]], window));
    let (mut released, way) = Log::with_booking();
    let second = released.say("sue", crate::world::release("2.0", other));
    let checkpoint = TreeHead { size: 4, root: Digest::of(b"root") };
    let booking = way.booking;
    released.say("max", WindowRelease { booking, release: second, package: other, checkpoint });
    let differs = |package: Digest| format!("the release's package is {package}, not {other}");
    vec![
        assessed
            .attack(
                "assessment-of-another-package",
                "Security's word for one package, under another release.",
            )
            .by(PERSON, MIX)
            .refused(Code::DigestMismatch, differs(package)),
        booked
            .attack("booking-of-another-package", "A window for a package that the release is not.")
            .by(PERSON, MIX)
            .refused(Code::DigestMismatch, differs(package)),
        released
            .attack(
                "window-released-for-another-release",
                "The window of one release is opened for another.",
            )
            .by(PERSON, MIX)
            .refused(Code::DigestMismatch, "the booking is of another release"),
    ]
}

/// An attack by a host, after staging was booked for s1.
fn with_booking(name: &'static str, title: &str, change: &dyn Fn(&mut Log, Way)) -> Attack {
    let (mut log, way) = Log::with_booking();
    change(&mut log, way);
    log.attack(name, title).by(HOST, "DESIGN 11: a host's key is good for its own outcomes")
}

fn hosts() -> Vec<Attack> {
    let with = with_booking;
    let s1 = key("s1").public().id();
    vec![
        with("outcome-by-a-person", "The submitter says that the host committed.", &|log, way| {
            log.say("sue", outcome("s1", way, Event::Committed, at(1100)));
        })
        .by(PERSON, "DESIGN 3: outcomes are signed by hosts")
        .refused(Code::SignatureInvalid, "not signed with the host key of s1"),
        with("outcome-of-another-host", "One host says that another committed.", &|log, way| {
            log.say("ops", enrolment("s2", "staging"));
            log.say("s2", outcome("s1", way, Event::Committed, at(1100)));
        })
        .refused(Code::SignatureInvalid, "not signed with the host key of s1"),
        with(
            "outcome-under-anothers-name",
            "A host calls itself by another one's name.",
            &|log, way| {
                log.say("ops", enrolment("s2", "staging"));
                let mut says = outcome("s2", way, Event::Committed, at(1100));
                says.host = name("s1");
                log.say("s2", says);
            },
        )
        .refused(Code::WrongHost, "the key is s2's, not s1's"),
        with(
            "outcome-of-an-order-for-others",
            "A host proves a wave that it is not in.",
            &|log, way| {
                log.say("ops", enrolment("s2", "staging"));
                log.say("s2", outcome("s2", way, Event::Committed, at(1100)));
            },
        )
        .refused(Code::WrongHost, "the order is not for that host or package"),
        with(
            "outcome-of-a-retired-host",
            "A host that was retired goes on proving.",
            &|log, way| {
                let reason = "sold".to_owned();
                log.say("ops", HostChange::Retired { host: name("s1"), host_key: s1, reason });
                log.say("s1", outcome("s1", way, Event::Committed, at(1100)));
            },
        )
        .refused(Code::RoleMissing, "host s1 was retired"),
    ]
}

fn enrolments() -> Vec<Attack> {
    let with = with_booking;
    let s1 = key("s1").public().id();
    vec![
        with(
            "host-key-enrolled-twice",
            "One host is enrolled as two, to be two proofs.",
            &|log, _| {
                let HostChange::Enrolled(mut again) = enrolment("s1", "staging") else {
                    panic!("an enrolment");
                };
                again.host = name("s2");
                again.transport_key = key("another").public();
                log.say("ops", HostChange::Enrolled(again));
            },
        )
        .by(PERSON, "DESIGN 4: keys with the same material count once")
        .refused(Code::NameTaken, format!("the host key {s1} belongs to another host")),
        with("host-name-taken-over", "Another machine takes a host's name.", &|log, _| {
            let HostChange::Enrolled(mut other) = enrolment("s2", "staging") else {
                panic!("an enrolment");
            };
            other.host = name("s1");
            log.say("ops", HostChange::Enrolled(other));
        })
        .by(PERSON, "DESIGN 11: a re-imaged host replaces its old self")
        .refused(Code::NameTaken, "there is a host s1 already"),
    ]
}

fn grants() -> Vec<Attack> {
    let grant = || Grant {
        grant_key: key("grant").public(),
        environment: name("staging"),
        labels: std::collections::BTreeMap::new(),
        applications: names(&["web"]),
        count: 1,
    };
    let enrol = |host: &str, environment: &str, grant: Digest, issued, by: &str| {
        let HostChange::Enrolled(enrolled) = enrolment(host, environment) else {
            panic!("an enrolment");
        };
        let says = HostChange::Enrolled(Box::new(Enrolment { grant: Some(grant), ..*enrolled }));
        Statement::new(issued, says).signed_by([&key(by)])
    };
    let with = |name, title, add: &dyn Fn(&mut Log, Digest)| {
        let mut log = Log::default();
        let granted = log.state("ops", &Statement::new(at(0), grant()).until(at(600)));
        add(&mut log, granted);
        log.attack(name, title)
            .by("a join string", "DESIGN 10: uses of a grant are counted by log position")
    };
    vec![
        with("grant-used-twice", "A grant for one host lets in a second one.", &|log, grant| {
            log.add(&enrol("s1", "staging", grant, at(1), "grant"));
            log.add(&enrol("s2", "staging", grant, at(2), "grant"));
        })
        .refused(Code::GrantExhausted, "all 1 uses are spent"),
        with("grant-that-expired", "A join string from last year.", &|log, grant| {
            log.add(&enrol("s1", "staging", grant, at(600), "grant"));
        })
        .refused(Code::GrantExhausted, "the grant has expired"),
        with(
            "grant-for-more-than-it-gives",
            "A staging grant lets a host into production.",
            &|log, grant| {
                log.add(&enrol("s1", "production", grant, at(1), "grant"));
            },
        )
        .refused(Code::WrongEnvironment, "the enrolment asks for more than its grant gives"),
        with(
            "grant-without-its-key",
            "A grant that was seen in the log is used without its key.",
            &|log, granted| {
                log.add(&enrol("s1", "staging", granted, at(1), "s1"));
            },
        )
        .by("whoever can read the log", "DESIGN 3: a grant is a public key")
        .refused(Code::SignatureInvalid, "not signed with the key of grant 40f33d77bc194a795d329cb7bf4fed0a19cfaa6b84533bc9521fef34dd358fe6"),
    ]
}

fn head() -> TreeHead {
    let mut world = World::new();
    world.whole_way("1.0");
    world.tree.head()
}

const NOTE: &str = "C2SP signed-note, tlog-checkpoint and tlog-cosignature";

fn signed_note(owner: &str, origin: &str, head: &TreeHead, seconds: u64) -> String {
    String::from_utf8(checkpoint::sign(origin, head, at(seconds), &key(owner))).unwrap()
}

fn note(name: &'static str, title: &str, text: String) -> Attack {
    Attack::new(name, title, Entrance::Checkpoint).file("note.txt", text).by(COORDINATOR, NOTE)
}

/// A line of a note, with its end.
fn line(text: &str, number: usize) -> String {
    text.split_inclusive('\n').nth(number).unwrap().to_owned()
}

/// Notes whose lines are another's.
fn notes() -> Vec<Attack> {
    let text = signed_note("log", ORIGIN, &head(), 0);
    let later = signed_note("log", ORIGIN, &head(), 60);
    let of_another = |owner: &str, origin: &str| signed_note(owner, origin, &head(), 0);
    let shorter = TreeHead { size: head().size - 1, root: head().root };
    let shorter = signed_note("log", ORIGIN, &shorter, 0);
    let body = |text: &str| text.split_once("\n\n").unwrap().0.to_owned();
    let lines = |text: &str| text.split_once("\n\n").unwrap().1.to_owned();
    vec![
        note(
            "checkpoint-of-another-log",
            "The head of another log, by the same key.",
            of_another("log", "other.test/log"),
        )
        .fails("accept a checkpoint of \"other.test/log\": expected \"cutover.test/log\""),
        note(
            "checkpoint-by-another-key",
            "A head that the log never signed.",
            of_another("max", ORIGIN),
        )
        .by(PERSON, NOTE)
        .fails("find the log's signature on the checkpoint"),
        note(
            "checkpoint-without-a-time",
            "A head without the cosignature that says when: it could be of last year.",
            text.replace(&line(&text, 5), ""),
        )
        .fails("find the log's timestamped cosignature on the checkpoint"),
        note(
            "checkpoint-with-two-times",
            "Two cosignatures of the log, of which each reader takes another.",
            format!("{text}{}", line(&later, 5)),
        )
        .fails("accept two signatures of one kind by \"cutover.test/log\""),
        note(
            "checkpoint-with-another-size",
            "The signatures of one head under another.",
            format!("{}\n\n{}", body(&shorter), lines(&text)),
        )
        .fails("find the log's signature on the checkpoint"),
    ]
}

/// Notes of which a line was changed, or added.
fn lines() -> Vec<Attack> {
    let text = signed_note("log", ORIGIN, &head(), 0);
    let size = head().size;
    vec![
        note(
            "checkpoint-with-another-time",
            "The cosignature of one head's time with the time of another.",
            {
                use base64::Engine as _;
                use base64::prelude::BASE64_STANDARD;
                let encoded = line(&text, 5);
                let encoded = encoded.trim_end().rsplit_once(' ').unwrap().1.to_owned();
                let mut bytes = BASE64_STANDARD.decode(&encoded).unwrap();
                bytes[11] ^= 1;
                text.replace(&encoded, &BASE64_STANDARD.encode(bytes))
            },
        )
        .fails("find the log's timestamped cosignature on the checkpoint"),
        note(
            "checkpoint-with-a-padded-size",
            "A size in a second spelling.",
            text.replacen(&format!("\n{size}\n"), &format!("\n0{size}\n"), 1),
        )
        .fails("read a checkpoint: the size has leading zeros or a sign"),
        note(
            "checkpoint-with-an-extension",
            "A line in the body that this reader would pass over and another obey.",
            text.replacen("\n\n", "\nextension\n\n", 1),
        )
        .fails("read a checkpoint: extension lines are not used in this log"),
        note(
            "checkpoint-with-lines-without-end",
            "Signature lines, each of which costs a check.",
            format!("{text}{}", line(&text, 5).repeat(20)),
        )
        .fails("read a checkpoint: more than 16 signature lines"),
    ]
}
