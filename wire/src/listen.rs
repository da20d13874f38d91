//! How a server accepts other parts of the fleet.
//!
//! Invariants: a [`Listener`] is mutual TLS, or plain TCP on a loopback address; at most [`CONNECTIONS_MAX`]
//! connections are open at once, those still in their handshake included; running out of file descriptors slows
//! accepting down and ends nothing.
//!
//! Which role may call what is not decided here but by the service ([`authorize`](crate::identity::authorize)).

mod connection;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
};
use tonic::{service::Routes, transport::Server};

use crate::{
    budgets::budgets_server::{Budgets, BudgetsServer},
    clicks::clicks_server::{Clicks, ClicksServer},
    clicks::copies_server::{Copies, CopiesServer},
    feed::feed_server::{Feed, FeedServer},
    identity::Identity,
    keys::key_supply_server::{KeySupply, KeySupplyServer},
    limits::{
        ACCOUNTANT_MESSAGE_BYTES_MAX, BUDGETS_MESSAGE_BYTES_MAX, COPIER_MESSAGE_BYTES_MAX,
        ENTRIES_MESSAGE_BYTES_MAX, FOLLOWER_MESSAGE_BYTES_MAX, KEYS_MESSAGE_BYTES_MAX,
        REPORTER_MESSAGE_BYTES_MAX, SNAPSHOT_REPLY_BYTES_MAX, SNAPSHOT_REQUEST_BYTES_MAX,
        WRITER_MESSAGE_BYTES_MAX,
    },
    snapshots::snapshots_server::{Snapshots, SnapshotsServer},
    succession::succession_server::{Succession, SuccessionServer},
};

/// Most connections at once. Further ones wait in the kernel's queue until one closes.
pub const CONNECTIONS_MAX: usize = 1024;

/// Most calls at once on one connection.
pub const STREAMS_MAX: u32 = 256;

/// How long a TLS handshake may take: a stranger holds a connection for no longer.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may be silent before the peer is pinged (HTTP/2 PING, RFC 9113 section 6.7).
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How long the answer to a ping may take before the connection is closed.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long calls that are running may go on once the server is told to stop, unless said otherwise.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of request headers: a path, a few words.
const HEADER_BYTES_MAX: u32 = 16 << 10;

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// No bundle, and an address others can reach.
    #[error(
        "{addr} can be reached from other machines and there is no credential bundle: set tls_dir, or listen on 127.0.0.1"
    )]
    PlainNotLoopback {
        /// The address.
        addr: SocketAddr,
    },
    /// The port cannot be had.
    #[error("cannot listen on {addr}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The TLS configuration was refused.
    #[error("TLS cannot be set up for {addr}")]
    Tls {
        /// The address.
        addr: SocketAddr,
        /// What the TLS stack said.
        source: tonic::transport::Error,
    },
}

/// A bound port, ready to serve.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    local_addr: SocketAddr,
    server: ServerBuilder,
    tls: bool,
    drain_timeout: Duration,
}

impl Listener {
    /// Binds `addr`: mutual TLS with an `identity`, plain without one, the latter on loopback only.
    ///
    /// # Errors
    /// Plain on an address others can reach, the port is taken, or TLS cannot be set up.
    ///
    /// # Cancel safety
    /// Cancelled, it leaves the port free.
    pub async fn bind(addr: SocketAddr, identity: Option<&Identity>) -> Result<Listener, ListenError> {
        if identity.is_none() && !addr.ip().is_loopback() {
            return Err(ListenError::PlainNotLoopback { addr });
        }
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
            .http2_max_header_list_size(HEADER_BYTES_MAX)
            .max_concurrent_streams(STREAMS_MAX);
        if let Some(identity) = identity {
            let with_tls = server.tls_config(identity.server_tls());
            server = with_tls.map_err(|source| ListenError::Tls { addr, source })?;
        }
        let listener = TcpListener::bind(addr).await.map_err(|source| ListenError::Bind { addr, source })?;
        let local_addr = listener.local_addr().map_err(|source| ListenError::Bind { addr, source })?;
        Ok(Listener {
            listener,
            local_addr,
            server: ServerBuilder(server),
            tls: identity.is_some(),
            drain_timeout: DRAIN_TIMEOUT,
        })
    }

