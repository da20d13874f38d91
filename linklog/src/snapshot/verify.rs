//! Reading back what was taken in, and comparing it with the manifest.
//!
//! Two threads, each with its parts of the key space: it is hashing and decompressing, and nobody is served from this database yet.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Manifest, SnapshotError};
use crate::digest::SlotSum;
use crate::store::{Moment, Recount, Store, rows_of_table};

const THREADS: usize = 2;
/// How many rows are read between two questions whether to go on.
const ASK_EVERY_ROWS: u64 = 100_000;

/// The keys from the beginning of one part to that of the next, or all of a table that has no parts.
struct Range<'a> {
    table: usize,
    from: &'a [u8],
    until: Option<&'a [u8]>,
}

/// Sums and counts of some ranges.
struct Found {
    /// Rows and sum of every table.
    tables: Vec<(u64, SlotSum)>,
    slots: Recount,
}

impl Found {
    fn new(tables: usize) -> Found {
        Found { tables: vec![(0, SlotSum::ZERO); tables], slots: Recount::default() }
    }

    fn merge(&mut self, other: &Found) {
        for ((rows, sum), (more, other)) in self.tables.iter_mut().zip(&other.tables) {
            *rows += more;
            sum.merge(*other);
        }
        self.slots.merge(&other.slots);
    }
}

/// Compares every row of the database with what the manifest says; returns how many there are.
pub(super) fn against(
    store: &Store,
    manifest: &Manifest,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<u64, SnapshotError> {
    let ranges = ranges(manifest);
    let moment = store.moment();
    let (next, result) = (AtomicUsize::new(0), Mutex::new(Ok(Found::new(manifest.tables.len()))));
    let work = || {
        let mut found = Found::new(manifest.tables.len());
        let mut failed = None;
        while let Some(range) = ranges.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = read(store, &moment, manifest, range, &mut found, go_on) {
                failed = Some(error);
                // Nobody begins another one.
                next.store(ranges.len(), Ordering::Relaxed);
            }
        }
        let mut result = result.lock().expect("nobody panics with it");
        match (failed, &mut *result) {
            (None, Ok(all)) => all.merge(&found),
            (Some(error), Ok(_)) => *result = Err(error),
            (_, Err(_)) => {}
        }
    };
    std::thread::scope(|threads| (0..THREADS).for_each(|_| drop(threads.spawn(work))));
    let found = result.into_inner().expect("nobody panics with it")?;
    compare(manifest, &found)?;
    Ok(found.tables.iter().map(|(rows, _)| rows).sum())
}

fn ranges(manifest: &Manifest) -> Vec<Range<'_>> {
    let mut ranges = Vec::new();
    for table in 0..manifest.tables.len() {
        let firsts = manifest.parts.iter().filter(|part| usize::from(part.table) == table);
        let mut firsts: Vec<&[u8]> = firsts.map(|part| &*part.first_key).collect();
        // What lies before the first part's first key is looked at too: nothing may.
        match firsts.first_mut() {
            Some(first) => *first = &[],
            None => firsts.push(&[]),
        }
        for (n, from) in firsts.iter().enumerate() {
            ranges.push(Range { table, from, until: firsts.get(n + 1).copied() });
        }
    }
    ranges
}

fn read(
    store: &Store,
    moment: &Moment<'_>,
    manifest: &Manifest,
    range: &Range<'_>,
    found: &mut Found,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<(), SnapshotError> {
    let name = manifest.tables[range.table].name;
    let (rows, sum) = &mut found.tables[range.table];
    let mut wanted = true;
    let mut bad_key = None;
    rows_of_table(store, moment, name, range.from, range.until, |key, value| {
        *rows += 1;
        sum.add(key, value);
        bad_key = found.slots.count(name, key, value).err();
        wanted = !rows.is_multiple_of(ASK_EVERY_ROWS) || go_on();
        wanted && bad_key.is_none()
    })?;
    match bad_key {
        Some(error) => Err(error.into()),
        None if !wanted => Err(SnapshotError::Stopped),
        None => Ok(()),
    }
}

fn compare(manifest: &Manifest, found: &Found) -> Result<(), SnapshotError> {
    let differs =
        |what: String, expected: String, found: String| Err(SnapshotError::Differs { what, expected, found });
    for (table, (rows, sum)) in manifest.tables.iter().zip(&found.tables) {
        if table.rows != *rows {
            return differs(format!("the rows of {}", table.name), table.rows.to_string(), rows.to_string());
        }
        if table.sum != *sum {
            return differs(
                format!("the sum of {}", table.name),
                format!("{:?}", table.sum),
                format!("{sum:?}"),
            );
        }
    }
    let expected = Recount::of(&manifest.slots);
    if let Some((slot, expected, found)) = expected.first_difference(&found.slots) {
        return differs(format!("slot {}", slot.number()), format!("{expected:?}"), format!("{found:?}"));
    }
    Ok(())
}
