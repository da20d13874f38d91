#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::segment::{encode, segments};
use super::*;

fn value_of(offsets: &BTreeSet<u32>) -> Vec<u8> {
    let mut value = Vec::new();
    if !offsets.is_empty() {
        encode(&offsets.iter().copied().collect::<Vec<_>>(), &mut value);
    }
    value
}

fn set_of(value: &[u8]) -> BTreeSet<u32> {
    segments(value).flat_map(|segment| segment.unwrap().offsets()).collect()
}

fn found_in(value: &[u8], offsets: &[u32]) -> Vec<u32> {
    let mut found = Vec::new();
    find(value, offsets, |index| found.push(offsets[index])).unwrap();
    found.sort_unstable();
    found
}

/// Sets as they occur: anywhere in the bucket, and crowded into a corner of it.
fn offsets(most: usize) -> impl Strategy<Value = BTreeSet<u32>> {
    let anywhere = prop::collection::btree_set(0..OFFSETS, 0..most);
    let crowded = prop::collection::btree_set(0..2_000u32, 0..most);
    let at_the_end = prop::collection::btree_set(OFFSETS - 2_000..OFFSETS, 0..most);
    prop_oneof![anywhere, crowded, at_the_end]
}

proptest! {
    #[test]
    fn a_segment_reads_as_what_was_written(set in offsets(600)) {
        prop_assert_eq!(set_of(&value_of(&set)), set);
    }

    #[test]
    fn finding_agrees_with_a_plain_set(set in offsets(600), asked in offsets(600)) {
        let asked: BTreeSet<u32> = asked.into_iter().chain(set.iter().copied().step_by(3)).collect();
        let expected: Vec<u32> = asked.intersection(&set).copied().collect();
        let asked: Vec<u32> = asked.into_iter().collect();
        prop_assert_eq!(found_in(&value_of(&set), &asked), expected);
    }

    #[test]
    fn merging_is_union_in_whatever_order_and_grouping(sets in prop::collection::vec(offsets(120), 1..8)) {
        let union: BTreeSet<u32> = sets.iter().flatten().copied().collect();
        let values: Vec<Vec<u8>> = sets.iter().map(value_of).collect();
        let at_once = merge(values.iter().map(Vec::as_slice)).unwrap();
        prop_assert_eq!(&set_of(&at_once), &union);
        let one_by_one = values.iter().rev().fold(Vec::new(), |so_far, value| merge([&so_far[..], value]).unwrap());
        prop_assert_eq!(set_of(&one_by_one), union);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), count in 1u32..12) {
        let mut framed = count.to_le_bytes().to_vec();
        framed.extend_from_slice(&bytes);
        for value in [bytes, framed] {
            let all: usize = segments(&value).flatten().map(|segment| segment.offsets().count()).sum();
            prop_assert!(all <= value.len() * 8);
            let merged = merge([&value[..], &value[..]]);
            let found = find(&value, &[0, 1, 1_000, OFFSETS - 1], |_| ());
            prop_assert_eq!(merged.is_err(), found.is_err());
        }
    }
}

#[test]
fn a_segment_is_these_bytes() {
    // Three offsets: w = 26 - 2 = 24 low bits each, 3 + 4 high bits.
    let mut value = Vec::new();
    encode(&[5, 1 << 24, (3 << 24) + 0x0001_0203], &mut value);
    let expected = [3, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0x03, 0x02, 0x01, 0b0010_0101];
    assert_eq!(value, expected);
}

#[test]
fn a_bucket_of_a_pool_with_100_million_codes_takes_18_bits_a_code() {
    let set: BTreeSet<u32> = (0..1_878u32).map(|i| (i * 35_731 + i % 7 * 1_000) % OFFSETS).collect();
    let bits = value_of(&set).len() as f64 * 8.0 / set.len() as f64;
    assert!(bits < 18.0, "{bits}");
}

#[test]
fn small_additions_leave_a_large_segment_as_it_is() {
    let large = value_of(&(0..1_000).map(|i| i * 50_000).collect());
    let mut value = large.clone();
    for addition in 0..100u32 {
        value = merge([&value[..], &value_of(&BTreeSet::from([addition * 7 + 3]))]).unwrap();
        assert!(value.starts_with(&large));
        assert!(segments(&value).count() <= 5, "{}", segments(&value).count());
    }
}

#[test]
fn a_damaged_value_is_an_error() {
    let good = value_of(&(0..100).collect());
    assert_eq!(
        find(&good[..good.len() - 1], &[1], |_| ()),
        Err(Damaged::Short { left: good.len() - 1, needed: good.len() })
    );
    assert_eq!(find(&[0, 0, 0, 0], &[1], |_| ()), Err(Damaged::Count(0)));
    assert_eq!(find(&[1, 0], &[1], |_| ()), Err(Damaged::Short { left: 2, needed: 4 }));
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(merge([&flipped[..]]), Err(Damaged::Bits { said: 100, .. })));
}

#[test]
fn places_are_codes_with_the_slot_in_front() {
    for value in [0, 1, 4_095, 4_096, 61_000_000_000, Code7::COUNT - 1] {
        let code = Code7::new(value).unwrap();
        let place = Place::of(code);
        assert_eq!(place.code(), code);
        let bucket = u16::from_be_bytes(place.bucket().key());
        assert_eq!(bucket / BUCKETS_PER_SLOT, code.pool_slot());
        assert_eq!(place.offset(), (value / 4_096 % u64::from(OFFSETS)) as u32);
    }
}
