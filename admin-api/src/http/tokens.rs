//! `/v1/tokens`: who may ask for what, and how much. The scope `admin` is asked for, but for a look at one's own token.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use linklog::entity::{Scopes, TOKEN_DOMAINS_MAX, Token, TokenLimits};
use linklog::{Change, Operation, Part, Precondition, StateKey};
use serde::Serialize;

use super::object::{Object, person, whole};
use super::openapi::{
    Conflict, IdParam, NewToken as NewTokenBody, NotFound, PageParams, TokenPatch, UserParam,
};
use super::query::Query;
use super::users::{IdInPath, PAGE_DEFAULT, PAGE_MAX, admitted, with_tag, write};
use super::{Api, answer, respond};
use crate::alias;
use crate::auth::{self, NewToken, TOKENS_MAX, TokenId, scope_named, scope_names};
use crate::clock;
use crate::domains::DomainTable;
use crate::json::Json;
use crate::links::ChangeError;
use crate::links::fields::Judge;
use crate::links::order::domain_named;
use crate::links::view::Rfc3339;
use crate::people::People;
use crate::problem::Problem;

/// Longest period of a quota, in seconds: a leap year.
const PERIOD_S_MAX: u64 = 366 * 24 * 3600;
/// Most requests per second a token can be given.
const REQUESTS_PER_S_MAX: u64 = 1_000_000;
/// Longest prefix of aliases, in characters: something has to follow.
const PREFIX_CHARS_MAX: usize = 40;

const FIELDS: [&str; 9] = [
    "name",
    "scopes",
    "user",
    "expires_at",
    "domains",
    "alias_prefix",
    "creates",
    "requests_per_s",
    "own_links_only",
];

/// A token as answers show it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenView<'a> {
    /// 16 hex digits.
    id: String,
    /// The whole token; only when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token: Option<&'a str>,
    /// A name for people.
    name: &'a str,
    /// What it may do.
    scopes: Vec<&'static str>,
    /// The id of its user.
    #[schema(required)]
    user: Option<String>,
    /// When it was made.
    created_at: Rfc3339,
    /// From when on it is refused.
    #[schema(required)]
    expires_at: Option<Rfc3339>,
    /// Since when it is refused for good.
    #[schema(required)]
    revoked_at: Option<Rfc3339>,
    /// When it was last used, as far as this process knows, or to within 5 s of what the one before knew.
    #[schema(required)]
    last_used_at: Option<Rfc3339>,
    /// The hosts of the domains on which it makes and changes links; null: all.
    #[schema(required)]
    domains: Option<Vec<&'a str>>,
    /// What the codes begin with that it makes and changes.
    #[schema(required)]
    alias_prefix: Option<&'a str>,
    /// How many links it may make.
    #[schema(required)]
    creates: Option<CreatesView>,
    /// How many requests it may make per second; null: as configured.
    #[schema(required)]
    requests_per_s: Option<u32>,
    /// Whether it sees and changes its user's links only.
    own_links_only: bool,
}

/// A quota of links and what is left of it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CreatesLeft)]
struct CreatesView {
    /// How many in a period.
    count: u64,
    /// How long a period is, in seconds.
    period_s: u64,
    /// How many are left in this one.
    left: u64,
}

/// A page of tokens.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TokenPage)]
pub(super) struct TokenPage<'a> {
    /// The tokens.
    data: Vec<TokenView<'a>>,
    /// Passed on as `after`; null: there are no more.
    #[schema(required)]
    next_after: Option<String>,
}

impl<'a> TokenView<'a> {
    fn new(api: &Api, id: TokenId, record: &'a Token, domains: &'a DomainTable) -> TokenView<'a> {
        let limits = &record.limits;
        let hosts = || limits.domains.iter().filter_map(|id| domains.get(*id)).map(|known| known.base.host());
        let usage = api.tokens.usage(id);
        let left = |quota| usage.as_ref().map_or(0, |usage| usage.left(quota, clock::now_ms()).0);
        TokenView {
            id: id.to_string(),
            token: None,
            name: &record.name,
            scopes: scope_names(record.scopes),
            user: record.user.map(|user| user.to_string()),
            created_at: Rfc3339(record.created_at_ms),
            expires_at: record.expires_at_ms.map(Rfc3339),
            revoked_at: record.revoked_at_ms.map(Rfc3339),
            last_used_at: usage.as_ref().and_then(|usage| usage.last_used_ms()).map(Rfc3339),
            domains: (!limits.domains.is_empty()).then(|| hosts().collect()),
            alias_prefix: limits.alias_prefix.as_deref(),
            creates: limits.creates.map(|(count, period_s)| CreatesView {
                count,
                period_s,
                left: left((count, period_s)),
            }),
            requests_per_s: limits.requests_per_s,
            own_links_only: limits.own_links_only,
        }
    }
}

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
    let change = change(&caller.token.to_string(), new.id(), &record, Precondition::NeverUsed);
    let version = write(api, change, in_force(api, new.id(), &record)).await?;
    tracing::info!(token = %new.id(), by = %caller.token, "made a token");
    let view = TokenView { token: Some(new.text()), ..TokenView::new(api, new.id(), &record, &domains) };
    Ok(with_tag(respond::json(StatusCode::CREATED, &view), version))
}

