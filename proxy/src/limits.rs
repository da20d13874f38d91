//! What a client may do to a worker: every limit that is not about one network, and the names under which all limits are counted.
//!
//! | limit | what happens |
//! |---|---|
//! | a TLS handshake takes too long | the connection ends; counted with the handshakes |
//! | a head takes too long, or is too large | 408, 431, and the connection ends |
//! | nothing comes between requests, an answer is not taken | the connection ends |
//! | a body does not end | the answer, and the connection ends |
//! | many requests on one connection | the last answer says `Connection: close` |
//! | too many connections, in total or of one network | closed at once, without an answer |
//! | requests, unknown codes, a scan ([`crate::quota`]) | 429 |

use std::time::Duration;

use crate::http::parse::HEAD_BYTES_MAX;

/// How much clients may send and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the accepted connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Bytes of a head, request line included; at most what a worker reads at once.
    pub head_bytes: usize,
    /// Between requests.
    pub idle: Duration,
    /// For taking an answer.
    pub write: Duration,
    /// For the body of a request that should not have one.
    pub body: Duration,
    /// After an error, for reading what the client still sends, so that it sees the answer.
    pub linger: Duration,
    /// For the header in which a balancer says whose a connection is.
    pub proxy_header: Duration,
    /// Requests on one connection.
    pub requests_per_connection: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            head_bytes: HEAD_BYTES_MAX,
            idle: Duration::from_secs(60),
            write: Duration::from_secs(10),
            body: Duration::from_secs(5),
            linger: Duration::from_secs(1),
            proxy_header: Duration::from_secs(5),
            requests_per_connection: 100_000,
        }
    }
}

/// A limit that somebody has reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// A head took too long.
    HeadTime,
    /// A head was too large.
    HeadBytes,
    /// Nothing came for too long.
    Idle,
    /// An answer was not taken.
    Write,
    /// A body was too long or did not end.
    Body,
    /// Many requests on one connection.
    RequestsPerConnection,
    /// Too many connections.
    Connections,
    /// Too many connections of one network.
    ConnectionsPerNetwork,
    /// No PROXY header where there has to be one.
    ProxyHeader,
    /// A connection that does not come from a balancer where it has to.
    BalancerNetworks,
    /// Too many requests of one network.
    Requests,
    /// Too many unknown codes from one network.
    NotFound,
    /// A network that is blocked.
    Block,
    /// All redirects of a token's links in this period.
    Redirects,
}

impl Limit {
    /// All of them, in the order of their numbers, with their names in metrics.
    pub const ALL: [(Limit, &'static str); 14] = [
        (Limit::HeadTime, "head_time"),
        (Limit::HeadBytes, "head_bytes"),
        (Limit::Idle, "idle"),
        (Limit::Write, "write"),
        (Limit::Body, "body"),
        (Limit::RequestsPerConnection, "requests_per_connection"),
        (Limit::Connections, "connections"),
        (Limit::ConnectionsPerNetwork, "connections_per_network"),
        (Limit::ProxyHeader, "proxy_header"),
        (Limit::BalancerNetworks, "balancer_networks"),
        (Limit::Requests, "requests"),
        (Limit::NotFound, "not_found"),
        (Limit::Block, "block"),
        (Limit::Redirects, "redirects"),
    ];

    /// Its place in [`Limit::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A limit that was reached, and what to tell the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Over {
    /// Which one.
    pub limit: Limit,
    /// After how many seconds it is worth trying again, at least 1.
    pub retry_after_s: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_stand_in_the_order_of_their_numbers() {
        for (index, (limit, _)) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit.index(), index);
        }
    }
}
