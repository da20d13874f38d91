//! What the hot map keeps, and what a flood of unknown keys does to it and to the disk: counts, no times.
//!
//! `cargo run --release -p signpost-proxy --example hot_map -- [LINKS]`: three experiments with LINKS links, 1,000,000 unless said
//! otherwise.
//! 1. A scan of ten times as many distinct keys beside a hot set: how much of it is still there.
//! 2. A Zipf load (s = 1.0), the map with room for a fifth of the links: hits, beside keeping exactly the hottest fifth.
//! 3. As many unknown keys as there are links against a replica on disk: how many wait for the disk.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "../tests/it/author.rs"]
#[allow(dead_code)]
mod author;

use std::sync::Arc;
use std::time::Duration;

use author::Author;
use daemon::metrics::Latency;
use linklog::replica::Replica;
use linklog::store::{Contents, StoreOptions};
use linklog::{Code7, DomainId, LinkState, LinkView, Position, RedirectStatus, Stamp};
use signpost_proxy::answer::Facts;
use signpost_proxy::disk::{DiskOptions, DiskPool};
use signpost_proxy::hot_map::{HotMap, Mark};
use signpost_proxy::link_key::LinkKey;
use signpost_proxy::lookup::{InMemory, Lookups, Source, Whole};

const TARGET: &[u8] = b"https://www.example.org/articles/2026/a-title-of-common-length?ref=feed";

fn main() {
    let links: u64 = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().unwrap());
    scan(links);
    zipf(links);
    flood(links);
}

fn key(n: u64) -> LinkKey {
    let code = Code7::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % Code7::COUNT).unwrap();
    LinkKey::of_code7(DomainId::DEFAULT, code)
}

/// Asks the map, and puts the link in as if it had been read from the disk. Says whether it was there.
fn ask(map: &HotMap, n: u64) -> bool {
    let stamp = Stamp { live: true, version: 1, created: Position::new(1, 1) };
    let (status, state) = (RedirectStatus::Found, LinkState::Active);
    let facts =
        Facts::from(LinkView { stamp, target: TARGET, status, state, expires_at_ms: None, extras: &[] });
    let found = map.get(&key(n), |_| ()).is_some();
    if !found {
        map.fill(Mark { generation: 0, applied_seq: 0 }, &key(n), facts);
    }
    found
}

fn ask_all(map: &HotMap, links: std::ops::Range<u64>) {
    for n in links {
        ask(map, n);
    }
}

/// A map with room for about `links`.
fn map_for(links: u64) -> HotMap {
    let probe = HotMap::new(64 << 20, 1);
    ask_all(&probe, 0..1_000);
    HotMap::new((probe.fill_level().bytes as u64 / 1_000 * links) as usize, 1)
}

fn scan(links: u64) {
    let (capacity, hot) = (links / 5, links / 10);
    let map = map_for(capacity);
    for _ in 0..4 {
        ask_all(&map, 0..hot);
    }
    let scanned = links * 10;
    ask_all(&map, links..links + scanned);
    let fill = map.fill_level();
    let kept = (0..hot).filter(|n| map.get(&key(*n), |_| ()).is_some()).count();
    println!(
        "scan: {scanned} distinct keys through a map of {} links ({} bytes); of {hot} hot ones {kept} are still there ({:.2} %)",
        fill.entries,
        fill.bytes,
        kept as f64 * 100.0 / hot as f64
    );
}

fn zipf(links: u64) {
    let mut share = Vec::with_capacity(links as usize);
    let mut sum = 0.0;
    for rank in 1..=links {
        sum += 1.0 / rank as f64;
        share.push(sum);
    }
    let capacity = links / 5;
    let map = map_for(capacity);
    let asked = links * 20;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut hits = 0u64;
    for n in 0..asked {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let random = (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64;
        let rank = share.partition_point(|share| *share < random * sum) as u64;
        hits += u64::from(ask(&map, rank) && n >= asked / 2);
    }
    let entries = map.fill_level().entries;
    println!(
        "zipf: {asked} requests for {links} links, {entries} of them in the map: {:.2} % hits in the second half; keeping exactly \
         the hottest {capacity}: {:.2} %",
        hits as f64 * 200.0 / asked as f64,
        share[capacity as usize - 1] * 100.0 / sum
    );
}

fn flood(links: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut replica = Replica::open(dir.path(), Contents::Serve, &StoreOptions::default()).unwrap();
    let mut author = Author::new();
    for chunk in 0..links.div_ceil(10_000) {
        let of_chunk = chunk * 10_000..((chunk + 1) * 10_000).min(links);
        let code =
            |n: u64| Code7::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % Code7::COUNT).unwrap().to_code();
        let target = String::from_utf8(TARGET.to_vec()).unwrap();
        author.links(of_chunk.map(|n| (code(n).to_string(), target.clone())));
        author.frames.drain(..).for_each(|(frame, _)| drop(replica.apply(&frame).unwrap()));
    }
    drop(author);
    let hot = Arc::new(HotMap::new(16 << 20, 1));
    let options = DiskOptions { threads: 1, queue_max: 16, deadline: Duration::from_secs(10) };
    let disk = DiskPool::start(options, &hot, &Latency::default()).unwrap();
    let source = Source::new(1, replica.reader());
    let lookups = Lookups::new(Arc::clone(&hot), source, disk, Arc::new(Whole::new(true)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Whether it took the disk, and whether there is such a link.
    let mut find = |n: u64| match lookups.in_memory(&key(n), |facts| facts.is_some()) {
        InMemory::Known(_, found) => (false, found),
        InMemory::NeedsDisk => (true, runtime.block_on(lookups.on_disk(key(n))).unwrap().is_some()),
        other => panic!("{other:?}"),
    };
    (0..10_000).for_each(|n| assert!(find(n).1));
    let before = hot.fill_level();
    let on_disk = (links..links * 2).map(&mut find).filter(|(on_disk, found)| {
        assert!(!found, "none of them exists");
        *on_disk
    });
    let on_disk = on_disk.count();
    assert_eq!(hot.fill_level(), before, "unknown keys are not kept");
    let known = (0..10_000).map(find).filter(|(on_disk, found)| *found && !on_disk).count();
    println!(
        "flood: {links} unknown keys against {links} links on disk: {on_disk} of them went to the disk ({:.4} %); the hot map is \
         as before, {known} of 10,000 known keys are answered from memory",
        on_disk as f64 * 100.0 / links as f64
    );
}
