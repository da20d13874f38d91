//! One link in the hot map: a single allocation behind a thin pointer, so that a hit is one hop from the table to the answer.
//!
//! ```text
//! u64  expires at      u64  seq of creation     u32  epoch of creation   u32  length of the target; top bit: there are extras
//! u8   length of the tie breaker    u8  status  u8  state  u8  hits, 0 to 3   then the target, then the tie breaker,
//! and if there are extras: u32 their length, the extras
//! ```
//! A boxed slice would be a fat pointer and a second length; at ten million links that is a third of the table.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use linklog::limits::TARGET_BYTES_MAX;
use linklog::{LinkState, Position, RedirectStatus};

use crate::answer::Facts;

/// Hits are counted up to here: enough to tell what is asked for again from what is not.
pub(super) const HITS_MAX: u8 = 3;
/// Set in the length of the target of a link with extras: one bit in place of a word for every link.
const HAS_EXTRAS: u32 = 1 << 31;
const LENGTH_BYTES: usize = size_of::<u32>();

#[repr(C)]
struct Header {
    expires_at_ms: u64,
    created_seq: u64,
    created_epoch: u32,
    target_len: u32,
    tie_len: u8,
    status: RedirectStatus,
    state: LinkState,
    hits: AtomicU8,
}

/// A link, ready to be answered from.
pub struct Block(NonNull<Header>);

// SAFETY: a block owns its allocation like a box, and nothing in it but the atomic is changed after it was made.
unsafe impl Send for Block {}
// SAFETY: as above; a shared block is only read, or changed through the atomic.
unsafe impl Sync for Block {}

impl Block {
    /// Copies a link's facts. `tie_breaker`: what tells it from another link with the same word, at most 255 bytes.
    ///
    /// # Panics
    /// If the target or the tie breaker is longer than the format of the log allows.
    pub fn new(facts: Facts<'_>, tie_breaker: &[u8]) -> Block {
        assert!(facts.target.len() <= TARGET_BYTES_MAX, "targets are bounded by the codec");
        let header = Header {
            expires_at_ms: facts.expires_at_ms,
            created_seq: facts.created.seq.0,
            created_epoch: facts.created.epoch.0,
            target_len: facts.target.len() as u32 | if facts.extras.is_empty() { 0 } else { HAS_EXTRAS },
            tie_len: u8::try_from(tie_breaker.len()).expect("keys are at most 255 bytes"),
            status: facts.status,
            state: facts.state,
            hits: AtomicU8::new(0),
        };
        let layout = layout(facts.target.len() + tie_breaker.len() + extras_bytes(facts.extras.len()));
        // SAFETY: the layout is not empty, for it has the header.
        let start = unsafe { alloc(layout) }.cast::<Header>();
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        // SAFETY: the allocation is new, aligned for the header, and has room for it and, behind it, the target, the tie breaker and, if there
        // are extras, their length and them.
        unsafe {
            start.write(header);
            let bytes = start.add(1).cast::<u8>();
            bytes.copy_from_nonoverlapping(pointer(facts.target), facts.target.len());
            bytes.add(facts.target.len()).copy_from_nonoverlapping(pointer(tie_breaker), tie_breaker.len());
            if !facts.extras.is_empty() {
                let length = (facts.extras.len() as u32).to_ne_bytes();
                let place = bytes.add(facts.target.len() + tie_breaker.len());
                place.copy_from_nonoverlapping(pointer(&length), LENGTH_BYTES);
                place.add(LENGTH_BYTES).copy_from_nonoverlapping(pointer(facts.extras), facts.extras.len());
            }
        }
        Block(start)
    }

