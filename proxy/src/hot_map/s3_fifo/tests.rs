//! The policy by itself: hits are counted, never timed.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use super::*;

/// A cache of `capacity` words under the policy.
struct Cache {
    policy: S3Fifo,
    residents: RefCell<HashMap<u64, u8>>,
    capacity: usize,
}

impl Residents for RefCell<HashMap<u64, u8>> {
    fn hits(&self, word: u64) -> Option<u8> {
        self.borrow().get(&word).copied()
    }

    fn set_hits(&self, word: u64, hits: u8) {
        self.borrow_mut().insert(word, hits);
    }
}

impl Cache {
    fn new(capacity: usize) -> Cache {
        Cache { policy: S3Fifo::new(capacity), residents: RefCell::default(), capacity }
    }

    /// Asks for a word; says whether it was there.
    fn ask(&mut self, word: u64) -> bool {
        if let Some(hits) = self.residents.borrow_mut().get_mut(&word) {
            *hits = (*hits + 1).min(3);
            return true;
        }
        self.residents.borrow_mut().insert(word, 0);
        self.policy.admit(word);
        while self.residents.borrow().len() > self.capacity {
            let victim = self.policy.victim(&self.residents).expect("there are residents");
            self.residents.borrow_mut().remove(&victim);
        }
        false
    }

    fn ask_all(&mut self, words: impl IntoIterator<Item = u64>) {
        for word in words {
            self.ask(word);
        }
    }
}

struct Lru {
    by_word: HashMap<u64, u64>,
    by_age: BTreeMap<u64, u64>,
    now: u64,
    capacity: usize,
}

impl Lru {
    fn ask(&mut self, word: u64) -> bool {
        self.now += 1;
        let before = self.by_word.insert(word, self.now);
        if let Some(before) = before {
            self.by_age.remove(&before);
        }
        self.by_age.insert(self.now, word);
        if self.by_word.len() > self.capacity {
            let (_, oldest) = self.by_age.pop_first().expect("not empty");
            self.by_word.remove(&oldest);
        }
        before.is_some()
    }
}

/// A fixed sequence of numbers from 0 to 1 (xorshift64*, Vigna 2016).
fn randoms() -> impl Iterator<Item = f64> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    std::iter::repeat_with(move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    })
}

#[test]
fn a_scan_of_a_million_leaves_what_is_asked_for_again() {
    let mut cache = Cache::new(10_000);
    let hot = 0..5_000u64;
    for _ in 0..4 {
        cache.ask_all(hot.clone());
    }
    for word in 1_000_000..2_000_000 {
        cache.ask(word);
    }
    let kept = hot.filter(|word| cache.ask(*word)).count();
    assert!(kept >= 4_900, "{kept} of 5,000");
}

#[test]
fn on_zipf_it_is_within_two_points_of_the_best_and_above_lru() {
    const KEYS: usize = 100_000;
    const CAPACITY: usize = KEYS / 5;
    const ASKED: usize = 2_000_000;
    let mut share = Vec::with_capacity(KEYS);
    let mut sum = 0.0;
    for rank in 1..=KEYS {
        sum += 1.0 / rank as f64;
        share.push(sum);
    }
    let best = share[CAPACITY - 1] / sum;
    let mut cache = Cache::new(CAPACITY);
    let mut lru = Lru { by_word: HashMap::new(), by_age: BTreeMap::new(), now: 0, capacity: CAPACITY };
    let (mut ours, mut theirs) = (0, 0);
    for (n, random) in randoms().take(ASKED).enumerate() {
        let rank = share.partition_point(|share| *share < random * sum) as u64;
        let (hit, lru_hit) = (cache.ask(rank), lru.ask(rank));
        if n >= ASKED / 2 {
            ours += usize::from(hit);
            theirs += usize::from(lru_hit);
        }
    }
    let (ours, theirs) = (ours as f64 * 2.0 / ASKED as f64, theirs as f64 * 2.0 / ASKED as f64);
    assert!(ours > best - 0.02, "{ours:.4}, the best possible is {best:.4}");
    assert!(ours > theirs + 0.01, "{ours:.4}, LRU {theirs:.4}");
}

#[test]
fn what_comes_back_soon_after_it_went_stays_longer() {
    let mut cache = Cache::new(1_000);
    cache.ask_all(0..1_000);
    cache.ask_all(2_000..2_100);
    let gone: Vec<u64> = (0..1_000).filter(|word| !cache.residents.borrow().contains_key(word)).collect();
    let first = *gone.last().expect("some had to go");
    assert!(!cache.ask(first));
    cache.ask_all(3_000..3_900);
    assert!(cache.ask(first), "its shadow put it into the main queue");
}

#[test]
fn when_everything_is_hot_something_goes_all_the_same_within_bounded_steps() {
    let mut cache = Cache::new(1_000);
    for word in 0..1_000 {
        cache.ask_all([word; 4]);
    }
    for word in 1_000..1_100 {
        cache.ask(word);
        assert_eq!(cache.residents.borrow().len(), 1_000);
    }
}

#[test]
fn places_of_vanished_words_are_cleared_out() {
    let mut cache = Cache::new(1_000);
    for word in 0..100_000u64 {
        cache.ask(word % 10);
        cache.residents.borrow_mut().remove(&(word % 10));
        cache.policy.tidy(cache.residents.borrow().len(), &cache.residents);
        assert!(cache.policy.places() <= VANISHED_MIN + 20);
    }
    for word in 0..10 {
        cache.ask(word);
    }
    while cache.policy.victim(&cache.residents).is_some() {}
    assert_eq!(cache.policy.places(), 0);
}
