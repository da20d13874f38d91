//! The queue against a plain model, and what a killed process finds again.

use std::collections::{BTreeMap, HashMap};

use linklog::{DomainId, Key, Position};
use proptest::prelude::*;

use super::*;
use crate::cell::{Counts, Subject};
use crate::disk_picture::copy_of;

const ID: LedgerId = LedgerId([1; 16]);
const OTHER: LedgerId = LedgerId([2; 16]);
const RING: RingId = [7; 16];
const LARGE: LedgerOptions = LedgerOptions { keep_bytes: 1 << 40, unreleased_bytes_max: 1 << 40 };

fn cell(n: u64, clicks: u64) -> Cell {
    let key = Key::new(DomainId(0), format!("c{n}").parse().unwrap());
    let counts = Counts::new([clicks, 0, 0, 0]);
    Cell { subject: Subject { key, created: Position::new(1, 1) }, counts, last_click_ms: 5 }
}

/// Some clicks on one link, and the ring up to `position`.
fn entry(clicks: u64, position: u64) -> Entry {
    Entry {
        cells: vec![cell(0, clicks)],
        dropped: 0,
        complete_until_ms: position,
        cursors: vec![(RING, Cursor { position, dropped: 0 })],
    }
}

fn commit_each(ledger: &Ledger, upto: u64) {
    for n in 1..=upto {
        ledger.commit(entry(n, n)).unwrap();
    }
}

fn read(ledger: &Ledger, number: u64) -> Option<Batch> {
    let bytes = ledger.read(BatchNumber(number)).unwrap()?;
    Some(Batch::decode(&bytes).unwrap())
}

#[test]
fn a_ledger_keeps_its_id_its_batches_and_its_cursors() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("clicks");
    let ledger = Ledger::open(&dir, LARGE, ID).unwrap();
    assert_eq!(ledger.commit(entry(3, 10)).unwrap(), BatchNumber(1));
    assert_eq!(ledger.commit(entry(4, 20)).unwrap(), BatchNumber(2));
    ledger.release(BatchNumber(1)).unwrap();
    let before = ledger.standing();
    drop(ledger);
    let ledger = Ledger::open(&dir, LARGE, OTHER).unwrap();
    assert_eq!(ledger.standing(), before);
    assert_eq!((before.id, before.last.0, before.released.0, before.first_kept.0), (ID, 2, 1, 1));
    assert_eq!(ledger.cursor(RING).unwrap(), Some(Cursor { position: 20, dropped: 0 }));
    assert_eq!(ledger.cursor([8; 16]).unwrap(), None);
    let batch = read(&ledger, 2).unwrap();
    assert_eq!((batch.ledger, batch.number, batch.complete_until_ms), (ID, BatchNumber(2), 20));
    assert_eq!(batch.clicks(), 4);
    assert_eq!((read(&ledger, 0), read(&ledger, 3)), (None, None));
}

#[test]
fn two_processes_cannot_have_it_open_and_another_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), LARGE, ID).unwrap();
    let error = Ledger::open(dir.path(), LARGE, ID).unwrap_err().to_string();
    assert!(error.to_lowercase().contains("lock"), "{error}");
    ledger.db.put(FORMAT, [9, 9]).unwrap();
    drop(ledger);
    let error = Ledger::open(dir.path(), LARGE, ID).unwrap_err();
    assert!(matches!(error, LedgerError::WrongContents { .. }), "{error}");
}

