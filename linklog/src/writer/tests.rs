//! The writer: order, groups, retries, recovery.

mod torn;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::change::{CommandId, Operation, Part, Precondition};
use crate::journal::JournalRead;
use crate::key::{Code, DomainId, Key, StateKey};
use crate::link::{Link, LinkManage};
use crate::position::{Epoch, Seq};
use crate::stamp::Stamp;

pub(crate) fn open(dir: &Path) -> Writer {
    Writer::open(dir, options()).unwrap()
}

pub(crate) fn options() -> WriterOptions {
    let clock = AtomicU64::new(1_700_000_000_000_000);
    WriterOptions {
        store: StoreOptions { block_cache_bytes: 8 << 20, memtable_bytes: 4 << 20, background_threads: 1 },
        journal_bytes_kept: u64::MAX,
        queue_max: 1_000,
        clock_us: Box::new(move || clock.fetch_add(1_000, Ordering::Relaxed)),
        nonce: Box::new(|| [7; 16]),
        on_commit: Box::new(|_| {}),
        at_start: Box::new(|| {}),
        on_fatal: Box::new(|error| panic!("{error}")),
    }
}

pub(crate) fn key(code: &str) -> Key {
    Key::new(DomainId::DEFAULT, code.parse::<Code>().unwrap())
}

pub(crate) fn put(code: &str, target: &str, precondition: Precondition) -> Change {
    let link = Link { target: target.to_owned(), ..Link::default() };
    let manage =
        LinkManage { created_at_ms: 1, updated_at_ms: 1, created_by: "t".into(), ..LinkManage::default() };
    let operation = Operation::Put { serve: link.encode(), manage: manage.encode() };
    Change::new("t", vec![Part { key: StateKey::Link(key(code)), precondition, operation }])
}

pub(crate) fn delete(code: &str) -> Change {
    let key = StateKey::Link(key(code));
    Change::new("t", vec![Part { key, precondition: Precondition::Any, operation: Operation::Delete }])
}

fn with_command(change: Change, id: u8) -> Change {
    Change { command: Some(CommandId([id; 16])), request_hash: [id; 16], ..change }
}

fn target(writer: &Writer, code: &str) -> Option<String> {
    writer.reader().link(&key(code)).unwrap().map(|stored| stored.link.target)
}

fn one(writer: &Writer, change: Change) -> Decision {
    writer.handle().propose_and_wait(vec![change]).unwrap().remove(0)
}

#[test]
fn a_new_log_begins_with_its_first_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(dir.path());
    assert_eq!(writer.handle().commit().head.position, Position::new(1, 1));
}

#[test]
fn changes_of_one_group_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(dir.path());
    let changes = vec![
        put("abcdefg", "https://a.example/", Precondition::NeverUsed),
        put("abcdefg", "https://b.example/", Precondition::NeverUsed),
        put("abcdefg", "https://c.example/", Precondition::Version(1)),
        delete("abcdefg"),
        put("abcdefg", "https://d.example/", Precondition::NeverUsed),
        put("abcdefg", "https://e.example/", Precondition::Absent),
    ];
    let decisions = writer.handle().propose_and_wait(changes).unwrap();
    let born = Position::new(1, 2);
    let stamp = |live, version, created| Some(Stamp { live, version, created });
    let seen: Vec<_> = decisions
        .iter()
        .map(|decision| match decision {
            Decision::Applied { position, stamps, .. } => Ok((position.seq.0, stamps[0])),
            Decision::Conflict(conflict) => Err(conflict.found),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        seen,
        [
            Ok((2, stamp(true, 1, born))),
            Err(stamp(true, 1, born)),
            Ok((3, stamp(true, 2, born))),
            Ok((4, stamp(false, 3, born))),
            Err(stamp(false, 3, born)),
            Ok((5, stamp(true, 4, Position::new(1, 5)))),
        ]
    );
    assert_eq!(target(&writer, "abcdefg").as_deref(), Some("https://e.example/"));
}

