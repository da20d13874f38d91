//! Answers that carry JSON.

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderName, HeaderValue, StatusCode};
use linklog::Code;
use serde::Serialize;

use crate::auth::Standing;
use crate::problem::CONTENT_TYPE_PROBLEM;

/// Builds an answer.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let bytes = serde_json::to_vec(body).expect("answers are strings, numbers and lists");
    bytes_of_json(status, bytes)
}

/// Builds an answer of JSON that is already written.
pub(super) fn bytes_of_json(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Builds an answer that tells a problem in another API's words.
pub(super) fn problem_json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = json(status, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_PROBLEM));
    response
}

/// Builds an answer without a body.
pub(super) fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Adds the entity tag of a link: its version.
pub(super) fn with_version(mut response: Response, version: u64) -> Response {
    let tag = HeaderValue::try_from(format!("\"{version}\"")).expect("digits and quotes are visible ASCII");
    response.headers_mut().insert(ETAG, tag);
    response
}

/// Adds where a new link is.
pub(super) fn with_location(mut response: Response, code: &Code, domain: Option<&str>) -> Response {
    let location = match domain {
        None => format!("/v1/links/{code}"),
        Some(domain) => format!("/v1/links/{code}?domain={domain}"),
    };
    let location = HeaderValue::try_from(location).expect("codes and hosts are visible ASCII");
    response.headers_mut().insert(LOCATION, location);
    response
}

/// Says that the answer is that of an earlier request.
pub(super) fn with_replayed(mut response: Response) -> Response {
    let name = HeaderName::from_static("idempotency-replayed");
    response.headers_mut().insert(name, HeaderValue::from_static("true"));
    response
}

/// Says that the proxies were not waited for, if that was asked for.
pub(super) fn with_preference(mut response: Response, applied: bool) -> Response {
    if applied {
        let name = HeaderName::from_static("preference-applied");
        response.headers_mut().insert(name, HeaderValue::from_static("respond-async"));
    }
    response
}

/// Says where a token stands with its limits: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).
pub(super) fn add_limits(headers: &mut http::HeaderMap, standings: &[Standing]) {
    if standings.is_empty() {
        return;
    }
    let join = |item: fn(&Standing) -> String| standings.iter().map(item).collect::<Vec<_>>().join(", ");
    let policy = join(|s| format!("\"{}\";q={};w={}", s.name, s.limit, s.period_s));
    let now = join(|s| format!("\"{}\";r={};t={}", s.name, s.left, s.reset.as_secs_f64().ceil()));
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", now)] {
        let value = HeaderValue::try_from(value).expect("names and numbers are visible ASCII");
        headers.insert(HeaderName::from_static(name), value);
    }
}
