//! A visitor with TLS: which names and versions it asks for, what it is shown, and the ticket it comes back with.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslMethod, SslSession, SslSessionCacheMode, SslStream, SslVerifyMode,
    SslVersion,
};
use openssl::x509::X509;

use crate::client::DEADLINE;

/// A self-signed certificate in two files of a folder.
pub(crate) struct Pair {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    /// Makes the certificate, or replaces it.
    pub(crate) fn make(dir: &Path, file: &str, names: &[&str]) -> Pair {
        let pair = Pair { chain: dir.join(format!("{file}.pem")), key: dir.join(format!("{file}-key.pem")) };
        let made =
            rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let made = made.unwrap();
        std::fs::write(&pair.chain, made.cert.pem()).unwrap();
        write_secret(&pair.key, made.signing_key.serialize_pem().as_bytes());
        pair
    }

    pub(crate) fn shown(&self) -> X509 {
        X509::from_pem(&std::fs::read(&self.chain).unwrap()).unwrap()
    }

    pub(crate) fn config(&self) -> String {
        format!("[[tls.certificate]]\nchain = {:?}\nkey = {:?}\n", self.chain, self.key)
    }
}

pub(crate) fn write_secret(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Keeps the last ticket it was given.
pub(crate) struct TlsVisitor {
    context: SslContext,
    ticket: Arc<Mutex<Option<SslSession>>>,
}

/// An open connection.
pub(crate) struct Connected(pub(crate) SslStream<TcpStream>);

impl TlsVisitor {
    pub(crate) fn new() -> TlsVisitor {
        TlsVisitor::with(SslVersion::TLS1_2, SslVersion::TLS1_3, &[])
    }

    /// Speaks these versions, and offers protocols as RFC 7301 writes them.
    pub(crate) fn with(least: SslVersion, most: SslVersion, protocols: &[u8]) -> TlsVisitor {
        let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
        context.set_verify(SslVerifyMode::NONE);
        // Versions before 1.2 are only spoken below the usual level of security.
        context.set_security_level(0);
        context.set_min_proto_version(Some(least)).unwrap();
        context.set_max_proto_version(Some(most)).unwrap();
        if !protocols.is_empty() {
            context.set_alpn_protos(protocols).unwrap();
        }
        context.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
        let ticket = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&ticket);
        context.set_new_session_callback(move |_, session| *kept.lock().unwrap() = Some(session));
        TlsVisitor { context: context.build(), ticket }
    }

    /// Shakes hands, with the ticket of the last time if there is one.
    pub(crate) fn try_connect(&self, address: SocketAddr, name: Option<&str>) -> Option<Connected> {
        self.try_connect_after(b"", address, name)
    }

    /// As [`TlsVisitor::try_connect`], after bytes in the clear.
    #[allow(unsafe_code)]
    pub(crate) fn try_connect_after(
        &self,
        first: &[u8],
        address: SocketAddr,
        name: Option<&str>,
    ) -> Option<Connected> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(first).unwrap();
        let mut ssl = Ssl::new(&self.context).unwrap();
        if let Some(name) = name {
            ssl.set_hostname(name).unwrap();
        }
        if let Some(ticket) = self.ticket.lock().unwrap().as_ref() {
            // SAFETY: the session comes from a connection of the same context.
            unsafe { ssl.set_session(ticket) }.unwrap();
        }
        ssl.connect(stream).ok().map(Connected)
    }

    pub(crate) fn connect(&self, address: SocketAddr, name: Option<&str>) -> Connected {
        self.try_connect(address, name).expect("a handshake")
    }

    /// The certificate one is shown who asks for a name.
    pub(crate) fn shown(&self, address: SocketAddr, name: Option<&str>) -> X509 {
        self.connect(address, name).0.ssl().peer_certificate().unwrap()
    }

    /// Asks for something, so that the ticket arrives; says whether the connection was resumed.
    pub(crate) fn visit(&self, address: SocketAddr) -> bool {
        let mut connected = self.connect(address, Some("go.example"));
        let answer = connected.ask("GET / HTTP/1.1\r\nHost: go.example\r\nConnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        // Whoever goes without a goodbye cannot use a ticket of TLS 1.2 again.
        connected.0.shutdown().unwrap();
        connected.0.ssl().session_reused()
    }
}

impl Connected {
    /// Sends requests, the last of which closes the connection, and reads to the end.
    pub(crate) fn ask(&mut self, requests: &str) -> String {
        self.0.write_all(requests.as_bytes()).unwrap();
        let mut answers = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match self.0.ssl_read(&mut chunk) {
                Ok(n) => answers.extend_from_slice(&chunk[..n]),
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => break,
                Err(error) => panic!("{error} after {}", answers.escape_ascii()),
            }
        }
        String::from_utf8(answers).unwrap()
    }

    /// Sends a request and reads what comes at once: an answer.
    pub(crate) fn ask_on(&mut self, request: &str) -> String {
        self.0.write_all(request.as_bytes()).unwrap();
        let mut chunk = [0; 4096];
        let read = self.0.read(&mut chunk).unwrap();
        String::from_utf8(chunk[..read].to_vec()).unwrap()
    }
}
