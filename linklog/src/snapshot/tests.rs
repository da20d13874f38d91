//! A snapshot is the state of one moment, whole and checked, or nothing.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::change::{CommandId, Precondition};
use crate::digest::SlotSum;
use crate::journal::{Journal, JournalRead, RocksJournal};
use crate::replica::Replica;
use crate::store::{Contents, Find, Order, RowTable, SlotTotals, StoreOptions, Term, Within};
use crate::writer::tests::{delete, key, open as open_writer, put};
use crate::writer::{Decision, Writer};

const FLEET: [u8; 16] = [9; 16];

fn small() -> StoreOptions {
    StoreOptions { block_cache_bytes: 4 << 20, memtable_bytes: 2 << 20, background_threads: 1 }
}

fn cut(contents: Contents) -> Cut<'static> {
    Cut { part_bytes: 20_000, ..Cut::new(contents, FLEET) }
}

/// A writer with `links` links; one was changed, one deleted, one command has an id.
fn writer(dir: &Path, links: usize) -> Writer {
    let writer = open_writer(dir);
    let put_all = (0..links).map(|n| {
        put(&format!("link-{n}"), &format!("https://a.example/{n}/{:x}", n * 7_919), Precondition::Any)
    });
    let all: Vec<_> = put_all.collect();
    for some in all.chunks(500) {
        writer.handle().propose_and_wait(some.to_vec()).unwrap();
    }
    let mut with_id = put("link-1", "https://changed.example/", Precondition::Any);
    with_id.command = Some(CommandId([5; 16]));
    writer.handle().propose_and_wait(vec![with_id, delete("link-2")]).unwrap();
    writer
}

fn always() -> bool {
    true
}

#[test]
fn a_proxys_snapshot_becomes_a_replica_that_agrees_with_the_writer_and_follows_on() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(&dir.path().join("log"), 2_000);
    let commit = writer.handle().commit();
    let manifest =
        write(&Source::from(&writer.reader()), &cut(Contents::Serve), &dir.path().join("snapshot")).unwrap();
    assert!(manifest.parts.len() > 1, "several parts: {}", manifest.parts.len());
    assert_eq!((manifest.head, manifest.serve_sum(), manifest.fleet), (commit.head, commit.serve_sum, FLEET));
    assert_eq!((manifest.serve_entries(), manifest.highest_epoch), (2_000, commit.head.position.epoch));
    // The writer goes on; what was cut out stays what it was.
    writer.handle().propose_and_wait(vec![put("later", "https://a.example/", Precondition::Any)]).unwrap();
    let into = dir.path().join("replica");
    let installed = install(&dir.path().join("snapshot"), Contents::Serve, &into, &small(), &always).unwrap();
    assert_eq!((installed.rows, installed.manifest), (2_000, manifest.clone()));
    let replica = Replica::open(&into, Contents::Serve, &small()).unwrap();
    replica.check(commit.head.position, commit.head.digest, Some(commit.serve_sum)).unwrap();
    assert_eq!(replica.highest_epoch(), commit.head.position.epoch);
    let sees = |code: &str| {
        replica.reader().serve_value(&key(code).encode(), |value| value.map(<[u8]>::to_vec)).unwrap()
    };
    let written = |code: &str| {
        writer.reader().serve_value(&key(code).encode(), |value| value.map(<[u8]>::to_vec)).unwrap()
    };
    for code in ["link-1", "link-2", "link-1999"] {
        assert_eq!(sees(code), written(code), "{code}");
    }
    assert_eq!(sees("later"), None);
    // A replica can give what it got; of the time it knows nothing.
    let source = Source::from(&replica.reader());
    let again = write(&source, &cut(Contents::Serve), &dir.path().join("again")).unwrap();
    assert!(again == Manifest { parts: again.parts.clone(), at_ms: 0, ..manifest });
}

