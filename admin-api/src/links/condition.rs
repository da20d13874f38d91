//! `If-Match` and `If-None-Match`: change a link only if it is at the version the client knows, or only if there is none
//! (RFC 9110 sections 13.1.1 and 13.1.2). Pure.
//!
//! A link's entity tag is its version in quotes, strong: versions of a key never repeat, not even over a deletion.

/// Longest header, in bytes.
const HEADER_BYTES_MAX: usize = 1024;

/// Which versions of a link may be changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Any, or none at all.
    Any,
    /// Any that is there.
    Exists,
    /// One of these; entity tags that are not ours match nothing.
    OneOf(Vec<u64>),
    /// There is no such link yet.
    Absent,
}

/// The header is no list of entity tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConditionInvalid {
    /// If-Match.
    #[error("If-Match is * or a list of entity tags in quotes, such as \"3\"")]
    IfMatch,
    /// If-None-Match.
    #[error(
        "If-None-Match is *, which means: only if there is no such link; entity tags are not supported here"
    )]
    IfNoneMatch,
    /// Both.
    #[error("If-Match and If-None-Match contradict each other: send one of them")]
    Both,
}

impl Condition {
    /// Reads the headers of a request that may make a link.
    ///
    /// # Errors
    /// One of them is malformed, or both are there.
    pub fn of_headers(
        if_match: Option<&[u8]>,
        if_none_match: Option<&[u8]>,
    ) -> Result<Condition, ConditionInvalid> {
        match (if_match, if_none_match.map(<[u8]>::trim_ascii)) {
            (_, None) => Condition::of_header(if_match),
            (None, Some(b"*")) => Ok(Condition::Absent),
            (None, Some(_)) => Err(ConditionInvalid::IfNoneMatch),
            (Some(_), Some(_)) => Err(ConditionInvalid::Both),
        }
    }

    /// Reads `If-Match`; none means any version.
    ///
    /// # Errors
    /// It is malformed.
    pub fn of_header(value: Option<&[u8]>) -> Result<Condition, ConditionInvalid> {
        const INVALID: ConditionInvalid = ConditionInvalid::IfMatch;
        let Some(value) = value else { return Ok(Condition::Any) };
        let text = std::str::from_utf8(value).map_err(|_| INVALID)?.trim();
        if text.len() > HEADER_BYTES_MAX || text.is_empty() {
            return Err(INVALID);
        }
        if text == "*" {
            return Ok(Condition::Exists);
        }
        let mut versions = Vec::new();
        for tag in text.split(',') {
            // A weak tag matches nothing in a strong comparison (section 8.8.3.2).
            let (weak, tag) = match tag.trim().strip_prefix("W/") {
                Some(tag) => (true, tag),
                None => (false, tag.trim()),
            };
            let opaque = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or(INVALID)?;
            if opaque.contains('"') {
                return Err(INVALID);
            }
            versions.extend(opaque.parse::<u64>().ok().filter(|_| !weak));
        }
        Ok(Condition::OneOf(versions))
    }

    /// Says whether a link may be made where there is none.
    pub fn allows_making(&self) -> bool {
        matches!(self, Condition::Any | Condition::Absent)
    }

    /// Says whether a link at `version` may be changed.
    pub fn allows(&self, version: u64) -> bool {
        match self {
            Condition::Any | Condition::Exists => true,
            Condition::OneOf(versions) => versions.contains(&version),
            Condition::Absent => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_compared_strongly() {
        for (header, version, allowed) in [
            (None, 3, true),
            (Some("*"), 3, true),
            (Some("\"3\""), 3, true),
            (Some("\"2\""), 3, false),
            (Some("\"2\", \"3\""), 3, true),
            (Some("W/\"3\""), 3, false),
            (Some("\"other\""), 3, false),
        ] {
            let condition = Condition::of_header(header.map(str::as_bytes));
            assert_eq!(condition.map(|condition| condition.allows(version)), Ok(allowed), "{header:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_entity_tags_is_refused() {
        for header in ["", "3", "\"3", "\"a\"b\"", "\"3\",", "\"3\" \"4\""] {
            assert_eq!(
                Condition::of_header(Some(header.as_bytes())),
                Err(ConditionInvalid::IfMatch),
                "{header}"
            );
        }
    }

    #[test]
    fn a_link_is_made_only_where_both_headers_allow_it() {
        for (if_match, if_none_match, making, changing) in [
            (None, None, true, true),
            (Some("*"), None, false, true),
            (Some("\"3\""), None, false, true),
            (None, Some(" * "), true, false),
        ] {
            let condition =
                Condition::of_headers(if_match.map(str::as_bytes), if_none_match.map(str::as_bytes));
            let allowed = condition.map(|condition| (condition.allows_making(), condition.allows(3)));
            assert_eq!(allowed, Ok((making, changing)), "{if_match:?} {if_none_match:?}");
        }
        let refused = |a: Option<&str>, b: &str| {
            Condition::of_headers(a.map(str::as_bytes), Some(b.as_bytes())).expect_err("refused")
        };
        assert_eq!(refused(None, "\"3\""), ConditionInvalid::IfNoneMatch);
        assert_eq!(refused(Some("*"), "*"), ConditionInvalid::Both);
    }
}
