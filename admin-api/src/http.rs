//! The HTTP API: brings requests to [`crate::links`] and answers back. [`crate::problem`] says what errors look like.
//!
//! Every route but health asks for a token first, before it reads a body. The order of checks is the order of what a client can
//! correct: who it is, what it sends, how large it is, whether it is JSON, whether its fields make sense, whether the state allows it.

pub mod batch;
pub mod body;
mod clicks;
mod domains;
pub mod export;
pub mod health;
pub mod import;
pub mod links;
pub mod openapi;
mod qr;
pub mod query;
pub mod replication;
mod respond;
pub mod transfer;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use linklog::entity::Scopes;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Caller, Tokens};
use crate::config::Limits;
use crate::links::Links;
use crate::links::idempotency::IdempotencyKey;
use crate::metrics::Metrics;
use crate::problem::Problem;
use body::BodyBudget;
use health::ReadyDetail;
use transfer::Places;

/// What the handlers work with.
pub struct Api {
    /// The links.
    pub links: Links,
    /// Who may ask.
    pub tokens: Tokens,
    /// For how much.
    pub limits: Limits,
    /// How many bytes of bodies may be in memory.
    pub bodies: BodyBudget,
    /// How many exports and imports may run.
    pub transfers: Places,
    /// What readiness says.
    pub ready: Arc<dyn ReadyDetail>,
    /// Who counts.
    pub metrics: Metrics,
}

/// Returns the API as the server runs it.
pub fn router(api: Arc<Api>) -> Router {
    let (router, _) = routes().split_for_parts();
    router
        .method_not_allowed_fallback(|| async { Problem::method() })
        .fallback(|| async { Problem::no_route() })
        .layer(from_fn_with_state(api.clone(), count))
        .with_state(api)
}

/// Every route with its description, in one step: a handler without `#[utoipa::path]` cannot be added here, so none is missing from the
/// document. Path and method stand at the handler.
fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(links::create, links::list))
        .routes(routes!(batch::create))
        .routes(routes!(links::get, links::put, links::patch, links::delete))
        .routes(routes!(qr::of_link))
        .routes(routes!(domains::declare, domains::list))
        .routes(routes!(domains::get, domains::patch))
        .routes(routes!(clicks::of_link))
        .routes(routes!(export::export))
        .routes(routes!(import::import))
        .routes(routes!(replication::status))
        .routes(routes!(openapi::document))
        .routes(routes!(openapi::reader))
        .routes(routes!(openapi::problems))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
}

/// Counts a request and how long it took.
async fn count(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = match request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) {
        Some("/v1/links") => "/v1/links",
        Some("/v1/links/batch") => "/v1/links/batch",
        Some("/v1/links/{code}") => "/v1/links/{code}",
        Some("/v1/domains" | "/v1/domains/{host}") => "/v1/domains",
        Some("/v1/links/{code}/qr") => "/v1/links/{code}/qr",
        Some("/v1/links/{code}/clicks") => "/v1/links/{code}/clicks",
        Some("/v1/export") => "/v1/export",
        Some("/v1/import") => "/v1/import",
        Some("/v1/replication") => "/v1/replication",
        Some("/healthz" | "/readyz") => "health",
        Some("/v1/openapi.json" | "/v1/docs" | "/v1/problems") => "docs",
        _ => "other",
    };
    let method = match *request.method() {
        http::Method::GET => "GET",
        http::Method::POST => "POST",
        http::Method::PUT => "PUT",
        http::Method::PATCH => "PATCH",
        http::Method::DELETE => "DELETE",
        _ => "other",
    };
    let response = next.run(request).await;
    api.metrics.request(route, method, response.status().as_u16(), started.elapsed());
    response
}

impl Api {
    /// Lets a request in, or not.
    fn admit(&self, headers: &HeaderMap, needed: Scopes) -> Result<Caller, Problem> {
        self.admit_any(headers, &[needed])
    }

    /// Lets a request in that any of several scopes allows, or not.
    fn admit_any(&self, headers: &HeaderMap, sufficient: &[Scopes]) -> Result<Caller, Problem> {
        let authorization = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        Ok(self.tokens.admit_any(authorization, sufficient)?)
    }
}

/// Says whether the client would rather not wait for the proxies (RFC 7240 section 4.1).
fn prefers_async(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferences.flat_map(|value| value.split(',')).any(|preference| {
        preference.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("respond-async"))
    })
}

/// Reads the key of an idempotent request, if it has one.
fn idempotency_key(headers: &HeaderMap, caller: Caller) -> Result<Option<IdempotencyKey>, Problem> {
    let value = headers.get("idempotency-key");
    Ok(value.map(|value| IdempotencyKey::new(caller.token, value.as_bytes())).transpose()?)
}

/// Turns the outcome of a handler into its answer.
fn answer(outcome: Result<Response, Problem>) -> Response {
    outcome.unwrap_or_else(IntoResponse::into_response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_preference_is_found_among_others() {
        for (value, found) in [
            ("respond-async", true),
            ("Respond-Async", true),
            ("wait=10, respond-async", true),
            ("respond-async; x=1", true),
            ("return=minimal", false),
            ("no-respond-async", false),
        ] {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("prefer"),
                HeaderValue::from_static(value),
            )]);
            assert_eq!(prefers_async(&headers), found, "{value}");
        }
    }
}