#[test]
fn a_full_snapshot_becomes_a_log_that_a_writer_goes_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(&dir.path().join("log"), 300);
    let commit = writer.handle().commit();
    let last = writer.journal().read(commit.head.position.seq, 1).unwrap();
    let manifest =
        write(&Source::from(&writer.reader()), &cut(Contents::Full), &dir.path().join("snapshot")).unwrap();
    assert!(manifest.at_ms > 0 && !last.is_empty());
    let promoted = dir.path().join("promoted");
    fs::create_dir(&promoted).unwrap();
    install(&dir.path().join("snapshot"), Contents::Full, &promoted.join("db"), &small(), &always).unwrap();
    let (mut head_file, _) = crate::journal::HeadFile::open(&promoted.join("HEAD")).unwrap();
    head_file.write(&manifest.head, manifest.at_ms).unwrap();
    let next = open_writer(&promoted);
    assert_eq!(next.handle().commit().head, commit.head);
    assert_eq!(next.handle().commit().serve_sum, commit.serve_sum);
    assert_eq!(next.journal().first_retained(), commit.head.position.seq.next());
    assert_eq!(next.reader().link(&key("link-7")).unwrap(), writer.reader().link(&key("link-7")).unwrap());
    // What is found by the index, and what became of a command.
    let find = Find {
        all_of: vec![Term::Host("changed.example".into())],
        none_of: Vec::new(),
        within: Within::default(),
        created_from_ms: None,
        created_before_ms: None,
        order: Order::NewestFirst,
        after: None,
        limit: 10,
        steps_max: 1_000,
    };
    assert_eq!(next.reader().find(&find).unwrap().links.len(), 1);
    let old = writer.reader().outcome(CommandId([5; 16])).unwrap();
    assert!(old.is_some() && next.reader().outcome(CommandId([5; 16])).unwrap() == old);
    let put = put("next", "https://a.example/", Precondition::NeverUsed);
    let decided = next.handle().propose_and_wait(vec![put]).unwrap();
    let Decision::Applied { position, at_ms, .. } = &decided[0] else { panic!("{decided:?}") };
    assert_eq!(position.seq, commit.head.position.seq.next());
    assert!(*at_ms >= manifest.at_ms, "the log's time does not fall");
}

#[test]
fn rows_beside_a_journal_are_taken_along_and_the_journal_begins_behind_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = RocksJournal::open(&dir.path().join("clicks"), &small()).unwrap();
    journal.start_epoch(1, 7_000).unwrap();
    let mut rows = journal.rows();
    rows.put(RowTable::Points, b"link", b"3");
    rows.put(RowTable::Few, b"ledger", b"1");
    journal.append_with(&[], rows).unwrap();
    let source = Source::from(&journal.row_reader());
    let manifest = write(&source, &Cut::new(Contents::Journal, FLEET), &dir.path().join("snapshot")).unwrap();
    assert_eq!((manifest.head, manifest.at_ms), (journal.head(), 7_000));
    let into = dir.path().join("copy");
    install(&dir.path().join("snapshot"), Contents::Journal, &into, &small(), &always).unwrap();
    let mut copy = RocksJournal::open(&into, &small()).unwrap();
    assert_eq!(copy.head(), journal.head());
    let found = copy.row_reader().get_many(RowTable::Points, [b"link"]).unwrap();
    assert_eq!(found, vec![Some(b"3".to_vec())]);
    copy.start_epoch(1, 8_000).unwrap();
    assert_eq!(copy.head().position.seq, journal.head().position.seq.next());
}

