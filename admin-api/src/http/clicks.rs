//! `GET /v1/links/{code}/clicks`: how often a link was followed.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use clicklog::Kind;
use http::StatusCode;
use http::request::Parts;
use linklog::entity::Scopes;
use serde::Serialize;

use super::links::{CodeInPath, code_text};
use super::openapi::{CodeParam, DomainParam, NotFound};
use super::query::key_of;
use super::{Api, answer, respond};
use crate::links::view::Rfc3339;
use crate::problem::Problem;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Clicks)]
pub(super) struct View {
    /// People only, those before it was imported among them; the others are apart.
    total: u64,
    /// People who had followed it elsewhere before it was imported.
    imported: u64,
    /// Crawlers and link previews, by their User-Agent.
    bots: u64,
    /// `HEAD` requests.
    head: u64,
    /// Browsers that load ahead.
    prefetch: u64,
    /// When it was last followed by anybody.
    #[schema(required)]
    last_click_at: Option<Rfc3339>,
    /// Up to when every active proxy has reported: what is later may be missing.
    #[schema(required)]
    complete_until: Option<Rfc3339>,
    /// Active proxies that have not been heard of recently.
    missing: Vec<String>,
    /// Clicks lost for good, of the whole fleet: nobody knows on which links.
    dropped: u64,
}

/// How often a link was followed
///
/// `stats:read` or `links:read` is enough. Every redirect is counted once, and every click before `complete_until` is in the numbers.
#[utoipa::path(get, path = "/v1/links/{code}/clicks", operation_id = "get_clicks", tag = "links", params(
    CodeParam, DomainParam,
), responses((status = 200, description = "The counts", body = View), (status = 404, response = NotFound)))]
pub(super) async fn of_link(State(api): State<Arc<Api>>, code: CodeInPath, request: Request) -> Response {
    answer(try_of_link(&api, code, request.into_parts().0).await)
}

async fn try_of_link(api: &Api, code: CodeInPath, head: Parts) -> Result<Response, Problem> {
    let caller = api.admit_any(&head.headers, &[Scopes::STATS_READ, Scopes::LINKS_READ])?;
    let domains = api.links.domains.table();
    let key = api.links.key_as_kept(key_of(&code_text(code)?, &head.uri, &domains)?).await?;
    // Asked first: what the counts are said to be complete until is in the counts that are read after.
    let freshness = api.links.clicks.freshness();
    let (stored, totals) = api.links.get_counted(caller, key).await?;
    let view = View {
        total: totals.clicks().saturating_add(stored.manage.imported_clicks),
        imported: stored.manage.imported_clicks,
        bots: totals.counts.of(Kind::Bot),
        head: totals.counts.of(Kind::Head),
        prefetch: totals.counts.of(Kind::Prefetch),
        last_click_at: Some(totals.last_click_ms).filter(|at| *at > 0).map(Rfc3339),
        complete_until: freshness.complete_until_ms.map(Rfc3339),
        missing: freshness.missing,
        dropped: freshness.dropped,
    };
    Ok(respond::json(StatusCode::OK, &view))
}
