//! The bytes of requests.

use super::Endpoint;

/// A GET of `path` (with its leading slash); `extra` is header lines, each ending in CRLF.
#[must_use]
pub fn get(endpoint: &Endpoint, path: &str, extra: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{extra}\r\n", endpoint.authority()).into_bytes()
}

/// A POST of a JSON body; `extra` is header lines, each ending in CRLF.
#[must_use]
pub fn post_json(endpoint: &Endpoint, path: &str, extra: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{extra}\r\n",
        endpoint.authority(),
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// GETs of codes from one endpoint, written over each other into one buffer: no allocation per request.
#[derive(Clone, Debug)]
pub struct GetRequests {
    after_code: Vec<u8>,
    bytes: Vec<u8>,
}

const BEFORE_CODE: &[u8] = b"GET /";

impl GetRequests {
    /// Requests to `endpoint` with `extra` header lines, each ending in CRLF.
    #[must_use]
    pub fn new(endpoint: &Endpoint, extra: &str) -> Self {
        let after_code = format!(" HTTP/1.1\r\nHost: {}\r\n{extra}\r\n", endpoint.authority()).into_bytes();
        Self { after_code, bytes: BEFORE_CODE.to_vec() }
    }

    /// The request for `code`, until the next call.
    pub fn for_code(&mut self, code: &str) -> &[u8] {
        self.bytes.truncate(BEFORE_CODE.len());
        self.bytes.extend_from_slice(code.as_bytes());
        self.bytes.extend_from_slice(&self.after_code);
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn requests_are_written_byte_for_byte() {
        let endpoint: Endpoint = "http://127.0.0.1:8080".parse().unwrap();
        let mut requests = GetRequests::new(&endpoint, "Accept: */*\r\n");
        for code in ["Ab3xY9z", "x"] {
            let text = format!("GET /{code} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\n\r\n");
            assert_eq!(requests.for_code(code), text.as_bytes());
            assert_eq!(get(&endpoint, &format!("/{code}"), "Accept: */*\r\n"), text.as_bytes());
        }
        let post = post_json(&endpoint, "/v1/links", "", b"{}");
        let text = "POST /v1/links HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(post, text.as_bytes());
    }
}
