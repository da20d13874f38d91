//! The rows of a ledger, byte by byte. Integers in values are little-endian; numbers in keys are big-endian, so that rows are in order.
//!
//! | key | value |
//! |---|---|
//! | `f` | version 1, `c` |
//! | `s` | the ledger's id (16 bytes), then the fields of [`Queue`] as u64s in their order; the last one only if it is not 0 |
//! | `b` place | bytes and clicks of all batches up to this one since the ledger's birth (2 × u64), then the batch |
//! | `c` ring id | position, dropped (2 × u64) |
//! | `o` | boot id, then the ids of rings that clicks may be in (16 bytes each) |

use crate::batch::{BatchNumber, LedgerId};

use super::{Cursor, Opened, RingId};

pub(super) const FORMAT: &[u8] = b"f";
pub(super) const FORMAT_ROW: &[u8] = &[1, b'c'];
pub(super) const STATE: &[u8] = b"s";
pub(super) const BATCH: &[u8] = b"b";
pub(super) const CURSOR: &[u8] = b"c";
pub(super) const OPENED: &[u8] = b"o";

/// Sums over all batches up to one, so that those of any stretch are a difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Totals {
    pub(super) bytes: u64,
    pub(super) clicks: u64,
}

impl Totals {
    pub(super) const fn plus(self, more: Totals) -> Totals {
        Totals {
            bytes: self.bytes.saturating_add(more.bytes),
            clicks: self.clicks.saturating_add(more.clicks),
        }
    }

    const fn minus(self, less: Totals) -> Totals {
        Totals {
            bytes: self.bytes.saturating_sub(less.bytes),
            clicks: self.clicks.saturating_sub(less.clicks),
        }
    }
}

/// Which batches there are, and what became of the others. Batches are known by their places, which rise through all the names that the
/// ledger has had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Queue {
    pub(super) id: LedgerId,
    pub(super) first: BatchNumber,
    pub(super) released: BatchNumber,
    pub(super) last: BatchNumber,
    pub(super) before_first: Totals,
    pub(super) at_released: Totals,
    pub(super) at_last: Totals,
    pub(super) dropped_batches: u64,
    pub(super) dropped_clicks: u64,
    pub(super) complete_until_ms: u64,
    /// The place before that of batch 1.
    pub(super) before_one: u64,
}

const FIELDS: usize = 13;

impl Queue {
    pub(super) fn new(id: LedgerId) -> Queue {
        Queue {
            id,
            first: BatchNumber(1),
            released: BatchNumber(0),
            last: BatchNumber(0),
            before_first: Totals::default(),
            at_released: Totals::default(),
            at_last: Totals::default(),
            dropped_batches: 0,
            dropped_clicks: 0,
            complete_until_ms: 0,
            before_one: 0,
        }
    }

    /// The number, among those of its ledger's name, of the batch at a place.
    pub(super) const fn number(&self, place: BatchNumber) -> BatchNumber {
        BatchNumber(place.0 - self.before_one)
    }

    /// The place of a batch; the last there can be, if there is none.
    pub(super) const fn place(&self, number: BatchNumber) -> BatchNumber {
        BatchNumber(number.0.saturating_add(self.before_one))
    }

    /// Says whether there is a batch at a place.
    pub(super) fn has(&self, place: BatchNumber) -> bool {
        (self.first..=self.last).contains(&place)
    }

    /// What waits to be released.
    pub(super) const fn unreleased(&self) -> Totals {
        self.at_last.minus(self.at_released)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let fields: [u64; FIELDS] = [
            self.first.0,
            self.released.0,
            self.last.0,
            self.before_first.bytes,
            self.before_first.clicks,
            self.at_released.bytes,
            self.at_released.clicks,
            self.at_last.bytes,
            self.at_last.clicks,
            self.dropped_batches,
            self.dropped_clicks,
            self.complete_until_ms,
            self.before_one,
        ];
        let written = if self.before_one == 0 { &fields[..FIELDS - 1] } else { &fields };
        let mut row = self.id.0.to_vec();
        row.extend(written.iter().flat_map(|field| field.to_le_bytes()));
        row
    }

    /// Reads a row; `None` if it cannot be right.
    pub(super) fn decode(row: &[u8]) -> Option<Queue> {
        let (id, rest) = row.split_first_chunk::<16>()?;
        let (written, []) = rest.as_chunks::<8>() else { return None };
        let mut fields = [[0; 8]; FIELDS];
        fields.get_mut(..written.len())?.copy_from_slice(written);
        let [
            first,
            released,
            last,
            first_bytes,
            first_clicks,
            released_bytes,
            released_clicks,
            bytes,
            clicks,
            dropped_batches,
            dropped_clicks,
            complete_until_ms,
            before_one,
        ] = fields.map(u64::from_le_bytes);
        let queue = Queue {
            id: LedgerId(*id),
            first: BatchNumber(first),
            released: BatchNumber(released),
            last: BatchNumber(last),
            before_first: Totals { bytes: first_bytes, clicks: first_clicks },
            at_released: Totals { bytes: released_bytes, clicks: released_clicks },
            at_last: Totals { bytes, clicks },
            dropped_batches,
            dropped_clicks,
            complete_until_ms,
            before_one,
        };
        let in_order = first > before_one && first - 1 <= released && released <= last && last < u64::MAX;
        let rising = first_bytes <= released_bytes && released_bytes <= bytes;
        (in_order && rising && queue.encode() == row).then_some(queue)
    }
}

pub(super) fn batch_key(place: BatchNumber) -> [u8; 9] {
    let mut key = [BATCH[0]; 9];
    key[1..].copy_from_slice(&place.0.to_be_bytes());
    key
}

pub(super) fn cursor_key(ring: RingId) -> [u8; 17] {
    let mut key = [CURSOR[0]; 17];
    key[1..].copy_from_slice(&ring);
    key
}

pub(super) fn encode_batch(totals: Totals, bytes: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(16 + bytes.len());
    row.extend_from_slice(&totals.bytes.to_le_bytes());
    row.extend_from_slice(&totals.clicks.to_le_bytes());
    row.extend_from_slice(bytes);
    row
}

pub(super) fn decode_batch(row: &[u8]) -> Option<(Totals, &[u8])> {
    let ((bytes, clicks), batch) = split_two(row)?;
    Some((Totals { bytes, clicks }, batch))
}

pub(super) fn encode_cursor(cursor: Cursor) -> Vec<u8> {
    [cursor.position.to_le_bytes(), cursor.dropped.to_le_bytes()].concat()
}

pub(super) fn decode_cursor(row: &[u8]) -> Option<Cursor> {
    match split_two(row)? {
        ((position, dropped), []) => Some(Cursor { position, dropped }),
        _ => None,
    }
}

pub(super) fn encode_opened(opened: &Opened) -> Vec<u8> {
    let mut row = opened.boot.to_vec();
    opened.rings.iter().for_each(|ring| row.extend_from_slice(ring));
    row
}

pub(super) fn decode_opened(row: &[u8]) -> Option<Opened> {
    let (boot, rings) = row.split_first_chunk::<16>()?;
    let (rings, []) = rings.as_chunks::<16>() else { return None };
    Some(Opened { boot: *boot, rings: rings.to_vec() })
}

fn split_two(row: &[u8]) -> Option<((u64, u64), &[u8])> {
    let (one, rest) = row.split_first_chunk::<8>()?;
    let (two, rest) = rest.split_first_chunk::<8>()?;
    Some(((u64::from_le_bytes(*one), u64::from_le_bytes(*two)), rest))
}
