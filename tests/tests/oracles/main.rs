//! Second opinions: what we sign, verify, hash and prove, held against programs that were not written here.

#![expect(clippy::unwrap_used, reason = "in tests a failure to prepare is a failure")]

mod dsse;
mod logs;
mod wycheproof;
