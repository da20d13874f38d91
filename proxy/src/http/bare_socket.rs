//! Writing to a connection's socket itself, past the layers above it, which time every write and keep what they cannot send.
//!
//! An answer goes out with one send(2). The last one of a connection goes out together with its end: apart, they are two packets,
//! each with its way through the kernel and a wake-up of the peer. `MSG_MORE` (send(2)) holds the answer back until shutdown(2), which
//! follows at once. What the kernel does not take is for the layers above, which know how to wait. TLS has its own to say
//! and is never written past.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::libc::MSG_MORE;
use nix::sys::socket::{MsgFlags, send};
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as Socket;

/// The socket of a connection without TLS.
#[derive(Clone, Copy, Debug)]
pub(super) struct BareSocket(RawFd);

impl BareSocket {
    /// `None` for a connection with TLS. Valid as long as the stream is.
    pub(super) fn of(stream: &Stream) -> Option<BareSocket> {
        stream.as_any().downcast_ref::<Socket>().map(|socket| BareSocket(socket.as_raw_fd()))
    }

    /// Sends bytes. Returns how many the kernel took; the rest is to be written as usual.
    #[inline]
    pub(super) fn send(self, bytes: &[u8]) -> io::Result<usize> {
        self.give(bytes, MsgFlags::empty())
    }

    /// Gives the kernel the last bytes, to be sent with the end: the socket must be shut down right after, until then, or for 200 ms
    /// (tcp(7)), the peer waits. Returns how many it took; the rest is to be written as usual.
    pub(super) fn hold(self, bytes: &[u8]) -> io::Result<usize> {
        self.give(bytes, MsgFlags::from_bits_retain(MSG_MORE))
    }

    fn give(self, bytes: &[u8], flags: MsgFlags) -> io::Result<usize> {
        match send(self.0, bytes, flags | MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT) {
            Ok(taken) => Ok(taken),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}
