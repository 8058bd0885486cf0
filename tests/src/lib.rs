//! What Cutover's end-to-end tests, demo and measurements share.

pub mod adversary;
pub mod build;
pub mod harness;
pub mod lab;
pub mod oracle;
pub mod power;
pub mod requirement;
pub mod simulation;
pub mod world;
