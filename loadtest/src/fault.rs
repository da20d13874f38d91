//! `fault`: a fleet, a workload, and everything that can go wrong between processes, with a checker that knows what must still be true.
//!
//! A run is a sequence of rounds: faults begin and end while clients work, then all rest, all faults are over, every proxy has to have
//! everything again, and every link is looked at everywhere. Plan and choices follow from the seed; the instants at which threads meet do
//! not, so a seed repeats the same faults and the same requests, and mostly the same failure.

mod absences;
mod cable;
pub mod checker;
mod client;
mod hands;
mod health;
pub mod history;
mod look;
pub mod plan;
pub mod steps;
mod workload;
mod writes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::RngExt;
use serde::Serialize;

use crate::figures;
use crate::fleet::{Fleet, Options, Setting, default_bin_dir};
use crate::pace::StopFlag;
use crate::progress::{print, say};
use crate::report::{ReportArgs, command_line};
use absences::Absences;
use checker::Objection;
use hands::{Cables, Hands};
use history::{Answer, Call, Entry, Recorder};
use look::Look;
use plan::{Kind, Size};
use workload::Workload;

/// How long a round has faults, in milliseconds.
const ROUND_MS: u64 = 5_000;
/// Visitors of each proxy.
const VISITORS: u16 = 2;
/// Objections that are printed.
const SHOWN_MAX: usize = 20;

/// What `fault` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// New folder for the fleet and, unless said otherwise, the history.
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    dir: Option<PathBuf>,
    /// Number of proxies.
    #[arg(long, value_name = "P", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=16))]
    proxies: u16,
    /// Number of key pools.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    keypools: u16,
    /// Seconds of faults; the round that is on then is finished.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Clients of the API.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    clients: u16,
    /// Kinds of faults: kill, stop, cut, delay, throttle, half-open, double [default: all]
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    faults: Vec<Kind>,
    /// Seed of faults and requests [default: a new one, printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// File for everything that was asked, answered and done [default: history.ndjson in DIR]
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Only checks a history that an earlier run left.
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    check: Option<PathBuf>,
    /// A setting for the configuration of a part, as in `fleet`. May be repeated.
    #[arg(long = "set", value_name = "PART.KEY=VALUE")]
    set: Vec<Setting>,
    /// Folder of the binaries [default: the folder of this program]
    #[arg(long, value_name = "DIR", env = "SIGNPOST_BIN_DIR")]
    bin_dir: Option<PathBuf>,
    #[command(flatten)]
    report: ReportArgs,
}

/// What `fault` found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// The seed of everything random.
    pub seed: u64,
    /// Rounds, each with a quiet point after it.
    pub rounds: u64,
    /// Faults by kind and victim.
    pub faults: BTreeMap<String, u64>,
    /// Requests by what came of them.
    pub requests: BTreeMap<String, u64>,
    /// What contradicts the contract.
    pub objections: Vec<Objection>,
}

/// Runs the command.
///
/// # Errors
/// The fleet did not start or did not recover, or the contract was broken.
pub fn run(args: Args) -> anyhow::Result<()> {
    if let Some(path) = &args.check {
        let begun = args.report.begin();
        let objections = checker::check(&history::read(path)?);
        begun.write(&objections)?;
        return judge(&objections, &path.display().to_string());
    }
    let stop = StopFlag::on_signals()?;
    let seed = args.seed.unwrap_or_else(|| rand::rng().random_range(1..1_000_000));
    let typed = command_line(std::env::args());
    let replay = if args.seed.is_some() { typed } else { format!("{typed} --seed {seed}") };
    say(format!("fault: seed {seed}"));
    let dir = args.dir.clone().context("clap requires a folder")?;
    let path = args.history.clone().unwrap_or_else(|| dir.join("history.ndjson"));
    let hint = format!(
        "seed {seed}; the history is in {}; to see it again, in a new folder: {replay}",
        path.display()
    );
    let begun = args.report.begin();
    let results = args.measure(&dir, &path, seed, &stop).with_context(|| hint.clone())?;
    print(results.text());
    let report = begun.write(&results)?;
    say(format!("report in {}", report.display()));
    judge(&results.objections, &hint)
}

fn judge(objections: &[Objection], hint: &str) -> anyhow::Result<()> {
    for objection in objections.iter().take(SHOWN_MAX) {
        print(format!("BROKEN {}: {}\n", objection.rule, objection.seen));
    }
    anyhow::ensure!(objections.is_empty(), "the contract was broken {} times: {hint}", objections.len());
    Ok(())
}

