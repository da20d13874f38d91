//! A link as answers show it.

use std::fmt;

use jiff::Timestamp;
use linklog::link::rules::{Country, Device, Rule, Variant};
use linklog::store::StoredLink;
use linklog::{CachePolicy, Code, Ended, Link, LinkManage, LinkState};
use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domains::KnownDomain;
use crate::replication::ReplicationReport;

/// A link in JSON. Borrows everything: a batch of a thousand is written without a copy.
#[derive(Serialize, ToSchema)]
#[schema(as = Link, description = "A link.")]
pub struct LinkView<'a> {
    /// What stands behind the slash.
    code: &'a str,
    /// The host of its domain.
    domain: &'a str,
    /// The whole short URL.
    #[schema(value_type = String, format = "uri")]
    short_url: ShortUrl<'a>,
    /// Where it leads; empty for a code that is kept without a target.
    long_url: &'a str,
    /// The status of the redirect.
    status: u16,
    /// Whether it redirects: `active`, `disabled`, `banned` or `reserved`.
    state: &'static str,
    /// When it begins; null: it has.
    #[schema(required)]
    not_before: Option<Rfc3339>,
    /// After how many clicks it ends; null: after none.
    #[schema(required)]
    max_clicks: Option<u64>,
    /// When it ends; null: never.
    #[schema(required)]
    expires_at: Option<Rfc3339>,
    /// What it answers when it has ended; null: as its domain says.
    #[schema(required)]
    when_ended: Option<EndedView<'a>>,
    /// What caches may do; null: the rule for its status.
    #[schema(required)]
    cache: Option<CacheView>,
    /// Whether a visitor's parameters go on to the target.
    forward_query: bool,
    /// Whether the rest of a visitor's path does.
    forward_path: bool,
    /// Where some visitors go instead, in order.
    rules: Vec<RuleView<'a>>,
    /// Where visitors go for whom no rule holds, by weight; none: to `long_url`.
    variants: Vec<VariantView<'a>>,
    /// For people.
    #[schema(required)]
    title: Option<&'a str>,
    /// Notes for people.
    #[schema(required)]
    notes: Option<&'a str>,
    /// For people, in the order given.
    #[schema(value_type = Vec<String>)]
    tags: &'a [String],
    /// The id of the user it belongs to.
    #[schema(required)]
    owner: Option<String>,
    /// What it is called elsewhere.
    #[schema(required)]
    external_id: Option<&'a str>,
    /// Whether it is put aside.
    archived: bool,
    /// Since when.
    #[schema(required)]
    archived_at: Option<Rfc3339>,
    /// When it was made.
    created_at: Rfc3339,
    /// The id of the token that made it.
    created_by: &'a str,
    /// When it was last changed.
    updated_at: Rfc3339,
    /// The id of the token that changed it last.
    #[schema(required)]
    last_changed_by: Option<&'a str>,
    /// Counts its changes; also its entity tag.
    version: u64,
    /// How many people had followed it elsewhere before it was imported.
    imported_clicks: u64,
    /// How many people followed it, those before it was imported among them; in answers to reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    clicks: Option<u64>,
    /// Who has the change; in answers to changes of one link.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<ReplicationReport>)]
    replication: Option<&'a ReplicationReport>,
}

/// What [`LinkView`] shows besides the link itself.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// Its code.
    pub code: &'a Code,
    /// Where it lives.
    pub domain: &'a KnownDomain,
    /// What is kept of it besides what proxies get.
    pub manage: &'a LinkManage,
    /// Its version.
    pub version: u64,
    /// Who has it, if that is known for it alone.
    pub replication: Option<&'a ReplicationReport>,
}

impl<'a> LinkView<'a> {
    /// Shows a link.
    pub fn new(link: &'a Link, shown: Shown<'a>) -> LinkView<'a> {
        let manage = shown.manage;
        LinkView {
            code: shown.code.as_str(),
            domain: shown.domain.base.host(),
            short_url: ShortUrl { domain: shown.domain, code: shown.code },
            long_url: &link.target,
            status: link.status.code(),
            state: state_name(link.state),
            max_clicks: link.extras.limit.map(|limit| limit.max),
            not_before: link.extras.not_before_ms.map(Rfc3339),
            expires_at: link.expires_at_ms.map(Rfc3339),
            when_ended: link.extras.ended.as_ref().map(EndedView::new),
            cache: link.extras.cache.map(CacheView::from),
            forward_query: link.extras.forward.query,
            forward_path: link.extras.forward.path,
            rules: link.extras.rules.iter().map(RuleView::new).collect(),
            variants: link.extras.variants.iter().map(VariantView::new).collect(),
            title: manage.title.as_deref(),
            notes: manage.notes.as_deref(),
            tags: &manage.tags,
            owner: manage.owner.map(|owner| owner.to_string()),
            external_id: manage.external_id.as_deref(),
            archived: manage.archived_at_ms.is_some(),
            archived_at: manage.archived_at_ms.map(Rfc3339),
            created_at: Rfc3339(manage.created_at_ms),
            created_by: &manage.created_by,
            updated_at: Rfc3339(manage.updated_at_ms),
            last_changed_by: manage.last_changed_by.as_deref(),
            version: shown.version,
            imported_clicks: manage.imported_clicks,
            clicks: None,
            replication: shown.replication,
        }
    }

    /// Shows another end than the link's own: one that followed from the time of its creation.
    #[must_use]
    pub fn ending(self, expires_at_ms: Option<u64>) -> LinkView<'a> {
        LinkView { expires_at: expires_at_ms.map(Rfc3339), ..self }
    }

    /// Shows besides how many people followed it, of whom `counted` were counted here.
    #[must_use]
    pub fn with_clicks(self, counted: u64) -> LinkView<'a> {
        LinkView { clicks: Some(counted.saturating_add(self.imported_clicks)), ..self }
    }

    /// Shows a link as it is stored.
    pub fn of_stored(
        code: &'a Code,
        stored: &'a StoredLink,
        domain: &'a KnownDomain,
        replication: Option<&'a ReplicationReport>,
    ) -> LinkView<'a> {
        let shown =
            Shown { code, domain, manage: &stored.manage, version: stored.stamp.version, replication };
        LinkView::new(&stored.link, shown)
    }
}

