//! Cuts a stream of bytes into lines and lines into batches. Pure.
//!
//! Bounded: a batch has at most [`LINES_MAX`] lines and, but for its last line, [`BYTES_MAX`] bytes; a line that is longer than allowed is
//! not kept, only counted.

use bytes::{Buf, Bytes, BytesMut};
use linklog::limits::PROPOSAL_CHANGES_MAX;
use memchr::memchr;

/// Most lines of a batch: it becomes one proposal to the writer.
pub(super) const LINES_MAX: usize = PROPOSAL_CHANGES_MAX;
/// From this many bytes on a batch is complete.
pub(super) const BYTES_MAX: usize = 4 << 20;

/// A line with its number, counted from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    pub number: u64,
    /// `None`: it was too long.
    pub bytes: Option<Bytes>,
}

/// Lines as they arrive.
pub(super) struct Lines {
    line_bytes_max: usize,
    /// What has no end of line yet.
    rest: BytesMut,
    /// The line at hand is too long: everything is thrown away until its end.
    too_long: bool,
    number: u64,
    batch: Vec<Line>,
    batch_bytes: usize,
}

impl Lines {
    /// Returns a cutter for lines of at most so many bytes.
    pub(super) fn new(line_bytes_max: usize) -> Lines {
        Lines {
            line_bytes_max,
            rest: BytesMut::new(),
            too_long: false,
            number: 0,
            batch: Vec::new(),
            batch_bytes: 0,
        }
    }

    /// Takes bytes up to the end of a batch; returns the batch if it is complete. To be called until `data` is used up.
    pub(super) fn push(&mut self, data: &mut Bytes) -> Option<Vec<Line>> {
        while let Some(end) = memchr(b'\n', data) {
            let piece = data.split_to(end);
            data.advance(1);
            self.end_line(piece);
            if self.batch.len() == LINES_MAX || self.batch_bytes >= BYTES_MAX {
                return Some(self.take());
            }
        }
        self.keep(std::mem::take(data));
        None
    }

    /// Ends the stream: what is left is the last batch.
    pub(super) fn finish(mut self) -> Vec<Line> {
        if !self.rest.is_empty() || self.too_long {
            self.end_line(Bytes::new());
        }
        self.take()
    }

    /// Ends a stream that broke off: the line at hand is not whole and does not count.
    pub(super) fn finish_whole(mut self) -> Vec<Line> {
        self.take()
    }

    fn take(&mut self) -> Vec<Line> {
        self.batch_bytes = 0;
        std::mem::take(&mut self.batch)
    }

    fn keep(&mut self, piece: Bytes) {
        if self.too_long || self.rest.len() + piece.len() > self.line_bytes_max {
            self.too_long = true;
            self.rest = BytesMut::new();
        } else {
            self.rest.extend_from_slice(&piece);
        }
    }

    fn end_line(&mut self, piece: Bytes) {
        self.number += 1;
        // Most lines lie in one piece, which needs no copy.
        let whole = if self.rest.is_empty() && !self.too_long && piece.len() <= self.line_bytes_max {
            piece
        } else {
            self.keep(piece);
            self.rest.split().freeze()
        };
        let bytes = if std::mem::take(&mut self.too_long) { None } else { Some(whole) };
        if bytes.as_ref().is_some_and(|bytes| bytes.trim_ascii().is_empty()) {
            return;
        }
        self.batch_bytes += bytes.as_ref().map_or(0, Bytes::len);
        self.batch.push(Line { number: self.number, bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]], line_bytes_max: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut lines = Lines::new(line_bytes_max);
        let mut all = Vec::new();
        for piece in pieces {
            let mut data = Bytes::copy_from_slice(piece);
            while !data.is_empty() {
                all.extend(lines.push(&mut data).unwrap_or_default());
            }
        }
        all.extend(lines.finish());
        all.into_iter().map(|line| (line.number, line.bytes.map(|bytes| bytes.to_vec()))).collect()
    }

    #[test]
    fn empty_lines_are_counted_and_left_out() {
        let found = cut(&[b"a\n\r\n\n  \nb\r\nc"], 10);
        let wanted = [(1, &b"a"[..]), (5, b"b\r"), (6, b"c")];
        assert_eq!(found, wanted.map(|(number, bytes)| (number, Some(bytes.to_vec()))));
    }

    #[test]
    fn a_line_that_is_too_long_is_named_and_the_next_one_is_read() {
        for pieces in [&[&b"aaaaa\nb\n"[..]][..], &[b"aa", b"aa", b"a", b"a\nb", b"\n"], &[b"aaaaaa\n", b"b"]]
        {
            assert_eq!(cut(pieces, 4), [(1, None), (2, Some(b"b".to_vec()))]);
        }
        assert_eq!(cut(&[b"aaaaa"], 4), [(1, None)]);
    }

    #[test]
    fn a_batch_ends_at_its_number_of_lines() {
        let mut data = Bytes::from("x\n".repeat(LINES_MAX + 1));
        let mut lines = Lines::new(10);
        assert_eq!(lines.push(&mut data).map(|batch| batch.len()), Some(LINES_MAX));
        assert_eq!(lines.push(&mut data), None);
        assert_eq!(lines.finish().len(), 1);
    }

    proptest! {
        #[test]
        fn lines_are_the_same_in_however_many_pieces_they_come(
            text in "[ab\n]{0,60}", cuts in prop::collection::vec(0usize..60, 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let wanted: Vec<_> = text
                .split('\n')
                .enumerate()
                .filter(|(_, line)| !line.is_empty())
                .map(|(at, line)| (at as u64 + 1, (line.len() <= 5).then(|| line.as_bytes().to_vec())))
                .collect();
            prop_assert_eq!(cut(&pieces, 5), wanted);
        }
    }
}
