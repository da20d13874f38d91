//! `GET /v1/links/{code}/limit`: how far a link is that ends with a number of clicks.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use linklog::Allowance;
use linklog::entity::Scopes;
use serde::Serialize;

use super::links::{CodeInPath, code_text};
use super::openapi::{CodeParam, DomainParam, NotFound};
use super::query::key_of;
use super::{Api, answer, respond};
use crate::problem::Problem;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ClickLimit)]
struct View {
    /// After how many clicks the link ends.
    max_clicks: u64,
    /// Redirects that proxies are known to have answered.
    used: u64,
    /// Clicks that were lost with a proxy's memory: nobody can use them any more.
    burned: u64,
    /// Clicks that no proxy has.
    left: u64,
    /// Clicks in the hands of proxies, some of which may be used already.
    held: Vec<HeldView>,
}

/// What a proxy has at hand.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = HeldClicks)]
struct HeldView {
    /// Its name.
    proxy: String,
    /// How many clicks.
    clicks: u64,
}

/// How many clicks a limited link has left
///
/// The five add up: `used`, `burned`, `left` and what is `held` are `max_clicks`, unless the limit was lowered below what was used. 404 if the
/// link has no limit.
#[utoipa::path(get, path = "/v1/links/{code}/limit", operation_id = "get_limit", tag = "links", params(
    CodeParam, DomainParam,
), responses((status = 200, description = "The clicks", body = View), (status = 404, response = NotFound)))]
pub(super) async fn of_link(State(api): State<Arc<Api>>, code: CodeInPath, request: Request) -> Response {
    answer(try_of_link(&api, code, request.into_parts().0).await)
}

async fn try_of_link(api: &Api, code: CodeInPath, head: Parts) -> Result<Response, Problem> {
    let caller = api.admit_any(&head.headers, &[Scopes::STATS_READ, Scopes::LINKS_READ])?;
    let domains = api.links.domains.table();
    let key = key_of(&code_text(code)?, &head.uri, &domains)?;
    api.links.get(caller, key).await?;
    let standing = api.links.budgets.standing(Allowance::Link(key)).await?.ok_or_else(Problem::no_limit)?;
    let held = standing.held.into_iter().map(|(proxy, clicks)| HeldView { proxy, clicks });
    let view = View {
        max_clicks: standing.limit.max,
        used: standing.used,
        burned: standing.burned,
        left: standing.left,
        held: held.collect(),
    };
    Ok(respond::json(StatusCode::OK, &view))
}
