//! `verify`: every key on every proxy, exact target, first try.
//!
//! Invariant: each pair of key and proxy is asked exactly once; what fails is counted and listed, never repeated.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::figures;
use crate::http1::{Connection, Endpoint, GetRequests};
use crate::keys::Keys;
use crate::latency::{Latency, Record};
use crate::pace::{StopFlag, ns_between};
use crate::progress::{Ticker, print, say};
use crate::report::ReportArgs;
use crate::verdict::{Checked, judge};

/// Keys one thread takes at a time.
const CHUNK: usize = 64;

/// What `verify` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File of what must be there: a line `code<TAB>long_url` for each key (`create --out` writes one).
    #[arg(long, value_name = "FILE")]
    expect: PathBuf,
    /// The proxies to ask, as http://HOST:PORT, separated by spaces or commas.
    #[arg(long, value_name = "URL", required = true, num_args = 1.., value_delimiter = ',')]
    proxies: Vec<Endpoint>,
    /// Connections to each proxy, each asking for one key after the other.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Seconds to wait for an answer.
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    #[command(flatten)]
    report: ReportArgs,
}

/// What `verify` found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// Keys in the file.
    pub keys: usize,
    /// Proxies that were asked.
    pub proxies: Vec<String>,
    /// Whether somebody ended the run before every key was asked for.
    pub interrupted: bool,
    /// The verdicts.
    pub checked: Checked,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Time of each request, sent to read; the rate follows the answers (a closed loop), so this is no load figure.
    pub latency: Record,
}

#[derive(Debug, Default)]
struct Shared {
    next: AtomicUsize,
    asked: AtomicU64,
    failed: AtomicU64,
}

/// Runs the command.
///
/// # Errors
/// Unreadable input; at least one answer that was not right.
pub fn run(args: Args) -> anyhow::Result<()> {
    let stop = StopFlag::on_signals()?;
    let keys = Keys::read_expectations(&args.expect)?;
    let begun = args.report.begin();
    let pairs = (keys.len() * args.proxies.len()) as u64;
    say(format!("verify: {} keys on {} proxies", figures::count(keys.len() as u64), args.proxies.len()));
    let results = verify(&keys, &args.proxies, args.connections, Duration::from_secs(args.timeout), &stop)?;
    let asked = results.checked.right + results.checked.failed();
    print(format!(
        "verify: {} of {} asked in {:.1} s ({})\n  {}\n  {}\n{}",
        figures::count(asked),
        figures::count(pairs),
        results.seconds,
        figures::rate(asked, results.seconds),
        results.checked.line(),
        results.latency.summary.line(),
        results.checked.listing()
    ));
    let failed = results.checked.failed();
    let path = begun.write(&results)?;
    anyhow::ensure!(
        !results.interrupted,
        "stopped before every key was asked for; report in {}",
        path.display()
    );
    anyhow::ensure!(
        failed == 0,
        "{} of {} answers were not right; report in {}",
        failed,
        asked,
        path.display()
    );
    Ok(())
}

/// Asks every proxy for every key once.
///
/// # Errors
/// When threads cannot be started.
pub fn verify(
    keys: &Keys,
    proxies: &[Endpoint],
    connections: u16,
    timeout: Duration,
    stop: &StopFlag,
) -> anyhow::Result<Results> {
    let shared = Arc::new(Shared::default());
    let start = Instant::now();
    let ticker = Ticker::start(progress(Arc::clone(&shared), (keys.len() * proxies.len()) as u64));
    let work = || ask(keys, proxies, timeout, &shared, stop);
    let parts = thread::scope(|scope| {
        let started: Result<Vec<_>, _> =
            (0..connections).map(|_| thread::Builder::new().spawn_scoped(scope, work)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().expect("a verifying thread does not panic")
        };
        Ok::<Vec<_>, std::io::Error>(started?.into_iter().map(join).collect())
    })
    .context("cannot start the threads of the connections")?;
    drop(ticker);
    let mut checked = Checked::default();
    let mut latency = Latency::default();
    for (part, times) in parts {
        checked.merge(part);
        latency.merge(&times);
    }
    Ok(Results {
        keys: keys.len(),
        proxies: proxies.iter().map(Endpoint::to_string).collect(),
        interrupted: stop.is_set(),
        checked,
        seconds: start.elapsed().as_secs_f64(),
        latency: latency.record_of(),
    })
}

/// One thread: takes keys and asks each proxy for each.
fn ask(
    keys: &Keys,
    proxies: &[Endpoint],
    timeout: Duration,
    shared: &Shared,
    stop: &StopFlag,
) -> (Checked, Latency) {
    let mut checked = Checked::default();
    let mut latency = Latency::default();
    let open = |proxy: &Endpoint| {
        (Connection::new(proxy.clone(), timeout), GetRequests::new(proxy, ""), proxy.to_string())
    };
    let mut connections: Vec<_> = proxies.iter().map(open).collect();
    while !stop.is_set() {
        let first = shared.next.fetch_add(CHUNK, Ordering::Relaxed);
        if first >= keys.len() {
            break;
        }
        let failed_before = checked.failed();
        let last = (first + CHUNK).min(keys.len());
        for key in (first..last).map(|index| keys.get(index)) {
            let long_url = key.long_url.unwrap_or_default();
            for (connection, requests, name) in &mut connections {
                let sent = Instant::now();
                let exchange = connection.exchange(requests.for_code(key.code));
                latency.record(ns_between(sent, Instant::now()));
                checked.add(judge(&exchange, long_url), key.code, name, long_url);
            }
        }
        shared.asked.fetch_add(((last - first) * proxies.len()) as u64, Ordering::Relaxed);
        shared.failed.fetch_add(checked.failed() - failed_before, Ordering::Relaxed);
    }
    (checked, latency)
}

fn progress(shared: Arc<Shared>, pairs: u64) -> impl FnMut(Duration) -> Option<String> + Send + 'static {
    let mut before = 0;
    move |elapsed| {
        let asked = shared.asked.load(Ordering::Relaxed);
        let line = format!(
            "{:4} s  {} of {}  {}/s  not right: {}",
            elapsed.as_secs(),
            figures::count(asked),
            figures::count(pairs),
            figures::count(asked - before),
            figures::count(shared.failed.load(Ordering::Relaxed))
        );
        before = asked;
        Some(line)
    }
}
