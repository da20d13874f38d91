//! What a proxy may spend of links that end with a number of clicks, and of quotas, over the death of its process.

use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use linklog::entity::{Budget, Period, Quota, QuotaId};
use linklog::replica::Replica;
use linklog::store::Contents;
use linklog::{Allowance, DomainId, Key, Position, StateKey};
use signpost_proxy::budgets::{Budgets, Patience, Quoted};

use crate::author::{Author, SMALL};

const CREATED: Position = Position::new(1, 7);

fn link() -> Key {
    Key::new(DomainId(0), "limited".parse().unwrap())
}

/// A proxy that follows an author, and dies when it is dropped.
struct Proxy {
    replica: Replica,
    budgets: Budgets,
    applied: usize,
}

impl Proxy {
    fn start(dir: &Path) -> Proxy {
        std::fs::create_dir_all(dir.join("rings")).unwrap();
        let replica = Replica::open(&dir.join("replica"), Contents::Serve, &SMALL).unwrap();
        let budgets = Budgets::open(&dir.join("rings"), "proxy-0".into(), replica.reader()).unwrap();
        let applied = usize::try_from(replica.head().position.seq.0).unwrap();
        Proxy { replica, budgets, applied }
    }

    /// Applies what the author has written.
    fn follow(&mut self, author: &Author) {
        for (frame, _) in &author.frames[self.applied..] {
            for changed in self.replica.apply(frame).unwrap().changed {
                self.budgets.apply(&changed.key, changed.serve_value.as_deref());
            }
        }
        self.applied = author.frames.len();
    }

    fn spend_all(&self) -> u64 {
        (0..).take_while(|_| self.budgets.spend(&link().encode(), CREATED)).count() as u64
    }
}

fn grant(author: &mut Author, member: &str, budget: Budget) {
    author.put(StateKey::Budget(Allowance::Link(link()), member.into()), budget.encode());
}

#[test]
fn what_is_granted_is_spent_once_whenever_the_process_dies() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::new();
    let mut proxy = Proxy::start(dir.path());
    let holder = proxy.budgets.holder();
    let first = Budget { granted: 5, ..Budget::none(CREATED, holder) };
    grant(&mut author, "proxy-0", first);
    proxy.follow(&author);
    let spend = |proxy: &Proxy| proxy.budgets.spend(&link().encode(), CREATED);
    assert!(spend(&proxy) && spend(&proxy));
    assert!(!proxy.budgets.spend(&link().encode(), Position::new(1, 8)), "another link under the same code");
    drop(proxy);

    let mut proxy = Proxy::start(dir.path());
    assert_eq!((proxy.budgets.holder(), proxy.spend_all()), (holder, 3));
    drop(proxy);
    // Granted while it was away: what was spent before is not given again, settled or not.
    grant(&mut author, "proxy-0", Budget { granted: 9, spent: 2, ..first });
    proxy = Proxy::start(dir.path());
    proxy.follow(&author);
    assert_eq!(proxy.spend_all(), 4);
    proxy.follow(&author);
    assert_eq!(proxy.spend_all(), 0);
}

#[test]
fn a_replica_that_begins_anew_brings_nothing_back_that_was_spent() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::new();
    let mut proxy = Proxy::start(dir.path());
    let holder = proxy.budgets.holder();
    let first = Budget { granted: 5, ..Budget::none(CREATED, holder) };
    grant(&mut author, "proxy-0", first);
    proxy.follow(&author);
    assert_eq!(proxy.spend_all(), 5);
    drop(proxy);

    // Nobody was told of those five: the writer takes them for at hand, and burns them with the name.
    std::fs::remove_dir_all(dir.path().join("replica")).unwrap();
    let mut proxy = Proxy::start(dir.path());
    assert!(proxy.budgets.holder() != holder);
    proxy.follow(&author);
    assert_eq!(proxy.spend_all(), 0);
    drop(proxy);
    let proxy = Proxy::start(dir.path());
    assert_eq!(proxy.spend_all(), 0);
}

#[test]
fn what_the_log_says_is_spent_is_spent_also_if_memory_knows_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::new();
    let mut proxy = Proxy::start(dir.path());
    let first = Budget { granted: 5, ..Budget::none(CREATED, proxy.budgets.holder()) };
    grant(&mut author, "proxy-0", first);
    grant(&mut author, "proxy-0", Budget { spent: 2, returned: 1, ..first });
    proxy.follow(&author);
    assert_eq!(proxy.spend_all(), 2);
}

