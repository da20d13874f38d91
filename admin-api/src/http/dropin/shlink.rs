//! Shlink's REST API, version 3, as far as its web client and its libraries need it: short URLs made, listed, looked at, changed and
//! deleted, their visits as sums, tags, health. Visits one by one, rules and domains are not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::get;
use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri};
use linklog::entity::Scopes;
use linklog::store::StoredLink;
use linklog::{DomainId, LinkState};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::super::body::Expected;
use super::super::{Api, respond};
use super::{Found, admit, elsewhere, find, is_nothing, key_on, listed, make, object, time, walk};
use crate::json::Json;
use crate::links::condition::Condition;
use crate::links::fields::{Finding, LinkFields, unknown};
use crate::links::list::Wanted;
use crate::links::{order, patch};
use crate::problem::Problem;
use crate::search::rank::Sort;
use crate::search::words::{NoQuestion, Words};

const TIME: &str = "%Y-%m-%dT%H:%M:%S+00:00";
/// Our names of the fields, and theirs.
const NAMES: [(&str, &str); 7] = [
    ("alias", "customSlug"),
    ("long_url", "longUrl"),
    ("expires_at", "validUntil"),
    ("not_before", "validSince"),
    ("forward_query", "forwardQuery"),
    ("dedupe", "findIfExists"),
    ("max_clicks", "maxVisits"),
];
/// What clients send with every request although it is off, or does what we do anyway.
const HARMLESS: [&str; 3] = ["crawlable", "validateUrl", "shortCodeLength"];
const PER_PAGE: usize = 10;
/// Most links of a page.
const PER_PAGE_MAX: usize = 1_000;

pub(super) fn routes() -> Router<Arc<Api>> {
    let mut router = Router::new().route("/rest/health", get(health)).route("/rest/v3/health", get(health));
    let of_all = get(list).post(create);
    let of_one = get(one).patch(change).delete(delete);
    router = router.route("/rest/v3/short-urls", of_all).route("/rest/v3/short-urls/{code}", of_one);
    router
        .route("/rest/v3/visits", get(visits))
        .route("/rest/v3/tags", get(tags))
        .route("/rest/v3/tags/stats", get(tag_stats))
}

fn key_header(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-api-key")?.to_str().ok()
}

async fn health() -> Response {
    let about = "https://github.com/shlinkio/shlink";
    let body = json!({
        "status": "pass",
        "version": env!("CARGO_PKG_VERSION"),
        "links": { "about": about, "project": about },
    });
    respond::json(StatusCode::OK, &body)
}

/// The parameters of a query, of which those in brackets may be there often.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(uri: &Uri) -> Parameters {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).take(128);
        Parameters(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, value)| found == name && !value.is_empty()).map(|(_, value)| &**value)
    }

    fn all(&self, name: &str) -> Vec<String> {
        let is = |found: &str| found.split('[').next() == Some(name) && found.contains('[');
        self.0.iter().filter(|(found, _)| is(found)).map(|(_, value)| value.clone()).collect()
    }

    fn number(&self, name: &'static str, default: usize, most: usize) -> Result<usize, Problem> {
        let Some(text) = self.get(name) else { return Ok(default) };
        // -1 asks for everything.
        let number = if text == "-1" { Some(most) } else { text.parse().ok().filter(|number| *number > 0) };
        let expected = format!("a number from 1 to {most}");
        Ok(number.ok_or_else(|| Problem::field(name, "not_a_number", expected))?.min(most))
    }
}

/// `domain=DEFAULT` and none are the same.
fn host(parameters: &Parameters) -> Option<&str> {
    parameters.get("domain").filter(|host| *host != "DEFAULT")
}

async fn create(State(api): State<Arc<Api>>, request: Request) -> Response {
    told(try_create(&api, request).await, None)
}

