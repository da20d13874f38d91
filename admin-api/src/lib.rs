//! The writer: HTTP API, journal owner, replication feed.
//!
//! - [`server`] wires everything and ends it in order; [`cli`] and [`control`] are the operator's way in
//! - [`http`] brings requests to [`links`] and answers back; [`problem`] is what errors look like
//! - pure: [`target`], [`alias`], [`json`], most of [`links`] and [`auth`]
//! - [`codes`] is the stock of generated codes, [`domains`] and [`members`] are tables of what the log says
//! - [`clicks`] counts what the proxies report; [`feed`] sends the log to followers, [`replication`] knows who has applied what
//! - [`standby`] follows another writer and can take its place; [`succession`] is what they ask each other about that

pub mod abuse;
pub mod alias;
pub mod auth;
pub mod backup;
mod blocking;
pub mod budgets;
pub mod cli;
pub mod clicks;
pub mod clock;
pub mod codes;
pub mod config;
pub mod control;
pub mod domains;
pub mod durable;
pub mod feed;
pub mod http;
pub mod json;
pub mod levels;
pub mod links;
pub mod log;
pub mod members;
pub mod metrics;
pub mod nonce;
pub mod people;
pub mod problem;
pub mod replication;
pub mod restore;
pub mod scrub;
pub mod search;
pub mod server;
pub mod signing;
pub mod snapshots;
pub mod standby;
pub mod succession;
pub mod sweep;
pub mod target;
