//! The server, with whichever library the build has. Their bindings are alike: where they differ, both ways stand side by side.

#[cfg(all(feature = "boring", feature = "openssl"))]
compile_error!("one of the features openssl and boring, not both: their functions have the same names");
#[cfg(not(any(feature = "boring", feature = "openssl")))]
compile_error!("one of the features openssl and boring: cargo build --features openssl");

#[cfg(feature = "boring")]
use boring as library;
#[cfg(feature = "openssl")]
use openssl as library;

use std::io::Write;

use library::pkey::PKey;
use library::ssl::{
    HandshakeError, MidHandshakeSslStream, Ssl, SslContext, SslMethod, SslMode, SslOptions,
    SslSessionCacheMode, SslStream, SslVersion,
};
use library::x509::X509;

use crate::pipe::ServerEnd;

/// As in the proxy.
const CIPHERS: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:\
                       ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
const GROUPS: &str = "X25519:P-256:P-384";

/// Which library this is.
#[cfg(feature = "openssl")]
pub(crate) fn library() -> String {
    openssl::version::version().to_owned()
}

/// Which library this is.
#[cfg(feature = "boring")]
pub(crate) fn library() -> String {
    "BoringSSL".to_owned()
}

pub(crate) struct Server(SslContext);

/// Where a handshake is.
pub(crate) enum Step {
    Waits(Handshake),
    Done(Stream),
}

pub(crate) struct Handshake(MidHandshakeSslStream<ServerEnd>);

pub(crate) struct Stream(SslStream<ServerEnd>);

impl Server {
    pub(crate) fn new(certificate: &str, key: &str) -> anyhow::Result<Server> {
        #[cfg(feature = "openssl")]
        let mut context = SslContext::builder(SslMethod::tls_server())?;
        #[cfg(feature = "boring")]
        let mut context = SslContext::builder(SslMethod::tls())?;
        context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        context.set_cipher_list(CIPHERS)?;
        #[cfg(feature = "openssl")]
        context.set_groups_list(GROUPS)?;
        #[cfg(feature = "boring")]
        context.set_curves_list(GROUPS)?;
        context.set_options(SslOptions::NO_RENEGOTIATION | SslOptions::CIPHER_SERVER_PREFERENCE);
        context.set_mode(SslMode::RELEASE_BUFFERS);
        context.set_read_ahead(true);
        context.set_session_cache_mode(SslSessionCacheMode::OFF);
        #[cfg(feature = "openssl")]
        context.set_num_tickets(1)?;
        // SAFETY: the context is alive; the call sets a number in it.
        #[cfg(feature = "boring")]
        let taken = unsafe { boring_sys::SSL_CTX_set_num_tickets(context.as_ptr(), 1) };
        #[cfg(feature = "boring")]
        anyhow::ensure!(taken == 1, "one ticket is refused");
        let certificate = X509::from_pem(certificate.as_bytes())?;
        let key = PKey::private_key_from_pem(key.as_bytes())?;
        context.set_certificate(&certificate)?;
        context.set_private_key(&key)?;
        Ok(Server(context.build()))
    }

    pub(crate) fn accept(&self, end: ServerEnd) -> anyhow::Result<Step> {
        step(Ssl::new(&self.0)?.accept(end))
    }
}

impl Handshake {
    pub(crate) fn go_on(self) -> anyhow::Result<Step> {
        step(self.0.handshake())
    }
}

fn step(outcome: Result<SslStream<ServerEnd>, HandshakeError<ServerEnd>>) -> anyhow::Result<Step> {
    match outcome {
        Ok(stream) => Ok(Step::Done(Stream(stream))),
        Err(HandshakeError::WouldBlock(waits)) => Ok(Step::Waits(Handshake(waits))),
        Err(other) => anyhow::bail!("the handshake failed: {other}"),
    }
}

impl Stream {
    pub(crate) fn write_byte(&mut self, byte: u8) -> anyhow::Result<()> {
        Ok(self.0.write_all(&[byte])?)
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.0.ssl().session_reused()
    }
}
