//! Replicas follow exactly, refuse everything else, and agree with the writer.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::change::Precondition;
use crate::codec::FORMAT_LEVEL;
use crate::codec::frame::{FrameRecord, FrameWriter, Section};
use crate::codec::record::Envelope;
use crate::digest::SectionHash;
use crate::journal::{Entry, Journal, JournalRead, MemoryJournal, NewRecord};
use crate::key::StateKey;
use crate::limits::FRAME_BYTES_MAX;
use crate::link::LinkView;
use crate::position::Seq;
use crate::writer::Writer;
use crate::writer::tests::{delete, key, open as open_writer, put};

const ENVELOPE: Envelope = Envelope { level: FORMAT_LEVEL, at_ms: 1, nonce: [3; 16] };

fn small() -> StoreOptions {
    StoreOptions { block_cache_bytes: 4 << 20, memtable_bytes: 2 << 20, background_threads: 1 }
}

fn open(dir: &Path) -> Replica {
    Replica::open(dir, Contents::Serve, &small()).unwrap()
}

pub(crate) fn frame_of(entries: &[Entry], with_manage: bool) -> Vec<u8> {
    let mut frame = FrameWriter::new();
    for entry in entries {
        let view = entry.view().unwrap();
        let manage = if with_manage {
            Section::Full(view.manage)
        } else {
            Section::Hash(SectionHash::of(view.manage))
        };
        frame.push(&FrameRecord {
            header: view.header,
            position: view.position,
            conflict: entry.conflict,
            serve: Section::Full(view.serve),
            manage,
        });
    }
    frame.finish(entries.last().unwrap().digest)
}

fn entries(journal: &dyn JournalRead, from: u64) -> Vec<Entry> {
    journal.read(Seq(from), FRAME_BYTES_MAX).unwrap()
}

fn write(writer: &Writer, changes: Vec<crate::Change>) {
    writer.handle().propose_and_wait(changes).unwrap();
}

fn target(replica: &Replica, code: &str) -> Option<String> {
    let read = |value: Option<&[u8]>| Some(LinkView::of_value(value?).unwrap()?.to_link().unwrap().target);
    replica.reader().serve_value(&key(code).encode(), read).unwrap()
}

/// A writer with a few links, and the frames of its records one by one.
fn history(dir: &Path) -> (Writer, Vec<Vec<u8>>) {
    let writer = open_writer(dir);
    for n in 0..5 {
        write(&writer, vec![put(&format!("link-{n}"), "https://a.example/", Precondition::Any)]);
    }
    let frames = entries(&writer.journal(), 1)
        .iter()
        .map(|entry| frame_of(std::slice::from_ref(entry), false))
        .collect();
    (writer, frames)
}

#[test]
fn a_replica_that_got_everything_agrees_with_the_writer() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let (writer, _) = history(dirs[0].path());
    write(&writer, vec![delete("link-2"), put("link-3", "https://b.example/", Precondition::Version(1))]);
    let all = entries(&writer.journal(), 1);
    let commit = writer.handle().commit();
    let mut proxy = open(dirs[1].path());
    let applied = proxy.apply(&frame_of(&all, false)).unwrap();
    assert_eq!((applied.head, applied.records), (commit.head, all.len()));
    assert_eq!(applied.changed.len(), 5, "each changed key once");
    proxy.check(commit.head.position, commit.head.digest, Some(commit.serve_sum)).unwrap();
    assert_eq!(target(&proxy, "link-2"), None);
    assert_eq!(target(&proxy, "link-3").as_deref(), Some("https://b.example/"));
    let mut standby = Replica::open(dirs[2].path(), Contents::Full, &small()).unwrap();
    standby.apply(&frame_of(&all, true)).unwrap();
    standby.check(commit.head.position, commit.head.digest, Some(commit.serve_sum)).unwrap();
    let (ours, theirs) = (standby.reader().link(&key("link-3")), writer.reader().link(&key("link-3")));
    assert_eq!(ours.unwrap(), theirs.unwrap());
}

