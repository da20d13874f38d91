//! `redirect`: asks for keys, in an open loop at a rate or in a closed loop as fast as the connections allow.
//!
//! The open loop tells latencies, from the intended start of each request. The closed loop tells what a server can do and, with
//! `--server-pid`, what each answer costs it.
//!
//! The generator is light on purpose (a hand-written client, one epoll per thread, no allocation per request): on a
//! machine it shares with the server, what it uses the server lacks.

mod channel;
mod pace;
mod results;
mod tally;
mod worker;

use std::mem;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::figures;
use crate::header_sets::{HeaderSets, header_line};
use crate::http1::Endpoint;
use crate::keys::Keys;
use crate::pace::{StopFlag, cpu_seconds};
use crate::progress::{Ticker, print, say};
use crate::report::ReportArgs;
use crate::saturation::{self, Measured};
use crate::schedule::{Arrivals, Rate, Schedule};
use crate::series::Series;
use crate::server_cpu::ServerArgs;
use crate::stalls::Watch;
use pace::{Order, Pace};
pub use results::Results;
use tally::Tally;
pub(crate) use tally::judge;
use worker::{Job, Worker};

/// The part of the wanted rate that has to come for a run to have kept up.
const KEPT_UP_SHARE: f64 = 0.99;

/// Time for the connections to open before the first request is due.
const LEAD: Duration = Duration::from_millis(100);

/// What `redirect` takes.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("pace").required(true).args(["rate", "flat_out"]))]
pub struct Args {
    /// Open loop: requests per second in total, each with an intended start that latency is measured from.
    #[arg(long, value_name = "R")]
    rate: Option<Rate>,
    /// Closed loop: each connection sends when the answer before is there.
    #[arg(long)]
    flat_out: bool,
    /// Seconds to measure.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    duration: u32,
    /// Ask for every key once, in the order of the file, and end; --duration is then the longest it may take.
    #[arg(long, requires = "flat_out")]
    once: bool,
    /// Connections in total, shared out over the targets; kept alive, one request at a time on each.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=16384))]
    connections: u16,
    /// File of keys to ask for at random: a code a line, or `code<TAB>long_url` to have the Location compared.
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// The servers, as http://HOST:PORT, separated by spaces or commas.
    #[arg(long, value_name = "URL", required = true, num_args = 1.., value_delimiter = ',')]
    target: Vec<Endpoint>,
    /// Seconds before the measured part, under the same load.
    #[arg(long, value_name = "S", default_value_t = 2)]
    warm_up: u32,
    /// How the requests are spread in time.
    #[arg(long, value_enum, default_value_t = Arrivals::Constant)]
    arrivals: Arrivals,
    /// Threads to send from; one is enough up to tens of thousands a second.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Open a connection for every request, which says so with `Connection: close`.
    #[arg(long, requires = "flat_out")]
    connection_per_request: bool,
    /// Folder of header sets, a file of lines each, which the requests take at random.
    #[arg(long, value_name = "DIR")]
    header_sets: Option<PathBuf>,
    /// A header line to add to every request, as `Name: value`; may be repeated.
    #[arg(long, value_name = "LINE", value_parser = header_line)]
    header: Vec<String>,
    /// Seed of the choice of keys and of Poisson arrivals.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Watch for times in which the machine itself stood still, and give the latencies a second time without the answers they touched. Needs
    /// root, for threads that come before all others.
    #[arg(long, requires = "rate")]
    watch_stalls: bool,
    /// Seconds to wait for an answer.
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// Runs the command.
///
/// # Errors
/// Unreadable input; a run in which no request was answered with a redirect.
pub fn run(args: Args) -> anyhow::Result<()> {
    let stop = StopFlag::on_signals()?;
    let keys = Keys::read(&args.keys)?;
    let begun = args.report.begin();
    let pace = match args.rate {
        Some(rate) => format!("{} requests/s", rate.per_second()),
        None => "as fast as it goes".to_owned(),
    };
    say(format!(
        "redirect: {pace} for {} s after {} s of warm-up, {} connections to {} targets, {} keys",
        args.duration,
        args.warm_up,
        args.connections,
        args.target.len(),
        figures::count(keys.len() as u64)
    ));
    let results = measure(&args, &keys, &stop)?;
    print(results.text());
    let path = begun.write(&results)?;
    say(format!("report in {}", path.display()));
    anyhow::ensure!(results.redirected > 0, "no request was answered with a redirect");
    Ok(())
}

fn measure(args: &Args, keys: &Keys, stop: &StopFlag) -> anyhow::Result<Results> {
    let series = Series::new(u64::from(args.warm_up));
    let headers = args.headers()?;
    let watched = args.server.watch()?;
    let answers = AtomicU64::new(0);
    let warm_up_ns = u64::from(args.warm_up) * 1_000_000_000;
    let threads = args.threads.min(args.connections);
    let job = |thread: u16| Job {
        keys,
        targets: &args.target,
        order: if args.once {
            Order::Once { next: usize::from(thread), step: usize::from(threads) }
        } else {
            Order::Random
        },
        headers: headers.sets(),
        connection_per_request: args.connection_per_request,
        connections: share(args.connections, thread, threads),
        pace: args.rate.map_or(Pace::Closed, |rate| {
            Pace::Open(Schedule::new(rate, args.arrivals, u64::from(thread), u64::from(threads), args.seed))
        }),
        warm_up_ns,
        end_ns: warm_up_ns + u64::from(args.duration) * 1_000_000_000,
        timeout_ns: args.timeout * 1_000_000_000,
        seed: args.seed ^ u64::from(thread).rotate_right(16),
        series: series.clone(),
        answers_kept: args.answers_kept() / usize::from(threads),
        answers: &answers,
        stop: stop.clone(),
    };
    let workers: Vec<Worker<'_>> = (0..threads)
        .map(|thread| Worker::new(job(thread)))
        .collect::<Result<_, _>>()
        .context("cannot open connections")?;
    let cpu_before = cpu_seconds();
    let start = Instant::now() + LEAD;
    let watch = args.watch_stalls.then(|| Watch::begin(start)).transpose()?;
    let end = |seconds: u32| start + Duration::from_secs(u64::from(seconds));
    let over = StopFlag::default();
    let (mut tally, server) = thread::scope(|scope| {
        let looks = watched.as_ref().map(|watched| {
            let (from, to) = (end(args.warm_up), end(args.warm_up + args.duration));
            let (answers, over) = (&answers, &over);
            scope.spawn(move || watched.look_twice(answers, over, from, to))
        });
        let tally = work(workers, start, series.clone());
        over.set();
        let server = looks.map(|looks| looks.join().expect("looking at the clocks does not panic"));
        anyhow::Ok((tally?, server.transpose()?.flatten()))
    })?;
    let cpu_cores = (cpu_seconds() - cpu_before) / start.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    let answers = mem::take(&mut tally.answers);
    let untouched = watch.map(|watch| watch.end().leave_out(answers, warm_up_ns));
    let mut results = results(args, keys, tally, cpu_cores, &series, stop);
    results.untouched = untouched;
    results.header_sets = headers.sets().len();
    results.server = server;
    Ok(results)
}

/// Runs the threads and adds up what they counted.
fn work(workers: Vec<Worker<'_>>, start: Instant, series: Series) -> anyhow::Result<Tally> {
    let _ticker = Ticker::start(move |elapsed| Some(series.tick(elapsed)));
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(workers.len());
        for worker in workers {
            let spawned = thread::Builder::new().spawn_scoped(scope, move || worker.run(start));
            threads.push(spawned.context("cannot start a sending thread")?);
        }
        let mut total = Tally { idle_share: 1.0, ..Tally::default() };
        for thread in threads {
            let tally =
                thread.join().expect("a sending thread does not panic").context("cannot wait for answers")?;
            total.merge(&tally);
        }
        Ok(total)
    })
}

