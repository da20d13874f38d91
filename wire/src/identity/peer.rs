//! A member as its certificate describes it, and how a server learns who is calling.

use std::{fmt, str::FromStr};

use tonic::{
    Request, Status,
    transport::server::{TcpConnectInfo, TlsConnectInfo},
};

use super::{FleetId, IdentityError, NameError, PeerError, certificate};
use crate::channel::reason;

/// Most bytes of a member's name: a DNS label's length (RFC 1035, section 2.3.4).
pub const NAME_BYTES_MAX: usize = 63;

/// What a member does in its fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The admin API: owns the journal, serves the feed.
    Writer,
    /// A supply of codes.
    Keypool,
    /// A replica that redirects.
    Proxy,
}

impl Role {
    /// Every role there is.
    pub const ALL: [Role; 3] = [Role::Writer, Role::Keypool, Role::Proxy];

    /// Gives the word used in certificates, configuration and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Writer => "writer",
            Role::Keypool => "keypool",
            Role::Proxy => "proxy",
        }
    }

    /// Gives the DNS name every member of this role carries in `fleet`.
    pub fn dns_name(self, fleet: FleetId) -> String {
        format!("{self}.{fleet}.signpost.internal")
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word is not a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a role is writer, keypool or proxy, not {found:?}")]
pub struct RoleError {
    /// The beginning of the word.
    pub found: String,
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Role, RoleError> {
        let known = Role::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or_else(|| RoleError { found: text.chars().take(NAME_BYTES_MAX).collect() })
    }
}

/// A member of a fleet as its certificate describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The fleet it belongs to.
    pub fleet: FleetId,
    /// What it does there.
    pub role: Role,
    /// Its name, unique within fleet and role by the operator's care.
    pub name: String,
    /// SHA-256 of the certificate in DER form: tells two certificates with one name apart.
    pub fingerprint: [u8; 32],
}

impl PeerIdentity {
    /// Reads a member's certificate in DER form. Neither signature nor validity is checked: TLS has done that.
    ///
    /// # Errors
    /// The certificate is not one of a member of a fleet.
    pub fn from_der(der: &[u8]) -> Result<PeerIdentity, PeerError> {
        Ok(certificate::member(&certificate::parse(der)?)?)
    }

    /// Gives the URI that stands in its certificate.
    pub fn uri(&self) -> String {
        member_uri(self.fleet, self.role, &self.name)
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.name)
    }
}

pub(super) fn member_uri(fleet: FleetId, role: Role, name: &str) -> String {
    format!("signpost://{fleet}/{role}/{name}")
}

/// Checks that a member may have this name: 1 to 63 of `a-z`, `0-9`, `-`, beginning with a letter.
///
/// # Errors
/// It may not; the error states the rule.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let begins_well = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if begins_well && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(NameError { found: name.chars().take(NAME_BYTES_MAX + 1).collect() })
}

/// Tells who sent a request; `None` if it came over plain TCP, which [`crate::listen`] accepts on loopback only.
///
/// # Errors
/// The connection is TLS and the peer is not a member: no certificate, or one that is not a member's. A server
/// made with [`Identity::server_tls`](super::Identity::server_tls) refuses the former during the handshake.
pub fn peer_of<T>(request: &Request<T>) -> Result<Option<PeerIdentity>, IdentityError> {
    let Some(info) = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>() else { return Ok(None) };
    let certificates = info.peer_certs().ok_or(PeerError::NoCertificate)?;
    let own = certificates.first().ok_or(PeerError::NoCertificate)?;
    Ok(Some(PeerIdentity::from_der(own)?))
}

/// Tells who sent a request, provided its role is one of `allowed`; `None` as in [`peer_of`].
///
/// # Errors
/// `UNAUTHENTICATED` if the peer is no member, `PERMISSION_DENIED` if its role is another.
// `Status` is large, and what a service's method returns anyway.
#[allow(clippy::result_large_err)]
pub fn authorize<T>(request: &Request<T>, allowed: &[Role]) -> Result<Option<PeerIdentity>, Status> {
    let peer = peer_of(request).map_err(|error| Status::unauthenticated(reason(&error)))?;
    match &peer {
        Some(peer) if !allowed.contains(&peer.role) => {
            let allowed: Vec<_> = allowed.iter().map(|role| role.as_str()).collect();
            let allowed = allowed.join(" or ");
            Err(Status::permission_denied(format!("{peer} may not call this: it is for the role {allowed}")))
        }
        _ => Ok(peer),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_dns_labels_that_begin_with_a_letter() {
        for good in ["a", "proxy-0", "eu-west-1-", &"a".repeat(63)] {
            assert_eq!(check_name(good), Ok(()), "{good:?}");
        }
        for bad in ["", "0a", "-a", "A", "a_b", "a.b", "a/b", "a b", "é", &"a".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn roles_read_what_they_write() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse::<Role>().unwrap(), role);
        }
        assert_eq!(
            "Writer".parse::<Role>().unwrap_err().to_string(),
            "a role is writer, keypool or proxy, not \"Writer\""
        );
    }

    #[test]
    fn a_request_that_came_over_plain_tcp_has_no_peer() {
        assert_eq!(peer_of(&Request::new(())).unwrap(), None);
        assert_eq!(authorize(&Request::new(()), &[]).unwrap(), None);
    }

    #[test]
    fn bytes_that_are_no_certificate_are_an_error() {
        for bytes in [&b""[..], b"0", &[0x30, 0x82, 0xff, 0xff], &[0xff; 300]] {
            assert!(PeerIdentity::from_der(bytes).is_err());
        }
    }
}
