//! Reading certificates: from DER bytes to who they name.
//!
//! Strict on purpose: one URI, one DNS name, nothing between the lines. What the authority here issues passes, and
//! nothing else has a reason to be on these connections.

use sha2::{Digest, Sha256};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate};

use super::{CertificateError, FleetId, PeerIdentity, check_name};

const SCHEME: &str = "signpost://";
const MEMBER_FORM: &str = "signpost://<fleet>/<role>/<name>";
const AUTHORITY_FORM: &str = "signpost://<fleet>";

/// Parses one certificate; bytes after it are an error.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    match parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::Malformed),
    }
}

/// Reads which member a certificate names.
pub(super) fn member(certificate: &X509Certificate<'_>) -> Result<PeerIdentity, CertificateError> {
    if certificate.is_ca() {
        return Err(CertificateError::WrongKind { found: true });
    }
    let names = Names::of(certificate)?;
    let wrong = || CertificateError::Uri { uri: shortened(names.uri), expected: MEMBER_FORM };
    let mut parts = names.path.split('/');
    let (Some(fleet), Some(role), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    let fleet: FleetId = fleet.parse()?;
    let role = role.parse().map_err(|_| wrong())?;
    check_name(name)?;
    let peer = PeerIdentity {
        fleet,
        role,
        name: name.to_owned(),
        fingerprint: Sha256::digest(certificate.as_raw()).into(),
    };
    let dns = peer.role.dns_name(fleet);
    if names.dns != [dns.as_str()] {
        return Err(CertificateError::Dns { expected: dns });
    }
    Ok(peer)
}

/// Reads which fleet an authority's certificate names.
pub(super) fn authority(certificate: &X509Certificate<'_>) -> Result<FleetId, CertificateError> {
    if !certificate.is_ca() {
        return Err(CertificateError::WrongKind { found: false });
    }
    let names = Names::of(certificate)?;
    if names.path.contains('/') {
        return Err(CertificateError::Uri { uri: shortened(names.uri), expected: AUTHORITY_FORM });
    }
    Ok(names.path.parse()?)
}

/// Gives the URI that stands in an authority's certificate.
pub(super) fn authority_uri(fleet: FleetId) -> String {
    format!("{SCHEME}{fleet}")
}

/// The subject alternative names, sorted by kind.
struct Names<'a> {
    uri: &'a str,
    path: &'a str, // the URI without its scheme
    dns: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn of(certificate: &'a X509Certificate<'_>) -> Result<Names<'a>, CertificateError> {
        let extension = certificate.subject_alternative_name().map_err(|_| CertificateError::Malformed)?;
        let (mut uris, mut dns) = (Vec::new(), Vec::new());
        for name in extension.iter().flat_map(|found| &found.value.general_names) {
            match name {
                GeneralName::URI(uri) => uris.push(*uri),
                GeneralName::DNSName(name) => dns.push(*name),
                _ => return Err(CertificateError::OtherName),
            }
        }
        let [uri] = uris[..] else { return Err(CertificateError::UriCount { found: uris.len() }) };
        let wrong = || CertificateError::Uri { uri: shortened(uri), expected: MEMBER_FORM };
        let path = uri.strip_prefix(SCHEME).ok_or_else(wrong)?;
        Ok(Names { uri, path, dns })
    }
}

fn shortened(uri: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 160;
    uri.chars().take(SHOWN_CHARS_MAX).collect()
}
