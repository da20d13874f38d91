//! Bodies that are one JSON object, of anything but links: users, groups, tokens.

use linklog::entity::PersonId;

use crate::json::{Json, Name};
use crate::links::fields::{Finding, Judge, twice, unknown};
use crate::problem::Problem;

/// An object whose members are all known and there once at most.
pub(super) struct Object<'a> {
    members: Vec<(Name<'a>, Json<'a>)>,
}

impl<'a> Object<'a> {
    /// Reads a body in which only `known` members may be; what is wrong with their names is in the judge.
    pub(super) fn read(bytes: &'a [u8], known: &[&str]) -> Result<(Object<'a>, Judge), Problem> {
        let body: Json<'a> = serde_json::from_slice(bytes).map_err(|error| Problem::malformed(&error))?;
        let members = match body {
            Json::Object(members, len) if members.len() == len => members,
            Json::Object(..) => return Err(Problem::wrong_shape("the object has too many members")),
            other => return Err(Problem::wrong_shape(format!("expected an object, found {}", other.kind()))),
        };
        let mut stray: Vec<Finding> = Vec::new();
        for (at, (Name(name), _)) in members.iter().enumerate() {
            if !known.contains(&&**name) {
                stray.push(unknown(name));
            } else if members[..at].iter().any(|(Name(before), _)| before == name) {
                stray.push(twice(name));
            }
        }
        Ok((Object { members }, Judge::new(stray)))
    }

    /// Returns a member.
    pub(super) fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.members.iter().find(|(Name(known), _)| known == name).map(|(_, value)| value)
    }

    /// Reads a name for people that has to be there: 1 to 100 characters, none of them a control character.
    pub(super) fn name(&self, judge: &mut Judge) -> Option<String> {
        match self.get("name") {
            None | Some(Json::Null) => judge.find("name", "required", "the field is required"),
            given => {
                let text = judge.text("name", given)?;
                if (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && !text.contains(char::is_control) {
                    return Some(text.to_owned());
                }
                let detail = format!("a name has 1 to {NAME_CHARS_MAX} characters, no control characters");
                judge.find("name", "name_not_allowed", detail);
            }
        }
        None
    }

    /// Reads a flag; absent and null are `false`.
    pub(super) fn flag(&self, judge: &mut Judge, name: &'static str) -> bool {
        match self.get(name) {
            None | Some(Json::Null) => false,
            Some(Json::Bool(flag)) => *flag,
            Some(other) => {
                judge.wrong_type(name, "true or false", other);
                false
            }
        }
    }

    /// Reads a whole number in a range.
    pub(super) fn whole(
        &self,
        judge: &mut Judge,
        name: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        whole(judge, name, self.get(name)?, range)
    }

    /// Reads a list of texts; absent and null are none.
    pub(super) fn texts(&self, judge: &mut Judge, name: &'static str, max: usize) -> Vec<String> {
        let (list, len) = match self.get(name) {
            None | Some(Json::Null) => return Vec::new(),
            Some(Json::List(list, len)) => (list, *len),
            Some(other) => {
                judge.wrong_type(name, "a list of strings", other);
                return Vec::new();
            }
        };
        if len > max {
            judge.find(name, "too_many", format!("at most {max}, these are {len}"));
            return Vec::new();
        }
        let mut texts: Vec<String> = Vec::with_capacity(list.len());
        for item in list {
            match item {
                Json::Text(text) if texts.iter().any(|known| known == text) => {}
                Json::Text(text) => texts.push(text.to_string()),
                other => judge.wrong_type(name, "a list of strings", other),
            }
        }
        texts
    }
}

/// Longest name of a user, a group or a token, in characters.
pub(super) const NAME_CHARS_MAX: usize = 100;

/// Judges a whole number in a range; null is none.
pub(super) fn whole(
    judge: &mut Judge,
    name: &'static str,
    json: &Json<'_>,
    range: std::ops::RangeInclusive<u64>,
) -> Option<u64> {
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    match json {
        Json::Null => None,
        Json::Whole(number) if range.contains(number) => Some(*number),
        Json::Whole(_) => {
            judge.find(name, "out_of_range", format!("expected {expected}"));
            None
        }
        other => {
            judge.wrong_type(name, &expected, other);
            None
        }
    }
}

/// Judges the id of a user or a group; null is none.
pub(super) fn person(judge: &mut Judge, name: &'static str, json: Option<&Json<'_>>) -> Option<PersonId> {
    let text = judge.text(name, json)?;
    text.parse().map_err(|_| judge.find(name, "id_not_valid", "an id has 16 hex digits (0-9, a-f)")).ok()
}
