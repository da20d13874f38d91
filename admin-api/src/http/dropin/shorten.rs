//! `POST /shorten`: the plainest of APIs, as written down in many a book. `{"long_url", "custom_alias", "expiry_date"}`, token as in ours.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::StatusCode;
use linklog::entity::Scopes;
use serde_json::json;

use super::super::body::Expected;
use super::super::{Api, answer, respond};
use super::{admit, bearer, make, object};
use crate::json::Json;
use crate::links::fields::{LinkFields, unknown};
use crate::links::view::Rfc3339;
use crate::problem::Problem;

/// Our names of the fields, and theirs.
const NAMES: [(&str, &str); 2] = [("alias", "custom_alias"), ("expires_at", "expiry_date")];

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/shorten", post(create))
}

async fn create(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_create(&api, request).await.map_err(|problem| problem.with_fields(&NAMES)))
}

async fn try_create(api: &Api, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = admit(api, bearer(&head.headers), &[Scopes::LINKS_WRITE])?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch: false };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let mut fields = LinkFields::default();
    for (name, value) in object(&held.bytes)?.0 {
        match &*name {
            "long_url" => fields.long_url = Some(value),
            "custom_alias" => fields.alias = Some(value).filter(|value| *value != Json::Text("".into())),
            "expiry_date" => fields.expires_at = Some(end_of(value)),
            other => fields.stray.push(unknown(other)),
        }
    }
    let made = make(api, caller, fields).await?;
    let view = json!({
        "short_url": made.short_url(api)?,
        "long_url": made.link.link.target,
        "code": made.key.code.as_str(),
        "expiry_date": made.link.link.expires_at_ms.map(Rfc3339),
        "created_at": Rfc3339(made.link.manage.created_at_ms),
    });
    Ok(respond::json(StatusCode::CREATED, &view))
}

/// A day alone lasts to its end, in UTC.
fn end_of(value: Json<'_>) -> Json<'_> {
    match value {
        Json::Text(text) if text.len() == 10 && !text.contains('T') => {
            Json::Text(format!("{text}T23:59:59Z").into())
        }
        Json::Text(text) if text.is_empty() => Json::Null,
        other => other,
    }
}
