//! The map as a whole.

use linklog::{Code, DomainId, LinkState, Position, RedirectStatus};

use super::*;
use crate::answer::NEVER;

const MAP_BYTES: usize = 1 << 20;

fn at(applied_seq: u64) -> Mark {
    Mark { generation: 1, applied_seq }
}

fn key(code: &str) -> LinkKey {
    LinkKey::of_code(DomainId::DEFAULT, code.parse::<Code>().unwrap())
}

fn facts(target: &str) -> Facts<'_> {
    Facts {
        target: target.as_bytes(),
        status: RedirectStatus::Found,
        state: LinkState::Active,
        expires_at_ms: NEVER,
        created: Position::new(1, 2),
        extras: &[],
    }
}

fn target(map: &HotMap, code: &str) -> Option<String> {
    map.get(&key(code), |facts| String::from_utf8(facts.target.to_vec()).unwrap())
}

#[test]
fn what_is_put_in_is_found_under_its_own_key_only() {
    let map = HotMap::new(MAP_BYTES, 1);
    assert!(map.fill(at(1), &key("Ab3xY9z"), facts("https://a/")));
    assert!(map.fill(at(1), &key("spring-sale"), facts("https://b/")));
    assert_eq!(target(&map, "Ab3xY9z").as_deref(), Some("https://a/"));
    assert_eq!(target(&map, "spring-sale").as_deref(), Some("https://b/"));
    assert_eq!(target(&map, "ab3xy9z"), None);
    assert_eq!(map.fill_level().entries, 2);
}

#[test]
fn a_word_that_two_keys_share_never_answers_for_the_other() {
    let map = HotMap::new(MAP_BYTES, 1);
    let LinkKey::Hashed { word, .. } = key("spring-sale") else { panic!("a long key") };
    let LinkKey::Hashed { bytes, .. } = key("autumn-sale") else { panic!("a long key") };
    let same_word = LinkKey::Hashed { word, bytes };
    map.fill(at(1), &key("spring-sale"), facts("https://spring/"));
    assert_eq!(map.get(&same_word, |_| ()), None);
    map.fill(at(1), &same_word, facts("https://autumn/"));
    assert_eq!(target(&map, "spring-sale"), None);
    assert_eq!(map.fill_level().entries, 1);
}

#[test]
fn a_change_replaces_what_is_there_and_puts_in_nothing_new() {
    let map = HotMap::new(MAP_BYTES, 1);
    map.fill(at(1), &key("aaaaaaa"), facts("https://old/"));
    map.supersede(at(2), &key("aaaaaaa"), Some(facts("https://new-and-much-longer.example/")));
    map.supersede(at(2), &key("bbbbbbb"), Some(facts("https://b/")));
    assert_eq!(target(&map, "aaaaaaa").as_deref(), Some("https://new-and-much-longer.example/"));
    assert_eq!(target(&map, "bbbbbbb"), None);
    map.supersede(at(3), &key("aaaaaaa"), None);
    assert_eq!(target(&map, "aaaaaaa"), None);
    assert_eq!(map.fill_level(), Fill::default());
}

#[test]
fn what_was_read_before_a_change_is_not_put_in_after_it() {
    let map = HotMap::new(MAP_BYTES, 1);
    map.supersede(at(5), &key("aaaaaaa"), Some(facts("https://new/")));
    assert!(!map.fill(at(4), &key("aaaaaaa"), facts("https://old/")));
    assert!(map.fill(at(5), &key("aaaaaaa"), facts("https://new/")));
}

#[test]
fn a_switch_empties_the_map_and_refuses_what_the_old_replica_said() {
    let map = HotMap::new(MAP_BYTES, 1);
    let codes: Vec<String> = (0..500).map(|n| format!("key{n:04}")).collect();
    codes.iter().for_each(|code| assert!(map.fill(at(1_000), &key(code), facts("https://old/"))));
    let mut published = false;
    map.switch(2, || published = true);
    assert!(published);
    assert_eq!(map.fill_level(), Fill::default());
    for code in &codes {
        assert!(!map.fill(at(2_000), &key(code), facts("https://old/")));
        assert!(map.fill(Mark { generation: 2, applied_seq: 1 }, &key(code), facts("https://new/")));
    }
}

#[test]
fn a_scan_of_a_million_keys_stays_within_the_bytes_and_leaves_the_hot_ones() {
    let map = HotMap::new(MAP_BYTES, 1);
    let ask = |code: &str| {
        let found = target(&map, code).is_some();
        if !found {
            map.fill(at(1), &key(code), facts("https://www.example.com/a/path/of/usual/length"));
        }
        found
    };
    let hot: Vec<String> = (0..2_000).map(|n| format!("hot{n:04}")).collect();
    for _ in 0..4 {
        for code in &hot {
            ask(code);
        }
    }
    for n in 0..1_000_000u32 {
        ask(&format!("x{n:06}"));
    }
    let fill = map.fill_level();
    assert!(fill.bytes <= MAP_BYTES && fill.bytes > MAP_BYTES * 9 / 10, "{fill:?}");
    let kept = hot.iter().filter(|code| ask(code)).count();
    assert!(kept >= 1_900, "{kept} of 2,000");
}

#[test]
fn a_target_too_large_for_its_shard_is_not_kept() {
    let map = HotMap::new(MAP_BYTES, 1);
    let long = format!("https://a/{}", "x".repeat(60_000));
    assert!(!map.fill(at(1), &key("aaaaaaa"), facts(&long)));
    map.fill(at(1), &key("bbbbbbb"), facts("https://short/"));
    map.supersede(at(2), &key("bbbbbbb"), Some(facts(&long)));
    assert_eq!(target(&map, "bbbbbbb"), None);
    assert_eq!(map.fill_level(), Fill::default());
}

#[test]
fn readers_and_the_applier_on_real_threads_end_with_the_same_state() {
    let map = HotMap::new(MAP_BYTES, 2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0..20_000u64 {
                    let code = format!("key{:04}", n % 100);
                    if target(&map, &code).is_none() {
                        map.fill(at(n / 100), &key(&code), facts("https://old/"));
                    }
                }
            });
        }
        scope.spawn(|| {
            for seq in 0..2_000u64 {
                let code = format!("key{:04}", seq % 100);
                map.supersede(at(100_000 + seq), &key(&code), Some(facts("https://new/")));
            }
        });
    });
    let fill = map.fill_level();
    let found = (0..100).filter(|n| target(&map, &format!("key{n:04}")).is_some()).count();
    assert_eq!(fill.entries, found);
    assert_eq!(fill.bytes, found * (Block::new(facts("https://new/"), &[]).heap_bytes() + ENTRY_BYTES));
}
