//! `/v1/links` and `/v1/links/{code}`.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use linklog::entity::Scopes;
use linklog::{Code, DomainId, Key};
use serde::Serialize;

use super::body::Expected;
use super::openapi::{
    CodeParam, Conflict, DomainParam, ExternalIdParam, FilterParams, Gone, IdempotencyKeyParam, IfMatchParam,
    IfNoneMatchParam, LinkPatch, ListParams, NewLink, NotFound, PreconditionFailed, PreferParam, WholeLink,
};
use super::query::{Query, key_of};
use super::{Api, answer, idempotency_key, prefers_async, respond};
use crate::alias::{self, AliasRules};
use crate::blocking::{self, Turn};
use crate::domains::{DomainTable, KnownDomain};
use crate::links::condition::Condition;
use crate::links::create::{Made, Request as CreateRequest};
use crate::links::fields::{Described, LinkFields};
use crate::links::idempotency::request_hash;
use crate::links::keeping::{EXTERNAL_ID_RULE, is_external_id};
use crate::links::list::Page;
use crate::links::order::Order;
use crate::links::put::Put;
use crate::links::upsert::Upserted;
use crate::links::view::{LinkView, Rfc3339, Shown};
use crate::links::{ChangeError, Changed, order, patch};
use crate::log::Ending;
use crate::problem::Problem;
use crate::replication::ReplicationReport;

/// Makes a link
///
/// The answer comes when every healthy proxy has the link, or after 250 ms; `replication` says who has it.
#[utoipa::path(post, path = "/v1/links", operation_id = "create_link", tag = "links",
    params(IdempotencyKeyParam, PreferParam), request_body = NewLink,
    responses(
        (status = 201, description = "The link", body = LinkView<'static>, headers(
            ("Location", description = "Its address in this API"), ("ETag", description = "Its version"))),
        (status = 404, response = NotFound), (status = 409, response = Conflict), (status = 410, response = Gone),
    ))]
pub(super) async fn create(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_create(&api, request).await)
}

async fn try_create(api: &Api, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = api.admit(&head.headers, Scopes::LINKS_WRITE)?;
    Query::read(&head.uri, &[])?;
    let key = idempotency_key(&head.headers, caller)?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch: false };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let domains = api.links.domains.table();
    let mut order = order::judge(fields_of(&held.bytes)?, &api.links.rules, &domains)?;
    drop(held);
    api.links.hash_passwords(std::iter::once(&mut order)).await?;
    let key = key.map(|key| {
        let mut canonical = Vec::with_capacity(order.link.target.len() + 128);
        order.write_canonical(&mut canonical);
        (key, request_hash(&canonical))
    });
    let skip_proxies = prefers_async(&head.headers);
    let request = CreateRequest { caller, orders: &[&order], key, skip_proxies, ahead: None };
    let mut batch = api.links.create(&request).await?;
    let made = batch.made.pop().unwrap_or(Made::NoCode);
    if let (Made::AliasTaken, Some(alias)) = (&made, &order.alias) {
        return Err(Problem::alias_taken(api.links.suggestions(order.domain, alias).await?));
    }
    let response = created(&order, &made, &batch.replication, &domains)?;
    let response = if batch.replayed { respond::with_replayed(response) } else { response };
    Ok(respond::with_preference(response, skip_proxies))
}

fn created(
    order: &Order,
    made: &Made,
    replication: &ReplicationReport,
    domains: &DomainTable,
) -> Result<Response, Problem> {
    let status = if matches!(made, Made::Found(_)) { StatusCode::OK } else { StatusCode::CREATED };
    let (view, code, domain, version) = match made {
        Made::Created { code, version, .. } => {
            let domain = known(domains, order.domain)?;
            (made_view(order, made, domain, Some(replication)), code, domain, *version)
        }
        Made::Replayed(found) | Made::Found(found) => {
            let (key, stored) = &**found;
            let domain = known(domains, key.domain)?;
            let view = LinkView::of_stored(&key.code, stored, domain, Some(replication));
            (Some(view), &key.code, domain, stored.stamp.version)
        }
        other => return Err(refusal(other)),
    };
    let response = respond::with_version(respond::json(status, &view), version);
    let elsewhere = (domain.id != DomainId::DEFAULT).then(|| domain.base.host());
    Ok(respond::with_location(response, code, elsewhere))
}

/// Shows a link that was made now.
pub(super) fn made_view<'a>(
    order: &'a Order,
    made: &'a Made,
    domain: &'a KnownDomain,
    replication: Option<&'a ReplicationReport>,
) -> Option<LinkView<'a>> {
    let Made::Created { code, version, created_at_ms, manage } = made else { return None };
    let shown = Shown { code, domain, manage: manage.as_deref()?, version: *version, replication };
    Some(LinkView::new(&order.link, shown).ending(order.expires_at_ms(*created_at_ms)))
}

