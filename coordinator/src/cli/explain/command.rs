//! The command that takes a refusal away, as it is typed; what is written in capitals is to be filled in.

use cutover_shared::authorise::rules::{Answer, standpoints};
use cutover_shared::board::open_conditions;
use cutover_shared::case::Case;
use cutover_shared::fold::State;
use cutover_shared::fold::standing::open_booking;
use cutover_shared::name::Name;
use cutover_shared::policy::{Role, Rule};
use cutover_shared::refusal::Code;
use cutover_shared::statement::{ChangeType, Emergency, Release};
use cutover_shared::time::{Time, span};
use cutover_shared::window::Window;

use crate::cli::names;

/// What a new booking takes away.
const BOOKED_ANEW: &[Code] = &[
    Code::NotBooked,
    Code::WindowClosed,
    Code::WindowTooShort,
    Code::WindowTooLong,
    Code::OutsideCalendar,
    Code::NoticeTooShort,
    Code::CapacityReached,
    Code::WindowTaken,
];

/// A release in an environment, as it stands now.
#[derive(Clone, Copy)]
pub(super) struct Place<'s> {
    pub(super) state: &'s State,
    pub(super) case: &'s Case,
    pub(super) environment: &'s Name,
    pub(super) now: Time,
}

impl Place<'_> {
    /// The command; `None` where none is enough.
    pub(super) fn command(&self, code: Code) -> Option<String> {
        let Self { case, environment, .. } = *self;
        let name = names::number(case);
        if BOOKED_ANEW.contains(&code) {
            return Some(self.book(&name));
        }
        let application = &case.release.says().application;
        let grant =
            format!("cutover host grant --environment {environment} --application {application}");
        let release = format!("cutover window release {name} --environment {environment}");
        let rehearse = "cutover package rehearse FILE.cutover --host-config APPLIER.toml";
        let commands = [
            (Code::NotReviewed, Some(format!("cutover review {name} --complete"))),
            (Code::NotAssessed, Some(format!("cutover assess {name} --accept"))),
            (Code::NotApproved, Some(format!("cutover vote {name} --approve"))),
            (Code::NotConsulted, self.answer(&name)),
            (Code::ConditionOpen, Some(confirm(case, &name))),
            (Code::NotRehearsed, Some(rehearse.to_owned())),
            (Code::NotDelivered, Some(format!("cutover deliver {name} --location WHERE"))),
            (Code::NotReleased, Some(release)),
            (Code::GroundMissing, Some(self.ground(&name).0)),
            (Code::IterationNotApproved, Some(self.approve(&name))),
            (Code::IterationOutOfOrder, self.end_the_one_before()),
            (Code::Frozen, self.unfreeze()),
            (Code::Held, Some(format!("cutover resume {name} --reason WHY"))),
            (Code::Returned, Some(self.submit_again(&name))),
            (Code::Denied, Some(self.submit_again(&name))),
            (Code::FormMissing, Some(self.submit_again(&name))),
            (Code::PolicyExpired, Some("cutover policy install POLICY.json".to_owned())),
            (Code::WrongHost, Some(grant)),
        ];
        commands.into_iter().find(|(of, _)| *of == code).and_then(|(_, command)| command)
    }

    /// With its window, where the policy lets the approval give it one.
    fn approve(&self, name: &str) -> String {
        let standing = self.rule().is_some_and(|rule| rule.standing_window.is_some());
        let deploy = if standing { " --deploy" } else { "" };
        format!("cutover emergency approve {name}{deploy}")
    }

    fn rule(&self) -> Option<&Rule> {
        let change = self.case.release.says().change;
        self.state.policy()?.rule(self.environment, change).ok()
    }

    /// An emergency begins at once, as long as the rule lets it; anything else takes the best window there is.
    fn book(&self, name: &str) -> String {
        let environment = self.environment;
        match (self.case.release.says().change, self.rule()) {
            (ChangeType::Emergency, Some(rule)) => {
                let length = span::format(rule.standing_window.unwrap_or(rule.longest_window));
                format!(
                    "cutover book {name} --environment {environment} --start now --for {length}"
                )
            }
            (ChangeType::Standard | ChangeType::Normal | ChangeType::Emergency, _) => {
                format!("cutover book {name} --environment {environment} --suggest")
            }
        }
    }

    /// The first department that has to say yes, and has not.
    fn answer(&self, name: &str) -> Option<String> {
        let standpoints = standpoints(self.state, self.case, self.environment, self.now);
        let open = standpoints.iter().find(|it| it.mandatory && it.answer != Answer::Yes)?;
        Some(format!("cutover consult answer {name} --department {} --accept", open.department))
    }

    /// The first freeze that stands in the way. Where two may let the booking pass it, it stays for the others.
    fn unfreeze(&self) -> Option<String> {
        let application = &self.case.release.says().application;
        let booking = open_booking(self.state, self.case, self.environment, self.now);
        let ahead = Window { start: self.now, end: self.now + self.case.budget().whole() };
        let window = booking.map_or(ahead, |it| it.booking.says().window);
        let passed = |freeze: &_| {
            let named = booking.into_iter().flat_map(|it| &it.overrides);
            named.flat_map(|it| &it.says().freezes).any(|it| it.freeze == *freeze)
        };
        let mut freezes = self.state.freezes_over(application, self.environment, window);
        let freeze = freezes.find(|it| !passed(&it.id()))?.id().short();
        let may_pass = self.rule().is_some_and(|rule| rule.freeze_override.is_some());
        Some(match booking.filter(|_| may_pass) {
            Some(booking) => format!(
                "cutover override {} --freeze '{freeze}=WHY' --output override.json",
                booking.booking.id().short()
            ),
            None => format!("cutover freeze lift {freeze} --reason WHY"),
        })
    }

    /// What an emergency or standard change is to stand on, and whose it is to give: a ground that is there
    /// already is named by a new submission.
    pub(super) fn ground(&self, name: &str) -> (String, Role) {
        let release = self.case.release.says();
        match release.change {
            ChangeType::Emergency => match self.open_emergency() {
                Some(incident) => {
                    (self.submit(&format!(" --emergency {incident}"), name), Role::Submitter)
                }
                None => {
                    let (application, environments) =
                        (&release.application, environments_of(release));
                    let open = "cutover emergency open --incident INCIDENT";
                    let rest = "--for 4h --reason WHY";
                    let line = format!("{open} --application {application}{environments} {rest}");
                    (line, Role::ChangeManager)
                }
            },
            ChangeType::Standard => match self.fitting_standard() {
                Some(standard) => {
                    (self.submit(&format!(" --standard {standard}"), name), Role::Submitter)
                }
                None => {
                    let rest = "--title TITLE --may-differ package --for 90d --reason WHY";
                    (format!("cutover standard approve {name} {rest}"), Role::ChangeManager)
                }
            },
            ChangeType::Normal => (self.submit("", name), Role::Submitter),
        }
    }

    /// An emergency that is open for all that the release is for, by somebody who did not submit it.
    fn open_emergency(&self) -> Option<&str> {
        let release = self.case.release.says();
        let authors = self.case.release.owners();
        self.state.emergencies().find_map(|opened| {
            let Emergency::Opened { incident, application, environments, .. } = opened.says()
            else {
                return None;
            };
            let good = *application == release.application
                && release.environments.is_subset(environments)
                && opened.header().covers(self.now)
                && self.state.emergency_closure(&opened.id()).is_none()
                && opened.owners().is_disjoint(&authors);
            good.then_some(incident.as_str())
        })
    }

    fn fitting_standard(&self) -> Option<String> {
        let release = self.case.release.says();
        let authors = self.case.release.owners();
        let good = self.state.standards().find(|it| {
            it.withdrawn.is_none()
                && it.approved.header().covers(self.now)
                && it.approved.says().misfit(release).is_none()
                && it.approved.owners().is_disjoint(&authors)
        });
        good.map(|it| it.approved.id().short())
    }

    /// The iteration before is given up, where nobody has said anything of it.
    fn end_the_one_before(&self) -> Option<String> {
        let previous = self.case.release.says().iteration.as_ref()?.previous?;
        let before = self.state.case(&previous)?;
        let is_open = before.cancelled.is_none() && before.approvals.is_empty();
        is_open.then(|| format!("cutover cancel {} --reason WHY", names::number(before)))
    }

    /// How it is submitted again, in its own place.
    fn submit_again(&self, name: &str) -> String {
        let release = self.case.release.says();
        let ground = match (&release.iteration, &release.standard) {
            (Some(iteration), _) => format!(" --emergency {}", iteration.grounds.short()),
            (None, Some(standard)) => format!(" --standard {}", standard.short()),
            (None, None) => String::new(),
        };
        self.submit(&ground, name)
    }

    fn submit(&self, ground: &str, name: &str) -> String {
        let environments = environments_of(self.case.release.says());
        format!("cutover submit FILE.cutover{environments}{ground} --supersedes {name}")
    }
}

fn environments_of(release: &Release) -> String {
    let options: Vec<_> =
        release.environments.iter().map(|it| format!(" --environment {it}")).collect();
    options.concat()
}

fn confirm(case: &Case, name: &str) -> String {
    // Where there are several, each is confirmed by its number.
    let which = if open_conditions(case).len() > 1 { " --condition 1" } else { "" };
    format!("cutover cab confirm {name}{which}")
}