async fn try_create(api: &Api, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = admit(api, key_header(&head.headers), &[Scopes::LINKS_WRITE])?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch: false };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let mut fields = LinkFields::default();
    for (name, value) in object(&held.bytes)?.0 {
        match &*name {
            "longUrl" => fields.long_url = Some(value),
            "customSlug" => fields.alias = Some(value).filter(|value| !is_nothing(value)),
            "domain" => fields.domain = Some(value).filter(|value| !is_nothing(value)),
            "tags" => fields.tags = Some(value),
            "title" => fields.title = Some(value),
            "findIfExists" => fields.dedupe = Some(value).filter(|value| *value != Json::Null),
            "validUntil" => fields.expires_at = Some(value),
            "validSince" => fields.not_before = Some(value),
            "maxVisits" => fields.max_clicks = Some(value),
            "forwardQuery" => fields.forward_query = Some(value).filter(|value| *value != Json::Null),
            other => stray(other, &value, &mut fields.stray),
        }
    }
    let made = make(api, caller, fields).await?;
    Ok(respond::json(StatusCode::OK, &view(api, &made)?))
}

/// What would change a link if it were known is refused.
fn stray(name: &str, value: &Json<'_>, stray: &mut Vec<Finding>) {
    if !HARMLESS.contains(&name) && !is_nothing(value) {
        stray.push(match name {
            "pathPrefix" => Finding {
                field: name.to_owned().into(),
                code: "not_supported",
                detail: "this server cannot do that through this API; leave the field out".to_owned(),
            },
            other => unknown(other),
        });
    }
}

async fn one(State(api): State<Arc<Api>>, Path(code): Path<String>, head: Parts) -> Response {
    let outcome = async {
        let caller = admit(&api, key_header(&head.headers), &[Scopes::LINKS_READ])?;
        let key = key_on(&api, host(&Parameters::of(&head.uri)), &code)?;
        Ok(respond::json(StatusCode::OK, &view(&api, &find(&api, caller, key).await?)?))
    };
    told(outcome.await, Some(&code))
}

async fn change(State(api): State<Arc<Api>>, Path(code): Path<String>, request: Request) -> Response {
    told(try_change(&api, &code, request).await, Some(&code))
}

async fn try_change(api: &Api, code: &str, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = admit(api, key_header(&head.headers), &[Scopes::LINKS_WRITE])?;
    let key = key_on(api, host(&Parameters::of(&head.uri)), code)?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch: true };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let mut fields = LinkFields::default();
    for (name, value) in object(&held.bytes)?.0 {
        match &*name {
            "longUrl" => fields.long_url = Some(value),
            "tags" => fields.tags = Some(value),
            "title" => fields.title = Some(value),
            "validUntil" => fields.expires_at = Some(value),
            "validSince" => fields.not_before = Some(value),
            "maxVisits" => fields.max_clicks = Some(value),
            "forwardQuery" => fields.forward_query = Some(value).filter(|value| *value != Json::Null),
            other => stray(other, &value, &mut fields.stray),
        }
    }
    let domains = api.links.domains.table();
    let patch = patch::judge(fields, &api.links.rules, &domains).map_err(Problem::invalid)?;
    api.links.patch(caller, key, &patch, &Condition::Any, false).await?;
    Ok(respond::json(StatusCode::OK, &view(api, &find(api, caller, key).await?)?))
}

async fn delete(State(api): State<Arc<Api>>, Path(code): Path<String>, head: Parts) -> Response {
    let outcome = async {
        let caller = admit(&api, key_header(&head.headers), &[Scopes::LINKS_WRITE])?;
        let key = key_on(&api, host(&Parameters::of(&head.uri)), &code)?;
        api.links.delete(caller, key, &Condition::Any, false).await?;
        Ok(respond::no_content())
    };
    told(outcome.await, Some(&code))
}

async fn list(State(api): State<Arc<Api>>, head: Parts) -> Response {
    told(try_list(&api, &head).await, None)
}