/// Says why an order was not fulfilled.
pub(super) fn refusal(made: &Made) -> Problem {
    match made {
        Made::AliasTaken => Problem::alias_taken(Vec::new()),
        Made::AlreadyExpired => Problem::already_expired(),
        Made::EndsFirst => Problem::ends_first(),
        Made::Gone => Problem::gone(),
        Made::ExternalIdTaken => Problem::external_id_taken(),
        Made::Denied(denied) => Problem::denied(denied),
        Made::Refused(refused) => refused.clone().into(),
        Made::NoCode | Made::Created { .. } | Made::Replayed(_) | Made::Found(_) => Problem::no_codes(),
    }
}

/// Finds a domain that a link is on: domains are never removed.
pub(super) fn known(domains: &DomainTable, id: DomainId) -> Result<&KnownDomain, Problem> {
    domains.get(id).ok_or_else(|| Problem::no_domain(&id.0.to_string()))
}

fn fields_of(bytes: &[u8]) -> Result<LinkFields<'_>, Problem> {
    match serde_json::from_slice(bytes).map_err(|error| Problem::malformed(&error))? {
        Described::Link(fields) => Ok(fields),
        Described::NoObject(found) => Err(Problem::wrong_shape(format!("expected an object, found {found}"))),
    }
}

pub(super) type CodeInPath = Result<Path<String>, PathRejection>;

/// A path that is no text names no link.
pub(super) fn code_text(code: CodeInPath) -> Result<String, Problem> {
    code.map(|Path(code)| code).map_err(|_| Problem::no_link())
}

/// Reads a link
#[utoipa::path(get, path = "/v1/links/{code}", operation_id = "get_link", tag = "links", params(CodeParam, DomainParam),
    responses(
        (status = 200, description = "The link", body = LinkView<'static>, headers(("ETag", description = "Its version"))),
        (status = 404, response = NotFound),
    ))]
pub(super) async fn get(State(api): State<Arc<Api>>, code: CodeInPath, request: Request) -> Response {
    answer(try_get(&api, code, request.into_parts().0).await)
}

async fn try_get(api: &Api, code: CodeInPath, head: Parts) -> Result<Response, Problem> {
    let caller = api.admit(&head.headers, Scopes::LINKS_READ)?;
    let domains = api.links.domains.table();
    let key = api.links.key_as_kept(key_of(&code_text(code)?, &head.uri, &domains)?).await?;
    let (stored, totals) = api.links.get_counted(caller, key).await?;
    let view = LinkView::of_stored(&key.code, &stored, known(&domains, key.domain)?, None);
    let view = view.with_clicks(totals.clicks());
    Ok(respond::with_version(respond::json(StatusCode::OK, &view), stored.stamp.version))
}

/// Changes a link
///
/// A merge patch (RFC 7396): what is not there stays, `null` clears.
#[utoipa::path(patch, path = "/v1/links/{code}", operation_id = "update_link", tag = "links",
    params(CodeParam, DomainParam, IfMatchParam, PreferParam),
    request_body(content((LinkPatch = "application/merge-patch+json"), (LinkPatch = "application/json"))),
    responses(
        (status = 200, description = "The link", body = LinkView<'static>, headers(("ETag", description = "Its version"))),
        (status = 404, response = NotFound), (status = 409, response = Conflict),
        (status = 412, response = PreconditionFailed),
    ))]
pub(super) async fn patch(State(api): State<Arc<Api>>, code: CodeInPath, request: Request) -> Response {
    answer(try_patch(&api, code, request).await)
}

async fn try_patch(api: &Api, code: CodeInPath, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = api.admit(&head.headers, Scopes::LINKS_WRITE)?;
    let domains = api.links.domains.table();
    let key = api.links.key_as_kept(key_of(&code_text(code)?, &head.uri, &domains)?).await?;
    let condition = condition(&head.headers)?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch: true };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let mut patch =
        patch::judge(fields_of(&held.bytes)?, &api.links.rules, &domains).map_err(Problem::invalid)?;
    drop(held);
    api.links.hash_password_of(&mut patch).await?;
    let skip_proxies = prefers_async(&head.headers);
    let changed = api.links.patch(caller, key, &patch, &condition, skip_proxies).await?;
    let domain = known(&domains, key.domain)?;
    let view = LinkView::of_stored(&key.code, &changed.link, domain, Some(&changed.replication));
    let response = respond::with_version(respond::json(StatusCode::OK, &view), changed.link.stamp.version);
    Ok(respond::with_preference(response, skip_proxies))
}

