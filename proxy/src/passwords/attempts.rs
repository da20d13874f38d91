//! How often a network has guessed the password of a link lately.
//!
//! The limit is the fleet's: a proxy allows its share, by the number of active proxies that the writer tells with every heartbeat; one that has
//! not heard of a writer since its start counts itself alone. A window begins with the first guess. Bounded: when too many are remembered,
//! one is forgotten, so that nobody is ever accused of another's guesses. Where a listener does not know addresses, all its visitors are one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::client::Client;

/// Most networks and links that are remembered, some 40 bytes each.
const REMEMBERED_MAX: usize = 65_536;

/// Who guesses the password of which link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Guesser {
    network: Option<u64>,
    link: u64,
    is_exempt: bool,
}

impl Guesser {
    /// Somebody of a network, or of one that is not known, at the link with this key.
    pub fn new(network: Option<u64>, link: &[u8]) -> Guesser {
        Guesser { network, link: xxh3_64(link), is_exempt: false }
    }

    /// A client at the link with this key.
    pub(crate) fn of(client: &Client, link: &[u8]) -> Guesser {
        let is_exempt = client.address.is_some() && client.network.is_none();
        Guesser { is_exempt, ..Guesser::new(client.network.map(|network| network.number()), link) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Window {
    begun_ms: u64,
    guesses: u32,
}

/// The counts of a process.
#[derive(Debug)]
pub struct Attempts {
    max: u32,
    window_ms: u64,
    /// Active proxies, as the writer said last; 0: it has not.
    proxies: AtomicU32,
    windows: Mutex<HashMap<Guesser, Window>>,
}

impl Attempts {
    /// At most `max` guesses in a window over the whole fleet.
    pub fn new(max: u32, window: Duration) -> Attempts {
        let window_ms = window.as_millis() as u64;
        Attempts { max, window_ms, proxies: AtomicU32::default(), windows: Mutex::default() }
    }

    /// Takes over how many proxies share the limit.
    pub fn shared_by(&self, proxies: u32) {
        self.proxies.store(proxies, Ordering::Relaxed);
    }

    fn share(&self) -> u32 {
        (self.max / self.proxies.load(Ordering::Relaxed).max(1)).max(1)
    }

    /// Counts a guess before it is made.
    ///
    /// # Errors
    /// There were enough; in how many seconds there may be more.
    pub fn begin(&self, guesser: Guesser, now_ms: u64) -> Result<(), u32> {
        if guesser.is_exempt {
            return Ok(());
        }
        let mut windows = self.windows.lock();
        if windows.len() >= REMEMBERED_MAX && !windows.contains_key(&guesser) {
            windows.retain(|_, window| now_ms.saturating_sub(window.begun_ms) < self.window_ms);
            let any = windows.keys().next().copied().filter(|_| windows.len() >= REMEMBERED_MAX);
            any.map(|any| windows.remove(&any));
        }
        let window = windows.entry(guesser).or_insert(Window { begun_ms: now_ms, guesses: 0 });
        let age_ms = now_ms.saturating_sub(window.begun_ms);
        if age_ms >= self.window_ms {
            *window = Window { begun_ms: now_ms, guesses: 0 };
        } else if window.guesses >= self.share() {
            return Err(u32::try_from((self.window_ms - age_ms).div_ceil(1_000)).unwrap_or(u32::MAX));
        }
        window.guesses += 1;
        Ok(())
    }

    /// A guess was right, or was not made.
    pub fn take_back(&self, guesser: Guesser, now_ms: u64) {
        let mut windows = self.windows.lock();
        if let Some(window) = windows.get_mut(&guesser) {
            window.guesses = window.guesses.saturating_sub(1);
            let is_empty = window.guesses == 0 && now_ms >= window.begun_ms;
            if is_empty {
                windows.remove(&guesser);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_share_on_each_link_and_a_new_window_begins_anew() {
        let attempts = Attempts::new(6, Duration::from_secs(10));
        attempts.shared_by(3);
        let guesser = |network, link: &[u8]| Guesser::new(Some(network), link);
        let of = |network, link: &[u8], now_ms| attempts.begin(guesser(network, link), now_ms);
        assert_eq!([of(1, b"a", 0), of(1, b"a", 1), of(1, b"a", 2_500)], [Ok(()), Ok(()), Err(8)]);
        assert_eq!([of(2, b"a", 3), of(1, b"b", 4)], [Ok(()), Ok(())]);
        attempts.take_back(guesser(1, b"a"), 5);
        assert_eq!([of(1, b"a", 6), of(1, b"a", 7)], [Ok(()), Err(10)]);
        assert_eq!(of(1, b"a", 10_000), Ok(()));
        // Fewer proxies, a larger share; never none at all.
        attempts.shared_by(1);
        assert!((0..5).all(|n| of(1, b"a", 10_001 + n).is_ok()) && of(1, b"a", 10_010).is_err());
        attempts.shared_by(100);
        assert_eq!([of(9, b"c", 1), of(9, b"c", 2)], [Ok(()), Err(10)]);
    }

    #[test]
    fn the_exempt_are_not_counted_and_what_is_remembered_has_a_bound() {
        let attempts = Attempts::new(1, Duration::from_secs(10));
        let exempt = Guesser { is_exempt: true, ..Guesser::new(None, b"a") };
        assert!((0..9).all(|n| attempts.begin(exempt, n).is_ok()));
        for network in 0..REMEMBERED_MAX as u64 + 10 {
            assert_eq!(attempts.begin(Guesser::new(Some(network), b"a"), 1), Ok(()));
        }
        assert!(attempts.windows.lock().len() <= REMEMBERED_MAX);
    }
}
