//! `cutover explain`: what happened to a release, why it does not move, and who must act next.
//!
//! The rules are asked as the hosts will ask them ([`Trial`]); where no window is booked yet, one is
//! assumed, so that everything that is missing is told at once.

mod command;
mod history;
mod next;
pub(super) mod route;
mod who;

use clap::Args;
use cutover_shared::authorise::{HostFacts, rules};
use cutover_shared::case::Case;
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::fold::standing::{EnvironmentStanding, Lifecycle, Trial, release_standing};
use cutover_shared::name::Name;
use cutover_shared::protocol::Fleet;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::time::Time;
use serde::Serialize;

use self::history::{Happened, history};
use self::next::{Next, next};
pub(super) use self::who::who_votes;
use self::who::{Who, who_acts};
use super::context::Context;
use super::exceptions::{ExceptionReport, exceptions};
use super::exit::Failure;
use super::names;
use super::status::{BookingReport, HostReport};
use super::step;

/// Tell what happened to a release, what happens next, who must act, and by when
///
/// First comes the next step with its command; then what happened; then every rule that refuses it now.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  cutover explain R-7\n  cutover explain R-7 --environment production --host web-1\n  cutover explain R-7 --json"
)]
pub struct ExplainArgs {
    /// The release: R-7, or the beginning of its statement's digest
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// In this environment only
    #[arg(long, value_name = "ENVIRONMENT")]
    pub environment: Option<Name>,
    /// For this host only
    #[arg(long, value_name = "HOST")]
    pub host: Option<Name>,
}

/// Carries the command out.
pub async fn run(context: &Context, args: &ExplainArgs) -> Result<(), Failure> {
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    let case = names::release(&synced.state, &args.release)?;
    let fleet = client.fleet().await?;
    let mut explained = explain(args, &synced.state, &fleet, case, context.now())?;
    if let Some(waiting) = step::waiting(&synced.state, &fleet, case).first() {
        let runbook = step::runbook(&client, case).await?;
        explained.next = Some(next::of_step(&synced.state, case, waiting, &runbook));
    }
    context.sink().result(&explained, Explained::text)
}

/// A release, explained.
#[derive(Debug, Serialize)]
struct Explained {
    release: String,
    application: Name,
    version: String,
    state: Lifecycle,
    detail: String,
    next: Option<Next>,
    history: Vec<Happened>,
    environments: Vec<Here>,
}

/// A release in one environment, explained.
#[derive(Debug, Serialize)]
struct Here {
    environment: Name,
    state: Lifecycle,
    detail: String,
    booking: Option<Digest>,
    /// When the last host can begin, in the window that is booked.
    before: Option<Time>,
    /// Why the board is not asked, where it is not.
    without_the_board: Option<String>,
    /// What two owners let it do without.
    exceptions: Vec<ExceptionReport>,
    refusals: Vec<Refused>,
    hosts: Vec<HostReport>,
}

/// A rule that refuses.
#[derive(Debug, Serialize)]
struct Refused {
    rule: u16,
    about: &'static str,
    code: Code,
    facts: String,
    next: &'static str,
    who: Who,
    /// For these hosts; empty when it is for all of them.
    hosts: Vec<Name>,
}

fn explain(
    args: &ExplainArgs,
    state: &State,
    fleet: &Fleet,
    case: &Case,
    now: Time,
) -> Result<Explained, Failure> {
    let chosen = names::environments(case, args.environment.as_slice())?;
    let standing = release_standing(state, case, now);
    let here = standing.environments.iter().filter(|it| chosen.contains(&it.environment));
    let environments: Vec<_> =
        here.filter_map(|it| explain_here(args, state, fleet, case, it, now)).collect();
    if let Some(host) = &args.host
        && environments.is_empty()
    {
        return Err(Failure::not_found(format!("a host {host} that {} is for", case.name())));
    }
    let release = case.release.says();
    Ok(Explained {
        release: names::number(case),
        application: release.application.clone(),
        version: release.version.clone(),
        state: standing.word,
        detail: standing.detail,
        next: next(state, case, standing.word, &environments, now),
        history: history(state, case),
        environments,
    })
}

