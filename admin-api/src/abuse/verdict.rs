//! Asking another service whether targets are harmful: one request for all targets of a request, within a deadline.
//!
//! ```text
//! POST URL   {"urls": ["https://example.com/", …]}
//! 200        {"verdicts": [{"block": false}, {"block": true, "reason": "phishing"}, …]}   as many, in the same order
//! ```
//! Whatever else it answers is no verdict; what follows from that the configuration says ([`WhenSilent`]). Plain HTTP: such a service
//! runs on the same machine or in the same network, and the targets are told to it.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Most questions under way at once; more wait, within their deadline.
const QUESTIONS_MAX: usize = 32;
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Longest reason that is passed on, in characters.
const REASON_CHARS_MAX: usize = 200;

/// What happens to a target when no verdict can be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenSilent {
    /// It is taken.
    Allow,
    /// It is refused, and the client told to try again.
    Refuse,
}

/// Where to ask, and how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerdictOptions {
    /// An address with http://.
    pub url: Uri,
    /// For the whole of a question.
    pub timeout: Duration,
    /// What silence means.
    pub when_silent: WhenSilent,
}

/// Reads the address of a service.
///
/// # Errors
/// What an address looks like.
pub fn address(text: &str) -> Result<Uri, String> {
    let expected = "expected an address with http:// and a host, such as http://127.0.0.1:8500/verdicts";
    let uri: Uri = text.parse().map_err(|_| expected.to_owned())?;
    let right = uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty());
    if right { Ok(uri) } else { Err(expected.to_owned()) }
}

/// One answer.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Verdict {
    /// No link may lead there.
    pub block: bool,
    /// Why, for the client.
    pub reason: Option<String>,
}

/// There is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum VerdictError {
    /// It took too long.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// It cannot be reached.
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    /// The connection failed.
    #[error("the connection failed")]
    Broken(#[from] hyper::Error),
    /// It says that it cannot.
    #[error("it answered with status {0}")]
    Status(u16),
    /// It says too much.
    #[error("the answer has more than {ANSWER_BYTES_MAX} bytes, or broke off")]
    TooLong,
    /// It says something else. What it says may hold targets, which have no place in a log: only where it goes wrong is kept.
    #[error("the answer is not as agreed, at line {line} column {column}")]
    Answer {
        /// From 1.
        line: usize,
        /// In bytes, from 1; 0 at the beginning of a line.
        column: usize,
    },
    /// It leaves some out.
    #[error("{found} verdicts on {asked} targets")]
    Count {
        /// Targets.
        asked: usize,
        /// Verdicts.
        found: usize,
    },
}

impl VerdictError {
    fn not_agreed(error: &serde_json::Error) -> VerdictError {
        VerdictError::Answer { line: error.line(), column: error.column() }
    }
}

/// A service that is asked.
pub struct VerdictService {
    options: VerdictOptions,
    questions: Semaphore,
}

#[derive(Serialize)]
struct Question<'a> {
    urls: &'a [&'a str],
}

#[derive(Deserialize)]
struct Answer {
    verdicts: Vec<Verdict>,
}

impl VerdictService {
    /// Nothing is sent yet.
    pub fn new(options: VerdictOptions) -> VerdictService {
        VerdictService { options, questions: Semaphore::new(QUESTIONS_MAX) }
    }

    /// What silence means.
    pub fn when_silent(&self) -> WhenSilent {
        self.options.when_silent
    }

    /// Asks about targets; as many verdicts, in the same order.
    ///
    /// # Errors
    /// There is no verdict on any of them.
    pub async fn ask(&self, urls: &[&str]) -> Result<Vec<Verdict>, VerdictError> {
        let timeout = self.options.timeout;
        tokio::time::timeout(timeout, self.try_ask(urls)).await.unwrap_or(Err(VerdictError::Late(timeout)))
    }

    async fn try_ask(&self, urls: &[&str]) -> Result<Vec<Verdict>, VerdictError> {
        let _place = self.questions.acquire().await.expect("the semaphore is never closed");
        let uri = &self.options.url;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let stream =
            TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await.map_err(VerdictError::Connect)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the connection, which ends with the sender.
        let connection = tokio::spawn(connection);
        let body = serde_json::to_vec(&Question { urls }).expect("texts have a JSON");
        let request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::HOST, uri.authority().map_or("", |authority| authority.as_str()))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body)))
            .expect("the address was checked when the configuration was read");
        let answer = sender.send_request(request).await?;
        if answer.status() != 200 {
            connection.abort();
            return Err(VerdictError::Status(answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        connection.abort();
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => VerdictError::Broken(*error),
            Err(error) => {
                debug_assert!(error.is::<LengthLimitError>());
                VerdictError::TooLong
            }
        })?;
        let answer = serde_json::from_slice::<Answer>(&body.to_bytes());
        let mut verdicts = answer.map_err(|error| VerdictError::not_agreed(&error))?.verdicts;
        if verdicts.len() != urls.len() {
            return Err(VerdictError::Count { asked: urls.len(), found: verdicts.len() });
        }
        for verdict in &mut verdicts {
            verdict.reason =
                verdict.reason.take().map(|reason| reason.chars().take(REASON_CHARS_MAX).collect());
        }
        Ok(verdicts)
    }
}
