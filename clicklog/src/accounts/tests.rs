//! The accounts against a model: whatever arrives in whatever order, with crashes between, each batch is in the totals once.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use linklog::journal::JournalRead;
use linklog::{DomainId, Key, Position, Seq};
use proptest::prelude::*;

use super::*;
use crate::cell::{Cell, Kind};
use crate::disk_picture::copy_of;
use crate::entry::{self, Entry};

const SMALL: StoreOptions =
    StoreOptions { block_cache_bytes: 1 << 20, memtable_bytes: 1 << 20, background_threads: 1 };
const LEDGERS: u8 = 3;
const SUBJECTS: u64 = 4;

fn open(dir: &Path, journal_bytes_kept: u64) -> Accounts {
    // The clock stands still.
    let options = AccountsOptions {
        store: SMALL,
        journal_bytes_kept,
        queue_max: 4096,
        clock_ms: Box::new(|| 1_000_000),
        on_fatal: Box::new(|failure| panic!("{failure}")),
    };
    Accounts::open(dir, options).unwrap()
}

fn ledger(n: u8) -> LedgerId {
    LedgerId([n; 16])
}

fn introduction(n: u8, given_up: u64, thrown_away: u64) -> Introduction {
    Introduction {
        ledger: ledger(n),
        member: format!("proxy-{n}"),
        given_up: BatchNumber(given_up),
        thrown_away,
    }
}

fn subject(n: u64) -> Subject {
    // Two links with one code, one after the other: their clicks must not meet.
    let key = Key::new(DomainId(0), ["Ab3xY9z", "spring-sale"][n as usize % 2].parse().unwrap());
    Subject { key, created: Position::new(1, 10 + n / 2) }
}

fn subjects() -> Vec<Subject> {
    (0..SUBJECTS).map(subject).collect()
}

/// The batch of a ledger with this number: always the same one, and different from every other.
fn batch(n: u8, number: u64) -> Batch {
    let cell = |s: u64| {
        let count = |kind: u64| (number * 7 + s * 3 + kind * 5 + u64::from(n)) % 11;
        let counts = Counts::new([count(0), count(1), count(2), count(3)]);
        Cell { subject: subject(s), counts, last_click_ms: number * 100 + u64::from(n) + s }
    };
    let cells = (0..SUBJECTS).filter(|s| !(number + s + u64::from(n)).is_multiple_of(3)).map(cell).collect();
    Batch::new(ledger(n), BatchNumber(number), number * 1_000, number % 2, cells)
}

/// What should come out: a few lines that are plainly right.
#[derive(Default)]
struct Model {
    watermarks: BTreeMap<LedgerId, u64>,
    totals: BTreeMap<usize, Totals>,
}

impl Model {
    fn take(&mut self, batch: &Batch) {
        self.watermarks.insert(batch.ledger, batch.number.0);
        for cell in batch.cells() {
            let index = subjects().iter().position(|subject| *subject == cell.subject).unwrap();
            self.totals.entry(index).or_default().add(&cell.counts, cell.last_click_ms);
        }
    }

    fn totals(&self) -> Vec<Totals> {
        (0..SUBJECTS as usize).map(|index| self.totals.get(&index).copied().unwrap_or_default()).collect()
    }