/// Returns the token that a body describes, yet without a secret. The operator's command says what a token is to be in the same words.
pub(crate) fn described(people: &People, domains: &DomainTable, body: &[u8]) -> Result<Token, Problem> {
    let (object, mut judge) = Object::read(body, &FIELDS)?;
    let blank = Token { created_at_ms: clock::now_ms(), ..Token::default() };
    let name = object.name(&mut judge).unwrap_or_default();
    if matches!(object.get("scopes"), None | Some(Json::Null)) {
        judge.find("scopes", "required", "the field is required");
    }
    let record = said(people, &mut judge, &object, domains, Token { name, ..blank });
    judge.end(Some(record)).map_err(Problem::invalid)
}

/// Judges what is said about a token; what is not said stays as it is in `token`.
fn said(
    people: &People,
    judge: &mut Judge,
    object: &Object<'_>,
    domains: &DomainTable,
    token: Token,
) -> Token {
    let mut token = token;
    if object.get("scopes").is_some_and(|json| *json != Json::Null) {
        token.scopes = scopes(judge, object);
    }
    if let Some(json) = object.get("user") {
        token.user = person(judge, "user", Some(json));
        if token.user.is_some_and(|user| people.user(user).is_none()) {
            judge.find("user", "user_not_found", "there is no such user");
        }
    }
    if let Some(json) = object.get("expires_at") {
        token.expires_at_ms = judge.expires_at_ms(Some(json));
        if token.expires_at_ms.is_some_and(|at| at <= clock::now_ms()) {
            judge.find("expires_at", "expires_at_in_the_past", "expires_at is not in the future");
        }
    }
    let limits = &mut token.limits;
    if object.get("domains").is_some() {
        limits.domains.clear();
        for host in object.texts(judge, "domains", TOKEN_DOMAINS_MAX) {
            match domain_named(Some(&host), domains) {
                Ok(id) if !limits.domains.contains(&id) => limits.domains.push(id),
                Ok(_) => {}
                Err(host) => {
                    judge.find(
                        "domains",
                        "domain_not_found",
                        format!("{host:?} is not a domain of this fleet"),
                    );
                }
            }
        }
    }
    if let Some(json) = object.get("alias_prefix") {
        limits.alias_prefix = prefix(judge, json);
    }
    if let Some(json) = object.get("creates") {
        limits.creates = creates(judge, json);
    }
    if object.get("requests_per_s").is_some() {
        let per_s = object.whole(judge, "requests_per_s", 1..=REQUESTS_PER_S_MAX);
        limits.requests_per_s = per_s.and_then(|per_s| u32::try_from(per_s).ok());
    }
    if object.get("own_links_only").is_some() {
        limits.own_links_only = object.flag(judge, "own_links_only");
    } else if object.get("user").is_some() && token.user.is_some() {
        // Whoever gets a token for a person means that person's links, unless said otherwise.
        limits.own_links_only = !token.scopes.contains(Scopes::ADMIN);
    }
    if limits.own_links_only && token.user.is_none() {
        // Taking the user away is not to let it see everybody's links in passing.
        let detail =
            "only a token of a user has links of its own; say own_links_only false if it is to see all";
        judge.find("own_links_only", "user_missing", detail);
    }
    if token.scopes.contains(Scopes::ADMIN) && token.limits != TokenLimits::default() {
        let only = TokenLimits { requests_per_s: token.limits.requests_per_s, ..TokenLimits::default() };
        if token.limits != only {
            let detail = "a token with the scope admin can be limited in requests_per_s only";
            judge.find("scopes", "admin_with_limits", detail);
        }
    }
    token
}

fn scopes(judge: &mut Judge, object: &Object<'_>) -> Scopes {
    let names = object.texts(judge, "scopes", 8);
    let allowed = "links:read, links:write, stats:read or admin";
    if names.is_empty() {
        judge.find("scopes", "scopes_empty", format!("a token needs at least one of {allowed}"));
    }
    names.iter().fold(Scopes::default(), |scopes, name| match scope_named(name) {
        Some(scope) => scopes.union(scope),
        None => {
            judge.find("scopes", "scope_not_allowed", format!("a scope is {allowed}"));
            scopes
        }
    })
}

