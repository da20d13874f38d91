//! The body of a request: where it ends is where the letter of the RFC says, however it comes.

use signpost_proxy::http::body::{Body, Framing, Malformed};

use super::strict::chunked_body;

/// A chunked body; its first byte says where to cut it.
pub fn check(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let whole = read(&[bytes]);
    assert_eq!(whole.ok().flatten(), strictly(bytes), "{}", bytes.escape_ascii());
    let cut = usize::from(*cut).min(bytes.len());
    let (first, second) = bytes.split_at(cut);
    assert_eq!(read(&[first, second]), whole, "cut at {cut}: {}", bytes.escape_ascii());
    let each: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(&each), whole, "byte by byte: {}", bytes.escape_ascii());
}

/// How many bytes belong to the body; `None` while it goes on.
fn read(pieces: &[&[u8]]) -> Result<Option<usize>, Malformed> {
    let mut body = Body::new(Framing::Chunked);
    let mut read = 0;
    for piece in pieces {
        read += body.read(piece)?;
        if body.is_done() {
            return Ok(Some(read));
        }
    }
    Ok(None)
}

/// The strict reader knows no bound for extensions and trailers; the one under test refuses what is longer.
fn strictly(bytes: &[u8]) -> Option<usize> {
    let body = chunked_body(bytes)?;
    (body.extra_bytes <= 1 << 10).then_some(body.bytes)
}
