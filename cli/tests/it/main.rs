//! The real client against a real API, as processes and over a port.
//!
//! - [`access`]: links that are not for everybody
//! - [`fixture`]: an API and the client · [`links`]: one link · [`lists`]: many · [`transfer`]: export, import, files of other shorteners
//! - [`setup`]: flags, environment, configuration, completions, and what is said when something is wrong
#![allow(clippy::unwrap_used, unreachable_pub)]

mod access;
mod fixture;
mod links;
mod lists;
mod setup;
mod transfer;
