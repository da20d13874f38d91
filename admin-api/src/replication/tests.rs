//! When a change counts as replicated.

use std::time::{Duration, Instant};

use linklog::Position;

use super::Acknowledged;
use super::table::Table;

const HEALTHY: Duration = Duration::from_secs(2);

fn ack(seq: u64) -> Acknowledged {
    Acknowledged { applied: Position::new(1, seq), synced_seq: 0, apply_lag_us: 0 }
}

fn synced(seq: u64) -> Acknowledged {
    Acknowledged { synced_seq: seq, ..ack(seq) }
}

#[test]
fn without_proxies_nothing_is_waited_for() {
    let mut table = Table::new(0, HEALTHY);
    assert!(table.when_applied(5, Instant::now()).is_none());
    assert!(table.when_synced(5).is_none());
}

#[test]
fn a_change_waits_for_the_slowest_proxy_that_has_caught_up() {
    let now = Instant::now();
    let mut table = Table::new(0, HEALTHY);
    let (a, _a_over) = table.connected("a", false, true, 0);
    let (b, _b_over) = table.connected("b", false, true, 0);
    table.acknowledged("a", a, &ack(10), 10, now);
    table.acknowledged("b", b, &ack(10), 10, now);
    let mut waiting = table.when_applied(11, now).unwrap();
    table.acknowledged("a", a, &ack(11), 11, now);
    assert!(waiting.try_recv().is_err(), "b is still missing");
    table.acknowledged("b", b, &ack(12), 12, now);
    assert!(waiting.try_recv().is_ok());
    assert!(table.when_applied(11, now).is_none());
}

#[test]
fn a_proxy_that_is_catching_up_is_not_waited_for_until_it_reaches_the_head_of_when_it_came() {
    let now = Instant::now();
    let mut table = Table::new(0, HEALTHY);
    let (a, _over) = table.connected("a", false, true, 100);
    table.acknowledged("a", a, &ack(5), 100, now);
    assert!(table.when_applied(101, now).is_none());
    table.acknowledged("a", a, &ack(100), 100, now);
    assert!(table.when_applied(101, now).is_some());
}

#[test]
fn a_straggler_costs_one_wait_and_comes_back_when_it_has_caught_up() {
    let now = Instant::now();
    let mut table = Table::new(0, HEALTHY);
    let (a, _over) = table.connected("a", false, true, 0);
    table.acknowledged("a", a, &ack(1), 1, now);
    let mut others = table.when_applied(3, now).unwrap();
    assert!(table.when_applied(2, now).is_some());
    assert_eq!(table.drop_stragglers(2), ["a"]);
    assert!(others.try_recv().is_ok(), "later changes do not wait for it either");
    assert!(table.when_applied(4, now).is_none());
    table.acknowledged("a", a, &ack(4), 4, now);
    assert!(table.when_applied(5, now).is_some());
}

#[test]
fn a_proxy_joins_while_records_never_stop_coming() {
    let now = Instant::now();
    let mut table = Table::new(0, HEALTHY);
    let (a, _over) = table.connected("a", false, true, 50);
    for applied in 40..50 {
        // Whatever it confirms, the head is ten records further on by then.
        table.acknowledged("a", a, &ack(applied), applied + 10, now);
        assert!(table.when_applied(applied + 10, now).is_none());
    }
    table.acknowledged("a", a, &ack(50), 60, now);
    assert!(table.when_applied(60, now).is_some());
}

#[test]
fn a_proxy_far_behind_the_head_does_not_join_although_it_has_reached_its_target() {
    let now = Instant::now();
    let mut table = Table::new(0, HEALTHY);
    let (a, _over) = table.connected("a", false, true, 50);
    table.acknowledged("a", a, &ack(50), 1_000_000, now);
    assert!(table.when_applied(51, now).is_none());
    table.acknowledged("a", a, &ack(1_000_000), 1_000_500, now);
    assert!(table.when_applied(1_000_001, now).is_some());
}

#[test]
fn a_drained_proxy_is_not_waited_for_and_does_not_come_back_by_itself() {
    let now = Instant::now();
    let mut table = Table::new(0, HEALTHY);
    let (a, _over) = table.connected("a", false, true, 0);
    table.acknowledged("a", a, &ack(1), 1, now);
    let mut waiting = table.when_applied(2, now).unwrap();
    table.member_changed("a", false);
    assert!(waiting.try_recv().is_ok());
    table.acknowledged("a", a, &ack(2), 2, now);
    assert!(table.when_applied(3, now).is_none());
    table.member_changed("a", true);
    table.acknowledged("a", a, &ack(3), 3, now);
    assert!(table.when_applied(4, now).is_some());
}

