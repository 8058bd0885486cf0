//! What there is to say of releases: from the fold and the hosts' own words, pure.

use cutover_shared::case::{BookingCase, Case};
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::fold::standing::{Lifecycle, release_standing};
use cutover_shared::name::Name;
use cutover_shared::protocol::Fleet;
use cutover_shared::refusal::Refusal;
use cutover_shared::rollout::{self, PlannedState, Standing, WaitingOn};
use cutover_shared::statement::ChangeType;
use cutover_shared::time::Time;
use serde::{Serialize, Serializer};

use crate::cli::drift::DriftReport;
use crate::cli::exceptions::{ExceptionReport, exceptions};
use crate::cli::names;
use crate::cli::output::table;
use crate::cli::rehearsals::{RehearsalReport, rehearsals};
use crate::cli::status::leaving::{LeavingReport, leaving};
use crate::cli::tasks;

/// One release in the list.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Row {
    release: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    iteration: Option<u32>,
    id: Digest,
    application: Name,
    version: String,
    change: ChangeType,
    state: Lifecycle,
    detail: String,
    #[serde(serialize_with = "as_map")]
    environments: Vec<(Name, Lifecycle)>,
    /// How many exceptions are in force for it.
    exceptions: usize,
    submitted: Time,
    submitter: Vec<Name>,
    summary: String,
}

/// In the order of the policy for people, by name for programs.
fn as_map<S: Serializer>(
    environments: &[(Name, Lifecycle)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(environments.iter().map(|(name, word)| (name, word)))
}

/// The place of a release among the iterations of its emergency.
fn iteration(case: &Case) -> Option<u32> {
    case.release.says().iteration.as_ref().map(|it| it.number)
}

/// The number for people: `R-7`, or `R-7 (E2)` for an iteration.
fn title(release: &str, iteration: Option<u32>) -> String {
    match iteration {
        Some(number) => format!("{release} (E{number})"),
        None => release.to_owned(),
    }
}

/// Every release, in the order of submission.
pub(super) fn rows(state: &State, now: Time) -> Vec<Row> {
    state.cases().map(|case| row(state, case, now)).collect()
}

fn row(state: &State, case: &Case, now: Time) -> Row {
    let release = case.release.says();
    let standing = release_standing(state, case, now);
    let excepted = release.environments.iter();
    let excepted = excepted.map(|environment| exceptions(state, case, environment, now).len());
    let environments = standing.environments.into_iter().map(|it| (it.environment, it.word));
    Row {
        release: names::number(case),
        iteration: iteration(case),
        id: case.release.id(),
        application: release.application.clone(),
        version: release.version.clone(),
        change: release.change,
        state: standing.word,
        detail: standing.detail,
        environments: environments.collect(),
        exceptions: excepted.sum(),
        submitted: case.release.header().issued,
        submitter: case.release.owners().into_iter().cloned().collect(),
        summary: release.summary.clone(),
    }
}

/// The list as a table.
pub(super) fn list_text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "Nothing was submitted yet.".to_owned();
    }
    let mut table = table(["release", "", "change", "state", "environments", "submitted"]);
    for row in rows {
        let environments = row.environments.iter().map(|(name, word)| format!("{name} {word}"));
        let submitters: Vec<_> = row.submitter.iter().map(Name::as_str).collect();
        let mut state = format!("{}\n{}", row.state, row.detail).trim_end().to_owned();
        if row.exceptions > 0 {
            state = format!("{state}\nEXCEPTIONS: {}", row.exceptions);
        }
        table.add_row([
            title(&row.release, row.iteration),
            format!("{} {}", row.application, row.version),
            row.change.to_string(),
            state,
            environments.collect::<Vec<_>>().join("\n"),
            format!("{}\nby {}", row.submitted, submitters.join(", ")),
        ]);
    }
    table.to_string()
}

