//! The admin API as a client sees it: requests and what their answers mean.

use anyhow::Context;
use serde::Deserialize;
use serde_json::json;

use crate::http1::{Answer, Endpoint, get, post_json};

/// The most links one batch may carry.
pub const BATCH_MAX: usize = 1000;

/// Reads a token from a file.
///
/// # Errors
/// It cannot be read, or holds no token.
pub fn token_in(path: &std::path::Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the token in {}", path.display()))?;
    let token = text.trim().to_owned();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    anyhow::ensure!(is_token, "{}: no token, or one with spaces or control characters", path.display());
    Ok(token)
}

/// Writes requests to one admin API.
#[derive(Clone, Debug)]
pub struct AdminApi {
    endpoint: Endpoint,
    headers: String,
}

/// A link that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Created {
    /// Its code.
    pub code: String,
    /// Its target, as the server keeps it.
    pub long_url: String,
}

/// A link that was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status} {code}")]
pub struct Refused {
    /// The status of the answer, or of the link's own result in a batch.
    pub status: u16,
    /// The stable code of the problem; empty when there is none.
    pub code: String,
    /// When to come back, in seconds, if the server said so.
    pub retry_after_s: Option<u32>,
}

/// Where every member of the fleet is in the log.
#[derive(Clone, Debug, Deserialize)]
pub struct Replication {
    head: Head,
    #[serde(default)]
    members: Vec<Member>,
}

#[derive(Clone, Debug, Deserialize)]
struct Head {
    seq: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Member {
    id: String,
    #[serde(default)]
    applied_seq: u64,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
}

#[derive(Deserialize)]
struct BatchAnswer {
    results: Vec<BatchResult>,
}

#[derive(Deserialize)]
struct BatchResult {
    index: usize,
    status: u16,
    link: Option<Created>,
    error: Option<Problem>,
}

impl AdminApi {
    /// Requests to `endpoint` with a token; `respond_async` asks not to wait for the proxies.
    #[must_use]
    pub fn new(endpoint: Endpoint, token: &str, respond_async: bool) -> Self {
        let prefer = if respond_async { "Prefer: respond-async\r\n" } else { "" };
        Self { endpoint, headers: format!("Authorization: Bearer {token}\r\n{prefer}") }
    }

    /// Where the requests go.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The request that creates one link.
    #[must_use]
    pub fn create(&self, long_url: &str) -> Vec<u8> {
        let body = json!({ "long_url": long_url }).to_string();
        post_json(&self.endpoint, "/v1/links", &self.headers, body.as_bytes())
    }

    /// The request that creates up to [`BATCH_MAX`] links.
    #[must_use]
    pub fn create_batch<S: AsRef<str>>(&self, long_urls: &[S]) -> Vec<u8> {
        let links: Vec<_> =
            long_urls.iter().map(|long_url| json!({ "long_url": long_url.as_ref() })).collect();
        let body = json!({ "links": links }).to_string();
        post_json(&self.endpoint, "/v1/links/batch", &self.headers, body.as_bytes())
    }

    /// A GET of `path`, with its leading slash.
    #[must_use]
    pub fn get(&self, path: &str) -> Vec<u8> {
        get(&self.endpoint, path, &self.headers)
    }

    /// A POST of JSON to `path`.
    #[must_use]
    pub fn post(&self, path: &str, body: &serde_json::Value) -> Vec<u8> {
        post_json(&self.endpoint, path, &self.headers, body.to_string().as_bytes())
    }

    /// The head of a POST of lines of unknown length to `path`.
    #[must_use]
    pub fn post_lines(&self, path: &str) -> Vec<u8> {
        let (authority, headers) = (self.endpoint.authority(), &self.headers);
        format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\
             Connection: close\r\n{headers}\r\n"
        )
        .into_bytes()
    }

    /// The request for the positions of the members.
    #[must_use]
    pub fn replication(&self) -> Vec<u8> {
        get(&self.endpoint, "/v1/replication", &self.headers)
    }
}

/// What the answer to [`AdminApi::create`] means.
///
/// # Errors
/// Why there is no link. A 201 that cannot be read is `Refused` with the code `unreadable`.
pub fn created(answer: &Answer<'_>) -> Result<Created, Refused> {
    if answer.status != 201 {
        return Err(refused(answer));
    }
    serde_json::from_slice(answer.body).map_err(|_| unreadable(answer.status))
}