/// How something answers that has ended.
#[derive(Serialize, ToSchema)]
#[schema(as = WhenEnded)]
pub struct EndedView<'a> {
    /// 410, 404, or 302 with a `fallback_url`.
    status: u16,
    /// Where to, with 302.
    #[schema(required)]
    fallback_url: Option<&'a str>,
}

impl<'a> EndedView<'a> {
    /// Shows it.
    pub fn new(ended: &'a Ended) -> EndedView<'a> {
        match ended {
            Ended::Gone => EndedView { status: 410, fallback_url: None },
            Ended::NotFound => EndedView { status: 404, fallback_url: None },
            Ended::Redirect(target) => EndedView { status: 302, fallback_url: Some(target) },
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = RuleParameter)]
struct ParameterView<'a> {
    /// Its name.
    name: &'a str,
    /// Its value; null: any.
    #[schema(required)]
    value: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Rule)]
struct RuleView<'a> {
    /// On one of these; empty: on any.
    device: Vec<&'static str>,
    /// If the visitor likes one of these best; empty: any.
    #[schema(value_type = Vec<String>)]
    language: &'a [String],
    /// If the visitor comes from one of these countries (ISO 3166-1 alpha-2), which the proxies need a database for; empty: any.
    #[schema(value_type = Vec<String>)]
    country: Vec<&'a str>,
    /// If the query has this parameter.
    #[schema(required)]
    query: Option<ParameterView<'a>>,
    /// From then on.
    #[schema(required)]
    from: Option<Rfc3339>,
    /// Until then.
    #[schema(required)]
    until: Option<Rfc3339>,
    /// Where to.
    long_url: &'a str,
}

impl<'a> RuleView<'a> {
    fn new(rule: &'a Rule) -> RuleView<'a> {
        let parameter = rule.parameter.as_ref();
        RuleView {
            device: Device::NAMES
                .iter()
                .filter(|(_, one)| one.meets(rule.device))
                .map(|(name, _)| *name)
                .collect(),
            language: &rule.languages,
            country: rule.countries.iter().map(Country::as_str).collect(),
            query: parameter.map(|(name, value)| ParameterView { name, value: value.as_deref() }),
            from: rule.from_ms.map(Rfc3339),
            until: rule.until_ms.map(Rfc3339),
            long_url: &rule.target,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Variant)]
struct VariantView<'a> {
    /// Its share is this of the sum of all weights.
    weight: u64,
    /// Where to.
    long_url: &'a str,
}

impl<'a> VariantView<'a> {
    fn new(variant: &'a Variant) -> VariantView<'a> {
        VariantView { weight: variant.weight, long_url: &variant.target }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Cache)]
struct CacheView {
    /// `private` or `public`.
    scope: &'static str,
    /// Seconds.
    #[schema(required)]
    max_age: Option<u64>,
    /// Seconds, in shared caches.
    #[schema(required)]
    s_maxage: Option<u64>,
    /// Seconds.
    #[schema(required)]
    stale_while_revalidate: Option<u64>,
}

impl From<CachePolicy> for CacheView {
    fn from(cache: CachePolicy) -> CacheView {
        CacheView {
            scope: if cache.public { "public" } else { "private" },
            max_age: cache.max_age_s,
            s_maxage: cache.s_maxage_s,
            stale_while_revalidate: cache.stale_while_revalidate_s,
        }
    }
}

const fn state_name(state: LinkState) -> &'static str {
    match state {
        LinkState::Active => "active",
        LinkState::Disabled => "disabled",
        LinkState::Banned => "banned",
        LinkState::Reserved => "reserved",
    }
}

struct ShortUrl<'a> {
    domain: &'a KnownDomain,
    code: &'a Code,
}

impl Serialize for ShortUrl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // One string is cheaper than escaping piece by piece.
        serializer.serialize_str(&self.domain.base.short_url(self.code))
    }
}

/// Milliseconds since the Unix epoch, shown as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rfc3339(pub u64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = i64::try_from(self.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        at.unwrap_or(Timestamp::MAX).fmt(f)
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl PartialSchema for Rfc3339 {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Rfc3339 {
    fn name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_utc_and_as_short_as_it_is() {
        assert_eq!(Rfc3339(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Rfc3339(1_893_456_000_250).to_string(), "2030-01-01T00:00:00.25Z");
        assert_eq!(Rfc3339(u64::MAX).to_string(), "9999-12-30T22:00:00.999999999Z");
    }
}
