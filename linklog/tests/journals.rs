//! Every journal passes the same checks.
#![allow(clippy::unwrap_used)]

use linklog::journal::{Journal, MemoryJournal, NewRecord, RocksJournal, conformance, open_guarded};
use linklog::store::{Contents, RowTable, StoreOptions};
use linklog::{Position, Seq};

fn options() -> StoreOptions {
    StoreOptions { block_cache_bytes: 4 << 20, memtable_bytes: 2 << 20, background_threads: 1 }
}

#[test]
fn the_journal_in_memory_conforms() {
    conformance::all(|| Box::new(MemoryJournal::new()));
}

#[test]
fn the_journal_in_rocksdb_conforms() {
    let mut dirs = Vec::new();
    conformance::all(|| {
        let dir = tempfile::tempdir().unwrap();
        let journal = RocksJournal::open(dir.path(), &options()).unwrap();
        dirs.push(dir);
        Box::new(journal)
    });
}

#[test]
fn the_journal_in_rocksdb_goes_on_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut heads = Vec::new();
    for round in 0..3u64 {
        let mut journal = RocksJournal::open(dir.path(), &options()).unwrap();
        if round == 0 {
            journal.start_epoch(linklog::codec::FORMAT_LEVEL, 1).unwrap();
        } else {
            assert_eq!(journal.head(), *heads.last().unwrap());
        }
        let positions =
            journal.append(&[conformance::sample(round), conformance::sample(round + 10)]).unwrap();
        assert_eq!(positions[1], Position::new(1, 3 + round * 2));
        heads.push(journal.head());
    }
    let journal = RocksJournal::open(dir.path(), &options()).unwrap();
    let entries = journal.reader().read(Seq(1), usize::MAX).unwrap();
    assert_eq!(entries.len(), 7);
    let mut digest = linklog::Digest::ZERO;
    for entry in entries {
        digest = entry.view().unwrap().digest_after(digest);
        assert_eq!(digest, entry.digest);
    }
}

#[test]
fn rows_are_there_after_reopening_if_and_only_if_their_records_are() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3u8 {
        let mut guarded = open_guarded(dir.path(), Contents::Journal, &options()).unwrap();
        guarded.begin(linklog::codec::FORMAT_LEVEL, 1).unwrap();
        let journal = &mut guarded.journal;
        assert_eq!(journal.head().position.seq, Seq(1 + u64::from(round)));
        let keys = [[round], [round.wrapping_sub(1)]];
        let found = journal.row_reader().get_many(RowTable::Points, keys).unwrap();
        assert_eq!(found, [None, (round > 0).then(|| b"row".to_vec())]);
        let mut rows = journal.rows();
        rows.put(RowTable::Points, &[round], b"row");
        rows.put(RowTable::Few, b"f", &[round]);
        // Rows without their records are never written.
        let mut lost = journal.rows();
        lost.put(RowTable::Points, &[round + 1], b"lost");
        drop(lost);
        let entry = linklog::codec::record::entry(1, u64::from(round), vec![round; 3]);
        journal.append_with(&[NewRecord { sections: entry, conflict: false }], rows).unwrap();
        guarded.head_file.write(&guarded.journal.head(), 1).unwrap();
    }
    let guarded = open_guarded(dir.path(), Contents::Journal, &options()).unwrap();
    let mut few = Vec::new();
    let keep = |key: &[u8], value: &[u8]| {
        few.push((key.to_vec(), value.to_vec()));
        true
    };
    guarded.journal.row_reader().scan(RowTable::Few, keep).unwrap();
    assert_eq!(few, [(b"f".to_vec(), vec![2])]);
    let entries = guarded.journal.reader().read(Seq(4), usize::MAX).unwrap();
    assert_eq!(entries[0].view().unwrap().manage, [2, 2, 2]);
    assert_eq!(guarded.last_time().unwrap(), 2);
}

#[test]
fn a_directory_of_one_kind_is_not_opened_as_another() {
    let dir = tempfile::tempdir().unwrap();
    drop(open_guarded(dir.path(), Contents::Journal, &options()).unwrap());
    let error = open_guarded(dir.path(), Contents::Full, &options()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("Column families not opened"), "{error}");
}
