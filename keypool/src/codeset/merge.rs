//! Uniting values of the set: the database's merge operator.
//!
//! It runs whenever additions that are not compacted yet are read, so it must not rewrite a bucket of thousands for a
//! handful of new codes. Segments are therefore united like the levels of a log-structured tree: a larger one joins only
//! if it is at most [`TIER_RATIO`] times as large as all smaller ones together. A code is rewritten a few times in its
//! life, a value has a few segments, and most of a merge is a copy.

use super::segment::{self, Damaged, Segment};

/// How many times larger a segment must be than those after it together to be left alone.
const TIER_RATIO: usize = 4;

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
    segments.sort_unstable_by_key(|segment| std::cmp::Reverse(segment.count()));
    let mut value = Vec::with_capacity(bytes);
    for tier in tiers(&segments) {
        match tier {
            [alone] => value.extend_from_slice(alone.bytes()),
            several => segment::encode(&unite(several), &mut value),
        }
    }
    Ok(value)
}

/// Groups segments, the largest first, into those that become one.
fn tiers<'s, 'v>(segments: &'s [Segment<'v>]) -> Vec<&'s [Segment<'v>]> {
    let mut tiers = Vec::new();
    let mut rest = segments;
    while !rest.is_empty() {
        let mut codes = 0;
        let mut joins = |segment: &&Segment<'_>| {
            let joins = codes == 0 || segment.count() as usize <= codes * TIER_RATIO;
            codes += segment.count() as usize;
            joins
        };
        let length = rest.iter().rev().take_while(&mut joins).count();
        let (larger, tier) = rest.split_at(rest.len() - length);
        tiers.push(tier);
        rest = larger;
    }
    tiers.reverse();
    tiers
}

/// Returns the offsets of several segments, rising, each once.
fn unite(segments: &[Segment<'_>]) -> Vec<u32> {
    let mut offsets = Vec::with_capacity(segments.iter().map(|segment| segment.count() as usize).sum());
    for segment in segments {
        offsets.extend(segment.offsets());
    }
    // The stable sort finds the rows that rise already and merges them.
    offsets.sort();
    offsets.dedup();
    offsets
}