async fn try_list(api: &Api, head: &Parts) -> Result<Response, Problem> {
    let caller = admit(api, key_header(&head.headers), &[Scopes::LINKS_READ])?;
    let parameters = Parameters::of(&head.uri);
    let sort = sort_of(&parameters)?;
    let page = parameters.number("page", 1, usize::MAX)?;
    let per_page = parameters.number("itemsPerPage", PER_PAGE, PER_PAGE_MAX)?;
    let domain = match parameters.get("domain") {
        None => None,
        Some("DEFAULT") => Some(DomainId::DEFAULT),
        Some(host) => {
            let domains = api.links.domains.table();
            Some(order::domain_named(Some(host), &domains).map_err(|name| Problem::no_domain(&name))?)
        }
    };
    let (tags, all_tags) = (parameters.all("tags"), parameters.get("tagsMode") == Some("all"));
    let (words, text) = term_of(api, &parameters)?;
    let is_wanted = move |key: &linklog::Key, link: &StoredLink| {
        let has = |tag: &String| link.manage.tags.contains(tag);
        let tagged = tags.is_empty() || if all_tags { tags.iter().all(has) } else { tags.iter().any(has) };
        let meets = |text: &String| {
            let texts = [key.code.as_str(), &link.link.target, link.manage.title.as_deref().unwrap_or("")];
            texts.iter().any(|part| part.to_lowercase().contains(text))
                || link.manage.tags.iter().any(|tag| tag.to_lowercase().contains(text))
        };
        tagged && text.as_ref().is_none_or(meets)
    };
    let wanted = Wanted { domain, words, sort, ..Wanted::default() };
    let places = ((page - 1).saturating_mul(per_page), per_page);
    let walked = listed(api, caller, wanted, places, is_wanted).await?;
    let data = walked.links.iter().map(|found| view(api, found)).collect::<Result<Vec<_>, _>>()?;
    let body = json!({ "shortUrls": {
        "data": data,
        "pagination": pagination(page, per_page, data.len(), walked.total),
    } });
    Ok(respond::json(StatusCode::OK, &body))
}

/// Visits are those of people: who else came counts in no order of ours.
fn sort_of(parameters: &Parameters) -> Result<Sort, Problem> {
    match parameters.get("orderBy") {
        None | Some("dateCreated-DESC") => Ok(Sort::NewestFirst),
        Some("dateCreated" | "dateCreated-ASC") => Ok(Sort::OldestFirst),
        Some("visits-DESC" | "nonBotVisits-DESC") => Ok(Sort::MostClicked),
        Some("visits" | "visits-ASC" | "nonBotVisits" | "nonBotVisits-ASC") => Ok(Sort::LeastClicked),
        Some(order) => {
            let detail = format!(
                "{order:?} is not there: links are listed by dateCreated, visits or nonBotVisits, -ASC or -DESC"
            );
            Err(Problem::field("orderBy", "not_supported", detail))
        }
    }
}

/// Returns the words of a `searchTerm`, for the search index; or, without an index or without words, the text to look for in every link.
fn term_of(api: &Api, parameters: &Parameters) -> Result<(Option<Words>, Option<String>), Problem> {
    let Some(text) = parameters.get("searchTerm") else { return Ok((None, None)) };
    if !api.links.search.is_on() {
        return Ok((None, Some(text.to_lowercase())));
    }
    match Words::read(text) {
        Ok(words) => Ok((Some(words), None)),
        Err(NoQuestion::Empty) => Ok((None, Some(text.to_lowercase()))),
        Err(error @ NoQuestion::TooMany) => {
            Err(Problem::field("searchTerm", "too_many_words", error.to_string()))
        }
    }
}

fn pagination(page: usize, per_page: usize, here: usize, total: usize) -> Value {
    json!({
        "currentPage": page,
        "pagesCount": total.div_ceil(per_page).max(1),
        "itemsPerPage": per_page,
        "itemsInCurrentPage": here,
        "totalItems": total,
    })
}

async fn visits(State(api): State<Arc<Api>>, head: Parts) -> Response {
    let outcome = async {
        let caller = admit(&api, key_header(&head.headers), &[Scopes::STATS_READ, Scopes::LINKS_READ])?;
        let walked = walk(&api, caller, 0, usize::MAX, |_, _| true).await?;
        let (people, bots) =
            walked.links.iter().map(Found::visits).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let none = summary(0, 0);
        Ok(respond::json(
            StatusCode::OK,
            &json!({ "visits": {
            "nonOrphanVisits": summary(people, bots),
            "orphanVisits": none,
        } }),
        ))
    };
    told(outcome.await, None)
}

fn summary(people: u64, bots: u64) -> Value {
    json!({ "total": people + bots, "nonBots": people, "bots": bots })
}

