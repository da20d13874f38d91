//! The reader: redirects visitors from its own memory or its own disk, and follows the writer.
//!
//! ```text
//! visitors ─▶ server ─▶ http ─▶ route, hosts ─▶ lookup ─▶ hot_map ─▶ replica (RocksDB) ─▶ disk threads
//!                         ▲ answer, render                   ▲            ▲
//! writer ─▶ follow/stream ─▶ follow/applier ─────────────────┴────────────┘ ─▶ acknowledgement
//! http/door ─▶ visitors, passwords: links that are not for everybody
//! http ─▶ clicks (rings) ─▶ clicks/drain ─▶ ledger (RocksDB) ─▶ clicks/report ─▶ writer
//! health listener, control socket ─▶ readiness, metrics; peers: whose outage it is
//! ```
//! Nothing on the way of a visitor depends on another machine. [`run`] puts the parts together and takes them apart in order.

pub mod allocations;
pub mod answer;
pub mod arrival;
pub mod bootstrap;
pub mod budgets;
pub mod census;
pub mod cli;
pub mod clicks;
pub mod client;
pub mod config;
pub mod control;
pub mod disk;
pub mod follow;
mod framework_log;
pub mod geo;
pub mod hash;
pub mod hosts;
pub mod hot_map;
pub mod http;
pub mod limits;
pub mod link_key;
pub mod listeners;
pub mod lookup;
pub mod metrics;
pub mod network;
mod open_files;
pub mod passwords;
pub mod peers;
pub mod proxy_protocol;
pub mod quota;
pub mod readiness;
pub mod replica_dirs;
pub mod route;
pub mod scrub;
pub mod server;
mod start;
pub mod tls;
pub mod visitors;
pub mod wall_clock;
pub mod watch;
pub mod worker;

pub use start::run;
