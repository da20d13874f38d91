//! Sets of codes, packed: what says, for every code there is, whether it was ever taken.
//!
//! A pool never forgets a code, so this set is nearly all of its disk and nearly all of the work of generating. One
//! database entry a code would cost some ten bytes and several microseconds each; here a code costs about two bytes
//! and a third of a microsecond, because a whole batch is sorted once and walked through the set in one sweep.
//!
//! A code's number has 42 bits. Its pool slot (number mod 4,096) is put first, so that the codes of one slot are one
//! range of the database, and can move with it:
//!
//! ```text
//!   place = slot (12 bits) · number div 4096 (30 bits)
//!         = bucket (16 bits)        · offset (26 bits)
//!           the entry's key           in the entry's value
//! ```
//!
//! A slot fills 13 of its 16 buckets, as 62^7 is less than 2^42. A value is a row of [`segment`]s, largest first; the
//! set it stands for is their union. Adding is merging in one more segment ([`merge()`]), asking is asking each segment
//! ([`find`]).
//!
//! Deliberately not here: the database, and taking a code out again: nothing ever leaves this set.

use linklog::Code7;

mod merge;
pub mod segment;
#[cfg(test)]
mod tests;

pub use merge::merge;
pub use segment::Damaged;

use segment::Segment;

/// Bits of an offset.
pub const OFFSET_BITS: u32 = 26;
/// How many offsets a bucket has.
pub const OFFSETS: u32 = 1 << OFFSET_BITS;
/// Buckets of one slot, those that stay empty included.
pub const BUCKETS_PER_SLOT: u16 = 16;
const REST_BITS: u32 = 30;

/// Where a code lies in the set: its bits with the slot in front. The order of places is the order of the database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place(u64);

/// One entry of the set: a sixteenth of a slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Bucket(u16);

impl Place {
    /// Returns a code's place.
    pub const fn of(code: Code7) -> Place {
        let slots = Code7::POOL_SLOTS as u64;
        Place(((code.value() % slots) << REST_BITS) | (code.value() / slots))
    }

    /// Returns the code at this place.
    pub const fn code(self) -> Code7 {
        let (slot, rest) = (self.0 >> REST_BITS, self.0 & ((1 << REST_BITS) - 1));
        Code7::new(rest * Code7::POOL_SLOTS as u64 + slot).expect("places are made of codes only")
    }

    /// Returns the entry it lies in.
    pub const fn bucket(self) -> Bucket {
        Bucket((self.0 >> OFFSET_BITS) as u16)
    }

    /// Returns where in the entry, below [`OFFSETS`].
    pub const fn offset(self) -> u32 {
        (self.0 & (OFFSETS as u64 - 1)) as u32
    }
}

impl Bucket {
    /// Returns the entry's key in the database.
    pub const fn key(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }
}

/// Calls `found` with the index of every one of `offsets` (strictly rising) that is in the set.
///
/// # Errors
/// The value is not one that this program wrote.
pub fn find(value: &[u8], offsets: &[u32], mut found: impl FnMut(usize)) -> Result<(), Damaged> {
    for segment in segment::segments(value) {
        let segment: Segment<'_> = segment?;
        let mut seeker = segment.seeker();
        for (index, offset) in offsets.iter().enumerate() {
            if seeker.contains(*offset) {
                found(index);
            }
        }
    }
    Ok(())
}
