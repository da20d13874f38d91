//! What every journal must do, as checks that any implementation can be put through.
//!
//! Each check takes a fresh journal and panics with what went wrong: they are meant for tests, also of crates that bring their own
//! journal. [`all`] runs them all.

use super::{Journal, JournalRead, NewRecord, ReadError};
use crate::change::{Change, Operation, Part, Precondition};
use crate::codec::FORMAT_LEVEL;
use crate::codec::record::{self, Envelope};
use crate::digest::Digest;
use crate::key::{DomainId, Key, StateKey};
use crate::link::{Link, LinkManage};
use crate::position::{Epoch, Head, Position, Seq};

/// Runs every check, each on a journal of its own.
///
/// # Panics
/// If the implementation breaks a rule.
pub fn all(mut fresh: impl FnMut() -> Box<dyn Journal>) {
    an_empty_journal_has_no_records(&mut *fresh());
    positions_are_dense_and_epochs_rise(&mut *fresh());
    the_digest_chain_can_be_recomputed_from_what_is_read(&mut *fresh());
    reading_starts_anywhere_and_respects_the_byte_limit(&mut *fresh());
    the_first_record_of_an_epoch_names_the_record_before(&mut *fresh());
    digests_are_known_for_retained_positions_of_the_right_epoch_only(&mut *fresh());
    trimmed_records_are_reported_as_not_retained(&mut *fresh());
    readers_see_records_while_they_are_written(&mut *fresh());
}

/// Returns a record that puts a link whose target depends on `n`.
pub fn sample(n: u64) -> NewRecord {
    let code = format!("sample-{n}").parse().expect("a valid code");
    let link = Link { target: format!("https://example.org/{n}"), ..Link::default() };
    let part = Part {
        key: StateKey::Link(Key::new(DomainId::DEFAULT, code)),
        precondition: Precondition::Any,
        operation: Operation::Put { serve: link.encode(), manage: LinkManage::default().encode() },
    };
    let envelope = Envelope { level: FORMAT_LEVEL, at_ms: n, nonce: [7; 16] };
    let sections = record::sections_of(&Change::new("conformance", vec![part]), &envelope);
    NewRecord { sections, conflict: n.is_multiple_of(7) }
}

fn append(journal: &mut dyn Journal, numbers: std::ops::Range<u64>) -> Vec<Position> {
    let records: Vec<_> = numbers.map(sample).collect();
    journal.append(&records).expect("append")
}

fn read_all(reader: &dyn JournalRead, from: u64) -> Vec<super::Entry> {
    let mut entries = Vec::new();
    loop {
        let next = reader.read(Seq(from + entries.len() as u64), 10_000).expect("read");
        if next.is_empty() {
            return entries;
        }
        entries.extend(next);
    }
}

fn an_empty_journal_has_no_records(journal: &mut dyn Journal) {
    let reader = journal.reader();
    assert_eq!(reader.head(), Head::EMPTY);
    assert_eq!(reader.first_retained(), Seq(1));
    assert!(reader.read(Seq(1), 1_000).expect("read").is_empty());
    assert_eq!(reader.digest_at(Position::ZERO).expect("read"), Some(Digest::ZERO));
    assert_eq!(reader.digest_at(Position::new(1, 1)).expect("read"), None);
}

fn positions_are_dense_and_epochs_rise(journal: &mut dyn Journal) {
    assert_eq!(journal.start_epoch(FORMAT_LEVEL, 1).expect("epoch"), Position::new(1, 1));
    assert_eq!(append(journal, 0..3), [2, 3, 4].map(|seq| Position::new(1, seq)));
    assert_eq!(append(journal, 3..3), []);
    assert_eq!(journal.start_epoch(FORMAT_LEVEL, 2).expect("epoch"), Position::new(2, 5));
    assert_eq!(append(journal, 3..5), [6, 7].map(|seq| Position::new(2, seq)));
    assert_eq!(journal.reader().head().position, Position::new(2, 7));
}

fn the_digest_chain_can_be_recomputed_from_what_is_read(journal: &mut dyn Journal) {
    journal.start_epoch(FORMAT_LEVEL, 1).expect("epoch");
    append(journal, 0..10);
    append(journal, 10..25);
    let reader = journal.reader();
    let mut digest = Digest::ZERO;
    let entries = read_all(&*reader, 1);
    assert_eq!(entries.len(), 26);
    for (n, entry) in entries.iter().enumerate() {
        let view = entry.view().expect("record");
        digest = view.digest_after(digest);
        assert_eq!(entry.digest, digest, "digest of record {}", n + 1);
        if n > 0 {
            let expected = sample(n as u64 - 1);
            assert_eq!((view.serve, view.manage), (&*expected.sections.serve, &*expected.sections.manage));
            assert_eq!(entry.conflict, expected.conflict);
        }
    }
    assert_eq!(reader.head().digest, digest);
}

