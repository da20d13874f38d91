//! `/v1/tokens`: who may ask for what, and how much. The scope `admin` is asked for, but for a look at one's own token.
//!
//! - `view`: tokens as answers show them · `body`: what requests say about them

mod body;
mod view;

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use linklog::Precondition;
use linklog::entity::{QuotaId, Scopes, Token};

use super::object::Object;
use super::openapi::{
    Conflict, IdParam, NewToken as NewTokenBody, NotFound, PageParams, TokenPatch, UserParam,
};
use super::query::Query;
use super::users::{IdInPath, PAGE_DEFAULT, PAGE_MAX, admitted, with_tag, write};
use super::{Api, answer, respond};
use crate::auth::pass::change_token;
use crate::auth::{self, NewToken, TOKENS_MAX, TokenId};
use crate::clock;
use crate::links::ChangeError;
use crate::problem::Problem;
pub(crate) use body::described;
use body::{FIELDS, said};
use view::{TokenPage, TokenView, standing_of};

fn id_of(id: IdInPath) -> Result<TokenId, Problem> {
    id.ok().and_then(|Path(id)| id.parse().ok()).ok_or_else(Problem::no_token)
}

/// Makes a token
///
/// `token` in the answer is shown this once.
#[utoipa::path(post, path = "/v1/tokens", operation_id = "create_token", tag = "people",
    request_body = NewTokenBody,
    responses((status = 201, description = "The token", body = TokenView<'static>), (status = 409, response = Conflict)))]
pub(super) async fn create(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_create(&api, request).await)
}

async fn try_create(api: &Arc<Api>, request: Request) -> Result<Response, Problem> {
    let (caller, _, body) = admitted(api, request, false).await?;
    let domains = api.links.domains.table();
    let record = described(&api.people, &domains, &body.bytes)?;
    if api.tokens.len() >= TOKENS_MAX {
        return Err(Problem::too_many("tokens", TOKENS_MAX));
    }
    let new = NewToken::generate().map_err(|error| Problem::of_failure(&error))?;
    let record = Token { secret_hash: new.secret_hash(), ..record };
    let quota =
        api.links.budgets.change_quota(QuotaId::of_token(new.id().0), record.limits.redirects).await?;
    let actor = caller.token.to_string();
    let mut change = change_token(&actor, new.id(), None, &record, Precondition::NeverUsed);
    change.parts.extend(quota.part.clone());
    let version = write(api, change, in_force(api, new.id(), &record)).await?;
    tracing::info!(token = %new.id(), by = %caller.token, "made a token");
    let mut view = TokenView::new(api, (new.id(), &record), None, &domains);
    view.token = Some(new.text());
    Ok(with_tag(respond::json(StatusCode::CREATED, &view), version))
}

/// Lists tokens
#[utoipa::path(get, path = "/v1/tokens", operation_id = "list_tokens", tag = "people", params(PageParams, UserParam),
    responses((status = 200, description = "A page, in the order of ids", body = TokenPage<'static>)))]
pub(super) async fn list(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_list(&api, request.into_parts().0).await)
}

async fn try_list(api: &Api, head: Parts) -> Result<Response, Problem> {
    api.admit(&head.headers, Scopes::ADMIN)?;
    let query = Query::read(&head.uri, &["limit", "after", "user"])?;
    let limit = query.whole("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let parsed = |name: &str, code, why: &str| match query.get(name).map(str::parse::<TokenId>) {
        None => Ok(None),
        Some(Ok(id)) => Ok(Some(id)),
        Some(Err(_)) => Err(Problem::parameter(name, code, why)),
    };
    let after = parsed("after", "cursor_invalid", "pass next_after on unchanged")?;
    // Ids of users have the form of tokens' ids.
    let user = parsed("user", "id_not_valid", "the id of a user has 16 hex digits (0-9, a-f)")?;
    let mut all = api.tokens.all();
    all.sort_unstable_by_key(|(id, _)| *id);
    let wanted = |(id, token): &&(TokenId, Token)| {
        after.is_none_or(|after| *id > after)
            && user.is_none_or(|user| token.user.is_some_and(|of| of.0 == user.0))
    };
    let page: Vec<_> = all.iter().filter(wanted).take(limit).collect();
    let next_after = (page.len() == limit).then(|| page.last().map(|(id, _)| id.to_string())).flatten();
    let domains = api.links.domains.table();
    let mut data = Vec::with_capacity(page.len());
    for (id, token) in page {
        let redirects = standing_of(api, *id, token).await?;
        data.push(TokenView::new(api, (*id, token), redirects.as_ref(), &domains));
    }
    Ok(respond::json(StatusCode::OK, &TokenPage { data, next_after }))
}

/// Shows the token of the request
///
/// Any token may ask.
#[utoipa::path(get, path = "/v1/tokens/self", operation_id = "get_own_token", tag = "people",
    responses((status = 200, description = "The token", body = TokenView<'static>), (status = 404, response = NotFound)))]
pub(super) async fn own(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(
        async {
            let (head, _) = request.into_parts();
            let any = [Scopes::LINKS_READ, Scopes::LINKS_WRITE, Scopes::STATS_READ, Scopes::ADMIN];
            let caller = api.admit_any(&head.headers, &any)?;
            Query::read(&head.uri, &[])?;
            shown(&api, caller.token).await
        }
        .await,
    )
}

/// Reads a token
#[utoipa::path(get, path = "/v1/tokens/{id}", operation_id = "get_token", tag = "people", params(IdParam),
    responses((status = 200, description = "The token", body = TokenView<'static>), (status = 404, response = NotFound)))]
pub(super) async fn get(State(api): State<Arc<Api>>, id: IdInPath, request: Request) -> Response {
    answer(
        async {
            let (head, _) = request.into_parts();
            api.admit(&head.headers, Scopes::ADMIN)?;
            Query::read(&head.uri, &[])?;
            shown(&api, id_of(id)?).await
        }
        .await,
    )
}

async fn shown(api: &Api, id: TokenId) -> Result<Response, Problem> {
    let record = api.tokens.get(id).ok_or_else(Problem::no_token)?;
    let domains = api.links.domains.table();
    let redirects = standing_of(api, id, &record).await?;
    Ok(respond::json(StatusCode::OK, &TokenView::new(api, (id, &record), redirects.as_ref(), &domains)))
}

/// Returns a token's record with its version as the log has it, and sees to it that this is in force.
async fn refreshed(api: &Api, id: TokenId) -> Result<(Token, u64), Problem> {
    let found = api.links.log.read(move |reader| auth::stored(reader, id)).await;
    let found = found.map_err(ChangeError::from)?.map_err(ChangeError::from)?;
    let (record, version) = found.ok_or_else(Problem::no_token)?;
    api.tokens.put_if_newer(id, record.clone(), version);
    Ok((record, version))
}

/// Returns what takes a record over once it is durable under a version.
fn in_force(api: &Api, id: TokenId, record: &Token) -> impl FnOnce(u64) + Send + use<> {
    let (tokens, record) = (api.tokens.clone(), record.clone());
    move |version| tokens.put_if_newer(id, record, version)
}

/// Changes a token
///
/// A merge patch (RFC 7396).
#[utoipa::path(patch, path = "/v1/tokens/{id}", operation_id = "update_token", tag = "people", params(IdParam),
    request_body(content((TokenPatch = "application/merge-patch+json"), (TokenPatch = "application/json"))),
    responses((status = 200, description = "The token", body = TokenView<'static>), (status = 404, response = NotFound), (status = 409, response = Conflict)))]
pub(super) async fn patch(State(api): State<Arc<Api>>, id: IdInPath, request: Request) -> Response {
    answer(try_patch(&api, id, request).await)
}

async fn try_patch(api: &Arc<Api>, id: IdInPath, request: Request) -> Result<Response, Problem> {
    let (caller, _, body) = admitted(api, request, true).await?;
    let id = id_of(id)?;
    let domains = api.links.domains.table();
    let (object, mut judge) = Object::read(&body.bytes, &FIELDS)?;
    let (known, version) = refreshed(api, id).await?;
    let mut token = known.clone();
    if object.get("name").is_some() {
        token.name = object.name(&mut judge).unwrap_or_default();
    }
    let token = said(&api.people, &mut judge, &object, &domains, token);
    let token = judge.end(Some(token)).map_err(Problem::invalid)?;
    if token != known {
        let quota = api.links.budgets.change_quota(QuotaId::of_token(id.0), token.limits.redirects).await?;
        let actor = caller.token.to_string();
        let mut change = change_token(&actor, id, Some(&known), &token, Precondition::Version(version));
        change.parts.extend(quota.part.clone());
        write(api, change, in_force(api, id, &token)).await?;
        api.links.budgets.quota_changed(quota).await?;
    }
    shown(api, id).await
}

/// Revokes a token
///
/// For good, at once.
#[utoipa::path(delete, path = "/v1/tokens/{id}", operation_id = "revoke_token", tag = "people", params(IdParam),
    responses((status = 204, description = "It is revoked"), (status = 404, response = NotFound), (status = 409, response = Conflict)))]
pub(super) async fn revoke(State(api): State<Arc<Api>>, id: IdInPath, request: Request) -> Response {
    answer(try_revoke(&api, id, request.into_parts().0).await)
}

async fn try_revoke(api: &Arc<Api>, id: IdInPath, head: Parts) -> Result<Response, Problem> {
    let caller = api.admit(&head.headers, Scopes::ADMIN)?;
    Query::read(&head.uri, &[])?;
    let id = id_of(id)?;
    let (known, version) = refreshed(api, id).await?;
    if known.revoked_at_ms.is_none() {
        let token = Token { revoked_at_ms: Some(clock::now_ms()), ..known.clone() };
        let actor = caller.token.to_string();
        let change = change_token(&actor, id, Some(&known), &token, Precondition::Version(version));
        write(api, change, in_force(api, id, &token)).await?;
        tracing::info!(token = %id, by = %caller.token, "revoked a token");
    }
    Ok(respond::no_content())
}
