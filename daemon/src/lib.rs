//! What every Signpost daemon does the same way, so that an operator who knows one knows all three.
//!
//! Each module is independent of the others (only [`disk`], [`exit`] and [`telemetry`] know [`config`]); a service takes
//! what it needs. Nothing here knows links, keys or the wire.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod boot;
pub mod config;
pub mod control;
pub mod disk;
pub mod exit;
pub mod health;
pub mod metrics;
pub mod notify;
pub mod shutdown;
pub mod telemetry;
pub mod turn;
