//! `GET /v1/links/{code}/history`: who changed what and when.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use linklog::Code;
use linklog::entity::Scopes;
use linklog::store::StoredLink;
use serde::Serialize;
use serde_json::Value;

use super::links::{CodeInPath, code_text, known};
use super::openapi::{CodeParam, DomainParam, LimitParam, NotFound};
use super::query::{Query, key_in};
use super::{Api, answer, respond};
use crate::domains::KnownDomain;
use crate::links::history::{Entry, LIMIT_DEFAULT, LIMIT_MAX};
use crate::links::view::{LinkView, Rfc3339};
use crate::problem::Problem;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = History)]
pub(super) struct View {
    /// The changes.
    data: Vec<EntryView>,
    /// Whether the list goes back to the creation: it may be longer than `limit`, or than the log is kept.
    is_complete: bool,
}

/// A change of a link.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = HistoryEntry)]
struct EntryView {
    /// The version it led to.
    version: u64,
    /// When.
    at: Rfc3339,
    /// The token that asked.
    by: String,
    /// Its user.
    #[schema(required)]
    by_user: Option<String>,
    /// `created`, `changed` or `deleted`.
    action: &'static str,
    /// What changed, by field; `null`: what the link was before is not kept any more.
    #[schema(required)]
    changes: Option<BTreeMap<String, FromTo>>,
}

/// What a field was and what it became.
#[derive(Serialize, utoipa::ToSchema)]
struct FromTo {
    /// Before.
    from: Value,
    /// Afterwards.
    to: Value,
}

/// Who changed a link, what and when
///
/// Out of the log, as far back as it is kept.
#[utoipa::path(get, path = "/v1/links/{code}/history", operation_id = "get_history", tag = "links", params(CodeParam, DomainParam, LimitParam),
    responses((status = 200, description = "The newest changes first", body = View), (status = 404, response = NotFound)))]
pub(super) async fn of_link(State(api): State<Arc<Api>>, code: CodeInPath, request: Request) -> Response {
    answer(try_of_link(&api, code, request.into_parts().0).await)
}

async fn try_of_link(api: &Api, code: CodeInPath, head: Parts) -> Result<Response, Problem> {
    let caller = api.admit(&head.headers, Scopes::LINKS_READ)?;
    let domains = api.links.domains.table();
    let query = Query::read(&head.uri, &["domain", "limit"])?;
    let limit = query.whole("limit", LIMIT_DEFAULT, LIMIT_MAX)?;
    let key = api.links.key_as_kept(key_in(&code_text(code)?, &query, &domains)?).await?;
    let history = api.links.history(caller, key, limit).await?;
    let domain = known(&domains, key.domain)?;
    let data = history.entries.into_iter().map(|entry| view(api, &key.code, domain, entry)).collect();
    Ok(respond::json(StatusCode::OK, &View { data, is_complete: history.is_complete }))
}

fn view(api: &Api, code: &Code, domain: &KnownDomain, entry: Entry) -> EntryView {
    let action = match (&entry.after, entry.is_creation) {
        (None, _) => "deleted",
        (Some(_), true) => "created",
        (Some(_), false) => "changed",
    };
    let token = entry.actor.parse().ok().and_then(|id| api.tokens.get(id));
    let by_user = token.and_then(|token| token.user).map(|user| user.to_string());
    let known = entry.is_creation || entry.before.is_some() || entry.after.is_none();
    let changes = known.then(|| {
        let fields =
            |link: Option<&StoredLink>| link.map(|link| fields(code, link, domain)).unwrap_or_default();
        let (before, mut after) = (fields(entry.before.as_ref()), fields(entry.after.as_ref()));
        let mut changes = BTreeMap::new();
        // A deletion says no more than that.
        if entry.after.is_some() {
            for (name, from) in before {
                let to = after.remove(&name).unwrap_or_default();
                if from != to {
                    changes.insert(name, FromTo { from, to });
                }
            }
            let made = after.into_iter().filter(|(_, to)| !to.is_null());
            changes.extend(made.map(|(name, to)| (name, FromTo { from: Value::Null, to })));
        }
        changes
    });
    EntryView { version: entry.version, at: Rfc3339(entry.at_ms), by: entry.actor, by_user, action, changes }
}

/// What of a link can change, as answers show it.
fn fields(code: &Code, link: &StoredLink, domain: &KnownDomain) -> BTreeMap<String, Value> {
    const FIXED: [&str; 8] = [
        "code",
        "domain",
        "short_url",
        "version",
        "created_at",
        "created_by",
        "updated_at",
        "last_changed_by",
    ];
    match serde_json::to_value(LinkView::of_stored(code, link, domain, None)) {
        Ok(Value::Object(fields)) => {
            fields.into_iter().filter(|(name, _)| !FIXED.contains(&&**name)).collect()
        }
        _ => BTreeMap::new(),
    }
}