#[test]
fn exactly_one_of_many_threads_gets_an_alias() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(dir.path());
    for round in 0..20 {
        let code = format!("alias-{round}");
        let winners = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (handle, code, winners) = (writer.handle(), code.clone(), &winners);
                scope.spawn(move || {
                    let change = put(&code, &format!("https://{n}.example/"), Precondition::Absent);
                    let decision = handle.propose_and_wait(vec![change]).unwrap().remove(0);
                    if matches!(decision, Decision::Applied { .. }) {
                        winners.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(winners.into_inner(), 1);
    }
}

#[test]
fn a_command_that_comes_again_has_one_effect_and_one_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let first = with_command(put("a-link", "https://a.example/", Precondition::Absent), 1);
    let lost = with_command(put("a-link", "https://b.example/", Precondition::Absent), 2);
    let mut positions = Vec::new();
    {
        let writer = open(dir.path());
        let decisions =
            writer.handle().propose_and_wait(vec![first.clone(), first.clone(), lost.clone()]).unwrap();
        let Decision::Applied { position, .. } = decisions[0] else { panic!("{decisions:?}") };
        positions.push(position);
        assert!(
            matches!(&decisions[1], Decision::Replayed(outcome) if outcome.position == position && outcome.conflict.is_none())
        );
        assert!(matches!(decisions[2], Decision::Conflict(_)));
        one(&writer, delete("a-link"));
    }
    let writer = open(dir.path());
    assert!(
        matches!(one(&writer, first), Decision::Replayed(outcome) if outcome.position == positions[0] && outcome.request_hash == [1; 16])
    );
    // The alias is free by now; the outcome of the old command stays what it was.
    assert!(matches!(one(&writer, lost), Decision::Replayed(outcome) if outcome.conflict == Some(0)));
    assert_eq!(target(&writer, "a-link"), None);
}

#[test]
fn everything_acknowledged_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut head = Head::EMPTY;
    let mut sum = SlotSum::ZERO;
    for round in 0..3u64 {
        let writer = open(dir.path());
        if round > 0 {
            assert_eq!(writer.handle().commit().head, head);
            assert_eq!(writer.handle().commit().serve_sum, sum);
        }
        for n in 0..50 {
            one(&writer, put(&format!("link-{round}-{n}"), "https://a.example/", Precondition::NeverUsed));
        }
        for earlier in 0..=round {
            for n in 0..50 {
                assert!(target(&writer, &format!("link-{earlier}-{n}")).is_some());
            }
        }
        head = writer.handle().commit().head;
        sum = writer.handle().commit().serve_sum;
    }
    assert_eq!(head.position, Position { epoch: Epoch(1), seq: Seq(151) });
}

#[test]
fn a_journal_that_ends_before_the_head_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let copy_all = || {
        let status =
            std::process::Command::new("cp").arg("-r").arg(dir.path().join("db")).arg(copy.path()).status();
        assert!(status.unwrap().success());
    };
    {
        let writer = open(dir.path());
        one(&writer, put("early", "https://a.example/", Precondition::Any));
    }
    copy_all();
    {
        let writer = open(dir.path());
        one(&writer, put("late", "https://a.example/", Precondition::Any));
    }
    std::fs::remove_dir_all(dir.path().join("db")).unwrap();
    std::fs::rename(copy.path().join("db"), dir.path().join("db")).unwrap();
    let refused = Writer::open(dir.path(), options()).err().unwrap();
    let OpenError::Lost { found, promised, .. } = &refused else { panic!("{refused}") };
    assert_eq!((found.position.seq, promised.position.seq), (Seq(2), Seq(3)));
    assert!(refused.to_string().contains("signpost-admin recover"), "{refused}");
}

#[test]
fn a_second_writer_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _writer = open(dir.path());
    let refused = Writer::open(dir.path(), options()).err().unwrap();
    assert!(matches!(refused, OpenError::Store(StoreError::Open { .. })), "{refused}");
}

