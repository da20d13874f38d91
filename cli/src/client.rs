//! Requests to the API: HTTP/1.1, plain or over TLS, one connection that is used again.
//!
//! Owned here: bodies go both ways at the same time, since an import reads what becomes of its lines while it sends them; nothing waits for ever;
//! and a request is sent again only if it does no more than once: what reads, what carries an `Idempotency-Key`, and anything that was put off
//! (429, 503) before anything was done.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::problem::CallError;

/// How long connecting may take, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long an answer may take to begin, and any piece of it to follow.
pub const ANSWER_MAX: Duration = Duration::from_secs(120);
/// Largest answer that is read whole, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How often a request is sent that may be sent again.
const TRIES_MAX: u32 = 5;
/// How long a connection that was used before may take to be ready again; then another one is made.
const READY_MAX: Duration = Duration::from_secs(1);
/// Longest wait before the next try; who is to wait longer is told so.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// A body on its way out.
pub type Body = BoxBody<Bytes, io::Error>;

/// Returns a body of bytes that are there.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// An API, and who asks it.
pub struct Client {
    base: Url,
    headers: HeaderMap,
    tls: Option<Arc<rustls::ClientConfig>>,
    open: Option<SendRequest<Body>>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// How.
    pub method: Method,
    /// What, from the slash on, with the query.
    pub path: String,
    /// With which headers besides.
    pub headers: Vec<(HeaderName, String)>,
    /// With which body.
    pub body: Option<Bytes>,
}

impl Ask {
    /// Returns a request without a body.
    pub fn new(method: Method, path: impl Into<String>) -> Ask {
        Ask { method, path: path.into(), headers: Vec::new(), body: None }
    }

    /// Adds a body of JSON.
    #[must_use]
    pub fn json(self, value: &Value) -> Ask {
        let mut ask = self.header(CONTENT_TYPE, "application/json");
        ask.body = Some(value.to_string().into());
        ask
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Ask {
        self.headers.push((name, value.into()));
        self
    }

    fn may_be_sent_again(&self) -> bool {
        self.method == Method::GET || self.headers.iter().any(|(name, _)| name == "idempotency-key")
    }
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// Returns the body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value, CallError> {
        serde_json::from_slice(&self.body).map_err(|_| CallError::NotTheApi { status: self.status.as_u16() })
    }
}