#[test]
fn gaps_repeats_and_reordering_are_refused_and_change_nothing() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (_writer, frames) = history(dirs[0].path());
    let mut replica = open(dirs[1].path());
    assert!(matches!(replica.apply(&frames[1]), Err(ApplyError::Gap { expected: Seq(1), found: Seq(2) })));
    replica.apply(&frames[0]).unwrap();
    replica.apply(&frames[1]).unwrap();
    let head = replica.head();
    assert!(matches!(replica.apply(&frames[3]), Err(ApplyError::Gap { expected: Seq(3), found: Seq(4) })));
    assert!(matches!(
        replica.apply(&frames[1]),
        Err(ApplyError::Repeated { expected: Seq(3), found: Seq(2) })
    ));
    assert_eq!(replica.head(), head);
    replica.apply(&frames[2]).unwrap();
}

#[test]
fn a_frame_with_any_damaged_byte_is_refused() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (_writer, frames) = history(dirs[0].path());
    let mut replica = open(dirs[1].path());
    for at in 0..frames[0].len() {
        let mut bad = frames[0].clone();
        bad[at] ^= 0x40;
        assert!(matches!(replica.apply(&bad), Err(ApplyError::BadFrame(_))), "byte {at}");
    }
    assert_eq!(replica.head(), Head::EMPTY);
}

#[test]
fn another_history_shows_in_the_digest() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (writer, frames) = history(dirs[0].path());
    let mut replica = open(dirs[1].path());
    replica.apply(&frames[0]).unwrap();
    // Record 2 of another log: the same place, another content before the digest that follows from ours.
    let mut other = MemoryJournal::new();
    other.start_epoch(FORMAT_LEVEL, 77).unwrap();
    let sections =
        crate::codec::record::sections_of(&put("other", "https://x.example/", Precondition::Any), &ENVELOPE);
    other.append(&[NewRecord { sections, conflict: false }]).unwrap();
    let foreign = frame_of(&entries(&*other.reader(), 2), false);
    let refused = replica.apply(&foreign).unwrap_err();
    assert!(matches!(refused, ApplyError::WrongDigest { .. }) && refused.is_divergence(), "{refused}");
    let commit = writer.handle().commit();
    assert!(replica.check(replica.head().position, commit.head.digest, None).is_err());
    replica.check(commit.head.position, commit.head.digest, None).expect("another position says nothing");
}

#[test]
fn a_state_that_differs_shows_in_the_sums() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (writer, _) = history(dirs[0].path());
    let mut replica = open(dirs[1].path());
    replica.apply(&frame_of(&entries(&writer.journal(), 1), false)).unwrap();
    let commit = writer.handle().commit();
    let mut wrong = commit.serve_sum;
    wrong.add(b"key", b"value");
    let found = replica.check(commit.head.position, commit.head.digest, Some(wrong));
    assert!(matches!(found, Err(Mismatch::State { .. })), "{found:?}");
}

#[test]
fn an_outcome_that_does_not_follow_from_the_state_is_refused() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (writer, frames) = history(dirs[0].path());
    let mut replica = open(dirs[1].path());
    replica.apply(&frames[0]).unwrap();
    // The writer says "applied", but the link this record needs is not there.
    let mut entry = entries(&writer.journal(), 2).remove(0);
    let view = entry.view().unwrap();
    let sections = crate::codec::record::sections_of(
        &put("link-0", "https://a.example/", Precondition::Version(3)),
        &ENVELOPE,
    );
    let mut bytes = Vec::new();
    crate::codec::record::encode(&mut bytes, view.position, &sections);
    entry.digest = crate::codec::record::decode(&bytes).unwrap().digest_after(replica.head().digest);
    entry.record = bytes;
    let refused = replica.apply(&frame_of(&[entry], false)).unwrap_err();
    assert!(matches!(refused, ApplyError::WrongOutcome { .. }), "{refused}");
}