    /// What is known about the link.
    #[inline]
    pub fn facts(&self) -> Facts<'_> {
        let header = self.header();
        let target = &self.bytes()[..header.target_len()];
        Facts {
            target,
            status: header.status,
            state: header.state,
            expires_at_ms: header.expires_at_ms,
            created: Position::new(header.created_epoch, header.created_seq),
            extras: if header.has_extras() { self.extras() } else { &[] },
        }
    }

    /// What tells the link from another one with the same word.
    #[inline]
    pub fn tie_breaker(&self) -> &[u8] {
        &self.bytes()[self.header().target_len()..]
    }

    /// Bytes it takes, as most allocators round them.
    pub fn heap_bytes(&self) -> usize {
        self.layout().size().next_multiple_of(16)
    }

    /// Counts a hit.
    #[inline]
    pub(super) fn touch(&self) {
        let hits = &self.header().hits;
        let before = hits.load(Ordering::Relaxed);
        // Two readers may count one hit: it only steers eviction. A hot block is not written any more.
        if before < HITS_MAX {
            hits.store(before + 1, Ordering::Relaxed);
        }
    }

    /// Hits counted so far.
    pub(super) fn hits(&self) -> u8 {
        self.header().hits.load(Ordering::Relaxed)
    }

    /// Sets the count.
    pub(super) fn set_hits(&self, hits: u8) {
        self.header().hits.store(hits, Ordering::Relaxed);
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: written by `new`, freed by `drop` only, and never handed out mutably.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        let len = self.header().len();
        // SAFETY: `new` wrote that many bytes behind the header, in the same allocation.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(1).cast::<u8>(), len) }
    }

    /// Only if the header says that there are some.
    #[cold]
    fn extras(&self) -> &[u8] {
        let header = self.header();
        assert!(header.has_extras(), "asked for by those who looked");
        // SAFETY: `new` wrote a length and that many bytes behind the tie breaker, in the same allocation.
        unsafe {
            let place = self.0.as_ptr().add(1).cast::<u8>().add(header.len());
            let length = u32::from_ne_bytes(place.cast::<[u8; LENGTH_BYTES]>().read());
            std::slice::from_raw_parts(place.add(LENGTH_BYTES), length as usize)
        }
    }

    fn layout(&self) -> Layout {
        let header = self.header();
        let extras = if header.has_extras() { self.extras().len() } else { 0 };
        layout(header.len() + extras_bytes(extras))
    }
}

impl Header {
    #[inline]
    fn target_len(&self) -> usize {
        (self.target_len & !HAS_EXTRAS) as usize
    }

    #[inline]
    fn has_extras(&self) -> bool {
        self.target_len & HAS_EXTRAS != 0
    }

    /// Bytes of the target and the tie breaker.
    #[inline]
    fn len(&self) -> usize {
        self.target_len() + usize::from(self.tie_len)
    }
}

const fn extras_bytes(len: usize) -> usize {
    if len == 0 { 0 } else { LENGTH_BYTES + len }
}

fn layout(behind_header: usize) -> Layout {
    Layout::from_size_align(size_of::<Header>() + behind_header, align_of::<Header>())
        .expect("a target and a key are far below isize::MAX bytes")
}

fn pointer(bytes: &[u8]) -> NonNull<u8> {
    NonNull::from(bytes).cast()
}

impl Drop for Block {
    fn drop(&mut self) {
        let layout = self.layout();
        // SAFETY: allocated by `new` with this very layout, and nobody else has the pointer.
        unsafe { dealloc(self.0.as_ptr().cast(), layout) }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("facts", &self.facts()).field("hits", &self.hits()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::NEVER;

    #[test]
    fn a_block_gives_back_what_it_was_made_of() {
        let longest = vec![b'x'; TARGET_BYTES_MAX];
        for (target, tie_breaker, extras) in [
            (&b"https://a.example/"[..], &b""[..], &b""[..]),
            (b"h", b"\x08\0\0spring-sale", b"\x02\x01\x09"),
            (&longest, &[7; 255], &[9; 70_000]),
        ] {
            let facts = Facts {
                target,
                status: RedirectStatus::PermanentRedirect,
                state: LinkState::Banned,
                expires_at_ms: NEVER - 1,
                created: Position::new(u32::MAX, u64::MAX - 1),
                extras,
            };
            let block = Block::new(facts, tie_breaker);
            assert_eq!(block.facts(), facts);
            assert_eq!(block.tie_breaker(), tie_breaker);
            assert!(block.heap_bytes() >= 32 + target.len() + tie_breaker.len() + extras.len());
        }
    }

    #[test]
    fn hits_are_counted_to_three() {
        let facts = Facts {
            target: b"t",
            status: RedirectStatus::Found,
            state: LinkState::Active,
            expires_at_ms: 1,
            created: Position::ZERO,
            extras: &[],
        };
        let block = Block::new(facts, b"");
        let counted: Vec<u8> = (0..5).map(|_| (block.touch(), block.hits()).1).collect();
        assert_eq!(counted, [1, 2, 3, 3, 3]);
        block.set_hits(0);
        assert_eq!(block.hits(), 0);
    }

    #[test]
    fn a_pointer_is_all_the_table_holds() {
        assert_eq!(size_of::<Option<Block>>(), 8);
        assert_eq!(size_of::<Header>(), 32);
    }
}
