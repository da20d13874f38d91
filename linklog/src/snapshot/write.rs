//! Writing a snapshot from a database that goes on being written.

use std::path::{Path, PathBuf};

use rocksdb::Options;

use super::files::{io_error, measure, part_name, store_manifest, sync};
use super::manifest::Table;
use super::rows::PartWriter;
use super::{Manifest, PART_BYTES, Part, SnapshotError, Source};
use crate::codec::record;
use crate::digest::SlotSum;
use crate::folders;
use crate::position::Head;
use crate::slot::Slot;
use crate::store::meta::{BASE_TIME, HEAD, HIGHEST_EPOCH, epoch_of, head_of, time_of};
use crate::store::{
    Contents, JOURNAL, META, Moment, SERVE, SlotTotals, Store, StoreError, fleet_level, index_version,
    rows_of_table, slot_row, tables_of,
};

/// What to cut out of a database.
pub struct Cut<'a> {
    /// What the receiver may hold: no more than the source has.
    pub contents: Contents,
    /// The fleet the snapshot belongs to.
    pub fleet: [u8; 16],
    /// How large a part becomes before the next one is begun; [`PART_BYTES`] unless there are reasons.
    pub part_bytes: u64,
    /// Asked now and then with the bytes read since it was asked last; may wait to slow things down; false ends the work.
    pub go_on: &'a dyn Fn(u64) -> bool,
}

impl Cut<'_> {
    /// Cuts out all a receiver of these contents may hold, in parts of the usual size, without a pause.
    pub const fn new(contents: Contents, fleet: [u8; 16]) -> Cut<'static> {
        Cut { contents, fleet, part_bytes: PART_BYTES, go_on: &|_| true }
    }
}

/// How many bytes are read between two questions whether to go on; it is asked after every part too.
const ASK_EVERY_BYTES: u64 = 1 << 20;

/// Writes a snapshot of `source`, as it is now, into the folder `dir`, which must not exist or be empty. Everything is durable when this
/// returns. Takes about a microsecond a row.
///
/// # Errors
/// A full disk, a damaged database, contents that the source does not have. What was written then is no snapshot; remove the folder.
pub fn write(source: &Source, cut: &Cut<'_>, dir: &Path) -> Result<Manifest, SnapshotError> {
    let there = source.contents();
    if there != cut.contents && (there, cut.contents) != (Contents::Full, Contents::Serve) {
        return Err(SnapshotError::NotThere { wanted: cut.contents.name(), there: there.name() });
    }
    folders::make(dir).map_err(io_error("make", dir))?;
    if !folders::is_empty(dir).map_err(io_error("read", dir))? {
        return Err(SnapshotError::Occupied { path: dir.to_owned() });
    }
    let store = &*source.store;
    let moment = store.moment();
    let mut manifest = bounds(store, &moment, cut)?;
    let mut parts = Parts { dir, part_bytes: cut.part_bytes.max(1), done: Vec::new() };
    for name in tables_of(cut.contents) {
        let table = write_table(store, &moment, cut, &mut parts, name, manifest.tables.len() as u8)?;
        manifest.tables.push(table);
    }
    manifest.parts = parts.done;
    store_manifest(dir, &manifest)?;
    Ok(manifest)
}

/// Reads everything that is not rows.
fn bounds(store: &Store, moment: &Moment<'_>, cut: &Cut<'_>) -> Result<Manifest, SnapshotError> {
    let get = |table, key: &[u8]| store.get_at(moment, table, key);
    let head = head_of(get(META, HEAD)?.as_deref())?;
    let is_full = cut.contents == Contents::Full;
    let at_ms = match store.has_table(JOURNAL) {
        true => match get(JOURNAL, &head.position.seq.0.to_be_bytes())? {
            Some(entry) => time_of_entry(&entry)?,
            None => time_of(get(META, BASE_TIME)?.as_deref())?,
        },
        false => 0,
    };
    let fleet_record = match store.has_table(SERVE) {
        true => get(SERVE, &crate::StateKey::Fleet.encode())?,
        false => None,
    };
    let mut slots = Vec::new();
    for slot in (0..Slot::COUNT as u16).filter_map(Slot::new) {
        let Some(row) = get(META, &slot_row(slot.number()))? else { continue };
        let damaged = |source| StoreError::Damaged { what: "slot sum", source };
        let mut totals = SlotTotals::decode(&row).map_err(damaged)?;
        if !is_full {
            (totals.manage, totals.manage_entries) = (SlotSum::ZERO, 0);
        }
        if totals != SlotTotals::default() {
            slots.push((slot, totals));
        }
    }
    Ok(Manifest {
        contents: cut.contents,
        format_level: fleet_level(fleet_record.as_deref())?,
        fleet: cut.fleet,
        head,
        highest_epoch: epoch_of(get(META, HIGHEST_EPOCH)?.as_deref())?.max(head.position.epoch),
        at_ms: if head == Head::EMPTY { 0 } else { at_ms },
        parts: Vec::new(),
        index_version: if is_full {
            index_version(get(META, crate::store::INDEX_VERSION)?.as_deref())
        } else {
            0
        },
        tables: Vec::new(),
        slots,
    })
}

