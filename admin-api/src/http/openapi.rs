//! The description of the API: OpenAPI 3.1, made from the handlers and the types they answer with.
//!
//! Owned here: what every operation has in common is added in one place (`complete`), so that a handler describes only what is its own:
//! `#[utoipa::path(…)]` with its path, parameters, body and the statuses that not everybody has. `tests/golden/openapi.json` holds the
//! document as it was last looked at; a test says how to renew it.
//!
//! - `parts`: parameters, request bodies and answers that handlers name · [`page`]: the document for people

pub mod page;
mod parts;

pub use parts::{
    CodeParam, Conflict, DomainParam, DomainPatch, ExportParams, ExternalIdParam, FilterParams, Gone,
    GroupPatch, HostParam, IdParam, IdempotencyKeyParam, IfMatchParam, IfNoneMatchParam, ImportParams,
    LimitParam, LinkPatch, ListParams, NewDomain, NewGroup, NewLink, NewLinks, NewSignature, NewToken,
    NewUser, NotFound, PageParams, PreconditionFailed, PreferParam, ProblemView, QrParams, TokenPatch,
    UserParam, UserPatch, WholeLink,
};

use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, ResponseBuilder, ServerBuilder};

use crate::problem::CONTENT_TYPE_PROBLEM;

/// The name of the one way to authenticate.
const BEARER: &str = "token";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Signpost",
        description = "Short links on your own redirect fleet. Errors are `application/problem+json` (RFC 9457); each `type` leads to its \
            description under /v1/problems.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(ProblemView)),
    tags(
        (name = "links", description = "Making, reading, changing and deleting links"),
        (name = "domains", description = "Domains, and what they are told to do"),
        (name = "transfer", description = "All links out, and links from elsewhere in"),
        (name = "people", description = "Users, groups and tokens"),
        (name = "fleet", description = "Who has the links"),
        (name = "health", description = "Whether the API works"),
        (name = "docs", description = "This description"),
    ),
)]
struct Base;

/// Returns what the document begins with.
pub(super) fn base() -> OpenApi {
    Base::openapi()
}

/// Returns the whole document.
pub fn api() -> OpenApi {
    let mut api = super::routes().into_openapi();
    complete(&mut api);
    api
}

/// Statuses that operations share: name of the answer, status, what it says, and who has it.
const SHARED: [(&str, &str, &str, Applies); 9] = [
    ("BadRequest", "400", "A header is not valid, or the body is no JSON", |has| has.body || has.header),
    ("Unauthorized", "401", "The token is missing or not valid", |has| has.token),
    ("Forbidden", "403", "The token lacks a scope, or this is outside its limits", |has| has.token),
    ("BodyTooSlow", "408", "The body came too slowly", |has| has.body),
    ("BodyTooLarge", "413", "The body is too large", |has| has.body),
    ("UnsupportedMediaType", "415", "The Content-Type is another one", |has| has.body),
    ("Invalid", "422", "Parameters or fields are not valid; `errors` names each", |has| has.token),
    ("TooManyRequests", "429", "Too many requests", |has| has.token),
    ("Internal", "500", "The server failed for a reason of its own", |has| has.token),
];
/// The same for what only changes, and whatever asks the log, can meet.
const UNAVAILABLE: (&str, &str, &str) = ("Unavailable", "503", "The server cannot do this now");

/// What everything that changes something can meet besides.
const NO_ROOM: (&str, &str, &str) = ("NoRoom", "507", "The writer's disk is nearly full");

/// Says whether an operation has a shared status.
type Applies = fn(&Has) -> bool;

/// What decides about that.
struct Has {
    token: bool,
    body: bool,
    header: bool,
}

fn problem_answer(description: &str) -> utoipa::openapi::Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new().description(description).content(CONTENT_TYPE_PROBLEM, content).build()
}

fn complete(api: &mut OpenApi) {
    api.servers = Some(vec![ServerBuilder::new().url("/").build()]);
    let components = api.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A token: `sp_…`"));
    components.security_schemes.insert(BEARER.to_owned(), SecurityScheme::Http(bearer.build()).into());
    for (name, _, description, _) in &SHARED {
        components.responses.insert((*name).to_owned(), problem_answer(description).into());
    }
    for (name, _, description) in [UNAVAILABLE, NO_ROOM] {
        components.responses.insert(name.to_owned(), problem_answer(description).into());
    }
    for (name, description) in parts::ANSWERS {
        components.responses.insert((*name).to_owned(), problem_answer(description).into());
    }
    api.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], _>(BEARER, [])]);
    for item in api.paths.paths.values_mut() {
        let reads = [&mut item.get, &mut item.head];
        reads.into_iter().flatten().for_each(|operation| complete_operation(operation, false));
        let changes = [&mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        changes.into_iter().flatten().for_each(|operation| complete_operation(operation, true));
    }
}

fn complete_operation(operation: &mut Operation, changes: bool) {
    let parameters = operation.parameters.as_deref().unwrap_or_default();
    let has = Has {
        // Whoever may be asked by anybody says so: `security(())`.
        token: operation.security.is_none(),
        body: operation.request_body.is_some(),
        header: parameters
            .iter()
            .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Header)),
    };
    let mut add = |name: &str, status: &str| {
        let answer = RefOr::Ref(Ref::from_response_name(name));
        operation.responses.responses.entry(status.to_owned()).or_insert(answer);
    };
    for (name, status, _, applies) in &SHARED {
        if applies(&has) {
            add(name, status);
        }
    }
    if has.token {
        add(UNAVAILABLE.0, UNAVAILABLE.1);
        if changes {
            add(NO_ROOM.0, NO_ROOM.1);
        }
    }
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| text(&api()));
static READER: LazyLock<String> =
    LazyLock::new(|| page::reference(&serde_json::to_value(api()).expect("a document is JSON")));
static PROBLEMS: LazyLock<String> = LazyLock::new(page::problems);

/// Returns the document as it is served.
pub fn text(api: &OpenApi) -> String {
    let mut text = serde_json::to_string_pretty(api).expect("a document is strings, lists and maps");
    text.push('\n');
    text
}

/// This description, for programs
#[utoipa::path(get, path = "/v1/openapi.json", operation_id = "get_openapi", tag = "docs", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub(super) async fn document() -> Response {
    fixed("application/json", &DOCUMENT)
}

/// This description, for people
#[utoipa::path(get, path = "/v1/docs", operation_id = "get_docs", tag = "docs", security(()),
    responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
pub(super) async fn reader() -> Response {
    fixed("text/html; charset=utf-8", &READER)
}

/// Every kind of problem, where their `type` leads
#[utoipa::path(get, path = "/v1/problems", operation_id = "get_problems", tag = "docs", security(()),
    responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
pub(super) async fn problems() -> Response {
    fixed("text/html; charset=utf-8", &PROBLEMS)
}

fn fixed(content_type: &'static str, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // A page of ours asks nobody for anything.
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    headers.insert(http::header::CONTENT_SECURITY_POLICY, policy);
    response
}

#[cfg(test)]
mod tests;
