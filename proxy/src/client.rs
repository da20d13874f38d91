//! Who is at the other end of a connection, as far as its listener can tell.
//!
//! Nothing is guessed: a listener says how it knows ([`ClientAddress`]), and without that there is no address, and no limit by it.

use std::net::IpAddr;

use crate::network::{Network, NetworkList, Prefixes};

/// How a listener knows where a visitor comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ClientAddress {
    /// It does not.
    #[default]
    Unstated,
    /// The packets' source is the visitor: no balancer, or one that answers past itself (direct server return).
    Socket,
    /// A balancer says so in a PROXY header; connections from anywhere else are closed.
    Proxy {
        /// Where balancers are.
        balancers: NetworkList,
    },
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client {
    /// The visitor's address; `None` if the listener does not know.
    pub address: Option<IpAddr>,
    /// What its requests are counted under; `None`: they are not.
    pub(crate) network: Option<Network>,
    /// The connection has TLS up to here.
    pub(crate) is_secure: bool,
}

impl Client {
    /// Somebody.
    pub const UNKNOWN: Client = Client { address: None, network: None, is_secure: false };
}

/// Who counts as one client, and who is not limited.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    /// How much of an address makes a network.
    pub prefixes: Prefixes,
    /// Who may do what they like.
    pub exempt: NetworkList,
}

impl Clients {
    /// The client at an address.
    pub fn at(&self, address: IpAddr) -> Client {
        let address = address.to_canonical();
        let is_limited = !self.exempt.contains(address);
        let network = is_limited.then(|| Network::of(address, self.prefixes));
        Client { address: Some(address), network, is_secure: false }
    }

    /// A balancer that speaks for itself, as its health checks do: never limited.
    pub fn balancer(&self, address: IpAddr) -> Client {
        Client { address: Some(address.to_canonical()), ..Client::UNKNOWN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_counted_but_the_exempt_and_the_balancers() {
        let clients = Clients::default();
        let visitor = clients.at("::ffff:192.0.2.1".parse().unwrap());
        assert_eq!(visitor.address, Some("192.0.2.1".parse().unwrap()));
        assert!(visitor.network.is_some());
        assert!(clients.balancer("192.0.2.1".parse().unwrap()).network.is_none());
        assert!(Client::UNKNOWN.network.is_none() && Client::UNKNOWN.address.is_none());
    }
}
