//! Uniting values of the set: the database's merge operator.
//!
//! It runs whenever additions that are not compacted yet are read, so it must not rewrite a bucket of thousands for a
//! handful of new codes. Segments are therefore united like the levels of a log-structured tree: only when the next
//! larger one is at most [`TIER_RATIO`] times as large. A code is rewritten a few times in its life, a value has a few
//! segments, and most of a merge is a copy.

use super::segment::{self, Damaged, Segment};

/// How many times larger a segment must be than the one after it to be left alone.
pub(super) const TIER_RATIO: usize = 4;

/// What is being gathered: a segment as it lies, or the union of several.
enum Gathered<'v> {
    Copied(Segment<'v>),
    United(Vec<u32>),
}

/// Returns a value whose set is the union of those of `values`. The order of them does not matter.
///
/// # Errors
/// One of the values is damaged.
pub fn merge<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Result<Vec<u8>, Damaged> {
    let mut segments: Vec<Segment<'v>> = Vec::new();
    let mut bytes = 0;
    for value in values {
        bytes += value.len();
        for segment in segment::segments(value) {
            segments.push(segment?);
        }
    }
    segments.sort_by_key(Segment::count);
    let mut tiers: Vec<Gathered<'v>> = Vec::new();
    for larger in segments {
        match tiers.pop() {
            Some(smaller) if larger.count() as usize <= smaller.count() * TIER_RATIO => {
                tiers.push(Gathered::United(smaller.unite(larger)));
            }
            smaller => tiers.extend(smaller.into_iter().chain([Gathered::Copied(larger)])),
        }
    }
    let mut value = Vec::with_capacity(bytes);
    for tier in tiers.iter().rev() {
        match tier {
            Gathered::Copied(segment) => value.extend_from_slice(segment.bytes()),
            Gathered::United(offsets) => segment::encode(offsets, &mut value),
        }
    }
    Ok(value)
}

impl Gathered<'_> {
    fn count(&self) -> usize {
        match self {
            Gathered::Copied(segment) => segment.count() as usize,
            Gathered::United(offsets) => offsets.len(),
        }
    }

    fn unite(self, other: Segment<'_>) -> Vec<u32> {
        match self {
            Gathered::Copied(segment) => {
                unite(segment.offsets(), other.offsets(), self.count() + other.count() as usize)
            }
            Gathered::United(offsets) => {
                let most = offsets.len() + other.count() as usize;
                unite(offsets.into_iter(), other.offsets(), most)
            }
        }
    }
}

/// Merges two rising rows into a strictly rising one.
fn unite(a: impl Iterator<Item = u32>, b: impl Iterator<Item = u32>, most: usize) -> Vec<u32> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    let mut united: Vec<u32> = Vec::with_capacity(most);
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x <= y => a.next(),
            (_, Some(_)) => b.next(),
            (Some(_), None) => a.next(),
            (None, None) => return united,
        };
        // Equal ones are one; falling ones exist only in damaged segments, and must not make the next encoding panic.
        let next = next.expect("one of the two has a next");
        if united.last().is_none_or(|last| *last < next) {
            united.push(next);
        }
    }
}