#[test]
fn an_empty_log_has_a_snapshot_too_and_a_proxy_cannot_give_what_it_has_not() {
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::open(&dir.path().join("empty"), Contents::Serve, &small()).unwrap();
    let source = Source::from(&replica.reader());
    let manifest = write(&source, &cut(Contents::Serve), &dir.path().join("snapshot")).unwrap();
    assert_eq!((manifest.parts.len(), manifest.head), (0, crate::Head::EMPTY));
    install(&dir.path().join("snapshot"), Contents::Serve, &dir.path().join("copy"), &small(), &always)
        .unwrap();
    let refused = write(&source, &cut(Contents::Full), &dir.path().join("full"));
    assert!(matches!(refused, Err(SnapshotError::NotThere { .. })), "{refused:?}");
    let other =
        install(&dir.path().join("snapshot"), Contents::Full, &dir.path().join("x"), &small(), &always);
    assert!(matches!(other, Err(SnapshotError::NotThere { .. })), "{other:?}");
    let occupied =
        install(&dir.path().join("snapshot"), Contents::Serve, &dir.path().join("copy"), &small(), &always);
    assert!(matches!(occupied, Err(SnapshotError::Occupied { .. })), "{occupied:?}");
}

#[test]
fn whatever_is_stopped_halfway_leaves_nothing_that_opens_as_complete() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(&dir.path().join("log"), 3_000);
    let source = Source::from(&writer.reader());
    let stopped = Cut { part_bytes: 10_000, go_on: &|_| false, ..Cut::new(Contents::Full, FLEET) };
    let halfway = dir.path().join("halfway");
    assert!(matches!(write(&source, &stopped, &halfway), Err(SnapshotError::Stopped)));
    assert!(matches!(read_manifest(&halfway), Err(SnapshotError::Unfinished { .. })));
    let snapshot = dir.path().join("snapshot");
    let manifest = write(&source, &cut(Contents::Full), &snapshot).unwrap();
    let into = dir.path().join("into");
    for most in [0, 1, manifest.parts.len() - 1] {
        let asked = AtomicUsize::new(0);
        let go_on = || asked.fetch_add(1, Ordering::Relaxed) < most;
        let result = install(&snapshot, Contents::Full, &into, &small(), &go_on);
        assert!(matches!(result, Err(SnapshotError::Stopped)), "{most}: {result:?}");
        assert!(!into.exists());
    }
    // As a kill in the middle of it leaves things.
    fs::create_dir_all(dir.path().join("into.partial")).unwrap();
    fs::write(dir.path().join("into.partial/CURRENT"), "MANIFEST-000004\n").unwrap();
    install(&snapshot, Contents::Full, &into, &small(), &always).unwrap();
    assert!(!dir.path().join("into.partial").exists());
    assert!(
        manifest
            .parts
            .iter()
            .enumerate()
            .all(|(n, part)| check_part(&snapshot.join(part_name(n)), part).is_ok())
    );
}

#[test]
fn what_was_read_back_is_compared_with_the_sums_of_every_slot() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(&dir.path().join("log"), 50);
    let snapshot = dir.path().join("snapshot");
    let right = write(&Source::from(&writer.reader()), &cut(Contents::Serve), &snapshot).unwrap();
    let mut wrong_slot = right.clone();
    wrong_slot.slots[3].1.serve = SlotSum::ZERO;
    let mut wrong_count = right.clone();
    wrong_count.slots[3].1.serve_entries += 1;
    let mut wrong_table = right.clone();
    wrong_table.tables[0].rows += 1;
    let mut part_left_out = right;
    part_left_out.parts.pop();
    for wrong in [wrong_slot, wrong_count, wrong_table, part_left_out] {
        fs::write(snapshot.join(MANIFEST_FILE), wrong.encode()).unwrap();
        let into = dir.path().join("into");
        let result = install(&snapshot, Contents::Serve, &into, &small(), &always);
        assert!(matches!(result, Err(SnapshotError::Differs { .. })), "{result:?}");
        assert!(!into.exists());
    }
}

