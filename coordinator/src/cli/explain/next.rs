//! The next step: one command, who gives it, and by when.
//!
//! It is the first refusal that somebody can lift, in the environment that comes first; what only time or hosts
//! move is nobody's step, and is told as such. What has arrived everywhere is closed, and when the last iteration
//! of an emergency is, so is that.

use std::collections::BTreeSet;

use cutover_shared::case::Case;
use cutover_shared::fold::State;
use cutover_shared::fold::standing::Lifecycle;
use cutover_shared::name::Name;
use cutover_shared::package::runbook::RunbookStep;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{ChangeType, Emergency};
use cutover_shared::time::Time;
use serde::Serialize;

use super::Here;
use super::command::Place;
use super::who::{Who, who_closes, who_does, who_is};
use crate::cli::names;
use crate::cli::step::Waiting;

/// What happens next.
#[derive(Debug, Serialize)]
pub(super) struct Next {
    /// Where; nowhere, when it is about the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<Name>,
    /// What to do, or what is waited for.
    what: String,
    /// The command that does it, as it is typed; what is written in capitals is to be filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    /// Who gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<Who>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<By>,
}

/// Until when something is to be done.
#[derive(Debug, Serialize)]
struct By {
    time: Time,
    why: &'static str,
}

impl Next {
    /// Lines for people.
    pub(super) fn text(&self) -> String {
        let Self { environment, what, command, who, by } = self;
        let place = environment.as_ref().map(|it| format!(", for {it}")).unwrap_or_default();
        let mut lines = vec![format!("next step{place}: {what}")];
        let who = who.as_ref().and_then(Who::text);
        lines.extend(who.map(|who| format!("  who   {who}")));
        lines.extend(command.iter().map(|command| format!("  do    {command}")));
        lines.extend(by.iter().map(|by| format!("  by    {}, {}", by.time, by.why)));
        lines.join("\n")
    }
}

/// The step of a runbook that a gateway waits for.
pub(super) fn of_step(
    state: &State,
    case: &Case,
    waiting: &Waiting,
    runbook: &[RunbookStep],
) -> Next {
    let Waiting { environment, host, awaited, .. } = waiting;
    let step = runbook.iter().find(|step| step.name == awaited.step);
    let deed = step.and_then(|step| step.deed(awaited.direction));
    let what = deed.map(|deed| format!(": {}", deed.what)).unwrap_or_default();
    let name = names::number(case);
    let command = format!("cutover step done {name} {} --note WHAT-WAS-SEEN", awaited.step);
    Next {
        environment: Some(environment.clone()),
        what: format!("{host} waits for the {awaited}{what}"),
        command: Some(command),
        who: Some(who_does(state, case, environment, step.map(|step| &step.by))),
        by: None,
    }
}

/// The next step of a release that has come to `word`.
pub(super) fn next(
    state: &State,
    case: &Case,
    word: Lifecycle,
    all: &[Here],
    now: Time,
) -> Option<Next> {
    if word == Lifecycle::Closed {
        return close_emergency(state, case);
    }
    // Where nothing refuses any more it has arrived, or its hosts are at it.
    let mut moving = all.iter().filter(|it| it.state != Lifecycle::Verifying);
    let first = moving.find_map(|here| step(state, case, here, now));
    let first = first.or_else(|| (word == Lifecycle::Verifying).then(|| close(state, case)));
    first.or_else(|| all.iter().rev().find_map(waited_for))
}

/// It has arrived: somebody looks at what came of it, and says so.
fn close(state: &State, case: &Case) -> Next {
    let is_emergency = case.release.says().change == ChangeType::Emergency;
    let (review, or) = if is_emergency {
        (" --findings FINDINGS", "; what is not right yet is the next iteration's")
    } else {
        ("", "")
    };
    let name = names::number(case);
    Next {
        environment: None,
        what: format!("a change manager sees what came of it, and closes it{or}"),
        command: Some(format!("cutover close {name} --result successful{review}")),
        who: Some(who_closes(state, case, &case.release.owners())),
        by: None,
    }
}

/// Its iterations are over, and owe no review any more: so is the emergency.
fn close_emergency(state: &State, case: &Case) -> Option<Next> {
    let grounds = case.release.says().iteration.as_ref()?.grounds;
    let Emergency::Opened { incident, .. } = state.emergency(&grounds)?.says() else { return None };
    if state.emergency_closure(&grounds).is_some() || state.review_owed(&grounds).is_some() {
        return None;
    }
    Some(Next {
        environment: None,
        what: format!("when {incident} is over, a change manager closes the emergency"),
        command: Some(format!("cutover close {incident} --summary SUMMARY")),
        who: Some(who_closes(state, case, &BTreeSet::new())),
        by: None,
    })
}

