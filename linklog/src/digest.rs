//! The two fingerprints: the chain over the log, and the sums over the state.
//!
//! The chain proves that the bytes of the log arrived, each in its place. The sums prove that the state made of them is right.
//! Both are for accidents (lost writes, flipped bits, bugs), not against an attacker who can write to the log.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::codec::record::Header;
use crate::position::Position;

/// A point of the chain `d(n) = xxh3_128(d(n-1) ‖ epoch ‖ seq ‖ slot ‖ level ‖ kind ‖ h(serve) ‖ h(manage))`.
///
/// Integers enter little-endian (u32, u64, u16, u8, u8), digests and hashes as their 16 bytes, little-endian: 64 bytes in all.
/// Level and kind are in it because they decide how the sections are read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest before the first record.
    pub const ZERO: Digest = Digest([0; 16]);

    /// Wraps the 16 bytes of a digest.
    pub const fn from_bytes(bytes: [u8; 16]) -> Digest {
        Digest(bytes)
    }

    /// Returns the 16 bytes.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Returns the digest after one more record.
    pub fn then(self, at: Position, header: Header, serve: SectionHash, manage: SectionHash) -> Digest {
        let mut input = [0u8; 64];
        input[..16].copy_from_slice(&self.0);
        input[16..20].copy_from_slice(&at.epoch.0.to_le_bytes());
        input[20..28].copy_from_slice(&at.seq.0.to_le_bytes());
        input[28..30].copy_from_slice(&header.slot.number().to_le_bytes());
        input[30] = header.level;
        input[31] = header.kind.byte();
        input[32..48].copy_from_slice(&serve.0);
        input[48..].copy_from_slice(&manage.0);
        Digest(xxh3_128(&input).to_le_bytes())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// `h(section)`: what a member that may not see a section gets in its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SectionHash(pub [u8; 16]);

impl SectionHash {
    /// Hashes a section's bytes.
    pub fn of(section: &[u8]) -> SectionHash {
        SectionHash(xxh3_128(section).to_le_bytes())
    }
}

/// The sum mod 2^128 of `xxh3_128(key ‖ value)` over the state of a slot, or of all slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SlotSum(u128);

impl SlotSum {
    /// The sum of an empty state.
    pub const ZERO: SlotSum = SlotSum(0);

    /// Adds one entry of the state.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_add(entry_hash(key, value));
    }

    /// Takes one entry of the state out.
    pub fn subtract(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_sub(entry_hash(key, value));
    }

    /// Adds another sum, for the sum over several slots.
    pub fn merge(&mut self, other: SlotSum) {
        self.0 = self.0.wrapping_add(other.0);
    }

    /// Takes another sum out again.
    pub fn unmerge(&mut self, other: SlotSum) {
        self.0 = self.0.wrapping_sub(other.0);
    }

    /// Returns the 16 bytes, little-endian.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// Wraps 16 bytes, little-endian.
    pub const fn from_bytes(bytes: [u8; 16]) -> SlotSum {
        SlotSum(u128::from_le_bytes(bytes))
    }
}

impl fmt::Debug for SlotSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

fn entry_hash(key: &[u8], value: &[u8]) -> u128 {
    /// Links of common length are hashed in one go on the stack; the streaming state costs 600 bytes to set up.
    const STACK: usize = 512;
    let n = key.len() + value.len();
    if n <= STACK {
        let mut buffer = [0u8; STACK];
        buffer[..key.len()].copy_from_slice(key);
        buffer[key.len()..n].copy_from_slice(value);
        return xxh3_128(&buffer[..n]);
    }
    let mut hasher = Xxh3::new();
    hasher.update(key);
    hasher.update(value);
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::record::Kind;
    use crate::slot::Slot;

    #[test]
    fn a_sum_does_not_depend_on_order_and_returns_to_zero() {
        let long = vec![7u8; 2_000];
        let mut sum = SlotSum::ZERO;
        sum.add(b"a", b"1");
        sum.add(b"b", &long);
        let mut other = SlotSum::ZERO;
        other.add(b"b", &long);
        other.add(b"a", b"1");
        assert_eq!(sum, other);
        sum.subtract(b"a", b"1");
        sum.subtract(b"b", &long);
        assert_eq!(sum, SlotSum::ZERO);
    }

    #[test]
    fn short_and_long_entries_hash_as_the_plain_concatenation() {
        for n in [0usize, 500, 504, 505, 513, 4_000] {
            let value = vec![3u8; n];
            let mut plain = b"12345678".to_vec();
            plain.extend_from_slice(&value);
            assert_eq!(entry_hash(b"12345678", &value), xxh3_128(&plain), "value of {n} bytes");
        }
    }

    #[test]
    fn every_input_of_the_chain_changes_the_digest() {
        let h = SectionHash::of(b"x");
        let header = Header { level: 1, kind: Kind::Change, slot: Slot::of_link_key(b"k") };
        let base = Digest::ZERO.then(Position::new(1, 1), header, h, h);
        let others = [
            base.then(Position::new(1, 1), header, h, h),
            Digest::ZERO.then(Position::new(2, 1), header, h, h),
            Digest::ZERO.then(Position::new(1, 2), header, h, h),
            Digest::ZERO.then(Position::new(1, 1), Header { slot: Slot::EVERYWHERE, ..header }, h, h),
            Digest::ZERO.then(Position::new(1, 1), Header { level: 2, ..header }, h, h),
            Digest::ZERO.then(Position::new(1, 1), Header { kind: Kind::EpochStart, ..header }, h, h),
            Digest::ZERO.then(Position::new(1, 1), header, SectionHash::of(b"y"), h),
            Digest::ZERO.then(Position::new(1, 1), header, h, SectionHash::of(b"y")),
        ];
        for other in others {
            assert_ne!(base, other);
        }
    }
}
