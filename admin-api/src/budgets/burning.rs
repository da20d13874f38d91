//! Using up a limited link of which nobody knows any more how often it was followed. For a log that nobody else writes.

use linklog::link::Link;
use linklog::store::{Reader, StoreError};
use linklog::{Allowance, Change, Key, Operation, Part, Precondition, StateKey};

use super::book::{Book, Record, Row};
use super::{ACTOR, CLOSED_AT_ONCE, part};
use crate::clock;

/// Returns the next change on the way to a link that has ended, and how many clicks it burns; `None`: it has ended.
///
/// # Errors
/// The disk fails or holds bytes that cannot be right.
pub fn burning(reader: &Reader, key: &Key) -> Result<Option<(Change, u64)>, StoreError> {
    let now_ms = clock::now_ms();
    let book = Book::read(reader, &Allowance::Link(*key), now_ms)?;
    let (Some(Record::Link(stored)), Some(mut limit)) = (&book.record, book.limit()) else { return Ok(None) };
    let rows: Vec<&Row> = book.rows().take(CLOSED_AT_ONCE).collect();
    if rows.is_empty() && limit.is_used_up() {
        return Ok(None);
    }
    let before = limit.burned;
    limit.used += rows.iter().map(|row| row.budget.spent).sum::<u64>();
    limit.burned += rows.iter().map(|row| row.budget.burned + row.budget.at_hand()).sum::<u64>();
    if book.rows().count() <= CLOSED_AT_ONCE {
        limit.burned = limit.burned.max(limit.max.saturating_sub(limit.used));
        limit.ended_at_ms = limit.ended_at_ms.or(Some(now_ms));
    }
    let mut link: Link = stored.link.clone();
    link.extras.limit = Some(limit);
    let operation = Operation::Put { serve: link.encode(), manage: stored.manage.encode() };
    let precondition = Precondition::Version(stored.stamp.version);
    let mut parts = vec![Part { key: StateKey::Link(*key), precondition, operation }];
    parts.extend(
        rows.iter().map(|row| part(&Allowance::Link(*key), &row.member, Some(row), Operation::Delete)),
    );
    Ok(Some((Change::new(ACTOR, parts), limit.burned - before)))
}
