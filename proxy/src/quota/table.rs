//! The table of networks: a fixed number of places in buckets of four, three counting words a network, all atomic.
//!
//! ```text
//! bucket, 128 bytes   4 places; two neighbouring lines of the cache, which processors fetch together
//! place, 32 bytes     network · requests · unknown codes · unknown codes in an hour, or the block
//! word, 64 bits       begin of the window (32, ticks of 50 ms) · count (32)
//! ```
//! Exact: a network has its own words, and its counts are never mixed with another's. What is bounded is the memory: a network that
//! finds its bucket full takes the place of the one whose last window began longest ago, one that is blocked last of all. So an
//! attacker with very many networks can make the table forget, never make it accuse. The hash is seeded: nobody can choose whom to
//! push out.
//!
//! Without a lock, two workers that meet in one instant can lose something small: a request that was counted for a network just
//! pushed out counts for its successor; a network that two of them put in at once loses the count of one, or is not counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::network::Network;

/// Places in a bucket.
const WAYS: usize = 4;
/// Places for each network that is to be remembered: with as many as networks, full buckets would push out one network in five
/// while others have room; with two it is one in twenty-seven.
const PLACES_PER_NETWORK: usize = 2;
/// No network.
const EMPTY: u64 = 0;
/// Being handed from one network to another.
const IN_TRANSFER: u64 = 1;
/// How often to try for a place in a bucket that others are changing.
const TRIES: usize = 4;
/// A count that is no count: the network is blocked since the word's begin.
const BLOCKED: u32 = u32::MAX;

/// A time or a span, in ticks of 50 ms, modulo 2^32 (6.8 years).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tick(pub(super) u32);

impl Tick {
    const MS: u64 = 50;

    /// The tick of a moment.
    pub(super) const fn at(ms: u64) -> Tick {
        Tick((ms / Tick::MS) as u32)
    }

    /// The ticks of a span, not less than it, at most half a turn.
    pub(super) fn lasting(span: Duration) -> Tick {
        let ticks = span.as_millis().div_ceil(u128::from(Tick::MS));
        Tick(u32::try_from(ticks).unwrap_or(u32::MAX).min(u32::MAX / 2))
    }

    /// Whole seconds, rounded up, at least 1.
    pub(super) fn seconds(self) -> u32 {
        let ms = u64::from(self.0) * Tick::MS;
        ms.div_ceil(1_000).max(1) as u32
    }
}

/// The shape of a table.
pub(super) struct TableOptions {
    /// Networks to remember.
    pub(super) networks: usize,
    /// How long windows last, by word.
    pub(super) windows: [Tick; 3],
}

#[derive(Default)]
#[repr(align(128))]
struct Bucket([Place; WAYS]);

/// A network and its counts.
#[derive(Default)]
pub(super) struct Place {
    /// The complement of its number.
    network: AtomicU64,
    words: [AtomicU64; 3],
}

/// The table.
pub(super) struct Table {
    buckets: Box<[Bucket]>,
    seed: u64,
    windows: [Tick; 3],
    forgotten: AtomicU64,
}

impl Table {
    /// Makes an empty table of at least one bucket.
    pub(super) fn new(options: TableOptions) -> Table {
        let buckets = (options.networks * PLACES_PER_NETWORK).div_ceil(WAYS).next_power_of_two();
        Table {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            seed: rand::random(),
            windows: options.windows,
            forgotten: AtomicU64::new(0),
        }
    }

    /// Finds a network that is in it.
    #[inline]
    pub(super) fn find(&self, network: Network) -> Option<&Place> {
        let (bucket, stored) = self.bucket(network);
        place_of(bucket, stored)
    }

    /// Finds a network, or puts it in; `None`, rarely, if others change its bucket all the time.
    #[inline]
    pub(super) fn enter(&self, network: Network, now: Tick) -> Option<&Place> {
        let (bucket, stored) = self.bucket(network);
        match place_of(bucket, stored) {
            Some(place) => Some(place),
            None => self.put_in(bucket, stored, now),
        }
    }

    /// How many networks had to go although one of their windows ran.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    #[inline]
    fn bucket(&self, network: Network) -> (&Bucket, u64) {
        let number = network.number();
        let hash = xxh3_64_with_seed(&number.to_ne_bytes(), self.seed);
        // Numbers end below u64::MAX - 1, so this is neither EMPTY nor IN_TRANSFER.
        (&self.buckets[hash as usize & (self.buckets.len() - 1)], !number)
    }

