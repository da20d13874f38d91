//! Sends bytes, in one piece or several, and collects what comes back.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::cases::{Expected, Then};

/// How long anything may take; only a finding takes so long.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a peer that has seen fewer requests than Signpost may take for the others.
const PEER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a peer that has seen as many may be quiet before it is believed to be done.
const QUIET: Duration = Duration::from_millis(150);
/// What is asked to see whether a connection is still good.
const PROBE: &[u8] = b"GET /probe HTTP/1.1\r\nHost: a\r\n\r\n";

/// What a server did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its answers.
    pub answers: Vec<Expected>,
    /// What became of the connection; `None` for what is none of the three.
    pub then: Option<Then>,
}

/// Sends `pieces` to Signpost, and finds out what became of the connection, of which `expected` is to be the outcome.
///
/// # Errors
/// No connection.
pub fn exchange(
    address: SocketAddr,
    pieces: &[&[u8]],
    pause: Duration,
    expected: (usize, Then),
) -> io::Result<Outcome> {
    let mut connection = Connection::open(address)?;
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 && !pause.is_zero() {
            std::thread::sleep(pause);
        }
        connection.send(piece);
    }
    let (count, then) = expected;
    let then = match then {
        Then::Closed | Then::Either => connection.read_until(usize::MAX).then_some(Then::Closed),
        Then::Waits => {
            connection.finish();
            connection.read_until(usize::MAX).then_some(Then::Waits)
        }
        Then::Open => {
            let has_ended = connection.read_until(count);
            connection.send(PROBE);
            connection.read_until(count + 1);
            connection.finish();
            connection.read_until(usize::MAX);
            let is_good = connection.answers.get(count) == Some(&Expected::Link("probe".into()));
            connection.answers.truncate(connection.answers.len() - usize::from(is_good));
            (is_good && !has_ended).then_some(Then::Open)
        }
    };
    Ok(Outcome { answers: connection.answers, then })
}

/// Sends everything to a peer and returns its answers: those that come before it closes, or has been quiet for a while.
/// It is waited for longer as long as it has seen fewer requests than `ours`, since that would be a finding.
///
/// HAProxy answers one request only of somebody who has said that nothing more comes; so that is said last.
///
/// # Errors
/// No connection.
pub fn ask_peer(address: SocketAddr, bytes: &[u8], ours: usize) -> io::Result<Vec<Expected>> {
    let mut connection = Connection::open(address)?;
    connection.send(bytes);
    let start = Instant::now();
    let mut has_ended = false;
    while !has_ended {
        let before = connection.answers.len();
        connection.deadline = Instant::now() + QUIET;
        has_ended = connection.read_until(before + 1);
        let seen = connection.answers.iter().filter(|answer| answer.is_seen()).count();
        let is_quiet = connection.answers.len() == before;
        if is_quiet && (seen >= ours || start.elapsed() >= PEER_PATIENCE) {
            break;
        }
    }
    connection.finish();
    connection.deadline = Instant::now() + QUIET;
    connection.read_until(usize::MAX);
    Ok(connection.answers)
}

struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    answers: Vec<Expected>,
    deadline: Instant,
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection {
            stream,
            unread: Vec::new(),
            answers: Vec::new(),
            deadline: Instant::now() + PATIENCE,
        })
    }

    /// Whoever closed while we were sending has said what there is to say.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads until there are so many answers or the connection ends; says whether it ended.
    fn read_until(&mut self, count: usize) -> bool {
        let mut buffer = [0; 4096];
        while self.answers.len() < count {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
                return false;
            }
            match self.stream.read(&mut buffer) {
                Ok(read @ 1..) => self.take_answers(&buffer[..read]),
                Ok(0) => return true,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return true,
                Err(_) => return false,
            }
        }
        false
    }

    fn take_answers(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        while let Some((answer, length)) = first_answer(&self.unread) {
            self.answers.push(answer);
            self.unread.drain(..length);
        }
    }
}

/// The answer at the start of `bytes`, and its length. A 302 is named by the host of its target, without `.example`.
fn first_answer(bytes: &[u8]) -> Option<(Expected, usize)> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let value = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let body = value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    // A page in answer to HEAD has a length and no body: no case asks for one.
    if bytes.len() < end + body {
        return None;
    }
    let link = value("location").filter(|_| status == 302).map(|target| {
        let host = target.strip_prefix("https://").unwrap_or(&target);
        Expected::Link(host.trim_end_matches('/').trim_end_matches(".example").to_owned())
    });
    Some((link.unwrap_or(Expected::Status(status)), end + body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_and_a_redirect_is_named_by_its_link() {
        let redirect = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: https://one.example/\r\n\r\n";
        assert_eq!(first_answer(redirect), Some((Expected::Link("one".into()), redirect.len())));
        let page = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nhi";
        assert_eq!(first_answer(page), Some((Expected::Status(400), page.len())));
        assert_eq!(first_answer(&page[..page.len() - 1]), None);
        assert_eq!(first_answer(&page[..20]), None);
    }
}
