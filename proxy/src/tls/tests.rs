//! Tickets over time, between proxies that share a secret, without their processes.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext, SslMethod, SslSession, SslSessionCacheMode, SslVerifyMode, SslVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;
use crate::config::CertificateFiles;

const PERIOD_S: u64 = 3_600;
const START_S: u64 = 1_800_000_000 / PERIOD_S * PERIOD_S;

/// Two clocks, so that tests do not turn each other's.
static AFTER_START_S: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

fn clock<const N: usize>() -> u64 {
    START_S + AFTER_START_S[N].load(Ordering::Relaxed)
}

fn certificate(dir: &Path) -> CertificateFiles {
    let made = rcgen::generate_simple_self_signed(["go.example".to_owned()]).unwrap();
    let files = CertificateFiles { chain: dir.join("chain.pem"), key: dir.join("key.pem") };
    std::fs::write(&files.chain, made.cert.pem()).unwrap();
    write_secret(&files.key, made.signing_key.serialize_pem().as_bytes());
    files
}

fn write_secret(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn proxy(dir: &Path, secret: Option<&[u8]>, clock: Clock) -> Tls {
    let ticket_secret = secret.map(|secret| {
        let path = dir.join(format!("secret-{:02x}", secret[0]));
        write_secret(&path, secret);
        path
    });
    let check_every = Duration::from_secs(60);
    let certificates = vec![certificate(dir)];
    Tls::load_at(TlsFiles { certificates, ticket_secret, ticket_period_s: PERIOD_S, check_every }, clock)
        .unwrap()
}

/// A visitor who keeps the last ticket.
struct Visitor {
    context: SslContext,
    ticket: Arc<Mutex<Option<SslSession>>>,
}

impl Visitor {
    fn new(version: SslVersion) -> Visitor {
        let ticket = Arc::new(Mutex::new(None));
        let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
        context.set_verify(SslVerifyMode::NONE);
        context.set_min_proto_version(Some(version)).unwrap();
        context.set_max_proto_version(Some(version)).unwrap();
        context.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
        let kept = Arc::clone(&ticket);
        context.set_new_session_callback(move |_, session| *kept.lock().unwrap() = Some(session));
        Visitor { context: context.build(), ticket }
    }

    fn forget(&self) {
        *self.ticket.lock().unwrap() = None;
    }

    /// Connects, and says whether the ticket was accepted.
    #[allow(unsafe_code)]
    fn is_resumed_at(&self, proxy: &Tls) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (ours, theirs) = duplex(64 << 10);
            let mut ssl = Ssl::new(&self.context).unwrap();
            if let Some(ticket) = self.ticket.lock().unwrap().as_ref() {
                // SAFETY: the session comes from a connection of the same context.
                unsafe { ssl.set_session(ticket) }.unwrap();
            }
            let mut client = SslStream::new(ssl, ours).unwrap();
            let (server, client_done) = tokio::join!(proxy.accept(theirs, false), client.connect());
            client_done.unwrap();
            let mut server = server.unwrap();
            let mut byte = [0];
            let (written, read) = tokio::join!(server.write_all(b"x"), client.read_exact(&mut byte));
            written.unwrap();
            read.unwrap();
            let resumed = client.ssl().session_reused();
            // Whoever goes without a goodbye cannot use a ticket of TLS 1.2 again.
            let (said, heard) = tokio::join!(client.shutdown(), server.read(&mut byte));
            said.unwrap();
            assert_eq!(heard.unwrap(), 0);
            resumed
        })
    }
}

const VERSIONS: [SslVersion; 2] = [SslVersion::TLS1_2, SslVersion::TLS1_3];

#[test]
fn a_ticket_works_at_every_proxy_with_the_secret_and_ends_with_the_period_after_its_own() {
    let (dir, set) = (tempfile::tempdir().unwrap(), |s| AFTER_START_S[0].store(s, Ordering::Relaxed));
    let one = proxy(dir.path(), Some(&[1; 32]), clock::<0>);
    let two = proxy(dir.path(), Some(&[1; 32]), clock::<0>);
    let stranger = proxy(dir.path(), Some(&[2; 32]), clock::<0>);
    for version in VERSIONS {
        set(0);
        let visitor = Visitor::new(version);
        assert!(!visitor.is_resumed_at(&one));
        assert!(visitor.is_resumed_at(&two), "{version:?}");
        assert!(!visitor.is_resumed_at(&stranger), "{version:?}");
        for (made_s, used_s, works) in [
            (0, PERIOD_S - 1, true),
            (0, 2 * PERIOD_S - 1, true),
            (PERIOD_S - 1, 2 * PERIOD_S - 1, true),
            (0, 2 * PERIOD_S, false),
            (PERIOD_S - 1, 2 * PERIOD_S, false),
            // The other proxy's clock is behind.
            (PERIOD_S, PERIOD_S - 1, true),
        ] {
            visitor.forget();
            set(made_s);
            assert!(!visitor.is_resumed_at(&one));
            set(used_s);
            assert_eq!(visitor.is_resumed_at(&two), works, "{version:?}: {made_s} s, {used_s} s");
        }
    }
}

#[test]
fn without_a_file_the_secret_is_of_this_process_and_stays_over_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let one = proxy(dir.path(), None, clock::<1>);
    let two = proxy(dir.path(), None, clock::<1>);
    for version in VERSIONS {
        let visitor = Visitor::new(version);
        visitor.is_resumed_at(&one);
        assert!(visitor.is_resumed_at(&one), "{version:?}");
        assert!(!visitor.is_resumed_at(&two), "{version:?}");
        visitor.forget();
        visitor.is_resumed_at(&one);
        one.reload().unwrap();
        assert!(visitor.is_resumed_at(&one), "{version:?}");
    }
}
