#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use linklog::Code7;
use tempfile::TempDir;

use super::*;
use crate::generate::SystemEntropy;
use crate::pool::{LEASED_CODES_KEPT, LeaseRequest};

mod crash;
mod format;

const DAY: u64 = DAY_MS;

fn config(slots: &str, quarantine_days: u32) -> PoolConfig {
    PoolConfig {
        slots: slots.parse().unwrap(),
        low_watermark: 1,
        high_watermark: 1,
        blocklist: None,
        quarantine_days,
    }
}

fn open_as(dir: &Path, config: &PoolConfig) -> Result<Supply, SupplyError> {
    Supply::open(dir, config, Arc::new(Metrics::default()))
}

fn open(dir: &Path) -> Supply {
    open_as(dir, &config("0-4095", 0)).unwrap()
}

fn new_pool() -> (TempDir, Supply) {
    let dir = tempfile::tempdir().unwrap();
    let supply = open(dir.path());
    (dir, supply)
}

fn add(supply: &Supply, count: usize) -> Added {
    supply.add(count, 0, &mut SystemEntropy).unwrap()
}

fn request(id: u64, count: u32) -> LeaseRequest {
    let mut request_id = [0; 16];
    request_id[..8].copy_from_slice(&id.to_le_bytes());
    LeaseRequest { request_id, holder: "admin-0".into(), epoch: 1, count }
}

fn lease(supply: &Supply, id: u64, count: u32) -> Vec<Code7> {
    supply.lease(&request(id, count)).unwrap().codes
}

/// Leases everything that waits.
fn lease_all(supply: &Supply, from_id: u64) -> Vec<Code7> {
    let mut codes = Vec::new();
    for id in from_id.. {
        match supply.lease(&request(id, 3_000)) {
            Ok(leased) => codes.extend(leased.codes),
            Err(LeaseError::Empty) => return codes,
            Err(error) => panic!("{error}"),
        }
    }
    codes
}

fn distinct(codes: &[Code7]) -> bool {
    codes.iter().collect::<HashSet<_>>().len() == codes.len()
}

#[test]
fn every_code_is_leased_once_in_the_order_of_generation() {
    let (_dir, supply) = new_pool();
    assert_eq!(add(&supply, 10_000).stocked, 10_000);
    add(&supply, 5_000);
    assert_eq!((supply.stats().unused, supply.stats().used), (15_000, 0));
    let stock: Vec<Code7> = supply.store().stock(0..15_000).collect();
    let codes = lease_all(&supply, 1);
    assert_eq!(codes, stock);
    assert!(distinct(&codes));
    assert!(!codes.is_sorted(), "codes in the order of their numbers can be guessed");
    assert_eq!(
        (supply.stats().unused, supply.stats().used, supply.stats().last_lease_number),
        (0, 15_000, 5)
    );
    assert!(matches!(supply.lease(&request(99, 1)), Err(LeaseError::Empty)));
}

#[test]
fn a_repeated_request_gets_the_same_codes_also_after_a_restart() {
    let (dir, supply) = new_pool();
    add(&supply, 9_000);
    let first = supply.lease(&request(1, 5_000)).unwrap();
    lease(&supply, 2, 1_000);
    assert_eq!(supply.lease(&request(1, 5_000)).unwrap(), first);
    assert_eq!(supply.lease(&request(1, 7)).unwrap(), first, "the id decides, not the count");
    drop(supply);
    let supply = open(dir.path());
    assert_eq!(supply.lease(&request(1, 5_000)).unwrap(), first);
    assert_eq!(supply.stats().last_lease_number, 2);
    assert_eq!((supply.unused(), supply.stats().used), (3_000, 6_000));
    let rest = lease_all(&supply, 3);
    assert!(rest.iter().all(|code| !first.codes.contains(code)));
}

#[test]
fn a_lease_is_shorter_when_less_waits() {
    let (_dir, supply) = new_pool();
    add(&supply, 10);
    assert_eq!(lease(&supply, 1, 100).len(), 10);
}

#[test]
fn a_taken_code_is_never_drawn_again() {
    let dir = tempfile::tempdir().unwrap();
    // The same "randomness" each time: all that is drawn in the second batch was taken by the first.
    let supply = open(dir.path());
    let entropy = || crate::generate::tests::SeededEntropy(42);
    let first = supply.add(20_000, 0, &mut entropy()).unwrap();
    let second = supply.add(20_000, 0, &mut entropy()).unwrap();
    assert_eq!((first.stocked, first.refused), (20_000, 0));
    assert_eq!((second.stocked, second.refused), (0, 20_000));
    supply.store().settle().unwrap();
    supply.store().compact();
    assert_eq!(supply.add(20_000, 0, &mut entropy()).unwrap().refused, 20_000);
    assert_eq!((supply.unused(), supply.stats().used), (20_000, 0));
}

