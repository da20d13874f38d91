//! Where a visitor goes whose link has rules or variants. Pure: the same request at the same time goes to the same place, on every proxy.
//!
//! # What a visitor is
//! - **Device**: from `User-Agent`, by the words that all browsers of a system have in it. Mobile is iOS, Android, or a `Mobi` in it (MDN's
//!   advice); everything else is desktop.
//! - **Language**: the one with the highest quality in `Accept-Language`, of several the first. A rule's `de` holds for `de-CH` too (RFC 4647
//!   §3.3.1), its `de-ch` does not for `de`.
//! - **Country**: by a database, from the address, if both are there ([`crate::geo`]). Otherwise no rule by country holds.
//! - **Parameters**: of the query, escapes undone, a plus for a space.
//!
//! # Sticky without a cookie
//! A variant is chosen by a hash of the visitor's address, their `User-Agent` and the link's creation. So somebody who comes back with the same
//! browser from the same address sees the same variant, on any proxy; who changes address may see another one, and people behind one address with
//! the same browser see the same. Where addresses are not known ([`crate::client`]) only the `User-Agent` counts.

use std::net::IpAddr;

use linklog::Position;
use linklog::link::rules::{Country, Device, RuleView, Rules, Variants};
use xxhash_rust::xxh3::Xxh3;

use super::target::undone;
use crate::clicks::record::AGENT_BYTES_MAX;

/// Who asks, as far as rules look at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Visitor<'a> {
    /// From where, if that is known.
    pub address: Option<IpAddr>,
    /// From which country, if that is known and the link asks ([`asks_for_country`]).
    pub country: Option<Country>,
    /// `User-Agent`.
    pub agent: &'a [u8],
    /// `Accept-Language`.
    pub language: &'a [u8],
    /// The query, as it came.
    pub query: &'a [u8],
}

/// Says whether a rule looks at the country.
pub fn asks_for_country(rules: &Rules<'_>) -> bool {
    rules.iter().any(|rule| rule.countries().len() > 0)
}

/// Returns where the first rule leads that holds at `now_ms` (milliseconds since the Unix epoch).
pub fn by_rule<'l>(rules: &Rules<'l>, visitor: &Visitor<'_>, now_ms: u64) -> Option<&'l [u8]> {
    let device = device_of(visitor.agent);
    let language = best_language(visitor.language);
    rules.iter().find(|rule| holds(rule, visitor, device, language, now_ms)).map(|rule| rule.target)
}

fn holds(rule: &RuleView<'_>, visitor: &Visitor<'_>, device: Device, language: &[u8], now_ms: u64) -> bool {
    let mut languages = rule.languages().peekable();
    let mut countries = rule.countries();
    (rule.device == Device::default() || rule.device.meets(device))
        && (languages.peek().is_none() || languages.any(|range| is_in_range(language, range)))
        && (countries.len() == 0 || countries.any(|country| Some(country) == visitor.country))
        && rule.from_ms.is_none_or(|from| from <= now_ms)
        && rule.until_ms.is_none_or(|until| now_ms < until)
        && rule.parameter.is_none_or(|(name, value)| has_parameter(visitor.query, name, value))
}

/// Returns the variant of a visitor; `created`: of the link.
pub fn by_weight<'l>(variants: &Variants<'l>, visitor: &Visitor<'_>, created: Position) -> Option<&'l [u8]> {
    let mut hash = Xxh3::new();
    match visitor.address {
        Some(IpAddr::V4(address)) => hash.update(&address.octets()),
        Some(IpAddr::V6(address)) => hash.update(&address.octets()),
        None => {}
    }
    hash.update(&[0xff]);
    hash.update(&visitor.agent[..visitor.agent.len().min(AGENT_BYTES_MAX)]);
    hash.update(&created.epoch.0.to_le_bytes());
    hash.update(&created.seq.0.to_le_bytes());
    variants.of_visitor(hash.digest())
}

fn device_of(agent: &[u8]) -> Device {
    let says = |word: &[u8]| memchr::memmem::find(agent, word).is_some();
    let (system, is_mobile) = if says(b"iPhone") || says(b"iPad") || says(b"iPod") {
        ("ios", true)
    } else if says(b"Android") {
        ("android", true)
    } else if says(b"Windows") {
        ("windows", false)
    } else if says(b"Macintosh") || says(b"Mac OS X") {
        ("macos", false)
    } else if says(b"Linux") || says(b"X11") {
        ("linux", false)
    } else {
        ("other", false)
    };
    let class = if is_mobile || says(b"Mobi") { "mobile" } else { "desktop" };
    let bits = Device::NAMES.iter().filter(|(name, _)| *name == system || *name == class);
    Device(bits.fold(0, |bits, (_, device)| bits | device.0))
}

