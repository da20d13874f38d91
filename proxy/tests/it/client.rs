//! A visitor who writes bytes and reads answers, one byte too many or too few where a test wants it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// No answer takes longer unless it never comes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Visitor {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// An answer, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case, in order.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn location(&self) -> &str {
        self.header("location").unwrap_or_else(|| panic!("no location in {self:?}"))
    }
}

impl Visitor {
    pub(crate) fn new(address: SocketAddr) -> Visitor {
        Visitor::of(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn of(stream: TcpStream) -> Visitor {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Visitor { stream, unread: Vec::new() }
    }

    /// Where it comes from.
    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends while the other side takes it; says whether it took everything.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: go.example\r\n\r\n"));
        self.answer()
    }

    /// Reads the answer to anything but HEAD.
    pub(crate) fn answer(&mut self) -> Answer {
        self.read_answer(false).expect("an answer, not the end of the connection")
    }

    pub(crate) fn answer_to_head(&mut self) -> Answer {
        self.read_answer(true).expect("an answer, not the end of the connection")
    }

    /// Reads an answer, or the end of the connection.
    pub(crate) fn read_answer(&mut self, to_head: bool) -> Option<Answer> {
        let head_end = loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if !self.read_more() {
                assert!(self.unread.is_empty(), "half an answer: {}", self.unread.escape_ascii());
                return None;
            }
        };
        let head = String::from_utf8(self.unread.drain(..head_end).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().unwrap();
        assert!(status_line.starts_with("HTTP/1.1 "), "{status_line}");
        let status = status_line[9..12].parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line:?}")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: String::new() };
        let length: usize =
            answer.header("content-length").expect("every answer has its length").parse().unwrap();
        if !to_head {
            while self.unread.len() < length {
                assert!(self.read_more(), "the body is shorter than {length}");
            }
            answer.body = String::from_utf8(self.unread.drain(..length).collect()).unwrap();
        }
        Some(answer)
    }

    /// The other side has closed, and nothing unread is left.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && !self.read_more()
    }

    /// False at the end of the connection, in whatever way it ended.
    fn read_more(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(n) => {
                self.unread.extend_from_slice(&chunk[..n]);
                n > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error} after {DEADLINE:?}, with {}", self.unread.escape_ascii()),
        }
    }
}

/// Asks once on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    Visitor::new(address).get(path)
}

/// Polls until `done` gives something.
pub(crate) fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(done) = done() {
            return done;
        }
        assert!(begun.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Visitor {
    /// Another handle on the connection, to write while this one reads.
    pub(crate) fn split(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }
}
