//! A blocking keep-alive connection, opened when first needed.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::Endpoint;
use super::response::{BadAnswer, Response, parse_answer_to};

const READ_BYTES: usize = 16 << 10;

/// A connection to one endpoint.
///
/// It is opened on the first exchange and again after the server closed it *between* exchanges, which is checked before
/// each request is sent. An exchange that fails is never repeated here.
#[derive(Debug)]
pub struct Connection {
    endpoint: Endpoint,
    timeout: Duration,
    stream: Option<TcpStream>,
    /// What was read of the current answer: `..filled` of a buffer that only grows.
    buffer: Vec<u8>,
    filled: usize,
}

/// An answer, borrowed from the connection until its next exchange.
pub type Answer<'a> = Response<'a>;

/// Why an exchange gave no answer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ExchangeError {
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the connection was closed before the answer was complete")]
    Closed,
    #[error("the connection failed: {0}")]
    Broken(#[source] io::Error),
    #[error("not a readable answer: {0}")]
    BadAnswer(#[from] BadAnswer),
}

impl ExchangeError {
    /// The name under which it is counted.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout(_) => "timeout",
            Self::Closed => "closed",
            Self::Broken(_) => "broken",
            Self::BadAnswer(_) => "bad_answer",
        }
    }
}

impl Connection {
    /// A connection to `endpoint`, not opened yet; `timeout` bounds connecting, and each wait for bytes.
    #[must_use]
    pub fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        Self { endpoint, timeout, stream: None, buffer: Vec::new(), filled: 0 }
    }

    /// Where it goes.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends one request and reads its answer.
    ///
    /// # Errors
    /// Why there is no answer. The connection is closed then; the next exchange opens a new one.
    pub fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, ExchangeError> {
        self.open()?;
        let read = self.send_and_read(request);
        if read.is_err() {
            self.stream = None;
        }
        let _length = read?;
        // Parsed again because a borrow cannot leave the loop that fills the buffer; the header is a few hundred bytes.
        let answer = parse_answer_to(is_head(request), &self.buffer[..self.filled])?;
        let answer = answer.expect("the loop ended with a complete answer");
        if !answer.keep_alive {
            self.stream = None;
        }
        Ok(answer)
    }

    /// Opens the connection unless it is open and quiet.
    fn open(&mut self) -> Result<(), ExchangeError> {
        if self.stream.as_ref().is_some_and(is_open_and_quiet) {
            return Ok(());
        }
        let connect = || -> io::Result<TcpStream> {
            let stream = TcpStream::connect_timeout(&self.endpoint.address(), self.timeout)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(self.timeout))?;
            stream.set_write_timeout(Some(self.timeout))?;
            Ok(stream)
        };
        self.stream = Some(connect().map_err(ExchangeError::Connect)?);
        Ok(())
    }

    /// Fills the buffer with one complete answer and returns its length.
    fn send_and_read(&mut self, request: &[u8]) -> Result<usize, ExchangeError> {
        let timeout = self.timeout;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ExchangeError::Timeout(timeout),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ExchangeError::Closed,
            _ => ExchangeError::Broken(error),
        };
        let stream = self.stream.as_mut().expect("the connection was opened just before");
        stream.write_all(request).map_err(failed)?;
        self.filled = 0;
        loop {
            if self.buffer.len() < self.filled + READ_BYTES {
                self.buffer.resize((self.filled + READ_BYTES).max(self.buffer.len() * 2), 0);
            }
            match stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Err(ExchangeError::Closed),
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            }
            if let Some(answer) = parse_answer_to(is_head(request), &self.buffer[..self.filled])? {
                return Ok(answer.length);
            }
        }
    }
}

fn is_head(request: &[u8]) -> bool {
    request.starts_with(b"HEAD ")
}

/// Whether nothing has happened on an idle connection: no end, no error, no bytes that nobody asked for.
fn is_open_and_quiet(stream: &TcpStream) -> bool {
    let peek = || -> io::Result<usize> {
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        peeked
    };
    peek().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;

    use super::super::request::get;
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    /// Serves one connection after another, each by the next script: the pieces to answer to each request with.
    fn serve(scripts: Vec<Vec<Vec<Vec<u8>>>>) -> (Endpoint, mpsc::Receiver<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::from(listener.local_addr().unwrap());
        let (closed, closes) = mpsc::channel();
        thread::spawn(move || {
            for (number, script) in scripts.into_iter().enumerate() {
                let (mut stream, _) = listener.accept().unwrap();
                for answer in script {
                    assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
                    for piece in answer {
                        stream.write_all(&piece).unwrap();
                    }
                }
                drop(stream);
                closed.send(number).unwrap();
            }
        });
        (endpoint, closes)
    }

    fn answer(body: &[u8]) -> Vec<u8> {
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
    }

    #[test]
    fn a_long_answer_in_many_pieces_is_read_whole() {
        let body: Vec<u8> = (0..100_003_u32).map(|index| b'a' + (index % 26) as u8).collect();
        let pieces = answer(&body).chunks(1777).map(<[u8]>::to_vec).collect();
        let (endpoint, _closes) = serve(vec![vec![pieces, vec![answer(b"2")]]]);
        let mut connection = Connection::new(endpoint.clone(), TIMEOUT);
        let request = get(&endpoint, "/", "");
        assert_eq!(connection.exchange(&request).unwrap().body, body);
        assert_eq!(connection.exchange(&request).unwrap().body, b"2");
    }

    #[test]
    fn a_connection_closed_between_exchanges_is_opened_anew_before_the_next_request() {
        let (endpoint, closes) = serve(vec![vec![vec![answer(b"1")]], vec![vec![answer(b"2")]]]);
        let mut connection = Connection::new(endpoint.clone(), TIMEOUT);
        let request = get(&endpoint, "/", "");
        assert_eq!(connection.exchange(&request).unwrap().body, b"1");
        assert_eq!(closes.recv_timeout(TIMEOUT).unwrap(), 0);
        assert_eq!(connection.exchange(&request).unwrap().body, b"2");
    }

    #[test]
    fn an_answer_cut_short_is_an_error_and_not_tried_again() {
        let (endpoint, _closes) =
            serve(vec![vec![vec![answer(b"12345")[..20].to_vec()]], vec![vec![answer(b"2")]]]);
        let mut connection = Connection::new(endpoint.clone(), TIMEOUT);
        let request = get(&endpoint, "/", "");
        assert_eq!(connection.exchange(&request).unwrap_err().kind(), "closed");
        assert_eq!(connection.exchange(&request).unwrap().body, b"2");
    }

    #[test]
    fn nobody_listening_is_told_as_a_failure_to_connect() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::from(listener.local_addr().unwrap());
        drop(listener);
        let mut connection = Connection::new(endpoint.clone(), TIMEOUT);
        assert_eq!(connection.exchange(&get(&endpoint, "/", "")).unwrap_err().kind(), "connect");
    }
}
