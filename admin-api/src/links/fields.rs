//! What a client says about a link: the members of a JSON object, read and judged.
//!
//! Reading ([`LinkFields`]) takes whatever is there; judging ([`Judge`]) finds everything that is wrong with it, each finding with the
//! name of its field and a stable code. Pure: no clock and no state, so a retry is judged as the request it repeats.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use linklog::{LinkState, RedirectStatus};
use serde::Deserializer;
use serde::de::{Deserialize, IgnoredAny, MapAccess, Visitor};

use crate::json::{Json, Name};

/// Longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 512;
/// Most tags of a link.
pub const TAGS_MAX: usize = 32;
/// Longest tag, in characters.
pub const TAG_CHARS_MAX: usize = 64;
/// How many findings are reported at most: a hostile body does not get a long answer.
const FINDINGS_MAX: usize = 32;
/// How much of an unknown name is repeated in the answer, in characters.
const NAME_SHOWN_MAX: usize = 64;

/// Something wrong with a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The field.
    pub field: Cow<'static, str>,
    /// A stable word for machines.
    pub code: &'static str,
    /// A sentence for people.
    pub detail: String,
}

macro_rules! link_fields {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The members of the object, none of them judged.
        #[derive(Default)]
        pub struct LinkFields<'a> {
            $($(#[$doc])* pub $name: Option<Json<'a>>,)*
            /// Names nobody knows, and names that came twice.
            pub stray: Vec<Finding>,
        }

        impl<'a> LinkFields<'a> {
            /// The name of every member there is; the description of the API has the same (`crate::http::openapi`).
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            fn place(&mut self, name: &str) -> Option<&mut Option<Json<'a>>> {
                Some(match name {
                    $(stringify!($name) => &mut self.$name,)*
                    _ => return None,
                })
            }
        }
    };
}

link_fields! {
    /// Where to.
    long_url,
    /// The code asked for.
    alias,
    /// The host of the domain.
    domain,
    /// Until when.
    expires_at,
    /// With which status.
    status,
    /// Whether at all.
    state,
    /// How long from now on, in place of `expires_at`.
    ttl,
    /// Whether only the alias is wanted.
    reserve,
    /// After how many clicks it ends.
    max_clicks,
    /// Whether everybody may follow it.
    visibility,
    /// Who may besides those who have a signed link.
    allowed,
    /// What has to be known.
    password,
    /// From when on.
    not_before,
    /// How it answers afterwards.
    when_ended,
    /// What caches may do.
    cache,
    /// Whether parameters go on to the target.
    forward_query,
    /// Whether the rest of the path does.
    forward_path,
    /// Where some visitors go.
    rules,
    /// Where the others go.
    variants,
    /// For people.
    title,
    /// For people.
    tags,
    /// For people.
    notes,
    /// Whose it is.
    owner,
    /// What it is called elsewhere.
    external_id,
    /// Whether it is put aside.
    archived,
    /// Whether a link that is there already will do.
    dedupe,
}

impl<'a> LinkFields<'a> {
    /// Reads the value of the member `name`, whether there is such a member or not.
    pub(super) fn read<'de: 'a, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match self.place(name) {
            Some(place @ None) => *place = Some(map.next_value()?),
            known => {
                let finding = if known.is_some() { twice(name) } else { unknown(name) };
                map.next_value::<IgnoredAny>()?;
                if self.stray.len() < FINDINGS_MAX {
                    self.stray.push(finding);
                }
            }
        }
        Ok(())
    }
}

/// An object with the fields of a link, or something else.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are links")]
pub enum Described<'a> {
    /// An object.
    Link(LinkFields<'a>),
    /// What was found instead.
    NoObject(&'static str),
}

impl<'de: 'a, 'a> Deserialize<'de> for Described<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Described<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object that describes a link")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = LinkFields::default();
                while let Some(Name(name)) = map.next_key()? {
                    fields.read(&name, &mut map)?;
                }
                Ok(Described::Link(fields))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Described::NoObject(Json::Null.kind()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Described::NoObject(Json::Bool(value).kind()))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Described::NoObject(Json::OtherNumber.kind()))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Described::NoObject(Json::OtherNumber.kind()))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Described::NoObject(Json::OtherNumber.kind()))
            }
            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Described::NoObject(Json::Text(Cow::Borrowed("")).kind()))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Described::NoObject(Json::List(Vec::new(), 0).kind()))
            }
        }

        deserializer.deserialize_any(Fields)
    }
}

/// Reads an instant as in RFC 3339, in milliseconds since the Unix epoch; `None` for what is none, or none after it.
pub(super) fn timestamp(text: &str) -> Option<u64> {
    let at = text.parse::<Timestamp>().ok()?;
    u64::try_from(at.as_millisecond()).ok().filter(|at| *at > 0)
}

fn shown(name: &str) -> Cow<'static, str> {
    Cow::Owned(name.chars().take(NAME_SHOWN_MAX).collect())
}

/// The finding for a member nobody knows.
pub fn unknown(name: &str) -> Finding {
    Finding { field: shown(name), code: "unknown_field", detail: "there is no such field".to_owned() }
}

/// The finding for a member that came twice.
pub fn twice(name: &str) -> Finding {
    Finding { field: shown(name), code: "duplicate_field", detail: "the field is there twice".to_owned() }
}

/// Collects findings while fields are judged one after the other.
#[derive(Default)]
pub struct Judge {
    findings: Vec<Finding>,
}

