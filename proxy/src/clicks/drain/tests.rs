//! Rings, ledger and kills in one process: what was recorded is in batches once, or was counted as dropped.

use std::path::Path;

use clicklog::{Batch, Kind, LedgerId, LedgerOptions};
use linklog::{DomainId, Position};
use proptest::prelude::*;

use super::super::ring::Writer;
use super::super::ring_dir::RingDir;
use super::*;
use crate::clicks::record::Asker;
use crate::http::parse::Says;
use crate::link_key::LinkKey;

const RING_BYTES: usize = 8 << 10;
const SOMEBODY: &[u8] = b"Mozilla/5.0 Firefox/133.0";

fn open(dir: &Path) -> Arc<Ledger> {
    Arc::new(Ledger::open(dir, LedgerOptions::default(), LedgerId([1; 16])).unwrap())
}

fn drainer(ledger: &Arc<Ledger>, rings: &[Arc<RingFile>]) -> Drainer {
    let status = Arc::new(ClickStatus::default());
    Drainer::new(Arc::clone(ledger), rings.to_vec(), status, watch::channel(0).0).unwrap()
}

fn writer(ring: &Arc<RingFile>) -> Writer<Arc<RingFile>> {
    Writer::new(Arc::clone(ring), ring.header().secret)
}

/// Records a click at a time on the `link`th link; says whether there was room.
fn click(writer: &Writer<Arc<RingFile>>, link: u64, at_ms: u64, agent: &[u8]) -> bool {
    let key = LinkKey::of_code(DomainId(0), format!("link-{link}").parse().unwrap());
    let says = Says { agent, ..Says::default() };
    let asker = Asker { says, ..Asker::default() };
    let click = Click { at_ms, key: key.bytes(), created: Position::new(1, link), status: 302, asker };
    writer.append(click.record().bytes())
}

fn batches(ledger: &Ledger) -> Vec<Batch> {
    let standing = ledger.standing();
    (1..=standing.last.0)
        .map(|number| Batch::decode(&ledger.read(clicklog::BatchNumber(number)).unwrap().unwrap()).unwrap())
        .collect()
}

#[test]
fn clicks_of_all_rings_are_added_up_by_link_and_kind() {
    let dir = tempfile::tempdir().unwrap();
    let rings = RingDir::open(&dir.path().join("rings"), true).unwrap();
    let rings: Vec<_> = (1..=2).map(|n| rings.create(RING_BYTES, [n; 16], 5).unwrap()).collect();
    let writers: Vec<_> = rings.iter().map(writer).collect();
    let ledger = open(&dir.path().join("clicks"));
    let mut drainer = drainer(&ledger, &rings);
    assert!(click(&writers[0], 7, 100, SOMEBODY) && click(&writers[1], 7, 300, SOMEBODY));
    assert!(click(&writers[0], 7, 200, SOMEBODY) && click(&writers[0], 7, 400, b"Googlebot/2.1"));
    assert!(click(&writers[1], 8, 500, b""));
    drainer.drain(1_000).unwrap();
    drainer.drain(2_000).unwrap();
    let batches = batches(&ledger);
    assert_eq!(batches.len(), 1, "nothing new makes no batch");
    let batch = &batches[0];
    let told: Vec<_> = batch
        .cells()
        .iter()
        .map(|cell| {
            (cell.subject.created.seq.0, Kind::ALL.map(|kind| cell.counts.of(kind)), cell.last_click_ms)
        })
        .collect();
    assert_eq!(told, [(7, [3, 1, 0, 0], 300), (8, [0, 1, 0, 0], 0)]);
    assert_eq!((batch.complete_until_ms, batch.dropped), (1_000, 0));
    assert_eq!(*drainer.complete_until.borrow(), 2_000);
    assert_eq!(drainer.status.numbers().kinds, [3, 2, 0, 0]);
}

#[test]
fn what_a_full_ring_dropped_is_in_the_next_batch_once() {
    let dir = tempfile::tempdir().unwrap();
    let ring_dir = RingDir::open(&dir.path().join("rings"), true).unwrap();
    let ring = ring_dir.create(RING_BYTES, [1; 16], 5).unwrap();
    let writer = writer(&ring);
    let appended = (0..500).filter(|n| click(&writer, 1, *n, SOMEBODY)).count() as u64;
    assert!(appended > 10 && appended < 500);
    for _ in 0..2 {
        // The second one begins where the ledger is, as after a kill.
        let ledger = open(&dir.path().join("clicks"));
        let mut drainer = drainer(&ledger, std::slice::from_ref(&ring));
        assert_eq!(drainer.is_urgent(), ledger.standing().last.0 == 0);
        drainer.drain(1_000).unwrap();
        let told: Vec<_> = batches(&ledger).iter().map(|batch| (batch.clicks(), batch.dropped)).collect();
        assert_eq!(told, [(appended, 500 - appended)]);
    }
    assert!(click(&writer, 1, 600, SOMEBODY));
}

