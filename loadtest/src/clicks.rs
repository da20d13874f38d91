//! `clicks`: sends a known number of redirects through faults and compares with what is counted.
//!
//! The contract, per link and per kind of request: *received ≤ counted ≤ attempted*. What was attempted and not received was under way
//! when a proxy was killed, and may or may not be counted; without kills there is no such gap, and all three are equal. Nothing may be
//! counted twice, whatever was sent again.
//!
//! Once all of that is over, bursts of redirects tell how far the counts are behind (`freshness`): at most 2 s.
//!
//! The fleet, its faults and the traffic follow from one seed.

mod accounts;
mod counts;
mod faults;
mod freshness;
mod relay;
mod traffic;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::admin::{AdminApi, BATCH_MAX, batch_created};
use crate::cable::{Cable, Quality, Upstream};
use crate::figures;
use crate::fleet::Fleet;
use crate::http1::{Connection, Endpoint};
use crate::pace::StopFlag;
use crate::progress::{Ticker, say};
use crate::synthetic;
use crate::trial::{self, Findings, PlaceArgs, Seed, Settings};
use accounts::{API_TIMEOUT, Accounts, STILL, now_ms};
use counts::{Compared, compare};
use faults::{Fault, Faults, plan};
use freshness::Burst;
use relay::{Done, Relay, Trick};
use traffic::{Tally, Traffic};

/// How long the proxies may take to report everything once the load has ended and all is well again.
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// What `clicks` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of proxies.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=16))]
    proxies: u16,
    /// Links to create and ask for, a few of them far more often than the others.
    #[arg(long, value_name = "L", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    links: u32,
    /// Seconds of load.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: u64,
    /// Requests per second in total.
    #[arg(long, value_name = "R", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Connections in total, shared out over the proxies.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// How often a proxy, chosen at random, is killed (SIGKILL) and started again.
    #[arg(long, value_name = "N", default_value_t = 0)]
    kills: u32,
    /// How often all connections between the proxies and the writer are cut at once, acknowledgements under way lost.
    #[arg(long, value_name = "N", default_value_t = 0)]
    cuts: u32,
    /// Longest time a piece of data between a proxy and the writer is held back, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    delay: u64,
    /// How often a batch is delivered to the writer twice in a row.
    #[arg(long, value_name = "N", default_value_t = 0)]
    repeats: u32,
    /// How often a batch is held back while its connection is cut, and delivered when the proxy has sent it again.
    #[arg(long, value_name = "N", default_value_t = 0)]
    late: u32,
    /// How often the connection is cut in place of the answer to a batch that was delivered.
    #[arg(long, value_name = "N", default_value_t = 0)]
    lost_answers: u32,
    /// How often a connection is cut and everything that the proxy had sent on it is sent to the writer once more.
    #[arg(long, value_name = "N", default_value_t = 0)]
    replays: u32,
    /// Kills the writer during the load and starts it again after so many seconds [default: it is left alone]
    #[arg(long, value_name = "S", value_parser = seconds)]
    admin_outage: Option<u64>,
    #[command(flatten)]
    seed: Seed,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Seconds, with or without the unit.
fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.strip_suffix('s').unwrap_or(text);
    digits.parse().map_err(|_| format!("{text:?} is no number of seconds: 60 or 60s"))
}

/// What `clicks` found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// The seed of everything random.
    pub seed: u64,
    /// Proxies of the fleet.
    pub proxies: u16,
    /// What was done to the fleet, and when, in milliseconds from the start of the load.
    pub faults: Vec<Fault>,
    /// Connections between proxies and the writer that were cut.
    pub connections_cut: u64,
    /// Requests for which no connection could be had: not attempted.
    pub unsent: u64,
    /// Attempted, counted and received, and every link on which they contradict each other.
    pub compared: Compared,
    /// What the relay did to batches, if there was one.
    pub relay: Option<Done>,
    /// Batches that reached the writer again after they were counted, as the writer says, since it was started.
    pub batches_repeated: Option<u64>,
    /// Clicks the fleet says it dropped.
    pub dropped: u64,
    /// The largest age of the counts seen while the fleet was whole and nothing was held back, in milliseconds.
    pub behind_ms_max: u64,
    /// How long after the end of the load everything was counted, in milliseconds.
    pub settled_after_ms: u64,
    /// How long counts took in quiet times.
    pub bursts: Vec<Burst>,
    /// What contradicts the contract besides counts.
    pub wrong: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// The fleet did not start or did not settle, or the contract was broken.