/// `None` where the host that is asked about is not among those of the environment.
fn explain_here(
    args: &ExplainArgs,
    state: &State,
    fleet: &Fleet,
    case: &Case,
    standing: &EnvironmentStanding,
    now: Time,
) -> Option<Here> {
    let environment = &standing.environment;
    let trial = Trial::new(state, case, environment, now);
    let wanted = |host: &Name| args.host.as_ref().is_none_or(|name| name == host);
    let shown = standing.booking.and_then(|it| state.booking(&it)).map(|(_, it)| it);
    // What is used up says nothing of the window in which it goes on.
    let booking = shown.filter(|_| !trial.is_assumed());
    let mut reports =
        shown.map_or_else(Vec::new, |it| BookingReport::new(state, fleet, it, false).hosts);
    reports.retain(|it| wanted(&it.host));
    let ended = |host: &Name| {
        booking.is_some()
            && reports
                .iter()
                .any(|it| it.host == *host && !["turn", "waiting"].contains(&it.standing))
    };
    let application = &case.release.says().application;
    let planned: Vec<_> = trial.hosts().into_iter().filter(|it| wanted(&it.host)).collect();
    if planned.is_empty() && args.host.is_some() {
        return None;
    }
    let mut asked: Vec<(Name, HostFacts)> = Vec::new();
    for host in planned.iter().filter(|it| !ended(&it.host)) {
        let facts = state.host(&host.host_key).map(|it| HostFacts::from_log(it, application));
        asked.push((host.host.clone(), facts.unwrap_or_else(|| trial.nobody())));
    }
    let mut refusals = refused(&trial, &asked, now);
    if planned.is_empty() {
        refusals = without_hosts(&trial, environment, application, now);
    }
    // Where it ends for good, nothing else is worth anybody's time.
    let last_word = |it: &((u16, Refusal), Vec<Name>)| is_last_word(it.0.1.code);
    if refusals.iter().any(last_word) {
        refusals.retain(last_word);
    }
    let needed = case.budget().whole();
    let last_start = booking.map(|it| it.booking.says().window.end - needed);
    let refusals = refusals.into_iter().map(|((rule, refusal), hosts)| Refused {
        rule,
        about: rules::FORWARD.iter().find(|it| it.number == rule).map_or("", |it| it.about),
        code: refusal.code,
        next: refusal.code.remedy(),
        who: who_acts(state, case, environment, refusal.code, now),
        hosts: if hosts.len() == asked.len() { Vec::new() } else { hosts },
        facts: refusal.facts,
    });
    Some(Here {
        environment: environment.clone(),
        state: standing.word,
        detail: standing.detail.clone(),
        booking: standing.booking,
        before: last_start.filter(|it| now <= *it),
        without_the_board: route::without_the_board(state, case, environment),
        exceptions: exceptions(state, case, environment, now),
        refusals: refusals.collect(),
        hosts: reports,
    })
}

/// Each refusal with the hosts that it is for, in the order in which they are dealt with.
fn refused(
    trial: &Trial<'_>,
    asked: &[(Name, HostFacts)],
    now: Time,
) -> Vec<((u16, Refusal), Vec<Name>)> {
    let mut found: Vec<((u16, Refusal), Vec<Name>)> = Vec::new();
    for (host, facts) in asked {
        for refusal in trial.explain(facts, now) {
            match found.iter_mut().find(|(known, _)| *known == refusal) {
                Some((_, hosts)) => hosts.push(host.clone()),
                None => found.push((refusal, vec![host.clone()])),
            }
        }
    }
    found.sort_by_key(|((rule, _), _)| due(*rule));
    found
}

/// Whether these bytes, under this statement, go nowhere any more.
const fn is_last_word(code: Code) -> bool {
    matches!(
        code,
        Code::Denied | Code::Returned | Code::Cancelled | Code::Superseded | Code::Closed
    )
}

/// What is dealt with first: the order of the rules, but a window is booked when the release is approved.
const fn due(rule: u16) -> (u16, u8) {
    match rule {
        rules::BOOKED => (rules::APPROVED, 2),
        rules::CONSULTED => (rules::APPROVED, 1),
        rules::CONDITIONS => (rules::DELIVERED, 1),
        _ => (rule, 0),
    }
}