    #[cold]
    fn put_in<'a>(&self, bucket: &'a Bucket, stored: u64, now: Tick) -> Option<&'a Place> {
        for _ in 0..TRIES {
            let place = bucket.0.iter().min_by_key(|place| self.rank(place, now)).expect("it has places");
            let owner = place.network.load(Ordering::Relaxed);
            if owner == stored {
                return Some(place);
            }
            let taken =
                place.network.compare_exchange(owner, IN_TRANSFER, Ordering::Acquire, Ordering::Relaxed);
            if owner == IN_TRANSFER || taken.is_err() {
                continue;
            }
            if owner != EMPTY && self.age(place, now).is_some() {
                self.forgotten.fetch_add(1, Ordering::Relaxed);
            }
            for word in &place.words {
                word.store(0, Ordering::Relaxed);
            }
            // Whoever finds the network finds its words empty.
            place.network.store(stored, Ordering::Release);
            return Some(place);
        }
        None
    }

    /// Who goes first: nobody, then a network whose windows are over, then the one with the oldest.
    fn rank(&self, place: &Place, now: Tick) -> (u8, u32) {
        if place.network.load(Ordering::Relaxed) == EMPTY {
            return (0, 0);
        }
        match self.age(place, now) {
            None => (1, 0),
            Some(age) => (2, u32::MAX - age),
        }
    }

    /// How long ago the newest window began that still runs; 0 for a network that is blocked.
    fn age(&self, place: &Place, now: Tick) -> Option<u32> {
        let ages = place.words.iter().zip(self.windows).filter_map(|(word, window)| {
            let (begin, count) = Word(word).read();
            let age = now.0.wrapping_sub(begin);
            let runs = count > 0 && age < window.0;
            runs.then_some(if count == BLOCKED { 0 } else { age })
        });
        ages.min()
    }
}

#[inline]
fn place_of(bucket: &Bucket, stored: u64) -> Option<&Place> {
    bucket.0.iter().find(|place| place.network.load(Ordering::Acquire) == stored)
}

impl Place {
    /// Requests.
    #[inline]
    pub(super) fn requests(&self) -> Word<'_> {
        Word(&self.words[0])
    }

    /// Unknown codes, for the limit.
    pub(super) fn not_found(&self) -> Word<'_> {
        Word(&self.words[1])
    }

    /// Unknown codes in an hour, or the block.
    pub(super) fn watched(&self) -> Word<'_> {
        Word(&self.words[2])
    }
}

/// One count and the begin of its window.
pub(super) struct Word<'a>(&'a AtomicU64);

/// What counting came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Counted {
    /// Counted, as the `count`th of its window.
    Within {
        /// At least 1.
        count: u32,
    },
    /// Not counted: the window has had all it may.
    Over {
        /// How long it lasts.
        left: Tick,
    },
}

impl Counted {
    /// How long to wait, if it was too many.
    #[inline]
    pub(super) fn over(self) -> Option<Tick> {
        match self {
            Counted::Within { .. } => None,
            Counted::Over { left } => Some(left),
        }
    }
}

impl Word<'_> {
    /// Counts one at `now`, unless the window already holds `max`.
    #[inline]
    pub(super) fn count(&self, now: Tick, window: Tick, max: u32) -> Counted {
        let mut before = self.0.load(Ordering::Relaxed);
        loop {
            let (begin, count) = apart(before);
            let age = now.0.wrapping_sub(begin);
            // A clock that was set back makes it look very old: the count starts anew.
            let after = if count == 0 || age >= window.0 {
                together(now.0, 1)
            } else if count >= max {
                return Counted::Over { left: Tick(window.0 - age) };
            } else {
                before + 1
            };
            match self.0.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Counted::Within { count: apart(after).1 },
                Err(other) => before = other,
            }
        }
    }

    /// Whether the window holds `max`, counting nothing.
    pub(super) fn over(&self, now: Tick, window: Tick, max: u32) -> Option<Tick> {
        let (begin, count) = self.read();
        let age = now.0.wrapping_sub(begin);
        (count >= max && age < window.0).then(|| Tick(window.0 - age))
    }

    /// From `now` on the network is blocked.
    pub(super) fn block(&self, now: Tick) {
        self.0.store(together(now.0, BLOCKED), Ordering::Relaxed);
    }

    /// How long the network stays blocked, if it is.
    #[inline]
    pub(super) fn blocked(&self, now: Tick, span: Tick) -> Option<Tick> {
        let (begin, count) = self.read();
        let age = now.0.wrapping_sub(begin);
        (count == BLOCKED && age < span.0).then(|| Tick(span.0 - age))
    }

    #[inline]
    fn read(&self) -> (u32, u32) {
        apart(self.0.load(Ordering::Relaxed))
    }
}

const fn together(begin: u32, count: u32) -> u64 {
    (begin as u64) << 32 | count as u64
}

const fn apart(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}