/// One release, with its bookings and their hosts.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ReleaseReport {
    release: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    iteration: Option<u32>,
    id: Digest,
    application: Name,
    version: String,
    package: Digest,
    change: ChangeType,
    summary: String,
    submitted: Time,
    submitter: Vec<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_start: Option<Time>,
    state: Lifecycle,
    detail: String,
    environments: Vec<EnvironmentReport>,
    /// The hosts that leave it by order now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    leaving: Vec<LeavingReport>,
    /// What is to be done for it, and what was.
    tasks: Vec<serde_json::Value>,
    #[serde(skip)]
    task_lines: Vec<String>,
    rehearsals: Vec<RehearsalReport>,
}

/// A release in one environment.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct EnvironmentReport {
    environment: Name,
    state: Lifecycle,
    detail: String,
    /// What two owners let it do without.
    exceptions: Vec<ExceptionReport>,
    bookings: Vec<BookingReport>,
}

/// A booking and its hosts.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct BookingReport {
    booking: Digest,
    start: Time,
    end: Time,
    /// The civil times behind the instants, as they were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<String>,
    released: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    halted: Option<String>,
    /// Whether nothing more happens by itself.
    over: bool,
    pub(in crate::cli) hosts: Vec<HostReport>,
    /// What was changed on hosts since and nobody approved.
    drift: Vec<DriftReport>,
}

/// A host of a booking.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct HostReport {
    pub(in crate::cli) host: Name,
    wave: Name,
    /// `turn`, `working`, `committed`, `returned`, `stuck`, `silent` or `waiting`.
    pub(in crate::cli) standing: &'static str,
    /// Of a waiting host: `rule`, `room`, `connection`, `other-work`, `halted` or `host-refused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) waiting_on: Option<&'static str>,
    /// The code of the refusal that it waits on.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// For people.
    pub(in crate::cli) detail: String,
    /// Bytes fetched, and to fetch.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<(u64, u64)>,
    /// What the host itself refuses of this order now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) refused: Option<Refusal>,
}

impl ReleaseReport {
    pub(super) fn new(state: &State, fleet: &Fleet, case: &Case, now: Time) -> Self {
        let release = case.release.says();
        let standing = release_standing(state, case, now);
        let given_up = matches!(
            standing.word,
            Lifecycle::Cancelled | Lifecycle::Denied | Lifecycle::Superseded | Lifecycle::Closed
        );
        let environments = standing.environments.into_iter().map(|it| {
            let here =
                |booking: &&BookingCase| booking.booking.says().environment == it.environment;
            let mut bookings: Vec<_> = case.booked().filter(here).collect();
            bookings.sort_by_key(|booking| booking.booking.index());
            let bookings =
                bookings.into_iter().map(|it| BookingReport::new(state, fleet, it, given_up));
            EnvironmentReport {
                bookings: bookings.collect(),
                exceptions: exceptions(state, case, &it.environment, now),
                environment: it.environment,
                state: it.word,
                detail: it.detail,
            }
        });
        let (tasks, task_lines) = tasks::told(state, case, now).into_iter().unzip();
        Self {
            tasks,
            task_lines,
            rehearsals: rehearsals(case),
            release: names::number(case),
            iteration: iteration(case),
            id: case.release.id(),
            application: release.application.clone(),
            version: release.version.clone(),
            package: release.package,
            change: release.change,
            summary: release.summary.clone(),
            submitted: case.release.header().issued,
            submitter: case.release.owners().into_iter().cloned().collect(),
            requested_start: release.requested_start,
            state: standing.word,
            detail: standing.detail,
            environments: environments.collect(),
            leaving: leaving(state, fleet, case),
        }
    }

    /// Leaves out every other host.
    pub(super) fn only(&mut self, host: &Name) {
        for booking in self.environments.iter_mut().flat_map(|it| &mut it.bookings) {
            booking.hosts.retain(|it| it.host == *host);
            booking.drift.retain(|it| it.host == *host);
        }
        self.leaving.retain(|it| it.is_on(host));
    }

