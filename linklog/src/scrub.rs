//! The scrub: is what lies on the disk still what was written?
//!
//! A pass reads every row of the state and compares sums and counts with those kept beside it. It reads the files, not the block cache: a
//! checkpoint of the database (hard links, one moment) is opened by itself, without the system's page cache where the file system allows.
//! What differs or does not decode is damage: of the disk, of memory, or by somebody's hand.
//!
//! Deliberately not here: when passes are made and what becomes of a damaged replica.

use std::io;
use std::path::{Path, PathBuf};

use rocksdb::checkpoint::Checkpoint;

use crate::slot::Slot;
use crate::snapshot::Source;
use crate::store::{MANAGE, META, Recount, SERVE, SlotTotals, Store, StoreError, rows_of_table, slot_row};

/// How many bytes are read between two questions whether to go on.
const ASK_EVERY_BYTES: u64 = 1 << 20;
/// Memory a pass may use for blocks.
const CACHE_BYTES: usize = 4 << 20;

/// What a pass has found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Everything is as it was written.
    Sound {
        /// Rows read.
        rows: u64,
        /// Their bytes, keys and values.
        bytes: u64,
    },
    /// Something is not; the words say what.
    Damaged(String),
    /// It was not read to the end.
    Stopped,
}

/// Why a pass could not be made. Nothing is known then.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// The database does not give a checkpoint, or it cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder cannot be used.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Reads everything once. `dir` is a folder on the same file system that does not exist or is left from an earlier pass; it is gone when
/// this returns. `go_on` is asked now and then with the bytes read since it was asked last; it may wait, to slow things down; false ends
/// the pass. Takes about a microsecond a row.
///
/// # Errors
/// The pass could not be made: no checkpoint, no room.
pub fn pass(source: &Source, dir: &Path, go_on: &dyn Fn(u64) -> bool) -> Result<Verdict, ScrubError> {
    remove(dir)?;
    let checkpoint =
        Checkpoint::new(source.store.db()).and_then(|checkpoint| checkpoint.create_checkpoint(dir));
    let verdict = match checkpoint {
        Ok(()) => read(source, dir, go_on),
        Err(source) => Err(StoreError::Io { action: "make a checkpoint of", source }),
    };
    remove(dir)?;
    match verdict {
        Err(error) if error.is_damage() => Ok(Verdict::Damaged(error.to_string())),
        verdict => Ok(verdict?),
    }
}

