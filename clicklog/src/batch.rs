//! The bytes of a batch: what a ledger keeps, what travels, and what the writer's journal keeps.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | level of the format, 1 |
//! | 16 | the ledger's id |
//! | 8 | number of the batch in its ledger, dense from 1 |
//! | 8 | until when it holds every click of its ledger, milliseconds since the Unix epoch |
//! | varint | clicks that were dropped unseen since the batch before |
//! | varint | number of cells |
//! | … | the cells, in the strictly rising order of (key bytes, created) |
//! | 4 | CRC-32C of everything before |
//!
//! A cell: `varint length of the key · encoded link key · varint epoch · varint seq (of the creating record) · 4 varints, counts by kind ·
//! varint time of the last click`. Integers are little-endian, `varint` is that of [`linklog::codec`].

use linklog::codec::{Cursor, put_varint};
use linklog::{DecodeError, Epoch, Key, Position, Seq, StateKey};

use crate::cell::{Cell, Counts, Kind, Subject};

/// The highest level of the format this version reads, and the one it writes.
pub const LEVEL: u8 = 1;
/// Most cells in one batch; more clicks make more batches. A batch of this many fits one section of a record of the writer's journal.
pub const CELLS_MAX: usize = 4_096;
/// Most bytes of one batch: [`CELLS_MAX`] of the largest cells, and room.
pub const BATCH_BYTES_MAX: usize = CELLS_MAX * CELL_BYTES_MAX + 64;

/// Length and bytes of the longest key, epoch, seq, four counts, a time.
const CELL_BYTES_MAX: usize = 1 + 3 + linklog::limits::CODE_BYTES_MAX + 5 + 6 * 10;
const CRC_BYTES: usize = 4;

const _: () = assert!(BATCH_BYTES_MAX < linklog::limits::SECTION_BYTES_MAX);

/// Who counted: random, born with a ledger's directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LedgerId(pub [u8; 16]);

impl std::fmt::Display for LedgerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A batch's number in its ledger, dense from 1; 0 is "before the first".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct BatchNumber(pub u64);

impl BatchNumber {
    /// Returns the number after this one. Saturates.
    pub const fn next(self) -> BatchNumber {
        BatchNumber(self.0.saturating_add(1))
    }
}

impl std::fmt::Display for BatchNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Clicks of one ledger over some time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Who counted.
    pub ledger: LedgerId,
    /// Which of its batches.
    pub number: BatchNumber,
    /// Every click answered before this time (milliseconds since the Unix epoch, the proxy's clock) is in this batch or an earlier one.
    pub complete_until_ms: u64,
    /// Clicks that could not be recorded since the batch before, and are in no cell.
    pub dropped: u64,
    /// At most [`CELLS_MAX`], sorted, one a subject.
    cells: Vec<Cell>,
}

impl Batch {
    /// Makes a batch; the cells may come in any order, each subject once.
    ///
    /// # Panics
    /// If there are more than [`CELLS_MAX`] cells or two of one subject: whoever adds clicks up has made sure.
    pub fn new(
        ledger: LedgerId,
        number: BatchNumber,
        complete_until_ms: u64,
        dropped: u64,
        mut cells: Vec<Cell>,
    ) -> Batch {
        cells.sort_by(|a, b| order(&a.subject, &b.subject));
        assert!(cells.len() <= CELLS_MAX, "{} cells do not fit a batch", cells.len());
        assert!(
            cells.windows(2).all(|pair| order(&pair[0].subject, &pair[1].subject).is_lt()),
            "two cells of one subject"
        );
        Batch { ledger, number, complete_until_ms, dropped, cells }
    }

    /// Gives it another number, in another ledger.
    pub fn renamed(self, ledger: LedgerId, number: BatchNumber) -> Batch {
        Batch { ledger, number, ..self }
    }

    /// Returns the cells, in the order of their subjects.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Returns how many requests it counts, of any kind.
    pub fn clicks(&self) -> u64 {
        self.cells.iter().fold(0, |sum, cell| sum.saturating_add(cell.counts.sum()))
    }

