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
    /// `writer` or `standby`: a standby knows its own head and hears nothing of the other members.
    role: &'static str,
    head: Head,
    /// On a standby: how following goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    standby: Option<StandbyView>,
    members: Vec<MemberView>,
}

/// How a standby follows.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = StandbyStatus)]
pub(super) struct StandbyView {
    /// `connecting`, `following`, `refused`, `diverged` or `promoting`.
    state: &'static str,
    /// The feed that is followed or was tried last.
    writer: String,
    /// What went wrong last; `null`: nothing.
    #[schema(required)]
    problem: Option<String>,
    /// How many records it lacks of those it was told of; `null`: it has not heard of the writer.
    #[schema(required)]
    lag_records: Option<u64>,
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
    let standby = api.standby.as_ref().map(|status| {
        let now = status.snapshot();
        StandbyView {
            state: now.state.name(),
            writer: now.writer,
            problem: now.problem,
            lag_records: now.writer_head.map(|at| at.seq.0.saturating_sub(head.seq.0)),
        }
    });
    let role = if standby.is_some() { "standby" } else { "writer" };
    let head = Head { epoch: head.epoch.0, seq: head.seq.0 };
    Ok(respond::json(StatusCode::OK, &View { role, head, standby, members }))
}
