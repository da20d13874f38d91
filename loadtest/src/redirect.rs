//! `redirect`: asks for keys at a rate, over keep-alive connections, and measures from the intended start.
//!
//! The generator is light on purpose (a hand-written client, one epoll per thread, no allocation per request): on a
//! machine it shares with the server, what it uses the server lacks.

mod channel;
mod tally;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::figures;
use crate::http1::Endpoint;
use crate::keys::Keys;
use crate::latency::Record;
use crate::pace::{StopFlag, cpu_seconds};
use crate::progress::{Ticker, print, say};
use crate::report::ReportArgs;
use crate::saturation::{self, Generator, Measured};
use crate::schedule::{Arrivals, Rate, Schedule};
use crate::series::{Calm, Second, Series};
use tally::Tally;
use worker::{Job, Worker};

/// The part of the wanted rate that has to come for a run to have kept up.
const KEPT_UP_SHARE: f64 = 0.99;

/// Time for the connections to open before the first request is due.
const LEAD: Duration = Duration::from_millis(100);

/// What `redirect` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Requests per second in total, each with an intended start that latency is measured from.
    #[arg(long, value_name = "R")]
    rate: Rate,
    /// Seconds to measure.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    duration: u32,
    /// Keep-alive connections in total, shared out over the targets; one request at a time on each.
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
    /// A header line to add to every request, as `Name: value`; may be repeated.
    #[arg(long, value_name = "LINE", value_parser = header_line)]
    header: Vec<String>,
    /// Seed of the choice of keys and of Poisson arrivals.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Seconds to wait for an answer.
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    #[command(flatten)]
    report: ReportArgs,
}

/// What `redirect` found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// Requests per second that were wanted.
    pub rate_wanted: f64,
    /// Redirects per second that came, after the warm-up.
    pub redirected_per_s: f64,
    /// Whether the redirects came at the wanted rate. If not, the latencies grow with the length of the run, and say
    /// only that.
    pub kept_up: bool,
    /// Connections used.
    pub connections: u16,
    /// Keys to choose from.
    pub keys: usize,
    /// Whether the Location of every answer was compared with the target.
    pub locations_compared: bool,
    /// Seconds measured, after the warm-up.
    pub seconds: f64,
    /// Requests of the warm-up.
    pub warm_up: u64,
    /// Requests answered with a redirect.
    pub redirected: u64,
    /// Everything else, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Requests whose time came but that were never sent, because no connection came free in time.
    pub unsent: u64,
    /// Requests that found every connection waiting for an answer when their time came.
    pub no_connection_free: u64,
    /// Connections opened again.
    pub reconnects: u64,
    /// Whether the run was ended from outside.
    pub interrupted: bool,
    /// From the intended start to the answer read, of redirects.
    pub latency: Record,
    /// The latencies of the seconds in which the hypervisor let this machine work.
    pub calm: Calm,
    /// From the send to the answer read, of redirects.
    pub service: Record,
    /// Whether the generator was the limit.
    pub generator: Generator,
    /// Each second, the warm-up among them.
    pub series: Vec<Second>,
}