/// What the answer to [`AdminApi::create_batch`] with `count` links means: a result for each, in order.
///
/// # Errors
/// Why no link of it was created. A 200 without exactly one result for each is `Refused` with the code `unreadable`.
pub fn batch_created(answer: &Answer<'_>, count: usize) -> Result<Vec<Result<Created, Refused>>, Refused> {
    if answer.status != 200 {
        return Err(refused(answer));
    }
    let batch: BatchAnswer = serde_json::from_slice(answer.body).map_err(|_| unreadable(answer.status))?;
    let in_order = batch.results.iter().enumerate().all(|(index, result)| result.index == index);
    if batch.results.len() != count || !in_order {
        return Err(unreadable(answer.status));
    }
    let result = |result: BatchResult| match result.link {
        Some(link) if result.status == 201 => Ok(link),
        _ => {
            let code = result.error.map_or_else(String::new, |problem| problem.code);
            Err(Refused { status: result.status, code, retry_after_s: answer.retry_after_s })
        }
    };
    Ok(batch.results.into_iter().map(result).collect())
}

/// What the answer to [`AdminApi::replication`] means.
///
/// # Errors
/// Why the positions are not known.
pub fn replication(answer: &Answer<'_>) -> Result<Replication, Refused> {
    if answer.status != 200 {
        return Err(refused(answer));
    }
    serde_json::from_slice(answer.body).map_err(|_| unreadable(answer.status))
}

impl Replication {
    /// The seq of the newest record.
    #[must_use]
    pub fn head_seq(&self) -> u64 {
        self.head.seq
    }

    /// How far `member` has applied; `None` when the writer does not know it.
    #[must_use]
    pub fn applied_seq(&self, member: &str) -> Option<u64> {
        self.members.iter().find(|candidate| candidate.id == member).map(|member| member.applied_seq)
    }
}

fn refused(answer: &Answer<'_>) -> Refused {
    let problem: Option<Problem> = serde_json::from_slice(answer.body).ok();
    let code = problem.map_or_else(String::new, |problem| problem.code);
    Refused { status: answer.status, code, retry_after_s: answer.retry_after_s }
}

fn unreadable(status: u16) -> Refused {
    Refused { status, code: "unreadable".to_owned(), retry_after_s: None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::http1::parse;

    fn answer(status: u16, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status} X\r\nRetry-After: 2\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .into_bytes()
    }

    #[test]
    fn the_token_and_the_wish_not_to_wait_are_in_every_request() {
        let api = AdminApi::new("http://127.0.0.1:1".parse().unwrap(), "sp_1_x", true);
        for request in [
            api.create("https://a.example/\"q\""),
            api.create_batch(&["https://a.example"]),
            api.replication(),
        ] {
            let text = String::from_utf8(request).unwrap();
            assert!(text.contains("\r\nAuthorization: Bearer sp_1_x\r\nPrefer: respond-async\r\n"), "{text}");
        }
        let text = String::from_utf8(api.create("https://a.example/\"q\"")).unwrap();
        assert!(text.ends_with("\r\n\r\n{\"long_url\":\"https://a.example/\\\"q\\\"\"}"), "{text}");
    }

    #[test]
    fn an_acknowledged_link_is_read_and_a_refusal_says_why() {
        let bytes = answer(201, r#"{"code":"Ab3xY9z","long_url":"https://a.example","version":1}"#);
        let link = created(&parse(&bytes).unwrap().unwrap()).unwrap();
        assert_eq!(link, Created { code: "Ab3xY9z".into(), long_url: "https://a.example".into() });
        let bytes = answer(503, r#"{"status":503,"code":"no_codes"}"#);
        let refused = created(&parse(&bytes).unwrap().unwrap()).unwrap_err();
        assert_eq!(refused, Refused { status: 503, code: "no_codes".into(), retry_after_s: Some(2) });
        let bytes = answer(201, "{}");
        assert_eq!(created(&parse(&bytes).unwrap().unwrap()).unwrap_err().code, "unreadable");
    }

    #[test]
    fn a_batch_gives_a_result_for_each_link_in_order() {
        let text = r#"{"results":[{"index":0,"status":201,"link":{"code":"a","long_url":"u"}},{"index":1,"status":409,"error":{"code":"taken"}}]}"#;
        let bytes = answer(200, text);
        let parsed = parse(&bytes).unwrap().unwrap();
        let results = batch_created(&parsed, 2).unwrap();
        assert_eq!(results[0], Ok(Created { code: "a".into(), long_url: "u".into() }));
        assert_eq!(results[1].as_ref().unwrap_err().to_string(), "409 taken");
        assert_eq!(batch_created(&parsed, 3).unwrap_err().code, "unreadable");
    }

    #[test]
    fn positions_of_members_are_found_by_name() {
        let text = r#"{"head":{"epoch":1,"seq":9},"members":[{"id":"proxy-0","role":"read","state":"in_sync","applied_seq":7}]}"#;
        let bytes = answer(200, text);
        let positions = replication(&parse(&bytes).unwrap().unwrap()).unwrap();
        assert_eq!(positions.head_seq(), 9);
        assert_eq!((positions.applied_seq("proxy-0"), positions.applied_seq("proxy-1")), (Some(7), None));
    }
}
