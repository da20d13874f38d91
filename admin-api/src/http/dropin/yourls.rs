//! `yourls-api.php`: `shorturl`, `expand`, `url-stats`, `stats`, `db-stats`, as JSON, JSONP, XML or plain text.
//!
//! The signature is a token of ours. Names and passwords, and signatures that were hashed with a time, are not understood.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use linklog::entity::Scopes;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::super::Api;
use super::{Found, admit, find, key_of_short_url, make, time, walk};
use crate::auth::Caller;
use crate::json::Json;
use crate::links::fields::LinkFields;
use crate::problem::Problem;

const TIME: &str = "%Y-%m-%d %H:%M:%S";
/// Links of `stats` unless said otherwise, and at most.
const STATS_LIMIT: usize = 10;
const STATS_LIMIT_MAX: usize = 1_000;
/// Largest form, in bytes.
const FORM_BYTES_MAX: usize = 64 << 10;

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/yourls-api.php", get(call).post(call))
}

/// What was asked, by GET or by a form.
struct Asked(Vec<(String, String)>);

impl Asked {
    fn add(&mut self, encoded: &[u8]) {
        let pairs = form_urlencoded::parse(encoded).take(64);
        self.0.extend(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())));
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(found, value)| found == name && !value.is_empty())
            .map(|(_, value)| &**value)
    }
}

/// What is answered: the parts of the object, and what `format=simple` shows of it.
struct Answer {
    status: u16,
    object: Value,
    simple: String,
}

async fn call(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut asked = Asked(Vec::new());
    asked.add(head.uri.query().unwrap_or_default().as_bytes());
    let mut read = Ok(());
    if head.method == Method::POST {
        match api.bodies.read_form(&head.headers, body, FORM_BYTES_MAX).await {
            Ok(held) => asked.add(&held.bytes),
            Err(error) => read = Err(Problem::from(error)),
        }
    }
    let outcome = match read {
        Ok(()) => act(&api, &asked).await,
        Err(problem) => Err(problem),
    };
    match outcome {
        Ok(answer) => shown(&asked, answer, None),
        Err(problem) => {
            let answer = failed(&asked, &problem);
            shown(&asked, answer, Some(problem))
        }
    }
}

async fn act(api: &Api, asked: &Asked) -> Result<Answer, Problem> {
    let signature = asked.get("signature");
    match asked.get("action") {
        Some("shorturl") => {
            let caller = admit(api, signature, &[Scopes::LINKS_WRITE])?;
            let text = |name| asked.get(name).map(|text: &str| Json::Text(text.to_owned().into()));
            let fields = LinkFields {
                long_url: text("url"),
                alias: text("keyword"),
                title: text("title"),
                ..LinkFields::default()
            };
            let made = make(api, caller, fields).await?;
            let short_url = made.short_url(api)?;
            let (target, title) = (&made.link.link.target, made.link.manage.title.as_deref().unwrap_or(""));
            let object = json!({
                "url": {
                    "keyword": made.key.code.as_str(),
                    "url": target,
                    "title": title,
                    "date": time(made.link.manage.created_at_ms, TIME),
                    "ip": "",
                },
                "status": "success",
                "message": format!("{target} added to database"),
                "title": title,
                "shorturl": short_url,
                "statusCode": "200",
            });
            Ok(Answer { status: 200, object, simple: short_url })
        }
        Some("expand") => {
            let caller = admit(api, signature, &[Scopes::LINKS_READ])?;
            let found = named(api, caller, asked).await?;
            let target = found.link.link.target.clone();
            let object = json!({
                "keyword": found.key.code.as_str(),
                "shorturl": found.short_url(api)?,
                "longurl": target,
                "title": found.link.manage.title.as_deref().unwrap_or(""),
                "message": "success",
                "statusCode": "200",
            });
            Ok(Answer { status: 200, object, simple: target })
        }
        Some("url-stats") => {
            let caller = admit(api, signature, &[Scopes::STATS_READ, Scopes::LINKS_READ])?;
            let found = named(api, caller, asked).await?;
            let object = json!({ "statusCode": "200", "message": "success", "link": row(api, &found)? });
            Ok(Answer { status: 200, object, simple: found.visits().0.to_string() })
        }
        Some("stats") => {
            let caller = admit(api, signature, &[Scopes::STATS_READ, Scopes::LINKS_READ])?;
            stats(api, caller, asked).await
        }
        Some("db-stats") => {
            let caller = admit(api, signature, &[Scopes::STATS_READ, Scopes::LINKS_READ])?;
            let walked = walk(api, caller, 0, 0, |_, _| true).await?;
            let sums = sums(walked.total, walked.visits);
            let object = json!({ "db-stats": sums, "statusCode": "200", "message": "success" });
            Ok(Answer { status: 200, object, simple: walked.total.to_string() })
        }
        _ => Err(Problem::field(
            "action",
            "action_not_known",
            "expected shorturl, expand, url-stats, stats or db-stats",
        )),
    }
}

async fn named(api: &Api, caller: Caller, asked: &Asked) -> Result<Found, Problem> {
    let text = asked
        .get("shorturl")
        .ok_or_else(|| Problem::field("shorturl", "required", "the field is required"))?;
    find(api, caller, key_of_short_url(api, text)?).await
}

