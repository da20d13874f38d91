//! The real client against a real API, as processes and over a port.
//!
//! - [`fixture`]: an API and the client · [`links`]: one link · [`lists`]: many · [`people`]: users, groups, tokens, domains · [`transfer`]: export, import, files of other shorteners
//! - [`setup`]: flags, environment, configuration, completions, and what is said when something is wrong
#![allow(clippy::unwrap_used, unreachable_pub)]

mod fixture;
mod links;
mod lists;
mod people;
mod setup;
mod transfer;
