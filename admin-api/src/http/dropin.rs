//! APIs of other shorteners, as far as their clients need them to work here by changing the base URL. Each is switched on in `[drop_in]`.
//!
//! Every request becomes one of ours: the same tokens, the same judging of fields, the same durability. Owned here: what an API cannot
//! say in its own words is refused by name or told in the documentation (`docs/drop-in.md`), never dropped in silence where it would
//! change where a link leads or how long it lives.

mod bitly;
mod shlink;
mod shorten;
mod yourls;

use std::sync::Arc;

use axum::Router;
use clicklog::account::Totals;
use clicklog::{Kind, Subject};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use linklog::entity::Scopes;
use linklog::store::{Reader, StoreError, StoredLink};
use linklog::{DomainId, Key, LinkState, Seq};

use super::Api;
use super::links::{known, refusal};
use super::query::key_in_domain;
use crate::auth::Caller;
use crate::json::{Json, Members};
use crate::links::ChangeError;
use crate::links::create::{Made, Request as CreateRequest};
use crate::links::fields::LinkFields;
use crate::links::list::Wanted;
use crate::links::order;
use crate::problem::Problem;

/// Most links that a list or a sum of these APIs goes through, newest first: they count pages from the first and want totals.
const SCANNED_MAX: usize = 100_000;
/// Links looked at in one step.
const STEP: usize = 1_000;

/// Which of them are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DropIn {
    /// Shlink's REST API, version 3.
    pub shlink: bool,
    /// `yourls-api.php`.
    pub yourls: bool,
    /// Bitly's API, version 4.
    pub bitly: bool,
    /// `POST /shorten`.
    pub shorten: bool,
}

/// Adds the routes of those that are switched on.
pub(super) fn added_to(mut router: Router<Arc<Api>>, which: DropIn) -> Router<Arc<Api>> {
    for (on, routes) in [
        (which.shlink, shlink::routes as fn() -> Router<Arc<Api>>),
        (which.yourls, yourls::routes),
        (which.bitly, bitly::routes),
        (which.shorten, shorten::routes),
    ] {
        if on {
            router = router.merge(routes());
        }
    }
    router
}

/// A link as the database has it, with what was counted on it.
struct Found {
    key: Key,
    link: StoredLink,
    totals: Totals,
}

impl Found {
    fn short_url(&self, api: &Api) -> Result<String, Problem> {
        let domains = api.links.domains.table();
        Ok(known(&domains, self.key.domain)?.base.short_url(&self.key.code))
    }

    fn host(&self, api: &Api) -> Result<String, Problem> {
        let domains = api.links.domains.table();
        Ok(known(&domains, self.key.domain)?.base.host().to_owned())
    }

    /// Redirects of every kind that a peer counts as one: people's and bots', HEAD and prefetches left out.
    fn visits(&self) -> (u64, u64) {
        (people(&self.link, &self.totals), self.totals.counts.of(Kind::Bot))
    }
}

/// How many people followed a link, those before it was imported among them.
fn people(link: &StoredLink, totals: &Totals) -> u64 {
    totals.clicks().saturating_add(link.manage.imported_clicks)
}

/// Lets a request in that shows a token in whatever place its API has for it.
fn admit(api: &Api, token: Option<&str>, sufficient: &[Scopes]) -> Result<Caller, Problem> {
    let authorization = token.map(|token| format!("Bearer {token}"));
    api.admit_as(authorization.as_deref().map(str::as_bytes), sufficient)
}

/// The token of an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Makes a link of fields that were filled in from another API's.
async fn make(api: &Api, caller: Caller, fields: LinkFields<'_>) -> Result<Found, Problem> {
    let domains = api.links.domains.table();
    let order = order::judge(fields, &api.links.rules, &domains)?;
    let request = CreateRequest { caller, orders: &[&order], key: None, skip_proxies: false, ahead: None };
    let made = api.links.create(&request).await?.made.pop().unwrap_or(Made::NoCode);
    let key = match made {
        Made::Created { code, .. } => Key::new(order.domain, code),
        Made::Found(found) | Made::Replayed(found) => found.0,
        other => return Err(refusal(&other)),
    };
    find(api, caller, key).await
}

/// Looks a link up that the caller may see.
async fn find(api: &Api, caller: Caller, key: Key) -> Result<Found, Problem> {
    let key = api.links.key_as_kept(key).await?;
    let (link, totals) = api.links.get_counted(caller, key).await?;
    Ok(Found { key, link, totals })
}

/// The key of a code on a host; no host: the default domain.
fn key_on(api: &Api, host: Option<&str>, code: &str) -> Result<Key, Problem> {
    let domains = api.links.domains.table();
    let domain = order::domain_named(host, &domains).map_err(|name| Problem::no_domain(&name))?;
    key_in_domain(code, domain, &domains)
}

