//! A standby is the writer's log, record by record, and goes on where that one ended.

use super::*;
use crate::change::Precondition;
use crate::journal::JournalRead;
use crate::limits::FRAME_BYTES_MAX;
use crate::position::Seq;
use crate::replica::frame_of;
use crate::writer::tests::{key, open as open_writer, options, put};
use crate::writer::{Decision, ProposeError, Writer};

const OPTIONS: StandbyOptions = StandbyOptions {
    store: StoreOptions { block_cache_bytes: 4 << 20, memtable_bytes: 2 << 20, background_threads: 1 },
    journal_bytes_kept: u64::MAX,
};

fn create(writer: &Writer, code: &str) {
    let made = writer.handle().propose_and_wait(vec![put(code, "https://a.example/", Precondition::Absent)]);
    assert!(matches!(made.unwrap()[0], Decision::Applied { .. }));
}

/// Brings everything the writer has from `from` on, in one frame.
fn frame(journal: &dyn JournalRead, from: u64) -> Vec<u8> {
    frame_of(&journal.read(Seq(from), FRAME_BYTES_MAX).unwrap(), true)
}

#[test]
fn a_promoted_standby_goes_on_where_the_writer_ended() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let writer = open_writer(dirs[0].path());
    create(&writer, "one");
    let mut standby = Standby::open(dirs[1].path(), &OPTIONS).unwrap();
    let followed = standby.follow(&frame(&writer.journal(), 1), Epoch(1), 1).unwrap();
    assert_eq!((followed.head, followed.records), (writer.handle().commit().head, 2));
    assert_eq!(standby.handle().commit(), Commit { synced_at_us: 1, ..writer.handle().commit() });
    assert_eq!(standby.handle().propose_and_wait(Vec::new()), Err(ProposeError::Standby));
    create(&writer, "two");
    drop(standby);
    // Nobody writes to it by mistake, and it goes on after a restart.
    assert!(matches!(Writer::open(dirs[1].path(), options()), Err(OpenError::Following { .. })));
    let mut standby = Standby::open(dirs[1].path(), &OPTIONS).unwrap();
    standby.follow(&frame(&writer.journal(), 3), Epoch(1), 2).unwrap();
    let journal = standby.journal();
    assert_eq!(
        journal.read(Seq(1), FRAME_BYTES_MAX).unwrap(),
        writer.journal().read(Seq(1), FRAME_BYTES_MAX).unwrap()
    );
    drop(journal);
    assert!(standby.fence(Epoch(2)).unwrap());
    assert_eq!(standby.promote(1).unwrap(), Position::new(2, 4));
    assert!(Standby::was_promoted(dirs[1].path(), &OPTIONS.store).unwrap());
    let promoted = open_writer(dirs[1].path());
    create(&promoted, "three");
    for code in ["one", "two", "three"] {
        assert!(promoted.reader().link(&key(code)).unwrap().is_some(), "{code}");
    }
    let taken =
        promoted.handle().propose_and_wait(vec![put("one", "https://b.example/", Precondition::Absent)]);
    assert!(matches!(taken.unwrap()[0], Decision::Conflict(_)));
}

#[test]
fn a_fenced_standby_takes_nothing_more_from_the_old_writer_whatever_happens_to_it() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let writer = open_writer(dirs[0].path());
    let mut standby = Standby::open(dirs[1].path(), &OPTIONS).unwrap();
    standby.follow(&frame(&writer.journal(), 1), Epoch(1), 1).unwrap();
    assert!(standby.fence(Epoch(2)).unwrap());
    assert!(!standby.fence(Epoch(2)).unwrap(), "an epoch is accepted once");
    drop(standby);
    create(&writer, "late");
    let mut standby = Standby::open(dirs[1].path(), &OPTIONS).unwrap();
    let refused = standby.follow(&frame(&writer.journal(), 2), Epoch(1), 2).unwrap_err();
    assert!(matches!(refused, FollowError::Apply(ApplyError::OldEpoch { .. })), "{refused}");
    // Before it begins its own epoch it takes over what others have.
    standby.adopt(&frame(&writer.journal(), 2), 3).unwrap();
    assert_eq!(standby.highest_epoch(), Epoch(2));
    assert_eq!(standby.promote(1).unwrap(), Position::new(2, 3));
}

