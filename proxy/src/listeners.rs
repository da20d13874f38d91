//! The sockets visitors come in by: bound before anything serves, one per worker and address.
//!
//! `SO_REUSEPORT` lets the kernel spread connections over the workers (socket(7)), but it would also let a second process of the same
//! user take half of them in silence. So each address is first bound without it, which fails if anybody listens there.

use std::io;
use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use parking_lot::Mutex;
use pingora::apps::ServerApp;
use pingora::listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions};
use pingora::server::{Fds, ListenFds};
use pingora::services::listening::Service;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections the kernel may hold for us; it caps this by net.core.somaxconn.
const BACKLOG: i32 = 65_535;

/// A port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", explain(source))]
pub struct BindError {
    /// Which address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "something else listens there; stop it or choose another port".into(),
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need the capability CAP_NET_BIND_SERVICE".into()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".into(),
        _ => error.to_string(),
    }
}

/// The sockets of one worker, listening.
#[derive(Debug)]
pub struct WorkerSockets(Vec<(SocketAddr, Socket)>);

/// Binds every address once per worker; port 0 becomes a free port, the same for all workers. Returns the addresses and the sockets.
///
/// # Errors
/// The first address that cannot be had.
pub fn bind(
    addresses: &[SocketAddr],
    workers: usize,
) -> Result<(Vec<SocketAddr>, Vec<WorkerSockets>), BindError> {
    let mut bound = Vec::with_capacity(addresses.len());
    let mut sockets: Vec<WorkerSockets> = (0..workers).map(|_| WorkerSockets(Vec::new())).collect();
    for &address in addresses {
        let named = |source| BindError { address, source };
        let free = probe(address).map_err(named)?;
        for worker in &mut sockets {
            worker.0.push((free, listen(free).map_err(named)?));
        }
        bound.push(free);
    }
    Ok((bound, sockets))
}

/// Finds out whether an address is free, and which port 0 stands for.
fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = new_socket(address)?;
    socket.bind(&address.into())?;
    let free = socket.local_addr()?.as_socket();
    free.ok_or_else(|| io::Error::other("the system bound something that is not an IP address"))
}

fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = new_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Ports of connections that have just ended may be used again at once.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

impl WorkerSockets {
    /// Makes a service of every socket, in the order of the addresses; `app` makes what serves the connections of the index it is
    /// given. Pingora finds a socket in a table by its address; each has a table of its own.
    pub(crate) fn into_services<A>(self, mut app: impl FnMut(usize) -> A) -> Vec<(Service<A>, ListenFds)>
    where
        A: ServerApp + Send + Sync + 'static,
    {
        let with_table = |(index, (address, socket)): (usize, (SocketAddr, Socket))| {
            let name = address.to_string();
            let mut service = Service::new(name.clone(), app(index));
            let mut options = TcpSocketOptions::default();
            options.so_reuseport = Some(true);
            let buffers = L4BufferSettings::unbuffered();
            service.add_listener(ListenerConfig::tcp(&name).tcp_socket_options(options).l4_buffer(buffers));
            let mut fds = Fds::new();
            fds.add(name, socket.into_raw_fd());
            (service, Arc::new(Mutex::new(fds)))
        };
        self.0.into_iter().enumerate().map(with_table).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn a_port_that_somebody_listens_on_is_refused_even_with_reuseport() {
        let (addresses, _sockets) = bind(&[ANY], 2).unwrap();
        let error = bind(&addresses, 1).unwrap_err().to_string();
        assert!(error.contains("something else listens there"), "{error}");
        let plain = TcpListener::bind(ANY).unwrap();
        bind(&[plain.local_addr().unwrap()], 1).unwrap_err();
    }

    #[test]
    fn all_workers_listen_on_the_port_that_was_free() {
        let (addresses, sockets) = bind(&[ANY, ANY], 3).unwrap();
        assert_ne!(addresses[0], addresses[1]);
        for worker in &sockets {
            let own: Vec<SocketAddr> = worker.0.iter().map(|(address, _)| *address).collect();
            assert_eq!(own, addresses);
        }
        // The kernel completes the handshake: a visitor who comes before the workers run is not turned away.
        TcpStream::connect(addresses[0]).unwrap();
    }
}
