//! Memory is bounded by what is configured, not by how far somebody is behind or how much comes at once.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::web::Town;
use super::{all_in_sync, create, eventually};

const MIB: u64 = 1 << 20;
/// Changes that a stopped proxy is behind by, and their size: 200 MB of log, far more than any bound below.
const CHANGES: usize = 100_000;
const TARGET_BYTES: usize = 2_000;
/// Changes that fill what is filled in any case: memtables, caches, the allocator's spare room.
const BEFORE: usize = 50_000;
/// What the writer may take for a follower that does not read: its window (`proxy/src/follow/stream.rs`), which is 16 MiB, as
/// much again in TLS and HTTP/2, and eight frames of 1 MiB that are kept for all followers (`admin-api/src/feed/frames.rs`); and as much for
/// what a database's memory differs by from one moment to the next.
const WRITER_MORE_MAX: u64 = 64 * MIB;
/// What a writer reads of its log for a follower stays in the cache of its database, as the next one may want it too (`StoreOptions`).
const CACHE: u64 = 256 * MIB;
/// What a proxy may take for a flood: its window, and two memtables that are filled while others are written down.
const PROXY_MORE_MAX: u64 = 128 * MIB;

/// A line of proc_pid_status(5), in bytes.
fn memory(pid: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let found = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    found.trim_matches([':', '\t', ' ', 'k', 'B']).parse::<u64>().unwrap() << 10
}

/// From here on `VmHWM` is the most since now (proc_pid_clear_refs(5)).
fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// A file with so many long targets.
fn targets(dir: &Path, name: &str, count: usize) -> PathBuf {
    let mut text = String::with_capacity(count * (TARGET_BYTES + 1));
    for n in 0..count {
        let start = format!("https://{name}.example/{n}/");
        writeln!(text, "{start}{}", "x".repeat(TARGET_BYTES - start.len())).unwrap();
    }
    let path = dir.join(format!("{name}.txt"));
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_proxy_that_stands_still_and_the_flood_when_it_goes_on_take_no_memory_to_speak_of() {
    let dir = tempfile::tempdir().unwrap();
    let small = [
        "admin.search.enabled=false",
        "proxy.cache.hot_map_bytes=1048576",
        "proxy.cache.block_cache_bytes=8388608",
    ];
    let town = Town::with(dir.path(), &small);
    let fast = ["--batch", "100", "--concurrency", "4", "--respond-async", "--timeout", "120"];
    let load = |name, count| {
        let out = dir.path().join(format!("{name}.tsv"));
        let results = create(&town.fleet, &targets(dir.path(), name, count), &out, &fast);
        assert_eq!(results["created"], count, "{results}");
    };
    load("before", BEFORE);
    eventually("the proxy has everything", || all_in_sync(&town.fleet));
    let pids = town.fleet.ready().pids.clone();
    let (writer, proxy) = (memory(pids.admin, "VmRSS"), memory(pids.proxies[0], "VmRSS"));

    town.fleet.must("kill proxy-0 STOP");
    load("behind", CHANGES);
    let more = memory(pids.admin, "VmRSS").saturating_sub(writer);
    assert!(more <= WRITER_MORE_MAX, "the writer took {} MiB more for a proxy that stands still", more / MIB);

    let writer = memory(pids.admin, "VmRSS");
    [pids.admin, pids.proxies[0]].iter().for_each(|pid| forget_peak(*pid));
    town.fleet.must("kill proxy-0 CONT");
    eventually("the proxy has everything", || all_in_sync(&town.fleet));
    let more = memory(pids.proxies[0], "VmHWM").saturating_sub(proxy);
    assert!(more <= PROXY_MORE_MAX, "the proxy took {} MiB more for what came at once", more / MIB);
    let more = memory(pids.admin, "VmHWM").saturating_sub(writer);
    assert!(more <= CACHE + WRITER_MORE_MAX, "the writer took {} MiB more to send it", more / MIB);
}
