//! What a client says about the fields that only few links have: when a link begins, how it ends, what caches may do, what goes on to its
//! target. Pure.
//!
//! A merge patch replaces `when_ended`, `cache`, `rules` and `variants` as a whole: each is one setting.

use linklog::link::extras::{CACHE_SECONDS_MAX, CachePolicy, Ended, Extras, Limit};
use linklog::link::rules::{Rule, Variant};

use super::access::AccessPatch;
use super::fields::{Judge, LinkFields};
use super::{Rules, where_to};
use crate::domains::DomainTable;
use crate::json::{Json, Name};
use crate::target;

/// Longest life that `ttl` can give, in seconds: a century.
pub const TTL_S_MAX: u64 = 100 * 366 * 24 * 3600;

/// Highest number of clicks that a link may end with.
pub const MAX_CLICKS_MAX: u64 = 1_000_000_000_000;

impl LinkFields<'_> {
    /// Says whether an alias is to be reserved without a target, and finds what does not go with that.
    pub(super) fn is_reservation(&self, judge: &mut Judge) -> bool {
        let reserve = self.reserve.as_ref().is_some_and(|json| flag(judge, "reserve", json));
        if reserve {
            judge.not_here("long_url", self.long_url.as_ref(), "a reserved alias has no target yet");
            for (field, json) in [
                ("not_before", &self.not_before),
                ("when_ended", &self.when_ended),
                ("cache", &self.cache),
                ("forward_query", &self.forward_query),
                ("forward_path", &self.forward_path),
                ("visibility", &self.visibility),
                ("allowed", &self.allowed),
                ("password", &self.password),
                ("rules", &self.rules),
                ("variants", &self.variants),
            ] {
                judge.not_here(field, json.as_ref(), "a reserved alias leads nowhere yet");
            }
            if !matches!(&self.alias, Some(json) if !matches!(json, Json::Null)) {
                judge.find("alias", "required", "say which alias is to be reserved");
            }
        }
        reserve
    }
}

/// What is to be different about a link's extras; what is `None` stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExtrasPatch {
    /// Seconds from the moment of the change on, in place of `expires_at`.
    pub ttl_s: Option<u64>,
    not_before_ms: Option<Option<u64>>,
    ended: Option<Option<Ended>>,
    cache: Option<Option<CachePolicy>>,
    forward_query: Option<bool>,
    forward_path: Option<bool>,
    max_clicks: Option<Option<u64>>,
    /// Who may follow it.
    pub(super) access: AccessPatch,
    rules: Option<Vec<Rule>>,
    variants: Option<Vec<Variant>>,
}

impl ExtrasPatch {
    /// Judges the fields; `expires_at` says whether that was given, too.
    pub(super) fn judge(
        judge: &mut Judge,
        fields: &LinkFields<'_>,
        expires_at: bool,
        rules: &Rules,
        domains: &DomainTable,
    ) -> ExtrasPatch {
        let ttl_s = ttl(judge, fields.ttl.as_ref());
        if ttl_s.is_some() && expires_at {
            judge.find("ttl", "ttl_and_expires_at", "give either ttl or expires_at");
        }
        let time = |judge: &mut Judge, json| judge.time_ms("not_before", "not_before_not_a_time", Some(json));
        ExtrasPatch {
            ttl_s,
            not_before_ms: fields.not_before.as_ref().map(|json| time(judge, json)),
            ended: fields.when_ended.as_ref().map(|json| when_ended(judge, json, rules, domains)),
            cache: fields.cache.as_ref().map(|json| cache(judge, json)),
            forward_query: fields.forward_query.as_ref().map(|json| flag(judge, "forward_query", json)),
            forward_path: fields.forward_path.as_ref().map(|json| flag(judge, "forward_path", json)),
            max_clicks: fields.max_clicks.as_ref().map(|json| max_clicks(judge, json)),
            access: AccessPatch::judge(judge, fields),
            rules: fields.rules.as_ref().map(|json| where_to::rules(judge, json, rules, domains)),
            variants: fields.variants.as_ref().map(|json| where_to::variants(judge, json, rules, domains)),
        }
    }

    /// Makes the changes.
    pub(super) fn apply(&self, extras: &mut Extras) {
        let set = |place: &mut bool, new: Option<bool>| *place = new.unwrap_or(*place);
        if let Some(not_before_ms) = self.not_before_ms {
            extras.not_before_ms = not_before_ms;
        }
        if let Some(ended) = &self.ended {
            extras.ended.clone_from(ended);
        }
        if let Some(cache) = self.cache {
            extras.cache = cache;
        }
        set(&mut extras.forward.query, self.forward_query);
        set(&mut extras.forward.path, self.forward_path);
        if let Some(max) = self.max_clicks {
            let old = extras.limit.unwrap_or_default();
            extras.limit = max.map(|max| Limit { max, ..old });
        }
        self.access.apply(extras);
        if let Some(rules) = &self.rules {
            extras.rules.clone_from(rules);
        }
        if let Some(variants) = &self.variants {
            extras.variants.clone_from(variants);
        }
    }
}

fn flag(judge: &mut Judge, field: &'static str, json: &Json<'_>) -> bool {
    match json {
        Json::Null => false,
        Json::Bool(flag) => *flag,
        other => {
            judge.wrong_type(field, "true or false", other);
            false
        }
    }
}

