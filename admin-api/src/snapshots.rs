//! Snapshots for followers that the feed cannot bring to where the log is.
//!
//! One is made when somebody asks and none that is kept will do. Several followers share it; it is kept while it is read and for a while
//! after, over restarts too, and then removed. What a follower may hold decides what is in it: members of role read get the served state.
//!
//! - [`choice`]: which of those that are kept will do
//! - `shelf`: which there are, making one, removing them
//! - `service`: the calls of `wire/proto/snapshots.proto`
//! - `throttle`: how fast they are sent

pub mod choice;
mod service;
mod shelf;
mod throttle;

pub use service::SnapshotService;
pub use shelf::{Shelf, ShelfOptions};
