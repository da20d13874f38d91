//! HTTP/2 frame by frame (RFC 9113 §4.1), for visitors who do what no library would.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::client::DEADLINE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// Error codes of RFC 9113 §7.
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM and GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let code = if self.kind == GOAWAY { &self.payload[4..8] } else { &self.payload[..4] };
        u32::from_be_bytes(code.try_into().unwrap())
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals without an index and without Huffman (RFC 7541 §6.2.2): as they stand there, right or wrong.
pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            length(&mut bytes, text.len());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// A length as an integer with a prefix of seven bits (RFC 7541 §5.1).
fn length(bytes: &mut Vec<u8>, length: usize) {
    if length < 127 {
        return bytes.push(length as u8);
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

/// The usual headers of a request, with others behind them.
pub(crate) fn request<'a>(path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<u8> {
    let mut headers =
        vec![(":method", "GET"), (":scheme", "http"), (":authority", "go.example"), (":path", path)];
    headers.extend(more);
    block(&headers)
}

pub(crate) struct Frames {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Frames {
    /// Connects and says what has to be said first.
    pub(crate) fn connect(address: SocketAddr) -> Frames {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut frames = Frames { stream, unread: Vec::new() };
        frames.send(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat());
        frames
    }

    /// Sends while the other side takes it; says whether it took everything.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Reads the next frame that is of the connection's own concern no more; `None` at the end of the connection.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.read()?;
            if !matches!(frame.kind, SETTINGS | PING | 8) {
                return Some(frame);
            }
        }
    }

    fn read(&mut self) -> Option<Frame> {
        self.fill(9)?;
        let length = u32::from_be_bytes([0, self.unread[0], self.unread[1], self.unread[2]]) as usize;
        self.fill(9 + length)?;
        let whole: Vec<u8> = self.unread.drain(..9 + length).collect();
        Some(Frame {
            kind: whole[3],
            stream: u32::from_be_bytes(whole[5..9].try_into().unwrap()),
            payload: whole[9..].to_vec(),
        })
    }

    fn fill(&mut self, bytes: usize) -> Option<()> {
        let mut chunk = [0; 4096];
        while self.unread.len() < bytes {
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.unread.extend_from_slice(&chunk[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset) => return None,
                Err(error) => panic!("{error} after {DEADLINE:?}"),
            }
        }
        Some(())
    }
}