fn max_clicks(judge: &mut Judge, json: &Json<'_>) -> Option<u64> {
    let expected = || format!("a whole number from 1 to {MAX_CLICKS_MAX}, or null");
    match json {
        Json::Null => None,
        Json::Whole(clicks) if (1..=MAX_CLICKS_MAX).contains(clicks) => Some(*clicks),
        Json::Whole(_) => {
            judge.find("max_clicks", "max_clicks_out_of_range", format!("expected {}", expected()));
            None
        }
        other => {
            judge.wrong_type("max_clicks", &expected(), other);
            None
        }
    }
}

fn ttl(judge: &mut Judge, json: Option<&Json<'_>>) -> Option<u64> {
    let expected = || format!("a whole number of seconds from 1 to {TTL_S_MAX}");
    match json {
        None | Some(Json::Null) => None,
        Some(Json::Whole(seconds)) if (1..=TTL_S_MAX).contains(seconds) => Some(*seconds),
        Some(Json::Whole(_)) => {
            judge.find("ttl", "ttl_out_of_range", format!("expected {}", expected()));
            None
        }
        Some(other) => {
            judge.wrong_type("ttl", &expected(), other);
            None
        }
    }
}

/// Reads the members of an object that has no others; `None` and a finding if it is none or has.
pub(crate) fn members<'j, 'a, const N: usize>(
    judge: &mut Judge,
    field: &'static str,
    json: &'j Json<'a>,
    names: [&'static str; N],
) -> Option<[Option<&'j Json<'a>>; N]> {
    let Json::Object(found, count) = json else {
        judge.wrong_type(field, "an object", json);
        return None;
    };
    let mut values = [None; N];
    for (Name(name), value) in found {
        match names.iter().position(|known| known == name) {
            Some(at) if values[at].is_none() => values[at] = Some(value),
            _ => {
                let shown: String = name.chars().take(64).collect();
                let allowed = names.join(", ");
                judge.find(
                    field,
                    "unknown_member",
                    format!("{shown:?} is unknown or there twice; it can have {allowed}"),
                );
                return None;
            }
        }
    }
    if *count > found.len() {
        judge.find(field, "unknown_member", format!("it can have {}", names.join(", ")));
        return None;
    }
    Some(values.map(|value| value.filter(|value| !matches!(value, Json::Null))))
}

/// Judges how something answers that has ended.
pub(crate) fn when_ended(
    judge: &mut Judge,
    json: &Json<'_>,
    rules: &Rules,
    domains: &DomainTable,
) -> Option<Ended> {
    const FIELD: &str = "when_ended";
    if matches!(json, Json::Null) {
        return None;
    }
    let [status, fallback] = members(judge, FIELD, json, ["status", "fallback_url"])?;
    let status = match status {
        None => None,
        Some(Json::Whole(status @ (302 | 404 | 410))) => Some(*status),
        Some(_) => {
            judge.find(FIELD, "when_ended_status", "the status is 410, 404, or 302 with a fallback_url");
            return None;
        }
    };
    match (status, fallback) {
        (None | Some(302), Some(url)) => target_in(judge, FIELD, url, rules, domains).map(Ended::Redirect),
        (Some(404), None) => Some(Ended::NotFound),
        (Some(410), None) => Some(Ended::Gone),
        _ => {
            judge.find(FIELD, "when_ended_status", "give status 410 or 404, or a fallback_url");
            None
        }
    }
}

/// Judges a URL that visitors may be sent to, inside of another field.
pub(crate) fn target_in(
    judge: &mut Judge,
    field: &'static str,
    json: &Json<'_>,
    rules: &Rules,
    domains: &DomainTable,
) -> Option<String> {
    let Json::Text(text) = json else {
        judge.wrong_type(field, "a URL", json);
        return None;
    };
    let checked = target::check(text, &rules.target, |host, port| domains.serves(host, port));
    checked.map_err(|error| judge.find(field, error.code(), error.to_string())).ok()
}

fn cache(judge: &mut Judge, json: &Json<'_>) -> Option<CachePolicy> {
    const FIELD: &str = "cache";
    if matches!(json, Json::Null) {
        return None;
    }
    let [scope, max_age, s_maxage, stale] =
        members(judge, FIELD, json, ["scope", "max_age", "s_maxage", "stale_while_revalidate"])?;
    let public = match scope {
        None => false,
        Some(Json::Text(scope)) if scope == "private" => false,
        Some(Json::Text(scope)) if scope == "public" => true,
        Some(_) => {
            judge.find(FIELD, "cache_scope", "the scope is private or public");
            return None;
        }
    };
    let mut seconds = |json: Option<&Json<'_>>| match json {
        None => None,
        Some(Json::Whole(seconds)) if *seconds <= CACHE_SECONDS_MAX => Some(*seconds),
        Some(_) => {
            let expected = format!("times are whole numbers of seconds from 0 to {CACHE_SECONDS_MAX}");
            judge.find(FIELD, "cache_seconds", expected);
            None
        }
    };
    let policy = CachePolicy {
        public,
        max_age_s: seconds(max_age),
        s_maxage_s: seconds(s_maxage),
        stale_while_revalidate_s: seconds(stale),
    };
    if policy.s_maxage_s.is_some() && !public {
        judge.find(FIELD, "cache_scope", "s_maxage is for shared caches: it needs scope public");
        return None;
    }
    Some(policy)
}
