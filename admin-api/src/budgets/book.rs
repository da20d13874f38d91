//! The clicks of one link that ends with a number of them, as the log has them. Pure but for reading.

use linklog::codec::value;
use linklog::entity::Budget;
use linklog::link::extras::Limit;
use linklog::store::{Reader, StoreError, StoredLink};
use linklog::{Key, StateKey};

/// A member's budget, and the version of its record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Row {
    pub(super) member: String,
    pub(super) budget: Budget,
    pub(super) version: u64,
}

/// A link and all budgets of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Book {
    /// `None`: it is gone.
    pub(super) link: Option<StoredLink>,
    /// Those of links before it under the same code among them.
    pub(super) all: Vec<Row>,
}

impl Book {
    /// Reads it.
    ///
    /// # Errors
    /// The disk fails or holds bytes that cannot be right.
    pub(super) fn read(reader: &Reader, key: &Key) -> Result<Book, StoreError> {
        let prefix = StateKey::budgets_of(key);
        let (mut all, mut damaged) = (Vec::new(), None);
        reader.scan_served(&prefix, |found, stored| {
            if !found.starts_with(&prefix) {
                return false;
            }
            match read_row(found, stored) {
                Ok(row) => all.extend(row),
                Err(source) => damaged = Some(StoreError::Damaged { what: "budget", source }),
            }
            damaged.is_none()
        })?;
        match damaged {
            Some(damaged) => Err(damaged),
            None => Ok(Book { link: reader.link(key)?, all }),
        }
    }

    /// The limit of the link, if it has one.
    pub(super) fn limit(&self) -> Option<Limit> {
        self.link.as_ref()?.link.extras.limit
    }

    /// The budgets of the link itself.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        let created = self.link.as_ref().map(|link| link.stamp.created);
        self.all.iter().filter(move |row| Some(row.budget.created) == created)
    }

    /// A member's budget of whatever link.
    pub(super) fn row(&self, member: &str) -> Option<&Row> {
        self.all.iter().find(|row| row.member == member)
    }

    /// Clicks that are spent, burned, or in somebody's hands.
    pub(super) fn taken(&self) -> u64 {
        let limit = self.limit().unwrap_or_default();
        let granted = self.rows().map(|row| row.budget.granted - row.budget.returned).sum::<u64>();
        limit.used.saturating_add(limit.burned).saturating_add(granted)
    }

    /// Clicks that may still be granted.
    pub(super) fn left(&self) -> u64 {
        self.limit().map_or(0, |limit| limit.max.saturating_sub(self.taken()))
    }

    /// Clicks in hands of members, as far as is known.
    pub(super) fn at_large(&self) -> u64 {
        self.rows().map(|row| row.budget.at_hand()).sum()
    }

    /// Clicks known to be used, and burned.
    pub(super) fn used_and_burned(&self) -> (u64, u64) {
        let limit = self.limit().unwrap_or_default();
        let sum = |of: fn(&Budget) -> u64| self.rows().map(|row| of(&row.budget)).sum::<u64>();
        (limit.used + sum(|budget| budget.spent), limit.burned + sum(|budget| budget.burned))
    }
}

/// `None`: it was deleted.
pub(super) fn read_row(key: &[u8], stored: &[u8]) -> Result<Option<Row>, linklog::DecodeError> {
    let (stamp, body) = value::split(stored)?;
    let Ok(StateKey::Budget(_, member)) = StateKey::decode(key) else { return Ok(None) };
    if !stamp.live {
        return Ok(None);
    }
    Ok(Some(Row { member, budget: Budget::decode(body)?, version: stamp.version }))
}

/// How many clicks to grant at once: half an even share of what is left, so that what one member holds and does not need is never
/// most of it, and at least one.
pub(super) fn share(left: u64, members: u64) -> u64 {
    (left / (2 * members.max(1))).max(1).min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_leaves_something_for_the_others_until_the_last_click() {
        for (left, members, expected) in [(0, 4, 0), (1, 4, 1), (7, 4, 1), (10_000, 4, 1_250), (5, 0, 2)] {
            assert_eq!(share(left, members), expected, "{left} {members}");
        }
    }
}
