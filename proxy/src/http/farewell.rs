//! The last answer of a connection, sent together with its end.
//!
//! An answer and then the end are two packets, each with its way through the kernel and a wake-up of the peer. `MSG_MORE` (send(2))
//! holds the answer back until shutdown(2), which follows at once, and both leave in one. That only works on the bare socket: TLS has a
//! goodbye of its own to say.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::libc::MSG_MORE;
use nix::sys::socket::{MsgFlags, send};
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as Socket;

/// The socket of a connection without TLS. It must be shut down right after [`BareSocket::hold`]: until then, or for 200 ms (tcp(7)), the
/// peer waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct BareSocket(RawFd);

impl BareSocket {
    /// `None` for a connection with TLS. Valid as long as the stream is.
    pub(super) fn of(stream: &Stream) -> Option<BareSocket> {
        stream.as_any().downcast_ref::<Socket>().map(|socket| BareSocket(socket.as_raw_fd()))
    }

    /// Gives the kernel the last bytes, to be sent with the end. Returns how many it took; the rest is to be written as usual.
    pub(super) fn hold(self, bytes: &[u8]) -> io::Result<usize> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT | MsgFlags::from_bits_retain(MSG_MORE);
        match send(self.0, bytes, flags) {
            Ok(taken) => Ok(taken),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}