pub fn run(args: Args) -> anyhow::Result<()> {
    trial::run_seeded("clicks", &args.place, args.seed, |seed, stop| {
        let mut results = args.measure(seed, stop)?;
        results.wrong.extend(freshness::wrong(&results.bursts));
        results.wrong.extend(args.judge_relay(&results).err().map(|error| error.to_string()));
        let unanswered = results.compared.unanswered();
        if args.kills == 0 && unanswered > 0 {
            results
                .wrong
                .push(format!("{unanswered} requests were not answered although no proxy was killed"));
        }
        Ok(results)
    })
}

impl Args {
    /// How often each of [`Trick::ALL`] is wanted.
    fn tricks(&self) -> [u32; Trick::ALL.len()] {
        [self.repeats, self.late, self.lost_answers, self.replays]
    }

    /// What was asked for was done, and the writer has noticed.
    fn judge_relay(&self, results: &Results) -> anyhow::Result<()> {
        let Some(done) = results.relay else { return Ok(()) };
        anyhow::ensure!(
            // More than that happens: what was to be done to the next batch may meet one on each of two streams.
            done.tricks() >= self.tricks().into_iter().map(u64::from).sum::<u64>(),
            "the load was too short for the relay to do all that was asked for: {done:?}"
        );
        let (again, repeated) = (done.batches_again(), results.batches_repeated.unwrap_or(0));
        // How many exactly nobody knows: a batch whose stream was cut may be counted only when it is played again, and a proxy whose stream broke
        // on a busy machine sends again by itself. A writer that was killed begins to count anew.
        let right = repeated > 0 || done.repeated + done.late == 0;
        anyhow::ensure!(
            right || self.admin_outage.is_some(),
            "{again} batches were delivered again, and the writer says {repeated}"
        );
        Ok(())
    }

    fn measure(&self, seed: u64, stop: &StopFlag) -> anyhow::Result<Results> {
        let dir = self.place.dir()?;
        let cable =
            Cable::start(Upstream { config: dir.join("admin").join("config.toml"), table: "feed" }, seed)?;
        if self.delay > 0 {
            cable.set(Quality::Uneven(Duration::from_millis(self.delay)));
        }
        let relay = match self.tricks() {
            [0, 0, 0, 0] => None,
            _ => Some(Relay::start(dir.to_owned(), cable.address())?),
        };
        let url = relay.as_ref().map_or_else(|| cable.url(), Relay::url);
        let writers = format!("proxy.writers.urls=[\"{url}\"]");
        // A proxy that is started while the writer is away is to serve at once, not to hold up the faults after it.
        let own = [writers.as_str(), "proxy.ready.without_writer_after_ms=0"];
        let options = self.place.options(dir, self.proxies, &own, &self.settings)?;
        let fleet = Fleet::start_stoppable(options, stop.clone())?;
        let codes = create(&fleet, self.links)?;
        let traffic = Traffic {
            codes: codes.clone(),
            proxies: endpoints(&fleet.ready().proxies)?,
            connections: self.connections,
            rate: self.rate,
            seed,
        };
        let duration = Duration::from_secs(self.duration);
        let tally = Arc::new(Tally::new(codes.len()));
        let plan =
            plan(seed, duration, self.proxies, self.kills, self.cuts, self.tricks(), self.admin_outage);
        let (whole, settled_at_most) = (plan.is_empty() && self.delay == 0, SETTLE_MAX);
        let mut accounts = Accounts::of(&fleet, codes)?;
        let start = Instant::now();
        let running = traffic.start(start, duration, &tally, stop);
        let faults = Faults { fleet: &fleet, cable: &cable, relay: relay.as_ref(), stop };
        let ticker = progress(&tally, duration);
        let mut behind_ms_max = 0;
        let done = std::thread::scope(|scope| {
            let faults = scope.spawn(|| faults.run(start, &plan));
            while whole && start.elapsed() < duration && !stop.is_set() {
                // In the first seconds the proxies have not all reported yet.
                if start.elapsed() > Duration::from_secs(3)
                    && let Some(behind_ms) = accounts.behind_ms()?
                {
                    behind_ms_max = behind_ms_max.max(behind_ms);
                }
                let _ = stop.sleep_until(Instant::now() + Duration::from_millis(500));
            }
            faults.join().map_err(|_| anyhow::anyhow!("the thread that makes faults panicked"))?
        });
        let faults = done?;
        for worker in running {
            worker.join().map_err(|_| anyhow::anyhow!("a thread that sends requests panicked"))?;
        }
        drop(ticker);
        anyhow::ensure!(!stop.is_set(), "stopped before the end");
        let (ended, ended_ms) = (Instant::now(), now_ms());
        say("clicks: the load has ended; waiting until every proxy has reported");
        let shown = accounts.settle(ended, ended_ms, settled_at_most, stop)?;
        let settled_after_ms = ended.elapsed().saturating_sub(STILL).as_millis() as u64;
        // From here on nothing is wrong, and nothing is under way.
        cable.set(Quality::Good);
        let bursts = freshness::measure(&mut accounts, &traffic.proxies, stop)?;
        let batches_repeated = accounts.metric("signpost_admin_click_batches_repeated_total");
        Ok(Results {
            seed,
            proxies: self.proxies,
            faults,
            connections_cut: cable.cut_so_far(),
            unsent: tally.unsent(),
            compared: compare(&accounts.codes, &tally.sent(), &shown.counts),
            relay: relay.as_ref().map(Relay::done),
            batches_repeated,
            dropped: shown.dropped,
            behind_ms_max,
            settled_after_ms,
            bursts,
            wrong: Vec::new(),
        })
    }
}

