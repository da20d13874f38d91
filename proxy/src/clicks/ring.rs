//! The ring between a worker, which may never wait, and the thread that takes clicks over.
//!
//! One writer, one reader, shared words. The writer puts a record down and then publishes it with one store; there is no lock, no system
//! call and no allocation. When there is no room the record is dropped and counted. The memory may be a file's ([`mod@file`]), so that it
//! outlives its process: whoever opens it later reads on where the ledger says, and the words alone tell what is there.
//!
//! # Places
//! A place is the number of a word since the ring was born; it never wraps (2^48 words are 2 PB). It lies at `place mod capacity`.
//!
//! # A record
//! | words | what |
//! |---|---|
//! | 1 | the stamp: place (48 bits), kind (1 bit: 1 is a filler), length in words (15 bits), xor the ring's secret |
//! | 1 | checksum: xxh3 of the content, xor the secret, plus the place |
//! | 1 … | the content |
//!
//! Records do not wrap: what is left at the end is filled by a stamp alone. The stamp names its place, so nothing that an earlier lap
//! has left is ever taken for a record; the secret keeps visitors, whose bytes lie in the ring, from writing one. The stamp is
//! stored last, with release: who reads it with acquire reads the rest. A record that a killed process did not finish has none.
//!
//! # Shared words besides the data
//! The writer tells how far it is and what it dropped; the reader tells what it has taken over for good, which may be written over.
//!
//! Deliberately not here: what a record says, files, threads. The tests run these functions under `shuttle` too.

pub mod file;

use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use super::record::RECORD_BYTES_MAX;

/// A shared word.
pub trait Word {
    /// As an atomic's.
    fn get(&self, ordering: Ordering) -> u64;
    /// As an atomic's.
    fn set(&self, value: u64, ordering: Ordering);
}

impl Word for AtomicU64 {
    #[inline]
    fn get(&self, ordering: Ordering) -> u64 {
        self.load(ordering)
    }

    #[inline]
    fn set(&self, value: u64, ordering: Ordering) {
        self.store(value, ordering);
    }
}

/// Words that writer and reader share: [`CONTROL_WORDS`], then the data, a power of two.
pub trait Memory {
    /// What they are made of.
    type Word: Word;
    /// The words; always the same ones.
    fn words(&self) -> &[Self::Word];
}

/// Words before the data: one page.
pub const CONTROL_WORDS: usize = 512;
/// Fewest words of data: several of the largest records.
pub const DATA_WORDS_MIN: usize = 1 << 10;
/// Up to here the writer has written; a little late after a kill.
const WRITTEN: usize = 64;
/// Records there was no room for.
const DROPPED: usize = 65;
/// Up to here the reader has taken over. Far enough from the writer's words for their cache lines to stay apart.
const TAKEN: usize = 128;

/// Stamp and checksum.
const RECORD_HEAD_WORDS: usize = 2;
const RECORD_WORDS_MAX: usize = RECORD_HEAD_WORDS + RECORD_BYTES_MAX / 8;
const LENGTH_BITS: u32 = 15;
const PLACE_SHIFT: u32 = 16;
const IS_FILLER: u64 = 1 << LENGTH_BITS;

const _: () = assert!(RECORD_WORDS_MAX * 4 <= DATA_WORDS_MIN, "a record is a small part of a ring");
const _: () = assert!(RECORD_WORDS_MAX < 1 << LENGTH_BITS);

const fn stamp(place: u64, kind_and_length: u64, secret: u64) -> u64 {
    ((place << PLACE_SHIFT) | kind_and_length) ^ secret
}

#[inline]
fn checksum(content: &[u8], place: u64, secret: u64) -> u64 {
    (xxh3_64(content) ^ secret).wrapping_add(place)
}

fn data_words<W>(words: &[W]) -> &[W] {
    &words[CONTROL_WORDS..]
}

/// The worker's end. One thread at a time uses it; nothing worse than damaged records comes of it if two do.
#[derive(Debug)]
pub struct Writer<M> {
    memory: M,
    secret: u64,
    mask: u64,
    /// Its own: nobody else stores here.
    written: AtomicU64,
    dropped: AtomicU64,
}