/// The language with the highest quality; empty without one.
fn best_language(header: &[u8]) -> &[u8] {
    let mut best = (&header[..0], 0);
    for item in header.split(|b| *b == b',') {
        let mut parts = item.split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let tag = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix(b"q=").or(part.strip_prefix(b"Q=")));
        let quality = quality.map_or(1_000, thousandths);
        if quality > best.1 && !tag.is_empty() && tag != b"*" {
            best = (tag, quality);
        }
    }
    best.0
}

/// `0.8` as 800; what is no quality counts as none.
fn thousandths(text: &[u8]) -> u32 {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let value: f32 = text.parse().unwrap_or(0.0);
    if (0.0..=1.0).contains(&value) { (value * 1_000.0) as u32 } else { 0 }
}

fn is_in_range(tag: &[u8], range: &[u8]) -> bool {
    let Some((start, rest)) = tag.split_at_checked(range.len()) else { return false };
    start.eq_ignore_ascii_case(range) && (rest.is_empty() || rest[0] == b'-')
}

/// Every rule asks this about the whole query, and a visitor may send a long one: nothing is copied, and most is told by its length.
fn has_parameter(query: &[u8], name: &[u8], value: Option<&[u8]>) -> bool {
    query.split(|b| *b == b'&').any(|parameter| {
        let equals = memchr::memchr(b'=', parameter);
        let content = equals.map_or(&[][..], |at| &parameter[at + 1..]);
        reads(&parameter[..equals.unwrap_or(parameter.len())], name)
            && value.is_none_or(|value| reads(content, value))
    })
}