fn reading_starts_anywhere_and_respects_the_byte_limit(journal: &mut dyn Journal) {
    journal.start_epoch(FORMAT_LEVEL, 1).expect("epoch");
    append(journal, 0..50);
    let reader = journal.reader();
    let one = reader.read(Seq(20), 1).expect("read");
    assert_eq!(one.len(), 1, "a record larger than the limit still comes");
    assert_eq!(one[0].view().expect("record").position, Position::new(1, 20));
    let some = reader.read(Seq(20), one[0].record.len() * 4).expect("read");
    assert!((2..=4).contains(&some.len()), "{} records", some.len());
    assert_eq!(reader.read(Seq(51), usize::MAX).expect("read").len(), 1);
    assert!(reader.read(Seq(52), usize::MAX).expect("read").is_empty());
}

fn the_first_record_of_an_epoch_names_the_record_before(journal: &mut dyn Journal) {
    journal.start_epoch(FORMAT_LEVEL, 1).expect("epoch");
    append(journal, 0..2);
    let before = journal.reader().head();
    let start = journal.start_epoch(FORMAT_LEVEL, 9).expect("epoch");
    let entry = journal.reader().read(start.seq, 1).expect("read").remove(0);
    let view = entry.view().expect("record");
    assert_eq!(view.header.kind, record::Kind::EpochStart);
    let serve = record::read_serve(view.header, view.serve).expect("section");
    assert_eq!((serve.at_ms, serve.previous), (9, Some(before)));
    assert_eq!(view.position.epoch, Epoch(2));
}

fn digests_are_known_for_retained_positions_of_the_right_epoch_only(journal: &mut dyn Journal) {
    journal.start_epoch(FORMAT_LEVEL, 1).expect("epoch");
    append(journal, 0..3);
    let reader = journal.reader();
    let entries = read_all(&*reader, 1);
    assert_eq!(reader.digest_at(Position::new(1, 2)).expect("read"), Some(entries[1].digest));
    assert_eq!(reader.digest_at(Position::new(1, 4)).expect("read"), Some(entries[3].digest));
    assert_eq!(reader.digest_at(Position::new(2, 2)).expect("read"), None);
    assert_eq!(reader.digest_at(Position::new(1, 5)).expect("read"), None);
}

fn trimmed_records_are_reported_as_not_retained(journal: &mut dyn Journal) {
    journal.start_epoch(FORMAT_LEVEL, 1).expect("epoch");
    // More than one trimming mark of any implementation: 100 × 2,000 records of some 150 bytes.
    for group in 0..100 {
        append(journal, group * 2_000..(group + 1) * 2_000);
    }
    let reader = journal.reader();
    let head = reader.head();
    journal.trim(u64::MAX).expect("trim");
    assert_eq!(reader.first_retained(), Seq(1), "nothing is trimmed below the bytes to keep");
    journal.trim(10_000).expect("trim");
    let first = reader.first_retained();
    assert!(first > Seq(1) && first <= head.position.seq, "first retained is {first}");
    assert_eq!(reader.head(), head);
    let refused = reader.read(Seq(first.0 - 1), 1_000);
    assert!(matches!(refused, Err(ReadError::NotRetained { first_retained, .. }) if first_retained == first));
    let base = Position::new(1, first.0 - 1);
    let digest =
        reader.digest_at(base).expect("read").expect("the digest before the first retained record is kept");
    let entry = reader.read(first, 1).expect("read").remove(0);
    assert_eq!(entry.view().expect("record").digest_after(digest), entry.digest);
    assert_eq!(read_all(&*reader, first.0).len() as u64, head.position.seq.0 - first.0 + 1);
    append(journal, 0..1);
    assert_eq!(reader.head().position.seq, head.position.seq.next());
}

fn readers_see_records_while_they_are_written(journal: &mut dyn Journal) {
    const GROUPS: u64 = 50;
    journal.start_epoch(FORMAT_LEVEL, 1).expect("epoch");
    let reader = journal.reader();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut next = Seq(1);
            let mut digest = Digest::ZERO;
            while next.0 <= 1 + GROUPS * 10 {
                for entry in reader.read(next, 2_000).expect("read") {
                    let view = entry.view().expect("record");
                    assert_eq!(view.position.seq, next);
                    digest = view.digest_after(digest);
                    assert_eq!(digest, entry.digest);
                    next = next.next();
                }
            }
        });
        for group in 0..GROUPS {
            append(journal, group * 10..(group + 1) * 10);
        }
    });
}
