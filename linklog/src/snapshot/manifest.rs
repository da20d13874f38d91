//! The manifest: what a snapshot is, so that nothing about it has to be believed.
//!
//! ```text
//! 8 bytes   "SPSNAP" 0 1
//! u8        contents: s a proxy's, f a full member's, j a journal's rows            u8   format level
//! 16 bytes  fleet id
//! u32 u64 16 bytes  head: epoch, seq, digest        u32  highest epoch accepted     u64  time of the head's record, ms; 0 not known
//! u8        version of the index; 0 none
//! u8        tables; each:      u8 length · name · u64 rows · 16 bytes sum of xxh3_128(key ‖ value)
//! u32       parts; each:       u8 table · u64 bytes · u64 rows · 16 bytes xxh3_128 of the file · u8 length · first key
//! u16       slots; each:       u16 slot · totals as in the `meta` table (48 bytes)
//! 16 bytes  xxh3_128 of everything before
//! ```
//! Integers are little-endian. Parts of a table follow one another in the order of their keys, tables in the order of their list.

use xxhash_rust::xxh3::xxh3_128;

use crate::codec::{Cursor, DecodeError, DecodeErrorKind};
use crate::digest::{Digest, SlotSum};
use crate::position::{Epoch, Head, Position};
use crate::slot::Slot;
use crate::store::{Contents, SlotTotals, tables_of};

const MAGIC: [u8; 8] = *b"SPSNAP\0\x01";
const CHECKSUM_BYTES: usize = 16;
/// The largest manifest that is read: one of two million parts.
pub const MANIFEST_BYTES_MAX: usize = 128 << 20;
/// How large a part becomes before the next one is begun, roughly.
pub const PART_BYTES: u64 = 64 << 20;

/// One file of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// The table its rows belong to, by its place in the manifest's list.
    pub(crate) table: u8,
    /// Its length.
    pub bytes: u64,
    /// How many rows it has, at least 1.
    pub rows: u64,
    /// `xxh3_128` of its bytes, little-endian.
    pub checksum: [u8; 16],
    /// The key of its first row.
    pub(crate) first_key: Vec<u8>,
}

/// All rows of one table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) rows: u64,
    pub(crate) sum: SlotSum,
}

/// What a snapshot is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// What may be made of it.
    pub contents: Contents,
    /// The level of the byte format records were written at.
    pub format_level: u8,
    /// The fleet it belongs to.
    pub fleet: [u8; 16],
    /// The last record whose effect it has.
    pub head: Head,
    /// The highest epoch ever accepted.
    pub highest_epoch: Epoch,
    /// The time of the head's record, milliseconds since the Unix epoch; 0 if whoever made it does not know.
    pub at_ms: u64,
    /// Its files.
    pub parts: Vec<Part>,
    pub(crate) index_version: u8,
    pub(crate) tables: Vec<Table>,
    /// The totals of every slot that has any, in rising order.
    pub(crate) slots: Vec<(Slot, SlotTotals)>,
}

impl Manifest {
    /// Returns how many bytes the parts have together.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Returns the sum over the served state of all slots, as heartbeats have it.
    pub fn serve_sum(&self) -> SlotSum {
        self.totals().serve
    }

    /// Returns how many served keys there are, tombstones included.
    pub fn serve_entries(&self) -> u64 {
        self.totals().serve_entries
    }

    fn totals(&self) -> SlotTotals {
        let mut totals = SlotTotals::default();
        self.slots.iter().for_each(|(_, slot)| totals.add(slot));
        totals
    }

