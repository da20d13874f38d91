//! One connection: connect, shake hands, ask, read the answer, wait for the end.
//!
//! Invariant: every connection ends in exactly one outcome, within a few timeouts.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use super::any_certificate::AnyCertificate;
use crate::http1::{Endpoint, GetRequests, parse};
use crate::keys::Key;

/// Sessions a client remembers: one is used up by each connection, and a connection may bring several.
const SESSIONS_MAX: usize = 8;
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// How a connection went that had a redirect on it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) resumed: bool,
    pub(super) version: Option<String>,
}

/// One thread's side of its connections, one after the other.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: Endpoint,
    requests: GetRequests,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    timeout: Duration,
}

impl Client {
    /// Sets up connections to `endpoint`.
    ///
    /// # Errors
    /// A build of the TLS library without the versions this needs.
    pub(super) fn new(endpoint: &Endpoint, resume: bool, timeout: Duration) -> anyhow::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(schemes)))
            .with_no_client_auth();
        config.resumption =
            if resume { Resumption::in_memory_sessions(SESSIONS_MAX) } else { Resumption::disabled() };
        Ok(Self {
            endpoint: endpoint.clone(),
            requests: GetRequests::new(endpoint, "Connection: close\r\n"),
            config: Arc::new(config),
            name: ServerName::try_from("localhost")?,
            timeout,
        })
    }

    /// Asks for one key on a connection of its own.
    ///
    /// # Errors
    /// The name under which the failure is counted.
    pub(super) fn ask(&mut self, key: Key<'_>) -> Result<Done, String> {
        let address = self.endpoint.address();
        let socket = TcpStream::connect_timeout(&address, self.timeout).map_err(named("connect"))?;
        let limits =
            [socket.set_read_timeout(Some(self.timeout)), socket.set_write_timeout(Some(self.timeout))];
        limits
            .into_iter()
            .chain([socket.set_nodelay(true)])
            .collect::<io::Result<()>>()
            .map_err(named("connect"))?;
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(|_| "handshake".to_owned())?;
        let mut stream = StreamOwned::new(connection, socket);
        stream.write_all(self.requests.for_code(key.code)).map_err(named("handshake"))?;
        read_redirect(&mut stream, key)?;
        let resumed = stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
        let version = stream.conn.protocol_version().and_then(|version| version.as_str()).map(str::to_owned);
        Ok(Done { resumed, version })
    }
}

/// Reads one answer and whatever follows, to the end of the connection.
fn read_redirect(stream: &mut impl Read, key: Key<'_>) -> Result<(), String> {
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let mut filled = 0;
    let mut judged = None;
    loop {
        let room = answer.get_mut(filled..).filter(|room| !room.is_empty()).ok_or("bad_answer")?;
        match stream.read(room) {
            Ok(0) => return judged.unwrap_or_else(|| Err("closed".to_owned())),
            // Whoever closes without saying so inside TLS has still answered.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && judged.is_some() => {
                return judged.unwrap_or(Ok(()));
            }
            Err(error) => return Err(named("read")(error)),
            Ok(read) => filled += read,
        }
        if judged.is_none() {
            judged = match parse(&answer[..filled]) {
                Ok(Some(response)) => Some(crate::redirect::judge(&response, key.long_url)),
                Ok(None) => None,
                Err(_) => return Err("bad_answer".to_owned()),
            };
        }
    }
}

fn named(step: &'static str) -> impl Fn(io::Error) -> String {
    move |error| match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => format!("{step}_timeout"),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            "closed".to_owned()
        }
        _ => step.to_owned(),
    }
}