impl Client {
    /// Returns a client of the API at `base`; `authorization` goes with every request.
    ///
    /// # Errors
    /// The system's certificates cannot be read, or the header cannot be sent.
    pub fn new(base: &Url, headers: &[(HeaderName, String)]) -> Result<Client, CallError> {
        let mut map = HeaderMap::new();
        map.insert(USER_AGENT, HeaderValue::from_static(concat!("signpost/", env!("CARGO_PKG_VERSION"))));
        map.insert(ACCEPT, HeaderValue::from_static("*/*"));
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value).map_err(|_| CallError::BadToken)?;
            value.set_sensitive(true);
            map.insert(name.clone(), value);
        }
        let tls = if base.scheme() == "https" { Some(tls()?) } else { None };
        Ok(Client { base: base.clone(), headers: map, tls, open: None })
    }

    /// Returns a client of the API that asks with a token.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn of(settings: &crate::settings::Settings) -> Result<Client, CallError> {
        let token = settings.token.as_ref().map(|token| (AUTHORIZATION, format!("Bearer {token}")));
        Client::new(&settings.url, token.as_slice())
    }

    /// Sends a request and reads its answer; a refusal is an error. Sent again, if it may be, when the connection breaks or the server asks
    /// for patience.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn call(&mut self, ask: &Ask) -> Result<Answer, CallError> {
        let mut wait = Duration::from_millis(200);
        for attempt in 1.. {
            let error = match self.try_call(ask).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let again = ask.may_be_sent_again();
            let after = match &error {
                CallError::Lost { .. } | CallError::Connect { .. } if again => Some(wait),
                CallError::Refused { retry_after, .. } if again => *retry_after,
                error => error.put_off(),
            };
            match after.filter(|after| *after <= WAIT_MAX) {
                Some(after) if attempt < TRIES_MAX => tokio::time::sleep(after).await,
                _ => return Err(error),
            }
            wait *= 2;
        }
        unreachable!("the last attempt returns")
    }

    async fn try_call(&mut self, ask: &Ask) -> Result<Answer, CallError> {
        let body = whole(ask.body.clone().unwrap_or_default());
        let response = self.send(ask, body).await?;
        let (head, body) = response.into_parts();
        let body = read_whole(body).await?;
        let answer = Answer { status: head.status, headers: head.headers, body };
        refusal(&answer).map_or(Ok(answer), Err)
    }

    /// Sends a request with a body that may still grow, and returns its answer as it begins; a refusal is an error.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn stream(&mut self, ask: &Ask, body: Body) -> Result<Response<Incoming>, CallError> {
        let response = self.send(ask, body).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let answer = Answer { status: head.status, headers: head.headers, body: read_whole(body).await? };
        Err(refusal(&answer).unwrap_or(CallError::NotTheApi { status: answer.status.as_u16() }))
    }

    async fn send(&mut self, ask: &Ask, body: Body) -> Result<Response<Incoming>, CallError> {
        let mut sender = match self.open.take() {
            Some(mut open) => match timeout(READY_MAX, open.ready()).await {
                Ok(Ok(())) => open,
                _ => self.connect().await?,
            },
            None => self.connect().await?,
        };
        let path = format!("{}{}", self.base.path().trim_end_matches('/'), ask.path);
        let mut request = Request::new(body);
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = path.parse().map_err(|_| CallError::BadRequest { what: "the path" })?;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(HOST, self.host()?);
        for (name, value) in &ask.headers {
            let value =
                HeaderValue::from_str(value).map_err(|_| CallError::BadRequest { what: "a header" })?;
            request.headers_mut().insert(name.clone(), value);
        }
        let lost = |error: hyper::Error| CallError::Lost { cause: Box::new(error) };
        let sent = timeout(ANSWER_MAX, sender.send_request(request)).await;
        let response = sent.map_err(|_| CallError::Silent)?.map_err(lost)?;
        self.open = Some(sender);
        Ok(response)
    }

    fn host(&self) -> Result<HeaderValue, CallError> {
        let host = self.base.host_str().unwrap_or_default();
        let host = self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        HeaderValue::from_str(&host).map_err(|_| CallError::BadRequest { what: "the host" })
    }

    async fn connect(&self) -> Result<SendRequest<Body>, CallError> {
        let connecting = timeout(CONNECT_MAX, self.dial()).await;
        connecting
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
            .map_err(|cause| CallError::Connect { address: self.base.to_string(), cause })
    }

    async fn dial(&self) -> io::Result<SendRequest<Body>> {
        let host = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.base.port_or_known_default().unwrap_or(443);
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return handshake(stream).await };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        handshake(TlsConnector::from(tls.clone()).connect(name, stream).await?).await
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> io::Result<SendRequest<Body>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Whoever waits for an answer learns how it ended.
    tokio::spawn(connection);
    Ok(sender)
}

fn tls() -> Result<Arc<rustls::ClientConfig>, CallError> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(CallError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Reads the next piece of an answer; `None` at its end.
///
/// # Errors
/// The connection broke, or nothing came for too long.
pub async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, CallError> {
    loop {
        match timeout(ANSWER_MAX, body.frame()).await {
            Err(_) => return Err(CallError::Silent),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(CallError::Lost { cause: Box::new(error) }),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn read_whole(mut body: Incoming) -> Result<Bytes, CallError> {
    let mut all = Vec::new();
    while let Some(data) = piece(&mut body).await? {
        if all.len() + data.len() > ANSWER_BYTES_MAX {
            return Err(CallError::TooMuch { max: ANSWER_BYTES_MAX });
        }
        all.extend_from_slice(&data);
    }
    Ok(all.into())
}

fn refusal(answer: &Answer) -> Option<CallError> {
    if answer.status.is_success() {
        return None;
    }
    let retry_after = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let status = answer.status.as_u16();
    let problem = serde_json::from_slice(&answer.body).ok();
    Some(match problem {
        Some(problem) => CallError::Refused { problem, retry_after: retry_after.map(Duration::from_secs) },
        None => CallError::NotTheApi { status },
    })
}
