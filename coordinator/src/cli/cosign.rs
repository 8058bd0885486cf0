//! `cutover cosign`: the second signature under an exception, and the first one's file.
//!
//! `cutover override` and `cutover waive` write a statement that one owner has signed ([`begin`]); the file
//! is passed on, and who signs second has it logged. The file needs no protection: what is signed is shown
//! again, and a changed statement has no signature left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use cutover_shared::authorise::admission;
use cutover_shared::dsse::Envelope;
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::refusal::Code;
use cutover_shared::statement::Statement;
use serde_json::json;

use super::context::Context;
use super::exit::Failure;
use super::policy::write_whole;

/// Sign an override or a waiver that another owner has begun, and have it logged
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  cutover cosign override.json\n  cutover cosign waiver.json --dry-run"
)]
pub struct CosignArgs {
    /// What `cutover override` or `cutover waive` wrote
    #[arg(value_name = "FILE.json")]
    pub file: PathBuf,
}

/// Carries the command out.
pub async fn run(context: &Context, args: &CosignArgs) -> Result<(), Failure> {
    let (mut envelope, statement) = read(&args.file)?;
    let mut client = context.connect().await?;
    let synced = client.sync().await?;
    if !context.confirm(&statement, Some(&synced.state))? {
        return Ok(());
    }
    add(&mut envelope, context)?;
    let next = synced.state.next_index();
    admission::admit(&synced.state, next, &envelope.to_bytes(), context.now())?;
    let appended = client.append(&envelope).await?;
    context.sink().appended(&appended, &[])
}

/// Shows a statement that takes two owners, asks, signs it as the first, and writes the file for the
/// second. Whatever but the missing signature stands against it is refused now.
pub(super) fn begin(
    context: &Context,
    statement: &Statement,
    state: &State,
    output: &Path,
) -> Result<(), Failure> {
    if output.exists() {
        return Err(Failure::usage(format!("{} is there already", output.display())));
    }
    let Some(envelope) = context.sign(statement, Some(state), None)? else { return Ok(()) };
    let others = begun(&envelope, statement, state)?;
    write_whole(output, &envelope.to_bytes())?;
    let told = json!({ "id": envelope.id().to_string(), "file": output, "can-cosign": others });
    context.sink().result(&told, |_| {
        format!(
            "statement {}\nfile      {}\nNothing is in force yet: {} signs it with\n  \
             cutover cosign {1}",
            envelope.id(),
            output.display(),
            others.iter().map(Name::as_str).collect::<Vec<_>>().join(" or ")
        )
    })
}

/// Whether the first signature is good, and the second is all that is missing: who can give it.
fn begun(
    envelope: &Envelope,
    statement: &Statement,
    state: &State,
) -> Result<BTreeSet<Name>, Failure> {
    match state.examine(state.next_index(), &envelope.to_bytes()) {
        Err(refusal) if refusal.code == Code::ThresholdNotMet => {
            let mut others = BTreeSet::new();
            for (first, _) in envelope.signatures() {
                others.extend(state.cosigners(&statement.says, first)?);
            }
            Ok(others)
        }
        Err(refusal) => Err(refusal.into()),
        Ok(examined) => {
            let predicate = examined.says().predicate();
            Err(Failure::failed(format!("a {predicate} takes two owners, and was taken from one")))
        }
    }
}

fn read(path: &Path) -> Result<(Envelope, Statement), Failure> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let unusable = |error: anyhow::Error| Failure::Usage(error.context(path.display().to_string()));
    let envelope = Envelope::parse(&bytes).map_err(|error| unusable(error.into()))?;
    let statement = Statement::read(&envelope).map_err(|error| unusable(error.into()))?;
    let predicate = statement.says.predicate();
    if !predicate.is_joint() {
        return Err(Failure::usage(format!(
            "{} is a {predicate}, which nobody signs as second",
            path.display()
        )));
    }
    Ok((envelope, statement))
}

fn add(envelope: &mut Envelope, context: &Context) -> Result<(), Failure> {
    let key = context.secret_key()?;
    let id = key.public().id();
    if envelope.signatures().iter().any(|(signer, _)| *signer == id) {
        return Err(Failure::usage("you have signed it already: another owner signs second"));
    }
    envelope.sign(key);
    Ok(())
}

#[cfg(test)]
mod tests {
    use cutover_shared::policy::Exception;
    use cutover_shared::statement::{Hold, Waiver};

    use super::super::names::scene::{Scene, key, minutes, name};
    use super::*;

    fn waiver(scene: &mut Scene) -> Statement {
        let waiver = Waiver {
            release: scene.submit("1.0"),
            environment: name("production"),
            exception: Exception::Votes,
            reason: "The board is in the air.".to_owned(),
        };
        Statement::new(scene.now, waiver).until(scene.now + minutes(60))
    }

    #[test]
    fn the_first_signature_alone_is_in_force_nowhere() {
        let mut scene = Scene::new();
        let waiver = waiver(&mut scene);
        let mut envelope = waiver.signed_by([&key("max")]);
        let others = begun(&envelope, &waiver, &scene.state).unwrap();
        assert_eq!(others, BTreeSet::from([name("sergei")]));
        let librarian = waiver.signed_by([&key("lia")]);
        let early = begun(&librarian, &waiver, &scene.state).unwrap_err();
        assert!(matches!(early, Failure::Refused(it) if it.code == Code::RoleMissing));
        let failure = begun(&waiver.signed_by([&key("sam")]), &waiver, &scene.state).unwrap_err();
        assert!(matches!(failure, Failure::Refused(it) if it.code == Code::DutiesNotSeparate));
        envelope.sign(&key("sergei"));
        // Files are passed on: an hour later is as good.
        scene.wait(minutes(50));
        let next = scene.state.next_index();
        admission::admit(&scene.state, next, &envelope.to_bytes(), scene.now).unwrap();
        scene.wait(minutes(10));
        let late = admission::admit(&scene.state, next, &envelope.to_bytes(), scene.now);
        assert_eq!(late.unwrap_err().code, Code::WindowClosed);
    }

    #[test]
    fn only_what_takes_two_is_signed_second() {
        let mut scene = Scene::new();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("statement.json");
        let waiver = waiver(&mut scene);
        write_whole(&file, &waiver.signed_by([&key("max")]).to_bytes()).unwrap();
        assert_eq!(read(&file).unwrap().1.says, waiver.says);
        let release = scene.submit("1.1");
        let hold = Hold { release, reason: "Odd.".to_owned(), finish: false };
        let hold = Statement::new(scene.now, hold).signed_by([&key("max")]);
        write_whole(&file, &hold.to_bytes()).unwrap();
        assert_eq!(read(&file).unwrap_err().code(), 2);
    }
}
