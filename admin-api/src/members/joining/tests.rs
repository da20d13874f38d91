//! Who counts when.

use super::*;
use crate::standby::quorum::{Poll, WriterAnswer};

fn member(role: MemberRole, state: MemberState) -> Member {
    Member { role, state, credential: None, created_at_ms: 1, announced_level: Some(2) }
}

fn table(states: &[MemberState]) -> MemberTable {
    let named =
        |(n, state): (usize, &MemberState)| (format!("standby-{n}"), member(MemberRole::Sync, *state));
    states.iter().enumerate().map(named).collect()
}

fn versions(states: &[MemberState], version: u64) -> MemberVersions {
    table(states).into_iter().map(|(name, member)| (name, (member, version))).collect()
}

use MemberState::{Active, Drained, Forgotten, Joining};

#[test]
fn a_sync_member_joins_when_others_count_and_changes_wait_for_any() {
    let begin =
        |states: &[MemberState], role, min, level| state_to_begin_in(&table(states), "new", role, min, level);
    assert_eq!(begin(&[Active], MemberRole::Sync, 1, 2), Joining);
    assert_eq!(begin(&[Active], MemberRole::Sync, 0, 2), Active);
    assert_eq!(begin(&[], MemberRole::Sync, 1, 2), Active);
    assert_eq!(begin(&[Drained, Forgotten], MemberRole::Sync, 1, 2), Active);
    assert_eq!(begin(&[Joining], MemberRole::Sync, 1, 2), Joining, "the other one may count any moment");
    assert_eq!(begin(&[Active], MemberRole::Read, 1, 2), Active);
    assert_eq!(begin(&[Active], MemberRole::Sync, 1, 1), Active, "level 1 has no word for it");
    // Its own record does not stand in its way.
    assert_eq!(state_to_begin_in(&table(&[Active]), "standby-0", MemberRole::Sync, 1, 2), Active);
}

#[test]
fn a_member_is_not_drained_if_too_few_would_be_left() {
    let drain = |states: &[MemberState], name: &str, min| may_drain(&table(states), name, min).is_ok();
    assert!(!drain(&[Active], "standby-0", 1));
    assert!(!drain(&[Active, Joining], "standby-0", 1));
    assert!(!drain(&[Active, Active], "standby-0", 2));
    assert!(drain(&[Active, Active], "standby-0", 1));
    assert!(drain(&[Active], "standby-0", 0));
    assert!(drain(&[Active, Joining], "standby-1", 1), "it does not count anyway");
    let mut with_proxy = table(&[Active]);
    with_proxy.insert("proxy-0".to_owned(), member(MemberRole::Read, Active));
    assert!(may_drain(&with_proxy, "proxy-0", 1).is_ok());
}

#[test]
fn what_counts_is_the_record_by_which_it_joins_and_not_an_earlier_one() {
    let mut joiners = Joiners::default();
    joiners.note(&versions(&[Active, Joining], 1), 10);
    let ready = |joiners: &Joiners, version, synced| {
        joiners.ready(&versions(&[Active, Joining], version), 1, |_| synced).is_some()
    };
    assert!(!ready(&joiners, 1, 9) && ready(&joiners, 1, 10));
    // Seen again it is the same one; drained and back between two looks it is another.
    joiners.note(&versions(&[Active, Joining], 1), 15);
    assert!(ready(&joiners, 1, 10));
    joiners.note(&versions(&[Active, Joining], 3), 20);
    assert!(!ready(&joiners, 3, 19) && ready(&joiners, 3, 20));
    joiners.note(&versions(&[Active, Active], 4), 30);
    assert!(!ready(&joiners, 4, 99), "it has joined");
}

#[test]
fn of_two_that_join_while_nobody_counts_the_second_waits_until_the_first_knows_of_it() {
    let mut joiners = Joiners::default();
    let both = versions(&[Joining, Joining], 1);
    joiners.note(&both, 10);
    assert_eq!(joiners.ready(&both, 1, |_| 0), Some(("standby-0".to_owned(), 1)));
    let one = versions(&[Active, Joining], 1);
    joiners.note(&one, 11);
    assert_eq!(joiners.ready(&one, 1, |_| 9), None);
    assert_eq!(joiners.ready(&one, 1, |_| 10), Some(("standby-1".to_owned(), 1)));
}

#[test]
fn a_promotion_that_knows_nothing_of_a_new_member_finds_out_once_that_one_counts() {
    let bits = |set: u32| (0..6usize).filter(move |n| set >> n & 1 == 1);
    let name = |n: usize| format!("standby-{n}");
    for sync in 1usize..5 {
        for min in 1..=sync {
            for knowing in 0u32..1 << sync {
                let mut states = vec![Active; sync];
                states.push(Joining);
                let members = versions(&states, 1);
                let mut joiners = Joiners::default();
                joiners.note(&members, 10);
                let synced = |member: &str| if bits(knowing).any(|n| name(n) == member) { 10 } else { 9 };
                let is_active = joiners.ready(&members, min, synced).is_some();
                assert_eq!(is_active, knowing.count_ones() as usize >= min, "{sync} {min} {knowing:b}");
                for asked in 0u32..1 << sync {
                    let old = Poll {
                        members: (0..sync).map(name).collect(),
                        joining: Vec::new(),
                        min_sync_replicas: min,
                        present: bits(asked).map(name).collect(),
                        writer: WriterAnswer::Silent,
                    };
                    if old.is_enough(1).is_err() {
                        continue;
                    }
                    // Either none but the old ones has acknowledged anything, or one that is asked knows better.
                    assert!(!is_active || asked & knowing != 0, "{sync} {min} {knowing:b} {asked:b}");
                    // It then asks again, with the new one among the members, whether that counts by then or not.
                    for acknowledged in 0u32..1 << (sync + 1) {
                        if acknowledged.count_ones() as usize != min || asked & acknowledged != 0 {
                            continue;
                        }
                        for joining in [true, false] {
                            let count = if joining { sync } else { sync + 1 };
                            let new = Poll {
                                members: (0..count).map(name).collect(),
                                joining: (count..=sync).map(name).collect(),
                                ..old.clone()
                            };
                            assert!(new.is_enough(1).is_err(), "{sync} {min} {asked:b} {acknowledged:b}");
                        }
                    }
                }
            }
        }
    }
}
