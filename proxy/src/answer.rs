//! What a request is answered with, before anybody writes it down.
//!
//! Pure: a link's facts and the time go in, an [`Answer`] comes out. There are two ways of writing it, [`crate::http::render`] for the
//! fast path and [`crate::http::slow`] for Pingora's session; nothing is decided there. Links that have more than a target, a status and an
//! end are decided about in [`rich`].
//!
//! # Caching
//! | answer | `Cache-Control` | why |
//! |---|---|---|
//! | 302, 307 | `private, no-cache` | every visit comes here: counted, and an edit works at once |
//! | 301, 308 | `private, max-age=N`, N = min(300, seconds the link has left) | the browser may skip us for five minutes, no shared cache may |
//! | 400, 404, 405, 408, 410, 431, 451, 505 | `private, no-cache` | a link may come, come back or change in the next moment |
//! | 404 before a link begins | `no-store` | it begins to the millisecond |
//! | a link that ends with a number of clicks, whatever it answers | `no-store`, and never permanent | every visit counts |
//! | a link that is not for everybody, and what asks who wants to follow it | `private, no-store`, and never permanent | another visitor may not |
//! | 429, 503 | `no-store` | it says nothing about the link |
//! | `/favicon.ico`, `/robots.txt` | `public, max-age=86400` | they never change |
//! | `/` | `private, no-cache` | the operator may change it |

pub mod composed;
pub mod door;
pub mod limited;
pub mod on_domain;
pub mod preview;
pub mod rich;
pub mod target;
pub mod where_to;

use std::borrow::Cow;

use composed::Composed;
use linklog::{LinkState, LinkView, Position, RedirectStatus};

/// Longest time a browser may keep a permanent redirect, in seconds.
pub const PERMANENT_MAX_AGE_S: u16 = 300;
/// What [`Facts::expires_at_ms`] is for a link without an end.
pub const NEVER: u64 = u64::MAX;

/// What the hot map or the database know about a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts<'a> {
    /// Where to: visible ASCII, which is what keeps it inside its header.
    pub target: &'a [u8],
    /// With which status.
    pub status: RedirectStatus,
    /// Whether at all.
    pub state: LinkState,
    /// From when on it is gone, in milliseconds since the Unix epoch; [`NEVER`].
    pub expires_at_ms: u64,
    /// The record that created it: its clicks are counted under key and creation.
    pub created: Position,
    /// What else it has, still encoded ([`linklog::ExtrasView`]); empty for nearly every link.
    pub extras: &'a [u8],
}

impl<'a> From<LinkView<'a>> for Facts<'a> {
    fn from(link: LinkView<'a>) -> Facts<'a> {
        Facts {
            target: link.target,
            status: link.status,
            state: link.state,
            expires_at_ms: link.expires_at_ms.unwrap_or(NEVER),
            created: link.stamp.created,
            extras: link.extras,
        }
    }
}

/// What a request is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<'a> {
    /// A redirect.
    Redirect {
        /// With which status.
        status: RedirectStatus,
        /// Where to.
        target: &'a [u8],
        /// How long a browser may keep it, in seconds; `None`: not at all.
        max_age_s: Option<u16>,
    },
    /// One of our own pages.
    Page(Page),
    /// Put together for this request.
    Composed(&'a Composed<'a>),
    /// [`Page::TooMany`], and when to come back.
    Limited {
        /// In so many seconds.
        retry_after_s: u32,
    },
}