async fn stats(api: &Api, caller: Caller, asked: &Asked) -> Result<Answer, Problem> {
    let limit =
        asked.get("limit").and_then(|text| text.parse().ok()).unwrap_or(STATS_LIMIT).min(STATS_LIMIT_MAX);
    let filter = asked.get("filter").unwrap_or("last");
    let kept = if filter == "last" { limit } else { usize::MAX };
    let mut walked = walk(api, caller, 0, kept, |_, _| true).await?;
    match filter {
        "top" => walked.links.sort_by_key(|found| std::cmp::Reverse(found.visits().0)),
        "bottom" => walked.links.sort_by_key(|found| found.visits().0),
        "last" => {}
        _ => return Err(Problem::field("filter", "filter_not_known", "expected top, bottom or last")),
    }
    let mut links = Map::new();
    for (number, found) in (1..).zip(walked.links.iter().take(limit)) {
        links.insert(format!("link_{number}"), row(api, found)?);
    }
    let sums = sums(walked.total, walked.visits);
    let object = json!({ "links": links, "stats": sums, "statusCode": "200", "message": "success" });
    Ok(Answer { status: 200, object, simple: walked.total.to_string() })
}

fn sums(links: usize, clicks: u64) -> Value {
    json!({ "total_links": links.to_string(), "total_clicks": clicks.to_string() })
}

fn row(api: &Api, found: &Found) -> Result<Value, Problem> {
    Ok(json!({
        "shorturl": found.short_url(api)?,
        "url": found.link.link.target,
        "title": found.link.manage.title.as_deref().unwrap_or(""),
        "timestamp": time(found.link.manage.created_at_ms, TIME),
        "ip": "",
        "clicks": found.visits().0.to_string(),
    }))
}

/// Errors in its words.
fn failed(asked: &Asked, problem: &Problem) -> Answer {
    let detail = problem.detail();
    let answer = |status: u16, object: Value| Answer { status, object, simple: String::new() };
    let field = problem.errors().first().map(|finding| &*finding.field);
    match (problem.status(), problem.code(), field) {
        (401 | 403, ..) => {
            answer(403, json!({ "message": "Please log in", "errorCode": "403", "callback": "" }))
        }
        (404, ..) => {
            let keyword = asked.get("shorturl").unwrap_or_default();
            let object =
                json!({ "keyword": keyword, "message": "Error: short URL not found", "errorCode": "404" });
            Answer { simple: "not found".to_owned(), ..answer(404, object) }
        }
        (409, "alias_taken", _) | (422, _, Some("alias")) => answer(
            400,
            json!({
                "status": "fail",
                "code": "error:keyword",
                "message": format!("Short URL {} already exists in database or is reserved", asked.get("keyword").unwrap_or_default()),
                "errorCode": "400",
                "statusCode": "400",
            }),
        ),
        (422, _, Some("long_url")) => {
            let code = if asked.get("url").is_some() { "error:url" } else { "error:nourl" };
            let object = json!({ "status": "fail", "code": code, "message": detail, "errorCode": "400", "statusCode": "400" });
            answer(400, object)
        }
        (429, ..) => answer(
            429,
            json!({ "status": "fail", "code": "error:toomany", "message": detail, "errorCode": "429" }),
        ),
        (503, ..) => answer(
            503,
            json!({ "status": "fail", "code": "error:concurrency", "message": detail, "errorCode": "503" }),
        ),
        (500, ..) => answer(
            500,
            json!({ "status": "fail", "code": "error:db", "message": detail, "errorCode": "500" }),
        ),
        (status, ..) => {
            let status = if status == 422 { 400 } else { status };
            answer(status, json!({ "message": detail, "errorCode": status.to_string() }))
        }
    }
}

fn shown(asked: &Asked, answer: Answer, problem: Option<Problem>) -> Response {
    let (kind, text) = match asked.get("format").unwrap_or("xml") {
        "json" => ("application/json", answer.object.to_string()),
        "jsonp" => {
            let name = asked.get("callback").or(asked.get("jsonp")).unwrap_or("yourls");
            // Nothing but a name, or it would be a script of somebody else's.
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_$.".contains(&byte));
            let name = if is_name { name } else { "yourls" };
            ("application/javascript", format!("{name}({})", answer.object))
        }
        "simple" => ("text/plain; charset=utf-8", answer.simple),
        _ => {
            let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<result>".to_owned();
            put_xml(&mut xml, &answer.object);
            xml.push_str("</result>\n");
            ("application/xml; charset=utf-8", xml)
        }
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match problem {
        Some(problem) => problem.with_head_on(response),
        None => response,
    }
}

/// Members become elements; their names are ours, so they need no escapes.
fn put_xml(xml: &mut String, value: &Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                // Writing to a string cannot fail.
                let _ = write!(xml, "<{name}>");
                put_xml(xml, value);
                let _ = write!(xml, "</{name}>");
            }
        }
        Value::String(text) => {
            for character in text.chars() {
                match character {
                    '<' => xml.push_str("&lt;"),
                    '>' => xml.push_str("&gt;"),
                    '&' => xml.push_str("&amp;"),
                    // XML 1.0 section 2.2: the others cannot be written at all.
                    '\t' | '\n' | '\r' | ' '.. => xml.push(character),
                    _ => xml.push('\u{fffd}'),
                }
            }
        }
        other => xml.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_is_a_name_and_text_in_xml_is_escaped() {
        let answer = || Answer { status: 200, object: json!({ "a": "<&>\u{1}" }), simple: String::new() };
        let text = |asked: &str| {
            let mut pairs = Asked(Vec::new());
            pairs.add(asked.as_bytes());
            let response = shown(&pairs, answer(), None);
            let kind = response.headers()[CONTENT_TYPE].to_str().unwrap_or_default().to_owned();
            (kind, response.into_body())
        };
        assert_eq!(text("format=jsonp&callback=alert(1)//").0, "application/javascript");
        let mut xml = String::new();
        put_xml(&mut xml, &answer().object);
        assert_eq!(xml, "<a>&lt;&amp;&gt;\u{fffd}</a>");
    }
}
