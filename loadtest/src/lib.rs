//! The harness: a local fleet of the real binaries, and load with honest figures.
//!
//! | module | what it is for |
//! |---|---|
//! | [`fleet`] | starts keypools, the admin API and proxies on loopback, commands them, leaves nothing behind |
//! | [`create`] | links through the API at a rate or flat out, followed on every proxy if wanted |
//! | [`redirect`] | redirects at a rate, measured from the intended start, or flat out |
//! | [`handshakes`] | a TLS connection for every request |
//! | [`allocations`] | what a running proxy allocates for a request |
//! | [`import`] | made-up links with titles, tags and dates through the import |
//! | [`list`] | lists of every kind at a rate, each kind measured by itself |
//! | [`links`] | the targets of preloaded links |
//! | [`framing`] | odd bytes against a proxy and against nginx, HAProxy and h11: who sees how many requests |
//! | [`clicks`] | redirects through kills, cuts and outages, compared with what is counted |
//! | [`fault`] | a seeded workload through kills, stops and bad cables, and a checker of everything that was answered |
//! | [`fault_sweep`] | the Nth call that changes a file fails, for every N |
//! | [`flips`] | one bit of one file is wrong |
//! | [`power_cuts`] | a part's disk forgets what was not synced |
//! | [`contest`] | aliases that many clients claim at once have one owner each |
//! | [`max_clicks`] | links that end with a number of clicks, followed by many at once through kills |
//! | [`followers`] | what many followers, connecting all at once, cost those who create links |
//! | [`promotions`] | writers lost under load, standbys promoted, everything acknowledged compared |
//! | [`leases`] | codes from key pools that are killed, restored and split: none comes twice |
//! | [`trial`] | what the commands that break things have in common |
//! | [`verify`] | every key on every proxy, exact target, first try |
//!
//! Invariant: the system is a black box. Nothing here depends on another crate of the workspace but `wire`, the protocol; what is known of
//! the services is what a user knows: their command lines, configuration files and HTTP.
//!
//! What measures time runs on blocking or epoll-driven sockets and threads; no async runtime stands between the clock
//! and the socket.

pub mod admin;
pub mod allocations;
mod cable;
pub mod cli;
pub mod clicks;
pub mod contest;
pub mod create;
pub mod expect;
pub mod fault;
pub mod fault_sweep;
pub mod figures;
pub mod fleet;
pub mod flips;
pub mod followers;
pub mod framing;
pub mod handshakes;
pub mod header_sets;
pub mod http1;
pub mod import;
pub mod keys;
pub mod latency;
pub mod leases;
pub mod lines;
pub mod links;
pub mod list;
pub mod max_clicks;
pub mod pace;
pub mod power_cuts;
pub mod pressure;
pub mod processors;
pub mod progress;
pub mod promotions;
pub mod redirect;
pub mod report;
pub mod saturation;
pub mod schedule;
pub mod series;
pub mod server_cpu;
mod shim;
pub mod stalls;
pub mod synthetic;
pub mod trial;
pub mod verdict;
pub mod verify;
