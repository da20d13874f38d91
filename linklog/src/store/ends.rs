//! Links that have ended, those first whose end lies back longest.
//!
//! One row of the index (`super::index`) per link that has an end at all, so looking for what ended before some time costs what is found, and
//! nothing for the links that live on. Deliberately not here: what becomes of them.

use rocksdb::{Direction, IteratorMode, ReadOptions};

use super::index::{PLACE_BYTES, ends_prefix};
use super::reader::{damaged, read_error};
use super::{INDEX, Store, StoreError};
use crate::key::{Key, StateKey};

/// Which links are looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// Those put aside, or all others.
    pub archived: bool,
    /// Those that ended before this time, milliseconds since the Unix epoch.
    pub before_ms: u64,
    /// How many at most.
    pub limit: usize,
}

/// A link that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Which.
    pub key: Key,
    place: [u8; PLACE_BYTES],
}

pub(super) fn ends(store: &Store, what: &Ends, after: Option<&End>) -> Result<Vec<End>, StoreError> {
    let prefix = ends_prefix(what.archived);
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_iterate_upper_bound([&prefix[..], &what.before_ms.to_be_bytes()].concat());
    let start = match after {
        // The first row behind it, whether it is still there or not.
        Some(after) => [&prefix[..], &after.place, &*after.key.encode(), &[0]].concat(),
        None => prefix.to_vec(),
    };
    let mode = IteratorMode::From(&start, Direction::Forward);
    let mut found = Vec::new();
    for row in store.db().iterator_cf_opt(store.table(INDEX), options, mode).take(what.limit) {
        let (row, _) = row.map_err(read_error)?;
        let invalid = || damaged("index row")(crate::DecodeError::invalid(0, "index row"));
        let rest = row.strip_prefix(&prefix).ok_or_else(invalid)?;
        let (place, key) = rest.split_first_chunk::<PLACE_BYTES>().ok_or_else(invalid)?;
        let Ok(StateKey::Link(key)) = StateKey::decode(key) else { return Err(invalid()) };
        found.push(End { at_ms: (u128::from_be_bytes(*place) >> 64) as u64, key, place: *place });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::change::{Change, Operation, Part, Precondition};
    use crate::link::extras::{Extras, Limit};
    use crate::link::{Link, LinkManage, LinkState};
    use crate::store::Reader;
    use crate::writer::tests::open;
    use crate::writer::{Decision, Writer};

    fn key(code: &str) -> Key {
        Key::new(crate::key::DomainId(0), code.parse().unwrap())
    }

    fn put(writer: &Writer, code: &str, link: Link, manage: LinkManage) {
        let operation = Operation::Put { serve: link.encode(), manage: manage.encode() };
        propose(writer, StateKey::Link(key(code)), operation);
    }

    fn propose(writer: &Writer, key: StateKey, operation: Operation) {
        let part = Part { key, precondition: Precondition::Any, operation };
        let decisions = writer.handle().propose_and_wait(vec![Change::new("t", vec![part])]).unwrap();
        assert!(matches!(decisions[..], [Decision::Applied { .. }]), "{decisions:?}");
    }

    fn ended(reader: &Reader, archived: bool, before_ms: u64) -> Vec<(u64, String)> {
        let what = Ends { archived, before_ms, limit: 2 };
        let (mut all, mut after) = (Vec::new(), None);
        // Two at a time: what is found does not depend on where one stops.
        loop {
            let page = reader.ended(&what, after.as_ref()).unwrap();
            let Some(last) = page.last().cloned() else { return all };
            all.extend(page.iter().map(|end| (end.at_ms, end.key.code.to_string())));
            after = Some(last);
        }
    }

    #[test]
    fn links_are_found_by_their_end_and_only_those_that_have_one() {
        let dir = tempfile::tempdir().unwrap();
        let writer = open(dir.path());
        let reader = writer.reader();
        let fleet = crate::entity::Fleet::new([3; 16], 2);
        propose(&writer, StateKey::Fleet, Operation::Put { serve: fleet.encode(), manage: Vec::new() });
        let link = |expires_at_ms| Link { target: "https://a/".into(), expires_at_ms, ..Link::default() };
        let plain = LinkManage::default;
        for (code, end) in
            [("late", Some(900)), ("never", None), ("a", Some(5)), ("b", Some(5)), ("c", Some(7))]
        {
            put(&writer, code, link(end), plain());
        }
        let limit = |used, ended_at_ms| Extras {
            limit: Some(Limit { max: 3, used, burned: 0, ended_at_ms }),
            ..Extras::default()
        };
        put(&writer, "used", Link { extras: limit(3, Some(6)), ..link(Some(50)) }, plain());
        put(&writer, "left", Link { extras: limit(2, None), ..link(None) }, plain());
        put(&writer, "banned", Link { state: LinkState::Banned, ..link(Some(1)) }, plain());
        put(&writer, "kept", link(Some(2)), LinkManage { archived_at_ms: Some(9), ..plain() });
        let texts = |found: &[(u64, &str)]| {
            found.iter().map(|(at, code)| (*at, (*code).to_owned())).collect::<Vec<_>>()
        };
        let expected = [(5, "b"), (5, "a"), (6, "used"), (7, "c")];
        assert_eq!(ended(&reader, false, 8), texts(&expected));
        assert_eq!(ended(&reader, false, 7), texts(&expected[..3]));
        assert_eq!(ended(&reader, true, 8), texts(&[(2, "kept")]));
        // Prolonged, deleted, put aside: the row goes with what it followed from.
        put(&writer, "a", link(Some(1_000)), plain());
        propose(&writer, StateKey::Link(key("b")), Operation::Delete);
        put(&writer, "c", link(Some(7)), LinkManage { archived_at_ms: Some(9), ..plain() });
        assert_eq!(ended(&reader, false, 901), texts(&[(6, "used"), (900, "late")]));
        assert_eq!(ended(&reader, true, 901), texts(&[(2, "kept"), (7, "c")]));
    }
}
