//! Who a process is and who its peer is.
//!
//! A fleet has one certificate authority, made by its operator ([`Issuer`]). Every member holds a *credential
//! bundle*: a folder with `ca.pem`, `cert.pem` and `key.pem` ([`Identity`]). A member's certificate says three things:
//! which fleet, which [`Role`], which name. They stand in two subject alternative names:
//!
//! | SAN | form | read by |
//! |---|---|---|
//! | URI | `signpost://<fleet>/<role>/<name>` | [`peer_of`], to know who is calling |
//! | DNS | `<role>.<fleet>.signpost.internal` | the TLS stack of a client, to know that it reached the right role |
//!
//! `<fleet>` is the 16-byte [`FleetId`] in lower-case hex. The authority carries the URI `signpost://<fleet>`. A client
//! verifies the name of the role, not of the host: members move between machines without new certificates.
//! Trust begins and ends with the fleet's authority; the system's roots are never consulted.
//!
//! Invariant: a [`PeerIdentity`] exists only if the certificate it was read from says the same thing in both names.
//! That the certificate was signed by the fleet's authority is checked by TLS before a peer is heard, and by
//! [`Identity::load`] before a process speaks.
//!
//! Not here: whether a member is still welcome. That is a record in the log, compared by
//! [`fingerprint`](PeerIdentity::fingerprint).

mod authority;
mod bundle;
mod certificate;
mod error;
mod files;
mod fleet;
mod peer;

pub use authority::{AUTHORITY_VALID_DAYS, Issuer, MEMBER_VALID_DAYS, Validity};
pub use bundle::Identity;
pub use error::{
    AuthorityError, BundleError, CertificateError, IdentityError, NameError, PeerError, WriteError,
};
pub use fleet::{FleetId, FleetIdError};
pub use peer::{NAME_BYTES_MAX, PeerIdentity, Role, RoleError, authorize, check_name, peer_of};