/// Every tag, with its links and their visits.
async fn tagged(api: &Api, head: &Parts) -> Result<BTreeMap<String, (u64, u64, u64)>, Problem> {
    let caller = admit(api, key_header(&head.headers), &[Scopes::LINKS_READ])?;
    let walked = walk(api, caller, 0, usize::MAX, |_, link| !link.manage.tags.is_empty()).await?;
    let mut tags = BTreeMap::<String, (u64, u64, u64)>::new();
    for found in &walked.links {
        let (people, bots) = found.visits();
        for tag in &found.link.manage.tags {
            let sums = tags.entry(tag.clone()).or_default();
            *sums = (sums.0 + 1, sums.1 + people, sums.2 + bots);
        }
    }
    Ok(tags)
}

async fn tags(State(api): State<Arc<Api>>, head: Parts) -> Response {
    let outcome = async {
        let tags: Vec<String> = tagged(&api, &head).await?.into_keys().collect();
        let pagination = pagination(1, tags.len().max(1), tags.len(), tags.len());
        Ok(respond::json(StatusCode::OK, &json!({ "tags": { "data": tags, "pagination": pagination } })))
    };
    told(outcome.await, None)
}

async fn tag_stats(State(api): State<Arc<Api>>, head: Parts) -> Response {
    let outcome = async {
        let of_tag = |(tag, (links, people, bots)): (String, (u64, u64, u64))| json!({ "tag": tag, "shortUrlsCount": links, "visitsSummary": summary(people, bots) });
        let tags: Vec<Value> = tagged(&api, &head).await?.into_iter().map(of_tag).collect();
        let pagination = pagination(1, tags.len().max(1), tags.len(), tags.len());
        Ok(respond::json(StatusCode::OK, &json!({ "tags": { "data": tags, "pagination": pagination } })))
    };
    told(outcome.await, None)
}

fn view(api: &Api, found: &Found) -> Result<Value, Problem> {
    let (people, bots) = found.visits();
    let (link, manage) = (&found.link.link, &found.link.manage);
    Ok(json!({
        "shortCode": found.key.code.as_str(),
        "shortUrl": found.short_url(api)?,
        "longUrl": link.target,
        "dateCreated": time(manage.created_at_ms, TIME),
        "visitsSummary": summary(people, bots),
        "tags": manage.tags,
        "meta": {
            "validSince": link.extras.not_before_ms.map(|at_ms| time(at_ms, TIME)),
            "validUntil": link.expires_at_ms.map(|at_ms| time(at_ms, TIME)),
            "maxVisits": link.extras.limit.map(|limit| limit.max),
        },
        "domain": elsewhere(&found.key, &found.host(api)?),
        "title": manage.title,
        "crawlable": false,
        "forwardQuery": link.extras.forward.query,
        "hasRedirectRules": !link.extras.rules.is_empty(),
        // Not Shlink's: a link that is switched off or taken down.
        "enabled": link.state == LinkState::Active,
    }))
}

/// Errors in its words.
fn told(outcome: Result<Response, Problem>, code: Option<&str>) -> Response {
    outcome.unwrap_or_else(|problem| {
        let problem = problem.with_fields(&NAMES);
        let fields: Vec<&str> = problem.errors().iter().map(|finding| &*finding.field).collect();
        let (status, kind, title) = match (problem.status(), problem.code()) {
            (401, "token_missing") => (401, "missing-authentication", "Invalid authorization"),
            (401, _) => (401, "invalid-api-key", "Invalid API key"),
            (403, _) => (403, "forbidden-tag-operation", "Forbidden"),
            (404, "domain_not_found") => (404, "domain-not-found", "Domain not found"),
            (404, _) => (404, "short-url-not-found", "Short URL not found"),
            (409, "alias_taken") => (400, "non-unique-slug", "Invalid custom slug"),
            (400 | 413 | 415 | 422, _) => (400, "invalid-data", "Invalid data"),
            (status, _) => (status, "internal-error", "The request failed"),
        };
        let mut body = json!({
            "type": format!("https://shlink.io/api/error/{kind}"),
            "title": title,
            "detail": problem.detail(),
            "status": status,
        });
        match kind {
            "invalid-data" => body["invalidElements"] = json!(fields),
            "non-unique-slug" => body["customSlug"] = Value::Null,
            "missing-authentication" => body["expectedHeaders"] = json!(["X-Api-Key"]),
            "short-url-not-found" => body["shortCode"] = json!(code),
            _ => {}
        }
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        problem.with_head_on(respond::problem_json(status, &body))
    })
}
