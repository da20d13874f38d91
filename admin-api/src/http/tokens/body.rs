//! What a request says about a token: every field judged, all findings told at once. Pure, but for the time.

use linklog::entity::{Period, Scopes, TOKEN_DOMAINS_MAX, Token, TokenLimits};

use crate::alias;
use crate::auth::scope_named;
use crate::clock;
use crate::domains::DomainTable;
use crate::http::object::{Object, person, whole};
use crate::json::Json;
use crate::links::extras::members;
use crate::links::fields::Judge;
use crate::links::order::domain_named;
use crate::people::People;
use crate::problem::Problem;

/// Longest period of a quota, in seconds: a leap year.
const PERIOD_S_MAX: u64 = 366 * 24 * 3600;
/// Most requests per second a token can be given.
const REQUESTS_PER_S_MAX: u64 = 1_000_000;
/// Most redirects of a quota.
const REDIRECTS_MAX: u64 = 1_000_000_000_000;
/// Longest prefix of aliases, in characters: something has to follow.
const PREFIX_CHARS_MAX: usize = 40;

/// The fields of a token.
pub(super) const FIELDS: [&str; 10] = [
    "name",
    "scopes",
    "user",
    "expires_at",
    "domains",
    "alias_prefix",
    "creates",
    "redirects",
    "requests_per_s",
    "own_links_only",
];

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
pub(super) fn said(
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
    if let Some(json) = object.get("redirects") {
        limits.redirects = redirects(judge, json);
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

fn redirects(judge: &mut Judge, json: &Json<'_>) -> Option<(u64, Period)> {
    const FIELD: &str = "redirects";
    if matches!(json, Json::Null) {
        return None;
    }
    let [count, period] = members(judge, FIELD, json, ["count", "period"])?;
    let period = match period {
        Some(Json::Text(period)) if period == "day" => Some(Period::Day),
        Some(Json::Text(period)) if period == "month" => Some(Period::Month),
        _ => None,
    };
    match (count, period) {
        (Some(Json::Whole(count)), Some(period)) if (1..=REDIRECTS_MAX).contains(count) => {
            Some((*count, period))
        }
        _ => {
            let expected = format!(
                "expected count, a whole number from 1 to {REDIRECTS_MAX}, and period, \"day\" or \"month\""
            );
            judge.find(FIELD, "redirects_not_allowed", expected);
            None
        }
    }
}
