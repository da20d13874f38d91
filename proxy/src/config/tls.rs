//! `[tls]`: where certificates and the secret of the tickets lie. What is in the files shows at start.

use std::path::PathBuf;
use std::time::Duration;

use daemon::config::Section;

/// The files of TLS; at least one certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The first is for visitors who ask for no name or an unknown one.
    pub certificates: Vec<CertificateFiles>,
    /// What ticket keys are derived from, the same on every proxy; `None`: a secret of this process.
    pub ticket_secret: Option<PathBuf>,
    /// How long one ticket key encrypts, in seconds; it is accepted for as long again.
    pub ticket_period_s: u64,
    /// How often to look whether a file has changed.
    pub check_every: Duration,
}

/// Where a certificate lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// PEM: the certificate, then what leads from it to its authority.
    pub chain: PathBuf,
    /// PEM: its private key, without a password.
    pub key: PathBuf,
}

/// Reads the section; `None` if nobody needs it.
pub(super) fn read(section: &mut Section, is_needed: bool) -> Option<TlsFiles> {
    const HOUR_S: u64 = 3_600;
    let ticket_secret = section.optional("ticket_secret_file");
    let ticket_period_s = section.in_range("ticket_period_s", 12 * HOUR_S, 60..=84 * HOUR_S);
    let check_every = Duration::from_secs(section.in_range("check_files_s", 60, 1..=24 * HOUR_S));
    let read_one =
        |mut table: Section| CertificateFiles { chain: table.required("chain"), key: table.required("key") };
    let certificates: Vec<_> = section.sections("certificate").into_iter().map(read_one).collect();
    match (certificates.is_empty(), is_needed) {
        (true, true) => {
            section.problem("", "a listener has tls = true: expected at least one [[tls.certificate]]")
        }
        (false, false) => section.problem("certificate", "no [[listener]] has tls = true"),
        _ => {}
    }
    is_needed.then_some(TlsFiles { certificates, ticket_secret, ticket_period_s, check_every })
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon::config::parse;

    const PAIR: &str = "[[tls.certificate]]\nchain = '/a'\nkey = '/b'\n";

    fn files(text: &str, is_needed: bool) -> Result<Option<TlsFiles>, String> {
        let read = |root: &mut Section| read(&mut root.section("tls"), is_needed);
        parse("x.toml", text, read).map(|loaded| loaded.config).map_err(|error| error.to_string())
    }

    #[test]
    fn certificates_are_there_exactly_if_a_listener_needs_them() {
        assert_eq!(files("", false), Ok(None));
        assert!(files("", true).unwrap_err().contains("[[tls.certificate]]"));
        assert!(files(PAIR, false).unwrap_err().contains("no [[listener]]"));
        let found = files(PAIR, true).unwrap().unwrap();
        assert_eq!(found.certificates, [CertificateFiles { chain: "/a".into(), key: "/b".into() }]);
        assert_eq!((found.ticket_secret, found.ticket_period_s), (None, 43_200));
        assert!(
            files("[[tls.certificate]]\nchain = '/a'\n", true).unwrap_err().contains("certificate[0].key")
        );
    }
}
