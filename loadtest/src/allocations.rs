//! `allocations`: what a running proxy allocates for a request, by kind of request.
//!
//! A fleet of three proxies with everything on (clicks counted, limits per network evaluated): one whose hot map has every link that
//! is asked for, one whose links are in the database's memory, one whose links are on the disk. Requests go to them in rounds, over
//! connections that stay open; before and after each kind of a round the proxy's own metrics are read, which say where every lookup was
//! answered and what the threads that serve have allocated. What C and C++ allocate (RocksDB) is in no metric; it is read
//! from the files that `allocations/count_malloc.c` writes, if it was preloaded.

mod classes;
mod counts;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde::Serialize;

use crate::figures;
use crate::fleet::{Fleet, Options, default_bin_dir};
use crate::header_sets::HeaderSets;
use crate::http1::{Connection, Endpoint};
use crate::pace::StopFlag;
use crate::progress::{print, say};
use crate::report::ReportArgs;
use classes::{CLASSES, Requests};
use counts::{Allocations, Meter};

/// Every kind of request comes once in each of so many rounds.
const ROUNDS: u64 = 10;
const TIMEOUT: Duration = Duration::from_secs(10);
/// Links that the hot hits ask for.
const HOT_LINKS: usize = 10_000;
/// Requests of a kind before anything is counted, for each connection: buffers grow to their size.
const WARM_UP: u64 = 2_000;

/// What `allocations` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for the fleet; one that an earlier run made can be used again.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Requests in all, shared out among the kinds.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    requests: u64,
    /// Links to have. With few, the database has all of them in its memory.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    links: u64,
    /// Connections to each proxy.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Folder of header sets, as in `redirect`.
    #[arg(long, value_name = "DIR")]
    headers_from: PathBuf,
    /// Folder that count_malloc.c writes to [default: what C and C++ allocate is not counted]
    #[arg(long, value_name = "DIR", env = "COUNT_MALLOC_DIR")]
    malloc_dir: Option<PathBuf>,
    /// Seed of the keys and of the order.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Folder of the binaries [default: the folder of this program]
    #[arg(long, value_name = "DIR", env = "SIGNPOST_BIN_DIR")]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    report: ReportArgs,
}

/// What `allocations` found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// Links of the fleet.
    pub links: u64,
    /// Whether what C and C++ allocate is counted.
    pub c_counted: bool,
    /// By kind of request, in the order of `CLASSES`.
    pub classes: Vec<Measured>,
    /// All kinds together.
    pub all: Measured,
}

/// One kind of request.
#[derive(Debug, Default, Serialize)]
pub struct Measured {
    /// Its name.
    pub name: &'static str,
    /// Requests, each answered with the status that it should have.
    pub requests: u64,
    /// What was counted meanwhile.
    pub counted: Allocations,
}

/// Runs the command.
///
/// # Errors
/// The fleet did not start, a request was not answered as it should be, or a hit allocated.
pub fn run(args: Args) -> anyhow::Result<()> {
    let stop = StopFlag::on_signals()?;
    let begun = args.report.begin();
    let results = args.measure(&stop)?;
    print(results.text());
    let path = begun.write(&results)?;
    say(format!("report in {}", path.display()));
    results.judge()
}

impl Args {
    fn measure(&self, stop: &StopFlag) -> anyhow::Result<Results> {
        let sets = HeaderSets::read(&self.headers_from, &[])?;
        let fleet = self.fleet(stop)?;
        let keys = fleet.keys()?;
        let keys = &keys[..keys.len().min(usize::try_from(self.links)?)];
        let status = fleet.command("status");
        let mut running = Vec::new();
        for class in &CLASSES {
            let meter = Meter::new(&fleet.ready().proxy_health[class.proxy], pid_of(&status, class.proxy)?);
            let address: Endpoint = fleet.ready().proxies[class.proxy].parse()?;
            let connections =
                (0..self.connections).map(|_| Connection::new(address.clone(), TIMEOUT)).collect::<Vec<_>>();
            let asked = if class.hot { &keys[..keys.len().min(HOT_LINKS)] } else { keys };
            let requests = Requests { class, keys: asked, sets: &sets, host: address.authority().to_owned() };
            running.push(Running {
                requests,
                connections,
                meter,
                measured: Measured { name: class.name, ..Measured::default() },
            });
        }
        for running in &mut running {
            say(format!("allocations: warming up for {}", running.requests.class.name));
            if running.requests.class.hot {
                running.every_key_twice()?;
            }
            running.ask(WARM_UP, self.seed ^ u64::MAX, stop)?;
        }
        for round in 0..ROUNDS {
            for (index, running) in running.iter_mut().enumerate() {
                let share = self.requests * running.requests.class.percent / 100 / ROUNDS;
                let before = running.meter.read(self.malloc_dir.as_deref())?;
                running.ask(
                    share / u64::from(self.connections),
                    self.seed ^ (round << 8) ^ (index as u64) << 32,
                    stop,
                )?;
                let counted = running.meter.read(self.malloc_dir.as_deref())?.since(before);
                running.measured.counted.add(counted);
                running.measured.requests +=
                    share / u64::from(self.connections) * u64::from(self.connections);
            }
            say(format!("allocations: round {} of {ROUNDS}", round + 1));
        }
        anyhow::ensure!(!stop.is_set(), "stopped before the end");
        let classes: Vec<Measured> = running.into_iter().map(|running| running.measured).collect();
        let mut all = Measured { name: "all", ..Measured::default() };
        for class in &classes {
            all.requests += class.requests;
            all.counted.add(class.counted);
        }
        Ok(Results { links: self.links, c_counted: self.malloc_dir.is_some(), classes, all })
    }

