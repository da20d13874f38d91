//! The service from outside: real ports, a real log on disk, key pools of our own making.
//!
//! - [`fixture`]: a key pool, a service in this process, a client
//! - [`bad_input`]: everything a client can get wrong · [`links`]: the life of a link · [`batch`] · [`put`] · [`list`] · [`search`] · [`idempotency`] · [`takedowns`] · [`abuse`] · [`drop_in`] · [`domains`]
//! - [`every_field`]: every field of the description · [`problems`]: what takes more than one request, or a broken connection
//! - [`clicks`]: reports of a proxy, and what the API shows of them
//! - [`tokens`], [`operator`]: the real binary against a running service · [`codes`]: key pools that come and go
//! - [`sweep`]: what becomes of links that ended long ago
//! - [`standby`]: a second one that follows · [`standby_disk`]: when its disk is nearly full, or damaged
//! - [`backups`]: what is put away comes back · [`disk`]: a disk that is nearly full · [`ends`]: restarts, a stop under load, kill -9
#![allow(clippy::unwrap_used, unreachable_pub)]

mod abuse;
mod backups;
mod bad_fields;
mod bad_input;
mod batch;
mod clicks;
mod codes;
mod disk;
mod domains;
mod drop_in;
mod ends;
mod every_field;
mod fixture;
mod health;
mod idempotency;
mod levels;
mod links;
mod list;
mod openapi;
mod operator;
mod order;
mod people;
mod problems;
mod put;
mod schemathesis;
mod search;
mod standby;
mod standby_behind;
mod standby_disk;
mod sweep;
mod takedowns;
mod tokens;
mod transfer;
