//! Packages: what a release is made of, byte for byte, and whether it is complete.
//!
//! A submitter's directory holds `release.toml` (the [`manifest`]), `NOTES.md`, `INSTRUCTIONS.md`,
//! `forms/*.toml`, `payload/` and `hooks/`. What is in it, good or bad, is a [`listing`]; [`check`] tells
//! everything that is wrong with it. Of a good one an [`index`] is made:
//!
//! ```text
//! directory ── listing ── check ── findings, or none
//!     └────── chunks ──┬─ index: entries, each file as a list of chunk digests ── package digest
//!                      ├─ pack: the chunks, compressed, each once
//!                      └─ map: where each chunk lies in which pack
//! ```
//!
//! The index is the package: its SHA-256 is what people approve. The pack and the map are how the
//! content gets there, and nothing in them is trusted: each [`chunk`] is verified against the index.
//! [`Index::parse`](index::Index::parse) is the door that everything comes through; behind it paths and
//! links stay inside the tree ([`path`]), and sizes are bounded.
//!
//! This module computes; it reads and writes no files. Goals: the same directory has the same digest on
//! every machine; whoever holds an index can verify a package piece by piece, in any order. Non-goals:
//! owners, times and extended attributes, which are the host's to say.

pub mod check;
pub mod chunk;
pub mod difference;
pub mod entry;
mod fields;
pub mod finding;
pub mod form;
pub mod health;
pub mod index;
pub mod listing;
pub mod manifest;
pub mod map;
pub mod outside;
pub mod path;
pub mod prose;
pub mod runbook;
