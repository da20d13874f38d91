//! Sends frames and collects what is answered on which stream.
//!
//! Of an answer only the status is read, which is the first of its headers. The frames of the table ask for a header table of
//! size 0, so that it can be read without knowing the answers before.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::cases::{Expected, Then};
use super::exchange::Outcome;
use super::frames::{frame, frames};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a server may be quiet after it has confirmed a PING, before it is believed to be done.
const QUIET: Duration = Duration::from_millis(150);
/// The stream that shows whether a connection is still good: the last there is.
const PROBE: u32 = 0x7fff_ffff;
/// A frame's header.
const HEADER_BYTES: usize = 9;

/// Sends `pieces` and finds out what became of streams and connection.
///
/// # Errors
/// No connection.
pub fn exchange(address: SocketAddr, pieces: &[&[u8]], pause: Duration) -> io::Result<Outcome> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut connection = Connection { stream, unread: Vec::new(), found: Found::default() };
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 && !pause.is_zero() {
            std::thread::sleep(pause);
        }
        connection.send(piece);
    }
    connection.send(&frame(6, 0, 0, b"sentinel"));
    let mut is_closed = connection.read_until_quiet(|found| found.has_pong);
    if !is_closed {
        let probe = frames(&format!("get {PROBE} /probe"), &Default::default()).map_err(io::Error::other)?;
        connection.send(&probe);
        is_closed = connection.read_until_quiet(|found| found.streams.contains_key(&PROBE));
    }
    let mut found = connection.found;
    let is_good = found.streams.remove(&PROBE) == Some(Fate::Status(302));
    let then = match (is_closed, is_good) {
        (true, _) => Some(Then::Closed),
        (false, true) => Some(Then::Open),
        (false, false) => None,
    };
    Ok(Outcome { answers: found.into_answers(), then })
}

/// As [`exchange`], for others: only what they answer counts.
///
/// # Errors
/// No connection.
pub fn ask_peer(address: SocketAddr, bytes: &[u8]) -> io::Result<Vec<Expected>> {
    exchange(address, &[bytes], Duration::ZERO).map(|outcome| outcome.answers)
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Status(u16),
    Reset(u32),
}

#[derive(Debug, Default)]
struct Found {
    streams: BTreeMap<u32, Fate>,
    goaway: Option<u32>,
    has_pong: bool,
    http1: Option<u16>,
}

impl Found {
    fn into_answers(self) -> Vec<Expected> {
        let streams = self.streams.into_iter().map(|(stream, fate)| match fate {
            Fate::Status(status) => Expected::Stream(stream, status),
            Fate::Reset(code) => Expected::Refused(format!("{stream}:rst{code}")),
        });
        let goaway = self.goaway.map(|code| Expected::Refused(format!("goaway{code}")));
        self.http1.map(Expected::Status).into_iter().chain(streams).chain(goaway).collect()
    }

    fn note(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let code = |at: usize| {
            payload.get(at..at + 4).map_or(0, |code| u32::from_be_bytes([code[0], code[1], code[2], code[3]]))
        };
        match kind {
            1 => {
                self.streams.insert(stream, Fate::Status(status(payload)));
            }
            // After its answer a reset only says that the rest of the body is not wanted.
            3 => {
                self.streams.entry(stream).or_insert(Fate::Reset(code(0)));
            }
            6 if flags & 1 != 0 && payload == b"sentinel" => self.has_pong = true,
            7 => self.goaway = Some(code(4)),
            _ => {}
        }
    }
}

struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    found: Found,
}

impl Connection {
    /// Whoever closed while we were sending has said what there is to say.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads until `is_done` and nothing has come for a while; says whether the connection ended.
    fn read_until_quiet(&mut self, is_done: impl Fn(&Found) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 16 << 10];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = if is_done(&self.found) { QUIET.min(left) } else { left };
            if wait.is_zero() || self.stream.set_read_timeout(Some(wait)).is_err() {
                return false;
            }
            match self.stream.read(&mut buffer) {
                Ok(read @ 1..) => self.take_frames(&buffer[..read]),
                Ok(0) => return true,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return true,
                Err(_) => return false,
            }
        }
    }

    fn take_frames(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        if let Some(status) = self.unread.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)) {
            self.found.http1 = std::str::from_utf8(status).ok().and_then(|status| status.parse().ok());
            return;
        }
        while let [a, b, c, kind, flags, s1, s2, s3, s4, rest @ ..] = &self.unread[..] {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let Some(payload) = rest.get(..length) else { return };
            let stream = u32::from_be_bytes([*s1, *s2, *s3, *s4]);
            self.found.note(*kind, *flags, stream, payload);
            self.unread.drain(..HEADER_BYTES + length);
        }
    }
}

/// The status at the start of a header block: an entry of the static table, or a literal (RFC 7541 §6).
fn status(mut block: &[u8]) -> u16 {
    while let [0x20..=0x3f, rest @ ..] = block {
        block = rest;
    }
    match block {
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        [0x08 | 0x18 | 0x48, length, text @ ..] if length & 0x80 != 0 => {
            digits(text.get(..usize::from(length & 0x7f)).unwrap_or_default())
        }
        [0x08 | 0x18 | 0x48, 3, text @ ..] => {
            text.get(..3).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0)
        }
        _ => 0,
    }
}

/// Three digits in Huffman's code: 0 to 2 have five bits, 3 to 9 six (RFC 7541, appendix B).
fn digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let value = |bits: &[u8]| bits.iter().fold(0, |value: u16, bit| value << 1 | u16::from(*bit));
    let (mut number, mut at) = (0, 0);
    for _ in 0..3 {
        let (digit, length) = match bits.get(at..at + 5).map(value) {
            Some(digit @ 0..=2) => (digit, 5),
            Some(_) => (bits.get(at..at + 6).map_or(0, value).wrapping_sub(0b01_1001).wrapping_add(3), 6),
            None => return 0,
        };
        number = number * 10 + digit % 10;
        at += length;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_however_it_is_written() {
        for (block, expected) in [
            (&b"\x88"[..], 200),
            (b"\x20\x8d", 404),
            // RFC 7541, appendix C.6.1.
            (b"\x48\x82\x64\x02", 302),
            (b"\x08\x03405", 405),
            (b"\x48\x83\x68\x0d\xff", 405),
            (b"", 0),
        ] {
            assert_eq!(status(block), expected, "{block:02x?}");
        }
    }
}
