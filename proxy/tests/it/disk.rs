//! The pool that waits for the disk: what it finds, what it keeps, and when it gives up.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use daemon::metrics::Latency;
use linklog::replica::Replica;
use linklog::store::Contents;
use linklog::{Code, DomainId};
use signpost_proxy::answer::Facts;
use signpost_proxy::disk::{DiskOptions, DiskPool, Unsure};
use signpost_proxy::hot_map::HotMap;
use signpost_proxy::link_key::LinkKey;
use signpost_proxy::lookup::{InMemory, Lookups, Source, Tier, Whole};

use crate::author::{Author, SMALL};
use crate::client::{DEADLINE, eventually};

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
    assert_eq!(found.ended(), 3);
}

#[tokio::test]
async fn a_replica_that_was_never_whole_does_not_say_that_a_link_does_not_exist() {
    let found = lookups(PATIENT, false);
    assert!(found.lookups.on_disk(key("spring-sale")).await.unwrap().is_some());
    assert!(matches!(found.lookups.on_disk(key("unknown")).await, Err(Unsure::Incomplete)));
    let in_memory = found.lookups.in_memory(&key("unknown"), |facts| facts.is_some());
    assert!(matches!(in_memory, InMemory::Incomplete), "{in_memory:?}");
}

/// Keeps the disk thread from ending any lookup of what is in the hot map until it is dropped: whoever puts a link there waits for those
/// who read it. What waits so waits as for a disk that does not answer.
struct Held {
    release: Option<mpsc::Sender<()>>,
    reader: Option<JoinHandle<()>>,
}

impl Held {
    fn hold(found: &Arc<Found>, key: LinkKey) -> Held {
        let ((release, released), (tell, told)) = (mpsc::channel::<()>(), mpsc::channel());
        let found = Arc::clone(found);
        let reader = std::thread::spawn(move || {
            let read = |_: Facts<'_>| {
                tell.send(()).unwrap();
                // Nothing is ever sent: this waits for the drop.
                let _ = released.recv();
            };
            found.lookups.hot_map().get(&key, read).expect("it is in the map");
        });
        told.recv().unwrap();
        Held { release: Some(release), reader: Some(reader) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.release.take());
        self.reader.take().unwrap().join().unwrap();
    }
}

impl Found {
    /// Lookups that came to an end.
    fn ended(&self) -> u64 {
        let mut registry = daemon::metrics::Registry::default();
        registry.register("took_seconds", "x", self.took.clone());
        let text = daemon::metrics::render(&registry);
        let count = text.lines().find_map(|line| line.strip_prefix("took_seconds_count "));
        count.unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn a_lookup_that_is_not_answered_in_time_is_given_up_and_ends_all_the_same() {
    let hurried = DiskOptions { deadline: Duration::from_millis(200), ..PATIENT };
    let found = Arc::new(lookups(hurried, true));
    // The first one brings it into memory; it may be late where the machine is busy, and is there then all the same.
    let _ = found.lookups.on_disk(key("spring-sale")).await;
    eventually("it is in memory", || (found.ended() == 1).then_some(()));
    let held = Held::hold(&found, key("spring-sale"));
    let late = found.lookups.on_disk(key("spring-sale")).await;
    assert!(matches!(late, Err(Unsure::Late)), "{late:?}");
    assert_eq!(found.ended(), 1, "nobody waited for it");
    drop(held);
    eventually("what had begun ends", || (found.ended() == 2).then_some(()));
}

#[tokio::test]
async fn a_lookup_that_finds_no_place_in_the_queue_is_refused_at_once() {
    let narrow = DiskOptions { queue_max: 1, ..PATIENT };
    let found = Arc::new(lookups(narrow, true));
    assert!(found.lookups.on_disk(key("spring-sale")).await.unwrap().is_some());
    let held = Held::hold(&found, key("spring-sale"));
    let ask = || {
        let found = Arc::clone(&found);
        async move { found.lookups.on_disk(key("spring-sale")).await }
    };
    // One with the thread, one in the queue at most: two of four are refused while nobody is answered, in whatever order they come.
    let mut asked: tokio::task::JoinSet<_> = (0..4).map(|_| ask()).collect();
    for _ in 0..2 {
        let refused = asked.join_next().await.unwrap().unwrap();
        assert!(matches!(refused, Err(Unsure::Full)), "{refused:?}");
    }
    drop(held);
    let rest = asked.join_all().await;
    assert!(rest.iter().any(|known| matches!(known, Ok(Some(_)))), "{rest:?}");
}
