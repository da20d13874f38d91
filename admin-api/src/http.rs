//! The HTTP API: brings requests to [`crate::links`] and answers back. [`crate::problem`] says what errors look like.
//!
//! Every route but health asks for a token first, before it reads a body. The order of checks is the order of what a client can
//! correct: who it is, what it sends, how large it is, whether it is JSON, whether its fields make sense, whether the state allows it.

pub mod batch;
pub mod body;
mod clicks;
mod domains;
pub mod dropin;
pub mod export;
mod groups;
pub mod health;
mod history;
pub mod import;
mod limit;
pub mod links;
mod object;
pub mod openapi;
mod qr;
pub mod query;
pub mod replication;
mod respond;
mod signing;
mod sweep;
mod takedowns;
pub(crate) mod tokens;
pub mod transfer;
mod users;

use std::cell::Cell;
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

use crate::auth::{AuthError, Caller, TokenId, Tokens};
use crate::config::Limits;
use crate::links::Links;
use crate::links::idempotency::IdempotencyKey;
use crate::metrics::Metrics;
use crate::people::People;
use crate::problem::Problem;
use crate::standby::status::Status;
use crate::sweep::Sweep;
use body::BodyBudget;
use dropin::DropIn;
use health::ReadyDetail;
use transfer::Places;

/// What the handlers work with.
pub struct Api {
    /// The links.
    pub links: Links,
    /// Who may ask.
    pub tokens: Tokens,
    /// Whom links and tokens belong to.
    pub people: People,
    /// For how much.
    pub limits: Limits,
    /// How many bytes of bodies may be in memory.
    pub bodies: BodyBudget,
    /// How many exports and imports may run.
    pub transfers: Places,
    /// What readiness says.
    pub ready: Arc<dyn ReadyDetail>,
    /// Which APIs of others are there.
    pub drop_in: DropIn,
    /// What becomes of links that have ended.
    pub sweep: Sweep,
    /// Who counts.
    pub metrics: Metrics,
    /// How following goes, on a standby.
    pub standby: Option<Arc<Status>>,
}

/// Returns the API as the server runs it.
pub fn router(api: Arc<Api>) -> Router {
    let (router, _) = routes().split_for_parts();
    // They are described by those whose APIs they are.
    dropin::added_to(router, api.drop_in)
        .method_not_allowed_fallback(|| async { Problem::method() })
        .fallback(|| async { Problem::no_route() })
        .layer(from_fn_with_state(api.clone(), count))
        .with_state(api)
}

/// Every route with its description, in one step: a handler without `#[utoipa::path]` cannot be added here, so none is missing from the
/// document. Path and method stand at the handler.
fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(links::create, links::list, links::upsert))
        .routes(routes!(batch::create))
        .routes(routes!(links::get, links::put, links::patch, links::delete))
        .routes(routes!(qr::of_link))
        .routes(routes!(domains::declare, domains::list))
        .routes(routes!(domains::get, domains::patch))
        .routes(routes!(clicks::of_link))
        .routes(routes!(limit::of_link))
        .routes(routes!(signing::sign))
        .routes(routes!(signing::rotate, signing::list))
        .routes(routes!(signing::revoke))
        .routes(routes!(history::of_link))
        .routes(routes!(users::create_user, users::list_users))
        .routes(routes!(users::get_user, users::patch_user))
        .routes(routes!(groups::create_group, groups::list_groups))
        .routes(routes!(groups::get_group, groups::patch_group, groups::delete_group))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::own))
        .routes(routes!(tokens::get, tokens::patch, tokens::revoke))
        .routes(routes!(export::export))
        .routes(routes!(import::import))
        .routes(routes!(takedowns::create))
        .routes(routes!(replication::status))
        .routes(routes!(sweep::status))
        .routes(routes!(openapi::document))
        .routes(routes!(openapi::reader))
        .routes(routes!(openapi::problems))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
}