/// What refuses where no host is enrolled: that, and everything that has nothing to do with hosts.
fn without_hosts(
    trial: &Trial<'_>,
    environment: &Name,
    application: &Name,
    now: Time,
) -> Vec<((u16, Refusal), Vec<Name>)> {
    const FOR_THIS_HOST: u16 = 4;
    let none = format!("no host of {environment} is enrolled for {application}");
    let mut found: Vec<_> = trial
        .explain(&trial.nobody(), now)
        .into_iter()
        .filter(|(rule, _)| *rule != FOR_THIS_HOST)
        .collect();
    found.push((FOR_THIS_HOST, Refusal::new(Code::WrongHost, none)));
    found.sort_by_key(|(rule, _)| due(*rule));
    found.into_iter().map(|refusal| (refusal, Vec::new())).collect()
}

impl Explained {
    fn text(&self) -> String {
        let Self { release, application, version, state, detail, .. } = self;
        let mut parts = vec![format!("{release}  {application} {version}: {state}; {detail}")];
        parts.extend(self.next.as_ref().map(Next::text));
        let happened = self.history.iter().map(Happened::text);
        let happened = std::iter::once("what happened".to_owned()).chain(happened);
        parts.push(happened.collect::<Vec<_>>().join("\n"));
        parts.extend(self.environments.iter().map(Here::text));
        parts.join("\n\n")
    }
}

impl Here {
    fn text(&self) -> String {
        let mut lines = vec![format!("{}: {}; {}", self.environment, self.state, self.detail)];
        lines
            .extend(self.without_the_board.iter().map(|why| format!("  without the board: {why}")));
        lines.extend(self.exceptions.iter().map(ExceptionReport::text));
        for refused in &self.refusals {
            let Refused { rule, about, code, facts, next, who, hosts } = refused;
            lines.push(format!("  rule {rule} ({about}) refuses: {code}: {facts}"));
            lines.push(format!("    next  {next}"));
            lines.extend(who.text().map(|who| format!("    who   {who}")));
            if let Some(before) = self.before.filter(|_| !who.is_nobody()) {
                lines.push(format!("    by    {before}, when the last host can begin"));
            }
            if !hosts.is_empty() {
                let names: Vec<_> = hosts.iter().map(Name::as_str).collect();
                lines.push(format!("    on    {}", names.join(", ")));
            }
        }
        // What the rules do not refuse may still wait, for room or for a connection; and some have ended.
        for host in self.hosts.iter().filter(|it| it.waiting_on != Some("rule")) {
            let line = format!("  {} {}: {}", host.host, host.standing, host.detail);
            lines.push(line.trim_end_matches([' ', ':']).to_owned());
            let refusal = host.refused.as_ref();
            lines.extend(refusal.map(|it| format!("    the host itself refuses: {it}")));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use cutover_shared::policy::Exception;
    use cutover_shared::statement::{Event, Hold, Statement, Waiver};

    use super::super::names::parse;
    use super::super::names::scene::{Scene, key, minutes, name};
    use super::*;

    pub(super) const WEB: [&str; 3] = ["web-1", "web-2", "web-3"];

    pub(super) fn explained(scene: &Scene, line: &str) -> Result<Explained, Failure> {
        let args = parse::<ExplainArgs>(line).unwrap();
        let since = scene.now - minutes(600);
        let fleet = Fleet { now: scene.now, since, hosts: Vec::new() };
        let case = names::release(&scene.state, &args.release)?;
        explain(&args, &scene.state, &fleet, case, scene.now)
    }

    fn codes(explained: &Explained, environment: &str) -> Vec<(u16, &'static str)> {
        let mut here = explained.environments.iter();
        let here = here.find(|it| it.environment == name(environment)).unwrap();
        here.refusals.iter().map(|it| (it.rule, it.code.name())).collect()
    }

    #[test]
    fn everything_that_is_missing_is_told_at_once() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let told = explained(&scene, "R-1").unwrap();
        assert_eq!(codes(&told, "staging"), [(13, "not-reviewed"), (3, "not-booked")]);
        assert_eq!(
            codes(&told, "production"),
            [
                (13, "not-reviewed"),
                (14, "not-assessed"),
                (15, "not-approved"),
                (3, "not-booked"),
                (16, "not-delivered"),
                (21, "environment-not-proven"),
            ]
        );
        let text = told.text();
        for part in [
            "rule 13 (it was reviewed, after any return) refuses: not-reviewed: 0 of 1 reviews",
            "next  a librarian reviews it: `cutover review`",
            "who   librarian: lia",
        ] {
            assert!(text.contains(part), "{text}");
        }
        scene.approve(release);
        let told = explained(&scene, "R-1 --environment staging").unwrap();
        assert_eq!(told.environments.len(), 1);
        assert_eq!(codes(&told, "staging"), [(3, "not-booked")]);
    }

    #[test]
    fn a_booking_has_a_last_moment_and_hosts_of_their_own() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        scene.approve(release);
        scene.deploy(release, "staging", &["stage-1", "stage-2"]);
        let booking = scene.book(release, "production", &[&WEB[..1], &WEB[1..]]);
        let told = explained(&scene, "R-1 --environment production").unwrap();
        assert_eq!(
            codes(&told, "production"),
            [(17, "not-released"), (22, "window-not-open"), (23, "wave-not-proven")]
        );
        let here = &told.environments[0];
        assert_eq!(here.before, Some(scene.now + minutes(70 - 7)));
        assert!(here.refusals[0].hosts.is_empty(), "for all of them");
        assert_eq!(here.refusals[2].hosts, ["web-2", "web-3"].map(name));
        assert!(told.text().contains("when the last host can begin"), "{}", told.text());
        let one = explained(&scene, "R-1 --host web-1").unwrap();
        assert_eq!(codes(&one, "production"), [(17, "not-released"), (22, "window-not-open")]);
        assert_eq!(explained(&scene, "R-1 --host web-9").unwrap_err().code(), 5);

        scene.arm(booking);
        scene.wait(minutes(10));
        scene.say("max", Hold { release, reason: "Odd.".to_owned(), finish: false });
        scene.report("web-1", booking, Event::Committed);
        let told = explained(&scene, "R-1 --environment production").unwrap();
        assert_eq!(codes(&told, "production"), [(19, "held")]);
        assert!(told.text().contains("web-1 committed"), "{}", told.text());
    }