    /// Whether it has bookings, all of them are over, and no host leaves it.
    pub(super) fn is_over(&self) -> bool {
        let mut bookings = self.environments.iter().flat_map(|it| &it.bookings).peekable();
        let over = bookings.peek().is_some() && bookings.all(|booking| booking.over);
        over && self.leaving.is_empty()
    }

    pub(super) fn text(&self) -> String {
        let submitters: Vec<_> = self.submitter.iter().map(Name::as_str).collect();
        let mut lines = vec![
            format!(
                "{}  {} {}: {}",
                title(&self.release, self.iteration),
                self.application,
                self.version,
                self.summary
            ),
            format!("state      {}; {}", self.state, self.detail),
            format!("change     {}", self.change),
            format!("submitted  {} by {}", self.submitted, submitters.join(", ")),
            format!("statement  {}", self.id),
            format!("package    {}", self.package),
        ];
        if let Some(start) = self.requested_start {
            lines.push(format!("requested  {start}"));
        }
        lines.extend(self.leaving.iter().map(|it| format!("leaving    {}", it.text())));
        lines.extend(self.rehearsals.iter().map(|it| format!("rehearsed  {}", it.text())));
        lines.extend(self.task_lines.iter().map(|line| format!("task       {line}")));
        for environment in &self.environments {
            lines.push(String::new());
            let EnvironmentReport { environment, state, detail, exceptions, bookings } =
                environment;
            lines.push(format!("{environment}: {state}; {detail}"));
            lines.extend(exceptions.iter().map(ExceptionReport::text));
            lines.extend(bookings.iter().map(BookingReport::text));
        }
        lines.join("\n")
    }
}

impl BookingReport {
    /// `given_up`: nothing of the release begins any more, in any booking.
    pub(in crate::cli) fn new(
        state: &State,
        fleet: &Fleet,
        booking: &BookingCase,
        given_up: bool,
    ) -> Self {
        let says = booking.booking.says();
        let id = booking.booking.id();
        // The coordinator plans by its own clock, and tells its time with what it hears.
        let plan = rollout::plan(state, fleet, &id, fleet.now);
        let (halted, hosts) = plan.map(|plan| (plan.halted, plan.hosts)).unwrap_or_default();
        let hosts: Vec<_> = hosts.iter().map(|it| HostReport::new(fleet, &id, it)).collect();
        let waits = |it: &HostReport| it.standing == "waiting";
        let acts = |it: &HostReport| matches!(it.standing, "turn" | "working" | "return-turn");
        let written = says
            .derivation
            .as_ref()
            .map(|it| format!("{} {} in {} (tz {})", it.start, it.end, it.zone, it.tzdb));
        let over = booking.cancelled.is_some()
            || says.window.end <= fleet.now
            || !hosts.iter().any(|it| acts(it) || waits(it) && halted.is_none() && !given_up);
        Self {
            booking: id,
            start: says.window.start,
            end: says.window.end,
            written,
            released: booking.released.is_some(),
            cancelled: booking.cancelled.as_ref().map(|it| it.says().reason.clone()),
            halted: halted.map(|it| it.to_string()),
            over,
            hosts,
            drift: booking.outcomes.iter().filter_map(DriftReport::of).collect(),
        }
    }

    fn text(&self) -> String {
        let released = match (&self.cancelled, self.released) {
            (Some(reason), _) => format!("cancelled: {reason}"),
            (None, true) => "released".to_owned(),
            (None, false) => "not released".to_owned(),
        };
        let mut lines = vec![format!(
            "  booking {}, {} to {}, {released}",
            self.booking.short(),
            self.start,
            self.end
        )];
        lines.extend(self.written.iter().map(|it| format!("  written as {it}")));
        if self.cancelled.is_some() {
            return lines.join("\n");
        }
        lines.extend(self.halted.iter().map(|it| format!("  HALTED: {it}")));
        let mut table = table(["wave", "host", "standing", ""]);
        for host in &self.hosts {
            let progress = host.progress.map(|(done, all)| {
                let [done, all] = [done, all].map(indicatif::HumanBytes);
                format!(" {done} of {all}")
            });
            let mut detail = format!("{}{}", host.detail, progress.unwrap_or_default());
            if let Some(refusal) = &host.refused {
                detail = format!("{detail}\nthe host refuses: {refusal}");
            }
            table.add_row([&host.wave.to_string(), host.host.as_str(), host.standing, &detail]);
        }
        lines.push(table.to_string());
        let drift = |it: &DriftReport| format!("  DRIFT on {}, {}: {}", it.host, it.seen, it.drift);
        lines.extend(self.drift.iter().map(drift));
        lines.join("\n")
    }
}