tokio::task_local! {
    /// The token that this request has shown to be its own; who only claims one is told nothing about it.
    static ADMITTED: Cell<Option<TokenId>>;
}

/// Counts a request and how long it took, and says what is left of its token's limits.
async fn count(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = match request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) {
        Some("/v1/links") => "/v1/links",
        Some("/v1/links/batch") => "/v1/links/batch",
        Some("/v1/links/{code}") => "/v1/links/{code}",
        Some("/v1/domains" | "/v1/domains/{host}") => "/v1/domains",
        Some("/v1/links/{code}/qr") => "/v1/links/{code}/qr",
        Some("/v1/links/{code}/clicks") => "/v1/links/{code}/clicks",
        Some("/v1/links/{code}/limit") => "/v1/links/{code}/limit",
        Some("/v1/links/{code}/signatures") => "/v1/links/{code}/signatures",
        Some("/v1/signing-keys" | "/v1/signing-keys/{id}") => "/v1/signing-keys",
        Some("/v1/export") => "/v1/export",
        Some("/v1/import") => "/v1/import",
        Some("/v1/links/{code}/history") => "/v1/links/{code}/history",
        Some("/v1/users" | "/v1/users/{id}" | "/v1/groups" | "/v1/groups/{id}") => "/v1/users",
        Some("/v1/tokens" | "/v1/tokens/self" | "/v1/tokens/{id}") => "/v1/tokens",
        Some("/v1/replication") => "/v1/replication",
        Some("/v1/sweep") => "/v1/sweep",
        Some("/v1/takedowns") => "/v1/takedowns",
        Some("/healthz" | "/readyz") => "health",
        Some("/v1/openapi.json" | "/v1/docs" | "/v1/problems") => "docs",
        Some(path) if !path.starts_with("/v1/") => "drop_in",
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
    let elsewhere =
        api.standby.as_ref().filter(|_| is_for_the_writer(&request, route)).map(|status| status.writer());
    let run = async move {
        let response = match elsewhere {
            Some(writer) => Problem::standby(&writer).into_response(),
            None => next.run(request).await,
        };
        (response, ADMITTED.with(Cell::get))
    };
    let (mut response, admitted) = ADMITTED.scope(Cell::new(None), run).await;
    if let Some(token) = admitted {
        respond::add_limits(response.headers_mut(), &api.tokens.standing(token));
    }
    api.metrics.request(route, method, response.status().as_u16(), started.elapsed());
    response
}

/// Says whether a standby has no answer: it changes nothing and counts no clicks.
fn is_for_the_writer(request: &Request, route: &str) -> bool {
    let reads = matches!(*request.method(), http::Method::GET | http::Method::HEAD | http::Method::OPTIONS);
    !reads || matches!(route, "/v1/links/{code}/clicks" | "drop_in")
}

impl Api {
    /// Lets a request in, or not.
    fn admit(&self, headers: &HeaderMap, needed: Scopes) -> Result<Caller, Problem> {
        self.admit_any(headers, &[needed])
    }

    /// Lets a request in that any of several scopes allows, or not.
    fn admit_any(&self, headers: &HeaderMap, sufficient: &[Scopes]) -> Result<Caller, Problem> {
        self.admit_as(headers.get(AUTHORIZATION).map(|value| value.as_bytes()), sufficient)
    }

    /// As [`Api::admit_any`], for what an `Authorization` header would say.
    fn admit_as(&self, authorization: Option<&[u8]>, sufficient: &[Scopes]) -> Result<Caller, Problem> {
        let admitted = self.tokens.admit_any(authorization, sufficient);
        let known = match &admitted {
            Ok(caller) => Some(caller.token),
            Err(AuthError::TooMany { token, .. } | AuthError::Scope { token, .. }) => Some(*token),
            Err(AuthError::Missing | AuthError::Invalid) => None,
        };
        // Outside of a request there is nobody to tell.
        let _ = ADMITTED.try_with(|place| place.set(known));
        Ok(admitted?)
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
