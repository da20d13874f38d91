//! HTTP/1.1 with a visitor: parsing, writing, the life of a connection.
//!
//! [`connection`] reads. What [`parse`] understands is answered by [`render`]; the head of everything else is handed to Pingora's
//! session in [`slow`], which gives the connection back afterwards. Where a request ends is decided by [`parse`] and [`body`] alone.

pub mod body;
pub mod clock;
pub mod connection;
mod farewell;
pub mod parse;
mod patience;
pub mod render;
mod reply;
mod respond;
pub mod slow;

pub use respond::IN_BYTES;