    #[test]
    fn exceptions_are_told_aloud() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let waiver = Waiver {
            release,
            environment: name("production"),
            exception: Exception::Votes,
            reason: "The board is in the air.".to_owned(),
        };
        let not_voted = |scene: &Scene| {
            let told = explained(scene, "R-1").unwrap();
            (codes(&told, "production").contains(&(15, "not-approved")), told.text())
        };
        assert!(not_voted(&scene).0);
        let end = scene.now + minutes(60);
        let waiver = Statement::new(scene.now, waiver).until(end);
        let waiver = waiver.signed_by([&key("max"), &key("sergei")]);
        scene.add_envelope(&waiver);
        let (refused, text) = not_voted(&scene);
        assert!(!refused, "{text}");
        let line = "EXCEPTION: it goes without votes, signed by max and sergei, until";
        assert_eq!(text.matches(line).count(), 1, "in production alone: {text}");
        assert!(text.contains("The board is in the air."), "{text}");
        scene.wait(minutes(60));
        let (refused, text) = not_voted(&scene);
        assert!(refused && !text.contains("EXCEPTION"), "{text}");
    }

    #[test]
    fn of_what_ended_for_good_only_that_is_told() {
        let mut scene = Scene::new();
        let first = scene.submit("1.0");
        let mut later = Scene::release("1.1", &["staging", "production"]);
        later.supersedes = Some(first);
        scene.say("sam", later);
        let told = explained(&scene, "R-1").unwrap();
        assert_eq!(codes(&told, "staging"), [(8, "superseded")]);
        assert_eq!(codes(&told, "production"), [(8, "superseded")]);
    }

    #[test]
    fn where_no_host_is_that_is_told_too() {
        let mut scene = Scene::new();
        let mut release = Scene::release("1.0", &["staging"]);
        release.application = name("desk");
        scene.say("sam", release);
        let told = explained(&scene, "R-1").unwrap();
        assert_eq!(
            codes(&told, "staging"),
            [(4, "wrong-host"), (13, "not-reviewed"), (3, "not-booked")]
        );
        assert!(told.text().contains("no host of staging is enrolled for desk"));
    }
}
