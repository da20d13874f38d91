//! `If-Match`: change a link only if it is at the version the client knows (RFC 9110 section 13.1.1). Pure.
//!
//! A link's entity tag is its version in quotes, strong: versions of a key never repeat, not even over a deletion.

/// Longest header, in bytes.
const HEADER_BYTES_MAX: usize = 1024;

/// Which versions of a link may be changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Any.
    Any,
    /// One of these; entity tags that are not ours match nothing.
    OneOf(Vec<u64>),
}

/// The header is no list of entity tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("If-Match is * or a list of entity tags in quotes, such as \"3\"")]
pub struct ConditionInvalid;

impl Condition {
    /// Reads the header; none means any version.
    ///
    /// # Errors
    /// It is malformed.
    pub fn of_header(value: Option<&[u8]>) -> Result<Condition, ConditionInvalid> {
        let Some(value) = value else { return Ok(Condition::Any) };
        let text = std::str::from_utf8(value).map_err(|_| ConditionInvalid)?.trim();
        if text.len() > HEADER_BYTES_MAX || text.is_empty() {
            return Err(ConditionInvalid);
        }
        if text == "*" {
            return Ok(Condition::Any);
        }
        let mut versions = Vec::new();
        for tag in text.split(',') {
            // A weak tag matches nothing in a strong comparison (section 8.8.3.2).
            let (weak, tag) = match tag.trim().strip_prefix("W/") {
                Some(tag) => (true, tag),
                None => (false, tag.trim()),
            };
            let opaque =
                tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or(ConditionInvalid)?;
            if opaque.contains('"') {
                return Err(ConditionInvalid);
            }
            versions.extend(opaque.parse::<u64>().ok().filter(|_| !weak));
        }
        Ok(Condition::OneOf(versions))
    }

    /// Says whether a link at `version` may be changed.
    pub fn allows(&self, version: u64) -> bool {
        match self {
            Condition::Any => true,
            Condition::OneOf(versions) => versions.contains(&version),
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
            assert_eq!(Condition::of_header(Some(header.as_bytes())), Err(ConditionInvalid), "{header}");
        }
    }
}