#[test]
fn a_pool_generates_in_its_own_slots_and_keeps_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let supply = open_as(dir.path(), &config("7,100-101", 0)).unwrap();
    add(&supply, 3_000);
    let slots: BTreeSet<u16> = lease_all(&supply, 1).iter().map(|code| code.pool_slot()).collect();
    assert_eq!(slots, BTreeSet::from([7, 100, 101]));
    drop(supply);
    let error = open_as(dir.path(), &config("7,100-102", 0)).unwrap_err().to_string();
    assert!(error.contains("does not hold slots 102: it owns 7,100-101"), "{error}");
    // Fewer are fine: it goes on owning the others, whose codes still wait.
    let supply = open_as(dir.path(), &config("100", 0)).unwrap();
    assert_eq!(supply.slots().to_string(), "7,100-101");
    add(&supply, 100);
    assert!(lease_all(&supply, 10).iter().all(|code| code.pool_slot() == 100));
}

#[test]
fn a_marked_code_is_never_leased_whether_it_waited_or_not() {
    let (dir, supply) = new_pool();
    add(&supply, 10_000);
    let stock: Vec<Code7> = supply.store().stock(0..10_000).collect();
    let unknown: Vec<Code7> = (0..50).map(|value| Code7::new(value * 1_000_003).unwrap()).collect();
    let marked = [&unknown[..], &stock[5..8], &stock[9_999..]].concat();
    assert_eq!(supply.mark_used(&marked).unwrap(), 54);
    assert_eq!(supply.mark_used(&marked).unwrap(), 0, "marking again changes nothing");
    assert_eq!((supply.unused(), supply.stats().used), (9_996, 54));
    drop(supply);
    let supply = open(dir.path());
    assert_eq!((supply.unused(), supply.stats().used), (9_996, 54));
    let first = supply.lease(&request(1, 100)).unwrap();
    assert_eq!(first.codes, [&stock[..5], &stock[8..103]].concat());
    assert_eq!(supply.lease(&request(1, 100)).unwrap(), first);
    let rest = lease_all(&supply, 2);
    assert_eq!(rest.len(), 9_896);
    assert!(marked.iter().all(|code| !rest.contains(code)));
    assert_eq!(supply.store().skipped().unwrap(), [], "what was passed over need not be remembered");
    assert_eq!(supply.mark_used(&first.codes).unwrap(), 0, "leased codes are used already");
}

#[test]
fn codes_of_other_pools_are_not_marked() {
    let dir = tempfile::tempdir().unwrap();
    let supply = open_as(dir.path(), &config("0-2047", 0)).unwrap();
    let codes = [Code7::new(2_047).unwrap(), Code7::new(2_048).unwrap()];
    let error = supply.mark_used(&codes).unwrap_err().to_string();
    assert!(error.contains("slot 2048, which this pool does not own: it owns 0-2047"), "{error}");
    assert_eq!(supply.mark_used(&codes[..1]).unwrap(), 1, "the refused call marked nothing");
}

#[test]
fn released_codes_never_return_unless_the_operator_wants_it() {
    let (_dir, supply) = new_pool();
    add(&supply, 100);
    let codes = lease_all(&supply, 1);
    assert_eq!(supply.release(&codes, 0).unwrap(), Released { quarantined: 0, ignored: 100 });
    assert_eq!(supply.add(100, 1_000 * DAY, &mut SystemEntropy).unwrap().returned, 0);
}

#[test]
fn released_codes_return_once_after_their_quarantine() {
    let dir = tempfile::tempdir().unwrap();
    let supply = open_as(dir.path(), &config("0-4095", 30)).unwrap();
    add(&supply, 100);
    let codes = lease(&supply, 1, 50);
    let unknown = Code7::new(12_345).unwrap();
    let waiting: Vec<Code7> = supply.store().stock(50..60).collect();
    let given_back = [&codes[..10], &waiting[..], &[unknown, codes[0]]].concat();
    assert_eq!(supply.release(&given_back, DAY).unwrap(), Released { quarantined: 10, ignored: 12 });
    assert_eq!(supply.release(&codes[..10], 2 * DAY).unwrap(), Released { quarantined: 0, ignored: 10 });
    assert_eq!(supply.mark_used(&codes[..1]).unwrap(), 1, "an alias took the code: it must not return");
    drop(supply);
    let supply = open_as(dir.path(), &config("0-4095", 30)).unwrap();
    assert_eq!(supply.add(100, 31 * DAY - 1, &mut SystemEntropy).unwrap().returned, 0);
    let added = supply.add(100, 31 * DAY, &mut SystemEntropy).unwrap();
    assert_eq!((added.returned, added.stocked), (9, 100));
    assert_eq!(supply.add(100, 99 * DAY, &mut SystemEntropy).unwrap().returned, 0, "each returns once");
    let leased = lease_all(&supply, 2);
    let returned: Vec<Code7> = leased.iter().copied().filter(|code| codes.contains(code)).collect();
    assert_eq!(BTreeSet::from_iter(&returned), BTreeSet::from_iter(&codes[1..10]));
    assert!(distinct(&leased));
}

