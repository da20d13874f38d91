//! TLS with visitors: certificates, tickets, handshakes, and taking new files without a restart.
//!
//! OpenSSL of the system does the work. What a connection needs hangs together in a `Loaded`, which is replaced as a whole: a
//! handshake sees the old files or the new ones, and files that do not fit together change nothing. Deliberately not here: the
//! deadline of a handshake and what is spoken afterwards ([`crate::http::begin`]), and when to look at the files
//! ([`crate::watch`]).

mod certificate;
mod choice;
mod context;
#[cfg(test)]
mod tests;
mod tickets;

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use openssl::ssl::{NameType, SniError, SslContext};
use parking_lot::Mutex;
use pingora::protocols::tls::SslStream;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::certificate::TlsError;
use self::certificate::{Certificate, read_secret};
use self::choice::Choice;
use self::tickets::{Clock, SECRET_BYTES_MIN, Tickets};
use crate::config::TlsFiles;

/// TLS as the files say that it is.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    clock: Clock,
    loaded: ArcSwap<Loaded>,
    /// What the files looked like before they were last read, well or not; held while they are read.
    seen: Mutex<Seen>,
    reloads: AtomicU64,
    failures: AtomicU64,
}

/// What was made of the files.
#[derive(Debug)]
struct Loaded {
    /// Shows the first certificate, or that for the name asked for.
    context: SslContext,
    tickets: Arc<Tickets>,
    certificates: Vec<Shown>,
}

/// What is told about a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The DNS names in it.
    pub names: Vec<String>,
    /// When it ends, seconds since the Unix epoch.
    pub expires_at_s: i64,
}

/// Device, inode, length and time of the last change of every file, as far as there is one.
type Seen = Vec<Option<(u64, u64, u64, i64, i64)>>;

/// A handshake did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("the handshake failed")]
pub(crate) struct HandshakeFailed;

impl Shown {
    /// For commands.
    pub fn to_json(&self) -> Value {
        json!({ "names": self.names, "expires_at_s": self.expires_at_s })
    }
}