fn step(state: &State, case: &Case, here: &Here, now: Time) -> Option<Next> {
    let refused = here.refusals.iter().find(|it| !it.who.is_nobody())?;
    let place = Place { state, case, environment: &here.environment, now };
    let command = place.command(refused.code);
    let mut who = refused.who.clone();
    if refused.code == Code::GroundMissing {
        let (_, role) = place.ground(&names::number(case));
        who = who_is(state, case, &here.environment, role);
    }
    let asked = case.release.says().requested_start.filter(|it| *it > now);
    let by = match (here.before, asked) {
        (Some(time), _) => Some(By { time, why: "when the last host can begin" }),
        (None, Some(time)) => Some(By { time, why: "the start that the submitter asked for" }),
        (None, None) => None,
    };
    Some(Next {
        environment: Some(here.environment.clone()),
        what: refused.next.split(": `").next().unwrap_or(refused.next).to_owned(),
        command,
        who: Some(who),
        by,
    })
}

fn waited_for(here: &Here) -> Option<Next> {
    let refused = here.refusals.first();
    let what = match (refused, here.state) {
        (Some(refused), _) => refused.next.to_owned(),
        (None, Lifecycle::Released | Lifecycle::Deploying) => {
            "nothing to do: its hosts take their turns; `cutover status --watch` shows them"
                .to_owned()
        }
        (None, _) => return None,
    };
    let environment = Some(here.environment.clone());
    Some(Next { environment, what, command: None, who: None, by: None })
}

#[cfg(test)]
mod tests {
    use cutover_shared::policy::{Department, PolicyDocument};
    use cutover_shared::statement::{Closure, ClosureResult, Event, Freeze, PostReview, Vote};

    use super::super::tests::{WEB, explained};
    use super::*;
    use crate::cli::names::scene::{Scene, minutes, name, names as set, yes};

    /// Who gives it, and the command.
    fn told(scene: &Scene, line: &str) -> (String, String) {
        let next = explained(scene, line).unwrap().next.expect("there is a next step");
        let who = next.who.as_ref().and_then(Who::text).unwrap_or_default();
        (who, next.command.unwrap_or_default())
    }

    fn amend(scene: &mut Scene, amend: impl FnOnce(&mut PolicyDocument)) {
        let mut policy = scene.state.policy().unwrap().document().clone();
        policy.version += 1;
        amend(&mut policy);
        scene.say("ruth", policy);
    }

    fn to_production(scene: &mut Scene) -> cutover_shared::digest::Digest {
        let release = scene.submit("1.0");
        scene.approve(release);
        scene.deploy(release, "staging", &["stage-1", "stage-2"]);
        release
    }

    #[test]
    fn a_department_is_named_with_who_speaks_for_it() {
        let mut scene = Scene::new();
        amend(&mut scene, |policy| {
            let owners = set(["bob", "sam"]);
            policy.departments = vec![Department { name: name("networks"), owners }];
            policy.rules[1].consults = set(["networks"]);
        });
        to_production(&mut scene);
        let (who, command) = told(&scene, "R-1 --environment production");
        assert_eq!(who, "networks: bob", "its submitter does not answer");
        assert_eq!(command, "cutover consult answer R-1 --department networks --accept");
    }

    #[test]
    fn a_condition_is_confirmed_by_its_number_where_there_are_several() {
        let mut scene = Scene::new();
        let release = to_production(&mut scene);
        for (conditions, command) in [
            (vec!["The desk knows."], "cutover cab confirm R-1"),
            (vec!["The desk knows.", "It is Sunday."], "cutover cab confirm R-1 --condition 1"),
        ] {
            let environments = set(["staging", "production"]);
            let conditions = conditions.into_iter().map(str::to_owned).collect();
            scene.say("bea", Vote { release, environments, judgement: yes(), conditions });
            let state = &scene.state;
            let case = state.case(&release).unwrap();
            let environment = &name("production");
            let place = Place { state, case, environment, now: scene.now };
            assert_eq!(place.command(Code::ConditionOpen).as_deref(), Some(command));
        }
        scene.book(release, "production", &[&WEB]);
        let (who, command) = told(&scene, "R-1 --environment production");
        assert_eq!(command, "cutover cab confirm R-1 --condition 1");
        assert!(who.starts_with("board or librarian: "), "{who}");
    }

