//! Lookups against a real replica while it changes: the hot map never shows less than was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use linklog::{Code, DomainId};
use signpost_proxy::hot_map::Mark;
use signpost_proxy::link_key::LinkKey;
use signpost_proxy::lookup::{InMemory, Source, Tier, facts_of};

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

/// Unknown keys are told apart by the database's filters; what those let through by mistake waits for the disk once, and then the
/// block is in memory.
#[test]
fn a_flood_of_unknown_keys_grows_nothing_seldom_asks_the_disk_and_leaves_known_keys_alone() {
    const LINKS: u64 = 60_000;
    const UNKNOWN: u64 = 100_000;
    let mut author = Author::new();
    for chunk in 0..LINKS / 5_000 {
        let links = (0..5_000).map(|n| spread(chunk * 5_000 + n));
        author
            .links(links.map(|code| (code, "https://www.example.com/an/article/of/usual/length".to_owned())));
    }
    let site = Site::new(&author);
    let lookups = &site.worker.shared.lookups;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let find = |code: &str| {
        let key = LinkKey::of_code(DomainId::DEFAULT, code.parse::<Code>().unwrap());
        match lookups.in_memory(&key, |facts| facts.is_some()) {
            InMemory::Known(tier, found) => (tier, found),
            InMemory::NeedsDisk => (Tier::Disk, runtime.block_on(lookups.on_disk(key)).unwrap().is_some()),
            other => panic!("{other:?}"),
        }
    };
    let hot: Vec<String> = (0..1_000).map(spread).collect();
    for _ in 0..2 {
        hot.iter().for_each(|code| assert!(find(code).1, "{code}"));
    }
    let before = lookups.hot_map().fill_level();
    let unknown = (LINKS..LINKS + UNKNOWN).map(|n| find(&spread(n)));
    let on_disk = unknown.filter(|(tier, found)| {
        assert!(!found);
        *tier == Tier::Disk
    });
    let on_disk = on_disk.count() as u64;
    assert!(on_disk <= UNKNOWN / 100, "{on_disk} of {UNKNOWN} waited for the disk");
    assert_eq!(lookups.hot_map().fill_level(), before);
    hot.iter().for_each(|code| assert_eq!(find(code), (Tier::Hot, true), "{code}"));
}

/// The `n`th of codes that are spread over the code space; no two are the same.
fn spread(n: u64) -> String {
    let code = linklog::Code7::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % linklog::Code7::COUNT).unwrap();
    code.to_code().as_str().to_owned()
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