impl Tls {
    /// Reads every file.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(files: TlsFiles) -> Result<Tls, TlsError> {
        Tls::load_at(files, || crate::http::clock::now_ms() / 1_000)
    }

    fn load_at(files: TlsFiles, clock: Clock) -> Result<Tls, TlsError> {
        let seen = look(&files);
        let tickets = read_tickets(&files, clock)?;
        let tickets = match tickets {
            Some(tickets) => tickets,
            None => Tickets::random(files.ticket_period_s, clock).map_err(refused("a ticket key"))?,
        };
        let (certificates, late) = read_certificates(&files, clock)?;
        // Better a visitor who is warned than one who is turned away.
        late.into_iter()
            .for_each(|problem| tracing::warn!(%problem, "serving a certificate that is not valid"));
        let loaded = Loaded::new(certificates, Arc::new(tickets))?;
        Ok(Tls {
            files,
            clock,
            loaded: ArcSwap::from_pointee(loaded),
            seen: Mutex::new(seen),
            reloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// Reads every file again; connections that are open keep what they have.
    ///
    /// # Errors
    /// The first thing that is wrong, a certificate that is not valid now among them. Nothing has changed then.
    pub fn reload(&self) -> Result<Vec<Shown>, TlsError> {
        let mut seen = self.seen.lock();
        self.read_again(&mut seen)
    }

    /// As [`Tls::reload`], if a file has changed since it was last read.
    pub fn reload_if_changed(&self) -> Option<Result<Vec<Shown>, TlsError>> {
        let mut seen = self.seen.lock();
        (*seen != look(&self.files)).then(|| self.read_again(&mut seen))
    }

    fn read_again(&self, seen: &mut Seen) -> Result<Vec<Shown>, TlsError> {
        *seen = look(&self.files);
        let loaded = self.read();
        let count = if loaded.is_ok() { &self.reloads } else { &self.failures };
        count.fetch_add(1, Ordering::Relaxed);
        let loaded = loaded?;
        let certificates = loaded.certificates.clone();
        self.loaded.store(Arc::new(loaded));
        Ok(certificates)
    }

    fn read(&self) -> Result<Loaded, TlsError> {
        let tickets = read_tickets(&self.files, self.clock)?;
        let (certificates, late) = read_certificates(&self.files, self.clock)?;
        match late.into_iter().next() {
            Some(problem) => Err(problem),
            // A random secret stays: visitors have tickets.
            None => {
                let kept = || Arc::clone(&self.loaded.load().tickets);
                Loaded::new(certificates, tickets.map_or_else(kept, Arc::new))
            }
        }
    }

    /// The certificates in use, in the order of the configuration.
    pub fn certificates(&self) -> Vec<Shown> {
        self.loaded.load().certificates.clone()
    }

    /// How often files were read again, and how often they were refused.
    pub fn reloads(&self) -> (u64, u64) {
        (self.reloads.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }

    /// Shakes hands. However a peer fails, it is worth no line of the log.
    ///
    /// # Cancel safety
    /// Cancelled, the connection is of no use any more.
    pub(crate) async fn accept<S>(&self, stream: S, http2: bool) -> Result<SslStream<S>, HandshakeFailed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let ssl = context::connection(&self.loaded.load().context, http2);
        let mut stream = ssl.ok().and_then(|ssl| SslStream::new(ssl, stream).ok()).ok_or(HandshakeFailed)?;
        stream.accept().await.map_err(|_| HandshakeFailed)?;
        Ok(stream)
    }
}

impl Loaded {
    fn new(certificates: Vec<Certificate>, tickets: Arc<Tickets>) -> Result<Loaded, TlsError> {
        let mut choice = Choice::default();
        for (place, certificate) in certificates.iter().enumerate() {
            certificate.names.iter().for_each(|name| choice.add(name, place));
        }
        let context = |(place, certificate): (usize, &Certificate)| {
            context::new(certificate, &tickets)
                .map_err(refused(&format!("[[tls.certificate]] number {place}")))
        };
        let mut contexts = certificates.iter().enumerate().map(context);
        let mut first = contexts.next().expect("a configuration with TLS has a certificate")?;
        let others: Vec<SslContext> =
            contexts.map(|context| context.map(|context| context.build())).collect::<Result<_, _>>()?;
        first.set_servername_callback(move |ssl, _| {
            let place = choice.choose(ssl.servername(NameType::HOST_NAME));
            let Some(other) = place.checked_sub(1).and_then(|place| others.get(place)) else { return Ok(()) };
            ssl.set_ssl_context(other).map_err(|_| SniError::ALERT_FATAL)
        });
        let shown = |certificate: &Certificate| Shown {
            names: certificate.names.clone(),
            expires_at_s: certificate.expires_at_s,
        };
        Ok(Loaded { context: first.build(), tickets, certificates: certificates.iter().map(shown).collect() })
    }
}

/// Reads the certificates; those that are not valid now are told apart.
fn read_certificates(files: &TlsFiles, clock: Clock) -> Result<(Vec<Certificate>, Vec<TlsError>), TlsError> {
    let certificates = files.certificates.iter().map(Certificate::read).collect::<Result<Vec<_>, _>>()?;
    let late = certificates.iter().zip(&files.certificates);
    let late = late.filter_map(|(certificate, files)| certificate.check_time(files, clock()).err()).collect();
    Ok((certificates, late))
}

/// Reads the secret of the tickets, if there is a file.
fn read_tickets(files: &TlsFiles, clock: Clock) -> Result<Option<Tickets>, TlsError> {
    let Some(path) = &files.ticket_secret else { return Ok(None) };
    let secret = read_secret(path)?;
    if secret.len() < SECRET_BYTES_MIN {
        return Err(TlsError::ShortSecret { path: path.clone(), bytes: secret.len() });
    }
    Tickets::new(secret, files.ticket_period_s, clock).map(Some).map_err(refused("the ticket secret"))
}

fn refused(what: &str) -> impl FnOnce(openssl::error::ErrorStack) -> TlsError {
    move |source| TlsError::OpenSsl { what: what.to_owned(), source }
}

/// Looks at the files from outside.
fn look(files: &TlsFiles) -> Seen {
    let paths = files.certificates.iter().flat_map(|pair| [&pair.chain, &pair.key]);
    let of = |path: &std::path::PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    };
    paths.chain(&files.ticket_secret).map(of).collect()
}
