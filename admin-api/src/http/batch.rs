//! `POST /v1/links/batch`: up to a thousand links in one request, one proposal, one fsync.
//!
//! Items stand alone: a bad one has a problem in its place, the others are made. What is wrong with the request as a whole (no JSON, no
//! list, too many) refuses all of it.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use linklog::entity::Scopes;
use linklog::limits::PROPOSAL_CHANGES_MAX;
use serde::de::{Deserialize, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};

use super::body::Expected;
use super::links::{known, made_view, refusal};
use super::openapi::{IdempotencyKeyParam, NewLinks, PreferParam, ProblemView};
use super::query::Query;
use super::{Api, answer, idempotency_key, prefers_async, respond};
use crate::blocking;
use crate::domains::DomainTable;
use crate::json::{Json, Name};
use crate::links::create::{Batch, Made, Request as CreateRequest};
use crate::links::fields::{Described, Finding, unknown};
use crate::links::idempotency::request_hash;
use crate::links::order::{self, Order};
use crate::links::view::LinkView;
use crate::links::{ChangeError, Rules};
use crate::problem::Problem;
use crate::replication::ReplicationReport;

/// Most links of a batch.
pub const LINKS_MAX: usize = PROPOSAL_CHANGES_MAX;
/// From this many bytes on a body is read on a thread that may take its time.
const LARGE_BODY_BYTES: usize = 512 << 10;
/// Most links of a batch that have a password: each is hashed, which takes its time.
const PASSWORDS_MAX: usize = 64;

/// An item: what is to be made, or why not.
type Item = Result<Order, Problem>;

/// Makes up to 1,000 links
///
/// Items stand alone: a bad one has a problem in its place, the others are made.
#[utoipa::path(post, path = "/v1/links/batch", operation_id = "create_links", tag = "links",
    params(IdempotencyKeyParam, PreferParam), request_body = NewLinks,
    responses((status = 200, description = "What became of each", body = BatchView<'static>)))]
pub(super) async fn create(State(api): State<Arc<Api>>, request: Request) -> Response {
    answer(try_create(&api, request).await)
}

async fn try_create(api: &Api, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = api.admit(&head.headers, Scopes::LINKS_WRITE)?;
    Query::read(&head.uri, &[])?;
    let key = idempotency_key(&head.headers, caller)?;
    let expected = Expected { bytes_max: api.limits.batch_body_bytes_max, merge_patch: false };
    let held = api.bodies.read(&head.headers, body, expected).await?;
    let domains = api.links.domains.table();
    let mut items = read_items(held.bytes.clone(), api.links.rules.clone(), domains.clone()).await?;
    drop(held);
    hash_passwords(api, &mut items).await?;
    let key = key.map(|key| (key, request_hash(&canonical(&items))));
    let skip_proxies = prefers_async(&head.headers);
    let orders: Vec<&Order> = items.iter().filter_map(|item| item.as_ref().ok()).collect();
    let request = CreateRequest { caller, orders: &orders, key, skip_proxies, ahead: None };
    let batch = api.links.create(&request).await?;
    let response = respond::bytes_of_json(StatusCode::OK, write(&items, &batch, &domains)?);
    let response = if batch.replayed { respond::with_replayed(response) } else { response };
    Ok(respond::with_preference(response, skip_proxies))
}

/// Every password costs the time of some hundred links.
async fn hash_passwords(api: &Api, items: &mut [Item]) -> Result<(), Problem> {
    let with_password = items.iter().flatten().filter(|order| order.password.is_some()).count();
    if with_password > PASSWORDS_MAX {
        let detail =
            format!("a batch has at most {PASSWORDS_MAX} links with a password, this one {with_password}");
        return Err(Problem::field("links", "too_many_passwords", detail));
    }
    Ok(api.links.hash_passwords(items.iter_mut().flatten()).await?)
}

async fn read_items(bytes: Bytes, rules: Rules, domains: Arc<DomainTable>) -> Result<Vec<Item>, Problem> {
    if bytes.len() < LARGE_BODY_BYTES {
        return judge_all(&bytes, &rules, &domains);
    }
    let reading = blocking::run(move || judge_all(&bytes, &rules, &domains));
    reading.await.unwrap_or_else(|_| Err(ChangeError::Ending(crate::log::Ending).into()))
}

fn judge_all(bytes: &[u8], rules: &Rules, domains: &DomainTable) -> Result<Vec<Item>, Problem> {
    let body: Body<'_> = serde_json::from_slice(bytes).map_err(|error| Problem::malformed(&error))?;
    let described = body.links()?;
    let judge = |described| match described {
        Described::Link(fields) => order::judge(fields, rules, domains).map_err(Problem::from),
        Described::NoObject(found) => {
            Err(Problem::wrong_shape(format!("expected an object that describes a link, found {found}")))
        }
    };
    Ok(described.into_iter().map(judge).collect())
}

/// Two requests with the same canonical form ask for the same; items that are refused are the same whatever is wrong with them.
fn canonical(items: &[Item]) -> Vec<u8> {
    let mut canonical = b"batch".to_vec();
    for item in items {
        match item {
            Ok(order) => {
                canonical.push(1);
                order.write_canonical(&mut canonical);
            }
            Err(_) => canonical.push(0),
        }
    }
    canonical
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = BatchItem)]
struct ItemView<'a> {
    /// Which one, from 0.
    index: usize,
    /// The status it would have been answered with alone.
    status: u16,
    /// The link, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    link: Option<LinkView<'a>>,
    /// What is wrong, if something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<ProblemView>)]
    error: Option<&'a Problem>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = BatchResult)]
pub(super) struct BatchView<'a> {
    /// One for each link, in order.
    results: Vec<ItemView<'a>>,
    /// Who has all of it.
    #[schema(value_type = ReplicationReport)]
    replication: &'a ReplicationReport,
}

