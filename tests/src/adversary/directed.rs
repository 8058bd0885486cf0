//! Directed runs: each power of the budget taken on purpose, so that the table promises nothing that cannot
//! be had; and for each power that is denied, those who try for it, with the exact refusal that they meet.

mod denied;
mod powers;

pub use denied::{ATTEMPTS, Attempt};
pub use powers::{POWERS, Power, honest};