/// Makes a link under a code, or replaces the one that is there
///
/// What the body does not say is as on a new link. `If-None-Match: *` only makes, `If-Match` only replaces.
#[utoipa::path(put, path = "/v1/links/{code}", operation_id = "put_link", tag = "links",
    params(CodeParam, DomainParam, IfMatchParam, IfNoneMatchParam, PreferParam), request_body = WholeLink,
    responses(
        (status = 200, description = "The link, replaced", body = LinkView<'static>, headers(("ETag", description = "Its version"))),
        (status = 201, description = "The link, made", body = LinkView<'static>, headers(
            ("Location", description = "Its address in this API"), ("ETag", description = "Its version"))),
        (status = 404, response = NotFound), (status = 409, response = Conflict),
        (status = 412, response = PreconditionFailed),
    ))]
pub(super) async fn put(State(api): State<Arc<Api>>, code: CodeInPath, request: Request) -> Response {
    answer(try_put(&api, code, request).await)
}

async fn try_put(api: &Api, code: CodeInPath, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = api.admit(&head.headers, Scopes::LINKS_WRITE)?;
    let domains = api.links.domains.table();
    let text = code_text(code)?;
    // What no link can be called is not missing here, it is wrong.
    alias::check(&text, &AliasRules::any()).map_err(ChangeError::Alias)?;
    let key = key_of(&text, &head.uri, &domains)?;
    let header = |name| head.headers.get(name).map(|value| value.as_bytes());
    let condition = Condition::of_headers(header(IF_MATCH), header(IF_NONE_MATCH))?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch: false };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let mut order = order::judge_whole(fields_of(&held.bytes)?, key, &api.links.rules, &domains)
        .map_err(Problem::invalid)?;
    drop(held);
    api.links.hash_passwords(std::iter::once(&mut order)).await?;
    let skip_proxies = prefers_async(&head.headers);
    let put = api.links.put(caller, key, &order, &condition, skip_proxies).await?;
    put_answer(&domains, key, &put, skip_proxies)
}

fn put_answer(domains: &DomainTable, key: Key, put: &Put, skip_proxies: bool) -> Result<Response, Problem> {
    let domain = known(domains, key.domain)?;
    let Changed { link, replication } = &put.changed;
    let view = LinkView::of_stored(&key.code, link, domain, Some(replication));
    let status = if put.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = respond::with_version(respond::json(status, &view), link.stamp.version);
    if put.is_new {
        let elsewhere = (domain.id != DomainId::DEFAULT).then(|| domain.base.host());
        response = respond::with_location(response, &key.code, elsewhere);
    }
    Ok(respond::with_preference(response, skip_proxies))
}

/// Makes or replaces the link that another system calls so
#[utoipa::path(put, path = "/v1/links", operation_id = "put_link_by_external_id", tag = "links", params(ExternalIdParam, PreferParam),
    request_body = NewLink,
    responses(
        (status = 200, description = "It was there", body = LinkView<'static>, headers(("ETag", description = "Its version"))),
        (status = 201, description = "It was made", body = LinkView<'static>, headers(
            ("Location", description = "Its address in this API"), ("ETag", description = "Its version"))),
        (status = 404, response = NotFound), (status = 409, response = Conflict), (status = 412, response = PreconditionFailed)))]
pub(super) async fn upsert(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_upsert(&api, request).await)
}

async fn try_upsert(api: &Api, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = api.admit(&head.headers, Scopes::LINKS_WRITE)?;
    let query = Query::read(&head.uri, &["external_id"])?;
    let id = query
        .get("external_id")
        .filter(|id| is_external_id(id))
        .ok_or_else(|| Problem::parameter("external_id", "external_id_not_allowed", EXTERNAL_ID_RULE))?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch: false };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let domains = api.links.domains.table();
    let fields = fields_of(&held.bytes)?;
    if fields.external_id.is_some() {
        return Err(Problem::field("external_id", "unknown_field", "the external id is in the query"));
    }
    if fields.reserve.is_some() {
        return Err(Problem::field("reserve", "unknown_field", "reserve an alias with POST"));
    }
    let names_domain = fields.domain.is_some();
    let mut order = order::judge(fields, &api.links.rules, &domains)?;
    if order.dedupe {
        return Err(Problem::field("dedupe", "dedupe_with_name", "the external id says which link is meant"));
    }
    drop(held);
    api.links.hash_passwords(std::iter::once(&mut order)).await?;
    let skip_proxies = prefers_async(&head.headers);
    match api.links.upsert(caller, &order, id, names_domain, skip_proxies).await? {
        Upserted::Put(key, put) => put_answer(&domains, key, &put, skip_proxies),
        Upserted::Refused(made) => Err(refusal(&made)),
    }
}

