//! What has been read from a connection and not yet answered.
//!
//! A few KiB, grown to the cap of a head when one needs it, so an idle connection costs little and no request allocates.

use super::parse::HEAD_BYTES_MAX;

/// Bytes a connection begins with: a browser's request has 700 to 1,500.
const INITIAL_BYTES: usize = 2 << 10;

/// A read buffer: `bytes[start..end]` is unread, the rest is room.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// So many unread bytes are known to be less than a request.
    partial: usize,
}

impl ReadBuffer {
    pub(super) fn new() -> ReadBuffer {
        ReadBuffer { bytes: vec![0; INITIAL_BYTES], start: 0, end: 0, partial: 0 }
    }

    /// What is to be answered.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Says whether it is worth parsing: there are bytes, and if they were no whole request before, a line has ended since. So
    /// somebody who sends a head byte by byte does not have it parsed for each.
    pub(super) fn may_hold_a_request(&self) -> bool {
        let unread = self.unread();
        let new = unread.get(self.partial..).unwrap_or_default();
        if self.partial == 0 { !new.is_empty() } else { memchr::memchr(b'\n', new).is_some() }
    }

    /// What is unread is the beginning of a request.
    pub(super) fn no_request_yet(&mut self) {
        self.partial = self.unread().len();
    }

    /// The first `n` unread bytes are done with.
    pub(super) fn consume(&mut self, n: usize) {
        if n > 0 {
            self.partial = 0;
        }
        self.start += n;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Room to read into; `None` if an unread head has reached its cap.
    pub(super) fn room(&mut self) -> Option<&mut [u8]> {
        if self.end == self.bytes.len() {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else if self.bytes.len() < HEAD_BYTES_MAX {
                self.bytes.resize((self.bytes.len() * 2).min(HEAD_BYTES_MAX), 0);
            } else {
                return None;
            }
        }
        Some(&mut self.bytes[self.end..])
    }

    /// The first `n` bytes of the room have been read into.
    pub(super) fn filled(&mut self, n: usize) {
        self.end += n;
        debug_assert!(self.end <= self.bytes.len());
    }

    /// Starts over with bytes that somebody else read.
    pub(super) fn replace(&mut self, unread: &[u8]) {
        if self.bytes.len() < unread.len() {
            self.bytes.resize(unread.len(), 0);
        }
        self.bytes[..unread.len()].copy_from_slice(unread);
        self.start = 0;
        self.end = unread.len();
        self.partial = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(buffer: &mut ReadBuffer, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = buffer.room().unwrap();
            let n = room.len().min(rest.len());
            room[..n].copy_from_slice(&rest[..n]);
            buffer.filled(n);
            rest = &rest[n..];
        }
    }

    #[test]
    fn it_grows_to_the_cap_of_a_head_and_no_further() {
        let mut buffer = ReadBuffer::new();
        let mut taken = 0;
        while let Some(room) = buffer.room() {
            taken += room.len();
            let n = room.len();
            buffer.filled(n);
        }
        assert_eq!(taken, HEAD_BYTES_MAX);
    }

    #[test]
    fn what_is_consumed_makes_room_again() {
        let mut buffer = ReadBuffer::new();
        let text: Vec<u8> = (0..1_900u32).map(|n| n as u8).collect();
        push(&mut buffer, &text);
        buffer.consume(1_850);
        assert_eq!(buffer.unread(), &text[1_850..]);
        push(&mut buffer, &text);
        assert_eq!(buffer.unread(), &[&text[1_850..], &text[..]].concat());
        assert_eq!(buffer.bytes.len(), INITIAL_BYTES);
        buffer.consume(1_950);
        assert_eq!((buffer.start, buffer.end), (0, 0));
    }

    #[test]
    fn a_partial_request_is_worth_parsing_again_when_a_line_has_ended() {
        let mut buffer = ReadBuffer::new();
        assert!(!buffer.may_hold_a_request());
        push(&mut buffer, b"GET / HT");
        assert!(buffer.may_hold_a_request());
        buffer.no_request_yet();
        push(&mut buffer, b"TP/1.1\r");
        assert!(!buffer.may_hold_a_request());
        push(&mut buffer, b"\n");
        assert!(buffer.may_hold_a_request());
        buffer.no_request_yet();
        push(&mut buffer, b"\r\nG");
        assert!(buffer.may_hold_a_request());
        buffer.consume(18);
        assert!(buffer.may_hold_a_request(), "what follows a request has not been looked at");
    }

    #[test]
    fn bytes_of_another_parser_are_taken_over_whatever_their_length() {
        let mut buffer = ReadBuffer::new();
        let text = vec![7; 3 * HEAD_BYTES_MAX];
        buffer.replace(&text);
        assert_eq!(buffer.unread(), text);
        buffer.replace(b"x");
        assert_eq!(buffer.unread(), b"x");
    }
}
