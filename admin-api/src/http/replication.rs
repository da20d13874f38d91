//! `GET /v1/replication`: where every member is in the log.

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
use crate::problem::Problem;
use crate::replication::MemberStatus;

#[derive(Serialize)]
struct Head {
    epoch: u32,
    seq: u64,
}

#[derive(Serialize)]
struct View {
    head: Head,
    members: Vec<MemberStatus>,
}

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
    Ok(respond::json(StatusCode::OK, &View { head: Head { epoch: head.epoch.0, seq: head.seq.0 }, members }))
}