impl<'a> Answer<'a> {
    /// Decides about a link without extras at `now_ms` (milliseconds since the Unix epoch).
    #[inline]
    pub fn of_link(link: Option<Facts<'a>>, now_ms: u64) -> Answer<'a> {
        let Some(link) = link else { return Answer::Page(Page::NotFound) };
        match link.state {
            LinkState::Banned => return Answer::Page(Page::Banned),
            LinkState::Disabled | LinkState::Reserved => return Answer::Page(Page::NotFound),
            LinkState::Active => {}
        }
        let Some(left_ms) = link.expires_at_ms.checked_sub(now_ms).filter(|left| *left > 0) else {
            return Answer::Page(Page::Gone);
        };
        let max_age_s = match link.status {
            RedirectStatus::Found | RedirectStatus::TemporaryRedirect => None,
            RedirectStatus::MovedPermanently | RedirectStatus::PermanentRedirect => {
                Some((left_ms / 1_000).min(u64::from(PERMANENT_MAX_AGE_S)) as u16)
            }
        };
        Answer::Redirect { status: link.status, target: link.target, max_age_s }
    }

    /// The number on the status line.
    pub const fn status(&self) -> u16 {
        match self {
            Answer::Redirect { status, .. } => status.code(),
            Answer::Page(page) => page.text().status,
            Answer::Composed(composed) => composed.status,
            Answer::Limited { .. } => Page::TooMany.text().status,
        }
    }

    /// Says whether there is a link behind it, or may be: what clients over their limit still get.
    pub const fn is_of_a_link(&self) -> bool {
        match self {
            Answer::Redirect { .. } => true,
            Answer::Page(page) => matches!(page, Page::Gone | Page::Banned | Page::Unsure | Page::NotYet),
            Answer::Composed(composed) => composed.is_of_a_link,
            Answer::Limited { .. } => false,
        }
    }

    /// The same for nobody to keep; `None`: it is so already.
    pub fn unkept(&self) -> Option<Composed<'a>> {
        const NO_STORE: Cow<'static, str> = Cow::Borrowed("no-store");
        let composed = match self {
            Answer::Page(page) => Composed::page(*page),
            Answer::Composed(composed) => (*composed).clone(),
            Answer::Redirect { status, target, .. } => {
                Composed::redirect(status.code(), Cow::Borrowed(*target), NO_STORE)
            }
            Answer::Limited { .. } => return None,
        };
        let is_kept = !composed.cache_control.contains("no-store");
        is_kept.then_some(Composed { cache_control: NO_STORE, ..composed })
    }
}

/// An answer of our own making.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    /// `/` without a redirect.
    Root,
    /// `/favicon.ico`.
    Favicon,
    /// `/robots.txt`.
    Robots,
    /// No such link, or switched off.
    NotFound,
    /// The link has not begun.
    NotYet,
    /// The link has ended.
    Gone,
    /// Taken down.
    Banned,
    /// Whether there is such a link cannot be told now.
    Unsure,
    /// The request makes no sense.
    BadRequest,
    /// Neither GET nor HEAD.
    MethodNotAllowed,
    /// The head did not come in time.
    Timeout,
    /// The client asks for too much; written with a `Retry-After`, see [`Answer::Limited`].
    TooMany,
    /// The head is too large.
    HeadTooLarge,
    /// Another version of HTTP.
    Version,
}

/// How a page is written: everything but the date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageText {
    /// The number on the status line.
    pub status: u16,
    /// The words behind it.
    pub reason: &'static str,
    /// `Cache-Control`.
    pub cache_control: &'static str,
    /// `Content-Type`; the body is not empty if there is one.
    pub content_type: Option<&'static str>,
    /// One more header, name and value.
    pub extra: Option<(&'static str, &'static str)>,
    /// The body.
    pub body: &'static str,
}

/// `Cache-Control` of everything that may be different in the next moment.
pub const ASK_AGAIN: &str = "private, no-cache";
const HTML: Option<&str> = Some("text/html; charset=utf-8");
const PLAIN: Option<&str> = Some("text/plain; charset=utf-8");
const ONE_DAY: &str = "public, max-age=86400";

macro_rules! html {
    ($title:literal, $text:literal) => {
        concat!(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">",
            "<title>", $title, "</title><h1>", $title, "</h1><p>", $text, "</p></html>\n"
        )
    };
}

impl Page {
    /// Every page, in the order of their numbers.
    pub const ALL: [Page; 14] = [
        Page::Root,
        Page::Favicon,
        Page::Robots,
        Page::NotFound,
        Page::NotYet,
        Page::Gone,
        Page::Banned,
        Page::Unsure,
        Page::BadRequest,
        Page::MethodNotAllowed,
        Page::Timeout,
        Page::TooMany,
        Page::HeadTooLarge,
        Page::Version,
    ];

