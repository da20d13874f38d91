//! The admin API: whichever server is the writer now.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use super::{SETTLED_WITHIN, Standing};
use crate::http1::{Connection, Endpoint, get, post_json};

const API_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) struct Api {
    endpoint: Endpoint,
    headers: String,
    connection: Connection,
}

impl Api {
    pub(super) fn of(url: &str, token: &str) -> anyhow::Result<Api> {
        let endpoint: Endpoint = url.parse()?;
        let headers = format!("Authorization: Bearer {token}\r\n");
        let connection = Connection::new(endpoint.clone(), API_TIMEOUT);
        Ok(Api { endpoint, headers, connection })
    }

    /// Makes a link; a writer that has only just become one is waited for.
    pub(super) fn create(&mut self, target: &str, max_clicks: u64) -> anyhow::Result<String> {
        let body = json!({ "long_url": target, "max_clicks": max_clicks }).to_string();
        let request = post_json(&self.endpoint, "/v1/links", &self.headers, body.as_bytes());
        let until = Instant::now() + SETTLED_WITHIN;
        loop {
            let answer = self.connection.exchange(&request)?;
            match answer.status {
                201 => {
                    let link: serde_json::Value = serde_json::from_slice(answer.body)?;
                    return Ok(link["code"].as_str().context("a link without a code")?.to_owned());
                }
                503 if Instant::now() < until => std::thread::sleep(LOOK_EVERY),
                status => anyhow::bail!("{status}: {}", String::from_utf8_lossy(answer.body)),
            }
        }
    }

    /// Lowers a limit; proxies that are away for a moment are waited for.
    pub(super) fn lower(&mut self, code: &str, to: u64) -> anyhow::Result<()> {
        let body = json!({ "max_clicks": to }).to_string();
        let request = format!(
            "PATCH /v1/links/{code} HTTP/1.1\r\nHost: {}\r\n{}Content-Type: application/merge-patch+json\r\nContent-Length: {}\r\n\r\n{body}",
            self.endpoint.authority(),
            self.headers,
            body.len()
        );
        let until = Instant::now() + SETTLED_WITHIN;
        loop {
            let answer = self.connection.exchange(request.as_bytes())?;
            match answer.status {
                200 => return Ok(()),
                409 | 503 if Instant::now() < until => {}
                status => anyhow::bail!("{status}: {}", String::from_utf8_lossy(answer.body)),
            }
        }
    }

    pub(super) fn standing(&mut self, code: &str) -> anyhow::Result<Standing> {
        let request = get(&self.endpoint, &format!("/v1/links/{code}/limit"), &self.headers);
        let answer = self.connection.exchange(&request)?;
        anyhow::ensure!(answer.status == 200, "{}: {}", answer.status, String::from_utf8_lossy(answer.body));
        Ok(serde_json::from_slice(answer.body)?)
    }

    /// How the link stands when no proxy has any of its clicks any more.
    pub(super) fn settled(&mut self, code: &str) -> anyhow::Result<Standing> {
        let until = Instant::now() + SETTLED_WITHIN;
        loop {
            let standing = self.standing(code)?;
            if standing.held.is_empty() && standing.left == 0 {
                return Ok(standing);
            }
            anyhow::ensure!(Instant::now() < until, "clicks are not settled: {standing:?}");
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Waits until every proxy answers a link's preview, which uses no click, with this status: what the link is has come to it.
pub(super) fn previewed_everywhere(proxies: &[Endpoint], code: &str, status: u16) -> anyhow::Result<()> {
    let until = Instant::now() + SETTLED_WITHIN;
    for proxy in proxies {
        let mut connection = Connection::new(proxy.clone(), API_TIMEOUT);
        let request = get(proxy, &format!("/{code}+"), "");
        while connection.exchange(&request).map(|answer| answer.status).unwrap_or_default() != status {
            let authority = proxy.authority();
            anyhow::ensure!(Instant::now() < until, "{authority} does not answer the preview with {status}");
            std::thread::sleep(LOOK_EVERY);
        }
    }
    Ok(())
}
