//! JSON as it arrives: read once, borrowed from the body, never refused for its types.
//!
//! serde's derived readers stop at the first field they do not like; whoever fills in a form wants all of them at once, and a
//! batch must go on after a bad item. So values are read as [`Json`], whatever they are, and judged afterwards
//! ([`crate::links`]). Only text that is no JSON at all is an error here.
//!
//! Bounded: of a list only the first [`LIST_KEPT_MAX`] elements are kept, so that a body of `[0,0,0…` does not become sixteen times
//! its size in memory; how many there were is counted. Objects are kept in the same way.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{Deserialize, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// How many elements of a list are kept; the rest is only counted.
pub const LIST_KEPT_MAX: usize = 64;

/// A value, as far as any field needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number from 0 to 2^64 - 1.
    Whole(u64),
    /// Any other number.
    OtherNumber,
    /// A string.
    Text(Cow<'a, str>),
    /// A list: its first elements, and how many there were.
    List(Vec<Json<'a>>, usize),
    /// An object: its first members in their order, and how many there were.
    Object(Vec<(Name<'a>, Json<'a>)>, usize),
}

impl Json<'_> {
    /// Returns what it is, for messages: "expected a string, found …".
    pub const fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "true or false",
            Json::Whole(_) | Json::OtherNumber => "a number",
            Json::Text(_) => "a string",
            Json::List(..) => "a list",
            Json::Object(..) => "an object",
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Json<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }
            fn visit_unit<E>(self) -> Result<Json<'de>, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
                Ok(Json::Bool(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
                Ok(Json::Whole(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
                Ok(u64::try_from(value).map_or(Json::OtherNumber, Json::Whole))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Json<'de>, E> {
                Ok(Json::OtherNumber)
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
                Ok(Json::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
                Ok(Json::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < LIST_KEPT_MAX {
                    match seq.next_element()? {
                        Some(element) => kept.push(element),
                        None => return Ok(Json::List(kept, 0).counted()),
                    }
                }
                let mut len = kept.len();
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    len += 1;
                }
                Ok(Json::List(kept, len))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < LIST_KEPT_MAX {
                    match map.next_entry()? {
                        Some(member) => kept.push(member),
                        None => {
                            let len = kept.len();
                            return Ok(Json::Object(kept, len));
                        }
                    }
                }
                let mut len = kept.len();
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    len += 1;
                }
                Ok(Json::Object(kept, len))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl Json<'_> {
    fn counted(self) -> Self {
        match self {
            Json::List(kept, _) => {
                let len = kept.len();
                Json::List(kept, len)
            }
            other => other,
        }
    }
}

/// A name in an object, borrowed if it has no escapes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// How many members of an object are kept; the rest is only read.
pub const MEMBERS_KEPT_MAX: usize = 64;

/// The members of an object in their order, whatever they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Members<'a>(pub Vec<(Cow<'a, str>, Json<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    let value = map.next_value()?;
                    if members.len() < MEMBERS_KEPT_MAX {
                        members.push((name, value));
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Json<'_> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_kind_of_value_is_read_as_what_it_is() {
        assert_eq!(read("null"), Json::Null);
        assert_eq!(read("true"), Json::Bool(true));
        assert_eq!(read("302"), Json::Whole(302));
        assert_eq!(read("-1"), Json::OtherNumber);
        assert_eq!(read("1.5"), Json::OtherNumber);
        assert_eq!(read("\"a\""), Json::Text("a".into()));
        assert_eq!(read("[\"a\",[]]"), Json::List(vec![Json::Text("a".into()), Json::List(vec![], 0)], 2));
        let inner = Json::Object(vec![(Name("b".into()), Json::Bool(false))], 1);
        assert_eq!(read("{\"a\":{\"b\":false}}"), Json::Object(vec![(Name("a".into()), inner)], 1));
    }

    #[test]
    fn a_string_without_escapes_is_borrowed() {
        assert!(matches!(read("\"plain\""), Json::Text(Cow::Borrowed("plain"))));
        assert!(matches!(read("\"\\u0041\""), Json::Text(Cow::Owned(text)) if text == "A"));
    }

    #[test]
    fn a_long_list_is_counted_and_not_kept() {
        let text = format!("[{}0]", "0,".repeat(999));
        assert!(matches!(read(&text), Json::List(kept, 1000) if kept.len() == LIST_KEPT_MAX));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = serde_json::from_slice::<Json<'_>>(&bytes);
        }
    }
}
