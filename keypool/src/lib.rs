//! The key supply of Signpost: random codes, each handed out once.
//!
//! ```text
//!   generate ──▶ taken ──▶ stock ──────────▶ lease ──▶ an admin
//!   random,      every     in the order      durable,
//!   no bad       code      of generation     repeatable
//!   words        ever
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`pool`] | the pure core: what waits, what was leased, what comes next |
//! | [`codeset`] | the packed set of all codes ever taken |
//! | [`store`] | the database and its format |
//! | [`generate`], [`blocklist`], [`slots`] | which codes there may be |
//! | [`supply`] | the pool at work: lease, add, mark, release, restore |
//! | [`refill`] | the thread that keeps the stock filled |
//! | [`service`], [`control`], [`metrics`] | how others reach it and see it |
//! | [`config`], [`cli`], [`server`] | how it is told and run |
//! | [`mod@bench`] | what it can do, measured |
//!
//! What must hold whatever happens: **no code is handed out twice, and a crash burns codes at most.**

pub mod bench;
pub mod blocklist;
pub mod cli;
pub mod codeset;
pub mod config;
pub mod control;
pub mod generate;
pub mod metrics;
pub mod pool;
pub mod refill;
pub mod server;
pub mod service;
pub mod slots;
pub mod store;
pub mod supply;
