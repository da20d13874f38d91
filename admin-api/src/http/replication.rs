//! `GET /v1/replication`: where every member is in the log, and how far its clicks are counted.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use linklog::entity::Scopes;
use serde::Serialize;

use super::query::Query;
use super::{Api, answer, respond};
use crate::links::ChangeError;
use crate::links::view::Rfc3339;
use crate::problem::Problem;
use crate::replication::MemberStatus;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Position)]
struct Head {
    epoch: u32,
    seq: u64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ReplicationStatus)]
pub(super) struct View {
    head: Head,
    members: Vec<MemberView>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Member)]
struct MemberView {
    #[serde(flatten)]
    status: MemberStatus,
    /// `null`: it has never reported.
    #[schema(required)]
    clicks: Option<ClicksView>,
}

/// How far the clicks of a member are counted.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MemberClicks)]
struct ClicksView {
    ledger: String,
    watermark: u64,
    #[schema(required)]
    complete_until: Option<Rfc3339>,
    dropped: u64,
}

/// Where every member is in the log
#[utoipa::path(get, path = "/v1/replication", operation_id = "get_replication", tag = "fleet",
    responses((status = 200, description = "The head of the log and every member", body = View)))]
pub(super) async fn status(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_status(&api, request.into_parts().0).await)
}

async fn try_status(api: &Api, head: Parts) -> Result<Response, Problem> {
    api.admit(&head.headers, Scopes::LINKS_READ)?;
    Query::read(&head.uri, &[])?;
    let head = api.links.log.commit().head.position;
    // How old a member's lag is stands in the journal, on disk.
    let replication = api.links.replication.clone();
    let members = api.links.log.read(move |_| replication.status()).await.map_err(ChangeError::from)?;
    let clicks_of = |member: &MemberStatus| {
        let known = api.links.clicks.of_member(&member.id)?;
        Some(ClicksView {
            ledger: known.ledger.to_string(),
            watermark: known.account.watermark.0,
            complete_until: Some(known.account.complete_until_ms).filter(|at| *at > 0).map(Rfc3339),
            dropped: known.account.dropped(),
        })
    };
    let members =
        members.into_iter().map(|status| MemberView { clicks: clicks_of(&status), status }).collect();
    Ok(respond::json(StatusCode::OK, &View { head: Head { epoch: head.epoch.0, seq: head.seq.0 }, members }))
}
