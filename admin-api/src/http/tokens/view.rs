//! Tokens as answers show them, with what is left of their quotas.

use linklog::Allowance;
use linklog::entity::{Period, QuotaId, Token};
use serde::Serialize;

use crate::auth::{TokenId, scope_names};
use crate::budgets::Standing;
use crate::clock;
use crate::domains::DomainTable;
use crate::http::Api;
use crate::links::view::Rfc3339;
use crate::problem::Problem;

/// A token as answers show it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Token)]
pub(in crate::http) struct TokenView<'a> {
    /// 16 hex digits.
    id: String,
    /// The whole token; only when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) token: Option<&'a str>,
    /// A name for people.
    name: &'a str,
    /// What it may do.
    scopes: Vec<&'static str>,
    /// The id of its user.
    #[schema(required)]
    user: Option<String>,
    /// When it was made.
    created_at: Rfc3339,
    /// From when on it is refused.
    #[schema(required)]
    expires_at: Option<Rfc3339>,
    /// Since when it is refused for good.
    #[schema(required)]
    revoked_at: Option<Rfc3339>,
    /// When it was last used, as far as this process knows, or to within 5 s of what the one before knew.
    #[schema(required)]
    last_used_at: Option<Rfc3339>,
    /// The hosts of the domains on which it makes and changes links; null: all.
    #[schema(required)]
    domains: Option<Vec<&'a str>>,
    /// What the codes begin with that it makes and changes.
    #[schema(required)]
    alias_prefix: Option<&'a str>,
    /// How many links it may make.
    #[schema(required)]
    creates: Option<CreatesView>,
    /// How many redirects the links it makes may answer.
    #[schema(required)]
    redirects: Option<RedirectsView>,
    /// How many requests it may make per second; null: as configured.
    #[schema(required)]
    requests_per_s: Option<u32>,
    /// Whether it sees and changes its user's links only.
    own_links_only: bool,
}

/// A quota of links and what is left of it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CreatesLeft)]
struct CreatesView {
    /// How many in a period.
    count: u64,
    /// How long a period is, in seconds.
    period_s: u64,
    /// How many are left in this one.
    left: u64,
}

/// A quota of redirects and how far it is used up. `used`, `burned`, `left` and `held` are `count`, unless that was lowered below what was used.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RedirectsLeft)]
struct RedirectsView {
    /// How many in a period.
    count: u64,
    /// `day` or `month`, of UTC.
    period: &'static str,
    /// When the next period begins.
    resets_at: Rfc3339,
    /// Redirects that proxies are known to have answered in this period; they say so within some seconds.
    used: u64,
    /// Redirects that were lost with a proxy's memory.
    burned: u64,
    /// Redirects that no proxy has.
    left: u64,
    /// Redirects in the hands of proxies, some of which may be answered already.
    held: u64,
}

impl RedirectsView {
    fn new((count, period): (u64, Period), standing: Option<&Standing>) -> RedirectsView {
        let of = |number: fn(&Standing) -> u64| standing.map_or(0, number);
        RedirectsView {
            count,
            period: period_name(period),
            resets_at: Rfc3339(period.end_s(clock::now_ms()) * 1_000),
            used: of(|standing| standing.used),
            burned: of(|standing| standing.burned),
            left: standing.map_or(count, |standing| standing.left),
            held: of(|standing| standing.held.iter().map(|(_, held)| held).sum()),
        }
    }
}

fn period_name(period: Period) -> &'static str {
    match period {
        Period::Day => "day",
        Period::Month => "month",
    }
}

/// How the quota of a token's redirects stands, if it has one.
pub(super) async fn standing_of(api: &Api, id: TokenId, record: &Token) -> Result<Option<Standing>, Problem> {
    match record.limits.redirects {
        None => Ok(None),
        Some(_) => Ok(api.links.budgets.standing(Allowance::Quota(QuotaId::of_token(id.0))).await?),
    }
}

/// A page of tokens.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TokenPage)]
pub(in crate::http) struct TokenPage<'a> {
    /// The tokens.
    pub(super) data: Vec<TokenView<'a>>,
    /// Passed on as `after`; null: there are no more.
    #[schema(required)]
    pub(super) next_after: Option<String>,
}

impl<'a> TokenView<'a> {
    pub(super) fn new(
        api: &Api,
        (id, record): (TokenId, &'a Token),
        redirects: Option<&Standing>,
        domains: &'a DomainTable,
    ) -> TokenView<'a> {
        let limits = &record.limits;
        let hosts = || limits.domains.iter().filter_map(|id| domains.get(*id)).map(|known| known.base.host());
        let usage = api.tokens.usage(id);
        let left = |quota| usage.as_ref().map_or(0, |usage| usage.left(quota, clock::now_ms()).0);
        TokenView {
            id: id.to_string(),
            token: None,
            name: &record.name,
            scopes: scope_names(record.scopes),
            user: record.user.map(|user| user.to_string()),
            created_at: Rfc3339(record.created_at_ms),
            expires_at: record.expires_at_ms.map(Rfc3339),
            revoked_at: record.revoked_at_ms.map(Rfc3339),
            last_used_at: usage.as_ref().and_then(|usage| usage.last_used_ms()).map(Rfc3339),
            domains: (!limits.domains.is_empty()).then(|| hosts().collect()),
            alias_prefix: limits.alias_prefix.as_deref(),
            creates: limits.creates.map(|(count, period_s)| CreatesView {
                count,
                period_s,
                left: left((count, period_s)),
            }),
            redirects: limits.redirects.map(|quota| RedirectsView::new(quota, redirects)),
            requests_per_s: limits.requests_per_s,
            own_links_only: limits.own_links_only,
        }
    }
}