#[test]
fn invalid_changes_and_oversize_proposals_are_refused_and_leave_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(dir.path());
    let head = writer.handle().commit().head;
    assert!(matches!(one(&writer, Change::new("t", Vec::new())), Decision::Invalid(_)));
    let twice =
        Change::new("t", [delete("a"), delete("a")].into_iter().flat_map(|change| change.parts).collect());
    assert!(matches!(
        one(&writer, twice),
        Decision::Invalid(crate::change::InvalidChange::SameKeyTwice(0, 1))
    ));
    let huge = put("a", &"x".repeat(300_000), Precondition::Any);
    assert!(matches!(one(&writer, huge), Decision::Invalid(_)));
    let many = (0..=PROPOSAL_CHANGES_MAX).map(|_| delete("a")).collect();
    assert_eq!(writer.handle().propose_and_wait(many), Err(ProposeError::TooMany));
    assert_eq!(writer.handle().commit().head, head);
}

#[test]
fn the_time_of_records_never_falls() {
    let dir = tempfile::tempdir().unwrap();
    let backwards = || {
        let clock = AtomicU64::new(9_000_000_000);
        WriterOptions {
            clock_us: Box::new(move || clock.fetch_sub(1_000_000, Ordering::Relaxed)),
            ..options()
        }
    };
    let mut last = 0;
    for _ in 0..2 {
        let writer = Writer::open(dir.path(), backwards()).unwrap();
        for _ in 0..5 {
            let Decision::Applied { at_ms, .. } =
                one(&writer, put("a", "https://a.example/", Precondition::Any))
            else {
                panic!()
            };
            assert!(at_ms >= last);
            last = at_ms;
        }
    }
}

#[test]
fn links_are_listed_newest_first_and_deleted_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(dir.path());
    for code in ["one", "two", "three", "four"] {
        one(&writer, put(code, "https://a.example/", Precondition::Any));
    }
    one(&writer, delete("three"));
    one(&writer, put("one", "https://b.example/", Precondition::Any));
    let codes = |before, limit| -> Vec<_> {
        let links = writer.reader().links_by_age(before, limit).unwrap();
        links.into_iter().map(|link| (link.created_seq.0, link.key.code.to_string())).collect()
    };
    let all = [(5, "four"), (3, "two"), (2, "one")].map(|(seq, code)| (seq, code.to_owned()));
    assert_eq!(codes(None, 10), all);
    assert_eq!(codes(None, 2), all[..2]);
    assert_eq!(codes(Some(Seq(3)), 10), all[2..]);
}

#[test]
fn proposals_before_closing_are_answered_and_later_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(dir.path());
    let handle = writer.handle();
    let answered = Arc::new(AtomicU64::new(0));
    for n in 0..500 {
        let answered = answered.clone();
        let reply = move |decisions: Result<Vec<Decision>, ProposeError>| {
            assert!(matches!(decisions.unwrap()[0], Decision::Applied { .. }));
            answered.fetch_add(1, Ordering::Relaxed);
        };
        handle
            .propose(vec![put(&format!("n-{n}"), "https://a.example/", Precondition::Any)], Box::new(reply));
    }
    drop(writer);
    assert_eq!(answered.load(Ordering::Relaxed), 500);
    assert_eq!(handle.propose_and_wait(vec![delete("n-1")]), Err(ProposeError::Closed));
}

#[test]
fn the_journal_keeps_what_it_is_told_to_and_the_state_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let writer =
        Writer::open(dir.path(), WriterOptions { journal_bytes_kept: 1 << 20, ..options() }).unwrap();
    let long = format!("https://a.example/{}", "x".repeat(4_000));
    for n in 0..20 {
        let changes = (0..200).map(|m| put(&format!("n-{n}-{m}"), &long, Precondition::Any)).collect();
        writer.handle().propose_and_wait(changes).unwrap();
        // Every read of the clock moves it on by a millisecond: a thousand proposals later housekeeping is due again.
    }
    for _ in 0..400 {
        one(&writer, delete("none"));
    }
    let journal = writer.journal();
    assert!(journal.first_retained() > Seq(1), "nothing was trimmed");
    assert!(journal.read(journal.first_retained(), 100).is_ok());
    assert_eq!(target(&writer, "n-0-0").as_deref(), Some(&*long));
}

