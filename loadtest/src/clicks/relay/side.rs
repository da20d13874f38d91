//! One side of a relayed connection: TLS that is read for a moment at a time, so that one thread can look at both sides in turns.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustls::Connection;

/// How long a look at one side may take.
const LOOK: Duration = Duration::from_millis(2);
/// Bytes encrypted at a time: fewer than the library holds back before it takes no more.
const PIECE_BYTES: usize = 16 << 10;
/// How long a handshake or a write may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Side {
    tls: Connection,
    socket: TcpStream,
}

impl Side {
    /// Shakes hands.
    pub(super) fn begin(tls: impl Into<Connection>, socket: TcpStream) -> io::Result<Side> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut side = Side { tls: tls.into(), socket };
        while side.tls.is_handshaking() {
            side.tls.complete_io(&mut side.socket)?;
        }
        side.socket.set_read_timeout(Some(LOOK))?;
        Ok(side)
    }

    /// What came within a moment: `Some(0)` at the end, `None` for nothing.
    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.tls.reader().read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(Some),
            }
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) => return Ok(Some(0)),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
            self.tls.process_new_packets().map_err(io::Error::other)?;
            self.send()?;
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PIECE_BYTES) {
            self.tls.writer().write_all(piece)?;
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    /// The certificate of the other end.
    pub(super) fn peer(&self) -> Option<&[u8]> {
        Some(self.tls.peer_certificates()?.first()?.as_ref())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