impl HostReport {
    fn new(fleet: &Fleet, booking: &Digest, planned: &PlannedState) -> Self {
        let (standing, detail) = match &planned.standing {
            Standing::Turn => ("turn", "the coordinator offers it the order".to_owned()),
            Standing::Working { step } => ("working", step.clone()),
            Standing::Committed => ("committed", String::new()),
            Standing::ReturnTurn => {
                ("return-turn", "the coordinator offers it the return".to_owned())
            }
            Standing::ReturnWaiting(on) => ("return-waiting", on.to_string()),
            Standing::Returned { reason } => ("returned", reason.clone()),
            Standing::Stuck { reason } => ("stuck", reason.clone()),
            Standing::Silent { since } => ("silent", format!("since {since}")),
            Standing::Waiting(on) => ("waiting", on.to_string()),
        };
        let (waiting_on, code) = match &planned.standing {
            Standing::Waiting(on) | Standing::ReturnWaiting(on) => waiting(on),
            Standing::Turn
            | Standing::Working { .. }
            | Standing::Committed
            | Standing::ReturnTurn
            | Standing::Returned { .. }
            | Standing::Stuck { .. }
            | Standing::Silent { .. } => (None, None),
        };
        let view = fleet.hosts.iter().find(|view| view.host_key == planned.host_key);
        let reports = || view.iter().flat_map(|view| view.reports());
        let mine = reports().find(|it| it.order.as_ref() == Some(booking));
        let mut refusals = reports().filter_map(|it| it.refused.as_ref());
        let refused = refusals.find(|(order, _)| order == booking).map(|(_, it)| it);
        Self {
            host: planned.host.clone(),
            wave: planned.wave.clone(),
            standing,
            waiting_on,
            code,
            detail,
            progress: mine.and_then(|it| it.progress),
            refused: refused.cloned(),
        }
    }
}

fn waiting(on: &WaitingOn) -> (Option<&'static str>, Option<String>) {
    let (word, code) = match on {
        WaitingOn::Rule(refusal) => ("rule", Some(refusal.code.to_string())),
        WaitingOn::Room { .. } => ("room", None),
        WaitingOn::Connection => ("connection", None),
        WaitingOn::OtherWork { .. } => ("other-work", None),
        WaitingOn::Halted => ("halted", None),
        WaitingOn::HostRefused { code, .. } => ("host-refused", Some(code.clone())),
        WaitingOn::ReturnBudget { .. } => ("return-budget", None),
        WaitingOn::ReturnStuck { .. } => ("return-stuck", None),
    };
    (Some(word), code)
}

#[cfg(test)]
mod tests {
    use cutover_shared::protocol::{ApplicationReport, HostReport as Heard, HostView};
    use cutover_shared::refusal::Code;
    use cutover_shared::statement::{
        Event, Freeze, Override, PassedFreeze, Rehearsal, Rehearsed, Statement,
    };

    use super::*;
    use crate::cli::names::scene::{SHOP, Scene, key, minutes, name, names, returned};

    const WEB: [&str; 3] = ["web-1", "web-2", "web-3"];

    /// Every host is connected and idle.
    fn fleet(scene: &Scene) -> Fleet {
        let view = |host: &str| HostView {
            host_key: key(host).public().id(),
            connected: true,
            heard: scene.now,
            report: Some(Heard { known: 0, policy_version: 1, applications: Vec::new() }),
            cleared: Vec::new(),
        };
        let hosts = ["stage-1", "stage-2", "web-1", "web-2", "web-3"];
        let since = scene.now - minutes(600);
        Fleet { now: scene.now, since, hosts: hosts.into_iter().map(view).collect() }
    }

