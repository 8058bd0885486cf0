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
