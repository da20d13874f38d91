//! What members hold of one link's clicks, or of one quota's redirects in one period, as the log has it. Pure but for reading.

use linklog::codec::value;
use linklog::entity::{Budget, Quota};
use linklog::link::extras::Limit;
use linklog::store::{Reader, StoreError, StoredLink};
use linklog::{Allowance, DecodeError, Position, StateKey};

use super::escrow::{self, share};

/// Most redirects of a quota that are granted at once although they are more than half an even share.
const QUOTA_FLOOR_MAX: u64 = 1_000;

/// A member's budget, and the version of its record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Row {
    pub(super) member: String,
    /// As far as it is known.
    pub(super) budget: Budget,
    /// As the log has it.
    pub(super) written: Budget,
    pub(super) version: u64,
}

/// What says how much there is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Record {
    Link(Box<StoredLink>),
    Quota { quota: Quota, version: u64 },
}

/// An allowance and all budgets of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Book {
    /// `None`: it is gone.
    pub(super) record: Option<Record>,
    /// What budgets of it bear: where the link was made, or which period it is.
    pub(super) label: Option<Position>,
    /// Those of links before it under the same code, and of other periods, among them.
    pub(super) all: Vec<Row>,
}

impl Book {
    /// Reads it, as it is at `now_ms` (milliseconds since the Unix epoch).
    ///
    /// # Errors
    /// The disk fails or holds bytes that cannot be right.
    pub(super) fn read(reader: &Reader, of: &Allowance, now_ms: u64) -> Result<Book, StoreError> {
        let prefix = StateKey::budgets_of(of);
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
        if let Some(damaged) = damaged {
            return Err(damaged);
        }
        let record = match of {
            Allowance::Link(key) => reader.link(key)?.map(|link| Record::Link(Box::new(link))),
            Allowance::Quota(_) => {
                let found = reader.serve_value(&of.encode(), |stored| stored.map_or(Ok(None), read_quota))?;
                let found = found.map_err(|source| StoreError::Damaged { what: "quota", source })?;
                found.map(|(quota, version)| Record::Quota { quota, version })
            }
        };
        let label = record.as_ref().map(|record| match record {
            Record::Link(link) => link.stamp.created,
            Record::Quota { quota, .. } => quota.label(now_ms),
        });
        Ok(Book { record, label, all })
    }

    /// How much there is of it, and what is used and burned for good; `None`: it is gone, or has no limit.
    pub(super) fn limit(&self) -> Option<Limit> {
        match self.record.as_ref()? {
            Record::Link(link) => link.link.extras.limit,
            Record::Quota { quota, .. } => {
                let (used, burned) = quota.gone(self.label?);
                Some(Limit { max: quota.max, used, burned, ended_at_ms: None })
            }
        }
    }

    /// The budgets of what there is now.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.all.iter().filter(|row| Some(row.budget.created) == self.label)
    }

    /// A member's budget, whatever it is of.
    pub(super) fn row(&self, member: &str) -> Option<&Row> {
        self.all.iter().find(|row| row.member == member)
    }

    /// Clicks that are spent, burned, or in somebody's hands.
    pub(super) fn taken(&self) -> u64 {
        let limit = self.limit().unwrap_or_default();
        escrow::taken(&limit, self.rows().map(|row| &row.budget))
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

    /// How many clicks to grant at once to one of so many members.
    pub(super) fn share(&self, members: u64) -> u64 {
        let (left, share) = (self.left(), share(self.left(), members));
        match self.record {
            Some(Record::Quota { quota, .. }) => {
                // A thousand grants use a quota up however the last of it is spread: what is granted once and used once costs a record.
                share.max((quota.max / 1_000).clamp(1, QUOTA_FLOOR_MAX)).min(left)
            }
            _ => share,
        }
    }
}

/// `None`: it was deleted.
pub(super) fn read_row(key: &[u8], stored: &[u8]) -> Result<Option<Row>, DecodeError> {
    let (stamp, body) = value::split(stored)?;
    let Ok(StateKey::Budget(_, member)) = StateKey::decode(key) else { return Ok(None) };
    if !stamp.live {
        return Ok(None);
    }
    let budget = Budget::decode(body)?;
    Ok(Some(Row { member, budget, written: budget, version: stamp.version }))
}

/// `None`: it was deleted.
pub(super) fn read_quota(stored: &[u8]) -> Result<Option<(Quota, u64)>, DecodeError> {
    let (stamp, body) = value::split(stored)?;
    if stamp.live { Quota::decode(body).map(|quota| Some((quota, stamp.version))) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linklog::entity::Period;

    #[test]
    fn a_share_leaves_something_for_the_others_until_the_last_click() {
        for (left, members, expected) in [(0, 4, 0), (1, 4, 1), (7, 4, 1), (10_000, 4, 1_250), (5, 0, 2)] {
            assert_eq!(share(left, members), expected, "{left} {members}");
        }
    }

    #[test]
    fn a_quota_is_used_up_with_few_grants_even_by_one_member_of_many() {
        let label = Position::new(0, 0);
        for (max, grants_max) in
            [(1_u64, 1), (100, 100), (10_000, 200), (1_000_000, 150), (1_000_000_000, 1_100)]
        {
            let (mut used, mut grants) = (0, 0);
            while used < max {
                let quota = Quota { used, ..Quota::new(max, Period::Day) };
                let record = Some(Record::Quota { quota, version: 1 });
                used += Book { record, label: Some(label), all: Vec::new() }.share(4);
                grants += 1;
            }
            assert!(used == max && grants <= grants_max, "{max}: {grants}");
        }
    }
}
