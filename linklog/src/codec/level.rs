//! Which level of the byte format a change needs: the lowest one whose readers know every key and every field in it.
//!
//! | level | what came with it |
//! |---|---|
//! | 1 | links, hosts, domains, tokens, members, the fleet, with the fields in the table of `level_1` |
//! | 2 | every other field and every other kind of key |
//!
//! The writer refuses what needs more than the log's level ([`crate::change::InvalidChange::NeedsLevel`]), so a member that reads no
//! more than that never meets it. Records are written at the log's level, whatever they need.

use super::Cursor;
use crate::change::{Change, Operation, Part};
use crate::key::StateKey;

/// Returns the lowest level at which `change` may be written.
pub fn needed_by(change: &Change) -> u8 {
    change.parts.iter().map(needed_by_part).max().unwrap_or(1)
}

fn needed_by_part(part: &Part) -> u8 {
    let Some(known) = level_1(&part.key) else { return 2 };
    let Operation::Put { serve, manage } = &part.operation else { return 1 };
    let serve = match &part.key {
        StateKey::Link(_) => behind_target(serve),
        _ => Some(Cursor::new(serve)),
    };
    let within = |body: Option<Cursor<'_>>, highest| body.is_none_or(|body| highest_tag(body) <= highest);
    if within(serve, known.serve) && within(Some(Cursor::new(manage)), known.manage) { 1 } else { 2 }
}

/// The highest tags of fields that level 1 has in the bodies of a key.
struct Known {
    serve: u8,
    manage: u8,
}

/// `None`: level 1 has no such key.
const fn level_1(key: &StateKey) -> Option<Known> {
    match key {
        StateKey::Link(_) => Some(Known { serve: 1, manage: 5 }),
        StateKey::Host(_) => Some(Known { serve: 1, manage: 0 }),
        StateKey::Domain(_) => Some(Known { serve: 0, manage: 2 }),
        StateKey::Fleet => Some(Known { serve: 2, manage: 0 }),
        StateKey::Token(_) | StateKey::Member(_) => Some(Known { serve: 0, manage: 5 }),
        StateKey::Budget(..)
        | StateKey::Pass(_)
        | StateKey::SigningKey(_)
        | StateKey::User(_)
        | StateKey::Group(_)
        | StateKey::External(..)
        | StateKey::Quota(_)
        | StateKey::FoldedCode(..)
        | StateKey::FreedCode(..) => None,
    }
}

/// A link's fields stand behind its flags and its target.
fn behind_target(serve: &[u8]) -> Option<Cursor<'_>> {
    let mut body = Cursor::new(serve);
    body.u8("link flags").ok()?;
    let len = body.varint("target length").ok()?;
    body.sub(len, "target").ok()?;
    Some(body)
}

/// 0 without fields. Bodies are checked before ([`Change::validate`]); what does not decode counts up to there.
fn highest_tag(mut fields: Cursor<'_>) -> u8 {
    let mut highest = 0;
    while let Ok(tag) = fields.u8("field tag") {
        highest = highest.max(tag);
        let skipped = fields.varint("field length").and_then(|len| fields.sub(len, "field"));
        if skipped.is_err() {
            break;
        }
    }
    highest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Precondition;
    use crate::key::{DomainId, Key};
    use crate::link::{Link, LinkManage};

    fn put(key: StateKey, serve: Vec<u8>, manage: Vec<u8>) -> u8 {
        let operation = Operation::Put { serve, manage };
        needed_by(&Change::new("t", vec![Part { key, precondition: Precondition::Any, operation }]))
    }

    #[test]
    fn what_level_1_has_needs_level_1_and_one_field_more_needs_2() {
        let key = || StateKey::Link(Key::new(DomainId(0), "a".parse().expect("a code")));
        let link = Link { target: "https://a/".into(), expires_at_ms: Some(9), ..Link::default() };
        let manage = LinkManage { title: Some("t".into()), tags: vec!["x".into()], ..LinkManage::default() };
        assert_eq!(put(key(), link.encode(), manage.encode()), 1);
        let more = |mut body: Vec<u8>, tag: u8| {
            body.extend_from_slice(&[tag, 1, 1]);
            body
        };
        assert_eq!(put(key(), more(link.encode(), 2), manage.encode()), 2);
        assert_eq!(put(key(), link.encode(), more(manage.encode(), 6)), 2);
        assert_eq!(put(StateKey::Domain(DomainId(1)), more(Vec::new(), 1), Vec::new()), 2);
        assert_eq!(put(StateKey::Domain(DomainId(1)), Vec::new(), more(Vec::new(), 2)), 1);
        assert_eq!(put(StateKey::Domain(DomainId(1)), Vec::new(), more(Vec::new(), 3)), 2);
        let member = || StateKey::Member("standby-0".into());
        assert_eq!(put(member(), Vec::new(), more(Vec::new(), 5)), 1);
        assert_eq!(put(member(), Vec::new(), more(Vec::new(), 6)), 2);
        let delete = Part { key: key(), precondition: Precondition::Any, operation: Operation::Delete };
        assert_eq!(needed_by(&Change::new("t", vec![delete])), 1);
    }
}
