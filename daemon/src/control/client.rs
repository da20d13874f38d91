//! The caller's side: one command, one answer, blocking; for command lines.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{ANSWER_BYTES_MAX, ANSWER_TIME_MAX, Outcome, REQUEST_BYTES_MAX, Request};

/// Why a call did not get its answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody could be reached: the command was not run.
    #[error("cannot reach the daemon on {}: {source} ({})", path.display(), hint(source))]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The request is longer than the daemon would read: the command was not run.
    #[error("the request has {bytes} bytes, at most {REQUEST_BYTES_MAX} are allowed: give it in parts")]
    TooLong {
        /// The length of the request, in bytes.
        bytes: usize,
    },
    /// The connection broke, or nothing came in time: the command may have been run or not.
    #[error("no answer from the daemon on {}: {source} (the command may have been run or not)", path.display())]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What came back is not an answer: something else has that socket, or another version of the daemon.
    #[error("not an answer to a command, from {}: is that the daemon's control socket?", path.display())]
    Malformed {
        /// The socket.
        path: PathBuf,
        /// Where it stopped making sense.
        source: serde_json::Error,
    },
    /// The daemon refused, in its own words.
    #[error("{0}")]
    Refused(String),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            "is it running, and is this its [control] socket?"
        }
        ErrorKind::PermissionDenied => "run this as root or as the daemon's user",
        _ => "is this its [control] socket?",
    }
}

/// Calls a running daemon and waits for its answer, at most [`ANSWER_TIME_MAX`].
///
/// # Errors
/// See [`CallError`]; its variants say whether the command may have been run.
pub fn call(path: &Path, command: &str, args: Value) -> Result<Value, CallError> {
    let mut line = serde_json::to_vec(&Request { command: command.to_owned(), args })
        .expect("keys of JSON values are strings");
    line.push(b'\n');
    if line.len() > REQUEST_BYTES_MAX {
        return Err(CallError::TooLong { bytes: line.len() });
    }
    let stream = UnixStream::connect(path)
        .map_err(|source| CallError::Unreachable { path: path.to_owned(), source })?;
    let answer =
        exchange(stream, &line).map_err(|source| CallError::NoAnswer { path: path.to_owned(), source })?;
    match serde_json::from_slice(&answer) {
        Ok(Outcome::Ok(value)) => Ok(value),
        Ok(Outcome::Error(message)) => Err(CallError::Refused(message)),
        Err(source) => Err(CallError::Malformed { path: path.to_owned(), source }),
    }
}

/// Sends a line and reads one.
fn exchange(mut stream: UnixStream, line: &[u8]) -> io::Result<Vec<u8>> {
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    // A daemon that refuses the caller answers without having read, and closes: its words are worth reading even when
    // the request could not be sent to the end.
    let sent = stream.write_all(line);
    let mut answer = Vec::new();
    let received =
        BufReader::new(stream.take(ANSWER_BYTES_MAX as u64)).read_until(b'\n', &mut answer).map_err(named);
    if answer.ends_with(b"\n") {
        return Ok(answer);
    }
    sent.map_err(named)?;
    received?;
    if answer.len() == ANSWER_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("longer than {ANSWER_BYTES_MAX} bytes")));
    }
    Err(io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection"))
}

/// A timeout of a socket is reported as "resource temporarily unavailable", which nobody understands.
fn named(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => {
            let message = format!("nothing came within {} s", ANSWER_TIME_MAX.as_secs());
            io::Error::new(ErrorKind::TimedOut, message)
        }
        _ => error,
    }
}
