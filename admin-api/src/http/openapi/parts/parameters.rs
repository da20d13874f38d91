//! What stands in paths, queries and headers.

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// The host of a domain in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only described here")]
pub struct HostParam {
    /// Any host of the domain.
    #[param(example = "sho.rt")]
    host: String,
}

/// How a QR code is drawn.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct QrParams {
    /// The host of the link's domain; without it the default domain.
    #[param(nullable = false)]
    domain: Option<String>,
    /// `svg` if it is not said.
    #[param(nullable = false, pattern = "^(svg|png)$")]
    format: Option<String>,
    /// Sides in pixels, 300 if it is not said.
    #[param(nullable = false, minimum = 64, maximum = 2048)]
    size: Option<u32>,
    /// How much of the code may be damaged; `medium` if it is not said.
    #[param(nullable = false, pattern = "^(low|medium|quartile|high)$")]
    error_correction: Option<String>,
}

/// The code in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only described here")]
pub struct CodeParam {
    /// The link's code or alias. Case counts, but for aliases of a `folded` domain.
    #[param(pattern = "^[A-Za-z0-9_-]{1,64}$", example = "spring-sale")]
    code: String,
}

/// What a link is called elsewhere, in a query.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct ExternalIdParam {
    /// The external id, 1 to 200 bytes.
    #[param(min_length = 1, max_length = 200)]
    external_id: String,
}

/// The id of a user, a group or a token in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only described here")]
pub struct IdParam {
    /// 16 hex digits.
    #[param(pattern = "^[0-9a-f]{16}$")]
    id: String,
}

/// How many of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct LimitParam {
    /// How many at most; 50 if it is not said.
    #[param(minimum = 1, maximum = 500, nullable = false)]
    limit: Option<u32>,
}

/// Which page of a list by ids.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct PageParams {
    /// How many at most; 100 if it is not said.
    #[param(minimum = 1, maximum = 1000, nullable = false)]
    limit: Option<u32>,
    /// `next_after` of the page before.
    #[param(nullable = false, pattern = "^[0-9a-f]{16}$")]
    after: Option<String>,
}

/// Whose tokens.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct UserParam {
    /// Only tokens of this user.
    #[param(nullable = false, pattern = "^[0-9a-f]{16}$")]
    user: Option<String>,
}

/// The domain in a query.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct DomainParam {
    /// The host of the link's domain; without it the default domain.
    #[param(nullable = false)]
    domain: Option<String>,
}

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct ListParams {
    /// Links of a page; 100 if it is not said.
    #[param(minimum = 1, maximum = 1000, nullable = false)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<String>,
    /// Only links that have all of these words, in title, tags, notes, code, or the target's host or path. The last word may be unfinished.
    #[param(nullable = false, min_length = 1, max_length = 200, example = "spring sale")]
    q: Option<String>,
    /// `-created_at` (newest first, if it is not said), `created_at`, `-clicks` (most clicked first) or `clicks`; clicks are as of `as_of`.
    #[param(nullable = false, pattern = "^-?(created_at|clicks)$")]
    sort: Option<String>,
    /// Whether to count all that fit.
    #[param(nullable = false)]
    total: Option<bool>,
    /// Only the link that `owner` (else the token's user, else nobody) calls so elsewhere.
    #[param(nullable = false, min_length = 1, max_length = 200)]
    external_id: Option<String>,
    /// Whether links that are put aside are listed; `false` if it is not said.
    #[param(nullable = false, pattern = "^(true|false|any)$")]
    archived: Option<String>,
}

/// Which links, of a list or an export: those that have all of it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct FilterParams {
    /// The host of a domain: only its links.
    #[param(nullable = false)]
    domain: Option<String>,
    /// Only links in this state.
    #[param(nullable = false, pattern = "^(active|disabled|banned|reserved)$")]
    state: Option<String>,
    /// Only links that lead to this host.
    #[param(nullable = false, example = "example.org")]
    host: Option<String>,
    /// Only links with this tag; several times for all of several.
    #[param(nullable = false, max_items = 8, explode)]
    tag: Option<Vec<String>>,
    /// Only links made then or later, RFC 3339.
    #[param(nullable = false, format = "date-time")]
    created_from: Option<String>,
    /// Only links made before then, RFC 3339.
    #[param(nullable = false, format = "date-time")]
    created_before: Option<String>,
    /// Only links of this user.
    #[param(nullable = false, pattern = "^[0-9a-f]{16}$")]
    owner: Option<String>,
}

/// Where an export begins.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct ExportParams {
    /// A `cursor` of an earlier export: go on after it.
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// How to import.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described here")]
pub struct ImportParams {
    /// Change nothing, and say what would become of the lines.
    #[param(nullable = false)]
    dry_run: Option<bool>,
    /// What to do when another link has a line's code: `skip` (and say so), or `replace` it.
    #[param(nullable = false, inline, value_type = Option<OnCollision>)]
    collisions: Option<String>,
    /// Whose the links are to be: `keep` whose the lines say, or `none`: the token's user's, or nobody's.
    #[param(nullable = false, inline, value_type = Option<Owners>)]
    owners: Option<String>,
    /// The number of the first line, 1 if it is not said: for an import that goes on in the middle of a file.
    #[param(minimum = 1, nullable = false)]
    first_line: Option<u64>,
}

/// The key that makes a request safe to repeat.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only described here")]
pub struct IdempotencyKeyParam {
    /// Makes the request safe to repeat for 24 hours: the same key and body get the same answer.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[ -~]{1,255}$",
        nullable = false
    )]
    idempotency_key: Option<String>,
}

/// The version a change is for.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only described here")]
pub struct IfMatchParam {
    /// Change the link only if it has this ETag.
    #[param(rename = "If-Match", nullable = false, example = "\"3\"")]
    if_match: Option<String>,
}

/// Whether a link may be there already.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only described here")]
pub struct IfNoneMatchParam {
    /// `*`: only if there is no such link.
    #[param(rename = "If-None-Match", nullable = false, example = "*")]
    if_none_match: Option<String>,
}

/// What the client would rather have.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only described here")]
pub struct PreferParam {
    /// `respond-async` answers as soon as the change is durable, without waiting for proxies (RFC 7240).
    #[param(rename = "Prefer", nullable = false, example = "respond-async")]
    prefer: Option<String>,
}

/// What to do about collisions.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "only described here")]
pub(super) enum OnCollision {
    /// Leave the link that is there, and say so.
    Skip,
    /// Put the line's link in its place.
    Replace,
}

/// Whose imported links are to be.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "only described here")]
pub(super) enum Owners {
    /// Whose the lines say; the token's user's where they say nothing.
    Keep,
    /// The token's user's, or nobody's.
    None,
}
