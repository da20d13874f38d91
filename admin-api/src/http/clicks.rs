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
use super::query::key_of;
use super::{Api, answer, respond};
use crate::links::view::Rfc3339;
use crate::problem::Problem;

#[derive(Serialize)]
struct View {
    /// People only; the others are apart.
    total: u64,
    bots: u64,
    head: u64,
    prefetch: u64,
    last_click_at: Option<Rfc3339>,
    /// Up to when every active proxy has reported: what is later may be missing.
    complete_until: Option<Rfc3339>,
    /// Active proxies that have not been heard of recently.
    missing: Vec<String>,
    /// Clicks lost for good, of the whole fleet: nobody knows on which links.
    dropped: u64,
}

pub(super) async fn of_link(State(api): State<Arc<Api>>, code: CodeInPath, request: Request) -> Response {
    answer(try_of_link(&api, code, request.into_parts().0).await)
}

async fn try_of_link(api: &Api, code: CodeInPath, head: Parts) -> Result<Response, Problem> {
    api.admit_any(&head.headers, &[Scopes::STATS_READ, Scopes::LINKS_READ])?;
    let domains = api.links.domains.table();
    let key = key_of(&code_text(code)?, &head.uri, &domains)?;
    // Asked first: what the counts are said to be complete until is in the counts that are read after.
    let freshness = api.links.clicks.freshness();
    let (_, totals) = api.links.get_counted(key).await?;
    let view = View {
        total: totals.clicks(),
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
