//! The whole crate over real loopback sockets.