#[test]
fn a_log_without_its_head_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    {
        let writer = open(dir.path());
        one(&writer, put("early", "https://a.example/", Precondition::Any));
    }
    std::fs::remove_file(dir.path().join("HEAD")).unwrap();
    let refused = Writer::open(dir.path(), options()).err().unwrap();
    assert!(matches!(refused, OpenError::NoHeadFile { .. }), "{refused}");
}

#[test]
fn bodies_that_cannot_be_read_are_refused_and_leave_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(dir.path());
    let head = writer.handle().commit().head;
    let mut change = put("a", "https://a.example/", Precondition::Any);
    change.parts[0].operation =
        Operation::Put { serve: vec![0, 1, b' '], manage: LinkManage::default().encode() };
    let Decision::Invalid(invalid) = one(&writer, change) else { panic!() };
    assert!(matches!(invalid, InvalidChange::BadBody { part: 0, .. }), "{invalid}");
    assert_eq!(writer.handle().commit().head, head);
}

#[test]
fn a_fenced_writer_takes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let writer = open(dir.path());
    writer.handle().fence(2);
    assert_eq!(writer.handle().propose_and_wait(vec![delete("a")]), Err(ProposeError::Fenced));
}

#[test]
fn a_panic_on_the_writers_thread_is_fatal_and_everybody_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (told, was_told) = bounded(1);
    let writer = Writer::open(
        dir.path(),
        WriterOptions {
            on_commit: Box::new(|_| panic!("on purpose")),
            on_fatal: Box::new(move |failure| {
                told.send(matches!(failure, WriterFailure::Panicked)).unwrap();
            }),
            ..options()
        },
    )
    .unwrap();
    let answer = writer.handle().propose_and_wait(vec![put("a", "https://a.example/", Precondition::Any)]);
    assert_eq!(answer, Err(ProposeError::Unknown));
    assert!(was_told.recv().unwrap());
    assert_eq!(writer.handle().propose_and_wait(vec![delete("a")]), Err(ProposeError::Closed));
}

#[test]
fn nothing_above_the_fleets_level_is_ever_written() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::open(dir.path(), options()).unwrap();
    let fleet = |format_level| {
        let body = crate::entity::Fleet::new([3; 16], format_level).encode();
        let operation = Operation::Put { serve: body, manage: Vec::new() };
        Change::new("t", vec![Part { key: StateKey::Fleet, precondition: Precondition::Any, operation }])
    };
    let later = || {
        let mut change = put("later", "https://a/", Precondition::Any);
        if let Operation::Put { serve, .. } = &mut change.parts[0].operation {
            // not_before, which came with level 2.
            serve.extend_from_slice(&[2, 1, 9]);
        }
        change
    };
    assert!(matches!(one(&writer, fleet(1)), Decision::Applied { .. }));
    assert_eq!(writer.handle().commit().format_level, 1);
    let refused = Decision::Invalid(crate::change::InvalidChange::NeedsLevel { needed: 2, level: 1 });
    assert_eq!(one(&writer, later()), refused);
    assert!(matches!(one(&writer, put("plain", "https://a/", Precondition::Any)), Decision::Applied { .. }));
    // In one proposal with the record that raises the level it is still too early.
    let decided = writer.handle().propose_and_wait(vec![fleet(2), later()]).unwrap();
    assert!(matches!(decided[0], Decision::Applied { .. }));
    assert_eq!(decided[1], refused);
    assert_eq!(writer.handle().commit().format_level, 2);
    assert!(matches!(one(&writer, later()), Decision::Applied { .. }));
}