#[test]
fn what_another_member_or_a_lost_memory_was_granted_is_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::new();
    let mut proxy = Proxy::start(dir.path());
    let holder = proxy.budgets.holder();
    grant(&mut author, "proxy-1", Budget { granted: 5, ..Budget::none(CREATED, holder) });
    grant(&mut author, "proxy-0", Budget { granted: 5, ..Budget::none(CREATED, [9; 16]) });
    proxy.follow(&author);
    assert_eq!(proxy.spend_all(), 0);
    grant(
        &mut author,
        "proxy-0",
        Budget { granted: 7, spent: 1, burned: 4, ..Budget::none(CREATED, holder) },
    );
    proxy.follow(&author);
    assert_eq!(proxy.spend_all(), 2);
    drop(proxy);

    // The machine was started anew.
    std::fs::remove_file(dir.path().join("rings/budgets")).unwrap();
    let proxy = Proxy::start(dir.path());
    assert!(proxy.budgets.holder() != holder);
    assert_eq!(proxy.spend_all(), 0);
}

#[test]
fn what_is_granted_of_a_quota_in_one_period_is_worth_nothing_in_another() {
    const DAY_MS: u64 = 86_400_000;
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::new();
    let mut proxy = Proxy::start(dir.path());
    let id = QuotaId::of_token(*b"12345678");
    let spend = |proxy: &Proxy, at_ms| proxy.budgets.spend_of_quota(id, at_ms);
    assert_eq!(spend(&proxy, 0), Quoted::Free, "there is no such quota");
    let quota = Quota::new(10, Period::Day);
    author.put(StateKey::Quota(id), quota.encode());
    // Far ahead, so that the period is not over by this machine's clock.
    let now_ms = 100_000 * DAY_MS + 5;
    let budget = |granted, now_ms| Budget {
        granted,
        ..Budget::none(Period::Day.label(now_ms), proxy.budgets.holder())
    };
    let (today, tomorrow) = (budget(3, now_ms), budget(1, now_ms + DAY_MS));
    let key = StateKey::Budget(Allowance::Quota(id), "proxy-0".into());
    author.put(key.clone(), today.encode());
    proxy.follow(&author);
    assert_eq!([(); 2].map(|()| spend(&proxy, now_ms)), [Quoted::Free; 2]);
    assert_eq!(spend(&proxy, now_ms + DAY_MS), Quoted::NotAtHand);
    drop(proxy);

    // Killed and started again, it has what it had.
    let mut proxy = Proxy::start(dir.path());
    assert_eq!([(); 2].map(|()| spend(&proxy, now_ms + 1)), [Quoted::Free, Quoted::NotAtHand]);
    author.put(key, tomorrow.encode());
    proxy.follow(&author);
    assert_eq!([(); 2].map(|()| spend(&proxy, now_ms + DAY_MS)), [Quoted::Free, Quoted::NotAtHand]);
    assert_eq!(spend(&proxy, now_ms), Quoted::NotAtHand, "a clock that goes back brings nothing back");
    // The log says when nothing is left, and until when.
    let start_s = Period::Day.start_s(now_ms + DAY_MS);
    author.put(StateKey::Quota(id), Quota { start_s, used: 9, burned: 1, ..quota }.encode());
    proxy.follow(&author);
    assert_eq!(spend(&proxy, now_ms + DAY_MS), Quoted::UsedUp { retry_after_s: 86_400 });
    assert_eq!(spend(&proxy, now_ms + 2 * DAY_MS), Quoted::NotAtHand);
}

/// Polls a future once.
fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn who_is_too_late_for_a_click_waits_for_the_next_one() {
    // For the clock of those who wait, which nobody has to drive.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::new();
    let Proxy { mut replica, budgets, .. } = Proxy::start(dir.path());
    let (holder, key, patience) = (budgets.holder(), link().encode(), Patience::new());
    let mut grant_up_to = |granted| {
        grant(&mut author, "proxy-0", Budget { granted, ..Budget::none(CREATED, holder) });
        let applied = usize::try_from(replica.head().position.seq.0).unwrap();
        for (frame, _) in &author.frames[applied..] {
            for changed in replica.apply(frame).unwrap().changed {
                budgets.apply(&changed.key, changed.serve_value.as_deref());
            }
        }
    };
    let mut waits = [(); 3].map(|()| Box::pin(budgets.wait(&key, CREATED, patience)));
    assert!(waits.iter_mut().all(|wait| poll(wait.as_mut()).is_pending()), "there is none");
    for (granted, visitor) in (1..).zip(&mut waits) {
        // Each grant is of one click, and all who wait hear of it.
        grant_up_to(granted);
        assert_eq!(poll(visitor.as_mut()), Poll::Ready(true));
        assert!(budgets.spend(&key, CREATED));
        let mut late = Box::pin(budgets.wait(&key, CREATED, patience));
        assert!(poll(late.as_mut()).is_pending(), "what is gone is not worth a try");
    }
    // The link has changed: it may have ended.
    let mut last = Box::pin(budgets.wait(&key, CREATED, patience));
    assert!(poll(last.as_mut()).is_pending());
    budgets.apply(&key, None);
    assert_eq!(poll(last.as_mut()), Poll::Ready(true));
}