impl Judge {
    /// Starts with what was found while reading.
    pub fn new(stray: Vec<Finding>) -> Judge {
        Judge { findings: stray }
    }

    /// Records something wrong with a field.
    pub fn find(&mut self, field: &'static str, code: &'static str, detail: impl Into<String>) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { field: Cow::Borrowed(field), code, detail: detail.into() });
        }
    }

    /// Says whether nothing was found so far.
    pub fn is_content(&self) -> bool {
        self.findings.is_empty()
    }

    /// Gives `value` back if nothing was found.
    ///
    /// # Errors
    /// Everything that was found.
    pub fn end<T>(self, value: Option<T>) -> Result<T, Vec<Finding>> {
        match value {
            Some(value) if self.findings.is_empty() => Ok(value),
            _ => Err(self.findings),
        }
    }

    /// Records a field that does not belong here.
    pub fn not_here(&mut self, field: &'static str, json: Option<&Json<'_>>, why: &str) {
        if json.is_some() {
            self.find(field, "unknown_field", why);
        }
    }

    /// Records a value of another type.
    pub fn wrong_type(&mut self, field: &'static str, expected: &str, found: &Json<'_>) {
        self.find(field, "wrong_type", format!("expected {expected}, found {}", found.kind()));
    }

    /// Reads text; `None` if the field is absent, null or wrong.
    pub fn text<'f>(&mut self, field: &'static str, json: Option<&'f Json<'_>>) -> Option<&'f str> {
        match json {
            None | Some(Json::Null) => None,
            Some(Json::Text(text)) => Some(text),
            Some(other) => {
                self.wrong_type(field, "a string", other);
                None
            }
        }
    }

    /// Reads the status of the redirect; the default if the field is absent or null.
    pub fn status(&mut self, json: Option<&Json<'_>>) -> RedirectStatus {
        match json {
            None | Some(Json::Null) => RedirectStatus::default(),
            Some(Json::Whole(number)) => {
                let status = u16::try_from(*number).ok().and_then(RedirectStatus::from_code);
                status.unwrap_or_else(|| {
                    self.find("status", "status_not_allowed", "the status is 301, 302, 307 or 308");
                    RedirectStatus::default()
                })
            }
            Some(other) => {
                self.wrong_type("status", "301, 302, 307 or 308", other);
                RedirectStatus::default()
            }
        }
    }

    /// Reads the state; the default if the field is absent or null.
    pub fn state(&mut self, json: Option<&Json<'_>>) -> LinkState {
        match self.text("state", json) {
            None | Some("active") => LinkState::Active,
            Some("disabled") => LinkState::Disabled,
            Some("banned") => LinkState::Banned,
            Some(_) => {
                self.find("state", "state_not_allowed", "the state is active, disabled or banned");
                LinkState::default()
            }
        }
    }

    /// Reads the end of a link's life, in milliseconds since the Unix epoch. Whether that is in the future is not asked here.
    pub fn expires_at_ms(&mut self, json: Option<&Json<'_>>) -> Option<u64> {
        self.time_ms("expires_at", "expires_at_not_a_time", json)
    }

    /// Reads a date that an import keeps, in milliseconds since the Unix epoch.
    pub fn past_ms(&mut self, field: &'static str, json: Option<&Json<'_>>) -> Option<u64> {
        self.time_ms(field, "not_a_time", json)
    }

    /// Reads an instant, in milliseconds since the Unix epoch.
    pub fn time_ms(
        &mut self,
        field: &'static str,
        code: &'static str,
        json: Option<&Json<'_>>,
    ) -> Option<u64> {
        let text = self.text(field, json)?;
        let at = timestamp(text);
        if at.is_none() {
            let expected = "expected a time as in RFC 3339 after 1970, such as 2030-01-31T12:00:00Z";
            self.find(field, code, expected);
            return None;
        }
        at
    }

    /// Reads the title.
    pub fn title(&mut self, json: Option<&Json<'_>>) -> Option<String> {
        let text = self.text("title", json)?;
        let chars = text.chars().count();
        if chars > TITLE_CHARS_MAX {
            let detail = format!("a title has at most {TITLE_CHARS_MAX} characters, this one has {chars}");
            self.find("title", "title_too_long", detail);
            return None;
        }
        Some(text.to_owned())
    }

    /// Reads the tags; the same one twice counts once.
    pub fn tags(&mut self, json: Option<&Json<'_>>) -> Vec<String> {
        let (list, len) = match json {
            None | Some(Json::Null) => return Vec::new(),
            Some(Json::List(list, len)) => (list, *len),
            Some(other) => {
                self.wrong_type("tags", "a list of strings", other);
                return Vec::new();
            }
        };
        if len > TAGS_MAX {
            let detail = format!("a link has at most {TAGS_MAX} tags, these are {len}");
            self.find("tags", "too_many_tags", detail);
            return Vec::new();
        }
        let mut tags: Vec<String> = Vec::with_capacity(list.len());
        for tag in list {
            match tag {
                Json::Text(tag) if tag.is_empty() || tag.chars().count() > TAG_CHARS_MAX => {
                    self.find("tags", "tag_length", format!("a tag has 1 to {TAG_CHARS_MAX} characters"));
                }
                Json::Text(tag) if tags.iter().any(|known| known == tag) => {}
                Json::Text(tag) => tags.push(tag.to_string()),
                other => self.wrong_type("tags", "a list of strings", other),
            }
        }
        tags
    }
}
