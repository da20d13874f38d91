//! The figures of a run, as text and as JSON.

use std::fs;
use std::time::Duration;

use serde::Serialize;

/// What `USER_HZ` is on every Linux there is (proc(5), `/proc/[pid]/stat`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Everything a run found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    /// Cores this process may use.
    pub(super) cores: usize,
    /// Used codes there were when measuring began.
    pub(super) used_codes: u64,
    pub(super) fill_seconds: f64,
    pub(super) compact_seconds: f64,
    /// All files, logs included.
    pub(super) dir_bytes: u64,
    pub(super) table_bytes: u64,
    pub(super) bytes_per_used_code: f64,
    pub(super) generating: Generating,
    /// Appending to a file and fdatasync, nothing else: the disk's share of a lease.
    pub(super) sync_alone: Latencies,
    pub(super) lease_codes: u32,
    pub(super) lease_alone: Latencies,
    pub(super) lease_while_generating: Latencies,
    /// Whether all codes leased while measuring were different.
    pub(super) distinct: bool,
}

/// How fast codes were generated and stored.
#[derive(Debug, Serialize)]
pub(super) struct Generating {
    codes: u64,
    stored_seconds: f64,
    codes_per_second: f64,
    /// Until the database had nothing left to tidy.
    settled_seconds: f64,
    settled_codes_per_second: f64,
    /// Of all threads, tidying included.
    cpu_microseconds_per_code: f64,
}

/// How long leases took, in ms.
#[derive(Debug, Serialize)]
pub(super) struct Latencies {
    count: usize,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
}

impl Generating {
    pub(super) fn new(codes: u64, stored_seconds: f64, settled_seconds: f64, cpu_before: f64) -> Generating {
        Generating {
            codes,
            stored_seconds,
            codes_per_second: codes as f64 / stored_seconds,
            settled_seconds,
            settled_codes_per_second: codes as f64 / settled_seconds,
            cpu_microseconds_per_code: (cpu_seconds() - cpu_before) * 1e6 / codes as f64,
        }
    }
}

impl Latencies {
    /// Sums up; there is at least one.
    pub(super) fn of(mut took: Vec<Duration>) -> Latencies {
        took.sort_unstable();
        let at = |part: f64| {
            let rank = (took.len() as f64 * part).ceil() as usize;
            took[rank.clamp(1, took.len()) - 1].as_secs_f64() * 1e3
        };
        Latencies {
            count: took.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
        }
    }

    fn text(&self) -> String {
        let Latencies { count, p50_ms, p99_ms, p999_ms, max_ms } = self;
        format!("p50 {p50_ms:.3} ms, p99 {p99_ms:.3} ms, p99.9 {p999_ms:.3} ms, max {max_ms:.3} ms ({count})")
    }
}

impl Report {
    pub(super) fn text(&self) -> String {
        let generating = &self.generating;
        format!(
            "cores                    {}\n\
             used codes before        {} (filled in {:.1} s, compacted in {:.1} s)\n\
             bytes per used code      {:.2} ({} bytes in all, tables {})\n\
             generated and stored     {:.0} codes/s ({} in {:.2} s)\n\
             … tidying included       {:.0} codes/s, {:.2} µs of CPU each\n\
             write and fdatasync      {}\n\
             lease of {}            {}\n\
             … while generating       {}\n\
             leased codes distinct    {}\n",
            self.cores,
            self.used_codes,
            self.fill_seconds,
            self.compact_seconds,
            self.bytes_per_used_code,
            self.dir_bytes,
            self.table_bytes,
            generating.codes_per_second,
            generating.codes,
            generating.stored_seconds,
            generating.settled_codes_per_second,
            generating.cpu_microseconds_per_code,
            self.sync_alone.text(),
            self.lease_codes,
            self.lease_alone.text(),
            self.lease_while_generating.text(),
            self.distinct,
        )
    }
}

/// Returns the CPU time of all threads of this process so far; 0 where the kernel does not say.
pub(super) fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field, the name, may hold spaces; user and system time are the 12th and 13th after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}