fn write(items: &[Item], batch: &Batch, domains: &DomainTable) -> Result<Vec<u8>, Problem> {
    let mut made = batch.made.iter();
    // Every valid item was an order, in the same order.
    let made: Vec<Option<&Made>> =
        items.iter().map(|item| item.as_ref().ok().and_then(|_| made.next())).collect();
    let problems: Vec<Option<Problem>> = made.iter().map(|made| made.and_then(problem_of)).collect();
    let mut results = Vec::with_capacity(items.len());
    for (index, ((item, made), problem)) in items.iter().zip(&made).zip(&problems).enumerate() {
        let problem = item.as_ref().err().or(problem.as_ref());
        let link = match (item, made) {
            (Ok(order), Some(made @ Made::Created { .. })) => {
                made_view(order, made, known(domains, order.domain)?, None)
            }
            (_, Some(Made::Replayed(found) | Made::Found(found))) => {
                let (key, stored) = &**found;
                Some(LinkView::of_stored(&key.code, stored, known(domains, key.domain)?, None))
            }
            _ => None,
        };
        let status = match (problem, made) {
            (Some(problem), _) => problem.status(),
            (None, Some(Made::Found(_))) => StatusCode::OK.as_u16(),
            (None, _) => StatusCode::CREATED.as_u16(),
        };
        results.push(ItemView { index, status, link, error: problem });
    }
    let mut out = Vec::with_capacity(items.len() * 400 + 128);
    let view = BatchView { results, replication: &batch.replication };
    serde_json::to_writer(&mut out, &view).expect("answers are strings, numbers and lists");
    Ok(out)
}

fn problem_of(made: &Made) -> Option<Problem> {
    match made {
        Made::Created { .. } | Made::Replayed(_) | Made::Found(_) => None,
        refused => Some(refusal(refused)),
    }
}

/// The body: `{"links": [...]}`.
enum Body<'a> {
    Object { links: Option<List<'a>>, stray: Option<Finding> },
    NoObject(&'static str),
}

enum List<'a> {
    Links(Vec<Described<'a>>),
    TooMany,
    Other(&'static str),
}

impl<'a> Body<'a> {
    fn links(self) -> Result<Vec<Described<'a>>, Problem> {
        let (links, stray) = match self {
            Body::Object { links, stray } => (links, stray),
            Body::NoObject(found) => {
                return Err(Problem::wrong_shape(format!(
                    "expected an object with a list of links, found {found}"
                )));
            }
        };
        if let Some(stray) = stray {
            return Err(Problem::invalid(vec![stray]));
        }
        let count = format!("a batch has 1 to {LINKS_MAX} links");
        match links {
            None => Err(Problem::field("links", "required", "the field is required")),
            Some(List::Other(found)) => {
                Err(Problem::field("links", "wrong_type", format!("expected a list, found {found}")))
            }
            Some(List::TooMany) => Err(Problem::field("links", "too_many_links", count)),
            Some(List::Links(links)) if links.is_empty() => Err(Problem::field("links", "no_links", count)),
            Some(List::Links(links)) => Ok(links),
        }
    }
}

macro_rules! scalars_are {
    ($result:ty, $no:path) => {
        fn visit_unit<E>(self) -> Result<$result, E> {
            Ok($no(Json::Null.kind()))
        }
        fn visit_bool<E>(self, value: bool) -> Result<$result, E> {
            Ok($no(Json::Bool(value).kind()))
        }
        fn visit_u64<E>(self, _: u64) -> Result<$result, E> {
            Ok($no(Json::OtherNumber.kind()))
        }
        fn visit_i64<E>(self, _: i64) -> Result<$result, E> {
            Ok($no(Json::OtherNumber.kind()))
        }
        fn visit_f64<E>(self, _: f64) -> Result<$result, E> {
            Ok($no(Json::OtherNumber.kind()))
        }
        fn visit_str<E>(self, _: &str) -> Result<$result, E> {
            Ok($no(Json::Text("".into()).kind()))
        }
    };
}

impl<'de: 'a, 'a> Deserialize<'de> for Body<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Body<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a list of links")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body<'de>, A::Error> {
                let (mut links, mut stray) = (None, None);
                while let Some(Name(name)) = map.next_key()? {
                    if name == "links" && links.is_none() {
                        links = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        stray.get_or_insert_with(|| unknown(&name));
                    }
                }
                Ok(Body::Object { links, stray })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Body<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Body::NoObject(Json::List(Vec::new(), 0).kind()))
            }
            scalars_are!(Body<'de>, Body::NoObject);
        }

        deserializer.deserialize_any(Fields)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for List<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Links;

        impl<'de> Visitor<'de> for Links {
            type Value = List<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of links")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<'de>, A::Error> {
                let mut links = Vec::new();
                while links.len() < LINKS_MAX {
                    match seq.next_element()? {
                        Some(link) => links.push(link),
                        None => return Ok(List::Links(links)),
                    }
                }
                let mut too_many = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    too_many = true;
                }
                Ok(if too_many { List::TooMany } else { List::Links(links) })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<List<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(List::Other(Json::Object(Vec::new(), 0).kind()))
            }
            scalars_are!(List<'de>, List::Other);
        }

        deserializer.deserialize_any(Links)
    }
}