#[test]
fn a_standby_that_accepted_an_epoch_before_it_had_all_it_began_with_catches_up_with_its_writer() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let writer = open_writer(dirs[0].path());
    let [mut ahead, mut behind] = [1, 2].map(|n: usize| Standby::open(dirs[n].path(), &OPTIONS).unwrap());
    behind.follow(&frame(&writer.journal(), 1), Epoch(1), 1).unwrap();
    create(&writer, "late");
    ahead.follow(&frame(&writer.journal(), 1), Epoch(1), 1).unwrap();
    for standby in [&mut ahead, &mut behind] {
        assert!(standby.fence(Epoch(2)).unwrap());
    }
    ahead.promote(1).unwrap();
    let promoted = open_writer(dirs[1].path());
    create(&promoted, "new");
    behind.follow(&frame(&promoted.journal(), 2), Epoch(2), 1).unwrap();
    assert_eq!(behind.head(), promoted.handle().commit().head);
}

#[test]
fn a_frame_that_is_refused_leaves_no_trace_in_the_journal() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let writer = open_writer(dirs[0].path());
    create(&writer, "one");
    let mut standby = Standby::open(dirs[1].path(), &OPTIONS).unwrap();
    let entries = writer.journal().read(Seq(1), FRAME_BYTES_MAX).unwrap();
    let refused = standby.follow(&frame_of(&entries, false), Epoch(1), 1).unwrap_err();
    assert!(matches!(refused, FollowError::Apply(ApplyError::MissingSection { .. })), "{refused}");
    let mut damaged = frame_of(&entries, true);
    damaged[20] ^= 1;
    assert!(standby.follow(&damaged, Epoch(1), 1).is_err());
    assert_eq!(standby.head(), Head::EMPTY);
    standby.follow(&frame_of(&entries, true), Epoch(1), 1).unwrap();
    assert_eq!(standby.head(), writer.handle().commit().head);
}

#[test]
fn a_writer_that_was_replaced_does_not_write_after_a_restart_either() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open_writer(dir.path());
    create(&writer, "one");
    let head = writer.handle().fence_and_wait(2);
    assert_eq!(head, writer.handle().commit().head);
    assert_eq!(writer.handle().propose_and_wait(Vec::new()), Err(ProposeError::Fenced));
    drop(writer);
    let refused = Writer::open(dir.path(), options()).map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::Replaced { own: Epoch(1), by: Epoch(2), .. }), "{refused}");
}

#[test]
fn a_writer_that_lost_its_tail_recovers_it_from_a_sync_member() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let writer = open_writer(dirs[0].path());
    create(&writer, "kept");
    let mut standby = Standby::open(dirs[1].path(), &OPTIONS).unwrap();
    standby.follow(&frame(&writer.journal(), 1), Epoch(1), 1).unwrap();
    // A log that ends there, beside a HEAD file that knows of more.
    let mut shorter = Standby::open_for_recovery(dirs[2].path(), &OPTIONS).unwrap();
    shorter.follow(&frame(&writer.journal(), 1), Epoch(1), 1).unwrap();
    drop(shorter);
    create(&writer, "lost");
    standby.follow(&frame(&writer.journal(), 3), Epoch(1), 1).unwrap();
    drop(writer);
    std::fs::copy(dirs[0].path().join("HEAD"), dirs[2].path().join("HEAD")).unwrap();
    let refused = Writer::open(dirs[2].path(), options()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("signpost-admin recover"), "{refused}");

    let mut recovering = Standby::open_for_recovery(dirs[2].path(), &OPTIONS).unwrap();
    recovering.fence(Epoch(2)).unwrap();
    assert!(matches!(recovering.promote(1), Err(StandbyFailure::Open(OpenError::Lost { .. }))));
    let mut recovering = Standby::open_for_recovery(dirs[2].path(), &OPTIONS).unwrap();
    recovering.adopt(&frame(&standby.journal(), 3), 1).unwrap();
    assert_eq!(recovering.promote(1).unwrap(), Position::new(2, 4));
    let recovered = open_writer(dirs[2].path());
    assert!(recovered.reader().link(&key("lost")).unwrap().is_some());
    standby.follow(&frame(&recovered.journal(), 4), Epoch(2), 1).unwrap();
}