    /// Returns the bytes of the manifest.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&[contents_byte(self.contents), self.format_level]);
        out.extend_from_slice(&self.fleet);
        out.extend_from_slice(&self.head.position.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.head.position.seq.0.to_le_bytes());
        out.extend_from_slice(&self.head.digest.to_bytes());
        out.extend_from_slice(&self.highest_epoch.0.to_le_bytes());
        out.extend_from_slice(&self.at_ms.to_le_bytes());
        out.push(self.index_version);
        out.push(self.tables.len() as u8);
        for table in &self.tables {
            out.push(table.name.len() as u8);
            out.extend_from_slice(table.name.as_bytes());
            out.extend_from_slice(&table.rows.to_le_bytes());
            out.extend_from_slice(&table.sum.to_bytes());
        }
        out.extend_from_slice(&(self.parts.len() as u32).to_le_bytes());
        for part in &self.parts {
            out.push(part.table);
            out.extend_from_slice(&part.bytes.to_le_bytes());
            out.extend_from_slice(&part.rows.to_le_bytes());
            out.extend_from_slice(&part.checksum);
            out.push(part.first_key.len() as u8);
            out.extend_from_slice(&part.first_key);
        }
        out.extend_from_slice(&(self.slots.len() as u16).to_le_bytes());
        for (slot, totals) in &self.slots {
            out.extend_from_slice(&slot.number().to_le_bytes());
            out.extend_from_slice(&totals.encode());
        }
        let checksum = xxh3_128(&out).to_le_bytes();
        out.extend_from_slice(&checksum);
        out
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// What is wrong and at which byte.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, DecodeError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(DecodeError::invalid(0, "beginning of a manifest"));
        }
        let Some((body, checksum)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
            return Err(DecodeError::truncated(0, "manifest"));
        };
        if xxh3_128(body).to_le_bytes() != *checksum {
            return Err(DecodeError { offset: body.len(), kind: DecodeErrorKind::Checksum });
        }
        let mut cursor = Cursor::new(body);
        cursor.bytes(MAGIC.len(), "beginning of a manifest")?;
        let contents = match cursor.u8("contents")? {
            b's' => Contents::Serve,
            b'f' => Contents::Full,
            b'j' => Contents::Journal,
            _ => return Err(DecodeError::invalid(MAGIC.len(), "contents")),
        };
        let format_level = crate::codec::check_level(cursor.u8("format level")?, MAGIC.len() + 1)?;
        let fleet = cursor.array("fleet id")?;
        let position = Position::new(cursor.u32("epoch")?, cursor.u64("seq")?);
        let head = Head { position, digest: Digest::from_bytes(cursor.array("digest")?) };
        let highest_epoch = Epoch(cursor.u32("highest epoch")?);
        let at_ms = cursor.u64("time")?;
        let index_version = cursor.u8("version of the index")?;
        let tables = decode_tables(&mut cursor, contents)?;
        let parts = decode_parts(&mut cursor, tables.len())?;
        let slots = decode_slots(&mut cursor)?;
        cursor.finish("manifest")?;
        let manifest = Manifest {
            contents,
            format_level,
            fleet,
            head,
            highest_epoch,
            at_ms,
            parts,
            index_version,
            tables,
            slots,
        };
        Ok(manifest)
    }
}

/// Returns the byte of the `format` row and of the manifest.
const fn contents_byte(contents: Contents) -> u8 {
    match contents {
        Contents::Serve => b's',
        Contents::Full => b'f',
        Contents::Journal => b'j',
    }
}

fn decode_tables(cursor: &mut Cursor<'_>, contents: Contents) -> Result<Vec<Table>, DecodeError> {
    let count = cursor.u8("number of tables")?;
    let mut tables: Vec<Table> = Vec::new();
    for _ in 0..count {
        let at = cursor.offset();
        let len = cursor.u8("length of a table's name")?;
        let name = cursor.text(u64::from(len), "table's name")?;
        // Only what a database of this kind has and a snapshot carries, each once.
        let known = tables_of(contents).find(|known| *known == name);
        let known = known.filter(|known| tables.iter().all(|table| table.name != *known));
        let name = known.ok_or(DecodeError::invalid(at, "table's name"))?;
        let rows = cursor.u64("rows of a table")?;
        tables.push(Table { name, rows, sum: SlotSum::from_bytes(cursor.array("sum of a table")?) });
    }
    Ok(tables)
}

fn decode_parts(cursor: &mut Cursor<'_>, tables: usize) -> Result<Vec<Part>, DecodeError> {
    let count = cursor.u32("number of parts")?;
    let mut parts = Vec::new();
    let mut highest = 0;
    for _ in 0..count {
        let at = cursor.offset();
        let table = cursor.u8("table of a part")?;
        if usize::from(table) >= tables || table < highest {
            return Err(DecodeError::invalid(at, "table of a part"));
        }
        highest = table;
        let (bytes, rows) = (cursor.u64("bytes of a part")?, cursor.u64("rows of a part")?);
        let checksum = cursor.array("checksum of a part")?;
        let len = cursor.u8("length of a key")?;
        let first_key = cursor.bytes(usize::from(len), "first key of a part")?.to_vec();
        parts.push(Part { table, bytes, rows, checksum, first_key });
    }
    Ok(parts)
}

fn decode_slots(cursor: &mut Cursor<'_>) -> Result<Vec<(Slot, SlotTotals)>, DecodeError> {
    let count = cursor.u16("number of slots")?;
    let mut slots: Vec<(Slot, SlotTotals)> = Vec::new();
    for _ in 0..count {
        let at = cursor.offset();
        let slot =
            Slot::new(cursor.u16("slot")?).filter(|slot| slots.last().is_none_or(|(last, _)| last < slot));
        let slot = slot.ok_or(DecodeError::invalid(at, "slot"))?;
        slots.push((slot, SlotTotals::decode(&cursor.array::<48>("totals of a slot")?)?));
    }
    Ok(slots)
}
