//! The fleet's certificate authority: makes itself and the bundles of members.
//!
//! It is two files, `ca.pem` and `ca-key.pem`, and used offline: no daemon needs the key. Whoever holds it is every
//! member of the fleet, so it belongs on the machine the operator trusts most.

use std::{
    fmt,
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

use super::{
    AuthorityError, BundleError, FleetId, IdentityError, PeerIdentity, Role,
    bundle::{self, CertificateFile},
    certificate, check_name,
    files::{self, NewFile},
    peer,
};

/// How long an authority's certificate is valid, in days: about 10 years.
pub const AUTHORITY_VALID_DAYS: u64 = 3652;

/// How long a member's certificate is valid, in days: about 2 years, and never beyond its authority's.
pub const MEMBER_VALID_DAYS: u64 = 730;

/// Validity begins this much before now, for members whose clocks are behind.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// When a certificate is valid; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first instant.
    pub not_before: SystemTime,
    /// The last instant; whole seconds count.
    pub not_after: SystemTime,
}

impl Validity {
    /// Is valid from an hour before `now`, for clocks that are behind, until `days` after it.
    pub fn days_from(now: SystemTime, days: u64) -> Validity {
        Validity { not_before: now - CLOCK_SKEW, not_after: now + Duration::from_secs(days * 86_400) }
    }
}

/// The certificate authority of one fleet, open and able to sign.
pub struct Issuer {
    fleet: FleetId,
    signer: rcgen::Issuer<'static, KeyPair>,
    pem: String,
    expires_at: SystemTime,
}

impl Issuer {
    /// Makes a new fleet: a new [`FleetId`], `ca.pem` and `ca-key.pem` (mode 0600) in `dir`, which is made if missing.
    ///
    /// # Errors
    /// One of the files exists (nothing is changed then), or cannot be written.
    pub fn create(dir: &Path) -> Result<Issuer, IdentityError> {
        Ok(Issuer::create_valid(dir, Validity::days_from(SystemTime::now(), AUTHORITY_VALID_DAYS))?)
    }

    fn create_valid(dir: &Path, validity: Validity) -> Result<Issuer, AuthorityError> {
        let fleet = FleetId::generate().map_err(AuthorityError::Entropy)?;
        let key = new_key()?;
        let params = authority_params(fleet, validity)?;
        let pem = params.self_signed(&key).map_err(AuthorityError::Certificate)?.pem();
        let key_pem = key.serialize_pem();
        files::write_new(
            dir,
            &[
                NewFile { name: files::CA_KEY, contents: &key_pem, secret: true },
                NewFile { name: files::CA, contents: &pem, secret: false },
            ],
        )?;
        Ok(Issuer { fleet, signer: rcgen::Issuer::new(params, key), pem, expires_at: validity.not_after })
    }

    /// Opens the authority in `dir`.
    ///
    /// # Errors
    /// A file cannot be read, is no authority's, has expired, or the key is that of another or open to every user.
    pub fn open(dir: &Path) -> Result<Issuer, IdentityError> {
        Ok(Issuer::open_at(dir, SystemTime::now()).map_err(AuthorityError::Open)?)
    }

    fn open_at(dir: &Path, now: SystemTime) -> Result<Issuer, BundleError> {
        let file = CertificateFile::read(dir.join(files::CA))?;
        let parsed = file.parse()?;
        let fleet = file.check_authority(&parsed, now)?;
        let expires_at = bundle::end_of(&parsed);
        let (_, key) = bundle::load_key(dir.join(files::CA_KEY), &parsed, &file.path)?;
        let not_pem = || BundleError::Pem { path: file.path.clone(), label: "CERTIFICATE" };
        let pem = String::from_utf8(file.pem.clone()).map_err(|_| not_pem())?;
        let signer = rcgen::Issuer::from_ca_cert_pem(&pem, key).map_err(|_| not_pem())?;
        Ok(Issuer { fleet, signer, pem, expires_at })
    }

    /// Tells which fleet this is the authority of.
    pub fn fleet(&self) -> FleetId {
        self.fleet
    }

    /// Makes a key and a certificate for a member and writes its bundle into `out`, which is made if missing:
    /// `key.pem` (mode 0600), `ca.pem`, `cert.pem`. Valid [`MEMBER_VALID_DAYS`] from now.
    ///
    /// # Errors
    /// The name is not allowed, one of the files exists (nothing is changed then), or cannot be written.
    pub fn issue(&self, role: Role, name: &str, out: &Path) -> Result<PeerIdentity, IdentityError> {
        self.issue_valid(role, name, Validity::days_from(SystemTime::now(), MEMBER_VALID_DAYS), out)
    }

    /// Does what [`issue`](Issuer::issue) does, with a validity of the caller's choice: a credential for an
    /// afternoon, or one that has expired for a rehearsal. It ends no later than the authority's.
    ///
    /// # Errors
    /// As [`issue`](Issuer::issue).
    pub fn issue_valid(
        &self,
        role: Role,
        name: &str,
        validity: Validity,
        out: &Path,
    ) -> Result<PeerIdentity, IdentityError> {
        Ok(self.issue_into(role, name, validity, out)?)
    }

    fn issue_into(
        &self,
        role: Role,
        name: &str,
        validity: Validity,
        out: &Path,
    ) -> Result<PeerIdentity, AuthorityError> {
        check_name(name)?;
        let key = new_key()?;
        let not_after = validity.not_after.min(self.expires_at);
        let validity = Validity { not_before: validity.not_before.min(not_after), not_after };
        let params = member_params(self.fleet, role, name, validity)?;
        let made = params.signed_by(&key, &self.signer).map_err(AuthorityError::Certificate)?;
        let member = certificate::parse(made.der()).and_then(|parsed| certificate::member(&parsed));
        let member = member.map_err(AuthorityError::SelfCheck)?;
        let (key_pem, pem) = (key.serialize_pem(), made.pem());
        files::write_new(
            out,
            &[
                NewFile { name: files::KEY, contents: &key_pem, secret: true },
                NewFile { name: files::CA, contents: &self.pem, secret: false },
                NewFile { name: files::CERT, contents: &pem, secret: false },
            ],
        )?;
        Ok(member)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

fn new_key() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Certificate)
}

fn authority_params(fleet: FleetId, validity: Validity) -> Result<CertificateParams, AuthorityError> {
    let mut params = params(&format!("Signpost fleet {fleet}"), validity);
    params.subject_alt_names = vec![uri(&certificate::authority_uri(fleet))?];
    // Signs members, never other authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn member_params(
    fleet: FleetId,
    role: Role,
    name: &str,
    validity: Validity,
) -> Result<CertificateParams, AuthorityError> {
    let dns = role.dns_name(fleet).try_into().map_err(AuthorityError::Certificate)?;
    let mut params = params(name, validity);
    params.distinguished_name.push(DnType::OrganizationalUnitName, role.as_str());
    params.subject_alt_names = vec![SanType::DnsName(dns), uri(&peer::member_uri(fleet, role, name))?];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Any member may dial and be dialled; what a server may claim to be is its role, in the DNS name.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Signpost");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = validity.not_before.into();
    params.not_after = validity.not_after.into();
    params
}

fn uri(text: &str) -> Result<SanType, AuthorityError> {
    Ok(SanType::URI(text.try_into().map_err(AuthorityError::Certificate)?))
}
