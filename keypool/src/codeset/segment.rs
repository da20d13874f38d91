//! Segments: sorted sets of offsets in Elias-Fano form, close to the least a set can take and searchable as they are.
//!
//! The bytes, all numbers little-endian, bits counted from the least significant:
//!
//! ```text
//!   count n        4 bytes, 1 ..= 2^26
//!   low part       n numbers of w bits: the low w bits of each offset, w = 26 - ceil(log2 n)
//!                  padded with zero bits to whole bytes
//!   high part      n + 2^(26 - w) bits: bit (offset >> w) + i is set for the i-th offset, i from 0
//!                  padded with zero bits to whole bytes
//! ```
//!
//! The 1,500 offsets that a bucket has when the pool has used 10^8 codes take 17.2 bits each.
//!
//! Invariant: whatever the bytes, reading ends with an answer or [`Damaged`], never with a panic. What reading checks is
//! the form (lengths, the number of set bits); that the bytes are those once written is the database's checksums' part.

use super::{OFFSET_BITS, OFFSETS};

const COUNT_BYTES: usize = 4;

/// Bytes that no segment looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damaged {
    /// The value ends within a segment.
    #[error("{left} bytes are left where a segment needs {needed}")]
    Short {
        /// Bytes there are.
        left: usize,
        /// Bytes there should be.
        needed: usize,
    },
    /// No segment has so few or so many.
    #[error("a segment says that it has {0} codes")]
    Count(u32),
    /// The high part disagrees with the count.
    #[error("a segment says that it has {said} codes and has {found}")]
    Bits {
        /// What the count says.
        said: u32,
        /// How many bits are set.
        found: u32,
    },
}

/// A segment to be read where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'v> {
    count: u32,
    /// From the count to the last byte, as to be copied.
    bytes: &'v [u8],
    low: &'v [u8],
    high: &'v [u8],
}

/// Appends the segment of `offsets`, which rise strictly and are at least one.
///
/// # Panics
/// They are none, or do not rise, or one is not below [`OFFSETS`].
pub fn encode(offsets: &[u32], out: &mut Vec<u8>) {
    assert!(offsets.last().is_some_and(|last| *last < OFFSETS), "a segment has offsets below 2^26");
    assert!(offsets.is_sorted_by(|a, b| a < b), "offsets rise strictly");
    let count = offsets.len() as u32;
    let width = low_width(count);
    out.extend_from_slice(&count.to_le_bytes());
    let (mut pending, mut pending_bits) = (0u64, 0);
    for offset in offsets {
        pending |= u64::from(offset & mask(width)) << pending_bits;
        pending_bits += width;
        while pending_bits >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            pending_bits -= 8;
        }
    }
    if pending_bits > 0 {
        out.push(pending as u8);
    }
    let high_at = out.len();
    out.resize(high_at + high_bytes(count), 0);
    let high = &mut out[high_at..];
    for (i, offset) in offsets.iter().enumerate() {
        let bit = (offset >> width) as usize + i;
        high[bit / 8] |= 1 << (bit % 8);
    }
}

/// Reads the segments of a value, in order; nothing follows an error.
pub fn segments(value: &[u8]) -> impl Iterator<Item = Result<Segment<'_>, Damaged>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let read = Segment::read(rest);
        rest = read.map_or(&[], |segment| &rest[segment.bytes.len()..]);
        Some(read)
    })
}

impl<'v> Segment<'v> {
    fn read(bytes: &'v [u8]) -> Result<Segment<'v>, Damaged> {
        let short = |needed| Damaged::Short { left: bytes.len(), needed };
        let (count, body) = bytes.split_first_chunk::<COUNT_BYTES>().ok_or(short(COUNT_BYTES))?;
        let count = u32::from_le_bytes(*count);
        if count == 0 || count > OFFSETS {
            return Err(Damaged::Count(count));
        }
        let low_bytes = (count as usize * low_width(count) as usize).div_ceil(8);
        let body_bytes = low_bytes + high_bytes(count);
        let body = body.get(..body_bytes).ok_or(short(COUNT_BYTES + body_bytes))?;
        let segment = Segment {
            count,
            bytes: &bytes[..COUNT_BYTES + body_bytes],
            low: &body[..low_bytes],
            high: &body[low_bytes..],
        };
        let found = (0..segment.high.len()).step_by(8).map(|at| load(segment.high, at).count_ones()).sum();
        if found != count {
            return Err(Damaged::Bits { said: count, found });
        }
        Ok(segment)
    }

    /// Returns how many offsets it has.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns its bytes.
    pub fn bytes(&self) -> &'v [u8] {
        self.bytes
    }

