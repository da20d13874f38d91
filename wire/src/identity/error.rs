//! What can go wrong with identities: one enum per operation, each with the file it is about.
//!
//! A message names its own problem and leaves the cause to `source()`; whoever prints the error prints the chain
//! ([`crate::channel::reason`]).

use std::{io, path::PathBuf};

use super::{FleetId, FleetIdError};

/// Any failure of this module, for callers that do not tell them apart.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A credential bundle could not be loaded.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The authority could not be made, opened or used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A peer could not be identified.
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// Why a credential bundle (or the certificate and key of an authority) cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is too large to be what it should be.
    #[error("{path} has more than {bytes_max} bytes: it is no PEM file of a credential bundle")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        bytes_max: u64,
    },
    /// Everybody on the machine may read or write the private key.
    #[error(
        "the private key {path} is open to every user (mode {mode:03o}): chmod 600 it, or issue a new one"
    )]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not PEM, or holds something else, or more than one.
    #[error("{path} must hold exactly one PEM block \"{label}\"")]
    Pem {
        /// The file.
        path: PathBuf,
        /// The label of the block expected there.
        label: &'static str,
    },
    /// The certificate is not one of a fleet.
    #[error("the certificate {path} is not usable")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// The certificate is not valid now.
    #[error(
        "the certificate {path} is valid from {not_before} to {not_after}, not now: check the clock, or issue a new one"
    )]
    NotValidNow {
        /// The file.
        path: PathBuf,
        /// Begin of its validity.
        not_before: String,
        /// End of its validity.
        not_after: String,
    },
    /// The certificate and the authority next to it do not belong together.
    #[error(
        "{path} was not signed by the authority in {authority}: the folder mixes two bundles, or was tampered with"
    )]
    NotSignedByAuthority {
        /// The certificate.
        path: PathBuf,
        /// The authority's certificate.
        authority: PathBuf,
    },
    /// The member claims another fleet than the authority next to it.
    #[error("{path} is of fleet {found}, the authority next to it of fleet {expected}")]
    OtherFleet {
        /// The certificate.
        path: PathBuf,
        /// The fleet it names.
        found: FleetId,
        /// The fleet of the authority.
        expected: FleetId,
    },
    /// The private key cannot be read.
    #[error("{path} is not a PKCS #8 private key that can be used")]
    Key {
        /// The file.
        path: PathBuf,
        /// What the cryptography library said.
        source: rcgen::Error,
    },
    /// The private key is that of another certificate.
    #[error("the private key {path} does not belong to the certificate {certificate}")]
    KeyMismatch {
        /// The key.
        path: PathBuf,
        /// The certificate.
        certificate: PathBuf,
    },
}

/// Why an authority could not be made, opened or asked for a certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The member's name is not allowed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The authority's own files cannot be used.
    #[error("the authority cannot be opened")]
    Open(#[source] BundleError),
    /// The random source failed.
    #[error("the operating system gave no random bytes for the fleet id")]
    Entropy(#[source] io::Error),
    /// Making keys or certificates failed.
    #[error("a certificate cannot be made")]
    Certificate(#[source] rcgen::Error),
    /// What was made does not pass the checks it will meet: a defect of this program.
    #[error("the certificate just made is not usable")]
    SelfCheck(#[source] CertificateError),
    /// The files cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why files of a bundle or an authority were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Something is there already; nothing was changed.
    #[error(
        "{path} exists already and is not overwritten: choose another folder, or move the old files away first"
    )]
    Exists {
        /// The first file found.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Why the peer of a request is not known.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The connection is TLS, but the peer showed no certificate.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// The peer's certificate is not one of a member.
    #[error("the peer's certificate is not usable")]
    Certificate(#[from] CertificateError),
}

/// What is wrong with a certificate itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The bytes are no X.509 certificate.
    #[error("it is not an X.509 certificate in DER form")]
    Malformed,
    /// It may sign certificates where a member's is expected, or may not where an authority's is expected.
    #[error("it is {} of an authority", if *.found { "that" } else { "not that" })]
    WrongKind {
        /// Whether it is an authority's.
        found: bool,
    },
    /// It does not have exactly one URI of the form a fleet's certificates have.
    #[error("it must have exactly one subject alternative name signpost://..., and has {found}")]
    UriCount {
        /// How many it has.
        found: usize,
    },
    /// It has a subject alternative name of a kind no certificate of a fleet has.
    #[error("it has a subject alternative name that is neither a DNS name nor a URI")]
    OtherName,
    /// The URI is not of the right form.
    #[error("its name {uri:?} is not of the form {expected}")]
    Uri {
        /// The beginning of the URI.
        uri: String,
        /// The form.
        expected: &'static str,
    },
    /// The fleet in the URI is no fleet id.
    #[error("its name has no valid fleet id")]
    Fleet(#[from] FleetIdError),
    /// The name in the URI is not allowed.
    #[error("its name is not a member's")]
    Name(#[from] NameError),
    /// The DNS names do not repeat what the URI says.
    #[error("its DNS names must be exactly {expected:?}")]
    Dns {
        /// The one DNS name that belongs to its URI.
        expected: String,
    },
}

/// Why a member cannot have this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a member's name is 1 to 63 of a-z, 0-9 and -, beginning with a letter, not {found:?}")]
pub struct NameError {
    /// The beginning of the name.
    pub found: String,
}
