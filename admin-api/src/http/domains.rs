//! `/v1/domains` and `/v1/domains/{host}`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::header::LOCATION;
use http::request::Parts;
use linklog::entity::{Scopes, WellKnown};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::Expected;
use super::links::{CodeInPath, code_text, condition};
use super::openapi::{
    Conflict, DomainPatch, HostParam, IfMatchParam, NewDomain, NotFound, PreconditionFailed, PreferParam,
};
use super::query::Query;
use super::{Api, answer, prefers_async, respond};
use crate::domains::settings::{self, SettingsFields};
use crate::domains::{DomainTable, KnownDomain, host_name};
use crate::json::Json;
use crate::links::view::{EndedView, Rfc3339};
use crate::problem::Problem;
use crate::replication::ReplicationReport;

#[derive(Serialize, ToSchema)]
#[schema(as = WellKnownFile)]
struct FileView<'a> {
    name: &'a str,
    content_type: &'a str,
    /// Not in the list of all domains.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    body: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AliasLength)]
struct LengthView {
    min: u8,
    max: u8,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Domain)]
pub(super) struct DomainView<'a> {
    host: &'a str,
    hosts: Vec<&'a str>,
    short_url_base: String,
    case: &'static str,
    #[schema(required)]
    root_url: Option<&'a str>,
    #[schema(required)]
    not_found_url: Option<&'a str>,
    #[schema(required)]
    when_ended: Option<EndedView<'a>>,
    #[schema(required)]
    robots_txt: Option<&'a str>,
    well_known: Vec<FileView<'a>>,
    #[schema(required)]
    default_ttl: Option<u64>,
    #[schema(required)]
    alias_length: Option<LengthView>,
    created_at: Rfc3339,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<ReplicationReport>)]
    replication: Option<&'a ReplicationReport>,
}

fn view<'a>(
    table: &'a DomainTable,
    known: &'a KnownDomain,
    replication: Option<&'a ReplicationReport>,
) -> DomainView<'a> {
    let (manage, answers) = (&known.manage, &known.answers);
    let file = |WellKnown { name, content_type, body }: &'a WellKnown| FileView {
        name,
        content_type,
        body: Some(body),
    };
    DomainView {
        host: known.base.host(),
        hosts: table.hosts(known.id),
        short_url_base: known.base.to_string(),
        case: known.case(),
        root_url: answers.root.as_deref(),
        not_found_url: answers.not_found.as_deref(),
        when_ended: answers.ended.as_ref().map(EndedView::new),
        robots_txt: answers.robots.as_deref(),
        well_known: answers.well_known.iter().map(file).collect(),
        default_ttl: manage.default_ttl_s,
        alias_length: manage.alias_lengths.map(|(min, max)| LengthView { min, max }),
        created_at: Rfc3339(manage.created_at_ms),
        version: known.version,
        replication,
    }
}

fn shown(
    table: &DomainTable,
    known: &KnownDomain,
    status: StatusCode,
    replication: Option<&ReplicationReport>,
) -> Response {
    respond::with_version(respond::json(status, &view(table, known, replication)), known.version)
}

fn named<'t>(table: &'t DomainTable, name: &str) -> Result<&'t KnownDomain, Problem> {
    let id = host_name(name).and_then(|host| table.of_host(&host));
    id.and_then(|id| table.get(id))
        .ok_or_else(|| Problem::no_domain(&name.chars().take(253).collect::<String>()))
}

fn wrong_shape(found: &str) -> Problem {
    Problem::wrong_shape(format!("expected an object, found {found}"))
}

/// Domains
///
/// All of them, with what they were told, but for the bodies of their files.
#[utoipa::path(get, path = "/v1/domains", operation_id = "list_domains", tag = "domains", responses(
    (status = 200, description = "The domains", body = Views<'static>),
))]
pub(super) async fn list(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_list(&api, &request.into_parts().0))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Domains)]
pub(super) struct Views<'a> {
    /// All of them, the default domain first.
    data: Vec<DomainView<'a>>,
}

fn try_list(api: &Api, head: &Parts) -> Result<Response, Problem> {
    api.admit(&head.headers, Scopes::LINKS_READ)?;
    Query::read(&head.uri, &[])?;
    let table = api.links.domains.table();
    let listed = |known| {
        let mut view = view(&table, known, None);
        // There are no pages, and one domain may have 192 KiB of them.
        view.well_known.iter_mut().for_each(|file| file.body = None);
        view
    };
    let data = table.all().map(listed).collect();
    Ok(respond::json(StatusCode::OK, &Views { data }))
}