fn prefix(judge: &mut Judge, json: &Json<'_>) -> Option<String> {
    let text = judge.text("alias_prefix", Some(json))?;
    let fits = (1..=PREFIX_CHARS_MAX).contains(&text.len());
    if !fits || alias::check(text, &alias::AliasRules::any()).is_err() {
        let detail = format!("1 to {PREFIX_CHARS_MAX} characters of A-Z a-z 0-9 _ -, no reserved word");
        judge.find("alias_prefix", "alias_prefix_not_allowed", detail);
        return None;
    }
    Some(text.to_owned())
}

fn creates(judge: &mut Judge, json: &Json<'_>) -> Option<(u64, u64)> {
    let members = match json {
        Json::Null => return None,
        Json::Object(members, _) => members,
        other => {
            judge.wrong_type("creates", "an object with count and period_s", other);
            return None;
        }
    };
    let expected = format!(
        "expected count, a whole number from 0, and period_s, a whole number of seconds from 1 to {PERIOD_S_MAX}"
    );
    let mut value = |name: &str, range| {
        let (_, json) = members.iter().find(|(known, _)| known.0 == name)?;
        whole(judge, "creates", json, range)
    };
    let creates = (value("count", 0..=u64::MAX >> 1), value("period_s", 1..=PERIOD_S_MAX));
    match creates {
        (Some(count), Some(period_s)) if members.len() == 2 => Some((count, period_s)),
        _ => {
            judge.find("creates", "creates_not_allowed", expected);
            None
        }
    }
}

fn change(actor: &str, id: TokenId, record: &Token, precondition: Precondition) -> Change {
    let operation = Operation::Put { serve: Vec::new(), manage: record.encode() };
    Change::new(actor, vec![Part { key: StateKey::Token(id.0), precondition, operation }])
}

/// Lists tokens
#[utoipa::path(get, path = "/v1/tokens", operation_id = "list_tokens", tag = "people", params(PageParams, UserParam),
    responses((status = 200, description = "A page, in the order of ids", body = TokenPage<'static>)))]
pub(super) async fn list(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_list(&api, request.into_parts().0))
}

fn try_list(api: &Api, head: Parts) -> Result<Response, Problem> {
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
    let data: Vec<_> = page.iter().map(|(id, token)| TokenView::new(api, *id, token, &domains)).collect();
    Ok(respond::json(StatusCode::OK, &TokenPage { data, next_after }))
}

/// Shows the token of the request
///
/// Any token may ask.
#[utoipa::path(get, path = "/v1/tokens/self", operation_id = "get_own_token", tag = "people",
    responses((status = 200, description = "The token", body = TokenView<'static>), (status = 404, response = NotFound)))]
pub(super) async fn own(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer((|| {
        let (head, _) = request.into_parts();
        let any = [Scopes::LINKS_READ, Scopes::LINKS_WRITE, Scopes::STATS_READ, Scopes::ADMIN];
        let caller = api.admit_any(&head.headers, &any)?;
        Query::read(&head.uri, &[])?;
        shown(&api, caller.token)
    })())
}

/// Reads a token
#[utoipa::path(get, path = "/v1/tokens/{id}", operation_id = "get_token", tag = "people", params(IdParam),
    responses((status = 200, description = "The token", body = TokenView<'static>), (status = 404, response = NotFound)))]
pub(super) async fn get(State(api): State<Arc<Api>>, id: IdInPath, request: Request) -> Response {
    answer((|| {
        let (head, _) = request.into_parts();
        api.admit(&head.headers, Scopes::ADMIN)?;
        Query::read(&head.uri, &[])?;
        shown(&api, id_of(id)?)
    })())
}

fn shown(api: &Api, id: TokenId) -> Result<Response, Problem> {
    let record = api.tokens.get(id).ok_or_else(Problem::no_token)?;
    let domains = api.links.domains.table();
    Ok(respond::json(StatusCode::OK, &TokenView::new(api, id, &record, &domains)))
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
        let change = change(&caller.token.to_string(), id, &token, Precondition::Version(version));
        write(api, change, in_force(api, id, &token)).await?;
    }
    shown(api, id)
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
        let token = Token { revoked_at_ms: Some(clock::now_ms()), ..known };
        let change = change(&caller.token.to_string(), id, &token, Precondition::Version(version));
        write(api, change, in_force(api, id, &token)).await?;
        tracing::info!(token = %id, by = %caller.token, "revoked a token");
    }
    Ok(respond::no_content())
}
