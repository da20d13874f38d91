//! The real binary, driven from outside.
//!
//! - `daemon`: starting and ending it, and what a test may ask of it
//! - `serving`: leases, marks, health, metrics, the control socket
//! - `crash`: killed at any instant, and with a disk that takes no more
//! - `command_line`: configurations and commands, with their exit codes
//! - `tls`: who may call
//!
//! Tests that stop a daemon while they hold a connection run it on a thread of its own, where the goodbye is heard.

#![allow(clippy::unwrap_used)]

mod command_line;
mod crash;
mod daemon;
mod serving;
mod tls;
