//! A line of an import: a link as this API shows it, or as a client describes a new one. Pure.
//!
//! What answers say about a link and nobody can choose (`short_url`, `version`, …) is allowed and has no effect, so that the lines
//! of an export are lines of an import. `clicks` is all clicks a link has had: where the line makes the link, they become its imported ones, and
//! if it ends with a number of clicks, that many are used, unless `max_clicks_used` says otherwise. Everything else that is not a
//! field of a link is refused by its name.

use std::fmt;

use linklog::Code;
use linklog::link::access::PasswordHash;
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

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

/// What a line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// A link.
    Link,
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
    has_password: Option<Json<'a>>,
    password_hash: Option<Json<'a>>,
    is_mark: bool,
}

/// Reads a line into its members, where they lie: they are too large to be handed on by the reader of each level.
struct Members<'f, 'a>(&'f mut LineFields<'a>);

impl<'de: 'a, 'a> DeserializeSeed<'de> for Members<'_, 'a> {
    type Value = Line;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Line, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Members<'_, 'a> {
    type Value = Line;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that describes a link")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line, A::Error> {
        let Members(fields) = self;
        while let Some(Name(name)) = map.next_key()? {
            let place = match &*name {
                "code" => &mut fields.code,
                "created_at" => &mut fields.created_at,
                "updated_at" => &mut fields.updated_at,
                "clicks" => &mut fields.clicks,
                "max_clicks_used" => &mut fields.max_clicks_used,
                "has_password" => &mut fields.has_password,
                "password_hash" => &mut fields.password_hash,
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
        Ok(if is_mark { Line::Mark } else { Line::Link })
    }
    fn visit_unit<E>(self) -> Result<Line, E> {
        Ok(Line::NoObject(Json::Null.kind()))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Line, E> {
        Ok(Line::NoObject(Json::Bool(value).kind()))
    }
    fn visit_u64<E>(self, _: u64) -> Result<Line, E> {
        Ok(Line::NoObject(Json::OtherNumber.kind()))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Line, E> {
        Ok(Line::NoObject(Json::OtherNumber.kind()))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Line, E> {
        Ok(Line::NoObject(Json::OtherNumber.kind()))
    }
    fn visit_str<E>(self, _: &str) -> Result<Line, E> {
        Ok(Line::NoObject(Json::Text("".into()).kind()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Line, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Line::NoObject(Json::List(Vec::new(), 0).kind()))
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

impl<'a> LineFields<'a> {
    /// Reads the members of a line; to be called on none.
    ///
    /// # Errors
    /// The line is no JSON.
    pub fn read(&mut self, line: &'a [u8]) -> Result<Line, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(line);
        let line = Members(self).deserialize(&mut reader)?;
        reader.end()?;
        Ok(line)
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

    /// Judges what is kept of a password. A link that has one does not come back without it.
    fn password(&self, judge: &mut Judge) -> Option<PasswordHash> {
        const FIELD: &str = "password_hash";
        let named = |json: &Option<Json<'_>>| !matches!(json, None | Some(Json::Null));
        let kept = match judge.text(FIELD, self.password_hash.as_ref()) {
            None => None,
            Some(text) => {
                let kept = access::password::of_phc(text);
                if kept.is_none() {
                    let expected = "expected what an export shows: $argon2id$v=19$m=…,t=…,p=…$…$…";
                    judge.find(FIELD, "password_hash_not_valid", expected);
                }
                kept
            }
        };
        if named(&self.password_hash) && named(&self.link.password) {
            judge.find("password", "unknown_field", "the line has a password_hash already");
        }
        let has_password = matches!(self.has_password, Some(Json::Bool(true)));
        if has_password && !named(&self.password_hash) && !named(&self.link.password) {
            let detail = "the link has a password, which the line does not have: export it with a token that has the scope admin, or give a new one";
            judge.find("password", "password_missing", detail);
        }
        kept
    }

    /// Judges the line. A `code` is kept as it is, whatever the rules for new aliases say today; an `alias` has to be one that may be
    /// chosen. An owner of nobody is none that is said: so exports show links that belong to no one.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn judge(&mut self, rules: &Rules, domains: &DomainTable, owners: Owners) -> Result<Order, Refusal> {
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
        let password = self.password(&mut judge);
        let domain = judge.text("domain", self.link.domain.as_ref());
        let mut order = judge_kept(judge, &self.link, code, kept, rules, domains)?;
        if let Some(limit) = &mut order.link.extras.limit {
            limit.used = used.unwrap_or(kept.clicks);
        }
        if password.is_some() {
            order.link.extras.password = password;
        }
        order.keeping.owner = order.keeping.owner.filter(|owner| owners == Owners::Keep && owner.is_some());
        let domain = domain_named(domain, domains).map_err(Refusal::UnknownDomain)?;
        Ok(order.on(domain, domains))
    }
}