#[test]
fn nobody_is_believed_to_have_fsynced_more_than_it_has_applied() {
    let now = Instant::now();
    let mut table = Table::new(1, HEALTHY);
    let (a, _over) = table.connected("a", true, true, 0);
    table.acknowledged("a", a, &Acknowledged { synced_seq: u64::MAX, ..ack(5) }, 5, now);
    assert!(table.when_synced(5).is_none());
    assert!(table.when_synced(6).is_some());
}

#[test]
fn a_silent_proxy_is_not_waited_for() {
    let now = Instant::now();
    let mut table = Table::new(0, HEALTHY);
    let (a, _over) = table.connected("a", false, true, 0);
    table.acknowledged("a", a, &ack(1), 1, now);
    assert!(table.when_applied(2, now + HEALTHY).is_some());
    assert!(table.when_applied(2, now + HEALTHY + Duration::from_millis(1)).is_none());
}

#[test]
fn a_disconnect_lets_waiters_through_and_late_messages_of_an_old_stream_change_nothing() {
    let now = Instant::now();
    let mut table = Table::new(0, HEALTHY);
    let (old, mut superseded) = table.connected("a", false, true, 0);
    table.acknowledged("a", old, &ack(1), 1, now);
    let mut waiting = table.when_applied(2, now).unwrap();
    let (new, _over) = table.connected("a", false, true, 0);
    assert!(superseded.try_recv().is_ok(), "the old stream is told");
    assert!(waiting.try_recv().is_ok());
    table.acknowledged("a", old, &ack(9), 9, now);
    table.disconnected("a", old);
    table.acknowledged("a", new, &ack(2), 2, now);
    let mut waiting = table.when_applied(3, now).unwrap();
    table.disconnected("a", new);
    assert!(waiting.try_recv().is_ok());
}

#[test]
fn sync_members_are_counted_by_what_they_have_fsynced() {
    let now = Instant::now();
    let mut table = Table::new(2, HEALTHY);
    let mut waiting = table.when_synced(7).unwrap();
    let (a, _a) = table.connected("a", true, true, 0);
    let (b, _b) = table.connected("b", true, true, 0);
    let (c, _c) = table.connected("c", false, true, 0);
    table.acknowledged("a", a, &synced(9), 9, now);
    table.acknowledged("c", c, &synced(9), 9, now);
    table.acknowledged("b", b, &synced(6), 9, now);
    assert!(waiting.try_recv().is_err(), "only one sync member has fsynced it");
    assert_eq!(table.synced_members(7), 1);
    table.acknowledged("b", b, &synced(7), 9, now);
    assert!(waiting.try_recv().is_ok());
}

#[test]
fn a_sync_member_that_joins_counts_with_all_that_it_has_as_soon_as_it_is_active() {
    let now = Instant::now();
    let mut table = Table::new(1, HEALTHY);
    let (a, _a) = table.connected("a", true, false, 0);
    let mut waiting = table.when_synced(7).unwrap();
    table.acknowledged("a", a, &synced(9), 9, now);
    assert!(waiting.try_recv().is_err(), "it does not count");
    assert_eq!((table.synced_members(7), table.listening(now, HEALTHY)), (0, 0));
    assert_eq!((table.synced_seq("a"), table.synced_seq("nobody")), (9, 0));
    table.member_changed("a", true);
    assert!(waiting.try_recv().is_ok());
    assert_eq!(table.synced_members(9), 1);
}

#[test]
fn waiters_that_gave_up_do_not_pile_up_while_the_seq_is_not_reached() {
    let mut gate = super::gate::Gate::default();
    let kept: Vec<_> = (0..100).map(|n| gate.wait(1_000_000 + n)).collect();
    for n in 0..100_000 {
        drop(gate.wait(n + 1));
    }
    assert!(gate.waiting() < 3_000, "{} waiters are kept", gate.waiting());
    gate.set_reached(2_000_000);
    assert!(
        kept.into_iter().all(|waiter| waiter.unwrap().try_recv().is_ok()),
        "a waiter that had not given up was lost"
    );
}

#[test]
fn waiters_that_gave_up_are_forgotten_when_the_seq_is_reached() {
    let mut gate = super::gate::Gate::default();
    for seq in [3, 1, 2] {
        drop(gate.wait(seq));
    }
    assert_eq!(gate.waiting(), 3);
    gate.set_reached(2);
    assert_eq!(gate.waiting(), 1);
}
