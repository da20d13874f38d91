//! `GET /v1/export`: all links as a stream of lines.
//!
//! ```text
//! {"code":"spring","domain":"sho.rt","long_url":"…",…}     a link, as everywhere
//! {"cursor":"…"}                                           an export that broke off goes on here
//! {"end":true,"links":1734,"cursor":"…"}                   the end; without it the export is not complete
//! ```

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use linklog::Seq;
use linklog::entity::Scopes;
use serde::Serialize;

use super::openapi::{ExportParams, FilterParams, NotFound};
use super::query::Query;
use super::transfer::{self, Gone, Sender};
use super::{Api, answer};
use crate::auth::Caller;
use crate::links::ChangeError;
use crate::links::export::Piece;
use crate::links::list::{Cursor, Wanted};
use crate::problem::Problem;

/// Those of the list that choose.
const PARAMETERS: [&str; 8] =
    ["cursor", "domain", "state", "host", "tag", "created_from", "created_before", "owner"];

#[derive(Serialize)]
struct Mark {
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<u64>,
    cursor: Option<String>,
}

/// All links, oldest first
///
/// One link a line; between them lines with a `cursor`, at which an export that broke off goes on; at the end a line with `end` and the number of links.
/// What is made after the export began is not in it: the last cursor is where the next export begins. Parameters choose as in the list.
#[utoipa::path(get, path = "/v1/export", operation_id = "export_links", tag = "transfer", params(ExportParams, FilterParams),
    responses(
        (status = 200, description = "Lines of JSON", body = String, content_type = "application/x-ndjson"),
        (status = 404, response = NotFound),
    ))]
pub(super) async fn export(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_export(&api, request.into_parts().0).await)
}

async fn try_export(api: &Arc<Api>, head: Parts) -> Result<Response, Problem> {
    let caller = api.admit(&head.headers, Scopes::LINKS_READ)?;
    let query = Query::read_with(&head.uri, &PARAMETERS, &["tag"])?;
    let wanted = query.wanted_oldest_first(&api.links.domains.table(), caller)?;
    let wanted = api.links.bounded(caller, wanted).map_err(ChangeError::from)?;
    let place = api.transfers.export()?;
    let until = api.links.head();
    let (sender, response) = transfer::lines();
    let api = api.clone();
    tokio::spawn(async move {
        // Either way nobody waits for more.
        let _ = send_all(&api, caller, wanted, until, &sender).await;
        drop(place);
    });
    Ok(response)
}

/// Reads a piece of what the token may see now.
async fn piece(api: &Api, caller: Caller, wanted: &mut Wanted, until: Seq) -> Result<Piece, Problem> {
    let caller = api.tokens.still(caller, Scopes::LINKS_READ)?;
    *wanted = api.links.bounded(caller, std::mem::take(wanted)).map_err(ChangeError::from)?;
    Ok(api.links.export(wanted, until, caller.is_admin()).await?)
}

async fn send_all(
    api: &Api,
    caller: Caller,
    mut wanted: Wanted,
    until: Seq,
    sender: &Sender,
) -> Result<(), Gone> {
    let mut sent = 0;
    loop {
        // The head of the answer is gone already: all that is left is not to end it properly.
        let Ok(mut piece) = piece(api, caller, &mut wanted, until).await else {
            sender.cut_off().await;
            return Err(Gone);
        };
        wanted.cursor = piece.reached;
        sent += piece.links;
        let (end, links) = if piece.is_last { (Some(true), Some(sent)) } else { (None, None) };
        let mark = Mark { end, links, cursor: piece.reached.map(Cursor::encode) };
        serde_json::to_writer(&mut piece.lines, &mark).expect("memory takes every text");
        piece.lines.push(b'\n');
        sender.send(piece.lines).await?;
        if piece.is_last {
            return Ok(());
        }
    }
}
