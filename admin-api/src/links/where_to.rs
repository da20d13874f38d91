//! What a client says about where a link leads other than to its target: rules and variants. Pure.

use linklog::Extras;
use linklog::limits::{BODY_BYTES_MAX, TARGET_BYTES_MAX};
use linklog::link::rules::{
    COUNTRIES_MAX, Country, Device, LANGUAGE_BYTES_MAX, LANGUAGES_MAX, PARAMETER_BYTES_MAX, RULES_MAX, Rule,
    VARIANTS_MAX, Variant, WEIGHT_MAX,
};

use super::extras::{members, target_in};
use super::fields::{Judge, timestamp};
use super::{ChangeError, Rules};
use crate::domains::DomainTable;
use crate::json::Json;

/// Targets of a link's rules and variants together, in bytes: what the proxies have to keep in memory for one link.
pub const TARGETS_BYTES_MAX: usize = 64 << 10;

/// A rule without its target, in bytes, lengths and times included.
const RULE_BYTES_MAX: usize =
    LANGUAGES_MAX * (LANGUAGE_BYTES_MAX + 1) + 2 * COUNTRIES_MAX + 2 * PARAMETER_BYTES_MAX + 64;
// What passes here fits a record: the link's own target, its fallback, and all of these.
const _: () = assert!(
    2 * TARGET_BYTES_MAX + TARGETS_BYTES_MAX + RULES_MAX * RULE_BYTES_MAX + VARIANTS_MAX * 8 + 64
        <= BODY_BYTES_MAX
);

/// Judges the rules of a link.
pub(super) fn rules(judge: &mut Judge, json: &Json<'_>, rules: &Rules, domains: &DomainTable) -> Vec<Rule> {
    let list = list(judge, "rules", json, RULES_MAX);
    list.iter().map_while(|json| rule(judge, json, rules, domains)).collect()
}

/// Says whether the targets of a link's rules and variants are short enough together.
pub(super) fn fits(extras: &Extras) -> bool {
    let rules = extras.rules.iter().map(|rule| rule.target.len());
    let variants = extras.variants.iter().map(|variant| variant.target.len());
    rules.chain(variants).sum::<usize>() <= TARGETS_BYTES_MAX
}

/// Finds that they are not.
pub(super) fn check_fits(judge: &mut Judge, extras: &Extras) {
    if !fits(extras) {
        let field = if extras.variants.is_empty() { "rules" } else { "variants" };
        judge.find(field, "targets_too_long", ChangeError::TooLong.to_string());
    }
}

fn list<'j, 'a>(judge: &mut Judge, field: &'static str, json: &'j Json<'a>, max: usize) -> &'j [Json<'a>] {
    match json {
        Json::Null => &[],
        Json::List(list, len) if *len <= max => list,
        Json::List(_, len) => {
            judge.find(field, "too_many", format!("there are at most {max}, these are {len}"));
            &[]
        }
        other => {
            judge.wrong_type(field, "a list of objects", other);
            &[]
        }
    }
}

fn rule(judge: &mut Judge, json: &Json<'_>, rules: &Rules, domains: &DomainTable) -> Option<Rule> {
    const FIELD: &str = "rules";
    let names = ["device", "language", "country", "query", "from", "until", "long_url"];
    let [device, language, country, query, from, until, long_url] = members(judge, FIELD, json, names)?;
    let Some(long_url) = long_url else {
        judge.find(FIELD, "rule_without_target", "every rule has a long_url");
        return None;
    };
    let is_none = |json: &Option<&Json<'_>>| matches!(json, None | Some(Json::List(_, 0)));
    if [device, language, country, query, from, until].iter().all(is_none) {
        judge.find(
            FIELD,
            "rule_without_condition",
            "a rule has at least one of device, language, country, query, from, until",
        );
        return None;
    }
    let time = |judge: &mut Judge, json: Option<&Json<'_>>| match json {
        None => Some(None),
        Some(Json::Text(text)) if timestamp(text).is_some() => Some(timestamp(text)),
        Some(_) => {
            judge.find(
                FIELD,
                "rule_time",
                "from and until are times as in RFC 3339, such as 2030-01-31T12:00:00Z",
            );
            None
        }
    };
    let (from_ms, until_ms) = (time(judge, from)?, time(judge, until)?);
    if from_ms.zip(until_ms).is_some_and(|(from, until)| until <= from) {
        judge.find(FIELD, "rule_never_holds", "from is not before until");
        return None;
    }
    Some(Rule {
        device: devices(judge, device)?,
        languages: languages(judge, language)?,
        countries: countries(judge, country)?,
        parameter: parameter(judge, query)?,
        from_ms,
        until_ms,
        target: target_in(judge, FIELD, long_url, rules, domains)?,
    })
}

