//! Bodies of requests, read whole and within bounds: of length, of time, and of memory over all requests together.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// How long a body may take to arrive.
pub const READ_TIME_MAX: Duration = Duration::from_secs(30);
/// How many bytes of bodies may be in memory at once, whoever sent them; further requests wait.
pub const BODIES_BYTES_MAX: usize = 128 << 20;
/// How much of a body that is too large is read and thrown away, so that its sender gets to read why.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
/// How long that may take.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(5);
/// What a permit stands for.
const UNIT_BYTES: usize = 1024;

/// Why there is no body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyError {
    /// Nothing in it.
    #[error("the body is empty: send JSON")]
    Empty,
    /// Not declared as JSON.
    #[error("the Content-Type must be {allowed}")]
    ContentType {
        /// What is allowed.
        allowed: &'static str,
    },
    /// Too large.
    #[error("the body has more than {max} bytes")]
    TooLarge {
        /// The limit, in bytes.
        max: usize,
    },
    /// Too slow.
    #[error("the body did not arrive within {} s", READ_TIME_MAX.as_secs())]
    TooSlow,
    /// The connection broke, or the framing is wrong.
    #[error("the body broke off")]
    Broken,
}

/// Which body is expected.
#[derive(Clone, Copy)]
pub struct Expected {
    /// Largest, in bytes.
    pub bytes_max: usize,
    /// Whether `application/merge-patch+json` will do besides `application/json`.
    pub merge_patch: bool,
}

/// Bounds the bytes of all bodies in memory.
#[derive(Clone, Debug)]
pub struct BodyBudget {
    units: Arc<Semaphore>,
}

/// A body, and its share of the memory.
pub struct Held<'a> {
    /// The bytes.
    pub bytes: Bytes,
    _share: SemaphorePermit<'a>,
}

impl Default for BodyBudget {
    fn default() -> BodyBudget {
        BodyBudget { units: Arc::new(Semaphore::new(BODIES_BYTES_MAX / UNIT_BYTES)) }
    }
}

impl BodyBudget {
    /// Reads a body of JSON.
    ///
    /// # Errors
    /// It is not declared as JSON, empty, too large, too slow or broken.
    pub async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        expected: Expected,
    ) -> Result<Held<'_>, BodyError> {
        check_content_type(headers, expected.merge_patch)?;
        let held = self.hold(headers, body, expected.bytes_max).await?;
        if held.bytes.is_empty() { Err(BodyError::Empty) } else { Ok(held) }
    }

    /// Reads a form, however it is declared; it may be empty.
    ///
    /// # Errors
    /// It is too large, too slow or broken.
    pub async fn read_form(
        &self,
        headers: &HeaderMap,
        body: Body,
        bytes_max: usize,
    ) -> Result<Held<'_>, BodyError> {
        self.hold(headers, body, bytes_max).await
    }

    async fn hold(&self, headers: &HeaderMap, body: Body, max: usize) -> Result<Held<'_>, BodyError> {
        let declared =
            headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|declared| declared > max) {
            // Who waits for leave to send is simply not given it.
            if !headers.contains_key(EXPECT) {
                discard(body).await;
            }
            return Err(BodyError::TooLarge { max });
        }
        let units = declared.unwrap_or(max).div_ceil(UNIT_BYTES).min(BODIES_BYTES_MAX / UNIT_BYTES);
        let share = self.units.acquire_many(units as u32).await.map_err(|_| BodyError::Broken)?;
        let bytes = collect(body, declared.unwrap_or(0), max).await?;
        Ok(Held { bytes, _share: share })
    }
}

/// Checks that a body is declared as lines of JSON.
///
/// # Errors
/// It is not.
pub(super) fn check_lines(headers: &HeaderMap) -> Result<(), BodyError> {
    const NAMES: [&str; 4] =
        ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if NAMES.iter().any(|name| media_type.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    Err(BodyError::ContentType { allowed: "application/x-ndjson" })
}

fn check_content_type(headers: &HeaderMap, merge_patch: bool) -> Result<(), BodyError> {
    let allowed =
        if merge_patch { "application/merge-patch+json or application/json" } else { "application/json" };
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.map(|value| value.split(';').next().unwrap_or_default().trim());
    let is = |name: &str| media_type.is_some_and(|found| found.eq_ignore_ascii_case(name));
    if is("application/json") || merge_patch && is("application/merge-patch+json") {
        return Ok(());
    }
    Err(BodyError::ContentType { allowed })
}

async fn collect(body: Body, declared: usize, max: usize) -> Result<Bytes, BodyError> {
    let deadline = Instant::now() + READ_TIME_MAX;
    let mut body = pin!(body);
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    loop {
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| BodyError::TooSlow)?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        let so_far = first.as_ref().map_or(all.len(), Bytes::len);
        if so_far + data.len() > max {
            drop((first, all));
            discard(body).await;
            return Err(BodyError::TooLarge { max });
        }
        // Most bodies come in one piece, which needs no copy.
        match first.take() {
            None if all.is_empty() => first = Some(data),
            None => all.extend_from_slice(&data),
            Some(before) => {
                all.reserve(declared.max(before.len() + data.len()));
                all.extend_from_slice(&before);
                all.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// Reads on without keeping anything: a sender whose connection is reset while it sends never sees the answer.
async fn discard(body: impl http_body_util::BodyExt<Data = Bytes>) {
    let deadline = Instant::now() + DISCARD_TIME_MAX;
    let mut body = pin!(body);
    let mut discarded = 0;
    while discarded < DISCARDED_BYTES_MAX {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => discarded += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::stream;
    use http::HeaderValue;
    use std::convert::Infallible;

    const EXPECTED: Expected = Expected { bytes_max: 8, merge_patch: false };

    fn json() -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))])
    }

    fn pieces(pieces: &[&'static str]) -> Body {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, Infallible>(Bytes::from_static(piece.as_bytes()))).collect();
        Body::from_stream(stream::iter(pieces))
    }

    fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, BodyError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let budget = BodyBudget::default();
        runtime.block_on(async { budget.read(headers, body, EXPECTED).await.map(|held| held.bytes) })
    }

    #[test]
    fn a_body_is_the_same_in_however_many_pieces_it_comes() {
        for body in [&["12345678"][..], &["12", "345678"], &["1", "2", "345", "678"]] {
            assert_eq!(read(&json(), pieces(body)).unwrap(), "12345678");
        }
    }

    #[test]
    fn a_body_beyond_the_limit_is_refused_declared_or_not() {
        let too_large = Err(BodyError::TooLarge { max: 8 });
        assert_eq!(read(&json(), pieces(&["1234", "56789"])), too_large);
        let mut headers = json();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(9));
        assert_eq!(read(&headers, pieces(&["123456789"])), too_large);
    }

    #[test]
    fn a_body_that_is_empty_or_not_declared_as_json_is_refused() {
        assert_eq!(read(&json(), pieces(&[])), Err(BodyError::Empty));
        let wrong = Err(BodyError::ContentType { allowed: "application/json" });
        assert_eq!(read(&HeaderMap::new(), pieces(&["{}"])), wrong);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        assert_eq!(read(&HeaderMap::from_iter([(CONTENT_TYPE, form)]), pieces(&["{}"])), wrong);
    }
}
