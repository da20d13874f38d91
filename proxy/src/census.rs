//! Who is connected: connections in total and per network, over all workers.
//!
//! Invariants: what was let in is counted until its [`Seat`] is dropped, however the connection ends; a network without connections
//! takes no memory, so the table is bounded by the connections there may be.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use crate::hash::SeededXxh3;
use crate::network::Network;

/// Connections come far less often than requests: few shards are enough.
const SHARDS: usize = 32;

/// The count of a process.
pub struct Census {
    total: AtomicUsize,
    total_max: usize,
    per_network: Box<[CachePadded<Shard>]>,
    per_network_max: usize,
}

type Shard = Mutex<HashMap<u64, usize, SeededXxh3>>;

impl Census {
    /// Lets at most `total_max` connections in, and at most `per_network_max` of one network.
    pub fn new(total_max: usize, per_network_max: usize) -> Census {
        let per_network = (0..SHARDS).map(|_| CachePadded::default()).collect();
        Census { total: AtomicUsize::new(0), total_max, per_network, per_network_max }
    }

    /// Counts a connection in; `None` if there are too many.
    pub fn enter(&self) -> Option<Seat<'_>> {
        // Counted before it is compared: two that come at once cannot both take the last place.
        let before = self.total.fetch_add(1, Ordering::Relaxed);
        let seat = Seat { census: self, network: None };
        (before < self.total_max).then_some(seat)
    }

    /// How many are connected.
    pub fn connected(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    fn shard(&self, network: Network) -> &Shard {
        // Neighbouring networks fall to different shards.
        &self.per_network[(network.number().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59) as usize]
    }
}

const _: () = assert!(SHARDS == 1 << (64 - 59));

impl std::fmt::Debug for Census {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Census").field("connected", &self.connected()).finish_non_exhaustive()
    }
}

/// A connection that is counted, until this is dropped.
pub struct Seat<'a> {
    census: &'a Census,
    network: Option<Network>,
}

impl Seat<'_> {
    /// Counts the connection for its network too; says whether there is room for it. Called once.
    pub fn assign(&mut self, network: Network) -> bool {
        let mut counts = self.census.shard(network).lock();
        let count = counts.entry(network.number()).or_insert(0);
        if *count >= self.census.per_network_max {
            return false;
        }
        *count += 1;
        self.network = Some(network);
        true
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.census.total.fetch_sub(1, Ordering::Relaxed);
        let Some(network) = self.network else { return };
        let mut counts = self.census.shard(network).lock();
        if let Entry::Occupied(mut count) = counts.entry(network.number()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Prefixes;

    fn network(last: u8) -> Network {
        Network::of([192, 0, 2, last].into(), Prefixes::default())
    }

    fn networks(census: &Census) -> usize {
        census.per_network.iter().map(|shard| shard.lock().len()).sum()
    }

    #[test]
    fn no_more_come_in_than_there_are_places_and_who_leaves_makes_room() {
        let census = Census::new(2, 10);
        let (one, _two) = (census.enter().unwrap(), census.enter().unwrap());
        assert!(census.enter().is_none());
        assert_eq!(census.connected(), 2);
        drop(one);
        assert!(census.enter().is_some());
        assert_eq!(census.connected(), 1);
    }

    #[test]
    fn one_network_does_not_take_the_places_of_another() {
        let census = Census::new(100, 2);
        let mut seats: Vec<Seat<'_>> = (0..5).map(|_| census.enter().unwrap()).collect();
        let let_in: Vec<bool> = seats.iter_mut().map(|seat| seat.assign(network(1))).collect();
        assert_eq!(let_in, [true, true, false, false, false]);
        assert!(census.enter().unwrap().assign(network(2)));
        seats.drain(..1);
        assert!(census.enter().unwrap().assign(network(1)));
        drop(seats);
        assert_eq!((census.connected(), networks(&census)), (0, 0));
    }

    #[test]
    fn threads_that_come_and_go_leave_nothing_behind() {
        let census = Census::new(8, 3);
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let census = &census;
                scope.spawn(move || {
                    for n in 0..20_000u32 {
                        if let Some(mut seat) = census.enter() {
                            seat.assign(network(thread % 2 + (n % 3) as u8));
                        }
                    }
                });
            }
        });
        assert_eq!((census.connected(), networks(&census)), (0, 0));
    }
}