    /// Writes it down.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.cells.len() * 32);
        out.push(LEVEL);
        out.extend_from_slice(&self.ledger.0);
        out.extend_from_slice(&self.number.0.to_le_bytes());
        out.extend_from_slice(&self.complete_until_ms.to_le_bytes());
        put_varint(&mut out, self.dropped);
        put_varint(&mut out, self.cells.len() as u64);
        for cell in &self.cells {
            write_cell(&mut out, cell);
        }
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    /// Reads it. What this accepts, [`Batch::encode`] gives back byte for byte.
    ///
    /// # Errors
    /// Damage, disorder, values out of range, an unknown level, more cells than allowed.
    pub fn decode(bytes: &[u8]) -> Result<Batch, DecodeError> {
        let body_bytes = bytes.len().checked_sub(CRC_BYTES).ok_or(DecodeError::truncated(0, "batch"))?;
        let (body, crc) = bytes.split_at(body_bytes);
        let mut cursor = Cursor::new(body);
        match cursor.u8("level of the batch")? {
            LEVEL => {}
            _ => return Err(DecodeError::invalid(0, "level of the batch")),
        }
        if crc32c::crc32c(body).to_le_bytes() != *crc {
            return Err(DecodeError::invalid(body_bytes, "checksum of the batch"));
        }
        let ledger = LedgerId(cursor.array("ledger id")?);
        let number = BatchNumber(cursor.u64("number of the batch")?);
        if number.0 == 0 {
            return Err(DecodeError::invalid(17, "number of the batch"));
        }
        let complete_until_ms = cursor.u64("time of the batch")?;
        let dropped = cursor.varint("dropped clicks")?;
        let offset = cursor.offset();
        let count = cursor.varint("number of cells")?;
        if count > CELLS_MAX as u64 {
            return Err(DecodeError::invalid(offset, "number of cells"));
        }
        let mut cells: Vec<Cell> = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let offset = cursor.offset();
            let cell = read_cell(&mut cursor)?;
            if cells.last().is_some_and(|last| !order(&last.subject, &cell.subject).is_lt()) {
                return Err(DecodeError::invalid(offset, "order of cells"));
            }
            cells.push(cell);
        }
        cursor.finish("batch")?;
        Ok(Batch { ledger, number, complete_until_ms, dropped, cells })
    }
}

fn order(a: &Subject, b: &Subject) -> std::cmp::Ordering {
    (&a.key, a.created).cmp(&(&b.key, b.created))
}

fn write_cell(out: &mut Vec<u8>, cell: &Cell) {
    let Subject { key, created } = &cell.subject;
    let key = key.encode();
    put_varint(out, key.len() as u64);
    out.extend_from_slice(&key);
    put_varint(out, u64::from(created.epoch.0));
    put_varint(out, created.seq.0);
    for kind in Kind::ALL {
        put_varint(out, cell.counts.of(kind));
    }
    put_varint(out, cell.last_click_ms);
}

fn read_cell(cursor: &mut Cursor<'_>) -> Result<Cell, DecodeError> {
    let length = cursor.varint("length of a key")?;
    let offset = cursor.offset();
    let key = read_key(cursor.sub(length, "key")?.rest()).ok_or(DecodeError::invalid(offset, "key"))?;
    let offset = cursor.offset();
    let epoch = u32::try_from(cursor.varint("epoch")?).map_err(|_| DecodeError::invalid(offset, "epoch"))?;
    let seq = cursor.varint("seq")?;
    let mut counts = Counts::ZERO;
    for kind in Kind::ALL {
        counts.add(kind, cursor.varint("count")?);
    }
    let last_click_ms = cursor.varint("time of the last click")?;
    let created = Position { epoch: Epoch(epoch), seq: Seq(seq) };
    Ok(Cell { subject: Subject { key, created }, counts, last_click_ms })
}

