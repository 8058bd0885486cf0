//! The applier: the trusted, privileged half of the agent.
//!
//! It owns what the host believes and everything that happens to it: the host key, the trust policy, the
//! ledger, the slots, the application's processes. It has no network: whatever comes, comes over a Unix
//! socket from the unprivileged network half and is verified here, and nothing that half says is believed.
//!
//! ```text
//!  network half ══ socket ══ link ─┐
//!  inbox, inhibitors ── notify ────┼─ events ─> applier (one loop) ─ inputs ─> cutover_applier_core
//!  workers ── answers ─────────────┘     ^ │                                     │      │
//!                                        │ └─> work: slots, process, unit,       │      └─> ledger
//!                                        │           hook, probe                 │
//!                                        └───────────── outputs ─────────────────┘
//! ```
//!
//! Rules of the house: what an event changes is in the ledger before it is acted upon or answered;
//! decisions are in `cutover_applier_core`, which is pure, here is only the way to and from it; the
//! modules that touch the world (`ledger slot process unit hook probe preflight inhibit link`) know
//! nothing of each other.
//!
//! Not a goal here: HTTP, QUIC and TLS. They are in the network half and in `cutover-probe`, and the
//! dependencies of this crate keep them out.

pub mod applier;
mod assemble;
mod checks;
mod child;
pub mod cli;
pub mod clock;
pub mod config;
pub mod content;
pub mod event;
mod fault;
pub mod fetch;
pub mod find;
pub mod hook;
pub mod inbox;
pub mod inhibit;
pub mod ledger;
pub mod link;
mod mounts;
mod ports;
pub mod preflight;
pub mod probe;
pub mod process;
pub mod read_only;
mod rehearsal;
pub mod slot;
mod supervise;
pub mod unit;
pub mod work;
