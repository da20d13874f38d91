//! Bodies by table, cut everywhere, and against a reading of the whole written without looking at the state machine.

use proptest::prelude::*;

use super::*;
use strict::chunked_body;

/// Written from RFC 9112 without looking at the state machine; the fuzz targets compare with it too.
#[path = "../../../../fuzz/src/strict.rs"]
#[allow(dead_code, unreachable_pub, clippy::duplicate_mod)]
mod strict;

/// Reads a chunked body in pieces of the given size: how many bytes belong to it, `None` while it goes on.
fn read_in_pieces(bytes: &[u8], piece: usize) -> Result<Option<usize>, Malformed> {
    let mut body = Body::new(Framing::Chunked);
    let mut read = 0;
    for piece in bytes.chunks(piece) {
        read += body.read(piece)?;
        if body.is_done() {
            return Ok(Some(read));
        }
    }
    Ok(None)
}

#[track_caller]
fn check(bytes: impl AsRef<[u8]>, expected: Result<Option<usize>, Malformed>) {
    let bytes = bytes.as_ref();
    for piece in [1, 2, 3, usize::MAX] {
        assert_eq!(read_in_pieces(bytes, piece), expected, "{} by {piece}", bytes.escape_ascii());
    }
}

#[test]
fn chunks_end_where_the_rfc_says() {
    for body in [
        "0\r\n\r\n",
        "000\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "00000003\r\nabc\r\n0\r\n\r\n",
        "A\r\n0123456789\r\na\r\n0\r\n\r\n01234\r\n0\r\n\r\n",
        "3;a=b;c=\"d e\"\r\nabc\r\n0;x\r\n\r\n",
        "1\r\na\r\n0\r\nTrailer: caf\u{e9}\r\nx:\r\n\r\n",
    ] {
        check(format!("{body}GET / HTTP/1.1\r\n"), Ok(Some(body.len())));
        for end in 0..body.len() {
            check(&body.as_bytes()[..end], Ok(None));
        }
    }
}

#[test]
fn what_is_not_quite_a_chunk_is_refused() {
    for body in [
        // Sizes.
        "\r\n",
        ";\r\n",
        " 3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "3\t\r\nabc\r\n",
        "+3\r\nabc\r\n",
        "-3\r\nabc\r\n",
        "0x3\r\nabc\r\n",
        "3g\r\nabc\r\n",
        "3 ;a\r\nabc\r\n",
        "000000003\r\nabc\r\n",
        "ffffffffffffffff\r\n",
        // Line ends.
        "3\nabc\r\n",
        "3\r\rabc\r\n",
        "3;a\nabc\r\n",
        "3;a\0\r\nabc\r\n",
        "3;a\rb\r\nabc\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "3\r\nabc\r0\r\n",
        "0\n\n",
        "0\r\n\n",
        "0\r\n\rG",
        // Trailers.
        "0\r\n folded: x\r\n\r\n",
        "0\r\nname\r\n\r\n",
        "0\r\nname : x\r\n\r\n",
        "0\r\n: x\r\n\r\n",
        "0\r\nGET / HTTP/1.1\r\n\r\n",
        "0\r\na: b\n\r\n",
        "0\r\na: b\r\n\tc\r\n\r\n",
        "0\r\na: \0\r\n\r\n",
    ] {
        check(body, Err(Malformed));
    }
    check(format!("1;{}\r\n", "x".repeat(usize::from(EXTRA_BYTES_MAX) + 1)), Err(Malformed));
    check(format!("0\r\na:{}\r\n", "x".repeat(usize::from(EXTRA_BYTES_MAX))), Err(Malformed));
}

#[test]
fn a_length_is_counted() {
    for (framing, bytes) in [(Framing::None, 0), (Framing::Length(0), 0), (Framing::Length(5), 5)] {
        let mut body = Body::new(framing);
        assert_eq!(body.is_done(), bytes == 0);
        assert_eq!(body.read(b"0\r\n\r\nGET"), Ok(bytes));
        assert!(body.is_done());
    }
    let mut body = Body::new(Framing::Length(u64::MAX));
    assert_eq!((body.read(b"abc"), body.is_done()), (Ok(3), false));
}

/// Chunked bodies of which each piece is mostly right.
fn nearly_chunked() -> impl Strategy<Value = Vec<u8>> {
    let piece = |choices: &'static [&'static str]| proptest::sample::select(choices);
    let line_end = move || prop_oneof![20 => Just("\r\n"), 1 => piece(&["\n", "\r", "\r\r\n", " \r\n", ""])];
    let chunk = prop_oneof![
        6 => piece(&["1|a", "2|ab", "03|abc", "a|0123456789", "B|0\r\n\r\n012345"]),
        2 => piece(&["1;x|a", "1;x=y|a", "1;\t|a"]),
        1 => piece(&["1 |a", "+1|a", "0x1|a", "|a", "1;\n|a", "1|", "1|ab", "000000001|a", "g|a", "1;\u{e9}|a"]),
    ];
    let trailer = prop_oneof![5 => piece(&["a: b", "x:"]), 1 => piece(&["a", ": b", "a : b", " a: b", "a: \0", "a: \u{e9}"])];
    let chunks = proptest::collection::vec((chunk, line_end(), line_end()), 0..4);
    let trailers = proptest::collection::vec((trailer, line_end()), 0..3);
    (chunks, line_end(), trailers, line_end(), piece(&["", "0\r\n\r\n", "GET / HTTP/1.1\r\n"])).prop_map(
        |(chunks, last, trailers, end, rest)| {
            let mut text = String::new();
            for (chunk, after_size, after_data) in chunks {
                let (size, data) = chunk.split_once('|').unwrap();
                text.extend([size, after_size, data, after_data]);
            }
            text.extend(["0", last]);
            trailers.iter().for_each(|(trailer, end)| text.extend([*trailer, *end]));
            text.extend([end, rest]);
            text.into_bytes()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_to_its_end_is_what_the_letter_of_the_rfc_calls_a_body(body in nearly_chunked()) {
        prop_assert_eq!(read_in_pieces(&body, usize::MAX).ok().flatten(), chunked_body(&body).map(|body| body.bytes), "{}", body.escape_ascii());
    }

    #[test]
    fn it_does_not_matter_how_a_body_is_cut(body in nearly_chunked(), cut: prop::sample::Index) {
        let whole = read_in_pieces(&body, usize::MAX);
        prop_assert_eq!(read_in_pieces(&body, 1), whole);
        let (first, second) = body.split_at(cut.index(body.len() + 1));
        let mut cut = Body::new(Framing::Chunked);
        let read = cut.read(first).and_then(|read| Ok(read + cut.read(second)?));
        prop_assert_eq!(read.map(|read| cut.is_done().then_some(read)), whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), length: u64) {
        let _ = read_in_pieces(&bytes, usize::MAX);
        let mut body = Body::new(Framing::Length(length));
        prop_assert_eq!(body.read(&bytes), Ok(bytes.len().min(usize::try_from(length).unwrap())));
    }
}