pub(super) fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    Ok(Condition::of_header(headers.get(IF_MATCH).map(|value| value.as_bytes()))?)
}

/// Deletes a link
///
/// Its clicks are kept; a generated code is never given out again.
#[utoipa::path(delete, path = "/v1/links/{code}", operation_id = "delete_link", tag = "links",
    params(CodeParam, DomainParam, IfMatchParam, PreferParam),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, response = NotFound), (status = 409, response = Conflict),
        (status = 412, response = PreconditionFailed),
    ))]
pub(super) async fn delete(State(api): State<Arc<Api>>, code: CodeInPath, request: Request) -> Response {
    answer(try_delete(&api, code, request.into_parts().0).await)
}

async fn try_delete(api: &Api, code: CodeInPath, head: Parts) -> Result<Response, Problem> {
    let caller = api.admit(&head.headers, Scopes::LINKS_WRITE)?;
    let domains = api.links.domains.table();
    let key = api.links.key_as_kept(key_of(&code_text(code)?, &head.uri, &domains)?).await?;
    let condition = condition(&head.headers)?;
    let skip_proxies = prefers_async(&head.headers);
    api.links.delete(caller, key, &condition, skip_proxies).await?;
    Ok(respond::with_preference(respond::no_content(), skip_proxies))
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Page)]
pub(super) struct PageView<'a> {
    /// Newest first, unless said otherwise.
    data: Vec<LinkView<'a>>,
    /// Pass it on as `cursor` for the next page; null: this was the last one.
    #[schema(required)]
    next_cursor: Option<String>,
    /// How many there are, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    total: Option<TotalView>,
    /// Of a list by words or clicks: every change made before this time is in it, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    as_of: Option<Rfc3339>,
    /// Of a list by words or clicks: whether all words were looked at that begin with the last one of `q`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    is_complete: Option<bool>,
}

/// How many links there are; not exact means at least so many.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Total)]
struct TotalView {
    /// So many, or at least so many.
    count: u64,
    /// Whether there are exactly so many.
    is_exact: bool,
}

const LIST_PARAMETERS: [&str; 14] = [
    "q",
    "limit",
    "cursor",
    "sort",
    "total",
    "archived",
    "external_id",
    "domain",
    "state",
    "host",
    "tag",
    "created_from",
    "created_before",
    "owner",
];

/// Lists links, newest first
///
/// With `q` or in an order by clicks the list comes from an index that is a few seconds behind, and says so in `as_of`; what it shows is as the links
/// are now. A page may have fewer links than asked for, even none, and a cursor: go on as long as there is one.
#[utoipa::path(get, path = "/v1/links", operation_id = "list_links", tag = "links", params(ListParams, FilterParams),
    responses((status = 200, description = "A page", body = PageView<'static>), (status = 404, response = NotFound)))]
pub(super) async fn list(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_list(&api, request.into_parts().0).await)
}

async fn try_list(api: &Api, head: Parts) -> Result<Response, Problem> {
    let caller = api.admit(&head.headers, Scopes::LINKS_READ)?;
    let domains = api.links.domains.table();
    let query = Query::read_with(&head.uri, &LIST_PARAMETERS, &["tag"])?;
    let wanted = api.links.bounded(caller, query.wanted(&domains, caller)?).map_err(ChangeError::from)?;
    let page = api.links.list(wanted).await?;
    let written = blocking::run_in(Turn::Behind, move || write_page(&page, &domains));
    written.await.map_err(|_| ChangeError::from(Ending))?
}

fn write_page(page: &Page, domains: &DomainTable) -> Result<Response, Problem> {
    let codes: Vec<Code> = page.links.iter().map(|(key, _)| key.code).collect();
    let shown = codes.iter().zip(&page.links).zip(&page.totals).map(|((code, (key, stored)), totals)| {
        let view = LinkView::of_stored(code, stored, known(domains, key.domain)?, None);
        Ok(view.with_clicks(totals.clicks()))
    });
    let data = shown.collect::<Result<_, Problem>>()?;
    let next_cursor = page.next.map(|next| next.encode());
    let total = page.total.map(|total| TotalView { count: total.links, is_exact: total.is_exact });
    let as_of = page.searched.map(|searched| Rfc3339(searched.as_of_ms));
    let is_complete = page.searched.map(|searched| searched.is_complete);
    Ok(respond::json(StatusCode::OK, &PageView { data, next_cursor, total, as_of, is_complete }))
}
