//! Two ways through memory, without waiting: an end that has nothing to read would block.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;

/// The bytes under way between the two.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pipe {
    /// From the client.
    pub(crate) up: Rc<RefCell<VecDeque<u8>>>,
    /// From the server.
    pub(crate) down: Rc<RefCell<VecDeque<u8>>>,
}

/// The server's end.
#[derive(Debug)]
pub(crate) struct ServerEnd(Pipe);

impl Pipe {
    pub(crate) fn server_end(&self) -> ServerEnd {
        ServerEnd(self.clone())
    }
}

impl Read for ServerEnd {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self.0.up.borrow_mut().read(room)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for ServerEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.down.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
