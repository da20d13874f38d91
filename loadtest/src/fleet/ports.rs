//! Ports on loopback, chosen once and then held.
//!
//! Invariant: as long as the fleet runs, nobody else is given one of its ports, also while the part that uses it is
//! down. Each port is held by a bound socket that never listens: on Linux others may bind and listen beside it if they
//! set SO_REUSEADDR or SO_REUSEPORT, as servers do, while the kernel gives the port to no outgoing connection and no
//! `bind` to port 0 (socket(7), ip(7)).

use std::fs;
use std::io;
use std::net::SocketAddr;

use anyhow::Context;
use rand::RngExt;
use socket2::{Domain, Protocol, Socket, Type};

use super::layout::loopback;

/// Below are well-known ports of other services.
const PORT_MIN: u16 = 10_000;
/// Where the kernel takes ports for outgoing connections from, if it does not say.
const EPHEMERAL_MIN: u16 = 32_768;
/// Attempts to find a free port.
const ATTEMPTS_MAX: usize = 1000;

/// A port that nobody else is given.
#[derive(Debug)]
pub(crate) struct Held {
    _socket: Socket,
}

/// Ports held so far.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    held: Vec<Held>,
}

impl Ports {
    /// Holds a port that is known.
    pub(crate) fn hold(&mut self, port: u16, whose: &str) -> anyhow::Result<()> {
        let bound = bind(loopback(port), true);
        let held = bound.with_context(|| {
            format!("port {port} of {whose} cannot be used; end what is using it, or choose other ports or another --dir")
        })?;
        self.held.push(held);
        Ok(())
    }

    /// Chooses a free port and holds it.
    ///
    /// It is not one that the kernel takes for outgoing connections, which would come and go under a part that is down.
    pub(crate) fn choose(&mut self) -> anyhow::Result<u16> {
        let range = PORT_MIN..ephemeral_min().max(PORT_MIN + 1000);
        for _ in 0..ATTEMPTS_MAX {
            let port = rand::rng().random_range(range.clone());
            if let Ok(held) = bind(loopback(port), false) {
                self.held.push(held);
                return Ok(port);
            }
        }
        anyhow::bail!("found no free port on 127.0.0.1 between {} and {}", range.start, range.end)
    }

    /// What was held, to be kept as long as the fleet runs.
    pub(crate) fn into_held(self) -> Vec<Held> {
        self.held
    }
}

/// Binds without listening. `shared` accepts a port with old connections on it or held elsewhere; otherwise it has to be
/// wholly unused.
fn bind(address: SocketAddr, shared: bool) -> io::Result<Held> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(shared)?;
    socket.bind(&address.into())?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    Ok(Held { _socket: socket })
}

fn ephemeral_min() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|start| start.parse().ok()).unwrap_or(EPHEMERAL_MIN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_held_port_can_be_listened_on_again_and_again_but_is_given_to_nobody_else() {
        let mut ports = Ports::default();
        let port = ports.choose().unwrap();
        for _ in 0..3 {
            let listener = TcpListener::bind(loopback(port)).unwrap();
            let client = TcpStream::connect(loopback(port)).unwrap();
            // The server closes first, which leaves a connection in TIME_WAIT on the port.
            drop(listener.accept().unwrap());
            drop(client);
            assert!(bind(loopback(port), false).is_err());
        }
        assert!(bind(loopback(port), false).is_err(), "held while nobody listens");
        let listener = TcpListener::bind(loopback(port)).unwrap();
        assert!(ports.hold(port, "x").is_err(), "somebody else is listening");
        drop(listener);
    }

    #[test]
    fn several_listeners_may_share_a_held_port() {
        let mut ports = Ports::default();
        let port = ports.choose().unwrap();
        let listen = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&loopback(port).into()).and_then(|()| socket.listen(8)).map(|()| socket)
        };
        let listeners = [listen(), listen()];
        assert!(listeners.iter().all(Result::is_ok), "{listeners:?}");
    }
}
