//! Where a link leads other than to its target: ordered rules, and variants by weight. Fields 8 and 9 of a link's `serve` body, see
//! [`super::extras`].
//!
//! ```text
//! 8: rules, in order: each varint length, then fields
//!    1: device, u8, a set of the bits of Device      2: languages: each varint length, lower-case ASCII
//!    3: parameter: varint length and name, then u8 0, or u8 1 and the value up to the end of the field
//!    4: from  5: until, varints, milliseconds since the Unix epoch, not 0      6: target, as of a link
//!    7: countries: two letters A-Z each
//! 9: variants: each varint weight 1 to 1,000, varint length and target
//! ```
//! A rule holds if everything in it does; the first that holds decides. Both lists are read as they lie, without a copy.

use crate::codec::fields::{FieldReader, FieldWriter};
use crate::codec::{Cursor, DecodeError, put_varint};

use super::extras::read_target;

/// Most rules of a link.
pub const RULES_MAX: usize = 16;
/// Most variants of a link.
pub const VARIANTS_MAX: usize = 16;
/// Largest weight of a variant.
pub const WEIGHT_MAX: u64 = 1_000;
/// Most languages of a rule.
pub const LANGUAGES_MAX: usize = 16;
/// Longest language, in bytes (RFC 5646 needs no more than 35).
pub const LANGUAGE_BYTES_MAX: usize = 35;
/// Most countries of a rule.
pub const COUNTRIES_MAX: usize = 64;
/// Longest name or value of a parameter, in bytes.
pub const PARAMETER_BYTES_MAX: usize = 128;

/// Kinds of devices, a set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Device(pub u8);

impl Device {
    /// Every kind with its name.
    pub const NAMES: [(&'static str, Device); 8] = [
        ("ios", Device(1)),
        ("android", Device(2)),
        ("windows", Device(4)),
        ("macos", Device(8)),
        ("linux", Device(16)),
        ("other", Device(32)),
        ("mobile", Device(64)),
        ("desktop", Device(128)),
    ];

    /// Says whether both sets have a kind in common.
    pub const fn meets(self, other: Device) -> bool {
        self.0 & other.0 != 0
    }
}

/// A country by its two letters (ISO 3166-1 alpha-2), in upper case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads two letters, whatever their case; `None`: it is something else. Whether there is such a country is not looked at.
    pub const fn from_ascii(text: &[u8]) -> Option<Country> {
        match text {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Some(Country([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => None,
        }
    }

    /// Its two letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("letters are ASCII")
    }
}

impl std::fmt::Display for Country {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A rule.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rule {
    /// On one of these devices; none: on any.
    pub device: Device,
    /// If the visitor likes one of these languages best; none: any. Lower case.
    pub languages: Vec<String>,
    /// If the visitor comes from one of these; none: from anywhere.
    pub countries: Vec<Country>,
    /// If the query has a parameter of this name, and if one is given with this value.
    pub parameter: Option<(String, Option<String>)>,
    /// From this instant on (milliseconds since the Unix epoch).
    pub from_ms: Option<u64>,
    /// Until, and not at, this instant.
    pub until_ms: Option<u64>,
    /// Where to.
    pub target: String,
}

/// A rule as it lies in a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuleView<'a> {
    /// As [`Rule::device`].
    pub device: Device,
    languages: &'a [u8],
    countries: &'a [u8],
    /// As [`Rule::parameter`].
    pub parameter: Option<(&'a [u8], Option<&'a [u8]>)>,
    /// As [`Rule::from_ms`].
    pub from_ms: Option<u64>,
    /// As [`Rule::until_ms`].
    pub until_ms: Option<u64>,
    /// As [`Rule::target`].
    pub target: &'a [u8],
}

impl Rule {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut fields = FieldWriter::new(&mut out);
        if self.device != Device::default() {
            fields.bytes(1, &[self.device.0]);
        }
        if !self.languages.is_empty() {
            let mut languages = Vec::new();
            for language in &self.languages {
                put_varint(&mut languages, language.len() as u64);
                languages.extend_from_slice(language.as_bytes());
            }
            fields.bytes(2, &languages);
        }
        if let Some((name, value)) = &self.parameter {
            let mut parameter = Vec::new();
            put_varint(&mut parameter, name.len() as u64);
            parameter.extend_from_slice(name.as_bytes());
            parameter.push(u8::from(value.is_some()));
            parameter.extend_from_slice(value.as_deref().unwrap_or_default().as_bytes());
            fields.bytes(3, &parameter);
        }
        fields.optional_varint(4, self.from_ms);
        fields.optional_varint(5, self.until_ms);
        fields.text(6, &self.target);
        if !self.countries.is_empty() {
            fields.bytes(7, &self.countries.iter().flat_map(|country| country.0).collect::<Vec<_>>());
        }
        out
    }
}

impl<'a> RuleView<'a> {
    fn read(body: Cursor<'a>) -> Result<RuleView<'a>, DecodeError> {
        let mut fields = FieldReader::new(body);
        let at = fields.offset();
        let invalid = |what| DecodeError::invalid(at, what);
        let device = match fields.optional_array::<1>(1, "device")? {
            Some([0]) => return Err(invalid("device")),
            device => Device(device.map_or(0, |[bits]| bits)),
        };
        let languages = match fields.optional(2)? {
            Some(list) if list.is_empty() => return Err(invalid("languages")),
            Some(list) => {
                let mut count = 0;
                let mut rest = list;
                while !rest.is_empty() {
                    read_language(&mut rest)?;
                    count += 1;
                }
                if count > LANGUAGES_MAX {
                    return Err(invalid("languages"));
                }
                list.rest()
            }
            None => &[],
        };
        let parameter = fields.optional(3)?.map(read_parameter).transpose()?;
        let from_ms = fields.optional_varint(4, "from")?;
        let until_ms = fields.optional_varint(5, "until")?;
        let mut target = fields.optional(6)?.ok_or(invalid("target"))?;
        let countries = match fields.optional(7)? {
            Some(list) => {
                let list = list.rest();
                let fits = (1..=COUNTRIES_MAX).contains(&(list.len() / 2)) && list.len() % 2 == 0;
                if !fits || !list.iter().all(u8::is_ascii_uppercase) {
                    return Err(invalid("countries"));
                }
                list
            }
            None => &[],
        };
        fields.finish()?;
        if from_ms == Some(0) || until_ms == Some(0) {
            return Err(invalid("time window"));
        }
        let target = read_target(&mut target)?;
        Ok(RuleView { device, languages, countries, parameter, from_ms, until_ms, target })
    }

    /// Its countries; none: any.
    pub fn countries(&self) -> impl ExactSizeIterator<Item = Country> + use<'a> {
        let (pairs, _) = self.countries.as_chunks::<2>();
        pairs.iter().map(|letters| Country(*letters))
    }

