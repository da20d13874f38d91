//! The API of one server of a fleet: whether it makes links.

use crate::http1::{Connection, Endpoint, post_json};

use super::API_TIMEOUT;

/// The API of one server.
pub(super) struct Api {
    connection: Connection,
    endpoint: Endpoint,
    headers: String,
}

impl Api {
    pub(super) fn of(endpoint: &Endpoint, token: &str) -> Api {
        let connection = Connection::new(endpoint.clone(), API_TIMEOUT);
        Api { connection, endpoint: endpoint.clone(), headers: format!("Authorization: Bearer {token}\r\n") }
    }

    /// Makes a link that nobody looks for; returns the status and the problem's code.
    pub(super) fn create(&mut self) -> Option<(u16, String)> {
        let body = br#"{"long_url":"https://example.org/probe"}"#;
        let request = post_json(&self.endpoint, "/v1/links", &self.headers, body);
        let answer = self.connection.exchange(&request).ok()?;
        let json: serde_json::Value = serde_json::from_slice(answer.body).unwrap_or_default();
        Some((answer.status, json["code"].as_str().unwrap_or_default().to_owned()))
    }

    pub(super) fn creates(&mut self) -> anyhow::Result<bool> {
        Ok(self.create().is_some_and(|(status, _)| status == 201))
    }
}
