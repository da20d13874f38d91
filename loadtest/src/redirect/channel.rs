//! One non-blocking connection of `redirect`.
//!
//! Invariant: at most one request is on the way, and every request that was sent ends in exactly one outcome.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::http1::{BadAnswer, Endpoint, Response, parse};

const BUFFER_BYTES: usize = 4 << 10;
/// The longest answer to a GET of a key: a header with a target of 8 KiB, and a small body.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// A request on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InFlight {
    /// When it was meant to start, in ns from the start of the run.
    pub(super) intended_ns: u64,
    /// When it was sent.
    pub(super) sent_ns: u64,
    /// The index of its key.
    pub(super) key: usize,
}

/// What a channel is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Waiting to be connected.
    Connecting,
    /// Ready for a request.
    Free {
        /// In ns from the start of the run; 0 when it was free before.
        since_ns: u64,
    },
    /// Waiting for an answer.
    Waiting(InFlight),
    /// Has its one answer; the server is to close it. (Were it closed here, its local port would stay taken for a minute.)
    Ending {
        /// In ns from the start of the run.
        since_ns: u64,
    },
    /// Not connected; to be opened again at this time.
    Closed {
        /// In ns from the start of the run.
        retry_at_ns: u64,
    },
}

/// What reading gave.
#[derive(Debug)]
pub(super) enum Read1<'a> {
    /// A whole answer.
    Answer(Response<'a>),
    /// Not all of it yet.
    More,
    /// No answer will come; the name of the error.
    Failed(&'static str),
}

/// A connection and its buffer.
#[derive(Debug)]
pub(super) struct Channel {
    /// The index of its target.
    pub(super) target: usize,
    /// What it is doing.
    pub(super) state: State,
    /// Whether it stands in the queue of free channels.
    pub(super) queued: bool,
    socket: Socket,
    buffer: Vec<u8>,
    filled: usize,
}

impl Channel {
    /// Begins to connect to target number `target`.
    ///
    /// # Errors
    /// What the system says when not even the attempt is possible.
    pub(super) fn connect(target: usize, endpoint: &Endpoint) -> io::Result<Self> {
        let socket = begin_to_connect(endpoint)?;
        let buffer = vec![0; BUFFER_BYTES];
        Ok(Self { target, state: State::Connecting, queued: false, socket, buffer, filled: 0 })
    }

    /// Begins again with a new socket; the old one is closed.
    ///
    /// # Errors
    /// As [`Channel::connect`].
    pub(super) fn reconnect(&mut self, endpoint: &Endpoint) -> io::Result<()> {
        self.socket = begin_to_connect(endpoint)?;
        self.state = State::Connecting;
        Ok(())
    }

    /// The error the connecting ended with, if it did.
    ///
    /// # Errors
    /// That error.
    pub(super) fn connected(&self) -> io::Result<()> {
        self.socket.take_error()?.map_or(Ok(()), Err)
    }

    /// Sends one request. It fits the empty send buffer of a connection with nothing on the way.
    ///
    /// # Errors
    /// The name under which the failure is counted.
    pub(super) fn send(&mut self, request: &[u8], in_flight: InFlight) -> Result<(), &'static str> {
        self.filled = 0;
        match (&self.socket).write(request) {
            Ok(written) if written == request.len() => {
                self.state = State::Waiting(in_flight);
                Ok(())
            }
            Ok(_) => Err("broken"),
            Err(error) => Err(kind_of(&error)),
        }
    }

    /// Reads what has come of the answer.
    pub(super) fn read(&mut self) -> Read1<'_> {
        loop {
            if self.filled == self.buffer.len() {
                if self.filled >= BUFFER_BYTES_MAX {
                    return Read1::Failed("bad_answer");
                }
                self.buffer.resize(self.filled * 2, 0);
            }
            let room = self.buffer.len() - self.filled;
            match (&self.socket).read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Read1::Failed("closed"),
                Ok(read) => {
                    self.filled += read;
                    if read < room {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Read1::Failed(kind_of(&error)),
            }
        }
        match parse(&self.buffer[..self.filled]) {
            Ok(Some(response)) => Read1::Answer(response),
            Ok(None) => Read1::More,
            Err(BadAnswer::Chunked) => Read1::Failed("chunked_answer"),
            Err(_) => Read1::Failed("bad_answer"),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn begin_to_connect(endpoint: &Endpoint) -> io::Result<Socket> {
    const IN_PROGRESS: i32 = nix::errno::Errno::EINPROGRESS as i32;
    let address = endpoint.address();
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => Ok(socket),
        Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

fn kind_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "closed",
        _ => "broken",
    }
}
