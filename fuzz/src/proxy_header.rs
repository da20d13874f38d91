//! The PROXY header: what it says does not depend on how many bytes have come beyond it, and nothing is taken back.

use signpost_proxy::proxy_protocol::{Parsed, V2_BYTES_MAX, parse};

/// Bytes of which every beginning is looked at; no header is longer.
const LOOKED_AT_MAX: usize = V2_BYTES_MAX + 8;

/// Looks at every beginning of `bytes`.
pub fn check(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(LOOKED_AT_MAX)];
    let whole = parse(bytes);
    let mut decided = None;
    for end in 0..=bytes.len() {
        let parsed = parse(&bytes[..end]);
        match (decided, parsed) {
            (None, Ok(Parsed::Partial)) => assert!(end < V2_BYTES_MAX, "a header that never ends"),
            (None, Ok(Parsed::Whole { consumed, .. })) => {
                assert_eq!(consumed, end, "whole as soon as its last byte is there");
                decided = Some(parsed);
            }
            (None, Err(_)) => decided = Some(parsed),
            (Some(decided), later) => {
                assert_eq!(decided, later, "taken back at {end}: {}", bytes.escape_ascii())
            }
        }
    }
    assert_eq!(decided.unwrap_or(Ok(Parsed::Partial)), whole);
}
