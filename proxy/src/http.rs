//! HTTP/1.1 with a visitor: parsing, writing, the life of a connection.
//!
//! [`connection`] reads. What [`parse`] understands is answered by [`render`]; everything else is handed to Pingora's session in
//! [`slow`] and comes back afterwards.

pub mod clock;
pub mod connection;
pub mod parse;
mod patience;
pub mod render;
mod respond;
pub mod slow;
