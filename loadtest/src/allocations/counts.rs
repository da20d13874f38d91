//! What a proxy has counted so far: read from its metrics, and from what counts its C and C++.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::http1::{Connection, get};

/// Counts that only grow, or what they grew by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Allocations {
    /// Lookups answered from the hot map.
    pub hot: u64,
    /// Lookups answered from the database's memory.
    pub cache: u64,
    /// Lookups answered from the disk.
    pub disk: u64,
    /// Allocations of the threads that answer.
    pub worker: u64,
    /// Allocations of the threads that read from the disk.
    pub pool: u64,
    /// Those in C and C++ of the threads that answer.
    pub worker_c: u64,
    /// Those in C and C++ of the threads that read from the disk.
    pub pool_c: u64,
}

impl Allocations {
    fn zip(self, other: Self, both: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            hot: both(self.hot, other.hot),
            cache: both(self.cache, other.cache),
            disk: both(self.disk, other.disk),
            worker: both(self.worker, other.worker),
            pool: both(self.pool, other.pool),
            worker_c: both(self.worker_c, other.worker_c),
            pool_c: both(self.pool_c, other.pool_c),
        }
    }

    pub(super) fn since(self, before: Self) -> Self {
        self.zip(before, |now, before| now - before)
    }

    pub(super) fn add(&mut self, more: Self) {
        *self = self.zip(more, |sum, more| sum + more);
    }
}

/// Reads one proxy's counts.
#[derive(Debug)]
pub(super) struct Meter {
    health: String,
    pid: u64,
}

impl Meter {
    pub(super) fn new(health: &str, pid: u64) -> Self {
        Self { health: health.to_owned(), pid }
    }

    pub(super) fn read(&self, malloc_dir: Option<&Path>) -> anyhow::Result<Allocations> {
        let mut connection = Connection::new(self.health.parse()?, Duration::from_secs(10));
        let request = get(connection.endpoint(), "/metrics", "");
        let text = String::from_utf8(connection.exchange(&request)?.body.to_vec())?;
        let metric = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix("signpost_proxy_")?.strip_prefix(name));
            let value = line.and_then(|value| value.trim().parse::<u64>().ok());
            value.with_context(|| format!("the proxy has no metric {name}"))
        };
        let mut counts = Allocations {
            hot: metric("lookups_total{tier=\"hot\"}")?,
            cache: metric("lookups_total{tier=\"cache\"}")?,
            disk: metric("lookups_total{tier=\"disk\"}")?,
            worker: metric("allocations_total{thread=\"worker\"}")?,
            pool: metric("allocations_total{thread=\"disk\"}")?,
            ..Allocations::default()
        };
        if let Some(dir) = malloc_dir {
            let path = dir.join(self.pid.to_string());
            let bytes = fs::read(&path).with_context(|| {
                format!("{} is not there: preload count_malloc.c, as make allocations does", path.display())
            })?;
            for (thread, count) in threads(&bytes) {
                // A thread that has ended is neither.
                let name = fs::read_to_string(format!("/proc/{}/task/{thread}/comm", self.pid));
                match name.unwrap_or_default().as_str() {
                    name if name.starts_with("worker-") => counts.worker_c += count,
                    name if name.starts_with("disk-") => counts.pool_c += count,
                    _ => {}
                }
            }
        }
        Ok(counts)
    }
}

/// Reads the file of count_malloc.c: pairs of a thread and its count, to a thread 0.
fn threads(bytes: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    let word =
        |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("chunks of 16 bytes have two words"));
    bytes
        .chunks_exact(16)
        .map(move |pair| (word(&pair[..8]), word(&pair[8..])))
        .take_while(|(thread, _)| *thread != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_threads_ends_with_an_unused_place() {
        let words = [7, 100, 8, 2, 0, 5, 9, 9_u64];
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
        assert_eq!(threads(&bytes).collect::<Vec<_>>(), [(7, 100), (8, 2)]);
    }

    #[test]
    fn what_was_counted_meanwhile_is_the_difference() {
        let before = Allocations { hot: 5, worker: 1, ..Allocations::default() };
        let now = Allocations { hot: 9, worker: 1, pool_c: 2, ..before };
        let mut sum = now.since(before);
        assert_eq!(sum, Allocations { hot: 4, pool_c: 2, ..Allocations::default() });
        sum.add(sum);
        assert_eq!((sum.hot, sum.pool_c), (8, 4));
    }
}
