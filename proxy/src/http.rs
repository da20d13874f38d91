//! HTTP with a visitor: parsing, writing, the life of a connection.
//!
//! [`begin`] finds out what a visitor speaks: HTTP/1.1 or `http2`. [`connection`] reads HTTP/1.1. What [`parse`] understands is answered by
//! [`render`]; the head of everything else is handed to Pingora's session in [`slow`], which gives the connection back afterwards. Where a request ends is decided by [`parse`] and [`body`] alone.

mod asked;
mod bare_socket;
pub mod begin;
pub mod body;
pub mod clock;
pub mod connection;
mod door;
mod header;
mod http2;
mod later;
pub mod parse;
mod patience;
mod place;
pub mod render;
mod reply;
mod respond;
pub mod slow;
mod wanted;

pub use respond::IN_BYTES;
