//! `signpost-keypool bench`: what a pool can do on this machine, through the code the daemon runs.
//!
//! It fills a pool with used codes, compacts it, and measures: codes generated and stored per second, with and without
//! the tidying of the database that they cause; the latency of leases, alone and while generating goes on at full speed,
//! the latter in an open loop, from the moment at which a lease was due; bytes on disk per used code. In the end it checks
//! that no code was leased twice. To measure one core, run it under `taskset -c N`.
//!
//! It works in a directory of its own only: a pool that is measured is used up.
//!
//! Deliberately not here: the network, which the whole system's load test measures.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use daemon::exit::Exit;

use crate::config::PoolConfig;
use crate::generate::SystemEntropy;
use crate::metrics::Metrics;
use crate::pool::LeaseRequest;
use crate::refill::now_ms;
use crate::slots::SlotSet;
use crate::supply::{AddError, BATCH_CODES_MAX, LeaseError, Supply};

mod report;

use report::{Latencies, Report};

/// Codes that one lease takes out of the way while filling.
const DRAIN_CODES: u32 = 100_000;
/// The file that says that a directory was made by a bench.
const MARK: &str = "signpost-bench";
/// About what a lease writes to the log.
const LEASE_BYTES: usize = 160;
/// How often the filling says how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// When leases are due while generating goes on: 100 a second.
const LEASE_EVERY: Duration = Duration::from_millis(10);

/// What to measure.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Where the pool lies that is measured; one that is there already is used on, if it has no more than --used codes
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Used codes there are before anything is measured
    #[arg(long, default_value_t = 10_000_000, value_name = "N")]
    used: u64,
    /// Codes to generate while measuring
    #[arg(long, default_value_t = 10_000_000, value_name = "M", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    codes: u64,
    /// Leases to measure, alone and again while generating
    #[arg(long, default_value_t = 5_000, value_name = "K", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    leases: u64,
    /// Codes of a lease
    #[arg(long, default_value_t = 1_000, value_name = "CODES", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    lease_codes: u32,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures, and prints what it found.
///
/// # Errors
/// The pool fails, or a code was leased twice.
pub fn run(args: &BenchArgs) -> Result<(), Exit> {
    let config = PoolConfig {
        slots: SlotSet::all(),
        low_watermark: 1,
        high_watermark: 1,
        blocklist: None,
        quarantine_days: 0,
    };
    claim(&args.dir)?;
    let supply = Supply::open(&args.dir, &config, Arc::new(Metrics::default())).map_err(Exit::failure)?;
    let mut bench = Bench { supply, args, leased: Vec::new(), next_request: u128::from(now_ms()) << 64 };
    let fill_seconds = bench.fill()?;
    say("compacting");
    let began = Instant::now();
    bench.supply.store().compact();
    let compact_seconds = began.elapsed().as_secs_f64();
    let used = bench.supply.stats().used;
    let (dir_bytes, table_bytes) =
        (bytes_in(bench.supply.store().dir()).map_err(Exit::failure)?, bench.supply.stats().table_bytes);
    let generating = bench.generate()?;
    say("syncing");
    let sync_alone = sync_alone(&args.dir, args.leases).map_err(Exit::failure)?;
    say("leasing");
    let lease_alone = bench.lease_alone()?;
    say("leasing while generating");
    let lease_while_generating = bench.lease_while_generating()?;
    let distinct = bench.leased_are_distinct();
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        cores: thread::available_parallelism().map_or(0, usize::from),
        used_codes: used,
        fill_seconds,
        compact_seconds,
        dir_bytes,
        table_bytes,
        bytes_per_used_code: dir_bytes as f64 / used as f64,
        generating,
        sync_alone,
        lease_codes: args.lease_codes,
        lease_alone,
        lease_while_generating,
        distinct,
    };
    crate::cli::print(&report.text())?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report).map_err(Exit::failure)?;
        fs::write(path, json + "\n").map_err(Exit::failure)?;
    }
    if distinct { Ok(()) } else { Err(Exit::failure("a code was leased twice")) }
}

struct Bench<'a> {
    supply: Supply,
    args: &'a BenchArgs,
    /// Every code leased while measuring, to be compared in the end.
    leased: Vec<u64>,
    next_request: u128,
}

