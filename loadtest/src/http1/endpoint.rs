//! Where requests go: `http://HOST:PORT`, resolved once.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// An address to send requests to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    authority: String,
    address: SocketAddr,
}

/// Why a text is no endpoint.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadEndpoint {
    #[error("{0}: only http:// is spoken here; give the plain address behind TLS, as http://HOST:PORT")]
    Scheme(String),
    #[error("{0}: give the address alone, as http://HOST:PORT, without a path or user")]
    Surplus(String),
    #[error("{text}: the host cannot be resolved: {source}")]
    Resolve { text: String, source: std::io::Error },
}

impl Endpoint {
    /// What the Host header says.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Where to connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { authority: address.to_string(), address }
    }
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let rest = text.strip_prefix("http://").ok_or_else(|| BadEndpoint::Scheme(text.to_owned()))?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '@', '?', '#']) {
            return Err(BadEndpoint::Surplus(text.to_owned()));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let resolved =
            if has_port { authority.to_socket_addrs() } else { format!("{authority}:80").to_socket_addrs() };
        let address = resolved
            .and_then(|mut addresses| {
                addresses.next().ok_or_else(|| std::io::Error::other("it has no address"))
            })
            .map_err(|source| BadEndpoint::Resolve { text: text.to_owned(), source })?;
        Ok(Self { authority: authority.to_owned(), address })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_endpoint_keeps_what_the_host_header_says() {
        let endpoint: Endpoint = "http://127.0.0.1:8080/".parse().unwrap();
        assert_eq!((endpoint.authority(), endpoint.address().port()), ("127.0.0.1:8080", 8080));
        assert_eq!(endpoint.to_string(), "http://127.0.0.1:8080");
        assert_eq!("http://127.0.0.1".parse::<Endpoint>().unwrap().address().port(), 80);
        assert_eq!("http://[::1]:81".parse::<Endpoint>().unwrap().address().to_string(), "[::1]:81");
    }

    #[test]
    fn what_is_no_plain_address_is_refused() {
        for text in ["https://127.0.0.1", "127.0.0.1:80", "http://", "http://a/b", "http://u@127.0.0.1"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