/// A word, or a list of words.
fn words<'j>(json: Option<&'j Json<'_>>) -> Option<Vec<&'j str>> {
    let word = |json: &'j Json<'_>| match json {
        Json::Text(text) => Some(&**text),
        _ => None,
    };
    match json {
        None => Some(Vec::new()),
        Some(Json::List(list, len)) if *len == list.len() => list.iter().map(word).collect(),
        Some(other) => word(other).map(|word| vec![word]),
    }
}

fn devices(judge: &mut Judge, json: Option<&Json<'_>>) -> Option<Device> {
    let bit = |word: &str| Device::NAMES.iter().find(|(name, _)| *name == word).map(|(_, device)| device.0);
    let found: Option<Vec<u8>> = words(json).and_then(|words| words.into_iter().map(bit).collect());
    if found.is_none() {
        let names = Device::NAMES.map(|(name, _)| name).join(", ");
        judge.find("rules", "rule_device", format!("device is one of, or a list of some of {names}"));
    }
    found.map(|bits| Device(bits.into_iter().fold(0, |all, bit| all | bit)))
}

fn languages(judge: &mut Judge, json: Option<&Json<'_>>) -> Option<Vec<String>> {
    let tag = |word: &str| {
        let fits = (1..=LANGUAGE_BYTES_MAX).contains(&word.len());
        let fits = fits && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        fits.then(|| word.to_ascii_lowercase())
    };
    let found: Option<Vec<String>> = words(json).and_then(|words| words.into_iter().map(tag).collect());
    let found = found.filter(|found| found.len() <= LANGUAGES_MAX);
    if found.is_none() {
        let expected = format!("language is a tag such as de or pt-BR, or a list of at most {LANGUAGES_MAX}");
        judge.find("rules", "rule_language", expected);
    }
    found
}

fn countries(judge: &mut Judge, json: Option<&Json<'_>>) -> Option<Vec<Country>> {
    let read = |word: &str| Country::from_ascii(word.as_bytes());
    let found: Option<Vec<Country>> = words(json).and_then(|words| words.into_iter().map(read).collect());
    let found = found.filter(|found| found.len() <= COUNTRIES_MAX);
    if found.is_none() {
        let expected = format!("country is two letters such as DE, or a list of at most {COUNTRIES_MAX}");
        judge.find("rules", "rule_country", expected);
    }
    found
}

type Parameter = Option<(String, Option<String>)>;

fn parameter(judge: &mut Judge, json: Option<&Json<'_>>) -> Option<Parameter> {
    let Some(json) = json else { return Some(None) };
    let [name, value] = members(judge, "rules", json, ["name", "value"])?;
    let text = |json: Option<&Json<'_>>| match json {
        Some(Json::Text(text)) if text.len() <= PARAMETER_BYTES_MAX => Some(text.to_string()),
        _ => None,
    };
    match (text(name).filter(|name| !name.is_empty()), value.is_none(), text(value)) {
        (Some(name), true, _) => Some(Some((name, None))),
        (Some(name), false, Some(value)) => Some(Some((name, Some(value)))),
        _ => {
            let expected =
                format!("query has a name and perhaps a value, each of at most {PARAMETER_BYTES_MAX} bytes");
            judge.find("rules", "rule_query", expected);
            None
        }
    }
}

/// Judges the variants of a link.
pub(super) fn variants(
    judge: &mut Judge,
    json: &Json<'_>,
    rules: &Rules,
    domains: &DomainTable,
) -> Vec<Variant> {
    let list = list(judge, "variants", json, VARIANTS_MAX);
    list.iter().map_while(|json| variant(judge, json, rules, domains)).collect()
}

fn variant(judge: &mut Judge, json: &Json<'_>, rules: &Rules, domains: &DomainTable) -> Option<Variant> {
    const FIELD: &str = "variants";
    let [weight, long_url] = members(judge, FIELD, json, ["weight", "long_url"])?;
    let weight = match weight {
        None => 1,
        Some(Json::Whole(weight)) if (1..=WEIGHT_MAX).contains(weight) => *weight,
        Some(_) => {
            judge.find(FIELD, "variant_weight", format!("a weight is a whole number from 1 to {WEIGHT_MAX}"));
            return None;
        }
    };
    let Some(long_url) = long_url else {
        judge.find(FIELD, "variant_without_target", "every variant has a long_url");
        return None;
    };
    target_in(judge, FIELD, long_url, rules, domains).map(|target| Variant { weight, target })
}