    /// Reads all offsets, in rising order.
    pub fn offsets(&self) -> impl Iterator<Item = u32> + use<'v> {
        let segment = *self;
        let width = low_width(segment.count);
        let (mut at, mut word, mut index) = (0, load(segment.high, 0), 0u32);
        std::iter::from_fn(move || {
            if index == segment.count {
                return None;
            }
            while word == 0 {
                at += 8;
                word = load(segment.high, at);
            }
            let bit = at as u32 * 8 + word.trailing_zeros();
            word &= word - 1;
            let high = bit - index;
            let offset = high << width | segment.low(index);
            index += 1;
            // Only damage can make it larger; then it is wrong either way, and this keeps it in its range.
            Some(offset & (OFFSETS - 1))
        })
    }

    /// Begins a search for rising offsets.
    pub(super) fn seeker(&self) -> Seeker<'v> {
        Seeker { segment: *self, at: 0, word: load(self.high, 0), zeros_before: 0, ones_before: 0 }
    }

    fn low(&self, index: u32) -> u32 {
        let width = low_width(self.count);
        let bit = index as usize * width as usize;
        (load(self.low, bit / 8) >> (bit % 8)) as u32 & mask(width)
    }
}

/// A search that goes forward only, so that many questions cost one walk over the high part.
pub(super) struct Seeker<'v> {
    segment: Segment<'v>,
    /// The byte of the high part at which `word` begins.
    at: usize,
    word: u64,
    /// Zero bits before `word`: the highest high value that has ended there.
    zeros_before: u32,
    /// Set bits before `word`: how many offsets stand there.
    ones_before: u32,
}

impl Seeker<'_> {
    /// Says whether `offset`, which is not below that of the call before, is in the segment.
    pub(super) fn contains(&mut self, offset: u32) -> bool {
        let width = low_width(self.segment.count);
        let (high, low) = (offset >> width, offset & mask(width));
        // The offsets with this high value stand right behind its predecessor's zero, the `high`-th.
        while self.zeros_before + self.word.count_zeros() < high {
            if self.at >= self.segment.high.len() {
                return false;
            }
            self.zeros_before += self.word.count_zeros();
            self.ones_before += self.word.count_ones();
            self.at += 8;
            self.word = load(self.segment.high, self.at);
        }
        let mut zeros = !self.word;
        let mut bit = 0;
        for _ in self.zeros_before..high {
            bit = zeros.trailing_zeros() + 1;
            zeros &= zeros.wrapping_sub(1);
        }
        let passed = if bit == 64 { u64::MAX } else { (1 << bit) - 1 };
        let mut index = self.ones_before + (self.word & passed).count_ones();
        let (mut at, mut word) = (self.at, self.word);
        loop {
            if bit == 64 {
                (at, bit) = (at + 8, 0);
                word = load(self.segment.high, at);
            }
            if word >> bit & 1 == 0 || index >= self.segment.count {
                return false;
            }
            match self.segment.low(index).cmp(&low) {
                std::cmp::Ordering::Less => (bit, index) = (bit + 1, index + 1),
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Greater => return false,
            }
        }
    }
}

/// Bits of an offset that stand in the low part.
const fn low_width(count: u32) -> u32 {
    OFFSET_BITS - ceil_log2(count)
}

const fn high_bytes(count: u32) -> usize {
    (count as usize + (1usize << ceil_log2(count))).div_ceil(8)
}

const fn ceil_log2(count: u32) -> u32 {
    u32::BITS - (count - 1).leading_zeros()
}

const fn mask(width: u32) -> u32 {
    (1 << width) - 1
}

/// Reads 8 bytes; those beyond the end are zero.
fn load(bytes: &[u8], at: usize) -> u64 {
    if let Some(word) = bytes.get(at..at + 8) {
        return u64::from_le_bytes(word.try_into().expect("the range has 8 bytes"));
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let mut word = [0; 8];
    word[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(word)
}