#[test]
fn clicks_on_many_links_come_in_several_batches_with_one_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), LARGE, ID).unwrap();
    ledger.commit(entry(1, 1)).unwrap();
    let cells: Vec<Cell> = (0..2 * CELLS_MAX as u64 + 5).map(|n| cell(n, 1)).collect();
    let many = Entry { cells, dropped: 9, complete_until_ms: 50, ..entry(0, 50) };
    assert_eq!(ledger.commit(many).unwrap(), BatchNumber(4));
    let batches: Vec<Batch> = (2..=4).map(|n| read(&ledger, n).unwrap()).collect();
    assert_eq!(batches.iter().map(Batch::clicks).sum::<u64>(), 2 * CELLS_MAX as u64 + 5);
    // Only with the last of them is everything before 50 there.
    assert_eq!(batches.iter().map(|batch| batch.complete_until_ms).collect::<Vec<_>>(), [1, 1, 50]);
    assert_eq!(batches.iter().map(|batch| batch.dropped).collect::<Vec<_>>(), [0, 0, 9]);
}

#[test]
fn nothing_to_say_is_not_written_and_drops_alone_are() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), LARGE, ID).unwrap();
    assert_eq!(ledger.commit(Entry { cells: vec![], ..entry(0, 5) }).unwrap(), BatchNumber(0));
    assert_eq!(ledger.cursor(RING).unwrap(), None);
    ledger.commit(Entry { cells: vec![], dropped: 2, ..entry(0, 5) }).unwrap();
    let batch = read(&ledger, 1).unwrap();
    assert_eq!((batch.dropped, batch.clicks(), batch.complete_until_ms), (2, 0, 5));
}

#[test]
fn too_many_unreleased_bytes_drop_the_oldest_and_remember_their_clicks() {
    let dir = tempfile::tempdir().unwrap();
    // Each batch costs a kibibyte and some; four fit.
    let options = LedgerOptions { keep_bytes: 0, unreleased_bytes_max: 4 * 1_150 };
    let ledger = Ledger::open(dir.path(), options, ID).unwrap();
    for n in 1..=10 {
        ledger.commit(entry(n, n)).unwrap();
        assert!(ledger.standing().unreleased_bytes <= options.unreleased_bytes_max);
    }
    let standing = ledger.standing();
    assert_eq!((standing.first_kept.0, standing.last.0), (7, 10));
    assert_eq!((standing.dropped_batches, standing.dropped_clicks), (6, 1 + 2 + 3 + 4 + 5 + 6));
    drop(ledger);
    let ledger = Ledger::open(dir.path(), options, ID).unwrap();
    assert_eq!(ledger.standing(), standing);
    assert_eq!((read(&ledger, 6), read(&ledger, 7).unwrap().clicks()), (None, 7));
}

#[test]
fn released_batches_are_kept_for_a_writer_that_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let options = LedgerOptions { keep_bytes: 3 * 1_150, unreleased_bytes_max: 1 << 30 };
    let ledger = Ledger::open(dir.path(), options, ID).unwrap();
    commit_each(&ledger, 10);
    ledger.release(BatchNumber(8)).unwrap();
    // 6, 7, 8 are kept though released; 9 and 10 wait.
    assert_eq!((ledger.standing().first_kept, ledger.standing().dropped_clicks), (BatchNumber(6), 0));
    assert_eq!(ledger.take_back(BatchNumber(6)).unwrap(), BatchNumber(7));
    assert_eq!(ledger.standing().released, BatchNumber(6));
    assert_eq!(ledger.take_back(BatchNumber(2)).unwrap(), BatchNumber(6));
    assert_eq!(ledger.standing().released, BatchNumber(5));
    assert_eq!(ledger.take_back(BatchNumber(10)).unwrap(), BatchNumber(11));
    ledger.release(BatchNumber(99)).unwrap();
    assert_eq!(ledger.standing().released, BatchNumber(10));
}