#[test]
fn records_that_make_no_sense_are_counted_as_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let ring_dir = RingDir::open(&dir.path().join("rings"), true).unwrap();
    let ring = ring_dir.create(RING_BYTES, [1; 16], 5).unwrap();
    let writer = writer(&ring);
    assert!(writer.append(&[0xff; 64]) && click(&writer, 1, 5, SOMEBODY) && writer.append(&[0; 48]));
    let ledger = open(&dir.path().join("clicks"));
    drainer(&ledger, &[ring]).drain(1_000).unwrap();
    let batches = batches(&ledger);
    assert_eq!((batches[0].clicks(), batches[0].dropped), (1, 2));
}

#[test]
fn what_was_only_read_is_not_taken_over_and_a_full_batch_is() {
    let dir = tempfile::tempdir().unwrap();
    let ring_dir = RingDir::open(&dir.path().join("rings"), true).unwrap();
    let ring = ring_dir.create(1 << 20, [1; 16], 5).unwrap();
    let writer = writer(&ring);
    let ledger = open(&dir.path().join("clicks"));
    let mut draining = drainer(&ledger, std::slice::from_ref(&ring));
    assert!(!draining.look(1_000).unwrap());
    let links = CELLS_MAX as u64 + 1;
    assert!((0..links).all(|link| click(&writer, link, 5, SOMEBODY)));
    assert!(draining.look(2_000).unwrap());
    let told =
        || batches(&ledger).iter().map(|batch| (batch.clicks(), batch.complete_until_ms)).collect::<Vec<_>>();
    assert_eq!(told(), [(CELLS_MAX as u64, 1_000)], "the last click is read and nowhere else");
    // As after a kill: it is still in its ring.
    drainer(&ledger, std::slice::from_ref(&ring)).drain(3_000).unwrap();
    assert_eq!(told(), [(CELLS_MAX as u64, 1_000), (1, 3_000)]);
}

#[derive(Clone, Debug)]
enum Step {
    Clicks {
        ring: usize,
        clicks: usize,
    },
    Look,
    Drain,
    /// The process is gone; the next one finds files only.
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2usize, 1..60usize).prop_map(|(ring, clicks)| Step::Clicks { ring, clicks }),
        2 => Just(Step::Look),
        2 => Just(Step::Drain),
        1 => Just(Step::Kill),
    ];
    proptest::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_recorded_click_is_in_one_batch_whatever_is_killed_when(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let ring_dir = RingDir::open(&dir.path().join("rings"), true).unwrap();
        let mut names = 0;
        let mut two_rings = || {
            names += 2;
            [names - 1, names].map(|name| ring_dir.create(RING_BYTES, [name; 16], 5).unwrap())
        };
        let mut rings = Vec::from(two_rings());
        let mut writers: Vec<_> = rings.iter().map(writer).collect();
        let ledger_dir = dir.path().join("clicks");
        let mut ledger = open(&ledger_dir);
        let mut draining = drainer(&ledger, &rings);
        let (mut appended, mut dropped) = (0, 0);
        for step in steps {
            match step {
                Step::Clicks { ring, clicks } => {
                    for n in 0..clicks {
                        if click(&writers[ring], n as u64 % 5, 1, SOMEBODY) {
                            appended += 1;
                        } else {
                            dropped += 1;
                        }
                    }
                }
                Step::Look => drop(draining.look(1).unwrap()),
                Step::Drain => draining.drain(1).unwrap(),
                Step::Kill => {
                    drop((draining, ledger, writers));
                    // Some of what is in the rings is taken over by who opens them, then they go.
                    ledger = open(&ledger_dir);
                    let left: Vec<_> =
                        rings.iter().map(|ring| RingFile::open(ring.path()).unwrap()).collect();
                    drainer(&ledger, &left).drain(1).unwrap();
                    left.iter().for_each(|ring| std::fs::remove_file(ring.path()).unwrap());
                    rings = Vec::from(two_rings());
                    writers = rings.iter().map(writer).collect();
                    draining = drainer(&ledger, &rings);
                }
            }
        }
        draining.drain(1).unwrap();
        let batches = batches(&ledger);
        prop_assert_eq!(batches.iter().map(Batch::clicks).sum::<u64>(), appended);
        prop_assert_eq!(batches.iter().map(|batch| batch.dropped).sum::<u64>(), dropped);
    }
}
