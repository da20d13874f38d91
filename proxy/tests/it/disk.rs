//! The pool that waits for the disk: what it finds, what it keeps, and when it gives up.

use std::sync::Arc;
use std::time::Duration;

use daemon::metrics::Latency;
use linklog::replica::Replica;
use linklog::store::Contents;
use linklog::{Code, DomainId};
use signpost_proxy::disk::{DiskOptions, DiskPool, Unsure};
use signpost_proxy::hot_map::HotMap;
use signpost_proxy::link_key::LinkKey;
use signpost_proxy::lookup::{InMemory, Lookups, Source, Tier, Whole};

use crate::author::{Author, SMALL};
use crate::client::DEADLINE;

fn key(code: &str) -> LinkKey {
    LinkKey::of_code(DomainId::DEFAULT, code.parse::<Code>().unwrap())
}

struct Found {
    lookups: Lookups,
    took: Latency,
    _replica: Replica,
    _dir: tempfile::TempDir,
}

fn lookups(options: DiskOptions, whole: bool) -> Found {
    let mut author = Author::new();
    author.link("Ab3xY9z", "https://a.example/");
    author.delete("Ab3xY9z");
    author.link("spring-sale", "https://b.example/");
    let dir = tempfile::tempdir().unwrap();
    let mut replica = Replica::open(dir.path(), Contents::Serve, &SMALL).unwrap();
    author.frames.iter().for_each(|(frame, _)| drop(replica.apply(frame).unwrap()));
    let (hot, took) = (Arc::new(HotMap::new(1 << 20, 1)), Latency::default());
    let disk = DiskPool::start(options, &hot, &took).unwrap();
    let source = Source::new(1, replica.reader());
    Found {
        lookups: Lookups::new(hot, source, disk, Arc::new(Whole::new(whole))),
        took,
        _replica: replica,
        _dir: dir,
    }
}

const PATIENT: DiskOptions = DiskOptions { threads: 1, queue_max: 8, deadline: DEADLINE };

#[tokio::test]
async fn what_the_disk_finds_is_in_the_hot_map_afterwards() {
    let found = lookups(PATIENT, true);
    let block = found.lookups.on_disk(key("spring-sale")).await.unwrap().unwrap();
    assert_eq!(block.facts().target, b"https://b.example/");
    assert!(found.lookups.on_disk(key("Ab3xY9z")).await.unwrap().is_none());
    assert!(found.lookups.on_disk(key("unknown")).await.unwrap().is_none());
    let again = found.lookups.in_memory(&key("spring-sale"), |facts| facts.is_some());
    assert!(matches!(again, InMemory::Known(Tier::Hot, true)), "{again:?}");
    let mut registry = daemon::metrics::Registry::default();
    registry.register("took_seconds", "x", found.took.clone());
    assert!(daemon::metrics::render(&registry).contains("took_seconds_count 3"));
}

#[tokio::test]
async fn a_replica_that_was_never_whole_does_not_say_that_a_link_does_not_exist() {
    let found = lookups(PATIENT, false);
    assert!(found.lookups.on_disk(key("spring-sale")).await.unwrap().is_some());
    assert!(matches!(found.lookups.on_disk(key("unknown")).await, Err(Unsure::Incomplete)));
    let in_memory = found.lookups.in_memory(&key("unknown"), |facts| facts.is_some());
    assert!(matches!(in_memory, InMemory::Incomplete), "{in_memory:?}");
}

#[tokio::test]
async fn lookups_that_find_no_place_or_no_answer_in_time_are_given_up() {
    let hurried = DiskOptions { deadline: Duration::ZERO, ..PATIENT };
    let found = lookups(hurried, true);
    let late = found.lookups.on_disk(key("spring-sale")).await;
    // With no time at all the answer may still be there already.
    assert!(matches!(late, Err(Unsure::Late) | Ok(Some(_))), "{late:?}");
    let narrow = DiskOptions { queue_max: 1, ..PATIENT };
    let found = Arc::new(lookups(narrow, true));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let found = Arc::clone(&found);
        tasks.spawn(async move { found.lookups.on_disk(key("spring-sale")).await });
    }
    let (mut full, mut known) = (0, 0);
    while let Some(result) = tasks.join_next().await {
        match result.unwrap() {
            Err(Unsure::Full) => full += 1,
            Ok(Some(_)) => known += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(full > 0 && known > 0, "{full} full, {known} known");
}
