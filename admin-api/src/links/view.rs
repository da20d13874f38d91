//! A link as answers show it.

use std::fmt;

use jiff::Timestamp;
use linklog::store::StoredLink;
use linklog::{Code, Link, LinkState};
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
    /// When it ends; null: never.
    #[schema(required)]
    expires_at: Option<Rfc3339>,
    /// For people.
    #[schema(required)]
    title: Option<&'a str>,
    /// For people, in the order given.
    #[schema(value_type = Vec<String>)]
    tags: &'a [String],
    /// When it was made.
    created_at: Rfc3339,
    /// When it was last changed.
    updated_at: Rfc3339,
    /// Counts its changes; also its entity tag.
    version: u64,
    /// How many people followed it; in answers to reads.
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
    /// Its title.
    pub title: Option<&'a str>,
    /// Its tags.
    pub tags: &'a [String],
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it was last changed, milliseconds since the Unix epoch.
    pub updated_at_ms: u64,
    /// Its version.
    pub version: u64,
    /// Who has it, if that is known for it alone.
    pub replication: Option<&'a ReplicationReport>,
}

impl<'a> LinkView<'a> {
    /// Shows a link.
    pub fn new(link: &'a Link, shown: Shown<'a>) -> LinkView<'a> {
        LinkView {
            code: shown.code.as_str(),
            domain: shown.domain.base.host(),
            short_url: ShortUrl { domain: shown.domain, code: shown.code },
            long_url: &link.target,
            status: link.status.code(),
            state: state_name(link.state),
            expires_at: link.expires_at_ms.map(Rfc3339),
            title: shown.title,
            tags: shown.tags,
            created_at: Rfc3339(shown.created_at_ms),
            updated_at: Rfc3339(shown.updated_at_ms),
            version: shown.version,
            clicks: None,
            replication: shown.replication,
        }
    }

    /// Shows besides how many people followed it.
    #[must_use]
    pub fn with_clicks(self, clicks: u64) -> LinkView<'a> {
        LinkView { clicks: Some(clicks), ..self }
    }

    /// Shows a link as it is stored.
    pub fn of_stored(
        code: &'a Code,
        stored: &'a StoredLink,
        domain: &'a KnownDomain,
        replication: Option<&'a ReplicationReport>,
    ) -> LinkView<'a> {
        let shown = Shown {
            code,
            domain,
            title: stored.manage.title.as_deref(),
            tags: &stored.manage.tags,
            created_at_ms: stored.manage.created_at_ms,
            updated_at_ms: stored.manage.updated_at_ms,
            version: stored.stamp.version,
            replication,
        };
        LinkView::new(&stored.link, shown)
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