impl<M: Memory> Writer<M> {
    /// Takes a ring that has never been written to.
    ///
    /// # Panics
    /// If the number of data words is no power of two or too small: whoever made the memory has seen to it.
    pub fn new(memory: M, secret: u64) -> Writer<M> {
        let data = data_words(memory.words()).len();
        assert!(data.is_power_of_two() && data >= DATA_WORDS_MIN, "{data} words of data");
        Writer {
            mask: data as u64 - 1,
            memory,
            secret,
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Appends a record; says whether there was room. `content`: at most [`RECORD_BYTES_MAX`], a multiple of 8.
    #[inline]
    pub fn append(&self, content: &[u8]) -> bool {
        let words = self.memory.words();
        let (control, data) = words.split_at(CONTROL_WORDS);
        let mut place = self.written.load(Ordering::Relaxed);
        let length = RECORD_HEAD_WORDS + content.len() / 8;
        let to_end = data.len() - (place & self.mask) as usize;
        let filler = if length > to_end { to_end } else { 0 };
        // Acquire: what the reader has read is not written over before it was.
        let taken = control[TAKEN].get(Ordering::Acquire);
        if place.wrapping_add((filler + length) as u64).wrapping_sub(taken) > data.len() as u64 {
            self.count_dropped(&control[DROPPED]);
            return false;
        }
        if filler > 0 {
            let stamp = stamp(place, IS_FILLER | filler as u64, self.secret);
            data[(place & self.mask) as usize].set(stamp, Ordering::Release);
            place += filler as u64;
        }
        let start = (place & self.mask) as usize;
        let record = &data[start..start + length];
        record[1].set(checksum(content, place, self.secret), Ordering::Relaxed);
        for (word, bytes) in record[RECORD_HEAD_WORDS..].iter().zip(content.as_chunks::<8>().0) {
            word.set(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
        record[0].set(stamp(place, length as u64, self.secret), Ordering::Release);
        place += length as u64;
        self.written.store(place, Ordering::Relaxed);
        control[WRITTEN].set(place, Ordering::Relaxed);
        true
    }

    /// Says whether less than a quarter of the ring may be written over.
    pub fn is_nearly_full(&self) -> bool {
        let taken = self.memory.words()[TAKEN].get(Ordering::Relaxed);
        self.written.load(Ordering::Relaxed).wrapping_sub(taken) > self.mask / 4 * 3
    }

    #[cold]
    fn count_dropped(&self, shared: &M::Word) {
        let dropped = self.dropped.load(Ordering::Relaxed) + 1;
        self.dropped.store(dropped, Ordering::Relaxed);
        shared.set(dropped, Ordering::Relaxed);
    }
}

/// The other end. Reads any words without harm.
#[derive(Debug)]
pub struct Reader<M> {
    memory: M,
    secret: u64,
    mask: u64,
    place: u64,
}

/// What a reader finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    /// A record's content.
    Record(&'a [u8]),
    /// A record whose content is damaged; it was passed over.
    Damaged,
    /// Something that no writer writes; the reader does not get past it by itself.
    Broken,
    /// No more, for now.
    Nothing,
}

/// Room for the content of one record.
pub type Content = [u8; RECORD_BYTES_MAX];

impl<M: Memory> Reader<M> {
    /// Reads a ring from `place` on, or from what was taken over if that is further.
    pub fn new(memory: M, secret: u64, place: u64) -> Reader<M> {
        let data = data_words(memory.words()).len();
        debug_assert!(data.is_power_of_two());
        let place = place.max(memory.words()[TAKEN].get(Ordering::Relaxed));
        Reader { mask: data as u64 - 1, memory, secret, place }
    }

    /// Where it reads.
    pub fn place(&self) -> u64 {
        self.place
    }

    /// Reads from another place, one that it has been at.
    pub fn set_place(&mut self, place: u64) {
        self.place = place;
    }

    /// Gives its memory back.
    pub fn into_memory(self) -> M {
        self.memory
    }

    /// Reads the next record.
    pub fn read<'c>(&mut self, content: &'c mut Content) -> Found<'c> {
        let data = data_words(self.memory.words());
        loop {
            let start = (self.place & self.mask) as usize;
            let stamp = data[start].get(Ordering::Acquire) ^ self.secret;
            if stamp >> PLACE_SHIFT != self.place & (u64::MAX >> PLACE_SHIFT) {
                return Found::Nothing;
            }
            let length = (stamp & (IS_FILLER - 1)) as usize;
            let to_end = data.len() - start;
            if stamp & IS_FILLER != 0 {
                if length != to_end || length >= RECORD_WORDS_MAX {
                    return Found::Broken;
                }
                self.place += length as u64;
                continue;
            }
            if !(RECORD_HEAD_WORDS..=RECORD_WORDS_MAX.min(to_end)).contains(&length) {
                return Found::Broken;
            }
            let place = self.place;
            self.place += length as u64;
            let words = &data[start + RECORD_HEAD_WORDS..start + length];
            let content = &mut content[..8 * words.len()];
            for (bytes, word) in content.as_chunks_mut::<8>().0.iter_mut().zip(words) {
                *bytes = word.get(Ordering::Relaxed).to_le_bytes();
            }
            let is_sound = data[start + 1].get(Ordering::Relaxed) == checksum(content, place, self.secret);
            return if is_sound { Found::Record(content) } else { Found::Damaged };
        }
    }

    /// Gets past something broken: to where the writer says it is. Says whether that is possible.
    pub fn skip_to_written(&mut self) -> bool {
        let written = self.memory.words()[WRITTEN].get(Ordering::Relaxed);
        let is_ahead = written > self.place && written - self.place <= self.mask + 1;
        if is_ahead {
            self.place = written;
        }
        is_ahead
    }

    /// Tells the writer that everything before `place` may be written over.
    pub fn take_over(&self, place: u64) {
        // Release: what was read before is read.
        self.memory.words()[TAKEN].set(place, Ordering::Release);
    }

    /// Records there was no room for, since the ring was born.
    pub fn dropped(&self) -> u64 {
        self.memory.words()[DROPPED].get(Ordering::Relaxed)
    }

    /// Says whether more than half of the ring may not be written over yet.
    pub fn is_half_full(&self) -> bool {
        let [written, taken] = [WRITTEN, TAKEN].map(|word| self.memory.words()[word].get(Ordering::Relaxed));
        written.saturating_sub(taken) > self.mask / 2
    }
}

#[cfg(test)]
mod tests;
