//! `create`: links through the admin API, in an open loop at a rate or in a closed loop as fast as it goes.
//!
//! With `--follow` every link is asked for on every proxy right after its acknowledgement was read: once, at once, with
//! no second try. That is the promise a `201` makes, checked from outside.

mod plan;
mod results;
mod tally;
mod worker;

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::admin::{AdminApi, BATCH_MAX, token_in};
use crate::expect::Acknowledged;
use crate::figures;
use crate::http1::Endpoint;
use crate::lines::Lines;
use crate::pace::{StopFlag, cpu_seconds};
use crate::progress::{Ticker, print, say};
use crate::report::ReportArgs;
use crate::saturation::{self, Measured};
use crate::schedule::Rate;
use crate::series::Series;
use plan::Plan;
pub use results::Results;
use tally::Tally;
use worker::Shared;

/// Time for the threads to start before the first request is due.
const LEAD: Duration = Duration::from_millis(50);

/// What `create` takes.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("pace").required(true).args(["rate", "concurrency"]))]
#[command(group = clap::ArgGroup::new("credential").required(true).multiple(true).args(["token", "token_file"]))]
pub struct Args {
    /// File of targets, one a line; every line becomes a link of its own.
    #[arg(long, value_name = "FILE")]
    urls: PathBuf,
    /// Open loop: links per second, each with an intended start that latency is measured from.
    #[arg(long, value_name = "R")]
    rate: Option<Rate>,
    /// Closed loop: connections that each send when the answer before is there.
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u16).range(1..=4096))]
    concurrency: Option<u16>,
    /// Connections of an open loop.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// The admin API, as http://HOST:PORT.
    #[arg(long, value_name = "URL")]
    admin: Endpoint,
    /// The token (a process list shows it: prefer the variable or --token-file).
    #[arg(long, value_name = "TOKEN", env = "SIGNPOST_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Links per request, through the batch endpoint; without it every link is a request.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=BATCH_MAX as i64))]
    batch: Option<u16>,
    /// Seconds to measure, going round the input; without it the run ends with the input.
    #[arg(long, value_name = "S")]
    duration: Option<u32>,
    /// Seconds at the start that are not measured (they come on top of --duration) [default: 2 with --duration, else 0]
    #[arg(long, value_name = "S")]
    warm_up: Option<u32>,
    /// File to note acknowledged links in, a line `code<TAB>long_url` each: the input of verify.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Proxies for --follow, as http://HOST:PORT, separated by spaces or commas.
    #[arg(long, value_name = "URL", num_args = 1.., value_delimiter = ',')]
    proxies: Vec<Endpoint>,
    /// Ask every proxy for each link right after its 201, once, and require 302 with the exact Location.
    #[arg(long, requires = "proxies")]
    follow: bool,
    /// Ask the admin API not to wait for the proxies (Prefer: respond-async).
    #[arg(long, conflicts_with = "follow")]
    respond_async: bool,
    /// End with 0 although requests failed: for runs in which the API is killed on purpose. A wrong, missing, altered
    /// or doubly given link still fails the run.
    #[arg(long)]
    allow_errors: bool,
    /// Seconds to wait for an answer.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    #[command(flatten)]
    report: ReportArgs,
}

/// Runs the command.
///
/// # Errors
/// Unreadable input, links not acknowledged (unless allowed), and every answer that breaks a promise.
pub fn run(args: Args) -> anyhow::Result<()> {
    let stop = StopFlag::on_signals()?;
    let urls = Lines::read(&args.urls)?;
    let token = args.token()?;
    let acknowledged = Mutex::new(Acknowledged::new(args.out.as_deref())?);
    let begun = args.report.begin();
    let plan = args.plan(&urls);
    let shared = Shared {
        plan,
        urls: &urls,
        api: AdminApi::new(args.admin.clone(), &token, args.respond_async),
        follow: if args.follow { &args.proxies } else { &[] },
        timeout: Duration::from_secs(args.timeout),
        start: Instant::now() + LEAD,
        next: AtomicU64::new(0),
        acknowledged,
        series: Series::new(plan.warm_up_ns / 1_000_000_000),
        stop,
    };
    say(args.announcement(&plan));
    let cpu_before = cpu_seconds();
    let tally = work(&shared, args.connections())?;
    let elapsed = shared.start.elapsed().as_secs_f64();
    let results = args.results(&shared, tally, elapsed, cpu_seconds() - cpu_before);
    shared
        .acknowledged
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .flush()
        .context("cannot write --out")?;
    print(results.text());
    let path = begun.write(&results)?;
    say(format!("report in {}", path.display()));
    results.check(args.allow_errors, args.duration.is_some())
}

