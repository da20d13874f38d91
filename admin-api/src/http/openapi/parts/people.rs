//! Users, groups and tokens as clients describe them.

use serde::Deserialize;
use utoipa::ToSchema;

/// A user to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct NewUser {
    /// A name for people.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// An address for people.
    #[schema(max_length = 254)]
    email: Option<String>,
    /// The ids of groups.
    #[schema(max_items = 64)]
    groups: Option<Vec<String>>,
    /// Whether all its tokens are refused.
    disabled: Option<bool>,
}

/// What is to be different about a user. What is not there stays; `null` clears.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct UserPatch {
    /// A name for people.
    #[schema(min_length = 1, max_length = 100, nullable = false)]
    name: Option<String>,
    /// An address for people.
    #[schema(max_length = 254)]
    email: Option<String>,
    /// The ids of groups.
    #[schema(max_items = 64)]
    groups: Option<Vec<String>>,
    /// Whether all its tokens are refused.
    disabled: Option<bool>,
}

/// A group to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct NewGroup {
    /// A name for people.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
}

/// What is to be different about a group.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct GroupPatch {
    /// A name for people.
    #[schema(min_length = 1, max_length = 100, nullable = false)]
    name: Option<String>,
}

/// What a token may do.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "only described here")]
pub(super) enum Scope {
    /// Read links.
    #[serde(rename = "links:read")]
    LinksRead,
    /// Make, change and delete links.
    #[serde(rename = "links:write")]
    LinksWrite,
    /// Read statistics.
    #[serde(rename = "stats:read")]
    StatsRead,
    /// Everything.
    #[serde(rename = "admin")]
    Admin,
}

/// A quota of links.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub(super) struct Creates {
    /// How many links may be made in a period.
    count: u64,
    /// How long a period is, in seconds.
    #[schema(minimum = 1, maximum = 31622400)]
    period_s: u64,
}

/// A quota of redirects.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub(super) struct Redirects {
    /// How many redirects all links that the token makes may answer in a period.
    #[schema(minimum = 1, maximum = 1000000000000_u64)]
    count: u64,
    /// How long a period is, by the calendar of UTC.
    #[schema(value_type = RedirectPeriod)]
    period: String,
}

/// A period of the calendar of UTC.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "only described here")]
pub(super) enum RedirectPeriod {
    /// From midnight to midnight.
    #[serde(rename = "day")]
    Day,
    /// From the first of a month to the first of the next.
    #[serde(rename = "month")]
    Month,
}

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct NewToken {
    /// A name for people.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// What it may do.
    #[schema(min_items = 1, max_items = 8, value_type = Vec<Scope>)]
    scopes: Vec<String>,
    /// The id of the user whose links it makes.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    user: Option<String>,
    /// From when on it is refused, RFC 3339, in the future.
    #[schema(format = "date-time")]
    expires_at: Option<String>,
    /// The hosts of the domains on which it sees, makes and changes links; all if it is not said.
    #[schema(max_items = 64)]
    domains: Option<Vec<String>>,
    /// What the codes begin with that it sees, makes and changes.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,40}$")]
    alias_prefix: Option<String>,
    /// How many links it may make.
    #[schema(value_type = Option<Creates>)]
    creates: Option<String>,
    /// How many redirects the links it makes from now on may answer.
    #[schema(value_type = Option<Redirects>)]
    redirects: Option<String>,
    /// How many requests it may make per second; as configured if it is not said.
    #[schema(minimum = 1, maximum = 1000000)]
    requests_per_s: Option<u32>,
    /// Whether it sees and changes its user's links only; it does if it has a user and nothing is said.
    own_links_only: Option<bool>,
}

/// What is to be different about a token. What is not there stays; `null` clears.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described here")]
pub struct TokenPatch {
    /// A name for people.
    #[schema(min_length = 1, max_length = 100, nullable = false)]
    name: Option<String>,
    /// What it may do.
    #[schema(min_items = 1, max_items = 8, value_type = Option<Vec<Scope>>)]
    scopes: Option<Vec<String>>,
    /// The id of the user whose links it makes.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    user: Option<String>,
    /// From when on it is refused, RFC 3339, in the future.
    #[schema(format = "date-time")]
    expires_at: Option<String>,
    /// The hosts of the domains on which it sees, makes and changes links.
    #[schema(max_items = 64)]
    domains: Option<Vec<String>>,
    /// What the codes begin with that it sees, makes and changes.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,40}$")]
    alias_prefix: Option<String>,
    /// How many links it may make.
    #[schema(value_type = Option<Creates>)]
    creates: Option<String>,
    /// How many redirects the links it makes from now on may answer.
    #[schema(value_type = Option<Redirects>)]
    redirects: Option<String>,
    /// How many requests it may make per second.
    #[schema(minimum = 1, maximum = 1000000)]
    requests_per_s: Option<u32>,
    /// Whether it sees and changes its user's links only.
    own_links_only: Option<bool>,
}