fn results(
    args: &Args,
    keys: &Keys,
    tally: Tally,
    cpu_cores: f64,
    series: &Series,
    stop: &StopFlag,
) -> Results {
    let generator = saturation::judge(&Measured {
        send_delay: &tally.send_delay,
        latency: &tally.latency,
        idle_share: Some(tally.idle_share),
        cpu_cores,
        cores: thread::available_parallelism().map_or(1, usize::from),
    });
    // A run that kept up lasted as long as it was meant to; one that did not, until its last answer.
    let until_last = tally.last_answer_ns as f64 / 1e9 - f64::from(args.warm_up);
    let seconds =
        if stop.is_set() || args.once { until_last } else { until_last.max(f64::from(args.duration)) }
            .max(0.0);
    let redirected_per_s = figures::per_second(tally.redirected, seconds);
    Results {
        kind: if args.rate.is_some() { "open loop" } else { "closed loop" },
        rate_wanted: args.rate.map(Rate::per_second),
        redirected_per_s,
        kept_up: args.rate.map(|rate| redirected_per_s >= KEPT_UP_SHARE * rate.per_second()),
        connections: args.connections,
        connection_per_request: args.connection_per_request,
        header_sets: 0,
        keys: keys.len(),
        locations_compared: keys.iter().all(|key| key.long_url.is_some()),
        seconds,
        warm_up: tally.warm_up,
        received: tally.received,
        redirected: tally.redirected,
        unsent: tally.unsent,
        no_connection_free: tally.no_connection_free,
        reconnects: tally.reconnects,
        interrupted: stop.is_set(),
        latency: tally.latency.record_of(),
        calm: series.calm(),
        untouched: None,
        service: tally.service.record_of(),
        server: None,
        generator,
        series: series.seconds(),
        errors: tally.errors,
    }
}

impl Args {
    /// How many answers are kept by themselves: all that are expected and some more, or none.
    fn answers_kept(&self) -> usize {
        let expected = self.rate.map_or(0.0, |rate| rate.per_second() * f64::from(self.duration));
        if self.watch_stalls { (expected * 1.1) as usize } else { 0 }
    }

    fn headers(&self) -> anyhow::Result<HeaderSets> {
        let headers = match &self.header_sets {
            Some(folder) => HeaderSets::read(folder, &self.header)?,
            None => HeaderSets::one(&self.header),
        };
        Ok(if self.connection_per_request { headers.with_line("Connection: close") } else { headers })
    }
}

/// The connections of one of several threads.
fn share(connections: u16, thread: u16, threads: u16) -> usize {
    usize::from(connections / threads + u16::from(thread < connections % threads))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_share_out_all_connections() {
        let shares: Vec<usize> = (0..3).map(|thread| share(64, thread, 3)).collect();
        assert_eq!(shares, [22, 21, 21]);
    }
}
