//! A certificate and its key, read from their files and checked against each other.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use crate::config::CertificateFiles;

/// Most bytes of one file; chains have a few thousand.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// Why TLS cannot be had as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that must be secret is not.
    #[error("everybody can read {} (mode {mode:04o}): run chmod 0600, or 0640 with the group of the daemon", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file is not what it should be.
    #[error("{} is no {what}", path.display())]
    Not {
        /// Which file.
        path: PathBuf,
        /// What was expected.
        what: &'static str,
    },
    /// Key and certificate do not belong together.
    #[error("the key in {} is not that of the first certificate in {}", key.display(), chain.display())]
    Mismatch {
        /// The chain's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A certificate for other times.
    #[error("the certificate in {} is valid from {from} until {until}, not now", chain.display())]
    NotNow {
        /// The chain's file.
        chain: PathBuf,
        /// The first moment it is valid.
        from: String,
        /// The last one.
        until: String,
    },
    /// A secret that can be guessed.
    #[error("{} has {bytes} bytes; a ticket secret has at least {}: head -c 64 /dev/urandom", path.display(), super::tickets::SECRET_BYTES_MIN)]
    ShortSecret {
        /// Which file.
        path: PathBuf,
        /// How long it is.
        bytes: usize,
    },
    /// OpenSSL refuses, as it does keys that are too short for its security level.
    #[error("OpenSSL refuses {what}: {source}")]
    OpenSsl {
        /// What it was given.
        what: String,
        /// What it says.
        source: ErrorStack,
    },
}

/// A certificate with its key.
pub(super) struct Certificate {
    pub(super) own: X509,
    /// What leads from it to the authorities, without those.
    pub(super) chain: Vec<X509>,
    pub(super) key: PKey<Private>,
    /// DNS names, as they are written.
    pub(super) names: Vec<String>,
    /// Seconds since the Unix epoch.
    pub(super) expires_at_s: i64,
}

impl Certificate {
    /// Reads both files.
    pub(super) fn read(files: &CertificateFiles) -> Result<Certificate, TlsError> {
        let not_pem = |path: &Path, what| TlsError::Not { path: path.to_owned(), what };
        let chain = X509::stack_from_pem(&read(&files.chain)?).unwrap_or_default();
        let mut chain = chain.into_iter();
        let own = chain.next().ok_or_else(|| not_pem(&files.chain, "chain of certificates in PEM"))?;
        let key = PKey::private_key_from_pem_callback(&read_secret(&files.key)?, |_| Ok(0));
        let key = key.map_err(|_| not_pem(&files.key, "private key in PEM without a password"))?;
        let belongs = own.public_key().is_ok_and(|public| public.public_eq(&key));
        if !belongs {
            return Err(TlsError::Mismatch { chain: files.chain.clone(), key: files.key.clone() });
        }
        let names = own.subject_alt_names().map_or_else(Vec::new, |names| {
            names.iter().filter_map(|name| name.dnsname().map(str::to_owned)).collect()
        });
        let expires_at_s = unix(own.not_after()).unwrap_or(0);
        Ok(Certificate { own, chain: chain.collect(), key, names, expires_at_s })
    }

    /// Says whether it is valid at a time, in seconds since the Unix epoch.
    pub(super) fn check_time(&self, files: &CertificateFiles, now_s: u64) -> Result<(), TlsError> {
        let now_s = i64::try_from(now_s).unwrap_or(i64::MAX);
        let from = unix(self.own.not_before()).unwrap_or(i64::MAX);
        if (from..=self.expires_at_s).contains(&now_s) {
            return Ok(());
        }
        let (from, until) = (self.own.not_before().to_string(), self.own.not_after().to_string());
        Err(TlsError::NotNow { chain: files.chain.clone(), from, until })
    }
}

fn unix(time: &Asn1TimeRef) -> Result<i64, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(i64::from(since.days) * 86_400 + i64::from(since.secs))
}

/// Reads a file that everybody may read.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    read_with_mode(path).map(|(bytes, _)| bytes)
}

/// Reads a file, unless everybody may.
pub(super) fn read_secret(path: &Path) -> Result<Vec<u8>, TlsError> {
    match read_with_mode(path)? {
        (_, mode) if mode & 0o007 != 0 => Err(TlsError::Exposed { path: path.to_owned(), mode }),
        (bytes, _) => Ok(bytes),
    }
}

fn read_with_mode(path: &Path) -> Result<(Vec<u8>, u32), TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let text = format!("it has more than {FILE_BYTES_MAX} bytes");
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, text)));
    }
    Ok((bytes, mode))
}