    fn check(&self, accounts: &Accounts) {
        assert_eq!(accounts.handle().totals(&subjects()).unwrap(), self.totals());
        for (ledger, watermark) in &self.watermarks {
            assert_eq!(accounts.handle().account(*ledger).unwrap().watermark.0, *watermark);
        }
        let mut replayed = Model::default();
        for found in accounts.journal().read(Seq(2), usize::MAX).unwrap() {
            match entry::decode(found.view().unwrap().manage).unwrap() {
                Entry::Batch(batch) => replayed.take(&batch),
                Entry::Introduction(_) => {}
            }
        }
        assert_eq!(replayed.totals(), self.totals(), "the journal leads to the same totals");
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A batch arrives, whichever it is: the next one, an old one, one out of turn.
    Batch { ledger: u8, number: u64 },
    /// The next batches of a ledger arrive, all at once, `times` times.
    Next { ledger: u8, count: u64, times: u8 },
    /// A stream begins.
    Hello { ledger: u8, gives_up: u64 },
    /// The process ends in order and starts again.
    Restart,
    /// The process is killed: what is on disk at this moment is what the next one finds.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let any_ledger = 0..LEDGERS;
    prop_oneof![
        4 => (any_ledger.clone(), 1..12u64).prop_map(|(ledger, number)| Step::Batch { ledger, number }),
        6 => (any_ledger.clone(), 1..4u64, 1..4u8)
            .prop_map(|(ledger, count, times)| Step::Next { ledger, count, times }),
        2 => (any_ledger, 0..3u64).prop_map(|(ledger, gives_up)| Step::Hello { ledger, gives_up }),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ]
}

fn run(steps: &[Step]) {
    let root = tempfile::tempdir().unwrap();
    let mut dir = root.path().join("0");
    let mut accounts = open(&dir, u64::MAX);
    let mut model = Model::default();
    for n in 0..LEDGERS {
        accounts.handle().introduce_and_wait(introduction(n, 0, 0)).unwrap();
        model.watermarks.insert(ledger(n), 0);
    }
    for (index, step) in steps.iter().enumerate() {
        let handle = accounts.handle();
        match step {
            Step::Batch { ledger: n, number } => {
                let before = model.watermarks[&ledger(*n)];
                let expected = if *number <= before {
                    Outcome::Duplicate(BatchNumber(before))
                } else if *number == before + 1 {
                    model.take(&batch(*n, *number));
                    Outcome::Counted(BatchNumber(*number))
                } else {
                    Outcome::Gap(BatchNumber(before + 1))
                };
                assert_eq!(handle.count_and_wait(batch(*n, *number)), Ok(expected));
            }
            Step::Next { ledger: n, count, times } => {
                let first = model.watermarks[&ledger(*n)] + 1;
                let (sender, receiver) = bounded(64);
                for _ in 0..*times {
                    for number in first..first + count {
                        let sender = sender.clone();
                        handle
                            .count(batch(*n, number), Box::new(move |outcome| sender.send(outcome).unwrap()));
                    }
                }
                drop(sender);
                let outcomes: Vec<_> = receiver.iter().collect();
                assert_eq!(outcomes.len() as u64, count * u64::from(*times));
                let counted = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Counted(_))));
                assert_eq!(counted.count() as u64, *count);
                (first..first + count).for_each(|number| model.take(&batch(*n, number)));
            }
            Step::Hello { ledger: n, gives_up } => {
                let watermark = model.watermarks.get_mut(&ledger(*n)).unwrap();
                *watermark += gives_up;
                let account = handle.introduce_and_wait(introduction(*n, *watermark, 0)).unwrap();
                assert_eq!(account.watermark.0, *watermark);
            }
            Step::Restart => {
                drop((handle, accounts));
                accounts = open(&dir, u64::MAX);
            }
            Step::Kill => {
                let copy = root.path().join((index + 1).to_string());
                copy_of(&dir, &copy);
                dir = copy;
                accounts = open(&dir, u64::MAX);
            }
        }
    }
    model.check(&accounts);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn every_batch_is_in_the_totals_once(steps in prop::collection::vec(step(), 1..25)) {
        run(&steps);
    }
}

#[test]
fn many_reporters_of_the_same_batches_change_nothing_but_the_first_time() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = open(dir.path(), u64::MAX);
    let counted = AtomicU64::new(0);
    for n in 0..LEDGERS {
        accounts.handle().introduce_and_wait(introduction(n, 0, 0)).unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            for n in 0..LEDGERS {
                let (handle, counted) = (accounts.handle(), &counted);
                scope.spawn(move || {
                    for number in 1..30 {
                        // Another thread may be ahead; none can be counted before the one before it.
                        match handle.count_and_wait(batch(n, number)).unwrap() {
                            Outcome::Counted(_) => drop(counted.fetch_add(1, Ordering::Relaxed)),
                            Outcome::Duplicate(_) => {}
                            Outcome::Gap(expected) => panic!("{expected} was answered before"),
                        }
                    }
                });
            }
        }
    });
    let mut model = Model::default();
    for n in 0..LEDGERS {
        (1..30).for_each(|number| model.take(&batch(n, number)));
    }
    model.check(&accounts);
    assert_eq!(counted.load(Ordering::Relaxed), 29 * u64::from(LEDGERS));
    let counts = accounts.handle().counts();
    assert_eq!(counts.batches, 29 * u64::from(LEDGERS));
    assert_eq!(counts.duplicates, 3 * counts.batches);
    assert_eq!(counts.clicks.sum(), model.totals().iter().map(|totals| totals.counts.sum()).sum::<u64>());
}

