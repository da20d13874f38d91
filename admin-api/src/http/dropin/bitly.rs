//! Bitly's API, version 4: `/v4/shorten`, `/v4/expand`, `/v4/bitlinks`, one bitlink to get and change, and the sum of its clicks. A group is
//! whatever the client says. Clicks by day are not there: nothing here counts by time.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use linklog::entity::Scopes;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::super::body::Expected;
use super::super::{Api, respond};
use super::{Found, admit, bearer, find, key_of_short_url, key_on, make, object, time};
use crate::clock;
use crate::json::{Json, Members};
use crate::links::condition::Condition;
use crate::links::fields::LinkFields;
use crate::links::patch;
use crate::problem::Problem;

/// Theirs has no colon in the offset.
const TIME: &str = "%Y-%m-%dT%H:%M:%S+0000";
/// Of what clicks can be asked by.
const UNITS: [&str; 5] = ["minute", "hour", "day", "week", "month"];

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v4/shorten", post(shorten))
        .route("/v4/bitlinks", post(create))
        .route("/v4/expand", post(expand))
        .route("/v4/bitlinks/{host}/{code}", get(one).patch(change))
        .route("/v4/bitlinks/{host}/{code}/clicks/summary", get(clicks))
}

async fn shorten(State(api): State<Arc<Api>>, request: Request) -> Response {
    told(try_create(&api, request).await)
}

async fn create(State(api): State<Arc<Api>>, request: Request) -> Response {
    told(try_create(&api, request).await)
}

async fn try_create(api: &Api, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = admit(api, bearer(&head.headers), &[Scopes::LINKS_WRITE])?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch: false };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let mut fields = LinkFields::default();
    let mut group = String::new();
    for (name, value) in object(&held.bytes)?.0 {
        match (&*name, value) {
            ("long_url", value) => fields.long_url = Some(value),
            // Clients that never chose a domain send Bitly's own.
            ("domain", Json::Text(text)) if text == "bit.ly" => {}
            ("domain", value) => fields.domain = Some(value),
            ("title", value) => fields.title = Some(value),
            ("tags", value) => fields.tags = Some(value),
            ("keyword", value) => fields.alias = Some(value),
            ("group_guid", Json::Text(text)) => group = text.into_owned(),
            // Deep links and the like lead nowhere else here.
            _ => {}
        }
    }
    let made = make(api, caller, fields).await?;
    Ok(respond::json(StatusCode::CREATED, &view(api, &made, &group)?))
}

async fn expand(State(api): State<Arc<Api>>, request: Request) -> Response {
    told(try_expand(&api, request).await)
}

async fn try_expand(api: &Api, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = admit(api, bearer(&head.headers), &[Scopes::LINKS_READ])?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch: false };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let Members(members) = object(&held.bytes)?;
    let id = members.iter().find_map(|(name, value)| match (&**name, value) {
        ("bitlink_id", Json::Text(text)) => Some(text),
        _ => None,
    });
    let id = id.ok_or_else(|| Problem::field("bitlink_id", "required", "the field is required"))?;
    let found = find(api, caller, key_of_short_url(api, id)?).await?;
    let whole = view(api, &found, "")?;
    let names = ["created_at", "id", "link", "long_url"];
    let view: serde_json::Map<String, Value> =
        names.into_iter().map(|name| (name.to_owned(), whole[name].clone())).collect();
    Ok(respond::json(StatusCode::OK, &view))
}

async fn one(
    State(api): State<Arc<Api>>,
    Path((host, code)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let outcome = async {
        let caller = admit(&api, bearer(&headers), &[Scopes::LINKS_READ])?;
        let found = find(&api, caller, key_on(&api, Some(&host), &code)?).await?;
        Ok(respond::json(StatusCode::OK, &view(&api, &found, "")?))
    };
    told(outcome.await)
}

async fn change(
    State(api): State<Arc<Api>>,
    Path((host, code)): Path<(String, String)>,
    request: Request,
) -> Response {
    told(try_change(&api, &host, &code, request).await)
}

async fn try_change(api: &Api, host: &str, code: &str, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = admit(api, bearer(&head.headers), &[Scopes::LINKS_WRITE])?;
    let key = key_on(api, Some(host), code)?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch: true };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let mut fields = LinkFields::default();
    for (name, value) in object(&held.bytes)?.0 {
        match (&*name, value) {
            ("long_url", value) => fields.long_url = Some(value),
            ("title", value) => fields.title = Some(value),
            ("tags", value) => fields.tags = Some(value),
            ("archived", value) => fields.archived = Some(value),
            _ => {}
        }
    }
    let domains = api.links.domains.table();
    let patch = patch::judge(fields, &api.links.rules, &domains).map_err(Problem::invalid)?;
    api.links.patch(caller, key, &patch, &Condition::Any, false).await?;
    Ok(respond::json(StatusCode::OK, &view(api, &find(api, caller, key).await?, "")?))
}