    /// Its languages; none: any.
    pub fn languages(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = Cursor::new(self.languages);
        std::iter::from_fn(move || if rest.is_empty() { None } else { read_language(&mut rest).ok() })
    }

    fn to_owned(self) -> Rule {
        Rule {
            device: self.device,
            languages: self.languages().map(text).collect(),
            countries: self.countries().collect(),
            parameter: self.parameter.map(|(name, value)| (text(name), value.map(text))),
            from_ms: self.from_ms,
            until_ms: self.until_ms,
            target: text(self.target),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read_language<'a>(rest: &mut Cursor<'a>) -> Result<&'a [u8], DecodeError> {
    let at = rest.offset();
    let len = rest.varint("language")?;
    let language = rest.sub(len, "language")?.rest();
    let is_one = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let fits = (1..=LANGUAGE_BYTES_MAX).contains(&language.len()) && language.iter().all(is_one);
    if fits { Ok(language) } else { Err(DecodeError::invalid(at, "language")) }
}

fn read_parameter(mut field: Cursor<'_>) -> Result<(&[u8], Option<&[u8]>), DecodeError> {
    let at = field.offset();
    let len = field.varint("parameter")?;
    let name = field.sub(len, "parameter")?.rest();
    let has_value = field.u8("parameter")?;
    let value = field.rest();
    let is_text = std::str::from_utf8(name).is_ok() && std::str::from_utf8(value).is_ok();
    let fits = (1..=PARAMETER_BYTES_MAX).contains(&name.len()) && value.len() <= PARAMETER_BYTES_MAX;
    match has_value {
        0 if value.is_empty() && is_text && fits => Ok((name, None)),
        1 if is_text && fits => Ok((name, Some(value))),
        _ => Err(DecodeError::invalid(at, "parameter")),
    }
}

/// A variant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variant<T = String> {
    /// Its share is this of the sum of all weights.
    pub weight: u64,
    /// Where to.
    pub target: T,
}

/// The rules of a link as they lie in its record; every one of them decodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rules<'a>(&'a [u8]);

impl<'a> Rules<'a> {
    pub(super) fn read(field: Cursor<'a>) -> Result<Rules<'a>, DecodeError> {
        let start = field.offset();
        let (mut rest, mut count) = (field, 0);
        while !rest.is_empty() {
            read_rule(&mut rest)?;
            count += 1;
        }
        let fits = (1..=RULES_MAX).contains(&count);
        if fits { Ok(Rules(field.rest())) } else { Err(DecodeError::invalid(start, "rules")) }
    }

    /// The rules in their order.
    pub fn iter(&self) -> impl Iterator<Item = RuleView<'a>> + use<'a> {
        let mut rest = Cursor::new(self.0);
        std::iter::from_fn(move || if rest.is_empty() { None } else { read_rule(&mut rest).ok() })
    }

    /// Says whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn to_owned(self) -> Vec<Rule> {
        self.iter().map(RuleView::to_owned).collect()
    }
}

fn read_rule<'a>(rest: &mut Cursor<'a>) -> Result<RuleView<'a>, DecodeError> {
    let len = rest.varint("rule")?;
    RuleView::read(rest.sub(len, "rule")?)
}