/// Says whether a text reads so with its escapes undone, each of which makes one byte of three.
fn reads(escaped: &[u8], text: &[u8]) -> bool {
    (text.len()..=3 * text.len()).contains(&escaped.len()) && undone(escaped).eq(text.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use linklog::link::rules::{Rule, Variant};
    use linklog::{Extras, ExtrasView, Link};

    const IPHONE: &[u8] = b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1";
    const ANDROID: &[u8] =
        b"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/124.0 Mobile Safari/537.36";
    const WINDOWS: &[u8] =
        b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/124.0 Safari/537.36";
    const MACOS: &[u8] =
        b"Mozilla/5.0 (Macintosh; Intel Mac OS X 14_4) AppleWebKit/605.1.15 Version/17.4 Safari/605.1.15";
    const LINUX: &[u8] = b"Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0";

    fn encoded(rules: Vec<Rule>, variants: Vec<Variant>) -> Vec<u8> {
        let extras = Extras { rules, variants, ..Extras::default() };
        let link = Link { target: "t".into(), extras, ..Link::default() };
        // Behind the flags, a length and a target of one byte.
        link.encode()[3..].to_vec()
    }

    fn named(names: &[&str]) -> Device {
        let bits = Device::NAMES.iter().filter(|(name, _)| names.contains(name));
        Device(bits.fold(0, |bits, (_, device)| bits | device.0))
    }

    #[test]
    fn devices_are_told_by_their_user_agent() {
        for (agent, names) in [
            (IPHONE, ["ios", "mobile"]),
            (ANDROID, ["android", "mobile"]),
            (WINDOWS, ["windows", "desktop"]),
            (MACOS, ["macos", "desktop"]),
            (LINUX, ["linux", "desktop"]),
            (b"curl/8.5.0", ["other", "desktop"]),
            (b"", ["other", "desktop"]),
            (b"\xff\xfe", ["other", "desktop"]),
        ] {
            assert_eq!(device_of(agent), named(&names), "{}", agent.escape_ascii());
        }
    }

    #[test]
    fn the_language_liked_best_counts() {
        for (header, best) in [
            (&b"de-CH,de;q=0.9,en;q=0.8"[..], &b"de-CH"[..]),
            (b"en;q=0.5, fr ; q=0.9,de;q=0.9", b"fr"),
            (b"*,en;q=0.1", b"en"),
            (b"de;q=0", b""),
            (b"de;q=7,en;q=0.1", b"en"),
            (b"", b""),
            (b";;,,", b""),
        ] {
            assert_eq!(best_language(header), best, "{}", header.escape_ascii());
        }
        assert!(is_in_range(b"de-CH", b"de") && is_in_range(b"DE", b"de") && is_in_range(b"de-CH", b"de-ch"));
        assert!(!is_in_range(b"de", b"de-ch") && !is_in_range(b"den", b"de") && !is_in_range(b"", b"de"));
    }

    #[test]
    fn the_first_rule_that_holds_in_every_respect_decides() {
        let rule = |target: &str| Rule { target: target.into(), ..Rule::default() };
        let bytes = encoded(
            vec![
                Rule { device: named(&["ios"]), languages: vec!["de".into(), "fr".into()], ..rule("ios-de") },
                Rule { device: named(&["mobile"]), ..rule("mobile") },
                Rule { parameter: Some(("src".into(), Some("e mail".into()))), ..rule("mail") },
                Rule { parameter: Some(("any".into(), None)), ..rule("any") },
                Rule { from_ms: Some(1_000), until_ms: Some(2_000), ..rule("then") },
            ],
            Vec::new(),
        );
        let extras = ExtrasView::decode(&bytes).unwrap();
        let to = |agent: &[u8], language: &[u8], query: &[u8], now_ms| {
            let visitor = Visitor { agent, language, query, ..Visitor::default() };
            by_rule(&extras.rules, &visitor, now_ms)
                .map(|target| String::from_utf8_lossy(target).into_owned())
        };
        for (agent, language, query, now_ms, expected) in [
            (IPHONE, &b"fr-FR"[..], &b""[..], 1, Some("ios-de")),
            (IPHONE, b"en", b"src=e+mail", 1, Some("mobile")),
            (ANDROID, b"de", b"", 1, Some("mobile")),
            (WINDOWS, b"de", b"x&s%72c=e%20mail", 1, Some("mail")),
            (WINDOWS, b"de", b"src=email", 1, None),
            (WINDOWS, b"de", b"src=e%2Bmail", 1, None),
            (WINDOWS, b"de", b"src=e%20mai%6", 1, None),
            (WINDOWS, b"de", b"%73%72%63=%65%20%6d%61%69%6C&y", 1, Some("mail")),
            (WINDOWS, b"", b"any%3D5", 1, None),
            (WINDOWS, b"", b"any", 1, Some("any")),
            (WINDOWS, b"", b"any=5", 1, Some("any")),
            (WINDOWS, b"", b"many=5", 999, None),
            (WINDOWS, b"", b"", 1_000, Some("then")),
            (WINDOWS, b"", b"", 2_000, None),
        ] {
            assert_eq!(to(agent, language, query, now_ms).as_deref(), expected);
        }
    }

    #[test]
    fn a_rule_by_country_holds_for_those_who_are_known_to_come_from_there() {
        let country = |text: &str| Country::from_ascii(text.as_bytes()).unwrap();
        let rule = |countries: &[&str], target: &str| Rule {
            countries: countries.iter().map(|text| country(text)).collect(),
            target: target.into(),
            ..Rule::default()
        };
        let phone = Rule { device: named(&["ios"]), ..rule(&["FR"], "fr-ios") };
        let bytes = encoded(vec![rule(&["DE", "at"], "de"), phone], Vec::new());
        let rules = ExtrasView::decode(&bytes).unwrap().rules;
        let to = |from: Option<&str>, agent| {
            let visitor = Visitor { country: from.map(country), agent, ..Visitor::default() };
            by_rule(&rules, &visitor, 1)
        };
        assert_eq!((to(Some("de"), LINUX), to(Some("AT"), LINUX)), (Some(&b"de"[..]), Some(&b"de"[..])));
        assert_eq!((to(Some("FR"), LINUX), to(Some("FR"), IPHONE)), (None, Some(&b"fr-ios"[..])));
        assert_eq!((to(None, IPHONE), to(Some("CH"), IPHONE)), (None, None));
        assert!(asks_for_country(&rules));
        let other = encoded(vec![Rule { device: named(&["ios"]), ..rule(&[], "ios") }], Vec::new());
        assert!(!asks_for_country(&ExtrasView::decode(&other).unwrap().rules));
    }

    #[test]
    fn a_visitor_keeps_their_variant_and_many_visitors_are_shared_out_by_weight() {
        let variant = |target: &str, weight| Variant { weight, target: target.into() };
        let bytes = encoded(Vec::new(), vec![variant("a", 1), variant("b", 3)]);
        let variants = ExtrasView::decode(&bytes).unwrap().variants;
        let of = |n: u32, agent: &[u8]| {
            let address = Some(IpAddr::from(n.to_be_bytes()));
            let visitor = Visitor { address, agent, ..Visitor::default() };
            by_weight(&variants, &visitor, Position::new(1, 7)).unwrap()
        };
        assert!((0..100).all(|n| of(n, LINUX) == of(n, LINUX)));
        let first = (0..40_000).filter(|n| of(*n, WINDOWS) == b"a").count();
        assert!((9_500..10_500).contains(&first), "{first} of 40,000 got a quarter's share");
        assert!((0..100).any(|n| of(n, LINUX) != of(n, WINDOWS)), "the browser counts, too");
    }
}
