//! A process's own credential: `ca.pem`, `cert.pem` and `key.pem` of one folder.
//!
//! Everything that would make a handshake fail later is checked when the bundle is loaded, where the error can name
//! the file; so the TLS configurations made from an [`Identity`] are sound.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::KeyPair;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tonic::transport::{Certificate, ClientTlsConfig, ServerTlsConfig};
use x509_parser::certificate::X509Certificate;

use super::{BundleError, CertificateError, FleetId, IdentityError, PeerIdentity, Role, certificate, files};
use crate::{channel, listen};

/// A loaded credential bundle. Holds the private key in memory; its `Debug` form does not show it.
#[derive(Clone)]
pub struct Identity {
    own: PeerIdentity,
    expires_at: SystemTime,
    authority_pem: Vec<u8>,
    pair: tonic::transport::Identity,
}

impl Identity {
    /// Loads the bundle in `dir` and checks it: signed by the authority in it, of the same fleet, valid now, with the
    /// key that belongs to it, and that key not open to every user.
    ///
    /// Makes ring the process's TLS provider, unless one was chosen before.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(dir: &Path) -> Result<Identity, IdentityError> {
        Ok(Identity::load_at(dir, SystemTime::now())?)
    }

    pub(super) fn load_at(dir: &Path, now: SystemTime) -> Result<Identity, BundleError> {
        let authority = CertificateFile::read(dir.join(files::CA))?;
        let member = CertificateFile::read(dir.join(files::CERT))?;
        let authority_parsed = authority.parse()?;
        let fleet = authority.check_authority(&authority_parsed, now)?;
        let member_parsed = member.parse()?;
        let own = certificate::member(&member_parsed).map_err(|error| member.unusable(error))?;
        if own.fleet != fleet {
            return Err(BundleError::OtherFleet { path: member.path, found: own.fleet, expected: fleet });
        }
        if !signed_by(&member_parsed, &authority_parsed) {
            return Err(BundleError::NotSignedByAuthority { path: member.path, authority: authority.path });
        }
        member.check_validity(&member_parsed, now)?;
        let (key_pem, _) = load_key(dir.join(files::KEY), &member_parsed, &member.path)?;
        let expires_at = end_of(&member_parsed).min(end_of(&authority_parsed));
        let pair = tonic::transport::Identity::from_pem(&member.pem, &key_pem);
        use_ring();
        Ok(Identity { own, expires_at, authority_pem: authority.pem.clone(), pair })
    }

    /// Tells who this process is.
    pub fn own(&self) -> &PeerIdentity {
        &self.own
    }

    /// Tells when peers stop accepting this bundle; a new one must be in place, and the process restarted, by then.
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// Makes the TLS side of a server: a client must show a certificate of our authority.
    ///
    /// Which role may call what is the service's decision: [`authorize`](super::authorize).
    pub fn server_tls(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.pair.clone())
            .client_ca_root(Certificate::from_pem(&self.authority_pem))
            .client_auth_optional(false)
            .timeout(listen::HANDSHAKE_TIMEOUT)
    }

    /// Makes the TLS side of a client: the server must be `expect` in our fleet, on whatever host.
    pub fn client_tls(&self, expect: Role) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(self.pair.clone())
            .ca_certificate(Certificate::from_pem(&self.authority_pem))
            .domain_name(expect.dns_name(self.own.fleet))
            .timeout(channel::HANDSHAKE_TIMEOUT)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("own", &self.own)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// tonic's server takes the process's default provider, which rustls can only guess while exactly one is compiled
/// in. Somebody else's choice, made earlier, stands.
fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A certificate with the file it came from, for the errors.
pub(super) struct CertificateFile {
    pub(super) path: PathBuf,
    pub(super) pem: Vec<u8>,
    der: CertificateDer<'static>,
}

impl CertificateFile {
    pub(super) fn read(path: PathBuf) -> Result<CertificateFile, BundleError> {
        let pem = files::read(&path)?;
        let mut found = CertificateDer::pem_slice_iter(&pem);
        let (Some(Ok(der)), None) = (found.next(), found.next()) else {
            return Err(BundleError::Pem { path, label: "CERTIFICATE" });
        };
        Ok(CertificateFile { path, der, pem })
    }

    pub(super) fn parse(&self) -> Result<X509Certificate<'_>, BundleError> {
        certificate::parse(&self.der).map_err(|error| self.unusable(error))
    }

    /// Checks that this is an authority's own certificate, valid at `now`, and gives its fleet.
    pub(super) fn check_authority(
        &self,
        parsed: &X509Certificate<'_>,
        now: SystemTime,
    ) -> Result<FleetId, BundleError> {
        let fleet = certificate::authority(parsed).map_err(|error| self.unusable(error))?;
        if !signed_by(parsed, parsed) {
            return Err(BundleError::NotSignedByAuthority {
                path: self.path.clone(),
                authority: self.path.clone(),
            });
        }
        self.check_validity(parsed, now)?;
        Ok(fleet)
    }

    fn check_validity(&self, parsed: &X509Certificate<'_>, now: SystemTime) -> Result<(), BundleError> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let validity = parsed.validity();
        if (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now) {
            return Ok(());
        }
        Err(BundleError::NotValidNow {
            path: self.path.clone(),
            not_before: validity.not_before.to_string(),
            not_after: validity.not_after.to_string(),
        })
    }

    fn unusable(&self, source: CertificateError) -> BundleError {
        BundleError::Certificate { path: self.path.clone(), source }
    }
}

/// Reads a private key and checks that it belongs to `certificate`, which came from `certificate_path`.
pub(super) fn load_key(
    path: PathBuf,
    certificate: &X509Certificate<'_>,
    certificate_path: &Path,
) -> Result<(String, KeyPair), BundleError> {
    let pem = files::read_key(&path)?;
    let key = KeyPair::from_pem(&pem).map_err(|source| BundleError::Key { path: path.clone(), source })?;
    if key.public_key_raw() != &*certificate.public_key().subject_public_key.data {
        return Err(BundleError::KeyMismatch { path, certificate: certificate_path.to_owned() });
    }
    Ok((pem, key))
}

pub(super) fn end_of(certificate: &X509Certificate<'_>) -> SystemTime {
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

fn signed_by(certificate: &X509Certificate<'_>, authority: &X509Certificate<'_>) -> bool {
    certificate.verify_signature(Some(authority.public_key())).is_ok()
}
