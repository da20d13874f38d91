//! A line of an import: a link as this API shows it, or as a client describes a new one. Pure.
//!
//! What answers say about a link and nobody can choose (`short_url`, `version`, …) is allowed and has no effect, so that the lines
//! of an export are lines of an import. `clicks` is all clicks a link has had: where the line makes the link, they become its imported ones, and
//! if it ends with a number of clicks, that many are used, unless `max_clicks_used` says otherwise. Everything else that is not a
//! field of a link is refused by its name.

use std::fmt;

use linklog::Code;
use serde::Deserializer;
use serde::de::{Deserialize, IgnoredAny, MapAccess, Visitor};

use super::{Kept, Owners};
use crate::alias;
use crate::domains::DomainTable;
use crate::json::{Json, Name};
use crate::links::Rules;
use crate::links::extras::MAX_CLICKS_MAX;
use crate::links::fields::{Judge, LinkFields};
use crate::links::order::{Order, Refusal, domain_named, judge_kept};

/// What answers show and an import passes over.
const SHOWN: &[&str] = &[
    "short_url",
    "version",
    "imported_clicks",
    "replication",
    "created_by",
    "archived_at",
    "last_changed_by",
];
/// Most clicks a link can have had.
const CLICKS_MAX: u64 = MAX_CLICKS_MAX;

/// A line, read.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are links")]
pub enum Line<'a> {
    /// A link.
    Link(LineFields<'a>),
    /// What an export says about itself: where it is, and that it is complete.
    Mark,
    /// What was found instead of an object.
    NoObject(&'static str),
}

/// The members of a line, none of them judged.
#[derive(Default)]
pub struct LineFields<'a> {
    link: LinkFields<'a>,
    code: Option<Json<'a>>,
    created_at: Option<Json<'a>>,
    updated_at: Option<Json<'a>>,
    clicks: Option<Json<'a>>,
    max_clicks_used: Option<Json<'a>>,
    is_mark: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Line<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Line<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object that describes a link")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = LineFields::default();
                while let Some(Name(name)) = map.next_key()? {
                    let place = match &*name {
                        "code" => &mut fields.code,
                        "created_at" => &mut fields.created_at,
                        "updated_at" => &mut fields.updated_at,
                        "clicks" => &mut fields.clicks,
                        "max_clicks_used" => &mut fields.max_clicks_used,
                        "cursor" | "end" | "links" => {
                            map.next_value::<IgnoredAny>()?;
                            fields.is_mark = true;
                            continue;
                        }
                        shown if SHOWN.contains(&shown) => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                        _ => {
                            fields.link.read(&name, &mut map)?;
                            continue;
                        }
                    };
                    *place = Some(map.next_value()?);
                }
                let is_mark = fields.is_mark && fields.code.is_none() && fields.link.long_url.is_none();
                Ok(if is_mark { Line::Mark } else { Line::Link(fields) })
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Line::NoObject(Json::Null.kind()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Line::NoObject(Json::Bool(value).kind()))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Line::NoObject(Json::OtherNumber.kind()))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Line::NoObject(Json::OtherNumber.kind()))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Line::NoObject(Json::OtherNumber.kind()))
            }
            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Line::NoObject(Json::Text("".into()).kind()))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Line::NoObject(Json::List(Vec::new(), 0).kind()))
            }
        }

        deserializer.deserialize_any(Fields)
    }
}

/// Judges a number of clicks; null is none.
fn clicks(judge: &mut Judge, field: &'static str, json: Option<&Json<'_>>) -> Option<u64> {
    let expected = format!("a whole number from 0 to {CLICKS_MAX}");
    match json? {
        Json::Null => None,
        Json::Whole(clicks) if *clicks <= CLICKS_MAX => Some(*clicks),
        Json::Whole(_) => {
            judge.find(field, "clicks_out_of_range", format!("expected {expected}"));
            None
        }
        other => {
            judge.wrong_type(field, &expected, other);
            None
        }
    }
}

impl LineFields<'_> {
    /// Returns the code that the line asks for, whatever it is.
    pub fn code(&self) -> Option<&str> {
        let text = |json: &Option<Json<'_>>| matches!(json, Some(Json::Text(_)));
        let json = if text(&self.code) { &self.code } else { &self.link.alias };
        match json {
            Some(Json::Text(code)) => Some(code),
            _ => None,
        }
    }

    /// Judges the line. A `code` is kept as it is, whatever the rules for new aliases say today; an `alias` has to be one that may be
    /// chosen. An owner of nobody is none that is said: so exports show links that belong to no one.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn judge(mut self, rules: &Rules, domains: &DomainTable, owners: Owners) -> Result<Order, Refusal> {
        let mut judge = Judge::new(std::mem::take(&mut self.link.stray));
        let mut code = judge.text("code", self.code.as_ref()).and_then(|text| {
            let kept = alias::check(text, &alias::AliasRules::any());
            match kept {
                Ok(code) => Some(code),
                // A generated code may be a word that is kept back today.
                Err(alias::AliasError::Reserved { .. }) => Code::from_bytes(text.as_bytes()).ok(),
                Err(error) => {
                    judge.find("code", error.code(), error.to_string());
                    None
                }
            }
        });
        if let Some(text) = judge.text("alias", self.link.alias.as_ref()) {
            if self.code.is_some() {
                judge.find("alias", "unknown_field", "the line has a code already");
            }
            match alias::check(text, &rules.alias) {
                Ok(alias) => code = Some(alias),
                Err(error) => judge.find("alias", error.code(), error.to_string()),
            }
        }
        let kept = Kept {
            created_at_ms: judge.past_ms("created_at", self.created_at.as_ref()),
            updated_at_ms: judge.past_ms("updated_at", self.updated_at.as_ref()),
            clicks: clicks(&mut judge, "clicks", self.clicks.as_ref()).unwrap_or(0),
        };
        let used = clicks(&mut judge, "max_clicks_used", self.max_clicks_used.as_ref());
        let domain = judge.text("domain", self.link.domain.as_ref());
        let mut order = judge_kept(judge, &self.link, code, kept, rules, domains)?;
        if let Some(limit) = &mut order.link.extras.limit {
            limit.used = used.unwrap_or(kept.clicks);
        }
        order.keeping.owner = order.keeping.owner.filter(|owner| owners == Owners::Keep && owner.is_some());
        let domain = domain_named(domain, domains).map_err(Refusal::UnknownDomain)?;
        Ok(order.on(domain, domains))
    }
}
