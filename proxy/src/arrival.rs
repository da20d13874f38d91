//! A connection before its first byte is looked at: whether there is room for it, and whose it is.
//!
//! Comes before TLS and before HTTP. Who is turned away here is closed without an answer, counted, and not mentioned in the log.

use std::net::IpAddr;

use pingora::protocols::Stream;
use pingora::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora::protocols::l4::stream::Stream as Socket;

use crate::census::Seat;
use crate::client::{Client, ClientAddress};
use crate::limits::Limit;
use crate::network::NetworkList;
use crate::proxy_protocol::receive::{NotReceived, receive};
use crate::worker::Worker;

/// A connection that was let in.
pub struct Arrived<'w> {
    /// It, with nothing read of what the visitor sends.
    pub stream: Stream,
    /// Whose it is.
    pub client: Client,
    /// It is counted until this is dropped.
    pub seat: Seat<'w>,
}

/// Lets a connection in, or closes it: then `None`.
///
/// # Cancel safety
/// Cancelled, the connection is closed.
pub async fn admit<'w>(worker: &'w Worker, known_by: &ClientAddress, stream: Stream) -> Option<Arrived<'w>> {
    match look_at(worker, known_by, stream).await {
        Ok(arrived) => Some(arrived),
        Err(limit) => {
            worker.counters.reached(limit);
            None
        }
    }
}

async fn look_at<'w>(
    worker: &'w Worker,
    known_by: &ClientAddress,
    stream: Stream,
) -> Result<Arrived<'w>, Limit> {
    let shared = &worker.shared;
    let mut seat = shared.census.enter().ok_or(Limit::Connections)?;
    let (stream, client) = match known_by {
        ClientAddress::Unstated => (stream, Client::UNKNOWN),
        ClientAddress::Socket => {
            let client = peer(&stream).map_or(Client::UNKNOWN, |peer| shared.clients.at(peer));
            (stream, client)
        }
        ClientAddress::Proxy { balancers } => Box::pin(ask_balancer(worker, balancers, stream)).await?,
    };
    if let Some(network) = client.network
        && !seat.assign(network)
    {
        return Err(Limit::ConnectionsPerNetwork);
    }
    Ok(Arrived { stream, client, seat })
}

/// Reads the PROXY header of a balancer.
async fn ask_balancer(
    worker: &Worker,
    balancers: &NetworkList,
    mut stream: Stream,
) -> Result<(Stream, Client), Limit> {
    let balancer = peer(&stream).filter(|peer| balancers.contains(*peer)).ok_or(Limit::BalancerNetworks)?;
    let received = receive(&mut stream, worker.limits.proxy_header).await;
    let received = received.map_err(|error: NotReceived| {
        tracing::debug!(%error, %balancer, "a connection without a PROXY header was closed");
        Limit::ProxyHeader
    })?;
    let clients = &worker.shared.clients;
    let client = match received.source {
        Some(source) => clients.at(source.ip()),
        None => clients.balancer(balancer),
    };
    Ok((unread(stream, &received.rest), client))
}

/// Where the packets come from.
fn peer(stream: &Stream) -> Option<IpAddr> {
    match stream.get_socket_digest()?.peer_addr()? {
        PeerAddr::Inet(address) => Some(address.ip()),
        PeerAddr::Unix(_) => None,
    }
}

/// Puts bytes back, so that whoever reads next reads them first.
fn unread(stream: Stream, bytes: &[u8]) -> Stream {
    if bytes.is_empty() {
        return stream;
    }
    let mut socket = stream.into_any().downcast::<Socket>().expect("connections arrive as plain sockets");
    socket.rewind(bytes);
    socket
}