#[test]
fn an_old_copy_is_known_by_what_it_was_opened_with_and_goes_on_with_what_is_new() {
    let (dir, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ledger = Ledger::open(dir.path(), LARGE, ID).unwrap();
    commit_each(&ledger, 3);
    copy_of(dir.path(), old.path());
    assert!(!ledger.is_old_copy(BatchNumber(0)));
    ledger.take_back(BatchNumber(0)).unwrap();
    commit_each(&ledger, 4);
    assert!(!ledger.is_old_copy(BatchNumber(7)));
    drop(ledger);
    let mut ledger = Ledger::open(old.path(), LARGE, ID).unwrap();
    // Under the numbers 4 to 6, of which the first ones are counted: it does not know.
    for clicks in [100, 200, 300] {
        ledger.commit(entry(clicks, 1_000 + clicks)).unwrap();
    }
    assert!(!ledger.is_old_copy(BatchNumber(3)));
    assert!([4, 5, 6, 7, u64::MAX].iter().all(|counted| ledger.is_old_copy(BatchNumber(*counted))));
    ledger.begin_anew(OTHER).unwrap();
    for _ in 0..2 {
        let standing = ledger.standing();
        assert_eq!(
            (standing.id, standing.first_kept.0, standing.released.0, standing.last.0),
            (OTHER, 1, 0, 3)
        );
        assert_eq!((standing.dropped_batches, standing.dropped_clicks), (0, 0));
        assert_eq!((read(&ledger, 0), read(&ledger, 4)), (None, None));
        for (number, clicks) in [(1, 100), (2, 200), (3, 300)] {
            let batch = read(&ledger, number).unwrap();
            assert_eq!((batch.ledger, batch.number.0, batch.clicks()), (OTHER, number, clicks));
        }
        assert_eq!(ledger.cursor(RING).unwrap(), Some(Cursor { position: 1_300, dropped: 0 }));
        drop(ledger);
        ledger = Ledger::open(old.path(), LARGE, ID).unwrap();
        assert!(!ledger.is_old_copy(BatchNumber(0)));
    }
    assert_eq!(ledger.take_back(BatchNumber(1)).unwrap(), BatchNumber(2));
    assert_eq!(ledger.commit(entry(400, 1_400)).unwrap(), BatchNumber(4));
    ledger.release(BatchNumber(2)).unwrap();
    assert_eq!((ledger.standing().released.0, read(&ledger, 4).unwrap().clicks()), (2, 400));
    assert!(!ledger.is_old_copy(BatchNumber(4)) && ledger.is_old_copy(BatchNumber(5)));
}

#[test]
fn an_old_copy_tells_what_it_had_no_room_for() {
    let (dir, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ledger = Ledger::open(dir.path(), LARGE, ID).unwrap();
    commit_each(&ledger, 2);
    copy_of(dir.path(), old.path());
    drop(ledger);
    let options = LedgerOptions { keep_bytes: 0, unreleased_bytes_max: 2 * 1_150 };
    let ledger = Ledger::open(old.path(), options, ID).unwrap();
    for n in 1..=4 {
        ledger.commit(entry(10 * n, 10 * n)).unwrap();
    }
    // It has told the writer that it gave up batches 1 to 4: no sign of anything.
    assert!(!ledger.is_old_copy(BatchNumber(4)) && ledger.is_old_copy(BatchNumber(5)));
    ledger.begin_anew(OTHER).unwrap();
    let standing = ledger.standing();
    assert_eq!((standing.first_kept.0, standing.last.0), (3, 4));
    // Of the two it was opened with nothing is lost.
    assert_eq!((standing.dropped_batches, standing.dropped_clicks), (2, 10 + 20));
    assert_eq!(read(&ledger, 3).unwrap().clicks(), 30);
}

#[test]
fn a_ledger_that_somebody_else_reports_for_begins_anew_and_drops_what_may_be_counted_already() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), LARGE, ID).unwrap();
    commit_each(&ledger, 3);
    ledger.take_back(BatchNumber(0)).unwrap();
    ledger.release(BatchNumber(1)).unwrap();
    ledger.begin_anew(OTHER).unwrap();
    drop(ledger);
    let ledger = Ledger::open(dir.path(), LARGE, ID).unwrap();
    let standing = ledger.standing();
    assert_eq!((standing.id, standing.last.0, standing.first_kept.0), (OTHER, 0, 1));
    assert_eq!((standing.dropped_batches, standing.dropped_clicks), (2, 5));
    assert_eq!(read(&ledger, 2), None);
    assert_eq!(ledger.cursor(RING).unwrap(), Some(Cursor { position: 3, dropped: 0 }));
    ledger.commit(entry(9, 9)).unwrap();
    assert_eq!(read(&ledger, 1).unwrap().ledger, OTHER);
}