impl Bench<'_> {
    /// Brings the pool to the number of used codes, by generating and leasing as the daemon does.
    fn fill(&mut self) -> Result<f64, Exit> {
        let (began, mut said) = (Instant::now(), Instant::now());
        loop {
            self.drain()?;
            let used = self.supply.stats().used;
            let missing = self.args.used.saturating_sub(used);
            if missing == 0 {
                return Ok(began.elapsed().as_secs_f64());
            }
            if said.elapsed() >= REPORT_EVERY {
                said = Instant::now();
                say(&format!("{used} of {} codes are used", self.args.used));
            }
            self.add(missing)?;
        }
    }

    fn drain(&mut self) -> Result<(), Exit> {
        loop {
            let request = self.request(DRAIN_CODES);
            match self.supply.lease(&request) {
                Ok(_) => {}
                Err(LeaseError::Empty) => return Ok(()),
                Err(error) => return Err(Exit::failure(error)),
            }
        }
    }

    fn generate(&mut self) -> Result<report::Generating, Exit> {
        say("generating");
        let (began, cpu_before) = (Instant::now(), report::cpu_seconds());
        let mut codes = 0;
        while codes < self.args.codes {
            codes += self.add(self.args.codes - codes)?;
        }
        let stored_seconds = began.elapsed().as_secs_f64();
        self.supply.store().settle().map_err(Exit::failure)?;
        Ok(report::Generating::new(codes, stored_seconds, began.elapsed().as_secs_f64(), cpu_before))
    }

    fn add(&self, count: u64) -> Result<u64, Exit> {
        let count = usize::try_from(count).unwrap_or(BATCH_CODES_MAX).min(BATCH_CODES_MAX);
        let added = self.supply.add(count, now_ms(), &mut SystemEntropy).map_err(Exit::failure)?;
        Ok(added.stocked)
    }

    /// Leases one after the other.
    fn lease_alone(&mut self) -> Result<Latencies, Exit> {
        self.stock_up(self.args.leases * u64::from(self.args.lease_codes))?;
        let mut took = Vec::new();
        for _ in 0..self.args.leases {
            let request = self.request(self.args.lease_codes);
            let began = Instant::now();
            let leased = self.supply.lease(&request).map_err(Exit::failure)?;
            took.push(began.elapsed());
            self.leased.extend(leased.codes.iter().map(|code| code.value()));
        }
        Ok(Latencies::of(took))
    }

    /// Leases at a fixed rate while another thread generates without pause.
    fn lease_while_generating(&mut self) -> Result<Latencies, Exit> {
        self.stock_up(self.args.leases * u64::from(self.args.lease_codes))?;
        let enough = AtomicBool::new(false);
        let requests: Vec<LeaseRequest> =
            (0..self.args.leases).map(|_| self.request(self.args.lease_codes)).collect();
        let (supply, leased) = (&self.supply, &mut self.leased);
        thread::scope(|scope| {
            let generating = scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    supply.add(BATCH_CODES_MAX, now_ms(), &mut SystemEntropy)?;
                }
                Ok::<(), AddError>(())
            });
            let mut took = Vec::new();
            let began = Instant::now();
            for (request, due) in requests.iter().zip((0..).map(|index| began + LEASE_EVERY * index)) {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                match supply.lease(request) {
                    Ok(codes) => leased.extend(codes.codes.iter().map(|code| code.value())),
                    Err(error) => {
                        enough.store(true, Ordering::Relaxed);
                        return Err(Exit::failure(error));
                    }
                }
                took.push(due.elapsed());
            }
            enough.store(true, Ordering::Relaxed);
            let generated = generating.join().map_err(|_| Exit::failure("generating panicked"))?;
            generated.map_err(Exit::failure)?;
            Ok(Latencies::of(took))
        })
    }

    fn stock_up(&self, codes: u64) -> Result<(), Exit> {
        while self.supply.unused() < codes {
            self.add(codes - self.supply.unused())?;
        }
        Ok(())
    }

    fn leased_are_distinct(&mut self) -> bool {
        self.leased.sort_unstable();
        self.leased.windows(2).all(|pair| pair[0] != pair[1])
    }

    fn request(&mut self, count: u32) -> LeaseRequest {
        self.next_request += 1;
        LeaseRequest {
            request_id: self.next_request.to_be_bytes(),
            holder: "bench".to_owned(),
            epoch: 1,
            count,
        }
    }
}

/// Makes the directory the bench's own, or refuses: measuring burns every code of the pool in it.
fn claim(dir: &Path) -> Result<(), Exit> {
    fs::create_dir_all(dir).map_err(Exit::failure)?;
    let mark = dir.join(MARK);
    let mut entries = fs::read_dir(dir).map_err(Exit::failure)?;
    if entries.next().is_some() && !mark.exists() {
        let dir = dir.display();
        return Err(Exit::failure(format!(
            "{dir} is not empty and not of an earlier bench: name another --dir"
        )));
    }
    fs::write(mark, "").map_err(Exit::failure)
}

/// Measures what a lease cannot be faster than: appending a lease's bytes to a file and having them on the disk.
fn sync_alone(dir: &Path, times: u64) -> io::Result<Latencies> {
    let path = dir.join("sync-alone");
    let mut file = fs::File::create(&path)?;
    let mut took = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        file.write_all(&[0x5a; LEASE_BYTES])?;
        file.sync_data()?;
        took.push(began.elapsed());
    }
    fs::remove_file(&path)?;
    Ok(Latencies::of(took))
}

/// Returns what the files of a directory take.
fn bytes_in(dir: &Path) -> io::Result<u64> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

/// Says on stderr what is going on; nobody is left to tell when that fails.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