    /// Tells the address bound, with the port the kernel chose if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Tells whether this is mutual TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Sets how long running calls may go on once the server is told to stop; [`DRAIN_TIMEOUT`] if not called.
    pub fn drain_timeout(self, drain_timeout: Duration) -> Listener {
        Listener { drain_timeout, ..self }
    }

    /// Serves `routes` until `stop` completes; then refuses new calls and waits for the running ones, as long as
    /// [`drain_timeout`](Listener::drain_timeout) says. A service with endless streams ends them itself when told to stop; what still runs after
    /// the time is left to the end of the runtime.
    ///
    /// # Errors
    /// The server failed as a whole; a failing connection is no reason.
    ///
    /// # Cancel safety
    /// Cancelled, it stops accepting; running calls go on until their connections close.
    pub async fn serve(
        self,
        routes: Routes,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), tonic::transport::Error> {
        let incoming = connection::incoming(self.listener, Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        let (stopping_tx, stopping) = oneshot::channel();
        let signal = async move {
            stop.await;
            // The receiver is gone only if nobody waits for the drain any more.
            let _ = stopping_tx.send(());
        };
        let mut server = self.server.0;
        let served = server.add_routes(routes).serve_with_incoming_shutdown(incoming, signal);
        tokio::select! {
            result = served => result,
            () = drained_too_long(stopping, self.drain_timeout) => {
                tracing::warn!(timeout = ?self.drain_timeout, "calls were still running when the server stopped");
                Ok(())
            }
        }
    }
}

/// tonic's builder, with the `Debug` it lacks.
struct ServerBuilder(Server);

impl std::fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

/// Makes the routes of a key pool, with the limits both ends share.
pub fn keys_routes(service: impl KeySupply) -> Routes {
    Routes::new(
        KeySupplyServer::new(service)
            .max_decoding_message_size(KEYS_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(KEYS_MESSAGE_BYTES_MAX),
    )
}

/// Makes the routes of the feed, with the limits both ends share.
pub fn feed_routes(service: impl Feed) -> Routes {
    Routes::new(
        FeedServer::new(service)
            .max_decoding_message_size(FOLLOWER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(WRITER_MESSAGE_BYTES_MAX),
    )
}

/// Adds the click accounts to the routes of a feed, with the limits both ends share: they are on one port.
pub fn with_clicks(routes: Routes, service: impl Clicks) -> Routes {
    routes.add_service(
        ClicksServer::new(service)
            .max_decoding_message_size(REPORTER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(ACCOUNTANT_MESSAGE_BYTES_MAX),
    )
}

/// Adds copies of the click accounts to the routes of a feed, with the limits both ends share: they are on one port.
pub fn with_copies(routes: Routes, service: impl Copies) -> Routes {
    routes.add_service(
        CopiesServer::new(service)
            .max_decoding_message_size(COPIER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(ENTRIES_MESSAGE_BYTES_MAX),
    )
}

/// Adds the budgets to the routes of a feed, with the limits both ends share: they are on one port.
pub fn with_budgets(routes: Routes, service: impl Budgets) -> Routes {
    routes.add_service(
        BudgetsServer::new(service)
            .max_decoding_message_size(BUDGETS_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(BUDGETS_MESSAGE_BYTES_MAX),
    )
}

/// Makes the routes of the succession, with the limits both ends share.
pub fn succession_routes(service: impl Succession) -> Routes {
    with_succession(Routes::default(), service)
}

/// Adds the succession to the routes of a feed, with the limits both ends share: they are on one port.
pub fn with_succession(routes: Routes, service: impl Succession) -> Routes {
    routes.add_service(
        SuccessionServer::new(service)
            .max_decoding_message_size(FOLLOWER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(WRITER_MESSAGE_BYTES_MAX),
    )
}

/// Adds the snapshots to the routes of a feed, with the limits both ends share: they are on one port.
pub fn with_snapshots(routes: Routes, service: impl Snapshots) -> Routes {
    routes.add_service(
        SnapshotsServer::new(service)
            .max_decoding_message_size(SNAPSHOT_REQUEST_BYTES_MAX)
            .max_encoding_message_size(SNAPSHOT_REPLY_BYTES_MAX),
    )
}

async fn drained_too_long(stopping: oneshot::Receiver<()>, timeout: Duration) {
    if stopping.await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(timeout).await;
}
