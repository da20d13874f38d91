//! The answer of a link that has more than a target, a status and an end ([`linklog::Extras`]). Pure, and off the fast path: it may put
//! something together for one request.
//!
//! # Caching
//! A link's policy decides, and never beyond what the link has left to live: `max-age` and `s-maxage` are cut to that, and
//! `stale-while-revalidate` to what is left after them. Where the target depends on the visitor or the time, nobody may keep the answer. Without a policy the rule of [`crate::answer`] holds. Conditional requests are not
//! looked at: RFC 9110 §13.2.1 has a server ignore their conditions where the answer would not be 2xx, and a redirect has nothing that a 304
//! would save.

use std::borrow::Cow;

use linklog::{CachePolicy, Ended, ExtrasView, LinkState, RedirectStatus};

use super::composed::Composed;
use super::door::NEVER_KEPT;
use super::target::forwarded;
use super::where_to::{Visitor, by_rule, by_weight};
use super::{ASK_AGAIN, Facts, PERMANENT_MAX_AGE_S, Page};

/// What a request asks of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ask<'a> {
    /// Who asks, with the query as it came.
    pub visitor: Visitor<'a>,
    /// What follows the code in its path, as it came, from the slash on.
    pub rest: Option<&'a [u8]>,
    /// Whether by the button of a page of ours.
    pub post: bool,
}

/// What a link answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision<'a> {
    /// The way to its target: a click.
    Follow(Composed<'a>),
    /// The same, but only if a click can be spent.
    Limited(Composed<'a>),
    /// It has ended, and says itself how that is answered, or leaves it to its domain.
    Ended(Option<Ended<&'a [u8]>>),
    /// One of our pages.
    Page(Page),
}

/// Says what a link with extras answers to everybody at `now_ms` (milliseconds since the Unix epoch), since it does not lead anywhere then.
pub fn nowhere<'a>(link: &Facts<'a>, extras: &ExtrasView<'a>, now_ms: u64) -> Option<Decision<'a>> {
    match link.state {
        LinkState::Banned => return Some(Decision::Page(Page::Banned)),
        LinkState::Disabled | LinkState::Reserved => return Some(Decision::Page(Page::NotFound)),
        LinkState::Active => {}
    }
    if extras.not_before_ms.is_some_and(|begin| now_ms < begin) {
        return Some(Decision::Page(Page::NotYet));
    }
    let is_over = link.expires_at_ms <= now_ms || extras.limit.is_some_and(|limit| limit.is_used_up());
    is_over.then_some(Decision::Ended(extras.ended))
}

/// Decides about a link with extras, which this visitor may follow, at `now_ms` (milliseconds since the Unix epoch).
pub fn decide<'a>(link: &Facts<'a>, extras: &ExtrasView<'a>, ask: &Ask<'_>, now_ms: u64) -> Decision<'a> {
    if let Some(nowhere) = nowhere(link, extras, now_ms) {
        return nowhere;
    }
    let left_ms = link.expires_at_ms.saturating_sub(now_ms);
    let target = by_rule(&extras.rules, &ask.visitor, now_ms)
        .or_else(|| by_weight(&extras.variants, &ask.visitor, link.created))
        .unwrap_or(link.target);
    let Some(target) = forwarded(target, extras.forward, ask.visitor.query, ask.rest) else {
        return Decision::Page(Page::NotFound);
    };
    let is_public = extras.access.is_public();
    if extras.limit.is_some() || !is_public {
        // A permanent redirect may be kept and followed without us.
        let status = match link.status {
            _ if ask.post => 303,
            RedirectStatus::Found | RedirectStatus::MovedPermanently => 302,
            RedirectStatus::TemporaryRedirect | RedirectStatus::PermanentRedirect => 307,
        };
        let cache_control = if is_public { "no-store" } else { NEVER_KEPT };
        let redirect = Composed::redirect(status, target, cache_control);
        return if extras.limit.is_some() { Decision::Limited(redirect) } else { Decision::Follow(redirect) };
    }
    let cache_control = match extras.may_differ() {
        true => Cow::Borrowed(ASK_AGAIN),
        false => cache_control(link.status, extras.cache, left_ms / 1_000),
    };
    Decision::Follow(Composed::redirect(link.status.code(), target, cache_control))
}

