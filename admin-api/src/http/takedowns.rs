//! `POST /v1/takedowns`: every link that leads to a host, taken down or put back at once.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use linklog::LinkState;
use linklog::entity::Scopes;
use serde::{Deserialize, Serialize};
use url::Host;

use super::body::Expected;
use super::links::known;
use super::query::Query;
use super::{Api, answer, respond};
use crate::json::{Json, Members};
use crate::links::fields::{Finding, Judge, unknown};
use crate::links::takedown::TakeDown;
use crate::problem::Problem;
use crate::replication::ReplicationReport;

/// What is to be done to every link that leads to a host.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
struct Takedown {
    /// The host.
    #[schema(example = "bad.example")]
    target_host: String,
    /// Whether hosts under it are meant too.
    #[schema(default = true)]
    subdomains: Option<bool>,
    /// The state that the links are to have: `banned`, `disabled` or `active`.
    #[schema(default = "banned")]
    state: Option<String>,
    /// Only counts.
    #[schema(default = false)]
    dry_run: Option<bool>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TakenDown)]
struct View<'a> {
    /// The host, in lower case and ASCII.
    target_host: &'a str,
    /// Links that lead there.
    matched: u64,
    /// Those of them that were changed, or would be.
    changed: u64,
    /// Whether they only would be.
    dry_run: bool,
    /// The first 100 of those.
    links: Vec<LinkName<'a>>,
    /// Who has all of it.
    replication: &'a ReplicationReport,
}

/// Which link.
#[derive(Serialize, utoipa::ToSchema)]
struct LinkName<'a> {
    /// Its code.
    code: String,
    /// The host of its domain.
    domain: &'a str,
}

/// Takes down every link that leads to a host, or puts them back
///
/// Needs the scope `admin`. Links that are made meanwhile are not seen; sent again it changes what is left.
#[utoipa::path(post, path = "/v1/takedowns", operation_id = "create_takedown", tag = "links", request_body = Takedown,
    responses((status = 200, description = "What was done", body = View<'static>)))]
pub(super) async fn create(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_create(&api, request).await)
}

async fn try_create(api: &Api, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = api.admit(&head.headers, Scopes::ADMIN)?;
    Query::read(&head.uri, &[])?;
    let expected = Expected { bytes_max: api.limits.body_bytes_max, merge_patch: false };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let what = judge(&held.bytes)?;
    drop(held);
    let done = api.links.take_down(caller, &what).await?;
    let domains = api.links.domains.table();
    let name = |key: &linklog::Key| {
        Ok(LinkName { code: key.code.to_string(), domain: known(&domains, key.domain)?.base.host() })
    };
    let view = View {
        target_host: &what.host,
        matched: done.matched,
        changed: done.changed,
        dry_run: what.dry_run,
        links: done.named.iter().map(name).collect::<Result<_, Problem>>()?,
        replication: &done.replication,
    };
    Ok(respond::json(StatusCode::OK, &view))
}

fn judge(bytes: &[u8]) -> Result<TakeDown, Problem> {
    let members: Members<'_> = serde_json::from_slice(bytes).map_err(|error| match error.is_data() {
        true => Problem::wrong_shape("expected an object"),
        false => Problem::malformed(&error),
    })?;
    let mut judge = Judge::default();
    let (mut host, mut subdomains, mut state, mut dry_run) = (None, true, LinkState::Banned, false);
    let mut strays = Vec::new();
    for (name, value) in &members.0 {
        match &**name {
            "target_host" => host = judge.text("target_host", Some(value)).map(str::to_owned),
            "subdomains" => subdomains = boolean(&mut judge, "subdomains", value).unwrap_or(true),
            "dry_run" => dry_run = boolean(&mut judge, "dry_run", value).unwrap_or(false),
            "state" if *value != Json::Null => state = judge.state(Some(value)),
            "state" => {}
            other => strays.push(unknown(other)),
        }
    }
    if host.is_none() {
        judge.find("target_host", "required", "the field is required: a host such as bad.example");
    }
    let host = host.and_then(|host| match Host::parse(host.trim_end_matches('.')) {
        Ok(host) => Some(host.to_string()),
        Err(_) => {
            judge.find(
                "target_host",
                "no_host",
                "expected a host such as bad.example, without scheme and path",
            );
            None
        }
    });
    let judged = judge.end(host.map(|host| TakeDown { host, subdomains, state, dry_run }));
    match judged {
        Ok(what) if strays.is_empty() => Ok(what),
        Ok(_) => Err(Problem::invalid(strays)),
        Err(findings) => Err(Problem::invalid([findings, strays].concat::<Finding>())),
    }
}

fn boolean(judge: &mut Judge, field: &'static str, value: &Json<'_>) -> Option<bool> {
    match value {
        Json::Bool(value) => Some(*value),
        Json::Null => None,
        other => {
            judge.find(field, "wrong_type", format!("expected true or false, found {}", other.kind()));
            None
        }
    }
}
