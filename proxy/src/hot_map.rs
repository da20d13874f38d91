//! The links that are asked for most, in memory, ready to be answered from.
//!
//! A [`DashMap`] from words ([`LinkKey::word`]) to [`Block`]s. A hit takes the shared lock of its shard for the time of a copy and
//! writes nothing but, at first, a hit count. Everything else happens under one mutex per shard: the floor that keeps map and disk
//! together ([`floor`]), the bytes in use, and the eviction policy (S3-FIFO).
//!
//! Invariants: a shard's entries take at most its share of the bytes; an entry is never older than the last acknowledged change of
//! its link; nothing unknown, deleted or unread is kept, so a flood of unknown keys grows nothing.

mod block;
pub mod floor;
mod ghost;
mod s3_fifo;

pub use block::Block;
pub use floor::Mark;

use crossbeam::utils::CachePadded;
use dashmap::DashMap;
use parking_lot::Mutex;

use crate::answer::Facts;
use crate::hash::SeededXxh3;
use crate::link_key::LinkKey;
use floor::Floored;
use s3_fifo::{Residents, S3Fifo};

/// What an entry takes besides its block: its place in the table (16 bytes and a control byte, at two thirds full on average), in
/// a queue, and a shadow's.
const ENTRY_BYTES: usize = 48;
/// What a typical entry takes: how many there will be.
const TYPICAL_ENTRY_BYTES: usize = 192;
/// The largest part of a shard one entry may take: one of so many.
const LARGEST_SHARE: usize = 4;

/// How full the map is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fill {
    /// Links in it.
    pub entries: usize,
    /// Bytes they take.
    pub bytes: usize,
}

/// The map.
pub struct HotMap {
    blocks: DashMap<u64, Block, SeededXxh3>,
    shards: Box<[CachePadded<Shard>]>,
    shard_bytes_max: usize,
}

type Shard = Mutex<Floored<State>>;

struct State {
    policy: S3Fifo,
    fill: Fill,
}

impl HotMap {
    /// Makes a map of at most `bytes`, for `workers` threads that read it.
    pub fn new(bytes: usize, workers: usize) -> HotMap {
        let count = (workers * 16).next_power_of_two().clamp(16, 1024);
        let blocks = DashMap::with_capacity_and_hasher_and_shard_amount(0, SeededXxh3::random(), count);
        let shard_bytes_max = bytes / count;
        let residents = shard_bytes_max / TYPICAL_ENTRY_BYTES;
        let shard = |_| {
            let state = State { policy: S3Fifo::new(residents), fill: Fill::default() };
            CachePadded::new(Mutex::new(Floored::new(state)))
        };
        HotMap { blocks, shards: (0..count).map(shard).collect(), shard_bytes_max }
    }

    /// Looks a link up; `read` copies what it needs out of it and must not wait for anything.
    #[inline]
    pub fn get<R>(&self, key: &LinkKey, read: impl FnOnce(Facts<'_>) -> R) -> Option<R> {
        let block = self.blocks.get(&key.word())?;
        if block.tie_breaker() != key.tie_breaker() {
            return None;
        }
        block.touch();
        Some(read(block.facts()))
    }

    /// Puts in a link that was read from the disk, unless something newer has been applied since `mark`. Says whether it is in.
    pub fn fill(&self, mark: Mark, key: &LinkKey, facts: Facts<'_>) -> bool {
        let block = Block::new(facts, key.tie_breaker());
        let bytes = block.heap_bytes() + ENTRY_BYTES;
        if bytes > self.shard_bytes_max / LARGEST_SHARE {
            return false;
        }
        let word = key.word();
        floor::fill(self.shard(word), mark, |state| {
            state.fill.bytes += bytes;
            match self.blocks.insert(word, block) {
                Some(old) => state.fill.bytes -= old.heap_bytes() + ENTRY_BYTES,
                None => {
                    state.fill.entries += 1;
                    state.policy.admit(word);
                }
            }
            self.make_room(state);
        })
    }

    /// Takes over a change at `mark`: an entry of the link is replaced by the new facts, or taken out.
    pub fn supersede(&self, mark: Mark, key: &LinkKey, facts: Option<Facts<'_>>) {
        let word = key.word();
        floor::supersede(self.shard(word), mark, |state| {
            // Most changes are of links that are not here: they cost a shared lock.
            let Some(old_bytes) = self.blocks.get(&word).map(|old| old.heap_bytes()) else { return };
            let new = facts.map(|facts| Block::new(facts, key.tie_breaker()));
            match new.filter(|new| new.heap_bytes() + ENTRY_BYTES <= self.shard_bytes_max / LARGEST_SHARE) {
                Some(new) => {
                    state.fill.bytes = state.fill.bytes - old_bytes + new.heap_bytes();
                    if let Some(old) = self.blocks.get(&word) {
                        new.set_hits(old.hits());
                    }
                    self.blocks.insert(word, new);
                    self.make_room(state);
                }
                None => {
                    self.remove(state, word);
                    state.policy.tidy(state.fill.entries, &self.blocks);
                }
            }
        });
    }

    /// Puts another replica in place: `publish` makes readers use it, then the map is emptied.
    pub fn switch(&self, generation: u64, publish: impl FnOnce()) {
        let shards = self.shards.iter().map(|shard| &**shard);
        floor::switch(publish, shards, generation, |index, state| {
            self.blocks.shards()[index].write().clear();
            state.policy.clear();
            state.fill = Fill::default();
        });
    }

    /// How full it is; the sum over shards, each at another instant.
    pub fn fill_level(&self) -> Fill {
        let add = |sum: Fill, shard: &CachePadded<Shard>| {
            let fill = shard.lock().state.fill;
            Fill { entries: sum.entries + fill.entries, bytes: sum.bytes + fill.bytes }
        };
        self.shards.iter().fold(Fill::default(), add)
    }

    fn shard(&self, word: u64) -> &Shard {
        &self.shards[self.blocks.determine_map(&word)]
    }

    fn make_room(&self, state: &mut State) {
        while state.fill.bytes > self.shard_bytes_max {
            let Some(victim) = state.policy.victim(&self.blocks) else { return };
            self.remove(state, victim);
        }
    }

    fn remove(&self, state: &mut State, word: u64) {
        if let Some((_, block)) = self.blocks.remove(&word) {
            state.fill.bytes -= block.heap_bytes() + ENTRY_BYTES;
            state.fill.entries -= 1;
        }
    }
}

impl std::fmt::Debug for HotMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HotMap")
            .field("shards", &self.shards.len())
            .field("fill", &self.fill_level())
            .finish()
    }
}

impl Residents for DashMap<u64, Block, SeededXxh3> {
    fn hits(&self, word: u64) -> Option<u8> {
        self.get(&word).map(|block| block.hits())
    }

    fn set_hits(&self, word: u64, hits: u8) {
        if let Some(block) = self.get(&word) {
            block.set_hits(hits);
        }
    }
}

#[cfg(test)]
mod tests;
