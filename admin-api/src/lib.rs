//! The writer: HTTP API, journal owner, replication feed.

pub mod clock;
pub mod feed;
pub mod members;
pub mod replication;
