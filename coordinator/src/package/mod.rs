//! Packages as files: made of a submitter's directory, stored, read, and verified when one is uploaded.
//!
//! What a package is, and which rules it keeps, is [`cutover_shared::package`]'s; this is its edge to
//! the file system.
//!
//! - [`directory`] reads a submitter's directory: what is there, and each file's content, once.
//! - [`build`] makes the index and the pack of it, [`file`](mod@file) holds both in one `.cutover` file.
//! - [`upload`] verifies a package that somebody sent, with everything that is in it.
//! - [`scaffold`] writes a directory to start from.
//!
//! Everything here blocks, and is to be called where that is allowed.

pub mod build;
pub mod directory;
pub mod file;
mod pack;
pub mod scaffold;
pub mod upload;

#[cfg(test)]
pub(crate) mod tests;

use cutover_shared::calendar::zone::Zone;
use cutover_shared::package::check::check;
use cutover_shared::package::finding::{Finding, Rule};
use cutover_shared::package::listing::Listing;
use cutover_shared::package::manifest::MANIFEST;

/// Who wants to know how far long work is.
pub trait Progress {
    /// So many bytes are to be worked through.
    fn begin(&mut self, bytes: u64);
    /// So many more have been.
    fn advance(&mut self, bytes: u64);
}

/// Nobody wants to know.
impl Progress for () {
    fn begin(&mut self, _: u64) {}
    fn advance(&mut self, _: u64) {}
}

/// Everything that is wrong with a package: the check that needs nothing but the package, and whether the
/// zone that is asked for is known.
pub fn findings(listing: &Listing) -> Vec<Finding> {
    let mut findings = check(listing);
    if let Ok(manifest) = listing.manifest()
        && let Err(unknown) = Zone::find(&manifest.schedule.zone)
    {
        let problem = format!("no zone {:?} is known", unknown.0);
        let remedy = "write an IANA name, as America/New_York";
        findings.push(Finding {
            field: Some("schedule.zone".to_owned()),
            ..Finding::of_file(MANIFEST, Rule::FieldValue, problem, remedy)
        });
        findings.sort();
    }
    findings
}
