//! `handshakes`: a TLS connection for every request, as fast as some threads do it, whole handshakes or resumed ones.
//!
//! It tells what a connection costs the server, and how long one takes from the connect to the answer. A closed loop of blocking
//! threads: a handshake takes a processor a hundred times as long as waiting for one, so there is nothing to gain from epoll.
//! Deliberately not here: whether the certificate is right. Any is taken, and its signature is not checked, which leaves more of a
//! shared machine to the server.

mod any_certificate;
mod exchange;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::figures;
use crate::http1::Endpoint;
use crate::keys::Keys;
use crate::latency::{Latency, Record};
use crate::pace::{StopFlag, ns_between};
use crate::progress::{Ticker, print, say};
use crate::report::ReportArgs;
use crate::series::{Calm, Second, Series};
use crate::server_cpu::{ServerArgs, ServerCpu};
pub(crate) use any_certificate::AnyCertificate;
use exchange::Client;

/// What `handshakes` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds to measure.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    duration: u32,
    /// Seconds before the measured part, under the same load.
    #[arg(long, value_name = "S", default_value_t = 1)]
    warm_up: u32,
    /// Connections at a time, a thread each.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Resume the session of the connection before, by its ticket.
    #[arg(long)]
    resume: bool,
    /// File of keys to ask for at random: a code a line, or `code<TAB>long_url` to have the Location compared.
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// The address that speaks TLS, written as http://HOST:PORT all the same.
    #[arg(long, value_name = "URL")]
    target: Endpoint,
    /// Seconds to wait for anything.
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// What `handshakes` found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// Whether sessions were to be resumed.
    pub resume: bool,
    /// Connections at a time.
    pub connections: u16,
    /// Seconds measured, after the warm-up.
    pub seconds: f64,
    /// Redirects read, those of the warm-up among them: what the server has to have counted.
    pub received: u64,
    /// Connections with a redirect on them, after the warm-up.
    pub redirected: u64,
    /// The same, each second.
    pub redirected_per_s: f64,
    /// Those of them that resumed a session.
    pub resumed: u64,
    /// Everything else, by reason.
    pub errors: BTreeMap<String, u64>,
    /// The version of TLS, as the last connection had it.
    pub version: Option<String>,
    /// From the connect to the answer read.
    pub latency: Record,
    /// The latencies of the seconds in which the hypervisor let this machine work.
    pub calm: Calm,
    /// What the server used, if it was to be looked at.
    pub server: Option<ServerCpu>,
    /// Each second, the warm-up among them.
    pub series: Vec<Second>,
}

/// What one thread counted.
#[derive(Debug, Default)]
struct Tally {
    received: u64,
    redirected: u64,
    resumed: u64,
    errors: BTreeMap<String, u64>,
    version: Option<String>,
    latency: Latency,
}

/// Runs the command.
///
/// # Errors
/// Unreadable input; a run without one redirect.
pub fn run(args: Args) -> anyhow::Result<()> {
    let stop = StopFlag::on_signals()?;
    let keys = Keys::read(&args.keys)?;
    let watched = args.server.watch()?;
    let begun = args.report.begin();
    let kind = if args.resume { "resumed" } else { "whole" };
    say(format!("handshakes: {kind} ones for {} s over {} connections", args.duration, args.connections));
    let series = Series::new(u64::from(args.warm_up));
    let (answers, over) = (AtomicU64::new(0), StopFlag::default());
    let start = Instant::now();
    let from = start + Duration::from_secs(u64::from(args.warm_up));
    let to = from + Duration::from_secs(u64::from(args.duration));
    let shared =
        Shared { args: &args, keys: &keys, series: &series, answers: &answers, stop: &stop, from, to };
    let (tally, server) = thread::scope(|scope| {
        let looks = watched.as_ref().map(|watched| {
            let (answers, over) = (&answers, &over);
            scope.spawn(move || watched.look_twice(answers, over, from, to))
        });
        let tally = work(&shared);
        over.set();
        let server = looks.map(|looks| looks.join().expect("looking at the clocks does not panic"));
        anyhow::Ok((tally?, server.transpose()?.flatten()))
    })?;
    let seconds = Instant::now().min(to).saturating_duration_since(from).as_secs_f64();
    let results = Results {
        resume: args.resume,
        connections: args.connections,
        seconds,
        received: tally.received,
        redirected: tally.redirected,
        redirected_per_s: figures::per_second(tally.redirected, seconds),
        resumed: tally.resumed,
        errors: tally.errors,
        version: tally.version,
        latency: tally.latency.record_of(),
        calm: series.calm(),
        server,
        series: series.seconds(),
    };
    print(results.text());
    let path = begun.write(&results)?;
    say(format!("report in {}", path.display()));
    anyhow::ensure!(results.redirected > 0, "no connection had a redirect on it");
    Ok(())
}