#[test]
fn words_added_to_the_blocklist_apply_to_codes_that_wait_already() {
    let (dir, supply) = new_pool();
    add(&supply, 20_000);
    drop(supply);
    let words = dir.path().join("words");
    fs::write(&words, "ab\n").unwrap();
    let with_words = PoolConfig { blocklist: Some(words.clone()), ..config("0-4095", 0) };
    let supply = open_as(dir.path(), &with_words).unwrap();
    let codes = lease_all(&supply, 1);
    let list = Blocklist::with_file(&words).unwrap();
    assert!(codes.iter().all(|code| !list.forbids(*code)));
    assert!((19_000..19_990).contains(&codes.len()), "{}", codes.len());
    assert_eq!(supply.lease(&request(1, 3_000)).unwrap().codes, codes[..3_000]);
}

#[test]
fn a_restored_pool_burns_what_waited_and_has_another_id() {
    let (dir, supply) = new_pool();
    add(&supply, 5_000);
    let before = supply.lease(&request(1, 1_000)).unwrap();
    supply.mark_used(&[supply.store().stock(2_000..2_001).next().unwrap()]).unwrap();
    drop(supply);
    let restored = restore(dir.path()).unwrap();
    assert_eq!((restored.old_id, restored.burned), (before.pool_id, 4_000));
    let supply = open(dir.path());
    assert_eq!(supply.stats().pool_id, restored.new_id);
    assert_ne!(restored.new_id, restored.old_id);
    assert_eq!((supply.unused(), supply.stats().used, supply.stats().last_lease_number), (0, 5_000, 0));
    add(&supply, 1_000);
    // What the old pool leased under this request id is not this pool's to repeat.
    let after = supply.lease(&request(1, 1_000)).unwrap();
    assert_eq!(after.lease_number, 1);
    assert!(after.codes.iter().all(|code| !before.codes.contains(code)));
    assert_eq!(supply.stats().used, 6_000);
}

#[test]
fn restoring_needs_a_pool_that_nobody_uses() {
    let (dir, supply) = new_pool();
    assert!(restore(dir.path()).unwrap_err().to_string().contains("is in use"));
    drop(supply);
    restore(dir.path()).unwrap();
    let nothing = dir.path().join("nothing");
    assert!(restore(&nothing).unwrap_err().to_string().contains("there is no key pool in"));
    assert!(!nothing.exists());
}

#[test]
fn two_pools_cannot_run_on_one_directory() {
    let (dir, _supply) = new_pool();
    let error = open_as(dir.path(), &config("0-4095", 0)).unwrap_err().to_string();
    assert!(error.contains("is in use: another signpost-keypool runs on it"), "{error}");
}

#[test]
fn stock_that_was_leased_long_ago_is_dropped() {
    let (dir, supply) = new_pool();
    let batch = LEASED_CODES_KEPT as usize / 8;
    let first = {
        add(&supply, batch);
        supply.lease(&request(1, 10)).unwrap()
    };
    for round in 0..9 {
        add(&supply, batch);
        while supply.unused() > 0 {
            let id = 1_000 * (round + 1) + supply.unused();
            lease(&supply, id, 100_000);
        }
    }
    add(&supply, batch);
    let start = supply.store().stock_start(u64::MAX).unwrap();
    let kept = supply.stats().used - start;
    assert!((LEASED_CODES_KEPT..LEASED_CODES_KEPT + 10_000).contains(&kept), "{kept}");
    let again = supply.lease(&request(1, 10)).unwrap();
    assert!(again.codes.iter().all(|code| !first.codes.contains(code)), "forgotten requests get new codes");
    drop(supply);
    assert_eq!(open(dir.path()).lease(&request(1, 10)).unwrap(), again);
}

#[test]
fn leases_marks_and_batches_at_the_same_time_do_not_hand_out_a_code_twice() {
    let (_dir, supply) = new_pool();
    add(&supply, 20_000);
    let (leased, marked) = std::thread::scope(|scope| {
        let adding = scope.spawn(|| (0..6).map(|_| add(&supply, 20_000).stocked).sum::<u64>());
        let marking = scope.spawn(|| {
            let mut marked = HashSet::new();
            for round in 0..200u64 {
                let waiting = supply.pool.lock().waiting();
                let near = (waiting.start + round * 50).min(waiting.end - 1);
                let codes: Vec<Code7> = supply.store().stock(near..waiting.end).take(20).collect();
                let before: HashSet<Code7> = codes.iter().copied().collect();
                supply.mark_used(&codes).unwrap();
                marked.extend(before);
            }
            marked
        });
        let leasing: Vec<_> = (0..2u64)
            .map(|thread| {
                let supply = &supply;
                scope.spawn(move || {
                    (0..150).flat_map(|i| lease(supply, thread << 32 | i, 37)).collect::<Vec<_>>()
                })
            })
            .collect();
        adding.join().unwrap();
        let leased: Vec<Code7> = leasing.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (leased, marking.join().unwrap())
    });
    let rest = lease_all(&supply, 1 << 60);
    assert!(rest.iter().all(|code| !marked.contains(code)), "a code was leased after it was marked");
    let all = [leased, rest].concat();
    assert!(distinct(&all));
    assert_eq!(supply.unused(), 0);
    assert_eq!(supply.stats().used, 140_000);
}
