//! Which schemas of forms a command works with: an operator's directory, the coordinator's, or the shipped.

use std::path::PathBuf;

use clap::Args;
use cutover_shared::package::form::Catalogue;

use super::context::Context;
use super::exit::Failure;
use crate::forms::read_directory;

/// Where schemas are from, for commands that work without the coordinator, too.
#[derive(Debug, Clone, Default, Args)]
pub struct SchemaArgs {
    /// A directory of forms' schemas [default: the coordinator's, or those that are shipped]
    #[arg(long = "forms", value_name = "DIR")]
    pub forms: Option<PathBuf>,
}

/// The schemas: of the directory that was named; else of the coordinator, where one and a key are
/// configured; else the shipped ones. That the coordinator cannot be reached is told and is no reason to
/// stop: what is submitted is checked there again.
pub(super) async fn catalogue(context: &Context, args: &SchemaArgs) -> Result<Catalogue, Failure> {
    if let Some(directory) = &args.forms {
        let read = read_directory(directory);
        return read.map_err(|error| Failure::Usage(anyhow::Error::new(error)));
    }
    if context.settings.reach().is_err() || context.settings.key().is_err() {
        return Ok(Catalogue::shipped());
    }
    let asked = match context.connect().await {
        Ok(client) => client.catalogue().await,
        Err(failure) => Err(failure),
    };
    Ok(asked.unwrap_or_else(|failure| {
        context.sink().note(format!(
            "the coordinator's forms are not known, the shipped ones are taken ({})",
            failure.text()
        ));
        Catalogue::shipped()
    }))
}