/// Runs all connections and adds up what they counted.
fn work(shared: &Shared<'_>, connections: u16) -> anyhow::Result<Tally> {
    let series = shared.series.clone();
    let _ticker = Ticker::start(move |elapsed| Some(series.tick(elapsed)));
    thread::scope(|scope| {
        let start =
            |_| thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, || worker::run(shared));
        let threads: Vec<_> =
            (0..connections).map(start).collect::<Result<_, _>>().inspect_err(|_| shared.stop.set())?;
        let mut tally = Tally::default();
        for thread in threads {
            tally.merge(
                thread.join().expect("a creating thread does not panic").context("cannot write --out")?,
            );
        }
        Ok(tally)
    })
}

impl Args {
    fn token(&self) -> anyhow::Result<String> {
        if let Some(path) = &self.token_file {
            return token_in(path);
        }
        let token = self.token.as_deref().unwrap_or_default().trim().to_owned();
        anyhow::ensure!(!token.is_empty(), "the token is empty");
        anyhow::ensure!(
            token.bytes().all(|byte| byte.is_ascii_graphic()),
            "the token has spaces or control characters"
        );
        Ok(token)
    }

    fn connections(&self) -> u16 {
        self.concurrency.unwrap_or(self.connections)
    }

    fn plan(&self, urls: &Lines) -> Plan {
        let batch = u64::from(self.batch.unwrap_or(1));
        let warm_up = self.warm_up.unwrap_or(if self.duration.is_some() { 2 } else { 0 });
        Plan {
            lines: urls.len() as u64,
            batch,
            rate: self.rate.map(|rate| rate.in_batches_of(batch)),
            warm_up_ns: u64::from(warm_up) * 1_000_000_000,
            duration_ns: self.duration.map(|seconds| u64::from(seconds) * 1_000_000_000),
        }
    }

    fn announcement(&self, plan: &Plan) -> String {
        let how = match self.rate {
            Some(rate) => format!("{} links/s", rate.per_second()),
            None => "as fast as it goes".to_owned(),
        };
        let until = match self.duration {
            Some(seconds) => {
                format!("for {seconds} s after {} s of warm-up", plan.warm_up_ns / 1_000_000_000)
            }
            None => format!("{} lines", figures::count(plan.lines)),
        };
        format!(
            "create: {how} over {} connections, {} links a request, {until}",
            self.connections(),
            plan.batch
        )
    }

    fn results(&self, shared: &Shared<'_>, tally: Tally, elapsed: f64, cpu: f64) -> Results {
        let seconds = (elapsed - shared.plan.warm_up_ns as f64 / 1e9).max(0.0);
        let generator = saturation::judge(&Measured {
            send_delay: &tally.send_delay,
            latency: &tally.latency,
            idle_share: None,
            cpu_cores: cpu / elapsed.max(f64::MIN_POSITIVE),
            cores: thread::available_parallelism().map_or(1, usize::from),
        });
        Results {
            kind: if self.rate.is_some() { "open loop" } else { "closed loop" },
            rate_wanted: self.rate.map(Rate::per_second),
            connections: self.connections(),
            batch: shared.plan.batch,
            requests: tally.requests,
            created: tally.created,
            created_per_s: figures::per_second(tally.created_measured, seconds),
            altered: tally.altered,
            duplicate_codes: shared.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).duplicates(),
            interrupted: shared.stop.is_set(),
            seconds,
            latency: tally.latency.record_of(),
            calm: shared.series.calm(),
            service: tally.service.record_of(),
            no_connection_free: tally.no_connection_free,
            followed: self.follow.then_some(tally.followed),
            follow: self.follow.then(|| tally.follow.record_of()),
            generator,
            series: shared.series.seconds(),
            errors: tally.errors,
        }
    }
}