/// Runs the command.
///
/// # Errors
/// Unreadable input; a run in which no request was answered with a redirect.
pub fn run(args: Args) -> anyhow::Result<()> {
    let stop = StopFlag::on_signals()?;
    let keys = Keys::read(&args.keys)?;
    let begun = args.report.begin();
    say(format!(
        "redirect: {} requests/s for {} s after {} s of warm-up, {} connections to {} targets, {} keys",
        args.rate.per_second(),
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
    let headers: String = args.header.iter().map(|line| format!("{line}\r\n")).collect();
    let warm_up_ns = u64::from(args.warm_up) * 1_000_000_000;
    let threads = args.threads.min(args.connections);
    let job = |thread: u16| Job {
        keys,
        targets: &args.target,
        headers: &headers,
        connections: share(args.connections, thread, threads),
        schedule: Schedule::new(args.rate, args.arrivals, u64::from(thread), u64::from(threads), args.seed),
        warm_up_ns,
        end_ns: warm_up_ns + u64::from(args.duration) * 1_000_000_000,
        timeout_ns: args.timeout * 1_000_000_000,
        seed: args.seed ^ u64::from(thread).rotate_right(16),
        series: series.clone(),
        stop: stop.clone(),
    };
    let workers: Vec<Worker<'_>> = (0..threads)
        .map(|thread| Worker::new(job(thread)))
        .collect::<Result<_, _>>()
        .context("cannot open connections")?;
    let cpu_before = cpu_seconds();
    let start = Instant::now() + LEAD;
    let tally = work(workers, start, series.clone())?;
    let cpu_cores = (cpu_seconds() - cpu_before) / start.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    Ok(results(args, keys, tally, cpu_cores, &series, stop))
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
    let seconds = if stop.is_set() { until_last } else { until_last.max(f64::from(args.duration)) }.max(0.0);
    let redirected_per_s = figures::per_second(tally.redirected, seconds);
    Results {
        rate_wanted: args.rate.per_second(),
        redirected_per_s,
        kept_up: redirected_per_s >= KEPT_UP_SHARE * args.rate.per_second(),
        connections: args.connections,
        keys: keys.len(),
        locations_compared: keys.iter().all(|key| key.long_url.is_some()),
        seconds,
        warm_up: tally.warm_up,
        redirected: tally.redirected,
        unsent: tally.unsent,
        no_connection_free: tally.no_connection_free,
        reconnects: tally.reconnects,
        interrupted: stop.is_set(),
        latency: tally.latency.record_of(),
        calm: series.calm(),
        service: tally.service.record_of(),
        generator,
        series: series.seconds(),
        errors: tally.errors,
    }
}

impl Results {
    fn text(&self) -> String {
        let errors: Vec<String> = self.errors.iter().map(|(why, count)| format!("{count} × {why}")).collect();
        let mut text = format!(
            "redirect: {} redirects, {:.1}/s of {} wanted, over {:.1} s\n  latency    {}\n  calm       {}\n  service    {}\n  generator  {}\n  errors     {}\n",
            figures::count(self.redirected),
            self.redirected_per_s,
            self.rate_wanted,
            self.seconds,
            self.latency.summary.line(),
            self.calm.line(),
            self.service.summary.line(),
            self.generator.line(),
            if errors.is_empty() { "0".to_owned() } else { errors.join(", ") },
        );
        if !self.kept_up {
            text += "  DID NOT KEEP UP: the latencies grow with the length of the run\n";
        }
        if self.unsent + self.no_connection_free > 0 {
            text += &format!(
                "  {} requests found no free connection, {} were never sent\n",
                figures::count(self.no_connection_free),
                figures::count(self.unsent)
            );
        }
        text
    }
}

/// The connections of one of several threads.
fn share(connections: u16, thread: u16, threads: u16) -> usize {
    usize::from(connections / threads + u16::from(thread < connections % threads))
}

fn header_line(line: &str) -> Result<String, String> {
    let (name, _) = line.split_once(':').ok_or("write it as `Name: value`")?;
    let plain = line.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control());
    if name.is_empty() || !plain { Err("write it as `Name: value`".to_owned()) } else { Ok(line.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_share_out_all_connections() {
        let shares: Vec<usize> = (0..3).map(|thread| share(64, thread, 3)).collect();
        assert_eq!(shares, [22, 21, 21]);
    }

    #[test]
    fn a_header_line_cannot_smuggle_in_another() {
        assert_eq!(header_line("Accept: */*"), Ok("Accept: */*".to_owned()));
        for wrong in ["Accept", ": x", "A: b\r\nC: d"] {
            assert!(header_line(wrong).is_err(), "{wrong:?}");
        }
    }
}