#[test]
fn time_is_complete_only_up_to_what_was_queued_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = open(dir.path(), u64::MAX);
    let handle = accounts.handle();
    handle.introduce_and_wait(introduction(0, 0, 0)).unwrap();
    handle.count_and_wait(batch(0, 1)).unwrap();
    let until = |handle: &AccountsHandle| handle.account(ledger(0)).unwrap().complete_until_ms;
    assert_eq!(until(&handle), 1_000);
    handle.up_to(ledger(0), 5_500);
    handle.up_to(ledger(0), 4_000);
    handle.up_to(ledger(9), 9_000);
    handle.count_and_wait(batch(0, 2)).unwrap();
    assert_eq!(until(&handle), 5_500);
    handle.up_to(ledger(0), 2_000_000);
    handle.count_and_wait(batch(0, 3)).unwrap();
    assert_eq!(until(&handle), 1_000_000, "nothing is known of the future");
    drop((handle, accounts));
    let accounts = open(dir.path(), u64::MAX);
    assert_eq!(until(&accounts.handle()), 1_000_000, "it was written with the batch after it");
    assert_eq!(accounts.handle().account(ledger(0)).unwrap().unseen, 2);
}

#[test]
fn the_ledger_a_member_introduced_last_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicU64::new(1));
    let now = clock.clone();
    let options = AccountsOptions {
        store: SMALL,
        journal_bytes_kept: u64::MAX,
        queue_max: 10,
        clock_ms: Box::new(move || now.fetch_add(1, Ordering::Relaxed)),
        on_fatal: Box::new(|failure| panic!("{failure}")),
    };
    let accounts = Accounts::open(dir.path(), options).unwrap();
    let handle = accounts.handle();
    let hello = |n| Introduction { member: "proxy-0".into(), ..introduction(n, 0, 0) };
    let entries = || accounts.journal().head().position.seq.0;
    let first = handle.introduce_and_wait(hello(1)).unwrap();
    assert_eq!(handle.introduce_and_wait(hello(1)).unwrap(), first, "nothing new");
    assert_eq!(entries(), 2);
    let second = handle.introduce_and_wait(hello(2)).unwrap();
    assert!(second.introduced_at_ms > first.introduced_at_ms);
    let again = handle.introduce_and_wait(hello(1)).unwrap();
    assert!(again.introduced_at_ms > second.introduced_at_ms, "the first directory was brought back");
    assert_eq!(entries(), 4);
}

#[test]
fn a_ledger_that_has_not_introduced_itself_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = open(dir.path(), u64::MAX);
    assert_eq!(accounts.handle().count_and_wait(batch(0, 1)), Err(AccountsError::UnknownLedger));
}

#[test]
fn old_entries_go_and_totals_stay() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = open(dir.path(), 1 << 20);
    let handle = accounts.handle();
    handle.introduce_and_wait(introduction(0, 0, 0)).unwrap();
    let long = "x".repeat(60);
    let cell = |n: u64| {
        let key = Key::new(DomainId(0), format!("{long}{n}").parse().unwrap());
        let subject = Subject { key, created: Position::new(1, n) };
        Cell { subject, counts: Counts::new([1, 0, 0, 0]), last_click_ms: 1 }
    };
    let cells: Vec<Cell> = (1_000..5_000).map(cell).collect();
    let mut number = 0;
    // Trimming is housekeeping, once a second at most, and the entries have to be more than what is kept.
    while accounts.journal().first_retained() == Seq(1) {
        number += 1;
        let batch = Batch::new(ledger(0), BatchNumber(number), number, 0, cells.clone());
        handle.count_and_wait(batch).unwrap();
    }
    let totals = handle.totals(&[cells[0].subject, cells[3_999].subject]).unwrap();
    assert_eq!(totals.map_clicks(), [number, number]);
}

#[test]
fn acknowledged_batches_that_are_gone_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = open(dir.path(), u64::MAX);
    accounts.handle().introduce_and_wait(introduction(0, 0, 0)).unwrap();
    let before = dir.path().join("old");
    copy_of(&dir.path().join("db"), &before);
    accounts.handle().count_and_wait(batch(0, 1)).unwrap();
    drop(accounts);
    std::fs::remove_dir_all(dir.path().join("db")).unwrap();
    std::fs::rename(before, dir.path().join("db")).unwrap();
    let options = AccountsOptions {
        store: SMALL,
        journal_bytes_kept: u64::MAX,
        queue_max: 1,
        clock_ms: Box::new(|| 1),
        on_fatal: Box::new(|_| {}),
    };
    let error = Accounts::open(dir.path(), options).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Lost { .. }), "{error}");
}

trait Clicks {
    fn map_clicks(&self) -> Vec<u64>;
}

impl Clicks for Vec<Totals> {
    fn map_clicks(&self) -> Vec<u64> {
        self.iter().map(|totals| totals.counts.of(Kind::Person)).collect()
    }
}