/// The key of a short URL, with its scheme or without, or of a code alone.
fn key_of_short_url(api: &Api, text: &str) -> Result<Key, Problem> {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    match text.rsplit_once('/') {
        Some((host, code)) => key_on(api, Some(host), code).or_else(|_| {
            // Whoever listens on a port of his own says so in his links.
            key_on(api, Some(host.split(':').next().unwrap_or(host)), code)
        }),
        None => key_on(api, None, text),
    }
}

/// What a walk over the links has found.
#[derive(Default)]
struct Walked {
    links: Vec<Found>,
    /// Links that were wanted, those on other pages among them.
    total: usize,
    /// Of those.
    visits: u64,
}

/// Goes through the links the caller may see, newest first, at most [`SCANNED_MAX`]; keeps those from place `from` on, at most `limit`,
/// that are wanted.
async fn walk(
    api: &Api,
    caller: Caller,
    from: usize,
    limit: usize,
    wanted: impl Fn(&Key, &StoredLink) -> bool + Send + 'static,
) -> Result<Walked, Problem> {
    let (clicks, within) = (api.links.clicks.clone(), api.links.tokens.within(caller));
    let read = move |reader: &Reader| -> Result<Walked, StoreError> {
        let (mut walked, mut before, mut seen): (Walked, Option<Seq>, usize) = Default::default();
        while seen < SCANNED_MAX {
            let rows = reader.links_by_age(before, STEP)?;
            seen += rows.len();
            before = rows.last().map(|row| row.created_seq);
            let mut page = Vec::with_capacity(rows.len());
            for row in &rows {
                let link = reader.link(&row.key)?.filter(|link| link.stamp.created.seq == row.created_seq);
                // What is only reserved leads nowhere, and these APIs know no such thing.
                let is_one = |link: &StoredLink| {
                    link.link.state != LinkState::Reserved
                        && caller.sees(link.manage.owner)
                        && within.has(&row.key)
                        && wanted(&row.key, link)
                };
                page.extend(link.filter(is_one).map(|link| (row.key, link)));
            }
            let subjects: Vec<Subject> =
                page.iter().map(|(key, link)| Subject { key: *key, created: link.stamp.created }).collect();
            for ((key, link), totals) in page.into_iter().zip(clicks.totals(&subjects)?) {
                walked.visits += people(&link, &totals);
                if walked.total >= from && walked.links.len() < limit {
                    walked.links.push(Found { key, link, totals });
                }
                walked.total += 1;
            }
            if rows.len() < STEP {
                break;
            }
        }
        Ok(walked)
    };
    let read = api.links.log.read(read).await.map_err(ChangeError::from)?;
    Ok(read.map_err(ChangeError::from)?)
}

/// As [`walk`], through a list in any order and with any filter of ours: those from place `from` on, at most `limit`, of at most
/// [`SCANNED_MAX`]. By words and by clicks it is as of the search index's last refresh.
async fn listed(
    api: &Api,
    caller: Caller,
    wanted: Wanted,
    (from, limit): (usize, usize),
    is_wanted: impl Fn(&Key, &StoredLink) -> bool,
) -> Result<Walked, Problem> {
    let wanted = Wanted { limit: STEP, ..wanted };
    let mut wanted = api.links.bounded(caller, wanted).map_err(ChangeError::from)?;
    let mut walked = Walked::default();
    for _ in 0..SCANNED_MAX / STEP {
        let page = api.links.list(wanted.clone()).await?;
        for ((key, link), totals) in page.links.into_iter().zip(page.totals) {
            if link.link.state == LinkState::Reserved || !is_wanted(&key, &link) {
                continue;
            }
            walked.visits += people(&link, &totals);
            if walked.total >= from && walked.links.len() < limit {
                walked.links.push(Found { key, link, totals });
            }
            walked.total += 1;
        }
        wanted.cursor = page.next;
        if wanted.cursor.is_none() {
            break;
        }
    }
    Ok(walked)
}

/// Reads an object.
fn object(bytes: &[u8]) -> Result<Members<'_>, Problem> {
    serde_json::from_slice(bytes).map_err(|error| match error.is_data() {
        true => Problem::wrong_shape("expected an object"),
        false => Problem::malformed(&error),
    })
}

/// A time as [`jiff::fmt::strtime`] writes it, in UTC.
fn time(at_ms: u64, format: &str) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.unwrap_or(Timestamp::MAX).strftime(format).to_string()
}

/// Says whether a value is left out as far as anybody cares.
fn is_nothing(json: &Json<'_>) -> bool {
    match json {
        Json::Null | Json::Bool(false) => true,
        Json::Text(text) => text.is_empty(),
        Json::List(_, len) => *len == 0,
        _ => false,
    }
}

/// The default domain's links are told without a domain.
fn elsewhere(key: &Key, host: &str) -> Option<String> {
    (key.domain != DomainId::DEFAULT).then(|| host.to_owned())
}