fn remove(dir: &Path) -> Result<(), ScrubError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ScrubError::Io { action: "remove", path: dir.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

fn read(source: &Source, dir: &Path, go_on: &dyn Fn(u64) -> bool) -> Result<Verdict, StoreError> {
    let store = match Store::open_to_scrub(dir, source.contents(), CACHE_BYTES, true) {
        // Not every file system can do without the page cache.
        Err(StoreError::Open { source: error, .. }) if error.kind() == rocksdb::ErrorKind::IOError => {
            Store::open_to_scrub(dir, source.contents(), CACHE_BYTES, false)?
        }
        opened => opened?,
    };
    let moment = store.moment();
    let (mut rows, mut bytes, mut unasked) = (0, 0, 0);
    let mut found = Recount::default();
    for table in [SERVE, MANAGE].into_iter().filter(|table| store.has_table(table)) {
        let (mut wanted, mut bad_row) = (true, None);
        rows_of_table(&store, &moment, table, &[], None, |key, value| {
            rows += 1;
            unasked += (key.len() + value.len()) as u64;
            bad_row = found.count(table, key, value).err();
            if unasked >= ASK_EVERY_BYTES {
                bytes += unasked;
                wanted = go_on(std::mem::take(&mut unasked));
            }
            wanted && bad_row.is_none()
        })?;
        match bad_row {
            Some(error) => return Err(error),
            None if !wanted => return Ok(Verdict::Stopped),
            None => {}
        }
    }
    let expected = expected(&store)?;
    if let Some((slot, expected, found)) = expected.first_difference(&found) {
        return Ok(Verdict::Damaged(format!(
            "the rows of slot {} are not those its sums were made of: {expected:?} was written, {found:?} is there",
            slot.number()
        )));
    }
    Ok(Verdict::Sound { rows, bytes: bytes + unasked })
}

/// Reads what is kept beside the rows.
fn expected(store: &Store) -> Result<Recount, StoreError> {
    let mut slots = Vec::new();
    for slot in (0..Slot::COUNT as u16).filter_map(Slot::new) {
        let Some(row) = store.get(META, &slot_row(slot.number()))? else { continue };
        let damaged = |source| StoreError::Damaged { what: "slot sum", source };
        slots.push((slot, SlotTotals::decode(&row).map_err(damaged)?));
    }
    Ok(Recount::of(&slots))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Precondition;
    use crate::store::StoreOptions;
    use crate::writer::tests::{delete, key, open as open_writer, put};

    fn filled(dir: &Path) -> crate::writer::Writer {
        let writer = open_writer(dir);
        let all: Vec<_> =
            (0..900).map(|n| put(&format!("link-{n}"), "https://a.example/", Precondition::Any)).collect();
        writer.handle().propose_and_wait(all).unwrap();
        writer.handle().propose_and_wait(vec![delete("link-2")]).unwrap();
        writer
    }

    fn scrub(source: &Source, dir: &Path) -> Verdict {
        let verdict = pass(source, &dir.join("scrub"), &|_| true).unwrap();
        assert!(!dir.join("scrub").exists());
        verdict
    }

    #[test]
    fn a_sound_log_is_found_sound_while_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let writer = filled(&dir.path().join("log"));
        let source = Source::from(&writer.reader());
        // What a killed pass leaves behind is in nobody's way.
        std::fs::create_dir_all(dir.path().join("scrub/x")).unwrap();
        let Verdict::Sound { rows, bytes } = scrub(&source, dir.path()) else { panic!("not sound") };
        assert_eq!(rows, 1_800, "served and managed");
        assert!(bytes > 0);
        writer.handle().propose_and_wait(vec![delete("link-3")]).unwrap();
        assert!(matches!(scrub(&source, dir.path()), Verdict::Sound { rows: 1_800, .. }));
    }

    #[test]
    fn a_row_that_was_changed_behind_the_back_of_the_log_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let writer = filled(&dir.path().join("log"));
        let source = Source::from(&writer.reader());
        let store = &source.store;
        let name = key("link-7").encode();
        let mut value = store.get(SERVE, &name).unwrap().unwrap().to_vec();
        *value.last_mut().unwrap() ^= 1;
        store.db().put_cf(store.table(SERVE), &*name, &value).unwrap();
        let Verdict::Damaged(what) = scrub(&source, dir.path()) else { panic!("taken for sound") };
        assert!(what.contains("slot"), "{what}");
        store.db().delete_cf(store.table(SERVE), &*name).unwrap();
        assert!(matches!(scrub(&source, dir.path()), Verdict::Damaged(_)));
    }

    #[test]
    fn any_flipped_byte_of_a_table_file_is_damage_or_harmless() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        {
            let writer = filled(&log);
            // A checkpoint flushes: the rows are in files from here on.
            assert!(matches!(scrub(&Source::from(&writer.reader()), dir.path()), Verdict::Sound { .. }));
        }
        let db = log.join("db");
        let files = || std::fs::read_dir(&db).unwrap().map(|entry| entry.unwrap().path());
        let tables: Vec<PathBuf> =
            files().filter(|path| path.extension().is_some_and(|is| is == "sst")).collect();
        let (mut damaged, mut harmless) = (0, 0);
        for path in &tables {
            let right = std::fs::read(path).unwrap();
            for at in (0..right.len()).step_by(right.len() / 8 + 1) {
                let mut wrong = right.clone();
                wrong[at] ^= 0x10;
                std::fs::write(path, &wrong).unwrap();
                let options = StoreOptions {
                    block_cache_bytes: 4 << 20,
                    memtable_bytes: 2 << 20,
                    background_threads: 1,
                };
                // Some damage already shows when it is opened.
                match Store::open(&db, crate::store::Contents::Full, &options) {
                    Ok(store) => match scrub(&Source { store }, dir.path()) {
                        Verdict::Sound { rows, .. } => {
                            assert_eq!(rows, 1_800);
                            harmless += 1;
                        }
                        _ => damaged += 1,
                    },
                    Err(error) => {
                        assert!(error.is_damage(), "{error}");
                        damaged += 1;
                    }
                }
                std::fs::write(path, &right).unwrap();
            }
        }
        assert!(damaged > 0, "{damaged} of {} were noticed", damaged + harmless);
    }
}