    /// Its place in [`Page::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// How it is written.
    pub const fn text(self) -> &'static PageText {
        const fn page(status: u16, reason: &'static str, body: &'static str) -> PageText {
            let content_type = if body.is_empty() { None } else { HTML };
            PageText { status, reason, cache_control: ASK_AGAIN, content_type, extra: None, body }
        }
        match self {
            Page::Root => {
                const { &page(200, "OK", html!("Signpost", "Short links are redirected from here.")) }
            }
            Page::Favicon => const { &PageText { cache_control: ONE_DAY, ..page(404, "Not Found", "") } },
            Page::Robots => {
                const {
                    &PageText {
                        cache_control: ONE_DAY,
                        content_type: PLAIN,
                        ..page(200, "OK", "User-agent: *\nDisallow: /\n")
                    }
                }
            }
            Page::NotFound => const { &page(404, "Not Found", html!("Not found", "There is no such link.")) },
            Page::NotYet => {
                const {
                    &PageText {
                        cache_control: "no-store",
                        ..page(404, "Not Found", html!("Not found", "There is no such link."))
                    }
                }
            }
            Page::Gone => const { &page(410, "Gone", html!("Gone", "This link has ended.")) },
            Page::Banned => {
                const {
                    &page(
                        451,
                        "Unavailable For Legal Reasons",
                        html!("Unavailable", "This link has been taken down."),
                    )
                }
            }
            Page::Unsure => {
                const {
                    &PageText {
                        cache_control: "no-store",
                        extra: Some(("Retry-After", "1")),
                        ..page(
                            503,
                            "Service Unavailable",
                            html!("One moment", "Please try again in a second."),
                        )
                    }
                }
            }
            Page::BadRequest => const { &page(400, "Bad Request", "") },
            Page::MethodNotAllowed => {
                const { &PageText { extra: Some(("Allow", "GET, HEAD")), ..page(405, "Method Not Allowed", "") } }
            }
            Page::Timeout => const { &page(408, "Request Timeout", "") },
            Page::TooMany => {
                const {
                    &PageText {
                        cache_control: "no-store",
                        ..page(
                            429,
                            "Too Many Requests",
                            html!("Too many requests", "Please try again later."),
                        )
                    }
                }
            }
            Page::HeadTooLarge => const { &page(431, "Request Header Fields Too Large", "") },
            Page::Version => const { &page(505, "HTTP Version Not Supported", "") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Facts<'static> = Facts {
        target: b"https://example.com/",
        status: RedirectStatus::Found,
        state: LinkState::Active,
        expires_at_ms: NEVER,
        created: Position::new(1, 2),
        extras: &[],
    };

    #[test]
    fn the_state_of_a_link_decides_before_its_end_does() {
        for (state, expires_at_ms, status) in [
            (LinkState::Active, NEVER, 302),
            (LinkState::Active, 1_001, 302),
            (LinkState::Active, 1_000, 410),
            (LinkState::Active, 1, 410),
            (LinkState::Disabled, NEVER, 404),
            (LinkState::Disabled, 1, 404),
            (LinkState::Banned, NEVER, 451),
            (LinkState::Banned, 1, 451),
        ] {
            let answer = Answer::of_link(Some(Facts { state, expires_at_ms, ..LINK }), 1_000);
            assert_eq!(answer.status(), status, "{state:?} until {expires_at_ms}");
        }
        assert_eq!(Answer::of_link(None, 1_000), Answer::Page(Page::NotFound));
    }

    #[test]
    fn permanent_redirects_are_kept_five_minutes_and_never_longer_than_the_link_lives() {
        let age = |status, left_ms: u64| match Answer::of_link(
            Some(Facts { status, expires_at_ms: 5_000 + left_ms, ..LINK }),
            5_000,
        ) {
            Answer::Redirect { max_age_s, .. } => max_age_s,
            other => panic!("{other:?}"),
        };
        for status in [RedirectStatus::MovedPermanently, RedirectStatus::PermanentRedirect] {
            assert_eq!(age(status, 86_400_000), Some(300));
            assert_eq!(age(status, 299_999), Some(299));
            assert_eq!(age(status, 999), Some(0));
        }
        for status in [RedirectStatus::Found, RedirectStatus::TemporaryRedirect] {
            assert_eq!(age(status, 86_400_000), None);
        }
    }

    #[test]
    fn pages_stand_in_the_order_of_their_numbers_and_say_how_long_they_hold() {
        for (index, page) in Page::ALL.into_iter().enumerate() {
            let text = page.text();
            assert_eq!(page.index(), index, "{page:?}");
            assert_eq!(text.content_type.is_some(), !text.body.is_empty(), "{page:?}");
            assert!(!text.cache_control.is_empty());
        }
        assert_eq!(Page::Unsure.text().cache_control, "no-store");
        assert_eq!(Page::Robots.text().body, "User-agent: *\nDisallow: /\n");
    }
}
