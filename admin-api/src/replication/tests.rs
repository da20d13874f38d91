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
    let (a, _a_over) = table.connected("a", false);
    let (b, _b_over) = table.connected("b", false);
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
fn a_proxy_that_is_catching_up_is_not_waited_for_until_it_reaches_the_head() {
    let now = Instant::now();
    let mut table = Table::new(0, HEALTHY);
    let (a, _over) = table.connected("a", false);
    table.acknowledged("a", a, &ack(5), 100, now);
    assert!(table.when_applied(101, now).is_none());
    table.acknowledged("a", a, &ack(100), 100, now);
    assert!(table.when_applied(101, now).is_some());
}

#[test]
fn a_straggler_costs_one_wait_and_comes_back_when_it_has_caught_up() {
    let now = Instant::now();
    let mut table = Table::new(0, HEALTHY);
    let (a, _over) = table.connected("a", false);
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
fn a_silent_proxy_is_not_waited_for() {
    let now = Instant::now();
    let mut table = Table::new(0, HEALTHY);
    let (a, _over) = table.connected("a", false);
    table.acknowledged("a", a, &ack(1), 1, now);
    assert!(table.when_applied(2, now + HEALTHY).is_some());
    assert!(table.when_applied(2, now + HEALTHY + Duration::from_millis(1)).is_none());
}

#[test]
fn a_disconnect_lets_waiters_through_and_late_messages_of_an_old_stream_change_nothing() {
    let now = Instant::now();
    let mut table = Table::new(0, HEALTHY);
    let (old, mut superseded) = table.connected("a", false);
    table.acknowledged("a", old, &ack(1), 1, now);
    let mut waiting = table.when_applied(2, now).unwrap();
    let (new, _over) = table.connected("a", false);
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
    let (a, _a) = table.connected("a", true);
    let (b, _b) = table.connected("b", true);
    let (c, _c) = table.connected("c", false);
    table.acknowledged("a", a, &synced(9), 9, now);
    table.acknowledged("c", c, &synced(9), 9, now);
    table.acknowledged("b", b, &synced(6), 9, now);
    assert!(waiting.try_recv().is_err(), "only one sync member has fsynced it");
    assert_eq!(table.synced_members(7), 1);
    table.acknowledged("b", b, &synced(7), 9, now);
    assert!(waiting.try_recv().is_ok());
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