/// Reads the time out of a journal's entry ([`crate::journal::RocksJournal`]).
fn time_of_entry(entry: &[u8]) -> Result<u64, StoreError> {
    let damaged = |source| StoreError::Damaged { what: "journal entry", source };
    let record = entry.get(crate::journal::ENTRY_HEADER_BYTES..).unwrap_or_default();
    let view = record::decode(record).map_err(damaged)?;
    Ok(record::read_serve(view.header, view.serve).map_err(damaged)?.at_ms)
}

/// The parts written so far.
struct Parts<'a> {
    dir: &'a Path,
    part_bytes: u64,
    done: Vec<Part>,
}

/// A part that is being written.
struct Open<'a> {
    writer: PartWriter<'a>,
    path: PathBuf,
    part: Part,
}

impl Parts<'_> {
    fn begin<'o>(
        &self,
        options: &'o Options,
        table: u8,
        first_key: &[u8],
    ) -> Result<Open<'o>, SnapshotError> {
        let path = self.dir.join(part_name(self.done.len()));
        let writer = PartWriter::open(options, &path).map_err(|source| table_error("make", &path, source))?;
        let part = Part { table, bytes: 0, rows: 0, checksum: [0; 16], first_key: first_key.to_vec() };
        Ok(Open { writer, path, part })
    }

    fn end(&mut self, open: Open<'_>) -> Result<(), SnapshotError> {
        let Open { writer, path, mut part } = open;
        writer.finish().map_err(|source| table_error("write", &path, source))?;
        // Finishing has fsynced it. It is read back as it is now: whoever checks it later compares with what was meant here.
        let measured = measure(&path).map_err(io_error("read", &path))?;
        (part.bytes, part.checksum) = measured.unwrap_or_default();
        sync(&path)?;
        self.done.push(part);
        Ok(())
    }
}

fn table_error(action: &'static str, path: &Path, source: rocksdb::Error) -> SnapshotError {
    SnapshotError::Table { action, path: path.to_owned(), source }
}

fn write_table(
    store: &Store,
    moment: &Moment<'_>,
    cut: &Cut<'_>,
    parts: &mut Parts<'_>,
    name: &'static str,
    index: u8,
) -> Result<Table, SnapshotError> {
    let options = store.options_for_files(name);
    let mut table = Table { name, rows: 0, sum: SlotSum::ZERO };
    let mut open: Option<Open<'_>> = None;
    let mut unasked = 0;
    let mut failed = None;
    let mut take = |key: &[u8], value: &[u8]| -> Result<(), SnapshotError> {
        unasked += (key.len() + value.len()) as u64;
        if unasked >= ASK_EVERY_BYTES && !(cut.go_on)(std::mem::take(&mut unasked)) {
            return Err(SnapshotError::Stopped);
        }
        if let Some(full) = open.take_if(|open| open.writer.file_size() >= parts.part_bytes) {
            parts.end(full)?;
            if !(cut.go_on)(std::mem::take(&mut unasked)) {
                return Err(SnapshotError::Stopped);
            }
        }
        let current = match &mut open {
            Some(current) => current,
            None => open.insert(parts.begin(&options, index, key)?),
        };
        current.writer.put(key, value).map_err(|source| table_error("write", &current.path, source))?;
        current.part.rows += 1;
        table.rows += 1;
        table.sum.add(key, value);
        Ok(())
    };
    rows_of_table(store, moment, name, &[], None, |key, value| match take(key, value) {
        Ok(()) => true,
        Err(error) => {
            failed = Some(error);
            false
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    if let Some(last) = open {
        parts.end(last)?;
    }
    Ok(table)
}