/// A domain
#[utoipa::path(get, path = "/v1/domains/{host}", operation_id = "get_domain", tag = "domains", params(HostParam), responses(
    (status = 200, description = "The domain", body = DomainView<'static>), (status = 404, response = NotFound),
))]
pub(super) async fn get(State(api): State<Arc<Api>>, host: CodeInPath, request: Request) -> Response {
    answer(try_get(&api, host, &request.into_parts().0))
}

fn try_get(api: &Api, host: CodeInPath, head: &Parts) -> Result<Response, Problem> {
    api.admit(&head.headers, Scopes::LINKS_READ)?;
    Query::read(&head.uri, &[])?;
    let table = api.links.domains.table();
    Ok(shown(&table, named(&table, &code_text(host)?)?, StatusCode::OK, None))
}

/// Declare a domain
///
/// Needs the scope `admin`. Its host and the case of its aliases cannot be changed later.
#[utoipa::path(post, path = "/v1/domains", operation_id = "declare_domain", tag = "domains", params(PreferParam), request_body = NewDomain,
    responses((status = 201, description = "The domain", body = DomainView<'static>), (status = 409, response = Conflict)))]
pub(super) async fn declare(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_declare(&api, request).await)
}

async fn try_declare(api: &Api, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = api.admit(&head.headers, Scopes::ADMIN)?;
    Query::read(&head.uri, &[])?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch: false };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let new = {
        let json: Json<'_> =
            serde_json::from_slice(&held.bytes).map_err(|error| Problem::malformed(&error))?;
        let fields = SettingsFields::of(&json).map_err(wrong_shape)?;
        settings::new(fields, &api.links.rules, &api.links.domains.table()).map_err(Problem::invalid)?
    };
    drop(held);
    let skip_proxies = prefers_async(&head.headers);
    let (host, replication) = api.links.declare_domain(caller, &new, skip_proxies).await?;
    let table = api.links.domains.table();
    let mut response = shown(&table, named(&table, &host)?, StatusCode::CREATED, Some(&replication));
    let location =
        http::HeaderValue::try_from(format!("/v1/domains/{host}")).expect("hosts are visible ASCII");
    response.headers_mut().insert(LOCATION, location);
    Ok(respond::with_preference(response, skip_proxies))
}

/// Tell a domain what to do
///
/// A merge patch; needs the scope `admin`.
#[utoipa::path(patch, path = "/v1/domains/{host}", operation_id = "change_domain", tag = "domains",
    params(HostParam, IfMatchParam, PreferParam),
    request_body(content((DomainPatch = "application/merge-patch+json"), (DomainPatch = "application/json"))), responses(
    (status = 200, description = "The domain", body = DomainView<'static>, headers(("ETag", description = "Its version"))),
    (status = 404, response = NotFound), (status = 409, response = Conflict), (status = 412, response = PreconditionFailed),
))]
pub(super) async fn patch(State(api): State<Arc<Api>>, host: CodeInPath, request: Request) -> Response {
    answer(try_patch(&api, host, request).await)
}

async fn try_patch(api: &Api, host: CodeInPath, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = api.admit(&head.headers, Scopes::ADMIN)?;
    Query::read(&head.uri, &[])?;
    let host = code_text(host)?;
    let condition = condition(&head.headers)?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch: true };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let skip_proxies = prefers_async(&head.headers);
    let table = api.links.domains.table();
    let known = named(&table, &host)?;
    // That it is still this version is checked again where the change is decided.
    if !condition.allows(known.version) {
        return Err(Problem::domain_version_mismatch(known.version));
    }
    let (manage, answers) = {
        let json: Json<'_> =
            serde_json::from_slice(&held.bytes).map_err(|error| Problem::malformed(&error))?;
        let fields = SettingsFields::of(&json).map_err(wrong_shape)?;
        settings::patched(fields, known, &api.links.rules, &table).map_err(Problem::invalid)?
    };
    drop(held);
    let changed = api.links.change_domain(caller, known, (&manage, &answers), skip_proxies).await?;
    let replication = changed.ok_or_else(|| {
        let table = api.links.domains.table();
        let now = named(&table, &host).map_or(known.version, |known| known.version);
        if condition.allows(now) {
            Problem::domain_contended()
        } else {
            Problem::domain_version_mismatch(now)
        }
    })?;
    let table = api.links.domains.table();
    let response = shown(&table, named(&table, &host)?, StatusCode::OK, Some(&replication));
    Ok(respond::with_preference(response, skip_proxies))
}