#[test]
fn rings_are_noted_until_they_are_closed_and_others_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), LARGE, ID).unwrap();
    assert_eq!(ledger.opened().unwrap(), None);
    ledger.commit(entry(1, 5)).unwrap();
    let opened = Opened { boot: [3; 16], rings: vec![RING, [8; 16]] };
    ledger.set_opened(&opened).unwrap();
    assert!(ledger.cursor(RING).unwrap().is_some());
    drop(ledger);
    let ledger = Ledger::open(dir.path(), LARGE, ID).unwrap();
    assert_eq!(ledger.opened().unwrap(), Some(opened));
    ledger.set_opened(&Opened { boot: [3; 16], rings: vec![[8; 16]] }).unwrap();
    assert_eq!(ledger.cursor(RING).unwrap(), None);
    ledger.set_closed().unwrap();
    assert_eq!(ledger.opened().unwrap(), None);
}

#[test]
fn damaged_rows_are_errors() {
    for (key, row) in [(STATE.to_vec(), vec![1; 50]), (batch_key(BatchNumber(1)).to_vec(), vec![1; 9])] {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path(), LARGE, ID).unwrap();
        ledger.commit(entry(1, 1)).unwrap();
        ledger.db.put(key, row).unwrap();
        drop(ledger);
        let error = Ledger::open(dir.path(), LARGE, ID).unwrap_err();
        assert!(matches!(error, LedgerError::Damaged(_)), "{error}");
    }
}

/// A copy of the directory as a killed process leaves it: nothing is flushed, nothing is closed. `cut`: its newest log loses so many
/// bytes at the end, as it may in a power cut if they were not fsynced.
fn killed(dir: &Path, cut: u64) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let mut logs = BTreeMap::new();
    copy_of(dir, copy.path());
    for file in std::fs::read_dir(copy.path()).unwrap().map(Result::unwrap) {
        let to = file.path();
        if to.extension().is_some_and(|extension| extension == "log") {
            logs.insert(to.clone(), std::fs::metadata(&to).unwrap().len());
        }
    }
    if let Some((log, bytes)) = logs.into_iter().next_back() {
        std::fs::File::options().write(true).open(log).unwrap().set_len(bytes.saturating_sub(cut)).unwrap();
    }
    copy
}

#[derive(Clone, Debug)]
enum Step {
    Commit { clicks: u64 },
    Release { back: u64 },
    TakeBack { back: u64 },
    Reopen,
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..50u64).prop_map(|clicks| Step::Commit { clicks }),
        3 => (0..4u64).prop_map(|back| Step::Release { back }),
        1 => (0..9u64).prop_map(|back| Step::TakeBack { back }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
    ];
    proptest::collection::vec(step, 1..30)
}

/// What a ledger should be: every batch ever made, and three numbers.
#[derive(Default)]
struct Model {
    batches: HashMap<u64, u64>,
    first: u64,
    released: u64,
    last: u64,
    dropped: u64,
}

impl Model {
    fn check(&self, ledger: &Ledger) {
        let standing = ledger.standing();
        let found = (standing.first_kept.0, standing.released.0, standing.last.0, standing.dropped_clicks);
        assert_eq!(found, (self.first, self.released, self.last, self.dropped));
        for number in self.first..=self.last {
            assert_eq!(read(ledger, number).unwrap().clicks(), self.batches[&number], "batch {number}");
        }
        // The cursor is at the sum of all clicks that were ever taken over: never apart from the batches.
        let sum: u64 = self.batches.values().sum();
        let cursor = ledger.cursor(RING).unwrap().map_or(0, |cursor| cursor.position);
        assert_eq!(cursor, sum);
    }