fn read_key(bytes: &[u8]) -> Option<Key> {
    match StateKey::decode(bytes).ok()? {
        StateKey::Link(key) => Some(key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linklog::DomainId;
    use proptest::prelude::*;

    fn cell(code: &str, seq: u64, counts: [u64; 4], last_click_ms: u64) -> Cell {
        let key = Key::new(DomainId(3), code.parse().unwrap());
        Cell {
            subject: Subject { key, created: Position::new(2, seq) },
            counts: Counts::new(counts),
            last_click_ms,
        }
    }

    fn batch(cells: Vec<Cell>) -> Batch {
        Batch::new(LedgerId([7; 16]), BatchNumber(9), 1_700_000_000_123, 4, cells)
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let bytes = batch(vec![cell("spring-sale", 300, [1, 0, 2, 0], 5)]).encode();
        let mut expected = vec![1];
        expected.extend([7; 16]);
        expected.extend([9, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend(1_700_000_000_123u64.to_le_bytes());
        expected.extend([4, 1]);
        expected.extend([14, 0x08, 0, 3]);
        expected.extend(b"spring-sale");
        expected.extend([2, 0xac, 0x02, 1, 0, 2, 0, 5]);
        expected.extend(crc32c::crc32c(&expected).to_le_bytes());
        assert_eq!(bytes, expected);
    }

    #[test]
    fn cells_are_sorted_and_a_subject_comes_once() {
        let cells = vec![cell("b", 1, [1; 4], 0), cell("a", 2, [2; 4], 0), cell("a", 1, [3; 4], 0)];
        let sorted = batch(cells);
        let order: Vec<u64> = sorted.cells().iter().map(|cell| cell.counts.of(Kind::Person)).collect();
        assert_eq!(order, [3, 2, 1]);
        assert_eq!(sorted.clicks(), 24);
        let mut twice = sorted.encode();
        let body = twice.len() - CRC_BYTES;
        // The second cell again in the place of the third: the same subject twice, with a right checksum.
        let each = (body - 35) / 3;
        twice.copy_within(35 + each..35 + 2 * each, 35 + 2 * each);
        let crc = crc32c::crc32c(&twice[..body]).to_le_bytes();
        twice[body..].copy_from_slice(&crc);
        assert_eq!(Batch::decode(&twice), Err(DecodeError::invalid(35 + 2 * each, "order of cells")));
    }

    #[test]
    fn damage_is_an_error_whatever_byte_it_hits() {
        let bytes = batch(vec![cell("Ab3xY9z", 1, [1, 2, 3, 4], 5), cell("x", 2, [5; 4], 6)]).encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            Batch::decode(&damaged).unwrap_err();
            Batch::decode(&bytes[..at]).unwrap_err();
        }
    }

    fn cells() -> impl Strategy<Value = Vec<Cell>> {
        let one = ("[A-Za-z0-9_-]{1,64}", 0..u64::MAX, any::<[u64; 4]>(), any::<u64>());
        proptest::collection::hash_map((0..4u16, "[A-Za-z0-9]{7}"), one, 0..20).prop_map(|cells| {
            let cell =
                |((domain, code7), (code, seq, counts, last)): ((u16, String), (String, u64, _, u64))| {
                    let code = if seq % 2 == 0 { code7 } else { code };
                    let key = Key::new(DomainId(domain), code.parse().unwrap());
                    let subject = Subject { key, created: Position::new(seq as u32, seq) };
                    Cell { subject, counts: Counts::new(counts), last_click_ms: last }
                };
            let mut cells: Vec<Cell> = cells.into_iter().map(cell).collect();
            cells.sort_by(|a, b| order(&a.subject, &b.subject));
            cells.dedup_by_key(|cell| cell.subject);
            cells
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(cells in cells(), number in 1..u64::MAX, dropped: u64, until: u64) {
            let batch = Batch::new(LedgerId([1; 16]), BatchNumber(number), until, dropped, cells);
            let bytes = batch.encode();
            prop_assert!(bytes.len() <= BATCH_BYTES_MAX);
            prop_assert_eq!(Batch::decode(&bytes), Ok(batch));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            let _ = Batch::decode(&bytes);
            let crc = crc32c::crc32c(&bytes).to_le_bytes();
            bytes.extend(crc);
            if let Ok(batch) = Batch::decode(&bytes) {
                prop_assert_eq!(batch.encode(), bytes);
            }
        }
    }
}
