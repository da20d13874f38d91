//! Health on the API's own port, for whoever can reach no other: the same answers as on the health port, without metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Api, respond};

/// What readiness says; asked on a thread of the runtime, so it must not block.
pub trait ReadyDetail: Send + Sync + 'static {
    /// An object.
    fn detail(&self) -> Value;

    /// Whether it does what it is there for.
    fn is_ready(&self) -> bool;
}

/// Whether the process answers
#[utoipa::path(get, path = "/healthz", operation_id = "live", tag = "health", security(()),
    responses((status = 200, description = "It does", body = serde_json::Value)))]
pub(super) async fn live() -> Response {
    respond::json(StatusCode::OK, &json!({ "status": "pass", "version": env!("CARGO_PKG_VERSION") }))
}

/// Whether the API takes requests, and what it runs on
#[utoipa::path(get, path = "/readyz", operation_id = "ready", tag = "health", security(()),
    responses((status = 200, description = "It does", body = serde_json::Value),
        (status = 503, description = "A standby that does not follow its writer", body = serde_json::Value)))]
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Response {
    // Whoever gets an answer here gets it from an API that takes requests; what a standby answers may be old.
    let mut body = api.ready.detail();
    let ready = api.ready.is_ready();
    body["ready"] = Value::Bool(ready);
    respond::json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}