    fn make_room(&mut self, kept: u64, unreleased: u64) {
        while self.last - self.released > unreleased {
            self.first = self.released + 2;
            self.released += 1;
            self.dropped += self.batches[&self.released];
        }
        self.first = self.first.max((self.released + 1).saturating_sub(kept));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_ledger_is_its_model_whatever_happens_to_its_process(steps in steps()) {
        const KEPT: u64 = 3;
        const UNRELEASED: u64 = 5;
        // All batches cost the same: room for so many.
        let each = 1_024 + entry(1, 1).cells.len() as u64 * 60;
        let options =
            LedgerOptions { keep_bytes: KEPT * 1_100, unreleased_bytes_max: UNRELEASED * 1_100 };
        assert!(each < 1_100);
        let mut dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path(), options, ID).unwrap();
        let mut model = Model { first: 1, ..Model::default() };
        let mut sum = 0;
        for step in steps {
            match step {
                Step::Commit { clicks } => {
                    sum += clicks;
                    model.last += 1;
                    model.batches.insert(model.last, clicks);
                    model.make_room(KEPT, UNRELEASED);
                    ledger.commit(entry(clicks, sum)).unwrap();
                }
                Step::Release { back } => {
                    let upto = model.last.saturating_sub(back);
                    model.released = model.released.max(upto);
                    model.make_room(KEPT, UNRELEASED);
                    ledger.release(BatchNumber(upto)).unwrap();
                }
                Step::TakeBack { back } => {
                    let upto = model.last.saturating_sub(back);
                    let from = ledger.take_back(BatchNumber(upto)).unwrap();
                    prop_assert_eq!(from.0, model.first.max(upto + 1));
                    model.released = model.released.min(upto.max(model.first - 1));
                }
                Step::Reopen => {
                    drop(ledger);
                    ledger = Ledger::open(dir.path(), options, OTHER).unwrap();
                }
                Step::Kill => {
                    let copy = killed(dir.path(), 0);
                    drop(ledger);
                    dir = copy;
                    ledger = Ledger::open(dir.path(), options, OTHER).unwrap();
                }
            }
            model.check(&ledger);
        }
    }

    #[test]
    fn a_cut_log_loses_whole_steps_from_the_end(commits in 1..12u64, cut in 0..2_000u64) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path(), LARGE, ID).unwrap();
        for n in 1..=commits {
            ledger.commit(entry(n, n * (n + 1) / 2)).unwrap();
        }
        let copy = killed(dir.path(), cut);
        drop(ledger);
        let ledger = Ledger::open(copy.path(), LARGE, OTHER).unwrap();
        let standing = ledger.standing();
        prop_assert!(standing.last.0 <= commits && (cut > 0 || standing.last.0 == commits));
        let batches: u64 = (1..=standing.last.0).map(|n| read(&ledger, n).unwrap().clicks()).sum();
        let cursor = ledger.cursor(RING).unwrap().map_or(0, |cursor| cursor.position);
        prop_assert_eq!(batches, cursor);
    }

    #[test]
    fn any_row_is_read_or_refused(row in proptest::collection::vec(any::<u8>(), 0..150)) {
        if let Some(queue) = Queue::decode(&row) {
            prop_assert_eq!(queue.encode(), row.clone());
        }
        if let Some(opened) = rows::decode_opened(&row) {
            prop_assert_eq!(rows::encode_opened(&opened), row.clone());
        }
        if let Some(cursor) = rows::decode_cursor(&row) {
            prop_assert_eq!(rows::encode_cursor(cursor), row.clone());
        }
        let _ = rows::decode_batch(&row);
    }
}
