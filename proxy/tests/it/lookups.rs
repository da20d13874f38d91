//! Lookups against a real replica while it changes: the hot map never shows less than was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use linklog::{Code, DomainId};
use signpost_proxy::hot_map::Mark;
use signpost_proxy::link_key::LinkKey;
use signpost_proxy::lookup::{InMemory, Source, facts_of};

use crate::author::Author;
use crate::site::Site;

const KEYS: u64 = 8;

fn key(n: u64) -> LinkKey {
    LinkKey::of_code(DomainId::DEFAULT, format!("key{n:04}").parse::<Code>().unwrap())
}

fn version(site: &Site, n: u64) -> u64 {
    let found = site.worker.shared.lookups.in_memory(&key(n), |facts| {
        let facts = facts.expect("every key exists");
        String::from_utf8_lossy(facts.target).rsplit('/').next().unwrap().parse().unwrap()
    });
    match found {
        InMemory::Known(_, version) => version,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_reader_sees_an_older_version_than_the_last_one_shown_to_everybody() {
    let mut author = Author::new();
    for n in 0..KEYS {
        author.link(&format!("key{n:04}"), "https://v/0");
    }
    let mut site = Site::new(&author);
    let shown: Arc<Vec<AtomicU64>> = Arc::new((0..KEYS).map(|_| AtomicU64::new(0)).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let worker = Arc::clone(&site.worker);
    let readers: Vec<_> = (0..3)
        .map(|reader| {
            let (shown, stop, worker) = (Arc::clone(&shown), Arc::clone(&stop), Arc::clone(&worker));
            std::thread::spawn(move || {
                let mut n = reader;
                while !stop.load(Ordering::Relaxed) {
                    n = (n + 1) % KEYS;
                    let least = shown[n as usize].load(Ordering::Acquire);
                    let found = worker.shared.lookups.in_memory(&key(n), |facts| {
                        let target = String::from_utf8_lossy(facts.unwrap().target).into_owned();
                        target.rsplit('/').next().unwrap().parse::<u64>().unwrap()
                    });
                    let InMemory::Known(_, seen) = found else { panic!("{found:?}") };
                    assert!(seen >= least, "key {n}: {seen} after {least}");
                }
            })
        })
        .collect();
    for round in 1..=3_000u64 {
        let n = round % KEYS;
        let frame = author.link(&format!("key{n:04}"), &format!("https://v/{round}"));
        let applied = site.replica.apply(&frame).unwrap();
        let mark = Mark { generation: 1, applied_seq: applied.head.position.seq.0 };
        for change in &applied.changed {
            let facts = facts_of(change.serve_value.as_deref()).unwrap();
            worker.shared.lookups.hot_map().supersede(mark, &key(n), facts);
        }
        shown[n as usize].store(round, Ordering::Release);
    }
    stop.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    for n in 0..KEYS {
        assert_eq!(version(&site, n), shown[n as usize].load(Ordering::Relaxed));
    }
}

#[test]
fn after_a_switch_everything_comes_from_the_other_replica() {
    let (mut old, mut new) = (Author::new(), Author::new());
    for n in 0..KEYS {
        old.link(&format!("key{n:04}"), "https://v/1");
        new.link(&format!("key{n:04}"), "https://v/2");
    }
    let (site, other) = (Site::new(&old), Site::new(&new));
    (0..KEYS).for_each(|n| assert_eq!(version(&site, n), 1));
    site.worker.shared.lookups.switch(Source::new(2, other.replica.reader()));
    (0..KEYS).for_each(|n| assert_eq!(version(&site, n), 2));
}