async fn clicks(
    State(api): State<Arc<Api>>,
    Path((host, code)): Path<(String, String)>,
    head: Parts,
) -> Response {
    told(try_clicks(&api, &host, &code, &head).await)
}

/// Clicks of people since the link was made, as Bitly leaves bots out.
async fn try_clicks(api: &Api, host: &str, code: &str, head: &Parts) -> Result<Response, Problem> {
    let caller = admit(api, bearer(&head.headers), &[Scopes::STATS_READ, Scopes::LINKS_READ])?;
    let query = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).take(64);
    let query: Vec<_> = query.collect();
    let asked = |name: &str| query.iter().find(|(found, _)| found == name).map(|(_, value)| &**value);
    let unit = asked("unit").unwrap_or("day");
    if !UNITS.contains(&unit) {
        return Err(Problem::field("unit", "unit_not_allowed", format!("one of {}", UNITS.join(", "))));
    }
    if asked("units").is_some_and(|units| units != "-1") {
        let detail = "-1, all of them: clicks are not counted by time here";
        return Err(Problem::field("units", "not_supported", detail));
    }
    let found = find(api, caller, key_on(api, Some(host), code)?).await?;
    let body = json!({
        "total_clicks": found.visits().0,
        "unit": unit,
        "units": -1,
        "unit_reference": time(clock::now_ms(), TIME),
    });
    Ok(respond::json(StatusCode::OK, &body))
}

fn view(api: &Api, found: &Found, group: &str) -> Result<Value, Problem> {
    let link = found.short_url(api)?;
    let id = link.split_once("://").map_or(&*link, |(_, id)| id);
    Ok(json!({
        "created_at": time(found.link.manage.created_at_ms, TIME),
        "id": id,
        "link": link,
        "custom_bitlinks": [],
        "long_url": found.link.link.target,
        "title": found.link.manage.title,
        "archived": found.link.manage.archived_at_ms.is_some(),
        "created_by": "",
        "client_id": "",
        "tags": found.link.manage.tags,
        "deeplinks": [],
        "references": { "group": group },
    }))
}

/// Errors in their words.
fn told(outcome: Result<Response, Problem>) -> Response {
    outcome.unwrap_or_else(|problem| {
        let errors: Vec<Value> = problem
            .errors()
            .iter()
            .map(|finding| json!({ "field": finding.field, "error_code": finding.code, "message": finding.detail }))
            .collect();
        let (status, message) = match (problem.status(), problem.code()) {
            (401, _) => (403, "FORBIDDEN".to_owned()),
            (403, _) => (403, "FORBIDDEN".to_owned()),
            (409, "alias_taken") => (400, "KEYWORD_ALREADY_EXISTS".to_owned()),
            (404, _) => (404, "NOT_FOUND".to_owned()),
            (422, _) => match problem.errors().first() {
                Some(finding) if finding.code == "url_loop" => (400, "ALREADY_A_BITLY_LINK".to_owned()),
                Some(finding) => (400, format!("INVALID_ARG_{}", finding.field.to_uppercase())),
                None => (400, "INVALID_ARG".to_owned()),
            },
            (429, _) => (429, "RATE_LIMIT_EXCEEDED".to_owned()),
            (503, _) => (503, "TEMPORARILY_UNAVAILABLE".to_owned()),
            (500, _) => (500, "INTERNAL_ERROR".to_owned()),
            (status, _) => (status, "INVALID_REQUEST".to_owned()),
        };
        let body =
            json!({ "message": message, "resource": "bitlinks", "description": problem.detail(), "errors": errors });
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        problem.with_head_on(respond::json(status, &body))
    })
}
