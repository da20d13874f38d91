//! What must hold for any bytes whatsoever, one function a reader of bytes. libFuzzer calls them here; `proxy/tests/fuzzed` calls the
//! same functions in `make test`, with the corpora and with mutations of them.
//!
//! | property | reads | compared with |
//! |---|---|---|
//! | [`request_head`] | `signpost_proxy::http::parse` | the letter of RFC 9112 ([`strict`]), and Pingora's session |
//! | [`request_body`] | `signpost_proxy::http::body` | the letter of RFC 9112, and itself with the bytes cut elsewhere |
//! | [`proxy_header`] | `signpost_proxy::proxy_protocol` | itself with fewer and more bytes |
//! | [`link_record`] | `linklog::codec`: records and frames | what it writes itself |
//! | [`click_ring`] | `signpost_proxy::clicks::ring` | a queue |
//! | [`click_batch`] | `clicklog::Batch` | what it writes itself |
//!
//! A property panics when it does not hold.

pub mod click_batch;
pub mod click_ring;
pub mod link_record;
pub mod proxy_header;
pub mod request_body;
pub mod request_head;
pub mod strict;

/// A property.
pub type Check = fn(&[u8]);

/// All of them, by the names of their targets and corpora.
pub const CHECKS: &[(&str, Check)] = &[
    ("click_batch", click_batch::check),
    ("click_ring", click_ring::check),
    ("link_record", link_record::check),
    ("proxy_header", proxy_header::check),
    ("request_body", request_body::check),
    ("request_head", request_head::check),
];