/// What the threads share.
#[derive(Debug)]
struct Shared<'a> {
    args: &'a Args,
    keys: &'a Keys,
    series: &'a Series,
    answers: &'a AtomicU64,
    stop: &'a StopFlag,
    from: Instant,
    to: Instant,
}

fn work(shared: &Shared<'_>) -> anyhow::Result<Tally> {
    let series = shared.series.clone();
    let _ticker = Ticker::start(move |elapsed| Some(series.tick(elapsed)));
    thread::scope(|scope| {
        let begin = |seed: u16| {
            thread::Builder::new().spawn_scoped(scope, move || connect_again_and_again(shared, seed))
        };
        let threads: Vec<_> = (0..shared.args.connections).map(begin).collect::<Result<_, _>>()?;
        let mut total = Tally::default();
        for thread in threads {
            let tally = thread.join().expect("a thread of handshakes does not panic")?;
            total.received += tally.received;
            total.redirected += tally.redirected;
            total.resumed += tally.resumed;
            total.latency.merge(&tally.latency);
            total.version = tally.version.or(total.version);
            for (reason, count) in tally.errors {
                *total.errors.entry(reason).or_default() += count;
            }
        }
        Ok(total)
    })
}

fn connect_again_and_again(shared: &Shared<'_>, seed: u16) -> anyhow::Result<Tally> {
    let timeout = Duration::from_secs(shared.args.timeout);
    let mut client =
        Client::new(&shared.args.target, shared.args.resume, timeout).context("cannot set up TLS")?;
    let mut random = SmallRng::seed_from_u64(u64::from(seed));
    let mut tally = Tally::default();
    loop {
        let begun = Instant::now();
        if begun >= shared.to || shared.stop.is_set() {
            return Ok(tally);
        }
        let key = shared.keys.get(random.random_range(0..shared.keys.len()));
        let outcome = client.ask(key);
        let latency_ns = ns_between(begun, Instant::now());
        shared.answers.fetch_add(1, Ordering::Relaxed);
        let measured = begun >= shared.from;
        match outcome {
            Ok(done) => {
                shared.series.answered(1, latency_ns);
                tally.received += 1;
                if measured {
                    tally.redirected += 1;
                    tally.resumed += u64::from(done.resumed);
                    tally.latency.record(latency_ns);
                    tally.version = done.version;
                }
            }
            Err(reason) => {
                shared.series.failed(1);
                if measured {
                    *tally.errors.entry(reason).or_default() += 1;
                }
                // A server that is not there is not asked a million times.
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Results {
    fn text(&self) -> String {
        let errors: Vec<String> = self.errors.iter().map(|(why, count)| format!("{count} × {why}")).collect();
        let mut text = format!(
            "handshakes: {} connections with a redirect, {:.1}/s over {:.1} s, {} resumed, {}\n  latency    {}\n  calm       {}\n  errors     {}\n",
            figures::count(self.redirected),
            self.redirected_per_s,
            self.seconds,
            figures::count(self.resumed),
            self.version.as_deref().unwrap_or("no TLS"),
            self.latency.summary.line(),
            self.calm.line(),
            if errors.is_empty() { "0".to_owned() } else { errors.join(", ") },
        );
        if let Some(server) = &self.server {
            text += &format!("  server     {}\n", server.line());
        }
        text
    }
}