fn cache_control(status: RedirectStatus, policy: Option<CachePolicy>, left_s: u64) -> Cow<'static, str> {
    let is_permanent = matches!(status, RedirectStatus::MovedPermanently | RedirectStatus::PermanentRedirect);
    let usual = is_permanent.then_some(u64::from(PERMANENT_MAX_AGE_S));
    let policy = policy.unwrap_or_default();
    let scope = if policy.public { "public" } else { "private" };
    let (max_age, s_maxage) = (policy.max_age_s.or(usual), policy.s_maxage_s);
    if max_age.is_none() && s_maxage.is_none() {
        return if policy.public { Cow::Borrowed("public, no-cache") } else { Cow::Borrowed(ASK_AGAIN) };
    }
    let cut = |seconds: u64| seconds.min(left_s);
    let mut text = format!("{scope}, max-age={}", cut(max_age.unwrap_or(0)));
    if let Some(seconds) = s_maxage {
        text.push_str(&format!(", s-maxage={}", cut(seconds)));
    }
    let fresh = cut(max_age.unwrap_or(0).max(s_maxage.unwrap_or(0)));
    if let Some(seconds) =
        policy.stale_while_revalidate_s.map(|stale| stale.min(left_s - fresh)).filter(|s| *s > 0)
    {
        text.push_str(&format!(", stale-while-revalidate={seconds}"));
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::NEVER;
    use linklog::Position;

    const LINK: Facts<'static> = Facts {
        target: b"https://example.com/",
        status: RedirectStatus::Found,
        state: LinkState::Active,
        expires_at_ms: NEVER,
        created: Position::new(1, 2),
        extras: &[],
    };

    fn decided(link: Facts<'static>, extras: ExtrasView<'static>, now_ms: u64) -> Decision<'static> {
        decide(&link, &extras, &Ask::default(), now_ms)
    }

    #[test]
    fn a_link_begins_and_ends_to_the_millisecond() {
        let extras =
            ExtrasView { not_before_ms: Some(1_000), ended: Some(Ended::NotFound), ..Default::default() };
        let link = Facts { expires_at_ms: 2_000, ..LINK };
        assert_eq!(decided(link, extras, 999), Decision::Page(Page::NotYet));
        assert!(matches!(decided(link, extras, 1_000), Decision::Follow(_)));
        assert!(matches!(decided(link, extras, 1_999), Decision::Follow(_)));
        assert_eq!(decided(link, extras, 2_000), Decision::Ended(Some(Ended::NotFound)));
        // Taken down counts more than anything else, and off more than its end.
        for (state, page) in [(LinkState::Banned, Page::Banned), (LinkState::Disabled, Page::NotFound)] {
            assert_eq!(decided(Facts { state, ..link }, extras, 1), Decision::Page(page));
            assert_eq!(decided(Facts { state, ..link }, extras, 3_000), Decision::Page(page));
        }
    }

    #[test]
    fn no_cache_keeps_a_link_longer_than_it_lives() {
        let policy = |public, max_age_s, s_maxage_s, stale_while_revalidate_s| {
            Some(CachePolicy { public, max_age_s, s_maxage_s, stale_while_revalidate_s })
        };
        use RedirectStatus::{Found, MovedPermanently};
        for (status, policy, left_s, expected) in [
            (Found, None, 9, ASK_AGAIN),
            (MovedPermanently, None, 9_000, "private, max-age=300"),
            (MovedPermanently, None, 9, "private, max-age=9"),
            (Found, policy(false, None, None, None), 9, ASK_AGAIN),
            (Found, policy(true, None, None, Some(5)), 9, "public, no-cache"),
            (Found, policy(true, Some(60), None, None), 9_000, "public, max-age=60"),
            (
                Found,
                policy(true, Some(60), Some(600), Some(30)),
                9_000,
                "public, max-age=60, s-maxage=600, stale-while-revalidate=30",
            ),
            (
                Found,
                policy(true, Some(60), Some(600), Some(30)),
                610,
                "public, max-age=60, s-maxage=600, stale-while-revalidate=10",
            ),
            (Found, policy(true, Some(60), Some(600), Some(30)), 100, "public, max-age=60, s-maxage=100"),
            (Found, policy(true, None, Some(600), None), 700, "public, max-age=0, s-maxage=600"),
            (MovedPermanently, policy(true, Some(86_400), None, Some(1)), 0, "public, max-age=0"),
            (MovedPermanently, policy(true, None, None, None), 1_000, "public, max-age=300"),
        ] {
            assert_eq!(cache_control(status, policy, left_s), expected);
        }
    }
}