fn progress(tally: &Arc<Tally>, duration: Duration) -> Ticker {
    let tally = tally.clone();
    Ticker::start(move |elapsed| {
        let (attempted, received) = tally.totals();
        (elapsed.as_secs() % 5 == 0 && elapsed < duration).then(|| {
            format!(
                "clicks: {} s, {} attempted, {} received",
                elapsed.as_secs(),
                figures::count(attempted),
                figures::count(received)
            )
        })
    })
}

fn endpoints(urls: &[String]) -> anyhow::Result<Vec<Endpoint>> {
    urls.iter().map(|url| Ok(url.parse()?)).collect()
}

/// Creates links and waits until every proxy has them.
fn create(fleet: &Fleet, links: u32) -> anyhow::Result<Vec<String>> {
    let api = AdminApi::new(fleet.ready().admin.parse()?, &fleet.ready().token, false);
    let mut connection = Connection::new(api.endpoint().clone(), API_TIMEOUT);
    let urls: Vec<String> = (0..u64::from(links)).map(synthetic::long_url).collect();
    let mut codes = Vec::with_capacity(urls.len());
    for urls in urls.chunks(BATCH_MAX) {
        let answer = connection.exchange(&api.create_batch(urls))?;
        for created in batch_created(&answer, urls.len())? {
            codes.push(created?.code);
        }
    }
    say(format!("clicks: created {} links", figures::count(codes.len() as u64)));
    Ok(codes)
}

impl Findings for Results {
    fn broken(&self) -> u64 {
        (self.compared.broken.len() + self.wrong.len()) as u64
    }

    fn judge(&self) -> anyhow::Result<()> {
        let counts = self.compared.broken.len();
        anyhow::ensure!(
            counts == 0 && self.dropped == 0,
            "{counts} counts are wrong, {} clicks were dropped",
            self.dropped
        );
        anyhow::ensure!(self.wrong.is_empty(), "{}", self.wrong.join("; "));
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = self.compared.table();
        for fault in &self.faults {
            text.push_str(&format!("  {:>7} ms  {}\n", fault.at_ms, fault.what));
        }
        text.push_str(&format!(
            "  {} connections cut, {} batches came again, {} requests unsent, dropped {}, all counted {} ms after the load",
            self.connections_cut,
            self.batches_repeated.map_or_else(|| "?".to_owned(), figures::count),
            self.unsent,
            self.dropped,
            self.settled_after_ms
        ));
        if let Some(done) = &self.relay {
            text.push_str(&format!(
                "\n  relay: {} batches delivered twice, {} late and again, {} answers lost, {} streams of {} batches replayed",
                done.repeated, done.late, done.answers_lost, done.streams_replayed, done.batches_replayed
            ));
        }
        if self.behind_ms_max > 0 {
            text.push_str(&format!(", at most {} ms behind during it", self.behind_ms_max));
        }
        text.push('\n');
        text.push_str(&freshness::line(&self.bursts));
        text
    }
}