    fn report(scene: &Scene, fleet: &Fleet, release: Digest) -> ReleaseReport {
        ReleaseReport::new(&scene.state, fleet, scene.state.case(&release).unwrap(), scene.now)
    }

    fn hosts(report: &ReleaseReport) -> Vec<(String, &'static str, Option<&str>)> {
        let bookings = report.environments.iter().flat_map(|it| &it.bookings);
        let host = |it: &'_ HostReport| (it.host.to_string(), it.standing, it.waiting_on);
        bookings.flat_map(|it| &it.hosts).map(host).collect()
    }

    fn production() -> (Scene, Digest, Digest) {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        scene.approve(release);
        scene.deploy(release, "staging", &["stage-1", "stage-2"]);
        let booking = scene.book(release, "production", &[&WEB[..1], &WEB[1..]]);
        (scene, release, booking)
    }

    #[test]
    fn each_host_says_what_it_waits_for() {
        let (mut scene, release, booking) = production();
        let shown = report(&scene, &fleet(&scene), release);
        assert!(!shown.is_over());
        assert!(shown.text().contains("not-released"), "{}", shown.text());
        scene.arm(booking);
        let shown = report(&scene, &fleet(&scene), release);
        assert!(shown.text().contains("window-not-open"), "{}", shown.text());
        scene.wait(minutes(10));
        let mut fleet = fleet(&scene);
        let shown = report(&scene, &fleet, release);
        let expected = [
            ("stage-1", "committed", None),
            ("stage-2", "committed", None),
            ("web-1", "turn", None),
            ("web-2", "waiting", Some("rule")),
            ("web-3", "waiting", Some("rule")),
        ];
        let expected = expected.map(|(host, word, on)| (host.to_owned(), word, on));
        assert_eq!(hosts(&shown), expected);
        assert!(shown.text().contains("wave-not-proven"), "{}", shown.text());

        let working = fleet.hosts.iter_mut().find(|it| it.host_key == key("web-1").public().id());
        working.unwrap().report = Some(Heard {
            known: 0,
            policy_version: 1,
            applications: vec![ApplicationReport {
                application: name(SHOP),
                generation: 1,
                running: None,
                order: Some(booking),
                step: "fetching".to_owned(),
                progress: Some((1024, 4096)),
                refused: None,
            }],
        });
        let shown = report(&scene, &fleet, release);
        assert!(shown.text().contains("fetching 1.00 KiB of 4.00 KiB"), "{}", shown.text());
    }

    #[test]
    fn tasks_and_rehearsals_are_shown() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        scene.approve(release);
        let rehearsal = Rehearsal {
            release,
            package: scene.state.case(&release).unwrap().release.says().package,
            earlier: None,
            result: Rehearsed::Passed { applied_in: minutes(2), returned_in: minutes(1) },
            steps: Vec::new(),
            sandbox: "bubblewrap".to_owned(),
            transcript: Digest::of(b"transcript"),
        };
        scene.say("olga", rehearsal);
        let shown = report(&scene, &fleet(&scene), release);
        let text = shown.text();
        for part in [
            "rehearsed  passed, olga, ",
            ": applied in 2m, taken back in 1m",
            "task       stage: done ",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let json = serde_json::to_value(&shown).unwrap();
        assert_eq!(
            (&json["tasks"][0]["task"], &json["rehearsals"][0]["passed"]),
            (&"stage".into(), &true.into())
        );
    }

    #[test]
    fn one_host_alone() {
        let (mut scene, release, booking) = production();
        scene.arm(booking);
        scene.wait(minutes(10));
        scene.report("web-1", booking, returned());
        let mut shown = report(&scene, &fleet(&scene), release);
        shown.only(&name("web-1"));
        assert_eq!(hosts(&shown), [("web-1".to_owned(), "returned", None)]);
    }

