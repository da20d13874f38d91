//! The whole crate over real loopback sockets and real files.
#![allow(clippy::unwrap_used)]

mod bounds;
mod bundles;
mod fixture;
mod golden;
mod handshake;
mod hostile;
mod plain;
mod stream;
