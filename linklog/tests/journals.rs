//! Every journal passes the same checks.
#![allow(clippy::unwrap_used)]

use linklog::journal::{Journal, MemoryJournal, RocksJournal, conformance};
use linklog::store::StoreOptions;
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