    fn fleet(&self, stop: &StopFlag) -> anyhow::Result<Fleet> {
        let mut options = Options::new(&self.dir, 3)?;
        options.bin_dir = self.bin_dir.clone().map_or_else(default_bin_dir, Ok)?;
        options.links = self.links;
        options.visitors_known = true;
        // Every limit is evaluated, none is reached, and no connection is closed for its age.
        let settings = [
            "proxy.listen.workers=1",
            "proxy.limits.requests_per_connection_max=1000000000",
            "proxy.per_network.requests_max=1000000000",
            "proxy.per_network.not_found_max=1000000000",
            "proxy.per_network.scan_alarm_per_hour=1000000000",
            "proxy.cache.disk_deadline_ms=10000",
            "proxy-1.cache.hot_map_bytes=1048576",
            "proxy-1.cache.block_cache_bytes=1073741824",
            "proxy-2.cache.hot_map_bytes=1048576",
            "proxy-2.cache.block_cache_bytes=8388608",
        ];
        for setting in settings {
            options.settings.push(setting.parse().map_err(anyhow::Error::msg)?);
        }
        let fleet = Fleet::start_stoppable(options, stop.clone())?;
        // What was preloaded just now is in memory; a proxy that is started again has it on its disk.
        for proxy in ["proxy-1", "proxy-2"] {
            for command in ["stop", "start"] {
                let answer = fleet.command(&format!("{command} {proxy}"));
                anyhow::ensure!(answer["ok"] == true, "{command} {proxy}: {answer}");
            }
        }
        Ok(fleet)
    }
}

/// The process of proxy `index` now.
fn pid_of(status: &serde_json::Value, index: usize) -> anyhow::Result<u64> {
    let name = format!("proxy-{index}");
    let parts = status["parts"].as_array().context("a status without parts")?;
    let part = parts.iter().find(|part| part["name"] == name.as_str());
    part.and_then(|part| part["pid"].as_u64()).with_context(|| format!("{name} does not run"))
}

/// A kind of request on its way.
struct Running<'a> {
    requests: Requests<'a>,
    connections: Vec<Connection>,
    meter: Meter,
    measured: Measured,
}

impl Running<'_> {
    /// Has the hot map take every key: who is asked for twice stays.
    fn every_key_twice(&mut self) -> anyhow::Result<()> {
        let connection = &mut self.connections[0];
        let mut request = Vec::new();
        for key in self.requests.keys.iter().chain(self.requests.keys) {
            self.requests.known(key, "", &mut request);
            let status = connection.exchange(&request)?.status;
            anyhow::ensure!(status == 302, "a link was answered with {status}");
        }
        Ok(())
    }

    /// Sends `each` requests over every connection, all at once.
    fn ask(&mut self, each: u64, seed: u64, stop: &StopFlag) -> anyhow::Result<()> {
        let requests = &self.requests;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(&mut self.connections)
                .map(|(index, connection)| {
                    let random = SmallRng::seed_from_u64(seed.wrapping_add(index));
                    scope.spawn(move || requests.send(connection, each, random, stop))
                })
                .collect();
            for thread in threads {
                thread.join().map_err(|_| anyhow::anyhow!("a thread that sends requests panicked"))??;
            }
            Ok(())
        })
    }
}

impl Results {
    fn text(&self) -> String {
        let mut text = format!(
            "allocations: {:<24}{:>10}{:>9}{:>9}{:>9}{:>10}{:>10}{:>10}{:>10}\n",
            "per request", "requests", "hot", "cache", "disk", "worker", "pool", "worker C", "pool C"
        );
        for class in self.classes.iter().chain([&self.all]) {
            let per = |count: u64| format!("{:.3}", count as f64 / class.requests.max(1) as f64);
            let c = |count: u64| if self.c_counted { per(count) } else { "?".to_owned() };
            let counted = &class.counted;
            text.push_str(&format!(
                "             {:<24}{:>10}{:>9}{:>9}{:>9}{:>10}{:>10}{:>10}{:>10}\n",
                class.name,
                figures::count(class.requests),
                per(counted.hot),
                per(counted.cache),
                per(counted.disk),
                per(counted.worker),
                per(counted.pool),
                c(counted.worker_c),
                c(counted.pool_c),
            ));
        }
        text
    }

    /// What is asked for often allocates nothing, and what is called a hit is one.
    fn judge(&self) -> anyhow::Result<()> {
        for (class, measured) in CLASSES.iter().zip(&self.classes) {
            let (name, counted) = (class.name, &measured.counted);
            if !class.hot {
                continue;
            }
            let answered = if class.unknown { counted.cache } else { counted.hot };
            anyhow::ensure!(
                answered == measured.requests,
                "{name}: of {} requests {answered} were answered from where they should be",
                measured.requests
            );
            // RocksDB allocates for what it is asked; what is in the hot map it is never asked for.
            let in_c = if class.unknown { 0 } else { counted.worker_c + counted.pool_c };
            let allocated = counted.worker + counted.pool + in_c;
            anyhow::ensure!(
                allocated == 0,
                "{name}: {allocated} allocations in {} requests",
                measured.requests
            );
        }
        Ok(())
    }
}
