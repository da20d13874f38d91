//! Signpost on virtual time: servers, proxies, clients and an operator under faults drawn from a seed.
//!
//! What decides is what ships: [`linklog`]'s writer, standby, replica, journal, codec and digests run on disks in memory
//! ([`linklog::simulated`]), and `signpost_admin` says who may follow from where
//! (`feed::handshake`), when a change counts as replicated (`replication::table`) and what a promotion makes of its answers
//! (`standby::ballot`), which snapshot will do (`snapshots::choice`) and when one log takes another's place (`standby::places`). What is left out is what carries their words: connections, tasks and threads are events of one [`queue::Queue`].
//!
//! A run is a function of its [`plan::Plan`]: no clock, no thread, no order of a hash table. The same seed twice gives the same trace.
//!
//! - [`world`] is the run: [`world::run`]
//! - [`plan`] draws sizes and faults, and names the bugs that can be planted
//! - [`escrow`] is a smaller run of its own: the clicks of one limited link
//! - [`clicks`] is another one: batches of clicks, from proxies to a writer that is killed, replaced and put back
//! - [`model`] works the state out a second time; [`archive`] keeps every record; [`oracle`] remembers what was promised

pub mod archive;
pub mod clicks;
pub mod escrow;
pub mod model;
pub mod oracle;
pub mod plan;
pub mod queue;
pub mod random;
pub mod world;