impl Args {
    fn measure(
        &self,
        dir: &std::path::Path,
        path: &std::path::Path,
        seed: u64,
        stop: &StopFlag,
    ) -> anyhow::Result<Results> {
        let is_new = !dir.join("fleet.json").exists();
        anyhow::ensure!(
            is_new,
            "{} has links that this run knows nothing of: give a new folder",
            dir.display()
        );
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let size = Size { proxies: self.proxies, keypools: self.keypools };
        let cables = Cables::start(dir, size)?;
        let mut options = Options::new(dir, self.proxies)?;
        options.keypools = self.keypools;
        options.bin_dir = self.bin_dir.clone().map_or_else(default_bin_dir, Ok)?;
        options.settings = cables.settings()?;
        // A proxy that is started while the writer is away is to serve at once; and codes are to be leased often.
        for setting in [
            "proxy.ready.without_writer_after_ms=0",
            "admin.codes.block=200",
            "admin.codes.low_watermark=100",
        ] {
            options.settings.push(setting.parse().map_err(anyhow::Error::msg)?);
        }
        options.settings.extend(self.set.iter().cloned());
        let fleet = Fleet::start_stoppable(options, stop.clone())?;
        let recorder = Recorder::begin(path)?;
        let rounds = self.rounds(&fleet, &cables, &recorder, seed, stop);
        // The history is of use also, and most of all, when something failed.
        recorder.flush()?;
        let rounds = rounds?;
        anyhow::ensure!(!stop.is_set(), "stopped before the end");
        let entries = recorder.entries();
        Ok(Results {
            seed,
            rounds,
            faults: count(&entries, |entry| match entry {
                Entry::Fault { what, .. } if !what.starts_with("end of ") => Some(what.clone()),
                _ => None,
            }),
            requests: count(&entries, |entry| match entry {
                Entry::Call(call) => Some(name_of(call)),
                _ => None,
            }),
            objections: checker::check(&entries),
        })
    }

    fn rounds(
        &self,
        fleet: &Fleet,
        cables: &Cables,
        recorder: &Recorder,
        seed: u64,
        stop: &StopFlag,
    ) -> anyhow::Result<u64> {
        let workload = Workload::new(fleet.ready(), recorder, seed);
        let (absences, watched) = (Absences::default(), StopFlag::default());
        let look = Look::at(fleet, recorder)?;
        let size = Size { proxies: self.proxies, keypools: self.keypools };
        let kinds = if self.faults.is_empty() {
            Kind::ALL.map(|(kind, _)| kind).to_vec()
        } else {
            self.faults.clone()
        };
        let hands = Hands { fleet, cables, recorder, absences: &absences, stop };
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for number in 0..u64::from(self.clients) {
                let workload = &workload;
                threads.push(scope.spawn(move || workload.change(number)));
            }
            for number in 0..self.proxies * VISITORS {
                let (workload, proxy) = (&workload, number % self.proxies);
                threads.push(scope.spawn(move || workload.visit(u64::from(number), proxy)));
            }
            let watcher = scope.spawn(|| absences.watch(&look.health, recorder, &watched));
            let outcome = self.each_round(&workload, &hands, &look, &kinds, size, seed);
            workload.end();
            watched.set();
            for thread in threads {
                thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            }
            watcher.join().map_err(|_| anyhow::anyhow!("the thread that watches proxies panicked"))?;
            absences.look(&look.health, recorder);
            absences.give_up(recorder);
            let rounds = outcome?;
            look.at_the_end(&workload.deleted())?;
            Ok(rounds)
        })
    }

    fn each_round(
        &self,
        workload: &Workload<'_>,
        hands: &Hands<'_>,
        look: &Look<'_>,
        kinds: &[Kind],
        size: Size,
        seed: u64,
    ) -> anyhow::Result<u64> {
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let mut number = 0;
        while Instant::now() < until && !hands.stop.is_set() {
            hands.run(&plan::round(seed, number, ROUND_MS, size, kinds))?;
            workload.pause();
            look.when_quiet(&workload.every_code())?;
            workload.go_on();
            number += 1;
        }
        Ok(number)
    }
}

fn count(entries: &[Entry], name: impl Fn(&Entry) -> Option<String>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for name in entries.iter().filter_map(name) {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn name_of(call: &Call) -> String {
    use history::Request;
    let asked = match &call.request {
        Request::Create { alias: Some(_), .. } => "create with an alias",
        Request::Create { max_clicks: Some(_), .. } => "create with a limit",
        Request::Create { .. } => "create",
        Request::Update { .. } => "update",
        Request::Delete { .. } => "delete",
        Request::Get { .. } => "get",
        Request::Follow { .. } => "follow",
    };
    let came = match &call.answer {
        Answer::Done { .. } | Answer::Deleted | Answer::Target { .. } => "done".to_owned(),
        Answer::Refused { status, problem } => format!("{status} {problem}").trim_end().to_owned(),
        Answer::Unknown { why } => format!("unknown ({why})"),
        Answer::Unsent => "no connection".to_owned(),
    };
    format!("{asked}: {came}")
}

impl Results {
    fn text(&self) -> String {
        let mut text = format!("fault: seed {}, {} rounds\n", self.seed, self.rounds);
        for (title, counts) in [("faults", &self.faults), ("requests", &self.requests)] {
            let sum: u64 = counts.values().sum();
            text.push_str(&format!("  {title}: {}\n", figures::count(sum)));
            for (name, count) in counts {
                text.push_str(&format!("  {:>10}  {name}\n", figures::count(*count)));
            }
        }
        text.push_str(&format!("  objections: {}\n", self.objections.len()));
        text
    }
}
