//! A small HTTP/1.1 client, so that the time measured is the server's and not the client library's.
//!
//! Invariant: one request at a time on a connection, never a silent second try. A request is sent on a connection known
//! to be open; whatever happens after its first byte is the answer to that request.
//!
//! Deliberately not here: TLS (the parts' public ports are plain, TLS ends at the balancer), redirects being followed,
//! pipelining, chunked answers (refused by name; none of the parts sends them).

mod connection;
mod endpoint;
mod request;
mod response;

pub use connection::{Answer, Connection, ExchangeError};
pub use endpoint::{BadEndpoint, Endpoint};
pub use request::{GetRequests, get, post_json};
pub use response::{ANSWER_BYTES_MAX, BadAnswer, HEADER_BYTES_MAX, Response, parse};