/// The variants of a link as they lie in its record; every one of them decodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Variants<'a>(&'a [u8]);

impl<'a> Variants<'a> {
    pub(super) fn read(field: Cursor<'a>) -> Result<Variants<'a>, DecodeError> {
        let start = field.offset();
        let (mut rest, mut count) = (field, 0);
        while !rest.is_empty() {
            read_variant(&mut rest)?;
            count += 1;
        }
        let fits = (1..=VARIANTS_MAX).contains(&count);
        if fits { Ok(Variants(field.rest())) } else { Err(DecodeError::invalid(start, "variants")) }
    }

    /// The variants in their order.
    pub fn iter(&self) -> impl Iterator<Item = Variant<&'a [u8]>> + use<'a> {
        let mut rest = Cursor::new(self.0);
        std::iter::from_fn(move || if rest.is_empty() { None } else { read_variant(&mut rest).ok() })
    }

    /// Says whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the target of the visitor with this number, which may be any: each variant has its share of all numbers.
    pub fn of_visitor(&self, number: u64) -> Option<&'a [u8]> {
        let sum: u64 = self.iter().map(|variant| variant.weight).sum();
        let mut left = number.checked_rem(sum)?;
        self.iter().find_map(|variant| match left.checked_sub(variant.weight) {
            None => Some(variant.target),
            Some(rest) => {
                left = rest;
                None
            }
        })
    }

    pub(super) fn to_owned(self) -> Vec<Variant> {
        self.iter().map(|Variant { weight, target }| Variant { weight, target: text(target) }).collect()
    }
}

fn read_variant<'a>(rest: &mut Cursor<'a>) -> Result<Variant<&'a [u8]>, DecodeError> {
    let at = rest.offset();
    let weight = rest.varint("weight")?;
    if !(1..=WEIGHT_MAX).contains(&weight) {
        return Err(DecodeError::invalid(at, "weight"));
    }
    let len = rest.varint("target")?;
    Ok(Variant { weight, target: read_target(&mut rest.sub(len, "target")?)? })
}

/// Encodes the rules of a link; empty for none.
pub(super) fn encode_rules(rules: &[Rule]) -> Vec<u8> {
    let mut out = Vec::new();
    for rule in rules.iter().map(Rule::encode) {
        put_varint(&mut out, rule.len() as u64);
        out.extend_from_slice(&rule);
    }
    out
}

/// Encodes the variants of a link; empty for none.
pub(super) fn encode_variants(variants: &[Variant]) -> Vec<u8> {
    let mut out = Vec::new();
    for Variant { weight, target } in variants {
        put_varint(&mut out, *weight);
        put_varint(&mut out, target.len() as u64);
        out.extend_from_slice(target.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_has_its_share() {
        let list = [("a", 1), ("b", 3), ("c", 6)];
        let list = list.map(|(target, weight)| Variant { weight, target: target.to_owned() });
        let bytes = encode_variants(&list);
        let variants = Variants::read(Cursor::new(&bytes)).expect("just encoded");
        let of = |n| variants.of_visitor(n).map(|target| target[0]);
        let all: Vec<u8> = (0..10).filter_map(of).collect();
        assert_eq!(all, b"abbbcccccc");
        assert_eq!((of(10), of(u64::MAX)), (Some(b'a'), Some(b'c')));
        assert_eq!(Variants::default().of_visitor(5), None);
    }
}