#[test]
fn a_replica_follows_into_a_new_epoch_and_not_back() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut journal = MemoryJournal::new();
    journal.start_epoch(FORMAT_LEVEL, 1).unwrap();
    let record = |code: &str| NewRecord {
        sections: crate::codec::record::sections_of(
            &put(code, "https://a.example/", Precondition::Any),
            &ENVELOPE,
        ),
        conflict: false,
    };
    journal.append(&[record("a")]).unwrap();
    journal.start_epoch(FORMAT_LEVEL, 2).unwrap();
    journal.append(&[record("b")]).unwrap();
    let all = entries(&*journal.reader(), 1);
    let mut replica = open(dirs[0].path());
    let without_start = [all[0].clone(), all[1].clone()];
    replica.apply(&frame_of(&without_start, false)).unwrap();
    assert_eq!(replica.highest_epoch(), Epoch(1));
    replica.apply(&frame_of(&all[2..], false)).unwrap();
    assert_eq!(replica.highest_epoch(), Epoch(2));
    // A writer of epoch 1 that goes on at the same seq is not followed.
    let mut stale = MemoryJournal::new();
    stale.start_epoch(FORMAT_LEVEL, 1).unwrap();
    stale.append(&[record("a"), record("x"), record("y"), record("z")]).unwrap();
    let refused = replica.apply(&frame_of(&entries(&*stale.reader(), 5), false));
    assert!(matches!(refused, Err(ApplyError::OldEpoch { .. })), "{refused:?}");
    drop(replica);
    assert_eq!(open(dirs[0].path()).highest_epoch(), Epoch(2), "the accepted epoch survives");
    // An epoch that continues another history is refused.
    let mut other = open(dirs[1].path());
    other.apply(&frame_of(&entries(&*stale.reader(), 1)[..2], false)).unwrap();
    let mut forked = MemoryJournal::new();
    forked.start_epoch(FORMAT_LEVEL, 1).unwrap();
    forked.append(&[record("q")]).unwrap();
    forked.start_epoch(FORMAT_LEVEL, 2).unwrap();
    let refused = other.apply(&frame_of(&entries(&*forked.reader(), 3), false));
    assert!(matches!(refused, Err(ApplyError::WrongPrevious { .. })), "{refused:?}");
}

#[test]
fn a_change_of_epoch_without_its_first_record_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = MemoryJournal::new();
    journal.start_epoch(FORMAT_LEVEL, 1).unwrap();
    let mut replica = open(dir.path());
    replica.apply(&frame_of(&entries(&*journal.reader(), 1), false)).unwrap();
    let sections =
        crate::codec::record::sections_of(&put("a", "https://a.example/", Precondition::Any), &ENVELOPE);
    let mut record = Vec::new();
    crate::codec::record::encode(&mut record, Position::new(2, 2), &sections);
    let digest = crate::codec::record::decode(&record).unwrap().digest_after(replica.head().digest);
    let refused = replica.apply(&frame_of(&[Entry { digest, conflict: false, record }], false));
    assert!(matches!(refused, Err(ApplyError::EpochWithoutStart { .. })), "{refused:?}");
}

