//! The ports of a service. They are bound before anything runs: a port that is taken must not leave half a service behind.

use std::io;
use std::net::SocketAddr;

use daemon::control::ControlSocket;
use tokio::net::TcpListener;
use wire::identity::Identity;

use super::{Addresses, ServerError};
use crate::config::Config;
use crate::feed::FeedServer;

/// What is bound, and where.
pub(super) struct Ports {
    pub(super) http: TcpListener,
    pub(super) feed: FeedServer,
    pub(super) control: ControlSocket,
    pub(super) addresses: Addresses,
}

impl Ports {
    /// Binds what the configuration names; `health` is bound already.
    ///
    /// # Errors
    /// An address that is taken or is not ours.
    pub(super) async fn bind(
        config: &Config,
        identity: Option<&Identity>,
        health: SocketAddr,
    ) -> Result<Ports, ServerError> {
        let http = TcpListener::bind(config.http_listen).await.map_err(|error| {
            let place = config.http_listen;
            io::Error::new(error.kind(), format!("cannot listen on {place} for the API: {error}"))
        })?;
        let feed = FeedServer::bind(config.feed_listen, identity).await?;
        let control = ControlSocket::bind(&config.control_socket)?;
        let addresses = Addresses { http: http.local_addr()?, health, feed: feed.local_addr() };
        Ok(Ports { http, feed, control, addresses })
    }
}