    #[test]
    fn a_freeze_is_lifted_or_passed_where_the_rule_lets_two_do_that() {
        let mut scene = Scene::new();
        let release = to_production(&mut scene);
        let booking = scene.book(release, "production", &[&WEB]);
        scene.arm(booking);
        let freeze = scene.say(
            "mia",
            Freeze::Declared {
                policy: scene.state.policy().unwrap().id(),
                environments: set(["production"]),
                applications: set([]),
                start: scene.now,
                end: scene.now + minutes(600),
                reason: "Elections.".to_owned(),
            },
        );
        let (who, command) = told(&scene, "R-1 --environment production");
        assert_eq!(who, "change-manager: max, mia");
        let (booking, freeze) = (booking.short(), freeze.short());
        let expected =
            format!("cutover override {booking} --freeze '{freeze}=WHY' --output override.json");
        assert_eq!(command, expected);
        amend(&mut scene, |policy| policy.rules[1].freeze_override = None);
        let (_, command) = told(&scene, "R-1 --environment production");
        assert_eq!(command, format!("cutover freeze lift {freeze} --reason WHY"));
    }

    #[test]
    fn whoever_did_not_submit_it_rehearses_it() {
        let mut scene = Scene::new();
        amend(&mut scene, |policy| policy.rules[1].rehearsals = 1);
        let release = to_production(&mut scene);
        let booking = scene.book(release, "production", &[&WEB]);
        // The rules refuse its window's release; what was armed before they did is explained the same.
        assert!(scene.state.booking(&booking).is_some());
        let told = explained(&scene, "R-1 --environment production").unwrap();
        let refused = told.environments[0].refusals.iter().find(|it| it.code == Code::NotRehearsed);
        let who = refused.and_then(|it| it.who.text()).unwrap();
        assert!(who.starts_with("anybody else: ") && !who.contains("sam"), "{who}");
        let (state, case) = (&scene.state, scene.state.case(&release).unwrap());
        let environment = &name("production");
        let command =
            Place { state, case, environment, now: scene.now }.command(Code::NotRehearsed);
        assert!(command.unwrap().starts_with("cutover package rehearse "));
    }

    #[test]
    fn a_ground_that_ran_out_is_given_anew_and_then_named() {
        let mut scene = Scene::new();
        let grounds = scene.open_emergency("INC-1");
        let first = scene.iterate("1.0.1", grounds, 1, None);
        scene.approve_iteration(grounds, first, 1);
        scene.wait(minutes(5 * 60));
        let (who, command) = told(&scene, "R-1");
        assert_eq!(who, "change-manager: max, mia");
        let open = "cutover emergency open --incident INCIDENT --application shop \
                    --environment production --for 4h --reason WHY";
        assert_eq!(command, open);
        scene.open_emergency("INC-2");
        let (who, command) = told(&scene, "R-1");
        assert_eq!(who, "submitter: sam");
        let submit = "cutover submit FILE.cutover --environment production --emergency INC-2 \
                      --supersedes R-1";
        assert_eq!(command, submit);
    }

    #[test]
    fn what_has_arrived_is_closed_and_so_is_its_emergency() {
        let mut scene = Scene::new();
        let grounds = scene.open_emergency("INC-1");
        let first = scene.iterate("1.0.1", grounds, 1, None);
        scene.approve_iteration(grounds, first, 1);
        let booking = scene.book(first, "production", &[&WEB]);
        scene.arm(booking);
        scene.wait(minutes(10));
        for host in WEB {
            scene.report(host, booking, Event::Committed);
        }
        let (who, command) = told(&scene, "R-1");
        assert_eq!(who, "change-manager: max, mia");
        let close = "cutover close R-1 --result successful --findings FINDINGS";
        assert_eq!(command, close);
        let review = PostReview {
            findings: "A stale cache.".to_owned(),
            actions: Vec::new(),
            reference: None,
        };
        let (result, review) = (ClosureResult::Successful, Some(review));
        scene.say("mia", Closure::Release { release: first, result, review });
        assert_eq!(told(&scene, "R-1").1, "cutover close INC-1 --summary SUMMARY");
        let summary = "Over.".to_owned();
        scene.say("mia", Closure::Emergency { grounds, summary });
        assert!(explained(&scene, "R-1").unwrap().next.is_none());
    }
}