#[test]
fn a_replica_that_is_opened_again_goes_on_where_it_was() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (writer, frames) = history(dirs[0].path());
    for frame in &frames {
        let mut replica = open(dirs[1].path());
        replica.apply(frame).unwrap();
    }
    let replica = open(dirs[1].path());
    let commit = writer.handle().commit();
    assert_eq!(replica.head(), commit.head);
    replica.check(commit.head.position, commit.head.digest, Some(commit.serve_sum)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Random changes through the writer; the replica's state equals a `BTreeMap` that plays the same rules.
    #[test]
    fn a_replica_equals_a_model(changes in prop::collection::vec((0u8..6, 0u8..5, 0u8..4), 1..40), split in 1usize..7) {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let writer = open_writer(dirs[0].path());
        let mut model: BTreeMap<String, (Option<String>, u64)> = BTreeMap::new();
        for chunk in changes.chunks(split) {
            let mut proposed = Vec::new();
            for (n, (code, what, version)) in chunk.iter().enumerate() {
                let code = format!("code-{code}");
                let url = format!("https://{n}.example/{what}{version}");
                let entry = model.get(&code).cloned();
                let live = entry.as_ref().is_some_and(|(target, _)| target.is_some());
                let last = entry.as_ref().map_or(0, |(_, version)| *version);
                let (change, happens) = match what {
                    0 => (put(&code, &url, Precondition::Any), true),
                    1 => (put(&code, &url, Precondition::Absent), !live),
                    2 => (put(&code, &url, Precondition::NeverUsed), entry.is_none()),
                    3 => (put(&code, &url, Precondition::Version(u64::from(*version))), live && last == u64::from(*version)),
                    _ => (delete(&code), live),
                };
                proposed.push(change);
                if happens {
                    let target = (*what != 4).then_some(url);
                    model.insert(code, (target, last + 1));
                }
            }
            write(&writer, proposed);
        }
        let mut replica = open(dirs[1].path());
        for frame in entries(&writer.journal(), 1).chunks(split) {
            replica.apply(&frame_of(frame, false)).unwrap();
        }
        let commit = writer.handle().commit();
        prop_assert_eq!(replica.check(commit.head.position, commit.head.digest, Some(commit.serve_sum)), Ok(()));
        let (mut state, mut sum) = (BTreeMap::new(), SlotSum::ZERO);
        replica.reader().scan_served(&[], |bytes, value| {
            let Ok(StateKey::Link(key)) = StateKey::decode(bytes) else { panic!("only links were written") };
            let (stamp, _) = crate::codec::value::split(value).unwrap();
            let target = LinkView::of_value(value).unwrap().map(|view| view.to_link().unwrap().target);
            state.insert(key.code.to_string(), (target, stamp.version));
            sum.add(bytes, value);
            true
        }).unwrap();
        prop_assert_eq!(state.len() as u64, replica.serve_entries());
        prop_assert_eq!(state, model);
        prop_assert_eq!(sum, replica.serve_sum(), "the sum is not that of the stored state");
        drop(replica);
        // Opening takes most of a case's time: every sixth is enough.
        if split == 1 {
            prop_assert_eq!(open(dirs[1].path()).serve_sum(), sum, "the stored sums are not those in memory");
        }
    }
}

#[test]
fn a_row_that_is_not_as_applied_shows_in_the_sums_when_its_key_changes() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (writer, _) = history(dirs[0].path());
    let mut replica = open(dirs[1].path());
    replica.apply(&frame_of(&entries(&writer.journal(), 1), false)).unwrap();
    // A row changed behind the replica's back: the next change of the key takes the wrong value out of the sum.
    let encoded = key("link-1").encode();
    let mut batch = rocksdb::WriteBatch::default();
    let mut altered = replica.reader().serve_value(&encoded, |value| value.unwrap().to_vec()).unwrap();
    *altered.last_mut().unwrap() ^= 1;
    batch.put_cf(replica.store.table(crate::store::SERVE), &*encoded, altered);
    replica.store.write(batch, false).unwrap();
    write(&writer, vec![put("link-1", "https://b.example/", Precondition::Any)]);
    let head = replica.head().position.seq.next().0;
    replica.apply(&frame_of(&entries(&writer.journal(), head), false)).unwrap();
    let commit = writer.handle().commit();
    let found = replica.check(commit.head.position, commit.head.digest, Some(commit.serve_sum));
    assert!(matches!(found, Err(Mismatch::State { .. })), "{found:?}");
}

#[test]
fn a_record_whose_body_cannot_be_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut change = put("a", "https://a.example/", Precondition::Any);
    change.parts[0].operation = crate::Operation::Put { serve: vec![0xff], manage: Vec::new() };
    let mut journal = MemoryJournal::new();
    journal.start_epoch(FORMAT_LEVEL, 1).unwrap();
    let sections = crate::codec::record::sections_of(&change, &ENVELOPE);
    journal.append(&[NewRecord { sections, conflict: false }]).unwrap();
    let mut replica = open(dir.path());
    let refused = replica.apply(&frame_of(&entries(&*journal.reader(), 1), false)).unwrap_err();
    assert!(matches!(refused, ApplyError::BadSection { .. }) && !refused.is_divergence(), "{refused}");
    assert_eq!(replica.head(), Head::EMPTY);
}

#[test]
fn a_proxys_database_is_not_taken_for_a_log() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let refused = Replica::open(dir.path(), Contents::Full, &small()).err().unwrap();
    assert!(matches!(refused, StoreError::WrongContents { .. }), "{refused}");
}
