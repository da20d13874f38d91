//! Generated codes whose link was deleted, and who may have them next. Off unless the operator says otherwise.
//!
//! Owned here: a code comes back on a domain only if its deletion left a mark in the log ([`FreedCode`]), the mark is old enough, and a key
//! pool has handed the code out again after its own quarantine. Whoever takes it takes the mark with it, in the same record, so a mark is
//! worth one link. Without a mark a code that was ever used stays used, whoever supplies it: also a pool that has lost its memory brings
//! nothing back. A link that was taken down leaves no mark, nor one that caches may still keep when the time is over.

use linklog::codec::value;
use linklog::entity::FreedCode;
use linklog::store::{Reader, StoreError, StoredLink};
use linklog::{Code7, DomainId, Key, LinkState, Operation, Part, Precondition, StateKey};

/// Whether codes come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reuse {
    /// So long after the deletion of their link, in milliseconds; `None`: never.
    pub after_ms: Option<u64>,
}

impl Reuse {
    /// Returns what marks the code of a link that is deleted at `now_ms` (milliseconds since the Unix epoch), if it may come back.
    pub fn mark(self, key: Key, stored: &StoredLink, now_ms: u64) -> Option<Part> {
        let (after_ms, code) = (self.after_ms?, key.code.as_code7()?);
        if stored.link.state == LinkState::Banned || kept_by_caches_ms(stored) > after_ms {
            return None;
        }
        let manage = FreedCode { freed_at_ms: now_ms }.encode();
        let operation = Operation::Put { serve: Vec::new(), manage };
        Some(Part { key: StateKey::FreedCode(key.domain, code), precondition: Precondition::Any, operation })
    }

    /// Returns what takes the mark of a code away with the link that is made under it at `now_ms`; `None`: it may not be used again.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn take(
        self,
        reader: &Reader,
        domain: DomainId,
        code: Code7,
        now_ms: u64,
    ) -> Result<Option<Part>, StoreError> {
        let Some(after_ms) = self.after_ms else { return Ok(None) };
        let key = StateKey::FreedCode(domain, code);
        let read = |stored: Option<&[u8]>| {
            let Some(stored) = stored else { return Ok(None) };
            let (stamp, body) = value::split(stored)?;
            if stamp.live {
                FreedCode::decode(body).map(|freed| Some((freed, stamp.version)))
            } else {
                Ok(None)
            }
        };
        let found = reader.manage_value(&key.encode(), read)?;
        let found = found.map_err(|source| StoreError::Damaged { what: "freed code", source })?;
        let is_ripe = |(freed, _): &(FreedCode, u64)| freed.freed_at_ms.saturating_add(after_ms) <= now_ms;
        Ok(found.filter(is_ripe).map(|(_, version)| Part {
            key,
            precondition: Precondition::Version(version),
            operation: Operation::Delete,
        }))
    }
}

/// How long shared caches and browsers may answer with a link that is gone.
fn kept_by_caches_ms(stored: &StoredLink) -> u64 {
    let policy = stored.link.extras.cache.unwrap_or_default();
    let fresh_s = policy.max_age_s.unwrap_or(0).max(policy.s_maxage_s.unwrap_or(0));
    (fresh_s + policy.stale_while_revalidate_s.unwrap_or(0)) * 1_000
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use linklog::{CachePolicy, Extras, Link, LinkManage, Position, Stamp};

    #[test]
    fn only_generated_codes_that_nobody_keeps_are_marked() {
        let reuse = Reuse { after_ms: Some(1_000_000) };
        let key = |code: &str| Key::new(DomainId(3), code.parse().unwrap());
        let stored = |state, cache| StoredLink {
            stamp: Stamp { live: true, version: 1, created: Position::new(1, 1) },
            link: Link { state, extras: Extras { cache, ..Extras::default() }, ..Link::default() },
            manage: LinkManage::default(),
        };
        let plain = stored(LinkState::Active, None);
        let marked = |reuse: Reuse, code, stored: &StoredLink| reuse.mark(key(code), stored, 5).is_some();
        assert!(marked(reuse, "Ab3xY9z", &plain));
        assert!(!marked(Reuse::default(), "Ab3xY9z", &plain));
        assert!(!marked(reuse, "my-alias", &plain));
        assert!(!marked(reuse, "Ab3xY9z", &stored(LinkState::Banned, None)));
        for (s_maxage_s, stale_while_revalidate_s, expected) in [(1_000, 0, true), (1_000, 1, false)] {
            let policy = CachePolicy {
                public: true,
                s_maxage_s: Some(s_maxage_s),
                stale_while_revalidate_s: Some(stale_while_revalidate_s),
                ..CachePolicy::default()
            };
            assert_eq!(marked(reuse, "Ab3xY9z", &stored(LinkState::Active, Some(policy))), expected);
        }
    }
}