    #[test]
    fn what_a_host_refuses_itself_is_shown_though_it_passes() {
        let (mut scene, release, booking) = production();
        scene.arm(booking);
        scene.wait(minutes(10));
        let mut fleet = fleet(&scene);
        let web_1 = fleet.hosts.iter_mut().find(|it| it.host_key == key("web-1").public().id());
        let idle = ApplicationReport {
            application: name(SHOP),
            generation: 0,
            running: None,
            order: None,
            step: "idle".to_owned(),
            progress: None,
            refused: Some((booking, Refusal::new(Code::Inhibited, "a backup runs"))),
        };
        let heard = Heard { known: 0, policy_version: 1, applications: vec![idle] };
        web_1.unwrap().report = Some(heard);
        let shown = report(&scene, &fleet, release);
        let text = shown.text();
        assert!(text.contains("the host refuses: inhibited: a backup runs"), "{text}");
        let json = serde_json::to_value(&shown).unwrap();
        let web_1 = &json["environments"][1]["bookings"][0]["hosts"][0];
        assert_eq!(web_1["refused"]["code"], "inhibited");
        assert!(json["environments"][1]["bookings"][0].get("halted").is_none());
    }

    #[test]
    fn a_passed_freeze_is_told_aloud() {
        let (mut scene, release, booking) = production();
        scene.arm(booking);
        let declared = Freeze::Declared {
            policy: scene.state.policy().unwrap().id(),
            environments: names(["production"]),
            applications: names([]),
            start: scene.now,
            end: scene.now + minutes(600),
            reason: "Elections.".to_owned(),
        };
        let freeze = scene.say("mia", declared);
        let shown = report(&scene, &fleet(&scene), release).text();
        assert!(shown.contains("frozen") && !shown.contains("EXCEPTION"), "{shown}");
        let freezes = vec![PassedFreeze { freeze, reason: "It burns.".to_owned() }];
        let passing = Statement::new(scene.now, Override { release, booking, freezes });
        let passing = passing.signed_by([&key("max"), &key("sergei")]);
        scene.state.apply(scene.state.next_index(), &passing.to_bytes()).unwrap();
        let shown = report(&scene, &fleet(&scene), release).text();
        let line = format!("EXCEPTION: it passes the freeze {}, signed by max and", freeze.short());
        assert!(shown.contains(&line) && !shown.contains("frozen"), "{shown}");
        let rows = rows(&scene.state, scene.now);
        assert!(list_text(&rows).contains("EXCEPTIONS: 1"), "{}", list_text(&rows));
    }

    #[test]
    fn it_is_over_when_nothing_more_happens_by_itself() {
        let (mut scene, release, booking) = production();
        scene.arm(booking);
        scene.wait(minutes(10));
        scene.report("web-1", booking, returned());
        let shown = report(&scene, &fleet(&scene), release);
        assert!(shown.is_over(), "halted: people decide");
        assert!(shown.text().contains("HALTED: web-1 went back"), "{}", shown.text());

        let (mut scene, release, booking) = production();
        scene.arm(booking);
        scene.wait(minutes(10));
        for host in WEB {
            assert!(!report(&scene, &fleet(&scene), release).is_over());
            scene.report(host, booking, Event::Committed);
        }
        assert!(report(&scene, &fleet(&scene), release).is_over());
    }

    #[test]
    fn the_list_has_a_word_for_each() {
        let (mut scene, ..) = production();
        scene.submit("1.1");
        let rows = rows(&scene.state, scene.now);
        let words: Vec<_> = rows.iter().map(|row| row.state.name()).collect();
        assert_eq!(words, ["staged", "submitted"]);
        let text = list_text(&rows);
        assert!(text.contains("R-1") && text.contains("production staged"), "{text}");
        let json = serde_json::to_value(&rows).unwrap();
        assert_eq!(json[1]["environments"]["production"], "submitted");
        assert_eq!(json[1]["submitter"][0], "sam");
    }
}