#[test]
fn a_flipped_byte_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(&dir.path().join("log"), 600);
    let snapshot = dir.path().join("snapshot");
    write(&Source::from(&writer.reader()), &cut(Contents::Full), &snapshot).unwrap();
    let mut files: Vec<_> = fs::read_dir(&snapshot).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let into = dir.path().join("into");
    proptest!(ProptestConfig::with_cases(512), |(file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), flip in 1u8..)| {
        let path = &files[file.index(files.len())];
        let right = fs::read(path).unwrap();
        let mut wrong = right.clone();
        wrong[at.index(right.len())] ^= flip;
        fs::write(path, &wrong).unwrap();
        let refused = install(&snapshot, Contents::Full, &into, &small(), &always);
        fs::write(path, &right).unwrap();
        prop_assert!(
            matches!(refused, Err(SnapshotError::BadPart { .. } | SnapshotError::BadManifest(_))),
            "{refused:?}"
        );
        prop_assert!(!into.exists());
    });
    install(&snapshot, Contents::Full, &into, &small(), &always).unwrap();
}

/// What one version writes, every later one reads: a change of these bytes is another magic number, never another file.
#[test]
fn the_bytes_of_a_manifest_are_frozen() {
    let sum = |byte| SlotSum::from_bytes([byte; 16]);
    let totals = SlotTotals { serve: sum(1), manage: sum(2), serve_entries: 3, manage_entries: 4 };
    let table = |name, byte| super::manifest::Table { name, rows: 5, sum: sum(byte) };
    let part = |table, byte| Part {
        table,
        bytes: 1 << 20,
        rows: 5,
        checksum: [byte; 16],
        first_key: key("link-1").encode().to_vec(),
    };
    let manifest = Manifest {
        contents: Contents::Full,
        format_level: 2,
        fleet: FLEET,
        head: crate::Head {
            position: crate::Position::new(3, 1 << 40),
            digest: crate::Digest::from_bytes([0xd1; 16]),
        },
        highest_epoch: crate::Epoch(4),
        at_ms: 1_700_000_000_000,
        parts: vec![part(0, 0xa1), part(0, 0xa2), part(1, 0xa3)],
        index_version: 2,
        tables: vec![table("serve", 0xb1), table("manage", 0xb2)],
        slots: vec![(crate::Slot::new(7).unwrap(), totals), (crate::Slot::EVERYWHERE, totals)],
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/snapshot-manifest.hex");
    let line = |line: &[u8]| line.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n";
    let hex: String = manifest.encode().chunks(32).map(line).collect();
    if !path.exists() && std::env::var_os("SIGNPOST_WRITE_GOLDEN").is_some() {
        fs::write(&path, &hex).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), hex);
    assert!(Manifest::decode(&manifest.encode()).unwrap() == manifest);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes_are_no_manifest_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), honest in any::<bool>()) {
        let mut bytes = bytes;
        if honest {
            // With a right beginning and a right checksum everything else is looked at.
            bytes.splice(0..0, *b"SPSNAP\0\x01s\x01");
            let checksum = xxhash_rust::xxh3::xxh3_128(&bytes).to_le_bytes();
            bytes.extend_from_slice(&checksum);
        }
        if let Ok(manifest) = Manifest::decode(&bytes) {
            prop_assert_eq!(manifest.encode(), bytes);
        }
    }
}

#[test]
fn a_proxy_takes_the_records_before_an_epoch_that_its_snapshots_maker_had_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(&dir.path().join("log"), 10);
    let own = writer.handle().commit().head.position.epoch;
    writer.handle().fence_and_wait(own.0 + 1);
    for (contents, accepted) in [(Contents::Serve, own.0), (Contents::Full, own.0 + 1)] {
        let (snapshot, into) = (dir.path().join("snapshot"), dir.path().join("made"));
        let manifest = write(&Source::from(&writer.reader()), &cut(contents), &snapshot).unwrap();
        assert_eq!(manifest.highest_epoch.0, own.0 + 1);
        install(&snapshot, contents, &into, &small(), &always).unwrap();
        assert_eq!(Replica::open(&into, contents, &small()).unwrap().highest_epoch().0, accepted);
        fs::remove_dir_all(&snapshot).unwrap();
        fs::remove_dir_all(&into).unwrap();
    }
}
